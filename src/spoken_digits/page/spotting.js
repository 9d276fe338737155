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
const LONGEST_DIGIT = 2; // seconds from its beginning to its emission
const ECHO = { seconds: 0.08, overlap: 0.5 };
export const OH = 10;
const [DOUBLE, TRIPLE, NUMBER, OTHER, BLANK] = [11, 12, 13, 14, 15];

/**
 * One digit of a string.
 * @typedef {object} Segment
 * @property {number} digit
 * @property {string} word as which it was said: "zero" to "nine", or "oh"
 * @property {number} start in seconds
 * @property {number} end in seconds
 * @property {number} probability that it is there and is this digit, 0.5 to 1
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
  "context_bonus",
  "min_score",
]);
/** Of a file that does not name them. */
const DEFAULTS = { context_penalty: "0", context_s: "0", context_bonus: "0", min_score: "-99" };

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

/** @param {number} p @param {number} penalty by which its log-odds become less, or more */
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
  start = 0;
  end = 0;
  /** Of `scoreRun`, so far. */
  score = -Infinity;
  /** Whether it is a digit that was emitted. */
  isKept = false;
  #peak = 0;
  /** Of each word, the probability that no step emits it. */
  #absent = Array(BLANK).fill(1);
  #absentOh = 1;
  #absentZero = 1;
  #absentOther = 1;
  #otherWeight;

  /**
   * @param {number} word index of its label
   * @param {number} first its first step
   * @param {number} emitted when that step ended
   * @param {number} otherWeight of other words against a digit
   */
  constructor(word, first, emitted, otherWeight) {
    this.word = word;
    this.first = first;
    this.emitted = emitted;
    this.#otherWeight = otherWeight;
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
    if (words[this.word] > this.#peak) {
      this.#peak = words[this.word];
      this.start = Math.max(0, now - edges[0]);
      this.end = Math.max(this.start, now - edges[1]);
    }
    this.score = scoreRun(this.probability, 1 - this.#absentOther, this.#otherWeight);
  }

  /** @returns {boolean} */
  get isDigit() {
    return this.word < OH;
  }

  /** @returns {number} that any of the steps emits the word */
  get probability() {
    return 1 - this.#absent[this.word];
  }

  /** @param {Run} other @returns {number} which part of the shorter one's place both share */
  overlap(other) {
    const shared = Math.min(this.end, other.end) - Math.max(this.start, other.start);
    const shorter = Math.min(this.end - this.start, other.end - other.start);
    return Math.max(0, shared) / Math.max(shorter, 1e-3);
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

/**
 * What becomes of a digit.
 * @typedef {object} Judgement
 * @property {boolean} isKept whether it is emitted
 * @property {number} penalty log-odds that it loses
 * @property {number} times how often it is said: "double", "triple"
 */

/** Makes segments of steps. */
export class Spotter {
  #decoding;
  #step;
  #oh;
  #doubles;
  #steps = 0;
  /** @type {Run | null} the one that goes on */
  #run = null;
  // Those that have ended. The first `#final` of them are kept as what is before the others.
  /** @type {Run[]} */
  #runs = [];
  #final = 0;

  /** @param {Decoding} decoding @param {number} step samples @param {Options} options */
  constructor(decoding, step, { oh = true, doubles = true } = {}) {
    this.#decoding = decoding;
    this.#step = step;
    this.#oh = oh;
    this.#doubles = doubles;
  }

  /** @returns {Segment | null} the most probable digit that is not final yet */
  get partial() {
    const runs = this.#allRuns();
    /** @type {Segment[]} */
    const open = [];
    for (let i = this.#final; i < runs.length; i++) {
      if (!runs[i].isDigit) continue;
      const { isKept, penalty } = this.#judge(runs, i);
      if (isKept) open.push(runs[i].segment(penalty));
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
    const d = this.#decoding;
    /** @type {Segment[]} */
    const segments = [];
    for (const [u, row] of probabilities.entries()) {
      this.#steps += 1;
      const now = this.#seconds(this.#steps);
      const words = mergeOh(row, this.#oh).slice(0, BLANK);
      const p = Math.max(...words);
      const word = words.indexOf(p);
      const isEmitted = p >= d.min_step_probability;
      if (this.#run && !(isEmitted && word === this.#run.word)) this.#endRun();
      if (isEmitted) {
        this.#run ??= new Run(word, this.#steps - 1, now, d.other_weight);
        this.#run.add(words, this.#oh ? row[OH] : 0, now, edges[u]);
      }
      segments.push(...this.#release(now));
    }
    return segments;
  }

  /** @returns {Segment[]} those that were not final yet; the current run ends */
  end() {
    this.#endRun();
    const segments = this.#release(Infinity);
    this.#runs = [];
    this.#final = 0;
    return segments;
  }

  /** @param {number} steps */
  #seconds(steps) {
    return (steps * this.#step) / SAMPLE_RATE;
  }

  #allRuns() {
    return this.#run ? [...this.#runs, this.#run] : this.#runs;
  }

  #endRun() {
    if (this.#run) this.#runs.push(this.#run);
    this.#run = null;
  }

  /** @param {Run} run whether a digit, by itself, or a word that is none has an effect */
  #counts(run) {
    const d = this.#decoding;
    if (run.isDigit) return run.score >= d.emission_threshold;
    return run.word !== OTHER && logOdds(run.probability) >= d.word_threshold;
  }

  /** @param {Run} one @param {number} step at which its neighbour would begin */
  #isNear(one, step) {
    return this.#seconds(Math.abs(step - one.first)) <= this.#decoding.context_s;
  }

  /** @param {number} now @returns {Segment[]} of the digits that are final, in order */
  #release(now) {
    const d = this.#decoding;
    /** @type {Segment[]} */
    const segments = [];
    for (; this.#final < this.#runs.length; this.#final++) {
      const run = this.#runs[this.#final];
      if (!run.isDigit) continue;
      if (!this.#isSettled(this.#final, now)) break;
      const { isKept, penalty, times } = this.#judge(this.#allRuns(), this.#final);
      run.isKept = isKept;
      if (isKept) segments.push(...divided(run.segment(penalty), times));
    }
    const step = (this.#runs[this.#final] ?? this.#run)?.first ?? this.#steps;
    const memory = LONGEST_DIGIT + Math.max(d.context_s, d.double_s, d.number_before_s);
    const past = this.#runs.findIndex((run) => this.#seconds(step - run.first) <= memory);
    const count = past < 0 ? this.#runs.length : past;
    this.#runs.splice(0, count);
    this.#final -= count;
    return segments;
  }

  /** @param {number} index @param {number} now @returns {boolean} whether nothing can change it */
  #isSettled(index, now) {
    const [d, digit, current] = [this.#decoding, this.#runs[index], this.#run];
    if (digit.score < Math.max(d.emission_threshold - 2 * d.context_bonus, d.min_score)) return true;
    if (this.#runs.slice(index + 1).some((after) => this.#counts(after))) return true;
    // Its place, which decides whether the other echoes it, is known only when it ends.
    if (current?.isDigit) return this.#counts(digit) && this.#counts(current);
    if (current?.word === NUMBER) return false;
    if (now === Infinity) return true;
    if (now <= digit.end + d.number_after_s) return false;
    // Where no word after it could take it away, none is waited for.
    const [loss] = this.#beside(digit, this.#runs.slice(0, index).reverse());
    const isSure = digit.score >= d.emission_threshold + loss + d.context_penalty;
    return isSure || !this.#isNear(digit, this.#steps - 1);
  }

  /**
   * What a digit loses by its neighbour on one side, and whether it echoes a digit there.
   * @param {Run} digit @param {Run[]} side @returns {[number, boolean]}
   */
  #beside(digit, side) {
    const d = this.#decoding;
    let echoes = false;
    for (const other of side) {
      const isNear = this.#isNear(digit, other.first);
      if (other.word === NUMBER || other.word === OTHER) {
        return [isNear ? d.context_penalty : 0, echoes];
      }
      echoes ||= other.isDigit && isEcho(digit, other);
      if (this.#counts(other)) return [other.isDigit && isNear ? -d.context_bonus : 0, echoes];
    }
    return [0, echoes];
  }

  /** @param {Run[]} runs @param {number} index @returns {Judgement} */
  #judge(runs, index) {
    const [d, digit] = [this.#decoding, runs[index]];
    const earlier = runs.slice(0, index).reverse();
    const later = runs.slice(index + 1);
    const [loss, isEarlierEcho] = this.#beside(digit, earlier);
    let penalty = d.emission_threshold + loss;
    let echoes = isEarlierEcho;
    if (digit.score < penalty + d.context_penalty) {
      const [further, isLaterEcho] = this.#beside(digit, later);
      penalty += further;
      echoes ||= isLaterEcho;
    }
    const before = earlier.find((run) => run.isKept || this.#counts(run));
    const after = later.find((run) => this.#counts(run));
    const since = before ? digit.start - before.emitted : Infinity;
    const isRejected =
      (before?.word === NUMBER && since <= d.number_before_s) ||
      (after?.word === NUMBER && after.emitted - digit.end <= d.number_after_s);
    const counts = this.#counts(digit);
    const isKept = !isRejected && (counts || !echoes) && digit.score >= Math.max(penalty, d.min_score);
    const repeats = this.#doubles && before && since <= d.double_s ? before.word : null;
    const times = repeats === DOUBLE ? 2 : repeats === TRIPLE ? 3 : 1;
    return { isKept, penalty, times };
  }
}

/**
 * Whether a digit seems to be another, more probable one, emitted once more: at about the same
 * time, or the same digit at the same place.
 * @param {Run} digit @param {Run} other @returns {boolean}
 */
function isEcho(digit, other) {
  if (other.score <= digit.score) return false;
  if (Math.abs(other.emitted - digit.emitted) <= ECHO.seconds) return true;
  return digit.word === other.word && digit.overlap(other) > ECHO.overlap;
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
