/**
 * Strings of digits: transcribed while they are spoken, however long that is.
 *
 * The same as `spoken_digits/connected.py`; a test holds both to the same answers. Shape: L samples.
 */

import { SAMPLE_RATE } from "./audio.js";
import { softmax32 } from "./probability.js";
import { Spotter } from "./spotting.js";

const MAX_BLOCKS = 16; // at once, 1 s: faster, and the page still answers to a press

/** @typedef {import("./networks.js").Networks} Networks */
/** @typedef {import("./spotting.js").Options} Options */
/** @typedef {import("./spotting.js").Segment} Segment */

/** Transcribes samples, portion by portion of whatever size, in memory that does not grow. */
export class Stream {
  #network;
  #spotter;
  #state;
  #waiting; // samples that are no block yet
  #count = 0; // of them
  #fed = 0; // samples in all

  /** @param {Networks} networks @param {Options} [options] */
  constructor({ strings }, options = {}) {
    this.#network = strings;
    this.#spotter = new Spotter(strings.decoding, strings.step, options);
    this.#state = strings.firstState();
    this.#waiting = new Float32Array(MAX_BLOCKS * strings.block);
  }

  /** @returns {Segment | null} a digit whose probability and end may still change */
  get partial() {
    return this.#spotter.partial;
  }

  /**
   * Take the next samples. One call must have ended before the next.
   * @param {Float32Array} samples (L,) at 8 kHz
   * @returns {Promise<Segment[]>} digits that are final: they do not come again
   */
  async feed(samples) {
    const { block } = this.#network;
    /** @type {Segment[]} */
    const segments = [];
    this.#fed += samples.length;
    for (let position = 0; position < samples.length; ) {
      const taken = samples.subarray(position, position + this.#waiting.length - this.#count);
      this.#waiting.set(taken, this.#count);
      this.#count += taken.length;
      position += taken.length;
      const whole = this.#count - (this.#count % block);
      if (whole) segments.push(...(await this.#process(whole)));
      if (position < samples.length) await turn();
    }
    return segments;
  }

  /** @returns {Promise<Segment[]>} digits that are final only now that there are no more samples */
  async finish() {
    const end = this.#fed / SAMPLE_RATE;
    const silence = new Float32Array(this.#network.silenceAfter(this.#count));
    const segments = await this.feed(silence);
    // The network predicts the end of a digit before it comes; now the last end is known.
    return [...segments, ...this.#spotter.end()].map((segment) => ({
      ...segment,
      start: Math.min(segment.start, end),
      end: Math.min(segment.end, end),
    }));
  }

  /** @param {number} length samples that are run, some blocks */
  async #process(length) {
    const samples = this.#waiting.slice(0, length);
    this.#waiting.copyWithin(0, length, this.#count);
    this.#count -= length;
    const { scores, edges, state } = await this.#network.run(samples, this.#state);
    this.#state = state;
    return this.#spotter.add(scores.map(softmax32), edges);
  }
}

/** Let the page answer to its user; unlike a timer, as fast where it is in the background. */
function turn() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(null);
    };
    port2.postMessage(null);
  });
}
