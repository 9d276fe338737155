/** Any rate to 8 kHz, portion by portion, so that it does not matter how the samples arrive. */

import { SAMPLE_RATE } from "./audio.js";

const CROSSINGS = 36; // of the sinc, on either side
const PASSED = 0.935; // of the lower Nyquist frequency: the middle of the slope
const KAISER = 8; // its sidelobes lie 80 dB down

/** A sinc in a Kaiser window, without delay: the filter of `Resampler` in `spoken_digits/audio.py`. */
export class Resampler {
  #rate;
  #half; // of the filter, in samples that come in
  #buffer; // of what came in, all that is still needed
  #first; // index of its first sample
  #given = 0; // samples out
  #taken = 0; // samples in
  /** @type {Map<number, Float32Array>} the filter by where, in 1/8000 of a sample, it stands */
  #filters = new Map();

  /** @param {number} rate of what comes in, Hz */
  constructor(rate) {
    this.#rate = Math.round(rate);
    this.#half = Math.ceil(CROSSINGS * Math.max(1, rate / SAMPLE_RATE));
    this.#first = -this.#half;
    this.#buffer = new Float32Array(this.#half);
  }

  /**
   * @param {Float32Array} samples (L,)
   * @returns {Float32Array} (L',) at 8 kHz: what is known by now
   */
  add(samples) {
    if (this.#rate === SAMPLE_RATE) return samples;
    this.#taken += samples.length;
    return this.#push(samples, Infinity);
  }

  /** @returns {Float32Array} (L',) the rest, as if zeros followed */
  finish() {
    if (this.#rate === SAMPLE_RATE) return new Float32Array(0);
    const total = Math.round((this.#taken * SAMPLE_RATE) / this.#rate);
    return this.#push(new Float32Array(2 * this.#half), total);
  }

  /**
   * @param {Float32Array} samples the next
   * @param {number} total samples out, at most
   */
  #push(samples, total) {
    const held = new Float32Array(this.#buffer.length + samples.length);
    held.set(this.#buffer);
    held.set(samples, this.#buffer.length);
    const last = this.#first + held.length - 1;
    const out = new Float32Array(Math.ceil((held.length * SAMPLE_RATE) / this.#rate) + 1);
    let count = 0;
    for (; this.#given < total; this.#given++, count++) {
      const begin = this.#begin();
      if (begin + 2 * this.#half - 1 > last) break;
      const filter = this.#filter((this.#given * this.#rate) % SAMPLE_RATE);
      let sum = 0;
      for (let i = 0, k = begin - this.#first; i < filter.length; i++, k++) sum += filter[i] * held[k];
      out[count] = sum;
    }
    const done = Math.min(this.#begin() - this.#first, held.length);
    this.#buffer = held.slice(done);
    this.#first += done;
    return out.subarray(0, count);
  }

  /** Index of the first sample that the next one out is made of. */
  #begin() {
    return Math.floor((this.#given * this.#rate) / SAMPLE_RATE) - this.#half + 1;
  }

  /** @param {number} phase in 1/8000 of a sample */
  #filter(phase) {
    let filter = this.#filters.get(phase);
    if (!filter) {
      const band = PASSED * Math.min(1, SAMPLE_RATE / this.#rate);
      filter = Float32Array.from({ length: 2 * this.#half }, (_, i) => {
        const t = i - this.#half + 1 - phase / SAMPLE_RATE;
        const x = Math.PI * band * t;
        const window = bessel(KAISER * Math.sqrt(Math.max(0, 1 - (t / this.#half) ** 2)));
        return (band * (x ? Math.sin(x) / x : 1) * window) / bessel(KAISER);
      });
      this.#filters.set(phase, filter);
    }
    return filter;
  }
}

/** The modified Bessel function of order 0. @param {number} x */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
