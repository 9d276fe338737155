/**
 * A file as samples at 8 kHz, piece by piece.
 *
 * A WAV file of any length is read as it is needed, so that hours take no more memory than
 * seconds. What is compressed the browser decodes, but only whole: that has its limits.
 */

import { UserError, SAMPLE_RATE } from "./audio.js";
import { ChannelComparison, average } from "./channels.js";
import { Resampler } from "./resample.js";

const MAX_DECODED_MB = 40;
const MAX_DECODED_S = 600; // in stereo at 48 kHz, 230 MB in the browser's memory
const PIECE_S = 2;
const MAX_CHANNELS = 8;
const STREAMED = 0x7f000000; // a file written to a pipe declares 0 bytes of sound, or this and more
const [PCM, FLOAT, EXTENSIBLE] = [1, 3, 0xfffe];
const MIN_RATE = 4000;
const MAX_RATE = 192000;

/** @typedef {{duration: number, pieces: AsyncGenerator<Float32Array>}} Recording seconds; (L,) each */

/**
 * @param {File} file
 * @returns {Promise<Recording>}
 * @throws {UserError} when it is empty, too large, too long, or no audio; its pieces likewise
 */
export async function openFile(file) {
  if (file.size === 0) throw new UserError(`${file.name} is empty. Copy or record it again.`);
  const sound = await findSound(file);
  if (sound) {
    const duration = sound.frames / sound.rate;
    const pieces = mono(() => readWav(file, sound), sound.channels, sound.rate);
    return { duration, pieces: resampled(pieces, sound.rate) };
  }
  const decoded = await decode(file);
  const { duration, sampleRate, numberOfChannels } = decoded;
  const pieces = mono(() => cut(decoded), numberOfChannels, sampleRate);
  return { duration, pieces: resampled(pieces, sampleRate) };
}

/**
 * @param {() => AsyncGenerator<Float32Array[]>} read gives pieces of channels, as often as asked
 * @param {number} count of channels
 * @param {number} rate Hz
 * @returns {AsyncGenerator<Float32Array>} of the channels with the speech
 */
async function* mono(read, count, rate) {
  let taken = [0];
  if (count > 1) {
    const comparison = new ChannelComparison(count, rate);
    for await (const piece of read()) comparison.add(piece);
    taken = comparison.choose();
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

/**
 * @typedef {object} Sound of a WAV file
 * @property {number} rate Hz
 * @property {number} channels
 * @property {number} width bytes of a sample
 * @property {boolean} float
 * @property {number} start the first of its bytes
 * @property {number} frames
 */

/**
 * @param {File} file
 * @returns {Promise<Sound | null>} null where it is no WAV, or one that only the browser may know
 */
async function findSound(file) {
  /** @param {number} start @param {number} length */
  const read = async (start, length) =>
    new DataView(await file.slice(start, start + length).arrayBuffer());
  /** @param {DataView<ArrayBuffer>} view @param {number} at */
  const name = (view, at) => String.fromCharCode(...new Uint8Array(view.buffer, at, 4));
  const head = await read(0, 12);
  if (head.byteLength < 12 || name(head, 0) !== "RIFF" || name(head, 8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= file.size; ) {
    const chunk = await read(at, 8);
    const size = chunk.getUint32(4, true);
    if (name(chunk, 0) === "fmt " && size >= 16) {
      const view = await read(at + 8, Math.min(size, 40));
      if (view.byteLength < 16) return null;
      let kind = view.getUint16(0, true);
      if (kind === EXTENSIBLE && view.byteLength >= 26) kind = view.getUint16(24, true);
      format = {
        channels: view.getUint16(2, true),
        rate: view.getUint32(4, true),
        width: view.getUint16(14, true) / 8,
        float: kind === FLOAT,
      };
      const widths = kind === PCM ? [1, 2, 3, 4] : kind === FLOAT ? [4, 8] : [];
      if (!widths.includes(format.width)) return null;
    }
    if (name(chunk, 0) === "data") {
      if (!format || format.channels < 1 || format.channels > MAX_CHANNELS) return null;
      if (format.rate < MIN_RATE || format.rate > MAX_RATE) return null;
      const present = file.size - at - 8;
      if (present < size && size < STREAMED) {
        throw new UserError(`${file.name} is cut short. Copy or record it again.`);
      }
      const bytes = size === 0 ? present : Math.min(size, present);
      const frames = Math.floor(bytes / (format.width * format.channels));
      return { ...format, start: at + 8, frames };
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** @type {Record<string, [number, (view: DataView, at: number) => number]>} full scale, reader */
const READERS = {
  1: [128, (view, at) => view.getUint8(at) - 128],
  2: [2 ** 15, (view, at) => view.getInt16(at, true)],
  3: [2 ** 23, (view, at) => view.getUint16(at, true) + 65536 * view.getInt8(at + 2)],
  4: [2 ** 31, (view, at) => view.getInt32(at, true)],
  float4: [1, (view, at) => view.getFloat32(at, true)],
  float8: [1, (view, at) => view.getFloat64(at, true)],
};

/** @param {File} file @param {Sound} sound @returns {AsyncGenerator<Float32Array[]>} channels */
async function* readWav(file, { rate, channels, width, float, start, frames }) {
  const [scale, sample] = READERS[float ? `float${width}` : width];
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
        piece[channel][i] = sample(view, at) / scale;
        if (!Number.isFinite(piece[channel][i])) {
          throw new UserError(`${file.name} holds values that are no samples. Write it again.`);
        }
      }
    }
    yield piece;
  }
}

// ---- what the browser decodes ------------------------------------------------------------------

/** @param {File} file @returns {Promise<AudioBuffer>} at 8 kHz */
async function decode(file) {
  if (file.size > MAX_DECODED_MB * 1e6) {
    throw new UserError(
      `${file.name} has ${Math.round(file.size / 1e6).toLocaleString("en")} MB; up to ` +
        `${MAX_DECODED_MB} MB are accepted, or a WAV file of any size. Convert it, or cut it.`,
    );
  }
  checkDuration(await headerDuration(file), file.name);
  let decoded;
  try {
    const context = new OfflineAudioContext(1, 1, SAMPLE_RATE); // it resamples as it decodes
    decoded = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new UserError(
      `${file.name} is no audio that this browser can read. WAV, FLAC, MP3 and OGG work almost ` +
        "everywhere: convert it, or speak instead.",
    );
  }
  checkDuration(decoded.duration, file.name);
  return decoded;
}

/** @param {AudioBuffer} buffer @returns {AsyncGenerator<Float32Array[]>} channels */
async function* cut(buffer) {
  const length = PIECE_S * buffer.sampleRate;
  for (let first = 0; first < buffer.length; first += length) {
    yield Array.from({ length: buffer.numberOfChannels }, (_, channel) =>
      buffer.getChannelData(channel).subarray(first, first + length),
    );
  }
}

/** @param {number} duration in seconds @param {string} name of the file */
function checkDuration(duration, name) {
  if (duration > MAX_DECODED_S && Number.isFinite(duration)) {
    throw new UserError(
      `${name} lasts ${Math.round(duration / 60)} minutes; up to ${MAX_DECODED_S / 60} are ` +
        "accepted, or a WAV file of any length. Convert it, or cut it.",
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
