/**
 * The two networks and what runs them: fetched once, when first needed, and run on one thread.
 *
 * As in `spoken_digits/networks.py`, every threshold and weight that was fitted to a network is read
 * from its file's metadata. Shapes: L samples, M mel bands, T frames, C classes, U steps.
 */

import { SAMPLE_RATE, UserError } from "./audio.js";
import { logAddExp, logOdds, logSoftmax, softmax } from "./probability.js";
import { LABELS, OH, readDecoding, singleWord } from "./spotting.js";

const RUNTIME = "./runtime/ort.wasm.min.mjs";
const WASM = "runtime/ort-wasm-simd-threaded.wasm.gz";
const DIGITS = "digits.onnx";
const STRINGS = "strings.onnx";
const FORMAT_VERSIONS = { [DIGITS]: "2", [STRINGS]: "3" };
const STATE = "state_";
const NEW_STATE = "new_state_";

/** @typedef {import("onnxruntime-web")} Runtime */
/** @typedef {import("onnxruntime-web").InferenceSession} Session */
/** @typedef {import("onnxruntime-web").Tensor} Tensor */
/** @typedef {Record<string, string>} Metadata */
/** @typedef {Record<string, Tensor>} State by name, what goes from one block into the next */
/** @typedef {{digits: DigitNetwork, strings: StringNetwork}} Networks */

/**
 * @callback Progress
 * @param {number} loaded bytes so far
 * @param {number} total bytes in all
 */

/**
 * Fetch runtime and models, and open them.
 * @param {Progress} onProgress
 * @returns {Promise<Networks>}
 * @throws {UserError} when something cannot be fetched or opened
 */
export async function loadNetworks(onProgress) {
  /** @type {Map<string, [number, number]>} */
  const counts = new Map();
  /** @param {string} path */
  const fetchCounted = (path) => {
    counts.set(path, [0, 0]);
    return fetchBytes(path, (loaded, total) => {
      counts.set(path, [loaded, total]);
      const all = [...counts.values()];
      onProgress(
        all.reduce((sum, [bytes]) => sum + bytes, 0),
        all.reduce((sum, [, bytes]) => sum + bytes, 0),
      );
    });
  };
  /** @type {[Runtime, ArrayBuffer, Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>]} */
  const [ort, wasm, digitsFile, stringsFile] = await Promise.all([
    import(RUNTIME).catch(() => {
      throw missing(RUNTIME);
    }),
    fetchCounted(WASM).then(unzip),
    fetchCounted(DIGITS),
    fetchCounted(STRINGS),
  ]);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = 1; // more would need headers that a static host does not send
  ort.env.wasm.wasmBinary = wasm;
  const digits = new DigitNetwork(ort, ...(await open(ort, DIGITS, digitsFile)));
  const strings = new StringNetwork(ort, ...(await open(ort, STRINGS, stringsFile)));
  // The first runs are slow: not the user's.
  await digits.run(new Float32Array(SAMPLE_RATE));
  await strings.run(new Float32Array(strings.block), strings.firstState());
  return { digits, strings };
}

/** The network for single digits. */
export class DigitNetwork {
  #session;
  #makeTensor;

  /**
   * @param {Runtime} ort
   * @param {Session} session
   * @param {Metadata} metadata
   */
  constructor(ort, session, metadata) {
    this.#session = session;
    /** @param {Float32Array} clip */
    this.#makeTensor = (clip) => new ort.Tensor("float32", clip, [1, clip.length]);
    this.metadata = metadata;
    /** @type {string[]} */
    this.labels = JSON.parse(metadata.labels);
    const rejects = session.outputNames.includes("rejection");
    // "oh" beside the ten digits is scored apart, and is none of the labels.
    this.knowsOh = rejects && isSame(this.labels, LABELS.slice(0, OH + 1));
    if (this.knowsOh) this.labels = this.labels.slice(0, OH);
    /** As `Decision` in networks.py: log-odds; probabilities. */
    this.decision = {
      rejectionThreshold: rejects ? parseFloat(metadata.rejection_threshold) : -Infinity,
      minProbability: parseFloat(metadata.min_probability),
      minMargin: parseFloat(metadata.min_margin),
      stringWeight: parseFloat(metadata.string_weight ?? "0"),
      minOh: parseFloat(metadata.min_oh ?? "0"),
    };
    if (Object.values(this.decision).some(Number.isNaN)) throw notOurs(DIGITS);
  }

  /**
   * @param {Float32Array} clip (L,) at 8 kHz
   * @returns {Promise<{scores: Float32Array, logOdds: number, isOh: number,
   *   logMel: import("./recognize.js").LogMel}>} (C,) logits; of being any of the labels, those of
   *   the largest probability where the network does not estimate it; log-odds of being "oh",
   *   -Infinity for a network that does not know it; (M, T)
   */
  async run(clip) {
    const outputs = await this.#session.run({ waveform: this.#makeTensor(clip) });
    const [, bands, frames] = outputs.log_mel.dims;
    const scores = floats(outputs.scores);
    const rejection = outputs.rejection && floats(outputs.rejection)[0];
    return {
      scores: this.knowsOh ? scores.slice(0, OH) : scores,
      ...(this.knowsOh
        ? withoutOh([...scores], rejection)
        : { logOdds: rejection ?? logOdds(Math.max(...softmax(scores))), isOh: -Infinity }),
      logMel: { values: floats(outputs.log_mel), bands, frames },
    };
  }
}

/**
 * Take "oh" out of the labels, as `_without_oh` in networks.py does.
 * @param {number[]} scores (11,) of the ten digits and "oh"
 * @param {number} rejection log-odds of being one of these
 */
function withoutOh(scores, rejection) {
  const [digits, oh] = [scores.slice(0, OH).reduce(logAddExp), scores[OH]];
  const other = logAddExp(digits, oh) - rejection;
  return { logOdds: digits - logAddExp(other, oh), isOh: oh - logAddExp(other, digits) };
}

/** The network for strings of digits, run block by block. */
export class StringNetwork {
  #session;
  #makeTensor;

  /**
   * @param {Runtime} ort
   * @param {Session} session
   * @param {Metadata} metadata
   */
  constructor(ort, session, metadata) {
    this.#session = session;
    /** @param {Float32Array} data @param {readonly number[]} dims */
    this.#makeTensor = (data, dims) => new ort.Tensor("float32", data, dims);
    this.metadata = metadata;
    const decoding = readDecoding(metadata);
    if (!decoding || !isSame(JSON.parse(metadata.labels ?? "[]"), LABELS)) throw notOurs(STRINGS);
    this.decoding = decoding;
    this.step = Number(metadata.step); // samples
    this.block = Number(metadata.block); // samples, some steps
    this.lookahead = Number(metadata.lookahead); // samples
  }

  /** @returns {State} before the first block */
  firstState() {
    const states = this.#session.inputMetadata.filter(({ name }) => name.startsWith(STATE));
    return Object.fromEntries(
      states.map((input) => {
        const shape = input.isTensor ? input.shape.map(Number) : [];
        const size = shape.reduce((a, b) => a * b, 1);
        return [input.name, this.#makeTensor(new Float32Array(size), shape)];
      }),
    );
  }

  /**
   * @param {Float32Array} samples (L,) at 8 kHz, one or more blocks
   * @param {State} state
   * @returns {Promise<{scores: Float32Array[], edges: Float32Array[], state: State}>} (U, C)
   *   logits; (U, 2) seconds since the digit's start and end; the new state
   */
  async run(samples, state) {
    const waveform = this.#makeTensor(samples, [1, samples.length]);
    const outputs = await this.#session.run({ waveform, ...state });
    return {
      scores: rows(outputs.scores),
      edges: rows(outputs.edges),
      state: Object.fromEntries(
        Object.keys(state).map((name) => [name, outputs[name.replace(STATE, NEW_STATE)]]),
      ),
    };
  }

  /**
   * How much silence to run after the last samples: in it the network may emit the last word, and
   * both together are of whole blocks.
   * @param {number} count of these samples
   */
  silenceAfter(count) {
    return Math.ceil((count + this.lookahead) / this.block) * this.block - count;
  }

  /**
   * Score a clip, and silence after it.
   * @param {Float32Array} clip (L,) at 8 kHz
   * @returns {Promise<number[]>} (C,) as of `singleWord`
   */
  async scoreClip(clip) {
    const samples = new Float32Array(clip.length + this.silenceAfter(clip.length));
    samples.set(clip);
    const { scores } = await this.run(samples, this.firstState());
    return singleWord(scores.map(logSoftmax));
  }
}

/** @param {unknown} labels @param {string[]} expected */
function isSame(labels, expected) {
  return JSON.stringify(labels) === JSON.stringify(expected);
}

/** @param {Tensor} tensor @returns {Float32Array} all its values */
function floats({ data }) {
  return /** @type {Float32Array} */ (data);
}

/** @param {Tensor} tensor (1, U, C) @returns {Float32Array[]} U rows */
function rows(tensor) {
  const [, steps, width] = tensor.dims;
  const data = floats(tensor);
  return Array.from({ length: steps }, (_, u) => data.subarray(u * width, (u + 1) * width));
}

/**
 * @param {Runtime} ort
 * @param {typeof DIGITS | typeof STRINGS} name
 * @param {Uint8Array<ArrayBuffer>} model
 * @returns {Promise<[Session, Metadata]>}
 */
async function open(ort, name, model) {
  const metadata = readMetadata(model);
  const { format_version: version, sample_rate_hz: rate } = metadata;
  if (version !== FORMAT_VERSIONS[name] || rate !== String(SAMPLE_RATE)) throw notOurs(name);
  return [await ort.InferenceSession.create(model, { executionProviders: ["wasm"] }), metadata];
}

/**
 * The entries of a model's `metadata_props`, read from the ONNX file as it is (a protocol buffer),
 * since the runtime for browsers does not give them.
 * @param {Uint8Array} model
 * @returns {Metadata}
 */
function readMetadata(model) {
  const METADATA_PROPS = 14;
  /** @type {Metadata} */
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
      if (byte === undefined) throw new UserError("A model is cut short. Reload the page.");
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
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function fetchBytes(path, onProgress) {
  const response = await fetch(path).catch(() => null);
  if (!response?.ok || !response.body) throw missing(path);
  const total = Number(response.headers.get("Content-Length"));
  /** @type {Uint8Array<ArrayBuffer>[]} */
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
 * @param {Uint8Array<ArrayBuffer>} bytes compressed; or not, where the host let the browser decompress them
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
  return new UserError(
    `${name} could not be fetched. Check that the page's server still runs, then try again.`,
  );
}

/** @param {string} name */
function notOurs(name) {
  return new UserError(`${name} is no model of this page. Reload; if it stays, report it.`);
}
