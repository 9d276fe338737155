/**
 * The network that hears digits: fetched once, when it is first needed, and run on one thread.
 *
 * Shapes: L samples, M mel bands, T frames, C classes.
 */

import { HearingError, SAMPLE_RATE } from "./audio.js";

const RUNTIME = "./runtime/ort.wasm.min.mjs";
const WASM = "runtime/ort-wasm-simd-threaded.wasm.gz";
const MODEL = "digits.onnx";
const LEAST_PROBABILITY = 0.4; // as in recognize.py
const LEAST_MARGIN = 0.1;

/**
 * @typedef {object} Recognition
 * @property {string} label the most probable
 * @property {number | null} digit the label as a number; null when it is none
 * @property {number} probability of the label
 * @property {number[]} probabilities (C,) of all labels
 * @property {string} refusal why no digit is given, in words; empty when one is
 * @property {{values: Float32Array, bands: number, frames: number}} logMel (M, T): what it saw
 */

/**
 * @callback Progress
 * @param {number} loaded bytes so far
 * @param {number} total bytes in all
 */

export class Recognizer {
  #session;
  #makeTensor;

  /**
   * @param {object} ort the module of onnxruntime-web
   * @param {object} session
   * @param {Record<string, string>} metadata what the model's file tells about itself
   */
  constructor(ort, session, metadata) {
    this.#session = session;
    this.#makeTensor = (samples) => new ort.Tensor("float32", samples, [1, samples.length]);
    this.metadata = metadata;
    /** @type {string[]} */
    this.labels = JSON.parse(metadata.labels);
    this.rejects = session.outputNames.includes("rejection");
  }

  /**
   * @param {Float32Array} clip (L,) at 8 kHz: one utterance
   * @param {boolean} silent whether it is none
   * @returns {Promise<Recognition>}
   */
  async hear(clip, silent = false) {
    const outputs = await this.#session.run({ waveform: this.#makeTensor(clip) });
    const probabilities = softmax(outputs.scores.data);
    const [probability, second] = [...probabilities, 0].sort((a, b) => b - a);
    const label = this.labels[probabilities.indexOf(probability)];
    const logOdds = outputs.rejection?.data[0];

    let refusal = "";
    if (silent) {
      refusal = "Nothing stands out of the background. Speak up, or closer to the microphone.";
    } else if (this.rejects && logOdds < Number(this.metadata.rejection_threshold)) {
      refusal = "That sounds like no digit.";
    } else if (
      this.rejects &&
      (probability < LEAST_PROBABILITY || probability - second < LEAST_MARGIN)
    ) {
      refusal = `Unclear: ${label}, perhaps. Say it again.`;
    } else if (!/^[0-9]$/.test(label)) {
      refusal = `That is no digit, but “${label}”.`;
    }
    const [, bands, frames] = outputs.log_mel.dims;
    return {
      label,
      digit: refusal ? null : Number(label),
      probability,
      probabilities,
      refusal,
      logMel: { values: outputs.log_mel.data, bands, frames },
    };
  }
}

/**
 * Fetch runtime and model, and open it.
 * @param {Progress} onProgress
 * @returns {Promise<Recognizer>}
 * @throws {HearingError} when something cannot be fetched or opened
 */
export async function loadRecognizer(onProgress) {
  const counts = [
    [0, 0],
    [0, 0],
  ];
  const count = (which) => (loaded, total) => {
    counts[which] = [loaded, total];
    onProgress(counts[0][0] + counts[1][0], counts[0][1] + counts[1][1]);
  };
  const [ort, wasm, model] = await Promise.all([
    import(RUNTIME).catch(() => {
      throw missing(RUNTIME);
    }),
    fetchBytes(WASM, count(0)).then(unzip),
    fetchBytes(MODEL, count(1)),
  ]);
  const metadata = readMetadata(model);
  if (metadata.format_version !== "1" || metadata.sample_rate_hz !== String(SAMPLE_RATE)) {
    throw new HearingError(`${MODEL} is no model of this page. Reload; if it stays, report it.`);
  }
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = 1; // more would need headers that a static host does not send
  ort.env.wasm.wasmBinary = wasm;
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  const recognizer = new Recognizer(ort, session, metadata);
  await recognizer.hear(new Float32Array(SAMPLE_RATE)); // the first run is slow: not the user's
  return recognizer;
}

/**
 * The entries of a model's `metadata_props`, read from the ONNX file as it is (a protocol buffer),
 * since the runtime for browsers does not give them.
 * @param {Uint8Array} model
 * @returns {Record<string, string>}
 */
export function readMetadata(model) {
  const METADATA_PROPS = 14;
  /** @type {Record<string, string>} */
  const metadata = {};
  for (const [field, entry] of fields(model)) {
    if (field !== METADATA_PROPS) continue;
    const [key, value] = fields(entry).map(([, bytes]) => new TextDecoder().decode(bytes));
    metadata[key] = value;
  }
  return metadata;
}

/**
 * @param {Uint8Array} message
 * @returns {[number, Uint8Array][]} number and content of those fields that have a length
 */
function fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw new HearingError(`${MODEL} is cut short. Reload the page.`);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  /** @type {[number, Uint8Array][]} */
  const found = [];
  while (at < message.length) {
    const tag = varint();
    const kind = tag & 7;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else {
      const length = varint();
      found.push([tag >> 3, message.subarray(at, at + length)]);
      at += length;
    }
  }
  return found;
}

/**
 * @param {string} path beside this page
 * @param {Progress} onProgress
 * @returns {Promise<Uint8Array>}
 */
async function fetchBytes(path, onProgress) {
  const response = await fetch(path).catch(() => null);
  if (!response?.ok || !response.body) throw missing(path);
  const total = Number(response.headers.get("Content-Length"));
  /** @type {Uint8Array[]} */
  const chunks = [];
  let loaded = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw missing(path);
    });
    if (done) return new Uint8Array(await new Blob(chunks).arrayBuffer());
    chunks.push(value);
    loaded += value.length;
    onProgress(loaded, Math.max(loaded, total));
  }
}

/**
 * @param {Uint8Array} bytes compressed; or not, where the host let the browser decompress them
 * @returns {Promise<ArrayBuffer>}
 */
function unzip(bytes) {
  const compressed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  const stream = new Blob([bytes]).stream();
  const plain = compressed ? stream.pipeThrough(new DecompressionStream("gzip")) : stream;
  return new Response(plain).arrayBuffer();
}

/** @param {string} path */
function missing(path) {
  const name = path.split("/").at(-1);
  return new HearingError(
    `${name} could not be fetched. Check that the page's server still runs, then try again.`,
  );
}

/** @param {Float32Array} scores (C,) */
function softmax(scores) {
  const most = Math.max(...scores);
  const exponentials = Array.from(scores, (score) => Math.exp(score - most));
  const sum = exponentials.reduce((a, b) => a + b);
  return exponentials.map((x) => x / sum);
}
