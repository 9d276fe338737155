/**
 * The audio thread's part of the microphone: posts its samples, mono, every 20 ms.
 *
 * Any message asks for the rest; after it, null is posted, and no more.
 */

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(Math.round(0.02 * sampleRate));
    this.filled = 0;
    this.done = false;
    this.port.onmessage = () => {
      this.send();
      this.port.postMessage(null);
      this.done = true;
    };
  }

  /** @param {Float32Array[][]} inputs one input, its channels */
  process([channels]) {
    for (let i = 0; channels.length && i < channels[0].length && !this.done; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === this.block.length) this.send();
    }
    return !this.done;
  }

  send() {
    if (this.filled) this.port.postMessage(this.block.slice(0, this.filled));
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
