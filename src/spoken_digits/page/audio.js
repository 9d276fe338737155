/**
 * From a recording to what a network hears of it: the speech in it, word by word.
 *
 * The same way as `spoken_digits/audio.py`, constant by constant; a test holds both to the same
 * answers. Shapes: L samples, T frames, 4 bands.
 */

export const SAMPLE_RATE = 8000; // Hz
export const MAX_DURATION_S = 30; // of a recording in which words are looked for
export const SILENCE = 1e-6; // -120 dBFS, below the noise of any converter
const HOP = 80;
const WINDOW = 256;
const BAND_EDGES = [3, 13, 32, 64, 129]; // 94, 406, 1000, 2000, 4000 Hz
const BANDS = BAND_EDGES.length - 1;
const BACKGROUND_FRAMES = 10;
const PEAK_FRAMES = 5;
const ACTIVE_FRAMES = 3;
const RISE_DB = 7;
const RANGE_DB = 50;
const TRIMMED_RANGE_DB = 45;
const MARGIN = 480;
const PAUSE = 2400;
const LONG_DIGIT = 9600;
const MIN_CLIP = 800;
export const MAX_CLIP = 12000;
const NOISY_DB = -18; // background against voice from which on a weak end is lost in it
const NOISY_END = 1120;
const OUTSTANDING_FRAMES = 3;
const OUTSTANDING_DB = 20;
const QUIETEST = 1e-4; // -80 dBFS
const SHORT_DIGIT_FRAMES = 13;
const LEAST_STRENGTH = 0.25; // of the strongest utterance; less is a click or a breath, no digit
const LEAST_LOUDNESS = 0.35;

/** Something that a person can put right; the message says what it is and what to do. */
export class HearingError extends Error {}

/**
 * @typedef {object} Utterance
 * @property {number} start sample index
 * @property {number} stop sample index, at most 1.5 s later
 * @property {number} begin where all of it starts
 * @property {number} end where all of it stops
 * @property {number} strength its amplitude, 0 to 1 of the loudest, summed over its frames
 * @property {boolean} silent whether it is no voice: nothing of the recording stands out
 * @property {boolean} settled whether the margin at its end has been heard, too
 * @property {boolean} closed whether a pause has followed it
 */

/**
 * @param {Float32Array} samples (L,)
 * @returns {Float32Array} (L,)
 */
export function withoutMean(samples) {
  let sum = 0;
  for (const x of samples) sum += x;
  const mean = Math.fround(sum / samples.length);
  return samples.map((x) => x - mean);
}

/**
 * Find all utterances in a recording, in their order. The strongest is the one that Python's
 * `find_speech` finds, to the sample.
 * @param {Float32Array} samples (L,) at 8 kHz
 * @returns {Utterance[]}
 * @throws {HearingError} when there is no sound in it
 */
export function findUtterances(samples) {
  if (!samples.some((x) => Math.abs(x) > SILENCE)) {
    throw new HearingError("No sound came in. Check the microphone and its level.");
  }
  const frames = 1 + Math.floor(samples.length / HOP);
  const power = new Float64Array(frames * BANDS);
  for (let t = 0; t < frames; t++) framePower(samples, t, power);
  const short = samples.length < LONG_DIGIT;
  const silent = samples.every((x) => Math.abs(x) < QUIETEST);
  const found = segment(power, frames, samples, short);
  if (found.length) return found.map((one) => ({ ...one, silent: one.silent || silent }));
  const [start, stop] = mostEnergetic(samples, 0, samples.length);
  const all = { begin: 0, end: samples.length, strength: 0, settled: true, closed: true };
  return [{ start, stop, ...all, silent: silent || !short }];
}

/**
 * @template {{strength: number}} T
 * @param {T[]} utterances in any number but none
 * @returns {T}
 */
export function strongest(utterances) {
  return utterances.reduce((best, one) => (one.strength > best.strength ? one : best));
}

/**
 * What the network hears of an utterance: (L',), 0.1 s (with zeros up to there) to 1.5 s; zeros
 * stand for the margin that a recording cut to the word lacks.
 * @param {Float32Array} samples
 * @param {Utterance} utterance
 */
export function cutClip(samples, { start, stop }) {
  const clip = new Float32Array(Math.max(stop - start, MIN_CLIP));
  clip.set(samples.subarray(Math.max(0, start), stop), Math.max(0, -start));
  return clip;
}

/** Finds the utterances in a recording that still goes on; each frame is computed once. */
export class Endpointer {
  #power = new Float64Array(64 * BANDS);
  #frames = 0;

  /**
   * @param {Float32Array} samples (L,) at 8 kHz, all so far
   * @returns {Utterance[]}
   */
  update(samples) {
    while (this.#frames * HOP + WINDOW / 2 <= samples.length) {
      if (this.#power.length === this.#frames * BANDS) {
        const longer = new Float64Array(2 * this.#power.length);
        longer.set(this.#power);
        this.#power = longer;
      }
      framePower(samples, this.#frames++, this.#power);
    }
    const heard = this.#frames > BACKGROUND_FRAMES + ACTIVE_FRAMES;
    return heard ? segment(this.#power, this.#frames, samples, false) : [];
  }
}

/**
 * Part frames into utterances: see `find_speech` in audio.py for the method.
 * @param {Float64Array} power (T, 4)
 * @param {number} frames T
 * @param {Float32Array} samples (L,)
 * @param {boolean} short whether the recording may be all speech, with no background in it
 * @returns {Utterance[]}
 */
function segment(power, frames, samples, short) {
  const totals = new Float64Array(frames);
  for (let i = 0; i < frames * BANDS; i++) totals[Math.floor(i / BANDS)] += power[i];
  totals.sort();
  const peak = Math.max(
    totals[frames - Math.min(PEAK_FRAMES, frames)],
    1e-9 * totals[frames - 1],
  );
  if (!(peak > 0)) return [];

  const excess = new Float64Array(frames); // dB, summed over bands
  const loudness = new Float64Array(frames); // amplitude, 1 where as loud as the voice gets
  let hiss = 0; // background, but for hum, which hides no end
  for (let band = 0; band < BANDS; band++) {
    const background = quietest(power, frames, band);
    if (band > 0) hiss += background;
    let threshold = Math.max(decibel(background / peak) + RISE_DB, -RANGE_DB);
    if (short) threshold = Math.min(threshold, -TRIMMED_RANGE_DB);
    for (let t = 0; t < frames; t++) {
      const here = power[t * BANDS + band];
      excess[t] += Math.max(decibel(here / peak) - threshold, 0);
      loudness[t] += Math.max(here - background, 0) / peak;
    }
  }
  for (let t = 0; t < frames; t++) loudness[t] = Math.sqrt(Math.min(loudness[t], 1));
  const margin = !short && decibel(hiss / peak) > NOISY_DB ? NOISY_END : MARGIN;

  /** @type {{first: number, last: number, count: number, excess: number, strength: number, loudest: number}[]} */
  const runs = [];
  const length = Math.min(ACTIVE_FRAMES, frames);
  for (let t = 0; t + length <= frames; t++) {
    if (!excess.subarray(t, t + length).every((x) => x > 0)) continue;
    if (!runs.length || (t - runs[runs.length - 1].last) * HOP > PAUSE) {
      runs.push({ first: t, last: t, count: 0, excess: 0, strength: 0, loudest: 0 });
    }
    const run = runs[runs.length - 1];
    run.last = t;
    run.count += 1;
    run.excess += excess[t];
    run.strength += loudness[t];
    run.loudest = Math.max(run.loudest, loudness[t]);
  }
  if (!runs.length) return [];
  const best = strongest(runs);
  const silent =
    !short && !runs.some((run) => run.count >= OUTSTANDING_FRAMES && run.excess >= OUTSTANDING_DB);
  const isDigit = (run) =>
    run.count >= SHORT_DIGIT_FRAMES &&
    run.strength >= LEAST_STRENGTH * best.strength &&
    run.loudest >= LEAST_LOUDNESS * best.loudest;
  return runs
    .filter((run) => run === best || isDigit(run))
    .map(({ first, last, strength }) => {
      const lastActive = (last + ACTIVE_FRAMES - 1) * HOP;
      const begin = Math.max(0, first * HOP - MARGIN);
      const end = Math.min(samples.length, lastActive + margin);
      // Where the recording begins or ends too soon for the margin, they lie outside it.
      const [start, stop] = mostEnergetic(samples, first * HOP - MARGIN, lastActive + margin);
      const quiet = (frames - 1) * HOP - lastActive;
      const state = { silent, settled: quiet >= margin, closed: quiet > PAUSE };
      return { start, stop, begin, end, strength, ...state };
    });
}

/** @param {Float64Array} power (T, 4); returns the least mean over 100 ms of a band */
function quietest(power, frames, band) {
  const length = Math.min(BACKGROUND_FRAMES, frames);
  let least = Infinity;
  for (let t = 0; t + length <= frames; t++) {
    let sum = 0;
    for (let i = t; i < t + length; i++) sum += power[i * BANDS + band];
    least = Math.min(least, sum / length);
  }
  return least;
}

const HANN = Float64Array.from({ length: WINDOW }, (_, i) =>
  Math.fround(0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW)),
);
const COSINE = HANN.map((_, i) => Math.cos((2 * Math.PI * i) / WINDOW));
const SINE = HANN.map((_, i) => Math.sin((2 * Math.PI * i) / WINDOW));
const BITS = Math.log2(WINDOW);
const REVERSED = Uint8Array.from(HANN, (_, i) => {
  let reversed = 0;
  for (let bit = 0; bit < BITS; bit++) reversed |= ((i >> bit) & 1) << (BITS - 1 - bit);
  return reversed;
});
const real = new Float64Array(WINDOW);
const imaginary = new Float64Array(WINDOW);

/**
 * Power in four bands of the 32 ms around sample t * 80, written to row t of `power`.
 * @param {Float32Array} samples (L,), as if zeros stood around them
 * @param {number} t
 * @param {Float64Array} power (T, 4)
 */
function framePower(samples, t, power) {
  const first = t * HOP - WINDOW / 2;
  for (let i = 0; i < WINDOW; i++) {
    real[REVERSED[i]] = HANN[i] * (samples[first + i] ?? 0);
  }
  imaginary.fill(0);
  for (let half = 1; half < WINDOW; half *= 2) {
    const step = WINDOW / (2 * half);
    for (let start = 0; start < WINDOW; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const a = start + k;
        const b = a + half;
        const x = real[b] * COSINE[k * step] + imaginary[b] * SINE[k * step];
        const y = imaginary[b] * COSINE[k * step] - real[b] * SINE[k * step];
        real[b] = real[a] - x;
        imaginary[b] = imaginary[a] - y;
        real[a] += x;
        imaginary[a] += y;
      }
    }
  }
  for (let band = 0; band < BANDS; band++) {
    let sum = 0;
    for (let i = BAND_EDGES[band]; i < BAND_EDGES[band + 1]; i++) {
      sum += real[i] ** 2 + imaginary[i] ** 2;
    }
    power[t * BANDS + band] = sum;
  }
}

/** Narrow [start, stop) to the 1.5 s of most energy in it. */
function mostEnergetic(samples, start, stop) {
  if (stop - start <= MAX_CLIP) return [start, stop];
  [start, stop] = [Math.max(0, start), Math.min(samples.length, stop)];
  if (stop - start <= MAX_CLIP) return [start, stop];
  let energy = 0;
  for (let i = start; i < start + MAX_CLIP; i++) energy += samples[i] ** 2;
  let [most, best] = [energy, start];
  for (let i = start + 1; i + MAX_CLIP <= stop; i++) {
    energy += samples[i + MAX_CLIP - 1] ** 2 - samples[i - 1] ** 2;
    if (energy > most) [most, best] = [energy, i];
  }
  return [best, best + MAX_CLIP];
}

/** @param {number} ratio of powers */
function decibel(ratio) {
  return 10 * Math.log10(Math.max(ratio, 1e-9));
}
