/** Pictures of a recording, in the colors of the style sheet. */

import { SAMPLE_RATE } from "./audio.js";

const GAP = 2; // pixels between digits that touch

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} samples (L,)
 * @param {{start: number, stop: number}[]} stretches sample indices, shaded
 * @param {number} selected index of the one that is shaded more
 * @param {number} duration in seconds, of the whole width
 */
export function drawWaveform(canvas, samples, stretches, selected, duration) {
  const { context, width, height, color } = prepare(canvas);
  /** @param {number} sample */
  const x = (sample) => (sample / (duration * SAMPLE_RATE)) * width;
  stretches.forEach(({ start, stop }, index) => {
    context.fillStyle = color(index === selected ? "--mark" : "--wash");
    context.beginPath();
    const length = Math.max(x(stop) - x(start) - GAP, GAP);
    context.roundRect(x(start) + GAP / 2, 0, length, height, 4);
    context.fill();
  });
  let peak = 0.02; // at least, so that silence is drawn flat
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  const scale = (0.46 * height) / peak;
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
 * @param {import("./recognize.js").LogMel | null} logMel (M, T), low bands first
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
      const fraction = level < 1 ? level : level - 1;
      const pixel = 4 * ((bands - 1 - band) * frames + t);
      for (let i = 0; i < 3; i++) image.data[pixel + i] = from[i] + fraction * (to[i] - from[i]);
      image.data[pixel + 3] = 255;
    }
  }
  const small = new OffscreenCanvas(frames, bands);
  small.getContext("2d")?.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false; // the network's input, no more
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
  if (!context) throw new Error("no canvas in two dimensions");
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  /** @param {string} name of a color in the style sheet */
  const color = (name) => style.getPropertyValue(name).trim();
  return { context, width, height, color };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {string} color as a style sheet names it
 * @returns {number[]} red, green, blue
 */
function rgb(context, color) {
  context.fillStyle = color;
  const hex = String(context.fillStyle);
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}
