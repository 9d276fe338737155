/**
 * Strings of digits: what is said, however long it goes on, while it is being said.
 *
 * The same way as `spoken_digits/connected.py`; a test holds both to the same answers. Shapes:
 * L samples, U steps of the network, C classes, the digits and last the blank.
 */

import { SAMPLE_RATE } from "./audio.js";

export const FAINTEST = 0.1; // probability at a step, below which a digit is not being announced
const ONE_WORD = 0.5; // of the shorter of two segments, in common: they claim one word
const SETTLED_S = 0.25; // after a digit's end no other is announced in its place
const MOST_BLOCKS = 16; // are heard at once, 1 s: faster, and the page still answers to a press
const STATE = "state_";
const NEW_STATE = "new_state_";

/**
 * One digit of a string.
 * @typedef {object} Segment
 * @property {number} digit
 * @property {number} start in seconds
 * @property {number} end in seconds
 * @property {number} probability that it is there and is this digit
 * @property {number[]} probabilities the same of each of the ten digits
 */

/** @typedef {Record<string, object>} State what the network remembers, by name: tensors */

export class Transcriber {
  #session;
  #makeTensor;

  /**
   * @param {object} ort the module of onnxruntime-web
   * @param {object} session
   * @param {Record<string, string>} metadata what the model's file tells about itself
   */
  constructor(ort, session, metadata) {
    this.#session = session;
    this.#makeTensor = (data, dims) => new ort.Tensor("float32", data, dims);
    this.metadata = metadata;
    this.threshold = Number(metadata.threshold);
    this.step = Number(metadata.step); // samples
    this.block = Number(metadata.block); // samples, some steps
    this.lookahead = Number(metadata.lookahead); // samples
  }

  /** @returns {State} before anything is heard */
  firstState() {
    const states = this.#session.inputMetadata.filter(({ name }) => name.startsWith(STATE));
    return Object.fromEntries(
      states.map(({ name, shape }) => {
        const size = shape.reduce((a, b) => a * b, 1);
        return [name, this.#makeTensor(new Float32Array(size), shape)];
      }),
    );
  }

  /**
   * @param {Float32Array} samples (L,) at 8 kHz, one or more blocks
   * @param {State} state
   * @returns {Promise<{probabilities: number[][], edges: number[][], state: State}>} (U, C); (U, 2)
   *   seconds since the digit's start and end; what to remember
   */
  async hear(samples, state) {
    const waveform = this.#makeTensor(samples, [1, samples.length]);
    const outputs = await this.#session.run({ waveform, ...state });
    const rows = ({ data, dims: [, steps, width] }) =>
      Array.from({ length: steps }, (_, u) => data.subarray(u * width, (u + 1) * width));
    return {
      probabilities: rows(outputs.scores).map(probabilities),
      edges: rows(outputs.edges),
      state: Object.fromEntries(
        Object.keys(state).map((name) => [name, outputs[name.replace(STATE, NEW_STATE)]]),
      ),
    };
  }
}

/** Listens to samples, portion by portion of whatever size, and remembers no more of hours. */
export class Stream {
  #transcriber;
  #spotter;
  #state;
  #waiting; // samples that are no block yet
  #count = 0; // of them
  #heard = 0; // samples in all

  /** @param {Transcriber} transcriber */
  constructor(transcriber) {
    this.#transcriber = transcriber;
    this.#spotter = new Spotter(transcriber.threshold, transcriber.step);
    this.#state = transcriber.firstState();
    this.#waiting = new Float32Array(MOST_BLOCKS * transcriber.block);
  }

  /** @returns {Segment | null} a digit that is heard already, but may still change */
  get partial() {
    return this.#spotter.partial;
  }

  /**
   * Hear the next samples. One call must have ended before the next.
   * @param {Float32Array} samples (L,) at 8 kHz
   * @returns {Promise<Segment[]>} digits that are final: they do not come again
   */
  async feed(samples) {
    const { block } = this.#transcriber;
    const segments = [];
    this.#heard += samples.length;
    for (let position = 0; position < samples.length; ) {
      const taken = samples.subarray(position, position + this.#waiting.length - this.#count);
      this.#waiting.set(taken, this.#count);
      this.#count += taken.length;
      position += taken.length;
      const whole = this.#count - (this.#count % block);
      if (whole) segments.push(...(await this.#hear(whole)));
      if (position < samples.length) await turn();
    }
    return segments;
  }

  /** @returns {Promise<Segment[]>} what is final only now that there are no more samples */
  async finish() {
    const { block, lookahead } = this.#transcriber;
    const end = this.#heard / SAMPLE_RATE;
    // What the network may still announce, it announces while it hears silence.
    const length = Math.ceil((this.#count + lookahead) / block) * block;
    const segments = await this.feed(new Float32Array(length - this.#count));
    // The network tells the end of a digit before it is there; now it is known.
    return [...segments, ...this.#spotter.end()].map((segment) => ({
      ...segment,
      start: Math.min(segment.start, end),
      end: Math.min(segment.end, end),
    }));
  }

  async #hear(length) {
    const samples = this.#waiting.slice(0, length);
    this.#waiting.copyWithin(0, length, this.#count);
    this.#count -= length;
    const { probabilities, edges, state } = await this.#transcriber.hear(samples, this.#state);
    this.#state = state;
    return this.#spotter.add(probabilities, edges);
  }
}

/** Makes segments of steps, as `_Spotter` in connected.py does: see there for the method. */
class Spotter {
  #threshold;
  #step;
  #steps = 0;
  /** @type {number | null} */
  #digit = null;
  #peak = 0;
  /** @type {number[]} of each digit, the probability that no step of the run announces it */
  #missed = [];
  /** @type {Segment | null} */
  #run = null;
  /** @type {Segment | null} has ended, and may still be replaced */
  #held = null;

  constructor(threshold, step) {
    this.#threshold = threshold;
    this.#step = step;
  }

  get partial() {
    if (this.#current && this.#held) return likelier(this.#held, this.#current);
    return this.#current ?? this.#held;
  }

  get #current() {
    return this.#run && this.#run.probability >= this.#threshold ? this.#run : null;
  }

  /** @param {number[][]} probabilities (U, C) @param {number[][]} edges (U, 2) */
  add(probabilities, edges) {
    /** @type {Segment[]} */
    const segments = [];
    probabilities.forEach((row, u) => {
      this.#steps += 1;
      const now = (this.#steps * this.#step) / SAMPLE_RATE;
      const digits = row.slice(0, -1);
      const p = Math.max(...digits);
      const digit = p >= FAINTEST ? digits.indexOf(p) : null;
      if (digit !== this.#digit) segments.push(...this.#endRun());
      this.#digit = digit;
      if (digit !== null) {
        this.#missed = digits.map((q, i) => (this.#missed[i] ?? 1) * (1 - q));
        if (!this.#run || p > this.#peak) {
          this.#peak = p;
          const start = Math.max(0, now - edges[u][0]);
          const end = Math.max(start, now - edges[u][1]);
          this.#run = { digit, start, end, probability: 0, probabilities: [] };
        }
        const heard = this.#missed.map((missed) => 1 - missed);
        this.#run = { ...this.#run, probability: heard[digit], probabilities: heard };
      }
      const held = this.#held;
      const current = this.#current;
      const settled = current
        ? held && !isOneWord(held, current)
        : held && !this.#run && now > held.end + SETTLED_S;
      if (settled) {
        segments.push(held);
        this.#held = null;
      }
    });
    return segments;
  }

  /** End the run that is going on; return what counts and is not final yet. */
  end() {
    const segments = this.#endRun();
    if (this.#held) segments.push(this.#held);
    this.#held = null;
    return segments;
  }

  #endRun() {
    const ended = this.#current;
    const held = this.#held;
    this.#run = null;
    this.#missed = [];
    if (!ended) return [];
    if (held && isOneWord(held, ended)) {
      this.#held = likelier(held, ended);
      return [];
    }
    this.#held = ended;
    return held ? [held] : [];
  }
}

/** @param {Segment} a @param {Segment} b */
function isOneWord(a, b) {
  const common = Math.min(a.end, b.end) - Math.max(a.start, b.start);
  return common >= ONE_WORD * Math.min(a.end - a.start, b.end - b.start);
}

/** @param {Segment} a @param {Segment} b */
function likelier(a, b) {
  return b.probability > a.probability ? b : a;
}

/**
 * Softmax in single precision, as Python computes it: where two steps are both as good as certain,
 * the same one of them is the first of the most certain.
 * @param {Float32Array} scores (C,)
 */
function probabilities(scores) {
  const { fround, exp, log } = Math;
  const most = Math.max(...scores);
  const shifted = scores.map((score) => score - most);
  const sum = shifted.map(exp).reduce((a, b) => fround(a + b));
  const logarithm = fround(log(sum));
  return Array.from(shifted, (x) => fround(exp(fround(x - logarithm))));
}

/** Let the page answer to whoever uses it; unlike a timer, as fast where it is in the background. */
function turn() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(null);
    };
    port2.postMessage(null);
  });
}
