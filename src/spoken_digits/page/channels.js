/**
 * Which channel of a recording carries the speech: an average can cancel it.
 *
 * The same choice as in `spoken_digits/channels.py`, where it is described; a test holds both to the
 * same answers.
 */

const FRAME_S = 0.03;
const EQUAL = 0.999;
const SAME = 0.9;
const QUANTILE = 0.1;

/** Compares channels that come in pieces. */
export class ChannelComparison {
  /** @param {number} count of channels, 2 or more @param {number} rate Hz */
  constructor(count, rate) {
    this.count = count;
    this.frame = Float64Array.from({ length: Math.max(1, Math.round(FRAME_S * rate)) * count });
    this.filled = 0; // of the frame's samples, of each channel
    /** @type {number[][]} by channel: root mean square of each frame */
    this.levels = Array.from({ length: count }, () => []);
    this.products = new Float64Array(count * count);
  }

  /** @param {Float32Array[]} piece channels, (L,) each */
  add(piece) {
    const length = this.frame.length / this.count;
    for (let i = 0; i < piece[0].length; i++) {
      for (let c = 0; c < this.count; c++) this.frame[c * length + this.filled] = piece[c][i];
      this.filled += 1;
      if (this.filled === length) this.addFrame();
    }
  }

  /** @returns {number[]} the channel with the most speech, and those that are the same, from 0 */
  choose() {
    if (!this.levels[0].length && this.filled) this.addFrame();
    const speech = this.levels.map((levels) => {
      const quiet = quantile(levels, QUANTILE);
      const above = levels.map((x) => Math.max(x - quiet, 0) + 1e-3 * x);
      return above.reduce((sum, x) => sum + x, 0) / levels.length;
    });
    const best = speech.findIndex((x) => x >= EQUAL * Math.max(...speech));
    /** @param {number} a @param {number} b */
    const product = (a, b) => this.products[a * this.count + b];
    return speech.flatMap((_, c) => {
      const scale = Math.sqrt(Math.max(product(c, c) * product(best, best), 1e-30));
      return c === best || product(best, c) / scale >= SAME ? [c] : [];
    });
  }

  addFrame() {
    const length = this.frame.length / this.count;
    const channels = this.levels.map((_, c) => {
      const samples = this.frame.subarray(c * length, c * length + this.filled);
      const mean = samples.reduce((sum, x) => sum + x, 0) / this.filled;
      return samples.map((x) => x - mean);
    });
    for (let a = 0; a < this.count; a++) {
      for (let b = 0; b < this.count; b++) {
        let sum = 0;
        for (let i = 0; i < this.filled; i++) sum += channels[a][i] * channels[b][i];
        this.products[a * this.count + b] += sum;
        if (a === b) this.levels[a].push(Math.sqrt(sum / this.filled));
      }
    }
    this.filled = 0;
  }
}

/**
 * @param {Float32Array[]} piece channels
 * @param {number[]} taken which of them
 * @returns {Float32Array} their average
 */
export function average(piece, taken) {
  return piece[0].map((_, i) => taken.reduce((sum, c) => sum + piece[c][i], 0) / taken.length);
}

/** @param {number[]} values @param {number} q 0 to 1 @returns {number} between two, linear */
function quantile(values, q) {
  const sorted = Float64Array.from(values).sort();
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const above = sorted[Math.min(below + 1, sorted.length - 1)];
  return sorted[below] + (at - below) * (above - sorted[below]);
}
