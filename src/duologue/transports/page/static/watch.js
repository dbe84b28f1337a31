// Watches what a call hears and speaks with, the browser's sound and the microphone: both can die without a word.

const TICK = 1000; // milliseconds
const STILL = 5; // ticks without a chunk of the microphone, after which the audio thread counts as dead
const REVIVAL = 2000; // milliseconds in which halted sound has to run again
const NOTHING = 1e-5; // level: -100 dB, where no room is and no microphone that works
const MUTE = 5; // seconds of that, while somebody may speak

export class Watch {
  #context;
  #microphone;
  #on;
  #timer;
  #reviving = 0;
  #still = 0; // ticks since the last chunk
  #nothing = 0; // seconds
  #told = false;
  #gates = false; // this microphone gives nothing in pauses, too, as some noise suppressions do

  /**
   * @param {AudioContext} context
   * @param {import("./sound.js").Microphone} microphone that listens
   * @param {object} on
   * @param {(code: "sound_stopped" | "unplugged") => void} on.dead the call cannot go on
   * @param {() => void} on.mute nothing comes from the microphone
   * @param {() => void} on.back it does again
   */
  constructor(context, microphone, on) {
    this.#context = context;
    this.#microphone = microphone;
    this.#on = on;
    this.#timer = setInterval(() => this.#tick(), TICK);
    context.onstatechange = () => this.#revive();
    navigator.mediaDevices.addEventListener("devicechange", this.#onDevices);
    queueMicrotask(() => this.#revive()); // when whoever made this watch can stop it
  }

  /** No more. */
  stop() {
    clearInterval(this.#timer);
    clearTimeout(this.#reviving);
    this.#context.onstatechange = null;
    navigator.mediaDevices.removeEventListener("devicechange", this.#onDevices);
  }

  /**
   * A chunk came from the microphone.
   * @param {number} level 0..1
   * @param {number} seconds
   * @param {boolean} open somebody may speak now
   */
  hear(level, seconds, open) {
    this.#still = 0;
    const nothing = level < NOTHING;
    this.#nothing = nothing && open ? this.#nothing + seconds : 0;
    if (this.#told && !nothing) {
      this.#told = false;
      this.#on.back();
    } else if (!this.#told && this.#nothing >= MUTE && (this.#microphone.muted || !this.#gates)) {
      this.#told = this.#gates = true;
      this.#on.mute();
    }
  }

  #onDevices = () => {
    this.#gates = false; // it may be another one now
    this.#look();
  };

  #tick() {
    this.#still++;
    this.#look();
  }

  #look() {
    if (this.#microphone.ended) this.#on.dead("unplugged");
    else if (this.#still >= STILL) this.#on.dead("sound_stopped");
  }

  /** The system halts the sound of pages: for a call, another program, or until there was a click. */
  #revive() {
    clearTimeout(this.#reviving);
    if (this.#context.state === "running") return;
    if (this.#context.state === "closed") return this.#on.dead("sound_stopped");
    this.#context.resume().catch(() => {}); // what became of it is seen below
    this.#reviving = setTimeout(() => this.#on.dead("sound_stopped"), REVIVAL);
  }
}
