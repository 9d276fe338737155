/** The two networks and what runs them: fetched once, when first needed, and run on one thread. */

import { HearingError, SAMPLE_RATE } from "./audio.js";
import { Recognizer } from "./recognizer.js";
import { Transcriber } from "./strings.js";

const RUNTIME = "./runtime/ort.wasm.min.mjs";
const WASM = "runtime/ort-wasm-simd-threaded.wasm.gz";
const DIGITS = "digits.onnx";
const STRINGS = "strings.onnx";

/** @typedef {{recognizer: Recognizer, transcriber: Transcriber}} Networks */

/**
 * @callback Progress
 * @param {number} loaded bytes so far
 * @param {number} total bytes in all
 */

/**
 * Fetch runtime and models, and open them.
 * @param {Progress} onProgress
 * @returns {Promise<Networks>}
 * @throws {HearingError} when something cannot be fetched or opened
 */
export async function loadNetworks(onProgress) {
  /** @type {Map<string, [number, number]>} */
  const counts = new Map();
  const fetchCounted = (path) => {
    counts.set(path, [0, 0]);
    return fetchBytes(path, (loaded, total) => {
      counts.set(path, [loaded, total]);
      const sum = (which) => [...counts.values()].reduce((all, count) => all + count[which], 0);
      onProgress(sum(0), sum(1));
    });
  };
  const [ort, wasm, digits, strings] = await Promise.all([
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
  const recognizer = new Recognizer(ort, ...(await open(ort, DIGITS, digits)));
  const opened = await open(ort, STRINGS, strings);
  const transcriber = new Transcriber(ort, ...opened, recognizer);
  // The first runs are slow: not the user's.
  await recognizer.hear(new Float32Array(SAMPLE_RATE));
  await transcriber.hear(new Float32Array(transcriber.block), transcriber.firstState());
  return { recognizer, transcriber };
}

/** @returns {Promise<[object, Record<string, string>]>} session and metadata of a model */
async function open(ort, name, model) {
  const metadata = readMetadata(model);
  if (metadata.format_version !== "1" || metadata.sample_rate_hz !== String(SAMPLE_RATE)) {
    throw new HearingError(`${name} is no model of this page. Reload; if it stays, report it.`);
  }
  const options = { executionProviders: ["wasm"] };
  return [await ort.InferenceSession.create(model, options), metadata];
}

/**
 * The entries of a model's `metadata_props`, read from the ONNX file as it is (a protocol buffer),
 * since the runtime for browsers does not give them.
 * @param {Uint8Array} model
 * @returns {Record<string, string>}
 */
function readMetadata(model) {
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
      if (byte === undefined) throw new HearingError("A model is cut short. Reload the page.");
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
