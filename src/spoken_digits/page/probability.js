/** Scores, log-odds and probabilities: the same conversions as `spoken_digits/probability.py`. */

/**
 * @param {Float32Array} scores (C,) logits
 * @returns {number[]} (C,) probabilities
 */
export function softmax(scores) {
  const max = Math.max(...scores);
  const exponentials = Array.from(scores, (score) => Math.exp(score - max));
  const sum = exponentials.reduce((a, b) => a + b);
  return exponentials.map((x) => x / sum);
}

/**
 * @param {Iterable<number>} logits (C,)
 * @returns {number[]} (C,) log-probabilities
 */
export function logSoftmax(logits) {
  const scores = [...logits];
  const max = Math.max(...scores);
  const sum = scores.reduce((total, score) => total + Math.exp(score - max), 0);
  return scores.map((score) => score - max - Math.log(sum));
}

/**
 * Softmax in single precision, as Python computes it for strings: where two steps are both nearly
 * certain, the same one of them is the first of the most probable.
 * @param {Float32Array} scores (C,) logits
 * @returns {number[]} (C,) probabilities
 */
export function softmax32(scores) {
  const { fround, exp, log } = Math;
  const max = Math.max(...scores);
  const shifted = scores.map((score) => score - max);
  const sum = shifted.map(exp).reduce((a, b) => fround(a + b));
  const logarithm = fround(log(sum));
  return Array.from(shifted, (x) => fround(exp(fround(x - logarithm))));
}

/** @param {number} a @param {number} b logarithms, also -Infinity @returns {number} of their sum */
export function logAddExp(a, b) {
  const max = Math.max(a, b);
  return max === -Infinity ? max : max + Math.log1p(Math.exp(-Math.abs(a - b)));
}

/** @param {number} probability */
export function logOdds(probability) {
  return Math.log(probability) - Math.log1p(-probability);
}

/** @param {number} odds log-odds, also infinite ones */
export function sigmoid(odds) {
  return 1 / (1 + Math.exp(-odds));
}
