/**
 * Which channel of a recording carries the speech: an average can cancel it.
 *
 * The same choice as in `spoken_digits/channels.py`, where it is described; a test holds both to the
 * same answers.
 */

const FRAME_S = 0.03;
const EQUAL = 0.999;
const SAME = 0.9;
const ALIKE = 0.6;
const QUIET = 0.1;
const QUANTILE = 0.1;
const DELAY_RATE = 4000; // Hz, of what is compared at delays: there, each costs a product a sample
const MAX_DELAY = 0.05 * DELAY_RATE;

/**
 * @typedef {object} Mix
 * @property {number[]} taken channels that are averaged, from 0
 * @property {boolean} isDoubtful whether another one holds another sound, and about as much of it
 */

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
    this.coarse = Math.max(1, Math.floor(rate / DELAY_RATE)); // samples that are averaged to one
    /** @type {Float64Array[]} by pair of channels: products at each delay, negative ones first */
    this.delayed = Array.from({ length: count * count }, () => new Float64Array(2 * MAX_DELAY + 1));
  }

  /** @param {Float32Array[]} piece channels, (L,) each */
  add(piece) {
    const length = this.frame.length / this.count;
    for (let i = 0; i < piece[0].length; i++) {
      for (let c = 0; c < this.count; c++) this.frame[c * length + this.filled] = piece[c][i];
      this.filled += 1;
      if (this.filled === length) this.addFrame();
    }
    this.addDelayed(piece.map((samples) => centered(coarser(samples, this.coarse))));
  }

  /** @returns {Mix} of the channel with the most speech, and those that are the same */
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
    const taken = speech.flatMap((_, c) => {
      const scale = Math.sqrt(Math.max(product(c, c) * product(best, best), 1e-30));
      return c === best || product(best, c) / scale >= SAME ? [c] : [];
    });
    /** @param {number} c */
    const energy = (c) => this.delayed[c * this.count + c][MAX_DELAY];
    const isDoubtful = speech.some((x, c) => {
      if (c === best || x < QUIET * speech[best]) return false;
      const scale = Math.sqrt(Math.max(energy(c) * energy(best), 1e-30));
      const products = this.delayed[Math.min(c, best) * this.count + Math.max(c, best)];
      return Math.max(...products.map(Math.abs)) / scale < ALIKE;
    });
    return { taken, isDoubtful };
  }

  /** @param {Float64Array[]} channels (L,) each, at the coarse rate, without their mean */
  addDelayed(channels) {
    channels.forEach((a, i) => {
      channels.forEach((b, k) => {
        if (k < i) return;
        const products = this.delayed[i * this.count + k];
        for (let delay = i === k ? 0 : -MAX_DELAY; delay <= (i === k ? 0 : MAX_DELAY); delay++) {
          const stop = Math.min(a.length, b.length - delay);
          let sum = 0;
          for (let t = Math.max(0, -delay); t < stop; t++) sum += a[t] * b[t + delay];
          products[delay + MAX_DELAY] += sum;
        }
      });
    });
  }

  addFrame() {
    const length = this.frame.length / this.count;
    const channels = this.levels.map((_, c) => {
      return centered(this.frame.subarray(c * length, c * length + this.filled));
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

/** @param {Float64Array} samples (L,) @returns {Float64Array} (L,) */
function centered(samples) {
  const mean = samples.reduce((sum, x) => sum + x, 0) / Math.max(1, samples.length);
  return samples.map((x) => x - mean);
}

/** @param {Float32Array} samples (L,) @param {number} step @returns {Float64Array} (L / step,) means */
function coarser(samples, step) {
  return Float64Array.from({ length: Math.floor(samples.length / step) }, (_, i) => {
    let sum = 0;
    for (let k = i * step; k < (i + 1) * step; k++) sum += samples[k];
    return sum / step;
  });
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
