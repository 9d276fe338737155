/**
 * The network that hears one word: which digit it is, or that it is none.
 *
 * Shapes: L samples, M mel bands, T frames, C classes.
 */

const LEAST_PROBABILITY = 0.4; // as in recognize.py
const LEAST_MARGIN = 0.1;

/**
 * @typedef {object} Recognition
 * @property {string} label the most probable
 * @property {number | null} digit the label as a number; null when it is none
 * @property {number} probability of the label
 * @property {number[]} probabilities (C,) of all labels
 * @property {number} [logOdds] of being one of the labels at all
 * @property {string} refusal why no digit is given, in words; empty when one is
 * @property {{values: Float32Array, bands: number, frames: number} | null} logMel (M, T): what it
 *   saw
 */

export class Recognizer {
  #session;
  #makeTensor;

  /**
   * @param {object} ort the module of onnxruntime-web
   * @param {object} session
   * @param {Record<string, string>} metadata what the model's file tells about itself
   */
  constructor(ort, session, metadata) {
    this.#session = session;
    this.#makeTensor = (samples) => new ort.Tensor("float32", samples, [1, samples.length]);
    this.metadata = metadata;
    /** @type {string[]} */
    this.labels = JSON.parse(metadata.labels);
    this.rejects = session.outputNames.includes("rejection");
  }

  /**
   * @param {Float32Array} clip (L,) at 8 kHz: one utterance
   * @param {boolean} silent whether it is none
   * @returns {Promise<Recognition>}
   */
  async hear(clip, silent = false) {
    const outputs = await this.#session.run({ waveform: this.#makeTensor(clip) });
    const probabilities = softmax(outputs.scores.data);
    const [probability, second] = [...probabilities, 0].sort((a, b) => b - a);
    const label = this.labels[probabilities.indexOf(probability)];
    const logOdds = outputs.rejection?.data[0] ?? Math.log(probability / (1 - probability));

    let refusal = "";
    if (silent) {
      refusal = "Nothing stands out of the background. Speak up, or closer to the microphone.";
    } else if (this.rejects && logOdds < Number(this.metadata.rejection_threshold)) {
      refusal = "That sounds like no digit.";
    } else if (
      this.rejects &&
      (probability < LEAST_PROBABILITY || probability - second < LEAST_MARGIN)
    ) {
      refusal = `Unclear: ${label}, perhaps. Say it again.`;
    } else if (!/^[0-9]$/.test(label)) {
      refusal = `That is no digit, but “${label}”.`;
    }
    const [, bands, frames] = outputs.log_mel.dims;
    return {
      label,
      digit: refusal ? null : Number(label),
      probability,
      probabilities,
      logOdds,
      refusal,
      logMel: { values: outputs.log_mel.data, bands, frames },
    };
  }
}

/** @param {Float32Array} scores (C,) */
function softmax(scores) {
  const most = Math.max(...scores);
  const exponentials = Array.from(scores, (score) => Math.exp(score - most));
  const sum = exponentials.reduce((a, b) => a + b);
  return exponentials.map((x) => x / sum);
}
