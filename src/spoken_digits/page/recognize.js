/**
 * The digit of a recording, or the reason why none is given.
 *
 * The same as `Recognizer` in `spoken_digits/recognize.py`; a test holds both to the same answers.
 * Shapes: L samples, M mel bands, T frames, C classes.
 */

import { cutClip, findUtterance, withoutMean } from "./audio.js";
import { logAddExp, logSoftmax } from "./probability.js";
import { DIGIT_WORDS } from "./spotting.js";

const DIGITS = "0123456789";
const SURE_LOG_P = -0.1; // of a digit: from here on, the network for strings is not asked
const MIN_STRING_LOG_P = -10; // of that network, which does not decide alone

/** @typedef {"silence" | "not a digit" | "unclear"} Reason */
/** @typedef {{values: Float32Array, bands: number, frames: number}} LogMel (M, T) */

/**
 * @typedef {object} Recognition
 * @property {string} label the most probable
 * @property {number | null} digit the label as a number; null where it is none, or there is a reason
 * @property {string | null} word as which the digit was said: "zero" to "nine", or "oh"
 * @property {number} probability of the label
 * @property {number[]} probabilities (C,) of all labels
 * @property {Reason | null} reason why no digit is given
 * @property {LogMel | null} logMel the network's input
 * @property {number} start sample index
 * @property {number} stop sample index
 * @property {number} utterances how many utterances like digits the recording holds, at least
 */

/**
 * @param {import("./networks.js").Networks} networks
 * @param {Float32Array} samples (L,) at 8 kHz, the whole recording
 * @param {boolean} [oh] whether "oh" is zero
 * @param {number} [found] digits that the network for strings found in the recording
 * @returns {Promise<Recognition>}
 */
export async function recognize({ digits: network, strings }, samples, oh = true, found = 0) {
  const centered = withoutMean(samples);
  const utterance = findUtterance(centered);
  const clip = cutClip(centered, utterance);
  const { scores, logOdds, isOh, logMel } = await network.run(clip);
  const weight = network.decision.stringWeight;
  let answer = { logP: logSoftmax(scores), logOdds, isOh: false };
  const asksBoth = weight > 0 && network.labels.join() === [...DIGITS].join();
  if (asksBoth && Math.max(...answer.logP) < SURE_LOG_P) {
    answer.logP = rescore(answer.logP, await strings.scoreClip(clip), weight);
  }
  if (oh && isOh >= network.decision.minOh) answer = withOh(answer.logP, logOdds, isOh);
  const probabilities = answer.logP.map(Math.exp);
  const probability = Math.max(...probabilities);
  const label = network.labels[probabilities.indexOf(probability)];
  const reason = utterance.isSpeech ? rejection(network, probabilities, answer.logOdds) : "silence";
  const digit = reason === null && /^[0-9]$/.test(label) ? Number(label) : null;
  // What is loud twice may be a digit and a cough: the network for strings counts digits.
  const isCounted = asksBoth && utterance.utterances > 1;
  return {
    label,
    digit,
    word: digit === null ? null : answer.isOh ? "oh" : DIGIT_WORDS[digit],
    probability,
    probabilities,
    reason,
    logMel,
    start: Math.max(0, utterance.start),
    stop: Math.min(samples.length, utterance.stop),
    utterances: isCounted ? Math.max(1, found) : utterance.utterances,
  };
}

/**
 * Rescore the digits of one clip by the network for strings, as `rescore` in recognize.py describes.
 * @param {number[]} logP (10,) log-probabilities of the network for single digits
 * @param {number[]} words (C,) log-probabilities of the network for strings
 * @param {number} weight of these
 * @returns {number[]} (10,) log-probabilities
 */
export function rescore(logP, words, weight) {
  return logSoftmax(logP.map((p, k) => p + weight * Math.max(words[k], MIN_STRING_LOG_P)));
}

/**
 * Count "oh" as zero, as `with_oh` in recognize.py describes.
 * @param {number[]} logP (10,) log-probabilities of the digits' words, if it is one of them
 * @param {number} isDigit log-odds that it is one
 * @param {number} isOh log-odds that it is "oh"
 * @returns {{logP: number[], logOdds: number, isOh: boolean}}
 */
export function withOh(logP, isDigit, isOh) {
  const [there, absent] = [-logAddExp(0, -isDigit), -logAddExp(0, isDigit)];
  const letter = -logAddExp(0, -isOh);
  const totals = logP.map((p) => there + p);
  const isLetter = letter > totals[0];
  totals[0] = logAddExp(totals[0], letter);
  const nothing = absent + Math.log1p(-Math.min(Math.exp(letter - absent), 1 - 1e-9));
  const total = totals.reduce(logAddExp);
  return {
    logP: totals.map((p) => p - total),
    logOdds: total - nothing,
    isOh: isLetter && Math.max(...totals) === totals[0],
  };
}

/**
 * @param {import("./networks.js").DigitNetwork} network
 * @param {number[]} probabilities (C,)
 * @param {number} logOdds of being any of the labels
 * @returns {Reason | null}
 */
function rejection({ decision }, probabilities, logOdds) {
  if (decision.rejectionThreshold === -Infinity) return null;
  if (logOdds < decision.rejectionThreshold) return "not a digit";
  const [best, second] = [...probabilities, 0].sort((a, b) => b - a);
  const isClear = best >= decision.minProbability && best - second >= decision.minMargin;
  return isClear ? null : "unclear";
}
