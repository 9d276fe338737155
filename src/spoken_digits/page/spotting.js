/**
 * From a network's scores, step by step, to digits: each is spotted, judged and emitted.
 *
 * The same as `spoken_digits/spotting.py`, where the method is described; a test holds both to the
 * same answers. Shapes: U steps, C = 16 classes, those of `LABELS`.
 */

import { SAMPLE_RATE } from "./audio.js";
import { logAddExp, logOdds } from "./probability.js";

export const DIGIT_WORDS = [
  "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
];
export const LABELS = [..."0123456789", "oh", "double", "triple", "number", "other", "blank"];
export const OH = 10;
const [DOUBLE, TRIPLE, NUMBER, OTHER, BLANK] = [11, 12, 13, 14, 15];

/**
 * One digit of a string.
 * @typedef {object} Segment
 * @property {number} digit
 * @property {string} word as which it was said: "zero" to "nine", or "oh"
 * @property {number} start in seconds
 * @property {number} end in seconds
 * @property {number} probability that it is there and is this digit
 * @property {number[]} probabilities the same of each of the ten digits
 */

/**
 * What a user chooses, as `oh` and `doubles` in connected.py.
 * @typedef {object} Options
 * @property {boolean} [oh] whether "oh" is zero
 * @property {boolean} [doubles] whether "double" and "triple" repeat digits
 */

/** The constants of decoding, by the names that they have in a model file's metadata. */
const CONSTANTS = /** @type {const} */ ([
  "emission_threshold",
  "word_threshold",
  "other_weight",
  "min_step_probability",
  "min_overlap",
  "settling_s",
  "number_before_s",
  "number_after_s",
  "double_s",
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

/**
 * Count "oh" as "0", or, where it is not to be one, as another word.
 * @param {number[]} probabilities (C,)
 * @param {boolean} oh
 * @returns {number[]} (C,)
 */
function mergeOh(probabilities, oh) {
  const merged = [...probabilities];
  merged[oh ? 0 : OTHER] += merged[OH];
  merged[OH] = 0;
  return merged.map((p) => Math.min(p, 1)); // single precision can add to a little more
}

/**
 * The logarithm of a digit's odds, against none and other words.
 * @param {number} p @param {number} other probability of other words @param {number} weight of it
 */
function scoreRun(p, other, weight) {
  return Math.log(p) - Math.log(1 - p + weight * other);
}

/**
 * Score how probable it is that one word is said, once, and nothing else.
 * @param {number[][]} logP (U, C) log-probabilities, the blank last
 * @returns {number[]} (C,) the same; last, that nothing is said
 */
export function singleWord(logP) {
  let silence = 0; // of all paths so far
  /** @type {number[]} */
  let said = Array(logP[0].length - 1).fill(-Infinity);
  let after = said;
  for (const row of logP) {
    const blank = row[row.length - 1];
    after = after.map((p, k) => logAddExp(p, said[k]) + blank);
    said = said.map((p, k) => logAddExp(silence, p) + row[k]);
    silence += blank;
  }
  return [...said.map((p, k) => logAddExp(p, after[k])), silence];
}

/** Consecutive steps at which one word is the most probable. */
class Run {
  start = 0;
  end = 0;
  #peak = 0;
  /** Of each word, the probability that no step emits it. */
  #absent = Array(BLANK).fill(1);
  #absentOh = 1;
  #absentZero = 1;
  #absentOther = 1;

  /** @param {number} word index of its label @param {number} emitted when its first step ended */
  constructor(word, emitted) {
    this.word = word;
    this.emitted = emitted;
  }

  /**
   * @param {number[]} words probabilities after `mergeOh`
   * @param {number} oh probability of "oh" alone
   * @param {number} now
   * @param {ArrayLike<number>} edges
   */
  add(words, oh, now, edges) {
    this.#absent = this.#absent.map((absent, i) => absent * (1 - words[i]));
    this.#absentOh *= 1 - oh;
    this.#absentZero *= 1 - (words[0] - oh);
    this.#absentOther *= 1 - Math.min(1, words[NUMBER] + words[OTHER]);
    if (words[this.word] <= this.#peak) return;
    this.#peak = words[this.word];
    this.start = Math.max(0, now - edges[0]);
    this.end = Math.max(this.start, now - edges[1]);
  }

  /** @returns {boolean} */
  get isDigit() {
    return this.word < OH;
  }

  /** @returns {number} that any of the steps emits the word */
  get probability() {
    return 1 - this.#absent[this.word];
  }

  /** @returns {number} that any of the steps emits a word that is no digit */
  get other() {
    return 1 - this.#absentOther;
  }

  /** @returns {Segment} */
  get segment() {
    const { word: digit, start, end, probability } = this;
    const isOh = digit === 0 && this.#absentOh < this.#absentZero;
    const probabilities = this.#absent.slice(0, OH).map((absent) => 1 - absent);
    return { digit, word: isOh ? "oh" : DIGIT_WORDS[digit], start, end, probability, probabilities };
  }
}

/** Makes segments of steps. */
export class Spotter {
  #decoding;
  #step;
  #oh;
  #doubles;
  #steps = 0;
  /** @type {Run | null} */
  #run = null;
  /** @type {Run | null} a digit that may still be replaced, or rejected */
  #held = null;
  // Words that are neither digits nor of the kind "other": the last before the digit that is held,
  // the first after it, and the last that was emitted.
  /** @type {Run | null} */
  #before = null;
  /** @type {Run | null} */
  #after = null;
  /** @type {Run | null} */
  #last = null;

  /** @param {Decoding} decoding @param {number} step samples @param {Options} options */
  constructor(decoding, step, { oh = true, doubles = true } = {}) {
    this.#decoding = decoding;
    this.#step = step;
    this.#oh = oh;
    this.#doubles = doubles;
  }

  /** @returns {Segment | null} the most probable digit that is not final yet */
  get partial() {
    /** @type {Run[]} */
    const open = [];
    const [held, run] = [this.#held, this.#run];
    if (held && !this.#isRejected(held, this.#before, this.#after)) open.push(held);
    if (run?.isDigit && this.#counts(run) && !this.#isRejected(run, this.#last, null)) {
      open.push(run);
    }
    if (!open.length) return null;
    return open.reduce((a, b) => (b.probability > a.probability ? b : a)).segment;
  }

  /**
   * @param {number[][]} probabilities (U, C)
   * @param {ArrayLike<number>[]} edges (U, 2)
   * @returns {Segment[]} those that are final now
   */
  add(probabilities, edges) {
    /** @type {Segment[]} */
    const segments = [];
    for (const [u, row] of probabilities.entries()) {
      this.#steps += 1;
      const now = (this.#steps * this.#step) / SAMPLE_RATE;
      const words = mergeOh(row, this.#oh).slice(0, BLANK);
      const p = Math.max(...words);
      const word = words.indexOf(p);
      const isEmitted = p >= this.#decoding.min_step_probability;
      if (this.#run && !(isEmitted && word === this.#run.word)) segments.push(...this.#endRun());
      if (isEmitted) {
        this.#run ??= new Run(word, now);
        this.#run.add(words, this.#oh ? row[OH] : 0, now, edges[u]);
      }
      if (this.#held && this.#isSettled(this.#held, now)) segments.push(...this.#release());
    }
    return segments;
  }

  /** @returns {Segment[]} those that were not final yet; the current run ends */
  end() {
    const segments = [...this.#endRun(), ...this.#release()];
    this.#last = null;
    return segments;
  }

  /** @param {Run} run */
  #counts(run) {
    const d = this.#decoding;
    if (!run.isDigit) return logOdds(run.probability) >= d.word_threshold;
    return scoreRun(run.probability, run.other, d.other_weight) >= d.emission_threshold;
  }

  /** @param {Run} held @param {number} now @returns {boolean} */
  #isSettled(held, now) {
    const run = this.#run;
    if (run?.isDigit) return this.#counts(run) && !this.#isOneWord(held, run);
    if (run?.word === NUMBER && !this.#after) return false;
    const { settling_s: settling, number_after_s: number } = this.#decoding;
    return now > held.end + (this.#after ? settling : Math.max(settling, number));
  }

  /** @returns {Segment[]} those that are final by the end of the current run */
  #endRun() {
    const run = this.#run;
    this.#run = null;
    if (!run || run.word === OTHER || !this.#counts(run)) return [];
    if (run.isDigit) return this.#place(run);
    this.#last = run;
    if (this.#held) this.#after ??= run;
    return [];
  }

  /** @param {Run} run @returns {Segment[]} */
  #place(run) {
    if (this.#held && this.#isOneWord(this.#held, run)) {
      if (run.probability > this.#held.probability) this.#held = run;
      return [];
    }
    const segments = this.#release();
    this.#held = run;
    this.#before = this.#last;
    this.#last = null;
    return segments;
  }

  /** @returns {Segment[]} the digit that is held, unless a number rejects it */
  #release() {
    const [held, before, after] = [this.#held, this.#before, this.#after];
    this.#held = this.#before = this.#after = null;
    if (!held || this.#isRejected(held, before, after)) return [];
    const isNear = before && held.start - before.emitted <= this.#decoding.double_s;
    if (!this.#doubles || !isNear) return [held.segment];
    return divided(held.segment, before.word === DOUBLE ? 2 : before.word === TRIPLE ? 3 : 1);
  }

  /** @param {Run} digit @param {Run | null} before @param {Run | null} after */
  #isRejected(digit, before, after) {
    const d = this.#decoding;
    return (
      (before?.word === NUMBER && digit.start - before.emitted <= d.number_before_s) ||
      (after?.word === NUMBER && after.emitted - digit.end <= d.number_after_s)
    );
  }

  /** @param {Run} a @param {Run} b */
  #isOneWord(a, b) {
    const common = Math.min(a.end, b.end) - Math.max(a.start, b.start);
    const shorter = Math.min(a.end - a.start, b.end - b.start);
    return common >= this.#decoding.min_overlap * shorter;
  }
}

/**
 * Repeat a digit, each in an equal part of its time.
 * @param {Segment} segment @param {number} count @returns {Segment[]}
 */
function divided(segment, count) {
  const length = (segment.end - segment.start) / count;
  return Array.from({ length: count }, (_, i) => ({
    ...segment,
    start: segment.start + i * length,
    end: i === count - 1 ? segment.end : segment.start + (i + 1) * length,
  }));
}
