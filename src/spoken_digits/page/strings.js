/**
 * Strings of digits: what is said, however long it goes on, while it is being said.
 *
 * The same way as `spoken_digits/connected.py`; a test holds both to the same answers. Shapes:
 * L samples, U steps of the network, C classes, the digits and last the blank.
 */

import { MAX_CLIP, SAMPLE_RATE, withoutMean } from "./audio.js";

export const FAINTEST = 0.1; // probability at a step, below which a digit is not being announced
const ONE_WORD = 0.5; // of the shorter of two segments, in common: they claim one word
const SETTLED_S = 0.25; // after a digit's end no other is announced in its place
const MARGIN_S = 0.06; // around a digit that is heard again, as around a clip
const SPOTTER_WEIGHT = 0.5; // of its logarithms, in which digit it is
const EAR_WEIGHT = 0.25; // of the ear's log-odds, in whether it is one
const LEAST = 1e-3; // probability that is not thought impossible
const MOST_LOG_ODDS = 7; // of being a digit; what is nearer to certain is not told apart
const MOST_BLOCKS = 16; // are heard at once, 1 s: faster, and the page still answers to a press
const RECENT = 4 * SAMPLE_RATE; // samples that are kept, to be heard again
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

/**
 * Hears a stretch again, from start to end in seconds and `MARGIN_S` beyond.
 * @callback Ear
 * @param {number} start
 * @param {number} end
 * @returns {Promise<{probabilities: number[], logOdds: number}>} of each digit; of its being one
 */

/** @typedef {Record<string, object>} State what the network remembers, by name: tensors */

export class Transcriber {
  #session;
  #makeTensor;

  /**
   * @param {object} ort the module of onnxruntime-web
   * @param {object} session
   * @param {Record<string, string>} metadata what the model's file tells about itself
   * @param {import("./recognizer.js").Recognizer} recognizer hears each digit again, if need be
   */
  constructor(ort, session, metadata, recognizer) {
    this.#session = session;
    this.recognizer = metadata.hear_again === "true" ? recognizer : null;
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
  #fed = 0; // samples in all
  #recent; // samples that the network has heard last
  #heard = 0; // of them in all

  /** @param {Transcriber} transcriber */
  constructor(transcriber) {
    this.#transcriber = transcriber;
    const ear = transcriber.recognizer ? (start, end) => this.#hearAgain(start, end) : null;
    this.#spotter = new Spotter(transcriber.threshold, transcriber.step, ear);
    this.#recent = new Float32Array(RECENT + MOST_BLOCKS * transcriber.block);
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
    this.#fed += samples.length;
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
    const end = this.#fed / SAMPLE_RATE;
    // What the network may still announce, it announces while it hears silence.
    const length = Math.ceil((this.#count + lookahead) / block) * block;
    const segments = await this.feed(new Float32Array(length - this.#count));
    // The network tells the end of a digit before it is there; now it is known.
    return [...segments, ...(await this.#spotter.end())].map((segment) => ({
      ...segment,
      start: Math.min(segment.start, end),
      end: Math.min(segment.end, end),
    }));
  }

  async #hear(length) {
    const samples = this.#waiting.slice(0, length);
    this.#waiting.copyWithin(0, length, this.#count);
    this.#count -= length;
    this.#recent.copyWithin(0, length);
    this.#recent.set(samples, this.#recent.length - length);
    this.#heard += length;
    const { probabilities, edges, state } = await this.#transcriber.hear(samples, this.#state);
    this.#state = state;
    return this.#spotter.add(probabilities, edges);
  }

  /** @type {Ear} */
  async #hearAgain(start, end) {
    const stop = Math.round((end + MARGIN_S) * SAMPLE_RATE);
    const begin = Math.max(Math.round((start - MARGIN_S) * SAMPLE_RATE), stop - MAX_CLIP);
    const first = this.#heard - this.#recent.length;
    const [from, to] = [Math.max(begin, first), Math.min(stop, this.#heard)];
    const clip = new Float32Array(stop - begin); // what is not there is silence
    if (from < to) clip.set(this.#recent.subarray(from - first, to - first), from - begin);
    const { probabilities, logOdds } = await this.#transcriber.recognizer.hear(withoutMean(clip));
    return { probabilities, logOdds };
  }
}

/** Steps on end at which one digit is announced. */
class Run {
  start = 0;
  end = 0;
  #peak = 0;
  /** Of each digit, the probability that no step announces it. */
  #missed = Array(10).fill(1);

  /** @param {number} digit */
  constructor(digit) {
    this.digit = digit;
  }

  /** @param {number[]} digits probabilities @param {number} now @param {number[]} edges */
  add(digits, now, edges) {
    this.#missed = digits.map((p, i) => this.#missed[i] * (1 - p));
    if (digits[this.digit] <= this.#peak) return;
    this.#peak = digits[this.digit];
    this.start = Math.max(0, now - edges[0]);
    this.end = Math.max(this.start, now - edges[1]);
  }

  /** @returns {Segment} */
  get segment() {
    const probabilities = this.#missed.map((missed) => 1 - missed);
    const { digit, start, end } = this;
    return { digit, start, end, probability: probabilities[digit], probabilities };
  }
}

/** Makes segments of steps, as `Spotter` in spotting.py does: see there for the method. */
class Spotter {
  #threshold;
  #step;
  #ear;
  #steps = 0;
  /** @type {Run | null} */
  #run = null;
  /** @type {Run[]} have ended, and are to be heard again */
  #waiting = [];
  /** @type {Segment | null} has been, and may still be replaced */
  #held = null;

  /** @param {number} threshold @param {number} step @param {Ear | null} ear */
  constructor(threshold, step, ear) {
    this.#threshold = threshold;
    this.#step = step;
    this.#ear = ear;
  }

  /** @returns {Segment | null} */
  get partial() {
    const heard = [...(this.#held ? [this.#held] : []), ...this.#claims];
    const counts = heard.filter(({ probability }) => probability >= this.#threshold);
    return counts.length ? counts.reduce(likelier) : null;
  }

  /** @returns {Segment[]} */
  get #claims() {
    return [...this.#waiting, ...(this.#run ? [this.#run] : [])].map(({ segment }) => segment);
  }

  /**
   * @param {number[][]} probabilities (U, C)
   * @param {number[][]} edges (U, 2)
   * @returns {Promise<Segment[]>}
   */
  async add(probabilities, edges) {
    /** @type {Segment[]} */
    const segments = [];
    for (const [u, row] of probabilities.entries()) {
      this.#steps += 1;
      const now = (this.#steps * this.#step) / SAMPLE_RATE;
      const digits = row.slice(0, -1);
      const p = Math.max(...digits);
      const digit = digits.indexOf(p);
      const announced = p >= FAINTEST;
      if (this.#run && !(announced && digit === this.#run.digit)) this.#endRun();
      if (announced) {
        this.#run ??= new Run(digit);
        this.#run.add(digits, now, edges[u]);
      }
      while (this.#waiting.length && (!this.#ear || this.#waiting[0].end + MARGIN_S <= now)) {
        segments.push(...this.#place(await this.#judge(this.#waiting.shift())));
      }
      if (this.#held && this.#isSettled(this.#held, now)) {
        segments.push(this.#held);
        this.#held = null;
      }
    }
    return segments;
  }

  /** End the run that is going on; return what counts and is not final yet. */
  async end() {
    this.#endRun();
    /** @type {Segment[]} */
    const segments = [];
    for (const run of this.#waiting) segments.push(...this.#place(await this.#judge(run)));
    if (this.#held) segments.push(this.#held);
    this.#waiting = [];
    this.#held = null;
    return segments;
  }

  /** @param {Segment} held @param {number} now */
  #isSettled(held, now) {
    const claims = this.#claims;
    if (!claims.length) return now > held.end + SETTLED_S;
    return claims.every(
      (claim) => claim.probability >= this.#threshold && !isOneWord(held, claim),
    );
  }

  #endRun() {
    if (this.#run) this.#waiting.push(this.#run);
    this.#run = null;
  }

  /** @param {Segment} segment @returns {Segment[]} */
  #place(segment) {
    const held = this.#held;
    if (segment.probability < this.#threshold) return [];
    if (held && isOneWord(held, segment)) {
      this.#held = likelier(held, segment);
      return [];
    }
    this.#held = segment;
    return held ? [held] : [];
  }

  /** @param {Run} run @returns {Promise<Segment>} */
  async #judge(run) {
    const { segment } = run;
    if (!this.#ear) return segment;
    const again = await this.#ear(run.start, run.end);
    const weights = segment.probabilities.map(
      (p, i) => again.probabilities[i] * Math.max(p, LEAST) ** SPOTTER_WEIGHT,
    );
    const sum = weights.reduce((a, b) => a + b);
    const p = Math.min(Math.max(segment.probability, LEAST), 1 - LEAST);
    const own = Math.min(Math.max(again.logOdds, -MOST_LOG_ODDS), MOST_LOG_ODDS);
    const isThere = 1 / (1 + Math.exp(-(Math.log(p / (1 - p)) + EAR_WEIGHT * own)));
    const probabilities = weights.map((weight) => (isThere * weight) / sum);
    const probability = Math.max(...probabilities);
    const digit = probabilities.indexOf(probability);
    return { digit, start: run.start, end: run.end, probability, probabilities };
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
