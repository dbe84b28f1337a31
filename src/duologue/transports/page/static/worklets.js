// The audio thread's part: one processor takes the microphone in, one plays replies.

const WIRE_RATE = 24000; // hertz of PCM16 on the line
const HUSH = 0.005; // seconds until a reply that is held is silent; faster clicks
const REPORT = 4; // quanta of 128 samples between two reports of the player: 21 ms

/** Changes the rate of a stream: a windowed sinc at every output sample. */
class Resampler {
  #half = 16; // input samples on each side of an output sample; alias below -50 dB
  #past = new Float32Array(2 * this.#half);
  #at = 0; // of the next output sample, in input samples from where #past begins

  /**
   * @param {number} source hertz
   * @param {number} target hertz
   */
  constructor(source, target) {
    this.step = source / target;
    this.cutoff = Math.min(1, target / source);
  }

  /**
   * @param {Float32Array} samples
   * @returns {number[]} what can be said so far, 16 input samples late
   */
  push(samples) {
    const input = new Float32Array(this.#past.length + samples.length);
    input.set(this.#past);
    input.set(samples, this.#past.length);
    const output = [];
    for (; this.#at + 2 * this.#half <= input.length; this.#at += this.step) {
      output.push(this.#sample(input));
    }
    const used = Math.floor(this.#at);
    this.#past = input.slice(used);
    this.#at -= used;
    return output;
  }

  #sample(input) {
    const first = Math.floor(this.#at);
    let sum = 0;
    for (let tap = 0; tap < 2 * this.#half; tap++) {
      const x = first + tap - this.#at - this.#half + 1;
      const sinc = x ? Math.sin(Math.PI * this.cutoff * x) / (Math.PI * x) : this.cutoff;
      const hann = 0.5 + 0.5 * Math.cos((Math.PI * x) / this.#half);
      sum += input[first + tap] * sinc * hann;
    }
    return sum;
  }
}

/**
 * Microphone in.
 *
 * Takes {seconds}: of a chunk, from the next one on. Posts for every chunk
 * {pcm: Int16Array at 24 kHz, level: 0..1, at: seconds, when it was complete}.
 */
class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions: { seconds } }) {
    super();
    this.resampler = sampleRate === WIRE_RATE ? null : new Resampler(sampleRate, WIRE_RATE);
    this.seconds = seconds;
    this.port.onmessage = ({ data }) => (this.seconds = data.seconds);
    this.#begin();
  }

  #begin() {
    this.size = Math.round(this.seconds * WIRE_RATE);
    this.chunk = new Int16Array(this.size);
    this.filled = 0;
    this.energy = 0;
  }

  process([[samples]]) {
    if (!samples) return true; // not connected yet
    for (const sample of this.resampler ? this.resampler.push(samples) : samples) {
      const clipped = Math.max(-1, Math.min(1, sample));
      this.chunk[this.filled++] = Math.round(clipped * 32767);
      this.energy += clipped * clipped;
      if (this.filled === this.size) this.#send();
    }
    return true;
  }

  #send() {
    const message = { pcm: this.chunk, level: Math.sqrt(this.energy / this.size), at: currentTime };
    this.port.postMessage(message, [this.chunk.buffer]);
    this.#begin();
  }
}

/**
 * Plays one reply at a time from a queue.
 *
 * Takes {push: Int16Array, item}, {finish: item} (no more will come), {gain, within: seconds, item}
 * (play it louder or quieter; every item begins at 1), {hold: item} (play nothing until the next gain)
 * and {clear: true}.
 * Posts {started: item, at: seconds}, {ended: item, underruns}, {cleared: item or null, played}, and
 * {played, level: 0..1 of the newest 21 ms, the gain included, at: seconds}.
 * `played` counts samples of the item, no silence.
 */
class Player extends AudioWorkletProcessor {
  constructor({ processorOptions: { preRoll } }) {
    super();
    this.preRoll = Math.round(preRoll * sampleRate);
    this.#reset(null);
    this.port.onmessage = ({ data }) => this.#take(data);
  }

  #reset(item) {
    this.item = item;
    this.queue = [];
    this.offset = 0; // into queue[0]
    this.have = 0; // samples in the queue
    this.played = 0;
    this.underruns = 0;
    this.running = false; // false: waits for the pre-roll
    this.finished = false;
    this.fading = false;
    this.quanta = 0;
    this.energy = 0; // of the quanta since the last report
    this.gain = this.target = 1;
    this.step = 0; // of the gain, a sample
    this.held = false;
  }

  #take({ push, item, finish, gain, within, hold, clear }) {
    if (clear) {
      if (this.running && !this.#isSilent) this.fading = true; // one more quantum, or it would click
      else this.#clear();
    } else if (push) {
      if (item !== this.item) this.#reset(item);
      this.queue.push(push);
      this.have += push.length;
    } else if (gain !== undefined) {
      if (item !== this.item) return;
      this.held = false;
      this.#turn(gain, within);
    } else if (hold !== undefined) {
      if (hold !== this.item) return;
      this.held = true;
      this.#turn(0, HUSH);
    } else if (finish === this.item) {
      this.finished = true;
    }
  }

  #turn(gain, within) {
    this.target = gain;
    this.step = (gain - this.gain) / (within * sampleRate);
  }

  get #isSilent() {
    return this.held && this.gain <= 0;
  }

  #clear() {
    this.port.postMessage({ cleared: this.item, played: this.played });
    this.#reset(null);
  }

  process(_, [[output]]) {
    if (this.item === null || this.#isSilent) return true;
    if (!this.running && (this.have >= this.preRoll || this.finished)) {
      this.running = true;
      if (this.have && !this.played) this.port.postMessage({ started: this.item, at: currentTime });
    }
    if (!this.running) {
      this.gain = this.target; // nobody hears it change
      return true;
    }
    this.#play(output);
    if (this.fading) {
      output.forEach((sample, i) => (output[i] = sample * (1 - i / output.length)));
      this.#clear();
    } else if (!this.have && this.finished) {
      this.port.postMessage({ ended: this.item, underruns: this.underruns });
      this.#reset(null);
    } else if (++this.quanta % REPORT === 0) {
      this.#report(REPORT * output.length);
    }
    return true;
  }

  #play(output) {
    let i = 0;
    for (; i < output.length && this.have; i++) {
      this.gain = this.#nextGain();
      output[i] = (this.queue[0][this.offset++] / 32768) * this.gain;
      this.energy += output[i] * output[i];
      this.have--;
      if (this.offset === this.queue[0].length) {
        this.queue.shift();
        this.offset = 0;
      }
    }
    this.played += i;
    if (i < output.length && !this.finished) {
      this.underruns++;
      this.running = false; // fill up again: one longer hole is less bad than many short ones
    }
  }

  #nextGain() {
    const next = this.gain + this.step;
    return this.step < 0 ? Math.max(next, this.target) : Math.min(next, this.target);
  }

  #report(samples) {
    this.port.postMessage({ played: this.played, level: Math.sqrt(this.energy / samples), at: currentTime });
    this.energy = 0;
  }
}

registerProcessor("duologue-capture", Capture);
registerProcessor("duologue-player", Player);
