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
 * @property {number} probability that it is there and is this digit; other words beside it make it less
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
  "number_before_s",
  "number_after_s",
  "double_s",
  "context_penalty",
  "context_s",
]);
/** Of a file that does not name them. */
const DEFAULTS = { context_penalty: "0", context_s: "0" };

/** @typedef {Record<typeof CONSTANTS[number], number>} Decoding see `Decoding` in spotting.py */

/**
 * @param {Record<string, string>} metadata of a model file
 * @returns {Decoding | null} null where an entry is missing, or no number
 */
export function readDecoding(metadata) {
  /** @type {Record<string, string>} */
  const named = { ...DEFAULTS, ...metadata };
  const entries = CONSTANTS.map((name) => [name, parseFloat(named[name])]);
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

/** @param {number} p @param {number} penalty by which its log-odds become less */
function weaken(p, penalty) {
  const left = p * Math.exp(-penalty);
  return p < 1 ? left / (left + 1 - p) : p;
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
  /** Whether its neighbour on this side is a number word or another word, and near. */
  isAfterOther = false;
  isBeforeOther = false;
  start = 0;
  end = 0;
  #peak = 0;
  /** Of each word, the probability that no step emits it. */
  #absent = Array(BLANK).fill(1);
  #absentOh = 1;
  #absentZero = 1;
  #absentOther = 1;

  /**
   * @param {number} word index of its label
   * @param {number} first its first step
   * @param {number} emitted when that step ended
   */
  constructor(word, first, emitted) {
    this.word = word;
    this.first = first;
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

  /** @param {number} penalty log-odds that it loses @returns {Segment} */
  segment(penalty) {
    const { word: digit, start, end } = this;
    const isOh = digit === 0 && this.#absentOh < this.#absentZero;
    const probabilities = this.#absent.slice(0, OH).map((absent) => weaken(1 - absent, penalty));
    const probability = probabilities[digit];
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
  /** @type {Run | null} a digit that may still be rejected */
  #held = null;
  // Words that are neither digits nor of the kind "other": the last before the digit that is held,
  // the first after it, and the last that was emitted.
  /** @type {Run | null} */
  #before = null;
  /** @type {Run | null} */
  #after = null;
  /** @type {Run | null} */
  #last = null;
  /** @type {Run | null} a number or other word, the next digit's neighbour */
  #other = null;

  /** @param {Decoding} decoding @param {number} step samples @param {Options} options */
  constructor(decoding, step, { oh = true, doubles = true } = {}) {
    this.#decoding = decoding;
    this.#step = step;
    this.#oh = oh;
    this.#doubles = doubles;
  }

  /** @returns {Segment | null} the most probable digit that is not final yet */
  get partial() {
    /** @type {Segment[]} */
    const open = [];
    const [held, run] = [this.#held, this.#run];
    if (held && this.#isKept(held, this.#before, this.#after)) {
      open.push(held.segment(this.#penalty(held)));
    }
    if (run?.isDigit && this.#isKept(run, this.#last, null)) {
      open.push(run.segment(this.#penalty(run)));
    }
    if (!open.length) return null;
    return open.reduce((a, b) => (b.probability > a.probability ? b : a));
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
        this.#run ??= this.#beginRun(word, now);
        this.#run.add(words, this.#oh ? row[OH] : 0, now, edges[u]);
      }
      if (this.#held && this.#isSettled(this.#held, now)) segments.push(...this.#release());
    }
    return segments;
  }

  /** @returns {Segment[]} those that were not final yet; the current run ends */
  end() {
    const segments = [...this.#endRun(), ...this.#release()];
    this.#last = this.#other = null;
    return segments;
  }

  /** @param {Run} digit */
  #score(digit) {
    return scoreRun(digit.probability, digit.other, this.#decoding.other_weight);
  }

  /** @param {Run} digit */
  #penalty(digit) {
    const sides = Number(digit.isAfterOther) + Number(digit.isBeforeOther);
    return sides * this.#decoding.context_penalty;
  }

  /** @param {Run} run whether a digit, without a penalty, or a word that is none has an effect */
  #counts(run) {
    const d = this.#decoding;
    if (!run.isDigit) return logOdds(run.probability) >= d.word_threshold;
    return this.#score(run) >= d.emission_threshold;
  }

  /** @param {Run} digit @param {Run | null} before @param {Run | null} after */
  #isKept(digit, before, after) {
    const score = this.#score(digit) - this.#penalty(digit);
    return score >= this.#decoding.emission_threshold && !this.#isRejected(digit, before, after);
  }

  /** @param {number} word @param {number} now @returns {Run} */
  #beginRun(word, now) {
    const run = new Run(word, this.#steps - 1, now);
    if (run.isDigit && this.#other) run.isAfterOther = this.#isNear(this.#other, run.first);
    if (word === NUMBER || word === OTHER) {
      this.#other = run;
      const held = this.#held;
      if (held && !this.#after && this.#isNear(held, run.first)) held.isBeforeOther = true;
    }
    return run;
  }

  /** @param {Run} before @param {number} step at which its neighbour would begin */
  #isNear(before, step) {
    return ((step - before.first) * this.#step) / SAMPLE_RATE <= this.#decoding.context_s;
  }

  /** @param {Run} held @param {number} now @returns {boolean} */
  #isSettled(held, now) {
    const run = this.#run;
    if (run?.isDigit) return this.#counts(run);
    if (this.#after) return true;
    if (run?.word === NUMBER) return false;
    const isPast = now > held.end + this.#decoding.number_after_s;
    return isPast && !this.#isNear(held, this.#steps - 1);
  }

  /** @returns {Segment[]} those that are final by the end of the current run */
  #endRun() {
    const run = this.#run;
    this.#run = null;
    if (!run || run.word === OTHER || !this.#counts(run)) return [];
    if (run.word !== NUMBER) this.#other = null;
    if (run.isDigit) {
      const segments = this.#release();
      this.#held = run;
      this.#before = this.#last;
      this.#last = null;
      return segments;
    }
    this.#last = run;
    if (this.#held) this.#after ??= run;
    return [];
  }

  /** @returns {Segment[]} the digit that is held, if it is kept */
  #release() {
    const [held, before, after] = [this.#held, this.#before, this.#after];
    this.#held = this.#before = this.#after = null;
    if (!held || !this.#isKept(held, before, after)) return [];
    const segment = held.segment(this.#penalty(held));
    const isNear = before && held.start - before.emitted <= this.#decoding.double_s;
    if (!this.#doubles || !isNear) return [segment];
    return divided(segment, before.word === DOUBLE ? 2 : before.word === TRIPLE ? 3 : 1);
  }

  /** @param {Run} digit @param {Run | null} before @param {Run | null} after */
  #isRejected(digit, before, after) {
    const d = this.#decoding;
    return (
      (before?.word === NUMBER && digit.start - before.emitted <= d.number_before_s) ||
      (after?.word === NUMBER && after.emitted - digit.end <= d.number_after_s)
    );
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
