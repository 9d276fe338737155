/**
 * Where the sound of a file lies, and whether all of it is there: what a browser takes on trust.
 *
 * A browser reads a truncated file silently up to where it ends, and often the first of recordings
 * end to end. So WAV, Ogg, FLAC, MP3, MP4 and WebM are walked here first, as in
 * `spoken_digits/containers.py`, in the same words; a test holds both to one table of files.
 */

import { UserError } from "./audio.js";

const MAX_BYTES = 40e6; // of what the browser decodes, which it does only whole
const MAX_CHANNELS = 8;
const OPUS_RATE = 48000; // of what its decoder gives, whatever was recorded
const MAX_FRAME_BYTES = 1 << 17; // of FLAC, of up to 4,608 samples of 8 channels
const MIN_RATE = 4000;
const MAX_RATE = 192000;
const HEADER_BYTES = 44; // of a plain WAV: what a recorder counts as sound by mistake
const STREAMED = 0x7f000000; // what is written to a pipe declares this and more
const WINDOW_BYTES = 1 << 18;
const MAX_LEAD_BYTES = 1 << 16; // before an MP3's first frame
const WAVES = ["RIFF", "RIFX", "RF64", "BW64"];
const TAGS = ["TAG", "APETAGEX", "LYRICSBEGIN"]; // what may follow the sound
const EXTENSIBLE = 0xfffe;
/** @type {Record<number, [Sound["encoding"], number[]]>} by format, and its bytes of a sample */
const ENCODINGS = { 1: ["pcm", [1, 2, 3, 4]], 3: ["float", [4, 8]], 6: ["alaw", [1]], 7: ["ulaw", [1]] };
// Tags of AAC in WAV: Chromium 156 takes it, and gives 0.16 s of what was 1.7.
const AAC_IN_WAV = [0xff, 0x1610, 0x4143, 0x706d, 0xa106];
/** Formats that a browser may not read, by how a file begins. @type {[string, string][]} */
const OTHERS = [
  ["FORM", "AIFF"], ["caff", "CAF"], [".snd", "AU"], ["riff", "Wave64"], ["#!AMR", "AMR"],
  ["NIST_1A", "NIST SPHERE"], ["Creative Voice", "VOC"], ["\x30\x26\xb2\x75", "WMA"],
]; // prettier-ignore

/**
 * What a WAV file holds, where the page reads it itself.
 * @typedef {object} Sound
 * @property {number} rate Hz
 * @property {number} channels
 * @property {number} width bytes of a sample
 * @property {"pcm" | "float" | "alaw" | "ulaw"} encoding
 * @property {boolean} little whether the low byte comes first
 * @property {number} start the first of its bytes
 * @property {number} frames
 */

/**
 * One of the recordings that lie end to end in a file.
 * @typedef {object} Part
 * @property {Sound | null} sound null where the browser decodes it
 * @property {Blob} blob what is to be decoded
 * @property {number} seconds that a header declares, beyond which nothing says what is missing; 0
 *   where it says nothing
 * @property {number} rate Hz, as a header declares it; 0 where it says nothing
 */

/** @typedef {{parts: Part[], warnings: string[], kind: string}} Layout kind: what it is called */

/** @param {string} name of the file @param {string} missing @returns {UserError} */
export function truncated(name, missing) {
  return new UserError(
    `${name}: truncated, ${missing}; expected a whole file: copy or record it again`,
  );
}

/**
 * @param {File} file not empty
 * @returns {Promise<Layout>}
 * @throws {UserError} when it is truncated, or too large for what the browser decodes
 */
export async function findParts(file) {
  const window = new Window(file);
  let lead = 0;
  for (let tag; (tag = id3Size(await window.at(lead, 10))); ) lead += tag;
  const head = text(await window.at(lead, 16));
  if (WAVES.includes(head.slice(0, 4)) && head.slice(8, 12) === "WAVE") {
    const layout = await walkWav(window, lead);
    if (layout && !layout.parts.every((part) => part.sound)) checkSize(file);
    if (layout) return layout;
  }
  checkSize(file);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const walk = { OggS: walkOgg, fLaC: walkFlac }[head.slice(0, 4)];
  if (walk) return walk(bytes, lead, file.name);
  if (head.slice(4, 8) === "ftyp") return walkMp4(bytes, lead, file.name);
  if (head.startsWith("\x1a\x45\xdf\xa3")) return walkWebm(bytes, lead, file.name);
  const other = OTHERS.find(([magic]) => head.startsWith(magic));
  const whole = { parts: [encoded(bytes, lead, 0)], warnings: [], kind: other?.[1] ?? "" };
  return (other ? null : walkMpeg(bytes, lead, file.name)) ?? whole;
}

/** @param {File} file that the browser is to decode */
function checkSize({ name, size }) {
  if (size > MAX_BYTES) {
    throw new UserError(
      `${name}: ${count(Math.round(size / 1e6))} MB; expected up to ${MAX_BYTES / 1e6} MB, or a ` +
        "WAV of any size: convert it, or cut it",
    );
  }
}

/** Random access to a file, through one window of it. */
class Window {
  #start = 0;
  #content = new ArrayBuffer(0);

  /** @param {File} file */
  constructor(file) {
    this.file = file;
    this.size = file.size;
  }

  /** @param {number} at @param {number} count @returns {Promise<DataView>} of up to that many */
  async at(at, count) {
    if (at < this.#start || at + count > this.#start + this.#content.byteLength) {
      const stop = at + Math.max(count, WINDOW_BYTES);
      [this.#start, this.#content] = [at, await this.file.slice(at, stop).arrayBuffer()];
    }
    const offset = at - this.#start;
    return new DataView(this.#content, offset, Math.min(count, this.#content.byteLength - offset));
  }
}

/** @param {Uint8Array | DataView} bytes @param {number} [at] @param {number} [count] */
function text(bytes, at = 0, count = bytes.byteLength) {
  const begin = Math.min(at, bytes.byteLength); // beyond the end there is nothing
  const length = Math.min(count, bytes.byteLength - begin);
  return String.fromCharCode(...new Uint8Array(bytes.buffer, bytes.byteOffset + begin, length));
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes @param {number} at @param {number} rate @param {number} [stop]
 * @param {number} [seconds] @returns {Part}
 */
function encoded(bytes, at, rate, stop = bytes.length, seconds = 0) {
  return { sound: null, blob: new Blob([bytes.subarray(at, stop)]), seconds, rate };
}

/** @param {DataView} head 10 bytes @returns {number} bytes of an ID3v2 tag, 0 where none begins */
function id3Size(head) {
  if (head.byteLength < 10 || text(head, 0, 3) !== "ID3") return 0;
  const digits = [6, 7, 8, 9].map((at) => head.getUint8(at));
  if (Math.max(...digits) > 127) return 0;
  const footer = head.getUint8(5) & 16 ? 10 : 0;
  return digits.reduce((size, digit) => 128 * size + digit, 0) + 10 + footer;
}

/** @param {number} n */
const count = (n) => n.toLocaleString("en");

// ---- WAV ---------------------------------------------------------------------------------------

/**
 * @param {Window} window @param {number} start
 * @returns {Promise<Layout | null>} null where a header is no more than begun
 */
async function walkWav(window, start) {
  const { name } = window.file;
  /** @type {Part[]} */
  const parts = [];
  /** @type {string[]} */
  const warnings = [];
  while (start < window.size) {
    const found = await wavPart(window, start);
    if (!found) return null;
    const { sound, rate, at, declared, little } = found;
    const present = window.size - at;
    let bytes = declared ?? present;
    let stop = window.size;
    if (bytes === 0 && !(await areChunks(window, at, little))) bytes = present;
    else if (declared !== null) {
      const lacking = declared - present;
      if (lacking > 0) {
        const header = at - start;
        const isHeader = lacking <= HEADER_BYTES || [header, header - 8].includes(lacking);
        if (!isHeader) {
          throw truncated(name, `${count(lacking)} of ${count(declared)} bytes of sound are missing`);
        }
        warnings.push(`declares ${lacking} bytes of sound more than it holds; all are read`);
        bytes = present;
      }
      const end = at + bytes;
      const following = end + ((end - start) % 2);
      if (!(await areChunks(window, following, little))) {
        if (WAVES.includes(text(await window.at(following, 4)))) stop = following;
        else {
          warnings.push(
            `holds ${count(window.size - end)} bytes behind the ${count(declared)} bytes of sound ` +
              "that its header declares; they are left out",
          );
        }
      }
    }
    if (sound) {
      sound.frames = Math.floor(bytes / (sound.width * sound.channels));
      checkSound(sound, name);
    }
    parts.push({ sound, blob: window.file.slice(start, stop), seconds: 0, rate });
    start = stop;
  }
  return { parts, warnings, kind: parts.every((part) => part.sound) ? "WAV" : "compressed WAV" };
}

/**
 * @param {Window} window @param {number} start
 * @returns {Promise<{sound: Sound | null, rate: number, at: number, declared: number | null,
 *   little: boolean} | null>} where the sound begins, and its bytes, null where a header leaves them
 *   open
 */
async function wavPart(window, start) {
  const kind = text(await window.at(start, 4));
  const little = kind !== "RIFX";
  let sound = null;
  let rate = 0;
  let hasFormat = false;
  let long = null;
  for (let at = start + 12; at + 8 <= window.size; ) {
    const chunk = await window.at(at, 48);
    const name = text(chunk, 0, 4);
    const size = chunk.getUint32(4, little);
    if (name === "ds64" && kind !== "RIFF" && chunk.byteLength >= 24) {
      long = Number(chunk.getBigUint64(16, little));
    }
    if (name === "fmt " && size >= 16 && chunk.byteLength >= 24) {
      if (AAC_IN_WAV.includes(chunk.getUint16(8, little))) {
        throw new UserError(
          `${window.file.name}: WAV with AAC, which browsers do not read whole; expected WAV of ` +
            "PCM, FLAC, MP3 or Ogg: convert it",
        );
      }
      [hasFormat, sound] = [true, readFormat(chunk, size, little)];
      rate = chunk.getUint32(12, little);
    }
    if (name === "data") {
      if (!hasFormat) return null;
      let declared = /** @type {number | null} */ (size);
      if (long !== null && size === 0xffffffff) declared = long;
      else if (size >= STREAMED && size > window.size - at - 8) declared = null;
      if (sound) sound.start = at + 8;
      return { sound, rate, at: at + 8, declared, little };
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** @param {DataView} chunk @param {number} size @param {boolean} little @returns {Sound | null} */
function readFormat(chunk, size, little) {
  let format = chunk.getUint16(8, little);
  if (format === EXTENSIBLE && size >= 26 && chunk.byteLength >= 34) {
    format = chunk.getUint16(32, little);
  }
  const channels = chunk.getUint16(10, little);
  const rate = chunk.getUint32(12, little);
  const width = chunk.getUint16(22, little) / 8;
  const [encoding, widths] = ENCODINGS[format] ?? ["pcm", []];
  if (!widths.includes(width) || channels < 1 || channels > MAX_CHANNELS) return null;
  return { rate, channels, width, encoding, little, start: 0, frames: 0 };
}

/** @param {Sound} sound @param {string} name of the file */
function checkSound({ rate, frames }, name) {
  if (rate < MIN_RATE || rate > MAX_RATE) {
    throw new UserError(
      `${name}: a sample rate of ${count(rate)} Hz; expected ${count(MIN_RATE)} to ` +
        `${count(MAX_RATE)} Hz: resample it`,
    );
  }
  if (!frames) {
    throw new UserError(`${name}: no samples; expected a recording of speech: record it again`);
  }
}

/**
 * @param {Window} window @param {number} at @param {boolean} little
 * @returns {Promise<boolean>} whether all from here on is chunks, or a tag, or zeros, or nothing
 */
async function areChunks(window, at, little) {
  while (at < window.size) {
    const head = await window.at(at, 11);
    const start = text(head);
    if ([...TAGS, "ID3"].some((tag) => start.startsWith(tag))) return true;
    if (!/^[ -~]{4}/.test(start) || head.byteLength < 8) {
      const rest = await window.at(at, WINDOW_BYTES);
      const isZero = new Uint8Array(rest.buffer, rest.byteOffset, rest.byteLength).every((x) => !x);
      return isZero && at + rest.byteLength === window.size;
    }
    if (WAVES.includes(start.slice(0, 4))) return false;
    const size = head.getUint32(4, little);
    at += 8 + size + (size % 2);
  }
  return at <= window.size + 1;
}

// ---- what the browser decodes: whole, so its bytes are at hand ------------------------------------

/**
 * Split chained streams (RFC 3533, section 4); each must have its last page.
 * @param {Uint8Array<ArrayBuffer>} bytes @param {number} start @param {string} name
 * @returns {Layout}
 */
function walkOgg(bytes, start, name) {
  const view = new DataView(bytes.buffer);
  const starts = [start];
  /** @type {Set<number>} serial numbers of streams that have not ended */
  const opened = new Set();
  /** @type {Map<number, number>} of the next page, by stream */
  const numbers = new Map();
  let isHead = true;
  let gaps = 0;
  for (let at = start; at < bytes.length; ) {
    if (text(bytes, at, 4) !== "OggS" || at + 27 > bytes.length) {
      const next = find(bytes, [0x4f, 0x67, 0x67, 0x53], at + 1);
      if (text(bytes, at, 3) !== "TAG" && bytes.subarray(at, Math.min(next, at + 27)).some(Boolean)) {
        gaps += 1;
      }
      at = next;
      continue;
    }
    const flags = bytes[at + 5];
    const serial = view.getUint32(at + 14, true);
    const number = view.getUint32(at + 18, true);
    if (flags & 2) {
      if (!isHead) {
        if (opened.size) break;
        starts.push(at);
      }
      isHead = true;
      numbers.set(serial, number);
      opened.add(serial);
    } else isHead = false;
    if (number !== (numbers.get(serial) ?? number)) gaps += 1;
    numbers.set(serial, number + 1);
    const sizes = bytes.subarray(at + 27, at + 27 + bytes[at + 26]);
    const end = sizes.reduce((sum, size) => sum + size, at + 27 + bytes[at + 26]);
    if (end > bytes.length) break;
    if (flags & 4) opened.delete(serial);
    at = end;
  }
  if (opened.size) throw truncated(name, "the last page of its stream is missing");
  const parts = starts.map((first, i) => {
    return encoded(bytes, first, oggRate(bytes, first), starts[i + 1]);
  });
  const warnings = gaps ? ["lacks pages in the middle; what was said there is lost"] : [];
  const channels = Math.max(...starts.map((first) => vorbisChannels(bytes, first)));
  if (channels > 2) {
    warnings.push(
      `holds Vorbis of ${channels} channels, which Chromium decodes wrong (156): convert it to ` +
        "WAV or FLAC",
    );
  }
  return { parts, warnings, kind: "Ogg" };
}

/** @param {Uint8Array} bytes @param {number} page the first of a stream @returns {number} 0 if none */
function vorbisChannels(bytes, page) {
  const at = page + 27 + bytes[page + 26];
  return text(bytes, at, 7) === "\x01vorbis" && at + 12 <= bytes.length ? bytes[at + 11] : 0;
}

/** @param {Uint8Array<ArrayBuffer>} bytes @param {number} page the first of a stream @returns {number} Hz */
function oggRate(bytes, page) {
  const at = page + 27 + bytes[page + 26];
  const view = new DataView(bytes.buffer);
  const head = text(bytes, at, 8);
  if (at + 40 > bytes.length) return 0;
  if (head.startsWith("\x7fFLAC")) return view.getUint32(at + 27) >>> 12;
  if (head.startsWith("\x01vorbis")) return view.getUint32(at + 12, true);
  return head === "OpusHead" ? OPUS_RATE : 0;
}

/** @param {Uint8Array} bytes @param {number[]} wanted @param {number} at @returns {number} or its end */
function find(bytes, wanted, at) {
  for (; (at = bytes.indexOf(wanted[0], at)) >= 0; at++) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return bytes.length;
}

/**
 * Whether FLAC ends with a whole frame: its checksum, CRC-16, is right (RFC 9639, section 9.3).
 * @param {Uint8Array} bytes
 */
function endsWithFrame(bytes) {
  const isTag = text(bytes.subarray(-128), 0, 3) === "TAG";
  const end = bytes.length - (isTag ? 128 : 0);
  for (let at = end - 2; at >= Math.max(0, end - MAX_FRAME_BYTES); at--) {
    if (bytes[at] !== 0xff || (bytes[at + 1] & 0xfe) !== 0xf8) continue;
    let crc = 0;
    for (let i = at; i < end; i++) {
      crc ^= bytes[i] << 8;
      for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x8000 ? 0x18005 : 0);
    }
    if (!crc) return true;
  }
  return false;
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes @param {number} start @param {string} name of the file
 * @returns {Layout}
 */
function walkFlac(bytes, start, name) {
  const view = new DataView(bytes.buffer);
  /** @type {number[]} */
  const starts = [];
  for (let at = start; at < bytes.length; at = find(bytes, [0x66, 0x4c, 0x61, 0x43], at + 1)) {
    const isHeader = bytes[at + 4] % 128 === 0 && bytes[at + 7] === 34 && at + 26 <= bytes.length;
    if (isHeader && !bytes[at + 5] && !bytes[at + 6]) starts.push(at);
  }
  const parts = starts.map((at, i) => {
    const rate = view.getUint32(at + 18) >>> 12;
    const samples = (bytes[at + 21] % 16) * 2 ** 32 + view.getUint32(at + 22);
    if (!samples && !endsWithFrame(bytes.subarray(at, starts[i + 1]))) {
      throw truncated(name, "its last frame is not whole");
    }
    return encoded(bytes, at, rate, starts[i + 1], rate ? samples / rate : 0);
  });
  return { parts: parts.length ? parts : [encoded(bytes, start, 0)], warnings: [], kind: "FLAC" };
}

/**
 * Check that each box is whole (ISO 14496-12); the browser decodes it as it is.
 * @param {Uint8Array<ArrayBuffer>} bytes @param {number} start @param {string} name
 * @returns {Layout}
 */
function walkMp4(bytes, start, name) {
  const view = new DataView(bytes.buffer);
  for (let at = start; at + 16 <= bytes.length; ) {
    let size = view.getUint32(at);
    if (size === 1) size = Number(view.getBigUint64(at + 8));
    if (size === 0) break; // up to the end
    if (size < 8) break;
    at += size;
    if (at > bytes.length) {
      throw truncated(name, `${count(at - bytes.length)} of ${count(size)} bytes are missing`);
    }
  }
  // The first entry of the table of sample descriptions; of one for video this is no rate of sound.
  const entry = find(bytes, [0x73, 0x74, 0x73, 0x64], start) + 12;
  const rate = entry + 34 <= bytes.length ? view.getUint16(entry + 32) : 0;
  return { parts: [encoded(bytes, start, rate)], warnings: [], kind: "MP4" };
}

/**
 * Check that the segment is whole, where its size is known (RFC 8794).
 * @param {Uint8Array<ArrayBuffer>} bytes @param {number} start @param {string} name
 * @returns {Layout}
 */
function walkWebm(bytes, start, name) {
  let at = start;
  for (let element = 0; element < 2 && at + 12 <= bytes.length; element++) {
    const length = Math.clz32(bytes[at + 4]) - 23; // of the number that is the size
    let size = bytes[at + 4] % 2 ** (8 - length);
    for (let i = 1; i < length; i++) size = 256 * size + bytes[at + 4 + i];
    if (length > 8 || size >= 2 ** (7 * length) - 2) break; // unknown
    at += 4 + length + size;
    if (at > bytes.length) {
      throw truncated(name, `${count(at - bytes.length)} of ${count(size)} bytes are missing`);
    }
  }
  return { parts: [encoded(bytes, start, 0)], warnings: [], kind: "WebM" };
}

/** MPEG audio: kbit/s by (MPEG 1?, layer), from index 1 on. @type {Record<string, number[]>} */
const MPEG_KBITS = {
  "true 1": Array.from({ length: 14 }, (_, i) => 32 * (i + 1)),
  "true 2": [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
  "true 3": [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  "false 1": [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
  "false 2": [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
  "false 3": [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
};
const MPEG_RATES = [44100, 48000, 32000];

/**
 * The header of a frame of MPEG audio; `_mpeg_frame` in Python.
 * @param {Uint8Array} bytes @param {number} at
 * @returns {{size: number, samples: number, hz: number, stream: string, index: number} | null} bytes;
 *   of each channel; their rate; what all frames of a stream share; where an index would lie in the
 *   first of them
 */
function mpegFrame(bytes, at) {
  if (at + 4 > bytes.length || bytes[at] !== 0xff || bytes[at + 1] < 0xe0) return null;
  const version = (bytes[at + 1] >> 3) & 3;
  const layer = 4 - ((bytes[at + 1] >> 1) & 3);
  const kbits = bytes[at + 2] >> 4;
  const rate = (bytes[at + 2] >> 2) & 3;
  if (version === 1 || layer === 4 || kbits === 0 || kbits === 15 || rate === 3) return null;
  const isMpeg1 = version === 3;
  const isMono = bytes[at + 3] >> 6 === 3;
  const bits = 1000 * MPEG_KBITS[`${isMpeg1} ${layer}`][kbits - 1];
  const hz = MPEG_RATES[rate] >> (isMpeg1 ? 0 : version === 2 ? 1 : 2);
  const samples = layer === 1 ? 384 : layer === 3 && !isMpeg1 ? 576 : 1152;
  const slot = layer === 1 ? 4 : 1; // bytes, of which a frame's size is a multiple
  const size = (Math.floor(((samples / 8 / slot) * bits) / hz) + ((bytes[at + 2] >> 1) & 1)) * slot;
  const side = isMpeg1 ? (isMono ? 17 : 32) : isMono ? 9 : 17;
  return { size, samples, hz, stream: `${version} ${layer} ${rate} ${isMono}`, index: 4 + side };
}

/** @param {Uint8Array} bytes @param {number} at @returns {boolean} whether frames of a stream follow */
function isMpeg(bytes, at) {
  const first = mpegFrame(bytes, at);
  let frame = first;
  for (let i = 0; i < 3; i++) {
    if (!first || !frame || frame.stream !== first.stream) {
      return i > 0 && (at === bytes.length || text(bytes, at, 3) === "TAG");
    }
    at += frame.size;
    frame = mpegFrame(bytes, at);
  }
  return true;
}

/** @param {Uint8Array<ArrayBuffer>} bytes @param {number} at @returns {number} of a tag */
function tagSize(bytes, at) {
  const head = text(bytes, at, 11);
  if (head.startsWith("TAG")) return 128;
  const view = new DataView(bytes.buffer, at, Math.min(32, bytes.length - at));
  if (head.startsWith("APETAGEX") && view.byteLength >= 16) return 32 + view.getUint32(12, true);
  if (head.startsWith("LYRICSBEGIN")) return bytes.length - at;
  return id3Size(view);
}

/**
 * Split streams of MPEG audio end to end, and count their frames.
 * @param {Uint8Array<ArrayBuffer>} bytes @param {number} start @param {string} name
 * @returns {Layout | null} null where there is none
 */
function walkMpeg(bytes, start, name) {
  let at = start;
  const limit = Math.min(bytes.length, start + MAX_LEAD_BYTES);
  while (at < limit && !isMpeg(bytes, at)) at += 1;
  if (at >= limit) return null;
  let skipped = bytes.subarray(start, at).some(Boolean);
  let isIncomplete = false;
  /**
   * @type {{start: number, stop: number, count: number, samples: number, hz: number, stream: string,
   *   declared: number | null, field: number}[]} declared frames, and where they are declared
   */
  const streams = [];
  while (at < bytes.length) {
    const frame = mpegFrame(bytes, at);
    if (!frame) {
      let after = at + tagSize(bytes, at);
      if (after === at) {
        do after += 1;
        while (after < bytes.length && !isMpeg(bytes, after));
        skipped ||= bytes.subarray(at, after).some(Boolean);
      }
      at = after;
      continue;
    }
    if (at + frame.size > bytes.length) {
      isIncomplete = true;
      break;
    }
    const field = mpegIndex(bytes, at, frame.index);
    let last = streams[streams.length - 1];
    if (!last || field || last.stream !== frame.stream) {
      const declared = field ? new DataView(bytes.buffer).getUint32(field) : null;
      last = { start: at, stop: at, count: 0, declared, field, ...frame };
      streams.push(last);
    }
    if (!field) last.count += 1;
    at = last.stop = at + frame.size;
  }
  const warnings = skipped ? ["holds bytes between its MP3 frames that are none; they are left out"] : [];
  streams.forEach(({ count: held, declared, samples, field }, i) => {
    const lacking = (declared || held) - held;
    if (lacking > 1) {
      const wanted = count((declared ?? 0) * samples);
      throw truncated(name, `it holds ${count(held * samples)} of ${wanted} samples`);
    }
    if (lacking === 1 || (isIncomplete && i === streams.length - 1)) {
      warnings.push("ends within an MP3 frame; up to 0.1 s is lost");
    }
    if (lacking < 0) {
      warnings.push(`declares ${count(declared ?? 0)} MP3 frames and holds ${count(held)}; all are read`);
      new DataView(bytes.buffer).setUint32(field, held); // or a browser may stop there
    }
  });
  const parts = streams.filter((one) => one.count).map((one) => encoded(bytes, one.start, one.hz, one.stop));
  return { parts, warnings, kind: "MP3" };
}

/** @param {Uint8Array<ArrayBuffer>} bytes @param {number} at @param {number} index @returns {number} */
function mpegIndex(bytes, at, index) {
  const name = text(bytes, at + index, 4);
  const hasCount = (name === "Xing" || name === "Info") && bytes[at + index + 7] & 1;
  if (hasCount && at + index + 12 <= bytes.length) return at + index + 8;
  return text(bytes, at + 36, 4) === "VBRI" && at + 54 <= bytes.length ? at + 50 : 0;
}
