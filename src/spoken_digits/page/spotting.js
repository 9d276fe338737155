/**
 * From a network's scores, step by step, to digits: each is spotted, rescored and emitted.
 *
 * The same as `spoken_digits/spotting.py`, where the method is described; a test holds both to the
 * same answers. Shapes: U steps, C classes, the ten digits and last the blank.
 */

import { SAMPLE_RATE } from "./audio.js";
import { logOdds, sigmoid } from "./probability.js";

/**
 * One digit of a string.
 * @typedef {object} Segment
 * @property {number} digit
 * @property {number} start in seconds
 * @property {number} end in seconds
 * @property {number} probability that it is there and is this digit
 * @property {number[]} probabilities the same of each of the ten digits
 */

/**
 * Scores a stretch again, from start to end in seconds, with a margin on either side.
 * @callback Rescorer
 * @param {number} start
 * @param {number} end
 * @returns {Promise<{probabilities: number[], logOdds: number}>} of each digit; of its being one
 */

/** The constants of decoding, by the names that they have in a model file's metadata. */
const CONSTANTS = /** @type {const} */ ([
  "emission_threshold",
  "min_step_probability",
  "min_overlap",
  "settling_s",
  "margin_s",
  "first_pass_weight",
  "second_pass_weight",
  "probability_floor",
  "max_log_odds",
]);

/** @typedef {Record<typeof CONSTANTS[number], number>} Decoding see `Decoding` in spotting.py */

/**
 * @param {Record<string, string>} metadata of a model file
 * @returns {Decoding | null} null where an entry is missing, or no number
 */
export function readDecoding(metadata) {
  const entries = CONSTANTS.map((name) => [name, parseFloat(metadata[name])]);
  if (entries.some(([, value]) => Number.isNaN(value))) return null;
  return Object.fromEntries(entries);
}

/** Consecutive steps at which one digit is the most probable. */
class Run {
  start = 0;
  end = 0;
  #peak = 0;
  /** Of each digit, the probability that no step emits it. */
  #absent = Array(10).fill(1);

  /** @param {number} digit */
  constructor(digit) {
    this.digit = digit;
  }

  /** @param {number[]} digits probabilities @param {number} now @param {ArrayLike<number>} edges */
  add(digits, now, edges) {
    this.#absent = digits.map((p, i) => this.#absent[i] * (1 - p));
    if (digits[this.digit] <= this.#peak) return;
    this.#peak = digits[this.digit];
    this.start = Math.max(0, now - edges[0]);
    this.end = Math.max(this.start, now - edges[1]);
  }

  /** @returns {Segment} */
  get segment() {
    const probabilities = this.#absent.map((absent) => 1 - absent);
    const { digit, start, end } = this;
    return { digit, start, end, probability: probabilities[digit], probabilities };
  }
}

/** Makes segments of steps. */
export class Spotter {
  #decoding;
  #step;
  #rescore;
  #steps = 0;
  /** @type {Run | null} */
  #run = null;
  /** @type {Run[]} have ended, and are to be rescored */
  #waiting = [];
  /** @type {Segment | null} has been scored, and may still be replaced */
  #held = null;

  /** @param {Decoding} decoding @param {number} step samples @param {Rescorer | null} rescore */
  constructor(decoding, step, rescore) {
    this.#decoding = decoding;
    this.#step = step;
    this.#rescore = rescore;
  }

  /** @returns {Segment | null} the most probable digit that is not final yet */
  get partial() {
    const open = [...(this.#held ? [this.#held] : []), ...this.#openRuns];
    const candidates = open.filter((segment) => this.#counts(segment));
    return candidates.length ? candidates.reduce(moreProbable) : null;
  }

  /** @returns {Segment[]} */
  get #openRuns() {
    return [...this.#waiting, ...(this.#run ? [this.#run] : [])].map(({ segment }) => segment);
  }

  /**
   * @param {number[][]} probabilities (U, C)
   * @param {ArrayLike<number>[]} edges (U, 2)
   * @returns {Promise<Segment[]>} those that are final now
   */
  async add(probabilities, edges) {
    /** @type {Segment[]} */
    const segments = [];
    for (const [u, row] of probabilities.entries()) {
      this.#steps += 1;
      const now = (this.#steps * this.#step) / SAMPLE_RATE;
      const digits = row.slice(0, -1);
      const p = Math.max(...digits);
      const digit = digits.indexOf(p);
      const isEmitted = p >= this.#decoding.min_step_probability;
      if (this.#run && !(isEmitted && digit === this.#run.digit)) this.#endRun();
      if (isEmitted) {
        this.#run ??= new Run(digit);
        this.#run.add(digits, now, edges[u]);
      }
      for (let run = this.#waiting[0]; run && this.#isComplete(run, now); run = this.#waiting[0]) {
        this.#waiting.shift();
        segments.push(...this.#place(await this.#score(run)));
      }
      if (this.#held && this.#isSettled(this.#held, now)) {
        segments.push(this.#held);
        this.#held = null;
      }
    }
    return segments;
  }

  /** @returns {Promise<Segment[]>} those that were not final yet; the current run ends */
  async end() {
    this.#endRun();
    /** @type {Segment[]} */
    const segments = [];
    for (const run of this.#waiting) segments.push(...this.#place(await this.#score(run)));
    if (this.#held) segments.push(this.#held);
    this.#waiting = [];
    this.#held = null;
    return segments;
  }

  /** @param {Segment} segment */
  #counts({ probability }) {
    return logOdds(probability) >= this.#decoding.emission_threshold;
  }

  /** @param {Run} run @param {number} now */
  #isComplete(run, now) {
    return !this.#rescore || run.end + this.#decoding.margin_s <= now;
  }

  /** @param {Segment} held @param {number} now */
  #isSettled(held, now) {
    const claims = this.#openRuns;
    if (!claims.length) return now > held.end + this.#decoding.settling_s;
    return claims.every((claim) => this.#counts(claim) && !this.#isOneWord(held, claim));
  }

  #endRun() {
    if (this.#run) this.#waiting.push(this.#run);
    this.#run = null;
  }

  /** @param {Segment} segment @returns {Segment[]} */
  #place(segment) {
    const held = this.#held;
    if (!this.#counts(segment)) return [];
    if (held && this.#isOneWord(held, segment)) {
      this.#held = moreProbable(held, segment);
      return [];
    }
    this.#held = segment;
    return held ? [held] : [];
  }

  /** @param {Run} run @returns {Promise<Segment>} */
  async #score(run) {
    const { segment } = run;
    if (!this.#rescore) return segment;
    const d = this.#decoding;
    const second = await this.#rescore(run.start, run.end);
    const weights = segment.probabilities.map(
      (p, i) => second.probabilities[i] * Math.max(p, d.probability_floor) ** d.first_pass_weight,
    );
    const sum = weights.reduce((a, b) => a + b);
    const isThere = sigmoid(
      this.#limited(logOdds(segment.probability)) +
        d.second_pass_weight * this.#limited(second.logOdds),
    );
    const probabilities = weights.map((weight) => (isThere * weight) / sum);
    const probability = Math.max(...probabilities);
    const digit = probabilities.indexOf(probability);
    return { digit, start: run.start, end: run.end, probability, probabilities };
  }

  /** @param {number} odds log-odds */
  #limited(odds) {
    const limit = this.#decoding.max_log_odds;
    return Math.min(Math.max(odds, -limit), limit);
  }

  /** @param {Segment} a @param {Segment} b */
  #isOneWord(a, b) {
    const common = Math.min(a.end, b.end) - Math.max(a.start, b.start);
    const shorter = Math.min(a.end - a.start, b.end - b.start);
    return common >= this.#decoding.min_overlap * shorter;
  }
}

/** @param {Segment} a @param {Segment} b */
function moreProbable(a, b) {
  return b.probability > a.probability ? b : a;
}
