/** The microphone: what it hears, at 8 kHz, as it comes. */

import { HearingError, MAX_DURATION_S, SAMPLE_RATE } from "./audio.js";
import { Resampler } from "./resample.js";

/** @type {Record<string, string>} what the browser answers, and what it means */
const REFUSALS = {
  NotAllowedError:
    "The microphone was refused. Allow it for this page (the sign beside the address), or choose " +
    "a recording.",
  NotFoundError: "No microphone was found. Connect one and press again, or choose a recording.",
  NotReadableError:
    "The microphone cannot be opened: another program may be using it. Close that, and press again.",
};

export class Microphone {
  #context;
  #stream;
  #node;
  #resampler;
  #onSamples;
  #flushed = Promise.withResolvers();
  #stopped = false;

  /**
   * Ask for the microphone and listen to it.
   * @param {object} events
   * @param {(samples: Float32Array) => void} events.onSamples the next (L,), at 8 kHz
   * @param {(reason: string) => void} events.onEnd it ended by itself: call `stop`
   * @returns {Promise<Microphone>}
   * @throws {HearingError} when there is none, or it may not be used
   */
  static async open({ onSamples, onEnd }) {
    if (!navigator.mediaDevices) {
      throw new HearingError(
        "A browser lends the microphone to secure pages alone: open this one by https or as " +
          "localhost, or choose a recording.",
      );
    }
    let stream;
    try {
      // What a browser does for telephony takes away parts of the speech: the network hears it all.
      const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new HearingError(
        REFUSALS[error.name] ?? `The microphone cannot be opened (${error.message || error.name}).`,
      );
    }
    const microphone = new Microphone();
    microphone.#stream = stream;
    microphone.#onSamples = onSamples;
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

  async #connect(onEnd) {
    let source;
    try {
      this.#context = new AudioContext({ sampleRate: SAMPLE_RATE });
      source = this.#context.createMediaStreamSource(this.#stream);
    } catch {
      // Firefox: a context at the microphone's own rate, and a resampler after it
      await this.#context?.close();
      this.#context = new AudioContext();
      source = this.#context.createMediaStreamSource(this.#stream);
    }
    this.#resampler = new Resampler(this.#context.sampleRate);
    let left = MAX_DURATION_S * SAMPLE_RATE;
    const give = (samples) => {
      const first = samples.subarray(0, left);
      left -= first.length;
      if (first.length) this.#onSamples(first);
      return left > 0;
    };
    await this.#context.audioWorklet.addModule("capture.js");
    this.#node = new AudioWorkletNode(this.#context, "capture");
    this.#node.port.onmessage = ({ data }) => {
      if (data === null) {
        give(this.#resampler.finish());
        this.#flushed.resolve(null);
      } else if (!give(this.#resampler.add(data))) {
        onEnd(`It stops by itself after ${MAX_DURATION_S} seconds.`);
      }
    };
    source.connect(this.#node).connect(this.#context.destination); // which stays silent
    await this.#context.resume();
  }

  /** Let the microphone go, after the last of its samples. */
  async stop() {
    if (!this.#stopped) {
      this.#stopped = true;
      this.#node.port.postMessage("stop");
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
