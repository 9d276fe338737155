/**
 * A file as samples at 8 kHz, piece by piece.
 *
 * A WAV file of any length is read as it is needed, so that hours take no more memory than
 * seconds. What is compressed the browser decodes, but only whole: that has its limits.
 */

import { UserError } from "./audio.js";
import { ChannelComparison, average } from "./channels.js";
import { findParts, truncated } from "./containers.js";
import { Resampler } from "./resample.js";

const MAX_DECODED_S = 600; // in stereo at 48 kHz, 230 MB in the browser's memory
const DECODED_RATES = [8000, 96000]; // Hz, that every browser can decode to
const DECODED_RATE = 48000; // where a file does not tell its own
const PIECE_S = 2;
const MAX_AMPLITUDE = 2 ** 32; // floats on the scale of integers pass
const MAX_LOST_S = 0.01; // of a decoded file, between what its header declares and what there is

/** @typedef {import("./containers.js").Sound} Sound */

/**
 * @typedef {object} Recording
 * @property {number} duration seconds
 * @property {string[]} warnings what is odd about it; complete after the last piece
 * @property {AsyncGenerator<Float32Array>} pieces (L,) each, at 8 kHz
 */

/**
 * What is read, as often as asked, in pieces of channels.
 * @typedef {object} Source
 * @property {number} channels
 * @property {number} rate Hz
 * @property {number} duration seconds
 * @property {() => AsyncGenerator<Float32Array[]>} read
 */

/**
 * @param {File} file
 * @param {number | null} [channel] to take, 1 is the first; null: the one with the most speech
 * @returns {Promise<Recording>}
 * @throws {UserError} when it is empty, truncated, too large, too long, or no audio, or has no such
 *   channel; its pieces likewise
 */
export async function openFile(file, channel = null) {
  const { name } = file;
  if (file.size === 0) {
    throw new UserError(`${name}: an empty file; expected a recording: copy or record it again`);
  }
  const layout = await findParts(file);
  const warnings = layout.warnings.map((warning) => `${name}: ${warning}`);
  /** @type {Source[]} */
  const sources = [];
  const isDecoded = !layout.parts.every(({ sound }) => sound);
  if (isDecoded) checkDuration(await headerDuration(file), name);
  for (const part of layout.parts) {
    sources.push(part.sound ? wavSource(file, part.sound) : await decode(part, name, layout.kind));
  }
  const duration = sources.reduce((sum, source) => sum + source.duration, 0);
  if (isDecoded) checkDuration(duration, name);
  const rates = [...new Set(sources.map(({ rate }) => rate))];
  if (rates.length > 1) {
    const all = rates.map((rate) => rate.toLocaleString("en")).join(" and ");
    throw new UserError(
      `${name}: several recordings end to end, at ${all} Hz; expected one rate: split them`,
    );
  }
  for (const { channels } of sources) {
    if (channel && channel > channels) {
      const expected = channels > 1 ? `1 to ${channels}` : "1, the only one";
      throw new UserError(`${name}: no channel ${channel}; expected ${expected}`);
    }
  }
  async function* mixed() {
    for (const source of sources) yield* mono(source, channel, name, warnings);
  }
  return { duration, warnings, pieces: resampled(mixed(), rates[0]) };
}

/**
 * @param {Source} source
 * @param {number | null} channel
 * @param {string} name of the file
 * @param {string[]} warnings to which a doubt about the choice is added
 * @returns {AsyncGenerator<Float32Array>} of the channels with the speech
 */
async function* mono({ channels, rate, read }, channel, name, warnings) {
  let taken = [channel ? channel - 1 : 0];
  if (channels > 1 && !channel) {
    const comparison = new ChannelComparison(channels, rate);
    for await (const piece of read()) comparison.add(piece);
    const mix = comparison.choose();
    taken = mix.taken;
    const warning =
      `${name}: its channels differ; channel ${taken[0] + 1} of ${channels} is taken, the loudest: ` +
      "for another one, add ?channel=N to the address of this page";
    if (mix.isDoubtful && !warnings.includes(warning)) warnings.push(warning);
  }
  for await (const piece of read()) yield average(piece, taken);
}

/**
 * @param {AsyncGenerator<Float32Array>} pieces
 * @param {number} rate Hz
 * @returns {AsyncGenerator<Float32Array>} at 8 kHz
 */
async function* resampled(pieces, rate) {
  const resampler = new Resampler(rate);
  for await (const piece of pieces) yield resampler.add(piece);
  yield resampler.finish();
}

// ---- WAV ---------------------------------------------------------------------------------------

/** @param {File} file @param {Sound} sound @returns {Source} */
function wavSource(file, sound) {
  const { rate, channels, frames } = sound;
  return { rate, channels, duration: frames / rate, read: () => readWav(file, sound) };
}

/** @typedef {(view: DataView, at: number, little: boolean) => number} Reader */
/** @type {Record<string, [number, Reader]>} full scale, reader; by encoding and bytes of a sample */
const READERS = {
  pcm1: [128, (view, at) => view.getUint8(at) - 128],
  pcm2: [2 ** 15, (view, at, little) => view.getInt16(at, little)],
  pcm3: [
    2 ** 23,
    (view, at, little) =>
      little
        ? view.getUint16(at, true) + 65536 * view.getInt8(at + 2)
        : view.getUint16(at + 1) + 65536 * view.getInt8(at),
  ],
  pcm4: [2 ** 31, (view, at, little) => view.getInt32(at, little)],
  float4: [1, (view, at, little) => view.getFloat32(at, little)],
  float8: [1, (view, at, little) => view.getFloat64(at, little)],
  alaw1: [2 ** 15, (view, at) => alaw(view.getUint8(at))],
  ulaw1: [2 ** 15, (view, at) => ulaw(view.getUint8(at))],
};

/** ITU-T G.711, table 1a. @param {number} code 8 bits @returns {number} 16 bits */
function alaw(code) {
  code ^= 0x55;
  const exponent = (code >> 4) & 7;
  const low = 16 * (code & 15) + 8;
  const size = exponent ? (low + 256) << (exponent - 1) : low;
  return code & 128 ? size : -size;
}

/** ITU-T G.711, table 2a. @param {number} code 8 bits @returns {number} 16 bits */
function ulaw(code) {
  code ^= 0xff;
  const size = ((8 * (code & 15) + 132) << ((code >> 4) & 7)) - 132;
  return code & 128 ? -size : size;
}

/** @param {File} file @param {Sound} sound @returns {AsyncGenerator<Float32Array[]>} channels */
async function* readWav(file, { rate, channels, width, encoding, little, start, frames }) {
  const [scale, sample] = READERS[encoding + width];
  const size = width * channels;
  const length = PIECE_S * rate;
  for (let first = 0; first < frames; first += length) {
    const count = Math.min(length, frames - first);
    const from = start + first * size;
    let view;
    try {
      view = new DataView(await file.slice(from, from + count * size).arrayBuffer());
    } catch {
      throw new UserError(`${file.name} can no longer be read. Choose it again.`);
    }
    const piece = Array.from({ length: channels }, () => new Float32Array(count));
    for (let i = 0, at = 0; i < count; i++) {
      for (let channel = 0; channel < channels; channel++, at += width) {
        piece[channel][i] = sample(view, at, little) / scale;
        if (!(Math.abs(piece[channel][i]) <= MAX_AMPLITUDE)) {
          throw new UserError(
            `${file.name}: samples that are NaN, infinite or beyond 4e+09; expected numbers with ` +
              "1.0 as full scale: record or convert it again",
          );
        }
      }
    }
    yield piece;
  }
}

// ---- what the browser decodes ------------------------------------------------------------------

/**
 * Decode at the file's own rate: a browser resamples with a short filter. Chromium's lets a tone of
 * 5 kHz through as one of 3 kHz, 16 dB fainter, where 48 kHz become 8 (docs/readers.md).
 * @param {import("./containers.js").Part} part
 * @param {string} name of the file
 * @param {string} kind of file, "" where it is not known
 * @returns {Promise<Source>}
 */
async function decode({ blob, seconds, rate }, name, kind) {
  /** @type {AudioBuffer} */
  let decoded;
  try {
    const isUsual = rate >= DECODED_RATES[0] && rate <= DECODED_RATES[1];
    const context = new OfflineAudioContext(1, 1, isUsual ? rate : DECODED_RATE);
    decoded = await context.decodeAudioData(await blob.arrayBuffer());
  } catch {
    throw new UserError(
      `${name}: ${kind ? `${kind}, which this browser cannot read` : "no audio that is known"}; ` +
        "expected WAV, FLAC, MP3 or Ogg: convert it, or speak instead",
    );
  }
  const { duration, numberOfChannels, sampleRate, length } = decoded;
  if (duration < seconds - MAX_LOST_S) {
    const [held, wanted] = [duration, seconds].map((s) => s.toFixed(1));
    throw truncated(name, `it holds ${held} of ${wanted} s`);
  }
  async function* read() {
    const size = PIECE_S * sampleRate;
    for (let first = 0; first < length; first += size) {
      yield Array.from({ length: numberOfChannels }, (_, channel) =>
        decoded.getChannelData(channel).subarray(first, first + size),
      );
    }
  }
  return { channels: numberOfChannels, rate: sampleRate, duration, read };
}

/** @param {number} duration in seconds @param {string} name of the file */
function checkDuration(duration, name) {
  if (duration > MAX_DECODED_S && Number.isFinite(duration)) {
    throw new UserError(
      `${name}: ${Math.round(duration / 60)} minutes long; expected up to ${MAX_DECODED_S / 60}, ` +
        "or a WAV of any length: convert it, or cut it",
    );
  }
}

/**
 * The duration that a file's header states, so that hours are never decoded.
 * @param {File} file
 * @returns {Promise<number>} seconds; 0 where the browser cannot tell
 */
function headerDuration(file) {
  const element = document.createElement("audio");
  const url = URL.createObjectURL(file);
  return new Promise((resolve) => {
    element.onloadedmetadata = () => resolve(element.duration);
    element.onerror = () => resolve(0);
    setTimeout(resolve, 2000, 0);
    element.preload = "metadata";
    element.src = url;
  }).finally(() => {
    element.removeAttribute("src");
    URL.revokeObjectURL(url);
  });
}
