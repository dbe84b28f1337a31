// Microphone and loudspeaker of a page.

/** Hertz of PCM16 on the line. */
export const WIRE_RATE = 24000;

const WORKLETS = new URL("worklets.js", import.meta.url);
const DUCKED = 10 ** (-15 / 20); // of full level: the reply can still be followed, and the user heard
const DUCK = 0.05; // seconds until it is that quiet; faster clicks
const RESTORE = 0.1; // seconds until it is at full level again
const LOADING = 10000; // milliseconds for the worklets to come from the server

/**
 * An audio context at the line's rate. Call it in a click, and resume it there: browsers want the gesture.
 * @returns {AudioContext}
 */
export function openContext() {
  return new AudioContext({ sampleRate: WIRE_RATE, latencyHint: "interactive" });
}

/** The user's microphone, with the browser's echo cancellation. */
export class Microphone {
  #stream;
  #context = null; // an own one, where the browser needs it
  #capture;

  /**
   * Ask for the microphone.
   * @returns {Promise<Microphone>} rejected with the DOMException of getUserMedia
   */
  static async open() {
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
    return new Microphone(await navigator.mediaDevices.getUserMedia({ audio }));
  }

  constructor(stream) {
    this.#stream = stream;
  }

  /**
   * Begin to listen.
   * @param {AudioContext} context at the line's rate, its worklets added
   * @param {number} seconds of a chunk
   * @param {{chunk: (pcm: Int16Array, level: number, at: number) => void, lost: () => void}} on a chunk,
   *   with its level, 0..1, and when it was complete, on the clock of `context`
   */
  async listen(context, seconds, on) {
    for (const track of this.#stream.getAudioTracks()) track.onended = on.lost;
    try {
      this.#connect(context, seconds, on.chunk);
    } catch (error) {
      // Firefox connects a stream only to a context at the stream's own rate; the worklet resamples.
      if (error.name !== "NotSupportedError") throw error;
      this.#context = new AudioContext();
      await addWorklets(this.#context);
      const own = this.#context;
      this.#connect(own, seconds, (pcm, level, at) => on.chunk(pcm, level, at - own.currentTime + context.currentTime));
    }
  }

  /** Whether the browser takes echo out of it; some browsers and devices cannot. */
  get cancelsEcho() {
    return this.#stream.getAudioTracks().some((track) => track.getSettings().echoCancellation);
  }

  /** What the browser calls it; may be empty. */
  get label() {
    return this.#stream.getAudioTracks()[0].label;
  }

  /** Whether the system gives nothing of it now. */
  get muted() {
    return this.#stream.getAudioTracks().some((track) => track.muted);
  }

  /** Whether nothing will come of it any more. */
  get ended() {
    return this.#stream.getAudioTracks().some((track) => track.readyState === "ended");
  }

  /** Chunks of so many seconds from now on. */
  set pace(seconds) {
    this.#capture?.port.postMessage({ seconds });
  }

  #connect(context, seconds, onChunk) {
    const source = context.createMediaStreamSource(this.#stream);
    const capture = new AudioWorkletNode(context, "duologue-capture", {
      channelCount: 1, // stereo is mixed down
      channelCountMode: "explicit",
      processorOptions: { seconds },
    });
    capture.port.onmessage = ({ data }) => onChunk(data.pcm, data.level, data.at);
    this.#capture = capture;
    // Its output is silence; Safari runs only what leads to the destination.
    source.connect(capture).connect(context.destination);
  }

  /** Give the microphone back; the browser's recording sign goes out. */
  release() {
    for (const track of this.#stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
    this.#context?.close();
    this.#context = null;
  }
}

/** Plays replies, one at a time, and knows how much of them was heard. */
export class Speaker {
  #node;
  #cleared = []; // who waits for the answer to `clear`
  #item = null;
  #played = 0; // samples, as last reported

  /**
   * @param {AudioContext} context its worklets added
   * @param {number} preRoll seconds that must be there before a reply begins
   * @param {object} on
   * @param {(at: number) => void} on.started a reply begins to be rendered
   * @param {(item: string, ago: number) => void} on.audible its first sample left the loudspeaker, `ago` seconds ago
   * @param {(level: number, at: number) => void} on.level of what is played, 0..1, and when it was rendered
   * @param {(underruns: number) => void} on.ended it was heard to its end
   */
  constructor(context, preRoll, on) {
    this.context = context;
    this.on = on;
    this.#node = new AudioWorkletNode(context, "duologue-player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { preRoll },
    });
    this.#node.port.onmessage = ({ data }) => this.#take(data);
    this.#node.connect(context.destination);
  }

  /** The item that is being played or about to be; null when there is none. */
  get item() {
    return this.#item;
  }

  /** Milliseconds of it that were played, up to 21 ms old. */
  get played() {
    return toMilliseconds(this.#played);
  }

  /**
   * Play on. Another item than the last one takes its place.
   * @param {string} item
   * @param {Int16Array} pcm
   */
  push(item, pcm) {
    if (item !== this.#item) this.#played = 0;
    this.#item = item;
    this.#node.port.postMessage({ push: pcm, item }, [pcm.buffer]);
  }

  /** Seconds from rendering to the ear. */
  get latency() {
    return this.context.outputLatency || 0; // Safari does not tell
  }

  /** Play this item quietly, if it is the one that is being played. */
  duck(item) {
    this.#node.port.postMessage({ gain: DUCKED, within: DUCK, item });
  }

  /** Play nothing of it, until it is restored. */
  hold(item) {
    this.#node.port.postMessage({ hold: item });
  }

  /** Play it on, at full level. */
  restore(item) {
    this.#node.port.postMessage({ gain: 1, within: RESTORE, item });
  }

  /** No more of this item will come. */
  finish(item) {
    this.#node.port.postMessage({ finish: item });
  }

  /**
   * Be silent, within 6 ms.
   * @returns {Promise<{item: string | null, played: number}>} milliseconds of the item that were played
   */
  clear() {
    const known = { item: this.#item, played: this.played };
    this.#item = null;
    this.#node.port.postMessage({ clear: true });
    return new Promise((resolve) => {
      this.#cleared.push(resolve);
      setTimeout(() => resolve(known), 100); // a context that the system has halted does not answer
    });
  }

  #take({ started, ended, cleared, played, underruns, level, at }) {
    if (cleared !== undefined) {
      this.#cleared.shift()?.({ item: cleared, played: toMilliseconds(played) });
    } else if (started !== undefined) {
      this.#start(started, at);
    } else if (ended !== undefined) {
      // What was rendered is on its way to the ear for this long.
      setTimeout(() => this.#end(ended, underruns), 1000 * this.latency);
    } else {
      this.#played = played;
      this.on.level(level, at);
    }
  }

  #start(item, at) {
    if (item !== this.#item) return;
    this.on.started(at);
    const audible = at + this.latency;
    const left = audible - this.context.currentTime;
    setTimeout(() => {
      if (item === this.#item) this.on.audible(item, Math.max(0, this.context.currentTime - audible));
    }, Math.max(0, 1000 * left));
  }

  #end(item, underruns) {
    if (item !== this.#item) return;
    this.#item = null;
    this.on.ended(underruns);
  }
}

/**
 * Load the processors into a context.
 * @returns {Promise<void>} rejected when they do not come
 */
export function addWorklets(context) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new DOMException("the worklets do not come", "TimeoutError")), LOADING);
  });
  return Promise.race([context.audioWorklet.addModule(WORKLETS), late]);
}

function toMilliseconds(samples) {
  return Math.round((samples * 1000) / WIRE_RATE);
}
