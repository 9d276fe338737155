/**
 * The digit of a recording, or the reason why none is given.
 *
 * The same as `Recognizer` in `spoken_digits/recognize.py`; a test holds both to the same answers.
 * Shapes: L samples, M mel bands, T frames, C classes.
 */

import { cutClip, findUtterance, withoutMean } from "./audio.js";
import { softmax } from "./probability.js";

/** @typedef {"silence" | "not a digit" | "unclear"} Reason */
/** @typedef {{values: Float32Array, bands: number, frames: number}} LogMel (M, T) */

/**
 * @typedef {object} Recognition
 * @property {string} label the most probable
 * @property {number | null} digit the label as a number; null where it is none, or there is a reason
 * @property {number} probability of the label
 * @property {number[]} probabilities (C,) of all labels
 * @property {Reason | null} reason why no digit is given
 * @property {LogMel | null} logMel the network's input
 * @property {number} start sample index
 * @property {number} stop sample index
 * @property {number} utterances how many utterances like digits the recording holds, at least
 */

/**
 * @param {import("./networks.js").DigitNetwork} network
 * @param {Float32Array} samples (L,) at 8 kHz, the whole recording
 * @returns {Promise<Recognition>}
 */
export async function recognize(network, samples) {
  const centered = withoutMean(samples);
  const utterance = findUtterance(centered);
  const { scores, logOdds, logMel } = await network.run(cutClip(centered, utterance));
  const probabilities = softmax(scores);
  const probability = Math.max(...probabilities);
  const label = network.labels[probabilities.indexOf(probability)];
  const reason = utterance.isSpeech ? rejection(network, probabilities, logOdds) : "silence";
  return {
    label,
    digit: reason === null && /^[0-9]$/.test(label) ? Number(label) : null,
    probability,
    probabilities,
    reason,
    logMel,
    start: Math.max(0, utterance.start),
    stop: Math.min(samples.length, utterance.stop),
    utterances: utterance.utterances,
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
