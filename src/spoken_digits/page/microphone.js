/** The microphone's samples, at 8 kHz, as they come. */

import { UserError, MAX_DURATION_S, SAMPLE_RATE } from "./audio.js";
import { Resampler } from "./resample.js";

/** @type {Record<string, string>} the name of the browser's error, and what to do */
const ERRORS = {
  NotAllowedError:
    "The microphone was refused. Allow it for this page (the sign beside the address), or choose " +
    "a recording.",
  NotFoundError: "No microphone was found. Connect one and press again, or choose a recording.",
  NotReadableError:
    "The microphone cannot be opened: another program may be using it. Close that, and press again.",
};

export class Microphone {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {MediaStream} */
  #stream;
  /** @type {AudioWorkletNode | null} */
  #node = null;
  #onSamples;
  #flushed = Promise.withResolvers();
  #stopped = false;

  /** @param {MediaStream} stream @param {(samples: Float32Array) => void} onSamples */
  constructor(stream, onSamples) {
    this.#stream = stream;
    this.#onSamples = onSamples;
  }

  /**
   * Ask for the microphone and listen to it.
   * @param {object} events
   * @param {(samples: Float32Array) => void} events.onSamples the next (L,), at 8 kHz
   * @param {(reason: string) => void} events.onEnd it ended by itself: call `stop`
   * @returns {Promise<Microphone>}
   * @throws {UserError} when there is none, or it may not be used
   */
  static async open({ onSamples, onEnd }) {
    if (!navigator.mediaDevices) {
      throw new UserError(
        "A browser gives the microphone to secure pages only: open this one by https or as " +
          "localhost, or choose a recording.",
      );
    }
    let stream;
    try {
      // What a browser does for telephony removes parts of the speech.
      const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      const { name, message } = /** @type {DOMException} */ (error);
      throw new UserError(
        ERRORS[name] ?? `The microphone cannot be opened (${message || name}).`,
      );
    }
    const microphone = new Microphone(stream, onSamples);
    for (const track of stream.getTracks()) {
      track.onended = () => onEnd("The microphone went away.");
    }
    try {
      await microphone.#connect(onEnd);
    } catch (error) {
      microphone.#release();
      throw error;
    }
    return microphone;
  }

  /** @param {(reason: string) => void} onEnd */
  async #connect(onEnd) {
    let context;
    let source;
    try {
      context = this.#context = new AudioContext({ sampleRate: SAMPLE_RATE });
      source = context.createMediaStreamSource(this.#stream);
    } catch {
      // Firefox: a context at the microphone's own rate, and a resampler after it
      await this.#context?.close();
      context = this.#context = new AudioContext();
      source = context.createMediaStreamSource(this.#stream);
    }
    const resampler = new Resampler(context.sampleRate);
    let left = MAX_DURATION_S * SAMPLE_RATE;
    /** @param {Float32Array} samples @returns {boolean} whether more are taken */
    const give = (samples) => {
      const first = samples.subarray(0, left);
      left -= first.length;
      if (first.length) this.#onSamples(first);
      return left > 0;
    };
    await context.audioWorklet.addModule("capture.js");
    const node = (this.#node = new AudioWorkletNode(context, "capture"));
    node.port.onmessage = ({ data }) => {
      if (data === null) {
        give(resampler.finish());
        this.#flushed.resolve(null);
      } else if (!give(resampler.add(data))) {
        onEnd(`It stops by itself after ${MAX_DURATION_S} seconds.`);
      }
    };
    source.connect(node).connect(context.destination); // which stays silent
    await context.resume();
  }

  /** Close the microphone, after the last of its samples. */
  async stop() {
    if (!this.#stopped) {
      this.#stopped = true;
      this.#node?.port.postMessage("stop");
      setTimeout(this.#flushed.resolve, 200, null); // where the audio thread has stopped already
    }
    await this.#flushed.promise;
    this.#release();
  }

  #release() {
    for (const track of this.#stream.getTracks()) track.stop();
    if (this.#context && this.#context.state !== "closed") this.#context.close();
  }
}
