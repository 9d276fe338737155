/**
 * One recording and its digits, while it goes on and when it has ended.
 *
 * The page shows what `transcribe` answers: the digits of the string. Where the recording holds a
 * single utterance and no more than one digit, it shows what `recognize` answers, which can also be
 * a reason why there is none. Of more than 30 s the last 30 are kept, and the string alone is shown.
 */

import { cutClip, MAX_CLIP, MAX_DURATION_S, SAMPLE_RATE, SILENCE, UserError } from "./audio.js";
import { Stream } from "./connected.js";
import { recognize } from "./recognize.js";

/** @typedef {import("./networks.js").Networks} Networks */
/** @typedef {import("./recognize.js").LogMel} LogMel */
/** @typedef {import("./recognize.js").Reason} Reason */
/** @typedef {import("./spotting.js").Segment} Segment */

/**
 * A digit as it is shown, or an utterance that is none.
 * @typedef {object} Digit
 * @property {number} start the first sample of it, counted from the first of the recording
 * @property {number} stop
 * @property {string} label the most probable
 * @property {number | null} digit null where there is none
 * @property {string | null} word as which it was said: "zero" to "nine", or "oh"
 * @property {number} probability
 * @property {number[]} probabilities of each label
 * @property {Reason | null} reason why no digit is given
 * @property {LogMel | null} logMel
 * @property {boolean} isWhole whether the recording holds no other, and `recognize` has answered
 * @property {boolean} isOpen whether it may still change
 */

const MAX_LENGTH = MAX_DURATION_S * SAMPLE_RATE;

export class Recording {
  #kept = new Float32Array(MAX_LENGTH);
  #length = 0; // of what is kept
  #dropped = 0; // samples before that
  #fed = 0; // samples that the stream has taken
  #peak = 0;
  /** @type {Stream | null} */
  #stream = null;
  /** @type {Segment[]} */
  #segments = [];
  /** @type {WeakMap<Segment, Digit>} so that a picture is made once */
  #digits = new WeakMap();
  #oh;
  /** The digits before the samples that are kept. */
  before = "";

  /** @param {boolean} oh whether "oh" is zero; if not, it is rejected */
  constructor(oh = true) {
    this.#oh = oh;
  }

  /** @returns {Float32Array} (L,) at 8 kHz: all of them, or the last 30 s */
  get samples() {
    return this.#kept.subarray(0, this.#length);
  }

  /** @returns {number} samples that are not kept any more */
  get dropped() {
    return this.#dropped;
  }

  /** @returns {number} of all of it, in seconds */
  get duration() {
    return (this.#dropped + this.#length) / SAMPLE_RATE;
  }

  /** @param {Float32Array} samples (L,) the next; follow them before 30 s more come */
  add(samples) {
    for (const x of samples) this.#peak = Math.max(this.#peak, Math.abs(x));
    const surplus = this.#length + samples.length - MAX_LENGTH;
    if (surplus > 0) {
      this.#kept.copyWithin(0, surplus, this.#length);
      this.#length -= surplus;
      this.#dropped += surplus;
    }
    this.#kept.set(samples, this.#length);
    this.#length += samples.length;
  }

  /**
   * Transcribe what has been added. One call of this or `finish` must have ended before the next.
   * @param {Networks} networks
   */
  async follow(networks) {
    this.#stream ??= new Stream(networks, { oh: this.#oh });
    const next = this.samples.slice(this.#fed - this.#dropped);
    this.#fed += next.length;
    this.#segments.push(...(await this.#stream.feed(next)));
    this.#forget();
  }

  /** @returns {Digit[]} so far, of what is kept; the digits before are in `before` */
  get digits() {
    const partial = this.#stream?.partial;
    const final = this.#segments.map((segment) => this.#show(segment, false));
    return partial ? [...final, this.#show(partial, true)] : final;
  }

  /**
   * Transcribe all that is left, and answer. No more may be added.
   * @param {Networks} networks
   * @returns {Promise<Digit[]>} as of `digits`
   * @throws {UserError} when there was no sound
   */
  async finish(networks) {
    if (this.#peak <= SILENCE) {
      throw new UserError("No sound came in. Check the microphone and its level.");
    }
    await this.follow(networks);
    if (this.#stream) this.#segments.push(...(await this.#stream.finish()));
    this.#forget();
    if (!this.#dropped && this.#segments.length <= 1) {
      const answer = await recognize(networks, this.samples, this.#oh, this.#segments.length);
      if (answer.utterances <= 1) return [{ ...answer, isWhole: true, isOpen: false }];
    }
    return this.#segments.map((segment) => this.#show(segment, false));
  }

  /**
   * Give a digit of a string its picture: the network for strings has none.
   * @param {Networks} networks
   * @param {Digit} shown
   */
  async picture({ digits }, shown) {
    if (shown.logMel) return;
    const first = Math.max(0, shown.start - this.#dropped);
    const last = Math.min(this.#length, shown.stop - this.#dropped, first + MAX_CLIP);
    const clip = cutClip(this.samples, { start: first, stop: Math.max(first, last) });
    shown.logMel = (await digits.run(clip)).logMel;
  }

  #forget() {
    while (this.#segments.length && this.#segments[0].start * SAMPLE_RATE < this.#dropped) {
      this.before += this.#segments.shift()?.digit;
    }
  }

  /** @param {Segment} segment @param {boolean} isOpen @returns {Digit} */
  #show(segment, isOpen) {
    const { digit, word, start, end, probability, probabilities } = segment;
    const [first, stop] = [start, end].map((seconds) => Math.round(seconds * SAMPLE_RATE));
    const place = { start: first, stop, reason: null, logMel: null, isWhole: false, isOpen };
    const shown = this.#digits.get(segment) ?? {
      ...place, label: String(digit), digit, word, probability, probabilities,
    };
    this.#digits.set(segment, shown);
    shown.isOpen = isOpen;
    return shown;
  }
}
