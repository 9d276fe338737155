/** Pictures of what was heard, in the colors of the style sheet. */

import { SAMPLE_RATE } from "./audio.js";

const GAP = 2; // between digits that run into each other

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} samples (L,)
 * @param {{start: number, stop: number}[]} stretches shaded
 * @param {number} selected index of the one that is shaded more
 * @param {number} duration in seconds, of the whole width
 */
export function drawWaveform(canvas, samples, stretches, selected, duration) {
  const { context, width, height, color } = prepare(canvas);
  const x = (sample) => (sample / (duration * SAMPLE_RATE)) * width;
  stretches.forEach(({ start, stop }, index) => {
    context.fillStyle = color(index === selected ? "--mark" : "--wash");
    context.beginPath();
    const width = Math.max(x(stop) - x(start) - GAP, GAP);
    context.roundRect(x(start) + GAP / 2, 0, width, height, 4);
    context.fill();
  });
  let loudest = 0.02; // so that silence does not look like a storm
  for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
  const scale = (0.46 * height) / loudest;
  context.fillStyle = color("--ink");
  const perColumn = (duration * SAMPLE_RATE) / width;
  for (let column = 0; column < width; column++) {
    const first = Math.floor(column * perColumn);
    if (first >= samples.length) {
      context.fillRect(column, height / 2 - 0.5, width - column, 0.5);
      break;
    }
    let [low, high] = [0, 0];
    const last = Math.min(samples.length, Math.max(first + 1, (column + 1) * perColumn));
    for (let i = first; i < last; i++) {
      low = Math.min(low, samples[i]);
      high = Math.max(high, samples[i]);
    }
    context.fillRect(column, height / 2 - high * scale - 0.5, 1, (high - low) * scale + 1);
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("./recognizer.js").Recognition["logMel"] | null} logMel (M, T), low bands first
 */
export function drawLogMel(canvas, logMel) {
  const { context, width, height, color } = prepare(canvas);
  if (!logMel) return;
  const { values, bands, frames } = logMel;
  const steps = ["--mel-low", "--mel-middle", "--mel-high"].map((name) => rgb(context, color(name)));
  const sorted = Float32Array.from(values).sort();
  const low = sorted[Math.floor(0.05 * sorted.length)];
  const range = Math.max(sorted[sorted.length - 1] - low, 1e-6);
  const image = new ImageData(frames, bands);
  for (let band = 0; band < bands; band++) {
    for (let t = 0; t < frames; t++) {
      const level = 2 * Math.min(1, Math.max(0, (values[band * frames + t] - low) / range));
      const [from, to] = level < 1 ? [steps[0], steps[1]] : [steps[1], steps[2]];
      const share = level < 1 ? level : level - 1;
      const pixel = 4 * ((bands - 1 - band) * frames + t);
      for (let i = 0; i < 3; i++) image.data[pixel + i] = from[i] + share * (to[i] - from[i]);
      image.data[pixel + 3] = 255;
    }
  }
  const small = new OffscreenCanvas(frames, bands);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false; // what the network saw, no more
  context.drawImage(small, 0, 0, width, height);
}

/**
 * Fit a canvas to its place and clear it.
 * @param {HTMLCanvasElement} canvas
 */
function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  return { context, width, height, color: (name) => style.getPropertyValue(name).trim() };
}

/** @returns {number[]} red, green, blue of any color that a style sheet may name */
function rgb(context, color) {
  context.fillStyle = color;
  return [1, 3, 5].map((i) => parseInt(context.fillStyle.slice(i, i + 2), 16));
}
