/**
 * From a recording to the input of a network: cut to the utterance in it.
 *
 * The same as `find_utterance` in `spoken_digits/audio.py`, where the method and its constants are
 * described; a test holds both to the same answers. Shapes: L samples, T frames, 4 bands.
 */

export const SAMPLE_RATE = 8000; // Hz
export const MAX_DURATION_S = 30; // of a recording in which one digit is looked for
export const SILENCE = 1e-6; // -120 dBFS
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
const NOISY_DB = -18;
const NOISY_END_MARGIN = 1120; // samples, 0.14 s
const MARGIN = 480; // 0.06 s
const PAUSE = 2400; // 0.3 s
const LONG_DIGIT = 9600; // 1.2 s
const MIN_CLIP = 800; // 0.1 s
export const MAX_CLIP = 12000; // 1.5 s
const MIN_SPEECH_FRAMES = 3;
const MIN_SPEECH_DB = 20;
const MIN_LEVEL_DBFS = -80;
const MAX_NOISE = 0.1;
const MIN_LOUDNESS = 0.2;
const ABOVE_NOISE = 1.6;
const MAX_UNSTEADY = 16;
const MIN_GAP = 1200; // 0.15 s
const MIN_DIGIT_FRAMES = 10;
const MAX_DIGIT_FRAMES = 105;
const MIN_STRENGTH = 0.25;
const MIN_PEAK = 0.35;

/** Something that the user can put right; the message says what it is and what to do. */
export class UserError extends Error {}

/**
 * The strongest utterance of a recording. Where the recording begins or ends too soon for the
 * margin, start and stop lie outside it.
 * @typedef {object} Utterance
 * @property {number} start sample index
 * @property {number} stop sample index, at most 1.5 s later
 * @property {boolean} isSpeech whether anything rises above the background
 * @property {number} utterances how many like digits the recording holds, at least
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
 * @param {Float32Array} samples (L,) at 8 kHz, without their mean
 * @returns {Utterance}
 */
export function findUtterance(samples) {
  let peak = 0;
  for (const x of samples) peak = Math.max(peak, Math.abs(x));
  if (peak <= SILENCE) return { start: 0, stop: 0, isSpeech: false, utterances: 0 };
  const isLoud = 20 * Math.log10(peak) >= MIN_LEVEL_DBFS;
  const frames = 1 + Math.floor(samples.length / HOP);
  const power = new Float64Array(frames * BANDS);
  for (let t = 0; t < frames; t++) framePower(samples, t, power);
  const isShort = samples.length < LONG_DIGIT;
  const compared = compareWithBackground(power, frames, isShort);
  const { excess, loudness, isNoisy } = compared;

  /** @type {number[]} the first frames of what lasts */
  const lasting = [];
  const length = Math.min(ACTIVE_FRAMES, frames);
  for (let t = 0; t + length <= frames; t++) {
    if (excess.subarray(t, t + length).every((x) => x > 0)) lasting.push(t);
  }
  if (!lasting.length) {
    const [start, stop] = mostEnergetic(samples, 0, samples.length);
    return { start, stop, isSpeech: isShort && isLoud, utterances: 0 };
  }
  const runs = split(lasting, PAUSE);
  const strongest = runs.reduce((best, run) =>
    total(run, loudness) > total(best, loudness) ? run : best,
  );
  const first = strongest[0] * HOP - MARGIN;
  const lastActive = (strongest[strongest.length - 1] + ACTIVE_FRAMES - 1) * HOP;
  const last = lastActive + (isNoisy ? NOISY_END_MARGIN : MARGIN);
  const rises =
    isShort ||
    runs.some((run) => run.length >= MIN_SPEECH_FRAMES && total(run, excess) >= MIN_SPEECH_DB);
  const [start, stop] = mostEnergetic(samples, first, last);
  const utterances = rises ? countDigits(power, frames, compared) : 0;
  return { start, stop, isSpeech: rises && isLoud, utterances };
}

/**
 * The input of the network for an utterance: (L',), 0.1 s (with zeros up to there) to 1.5 s; zeros
 * stand for the margin that a recording cut to the word lacks.
 * @param {Float32Array} samples (L,)
 * @param {{start: number, stop: number}} utterance
 */
export function cutClip(samples, { start, stop }) {
  const clip = new Float32Array(Math.max(stop - start, MIN_CLIP));
  clip.set(samples.subarray(Math.max(0, start), Math.max(0, stop)), Math.max(0, -start));
  return clip;
}

/**
 * @param {Float64Array} power (T, 4)
 * @param {number} frames T
 * @param {boolean} isShort whether the recording may be all speech, with no background in it
 * @returns {{peak: number, backgrounds: Float64Array, excess: Float64Array,
 *   loudness: Float64Array, isNoisy: boolean}} the voice's power; that of the quietest moment (4,);
 *   dB (T,) above the threshold, summed over bands; amplitude (T,), 1 where as loud as the voice
 *   gets
 */
function compareWithBackground(power, frames, isShort) {
  const totals = new Float64Array(frames);
  for (let i = 0; i < frames * BANDS; i++) totals[Math.floor(i / BANDS)] += power[i];
  totals.sort();
  const peak = Math.max(
    totals[frames - Math.min(PEAK_FRAMES, frames)],
    1e-9 * totals[frames - 1],
  );
  const excess = new Float64Array(frames);
  const loudness = new Float64Array(frames);
  const backgrounds = new Float64Array(BANDS);
  let hiss = 0; // background, but for hum, which hides no end
  for (let band = 0; band < BANDS; band++) {
    const background = quietest(power, frames, band);
    backgrounds[band] = background;
    if (band > 0) hiss += background;
    let threshold = Math.max(decibel(background / peak) + RISE_DB, -RANGE_DB);
    if (isShort) threshold = Math.min(threshold, -TRIMMED_RANGE_DB);
    for (let t = 0; t < frames; t++) {
      const here = power[t * BANDS + band];
      excess[t] += Math.max(decibel(here / peak) - threshold, 0);
      loudness[t] += Math.max(here - background, 0) / peak;
    }
  }
  for (let t = 0; t < frames; t++) loudness[t] = Math.sqrt(Math.min(loudness[t], 1));
  const isNoisy = !isShort && decibel(hiss / peak) > NOISY_DB;
  return { peak, backgrounds, excess, loudness, isNoisy };
}

/**
 * @param {number[]} frames ascending
 * @param {number} pause samples; where more lie between two frames, they are split
 * @returns {number[][]}
 */
function split(frames, pause) {
  /** @type {number[][]} */
  const runs = [];
  frames.forEach((t, i) => {
    if (i && (t - frames[i - 1]) * HOP <= pause) runs[runs.length - 1].push(t);
    else runs.push([t]);
  });
  return runs;
}

/** @param {number[]} run frames @param {Float64Array} values (T,) */
function total(run, values) {
  return run.reduce((added, t) => added + values[t], 0);
}

/**
 * Count what may be digits: long and loud enough, at least 1.
 * @param {Float64Array} power (T, 4)
 * @param {number} frames T
 * @param {{peak: number, backgrounds: Float64Array}} compared as of `compareWithBackground`
 */
function countDigits(power, frames, { peak: voice, backgrounds }) {
  const noise = Array.from({ length: BANDS }, (_, band) => {
    const unsteady = MAX_UNSTEADY * backgrounds[band];
    return Math.min(median(power, frames, band), unsteady) / voice;
  });
  let sum = noise.reduce((added, x) => added + x, 0);
  const scale = MAX_NOISE / Math.max(sum, MAX_NOISE);
  sum *= scale;
  const floor = Math.max(MIN_LOUDNESS, ABOVE_NOISE * Math.sqrt(sum));
  const loudness = Float64Array.from({ length: frames }, (_, t) => {
    let above = 0;
    noise.forEach((x, band) => {
      above += Math.max(power[t * BANDS + band] / voice - x * scale, 0);
    });
    return Math.sqrt(Math.min(above, 1));
  });
  /** @type {number[]} */
  const loud = [];
  loudness.forEach((x, t) => x >= floor && loud.push(t));
  const all = split(loud, MIN_GAP).map((run) => ({
    length: run.length,
    strength: total(run, loudness),
    peak: Math.max(...run.map((t) => loudness[t])),
  }));
  const best = all.reduce((a, b) => (b.strength > a.strength ? b : a));
  const digits = all.filter(
    ({ length, strength, peak }) =>
      length >= MIN_DIGIT_FRAMES &&
      strength >= MIN_STRENGTH * best.strength &&
      peak >= MIN_PEAK * best.peak,
  );
  const isLong = split(loud, PAUSE).some(
    (run) => 1 + run[run.length - 1] - run[0] > MAX_DIGIT_FRAMES,
  );
  return Math.max(isLong ? 2 : 1, digits.length);
}

/**
 * @param {Float64Array} power (T, 4)
 * @param {number} frames T
 * @param {number} band
 */
function median(power, frames, band) {
  const sorted = Float64Array.from({ length: frames }, (_, t) => power[t * BANDS + band]).sort();
  return (sorted[(frames - 1) >> 1] + sorted[frames >> 1]) / 2;
}

/**
 * @param {Float64Array} power (T, 4)
 * @param {number} frames T
 * @param {number} band
 * @returns {number} the smallest mean over 100 ms
 */
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

/**
 * Narrow [start, stop) to the 1.5 s of most energy in it.
 * @param {Float32Array} samples (L,)
 * @param {number} start
 * @param {number} stop
 * @returns {[number, number]}
 */
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
