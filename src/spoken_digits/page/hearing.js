/**
 * What is heard of one recording, by two networks, while it goes on and when it has ended.
 *
 * `strings.onnx` says what was said and when, pauses or none. `digits.onnx` judges each word that
 * stands alone, with a pause on either side. It hears all of such a word before it answers, it
 * alone knows what is no digit, and it is what `recognize` and the picture show: where the two
 * disagree on a word that stands alone, it is right, also with "?". It never adds a digit to a
 * string, since a breath between two digits is no word; but where there is no string, it says
 * what the only sound was. So a word is answered as `recognize` answers it, digits in one breath
 * as `transcribe` does, and what was shown does not change when more is said.
 *
 * Of more than 30 s, the last 30 are kept and the string alone is told, as by `transcribe`.
 */

import {
  cutClip,
  Endpointer,
  findUtterances,
  HearingError,
  MAX_CLIP,
  MAX_DURATION_S,
  SAMPLE_RATE,
  SILENCE,
  strongest,
  withoutMean,
} from "./audio.js";
import { Stream } from "./strings.js";

/** @typedef {import("./audio.js").Utterance} Utterance */
/** @typedef {import("./networks.js").Networks} Networks */
/** @typedef {import("./recognizer.js").Recognition} Recognition */
/** @typedef {import("./strings.js").Segment} Segment */

/**
 * A digit, or a word that is none.
 * @typedef {object} Heard
 * @property {number} start the first sample of it, counted from the first of the recording
 * @property {number} stop
 * @property {Recognition} recognition
 * @property {boolean} alone whether it is a word that digits.onnx has judged
 * @property {boolean} open whether it may still change
 */

const MOST = MAX_DURATION_S * SAMPLE_RATE;

export class Hearing {
  #kept = new Float32Array(MOST);
  #length = 0; // of what is kept
  #dropped = 0; // samples before that
  #fed = 0; // samples that the stream has heard
  #loudest = 0;
  /** @type {Stream | null} */
  #stream = null;
  #endpointer = new Endpointer();
  /** @type {Segment[]} */
  #segments = [];
  /** @type {Map<string, Recognition>} */
  #words = new Map();
  /** What was heard before the samples that are kept. */
  before = "";

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

  /** @param {Float32Array} samples (L,) the next; hear them before 30 s more come */
  add(samples) {
    for (const x of samples) this.#loudest = Math.max(this.#loudest, Math.abs(x));
    const surplus = this.#length + samples.length - MOST;
    if (surplus > 0) {
      this.#kept.copyWithin(0, surplus, this.#length);
      this.#length -= surplus;
      this.#dropped += surplus;
    }
    this.#kept.set(samples, this.#length);
    this.#length += samples.length;
  }

  /**
   * Follow what has been added, and say nothing yet. One call of this, `hear` or `finish` must
   * have ended before the next.
   * @param {Networks} networks
   */
  async follow({ transcriber }) {
    this.#stream ??= new Stream(transcriber);
    const next = this.samples.slice(this.#fed - this.#dropped);
    this.#fed += next.length;
    this.#segments.push(...(await this.#stream.feed(next)));
    this.#forget();
  }

  /**
   * Hear what has been added, and say what there is so far.
   * @param {Networks} networks
   * @returns {Promise<Heard[]>} of what is kept; the digits before are in `before`
   */
  async hear(networks) {
    await this.follow(networks);
    const utterances = this.#dropped ? [] : this.#endpointer.update(this.samples);
    const settled = utterances.filter((one) => one.settled && !one.silent);
    const { partial } = this.#stream;
    const segments = partial ? [...this.#segments, partial] : this.#segments;
    return this.#judge(networks.recognizer, this.samples, settled, segments, partial);
  }

  /**
   * Hear all that is left, and answer. No more may be added.
   * @param {Networks} networks
   * @returns {Promise<Heard[]>} as of `hear`
   * @throws {HearingError} when no sound came in
   */
  async finish(networks) {
    if (this.#loudest <= SILENCE) {
      throw new HearingError("No sound came in. Check the microphone and its level.");
    }
    await this.follow(networks);
    this.#segments.push(...(await this.#stream.finish()));
    this.#forget();
    this.#words.clear(); // they were heard with the recording's mean
    const samples = withoutMean(this.samples);
    const utterances = this.#dropped ? [] : findUtterances(samples);
    return this.#judge(networks.recognizer, samples, utterances, this.#segments, null);
  }

  /**
   * Give a digit of a string its picture: the network for strings shows none.
   * @param {Networks} networks
   * @param {Heard} heard
   */
  async picture({ recognizer }, { start, stop, recognition }) {
    if (recognition.logMel) return;
    const first = Math.max(0, start - this.#dropped);
    const last = Math.min(this.#length, stop - this.#dropped, first + MAX_CLIP);
    const clip = cutClip(this.samples, { start: first, stop: Math.max(first, last) });
    recognition.logMel = (await recognizer.hear(clip)).logMel;
  }

  #forget() {
    while (this.#segments.length && this.#segments[0].start * SAMPLE_RATE < this.#dropped) {
      this.before += this.#segments.shift().digit;
    }
  }

  /**
   * @param {import("./recognizer.js").Recognizer} recognizer
   * @param {Float32Array} samples (L,)
   * @param {Utterance[]} utterances
   * @param {Segment[]} segments
   * @param {Segment | null} partial the one of them that may still change
   * @returns {Promise<Heard[]>}
   */
  async #judge(recognizer, samples, utterances, segments, partial) {
    if (!segments.length && utterances.length) {
      return [await this.#word(recognizer, samples, strongest(utterances))];
    }
    const middle = ({ start, end }) => ((start + end) / 2) * SAMPLE_RATE;
    const within = (one, segment) => one.begin <= middle(segment) && middle(segment) <= one.end;
    const heard = [];
    for (const segment of segments) {
      const utterance = utterances.find((one) => within(one, segment));
      const alone =
        utterance &&
        utterance.end - utterance.begin <= MAX_CLIP &&
        segments.filter((other) => within(utterance, other)).length === 1;
      heard.push(
        alone
          ? await this.#word(recognizer, samples, utterance)
          : digitOfString(segment, segment === partial),
      );
    }
    return heard;
  }

  /** @returns {Promise<Heard>} */
  async #word(recognizer, samples, utterance) {
    const { start, stop, silent, closed } = utterance;
    const key = `${start} ${stop} ${silent}`;
    const recognition =
      this.#words.get(key) ?? (await recognizer.hear(cutClip(samples, utterance), silent));
    this.#words.set(key, recognition);
    const within = { start: Math.max(0, start), stop: Math.min(samples.length, stop) };
    return { ...within, recognition, alone: true, open: !closed };
  }
}

/** @type {WeakMap<Segment, Recognition>} so that a picture is made once */
const recognitions = new WeakMap();

/** @param {Segment} segment @param {boolean} open @returns {Heard} */
function digitOfString(segment, open) {
  const { digit, start, end, probability, probabilities } = segment;
  const recognition = recognitions.get(segment) ?? {
    label: String(digit),
    digit,
    probability,
    probabilities,
    refusal: "",
    logMel: null,
  };
  recognitions.set(segment, recognition);
  const [first, stop] = [start, end].map((seconds) => Math.round(seconds * SAMPLE_RATE));
  return { start: first, stop, recognition, alone: false, open };
}
