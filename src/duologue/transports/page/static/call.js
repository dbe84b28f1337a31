// One call: from Start to Stop, with its microphone, its loudspeaker and its line.

import { fromBase64, Line } from "./line.js";
import { addWorklets, Microphone, openContext, Speaker } from "./sound.js";
import { explain, explainCut, explainIdle, FATAL } from "./words.js";

/**
 * @typedef {object} Conf
 * @property {string} url of the line
 * @property {number} streamEvery seconds of microphone sent at once
 * @property {number} preRoll seconds of a reply that must be there before it is played
 * @property {number} idleTimeout seconds without a word after which the call ends
 * @property {number} timeLimit seconds that one utterance may last
 *
 * @typedef {object} Listener
 * @property {(state: string) => void} state idle, connecting, listening, hearing, thinking or speaking
 * @property {(code: string, sentence: string) => void} failure
 * @property {(level: number) => void} level of the microphone, 0..1
 * @property {(words: {user?: string, reply?: string}) => void} turn the conversation has changed
 * @property {(words: {reply: string}) => void} caption a reply goes on: all its words so far
 * @property {(underruns: number) => void} played a reply was heard to its end
 */

export class Call {
  #conf;
  #on;
  #bargeIn;
  #over = false;
  #state = "idle";
  #context = null;
  #microphone = null;
  #speaker = null;
  #line = null;
  #open = false; // the server has said hello
  #response = null; // whose sound is welcome
  #caption = ""; // its words so far
  #spokeAt = 0; // where in the session's audio the utterance began, milliseconds

  /**
   * @param {Conf} conf
   * @param {string} conversation its name
   * @param {boolean} bargeIn whether speech stops a reply
   * @param {Listener} on
   */
  constructor(conf, conversation, bargeIn, on) {
    this.#conf = conf;
    this.#on = on;
    this.#bargeIn = bargeIn;
    this.conversation = conversation;
  }

  /** Whether the microphone is ignored now. */
  get deaf() {
    return !this.#bargeIn && (this.#state === "thinking" || this.#state === "speaking");
  }

  /** Begin. Call it in a click. */
  async start() {
    this.#become("connecting");
    try {
      await this.#connect();
    } catch (error) {
      this.#fail(error.name, error.message);
    }
  }

  /** Whether speech stops a reply, from now on. */
  set bargeIn(on) {
    this.#bargeIn = on;
    if (this.#open) this.#line.update({ bargeIn: on, idleTimeout: this.#conf.idleTimeout });
    if (!this.#over) this.#on.state(this.#state);
  }

  /** End at once: be silent, let go of the microphone, keep of the reply what was heard. */
  async stop() {
    if (this.#over) return;
    this.#over = true;
    this.#microphone?.release();
    this.#become("idle");
    const { item, played } = await this.#silence();
    if (item && this.#open) await this.#line.farewell(item, played);
    else this.#line?.close();
    this.#context?.close();
    this.#on.turn({});
  }

  /** End within this very function: the page is going away. */
  abandon() {
    if (this.#over) return;
    this.#over = true;
    this.#microphone?.release();
    if (this.#speaker?.item) {
      this.#line?.cancel();
      this.#line?.truncate(this.#speaker.item, this.#speaker.played);
    }
    this.#line?.close();
    this.#context?.close();
  }

  async #connect() {
    if (!navigator.mediaDevices?.getUserMedia) return this.#fail("insecure");
    this.#context = openContext();
    this.#context.resume(); // in the click; it is waited for by the sound itself
    try {
      await addWorklets(this.#context);
    } catch {
      return this.#fail("unreachable"); // they come from the server
    }
    if (this.#over) return;
    const microphone = await Microphone.open();
    if (this.#over) return microphone.release();
    this.#microphone = microphone;
    this.#speaker = new Speaker(this.#context, this.#conf.preRoll, {
      started: () => this.#become("speaking"),
      ended: (underruns) => {
        this.#on.played(underruns);
        this.#become("listening");
      },
    });
    this.#line = new Line(this.#conf.url, this.conversation, {
      event: (event) => this.#receive(event),
      lost: () => this.#fail(this.#open ? "lost" : "unreachable"),
    });
    await microphone.listen(this.#context, this.#conf.streamEvery, {
      chunk: (pcm, level) => this.#send(pcm, level),
      lost: () => this.#fail("unplugged"),
    });
    // Stopped during this last wait: the context of its own may have come after the release.
    if (this.#over) microphone.release();
  }

  #send(pcm, level) {
    if (this.#over) return;
    this.#on.level(this.deaf ? 0 : level);
    if (this.#open && !this.deaf) this.#line.append(pcm);
  }

  #become(state) {
    if (this.#over && state !== "idle") return;
    this.#state = state;
    this.#on.state(state);
  }

  #fail(code, message) {
    if (this.#over) return;
    this.#on.failure(code, explain(code, message));
    this.stop();
  }

  /** Clear the loudspeaker, if there is anything in it. */
  async #silence() {
    if (!this.#speaker?.item) return { item: null, played: 0 };
    return this.#speaker.clear();
  }

  #receive(event) {
    this.#handlers[event.type]?.(event);
  }

  #handlers = {
    "session.created": () => {
      this.#open = true;
      this.bargeIn = this.#bargeIn;
      this.#become("listening");
    },
    "input_audio_buffer.speech_started": ({ audio_start_ms }) => this.#onSpeech(audio_start_ms),
    "input_audio_buffer.speech_stopped": ({ audio_end_ms }) => {
      const { timeLimit } = this.#conf;
      // A millisecond for rounding.
      if (audio_end_ms - this.#spokeAt >= timeLimit * 1000 - 1) {
        this.#on.failure("time_limit", explainCut(timeLimit));
      }
      this.#become("thinking");
    },
    "input_audio_buffer.timeout_triggered": () => {
      this.#on.failure("idle_timeout", explainIdle(this.#conf.idleTimeout));
      this.stop();
    },
    "conversation.item.done": ({ item }) => {
      if (item.role === "user") this.#on.turn({});
    },
    "conversation.item.input_audio_transcription.completed": ({ transcript }) =>
      this.#on.turn({ user: transcript }),
    "response.created": ({ response }) => {
      this.#response = response.id;
      this.#caption = "";
    },
    "response.output_audio.delta": ({ response_id, item_id, delta }) => {
      // What still comes of a reply that was stopped dies here.
      if (response_id === this.#response) this.#speaker.push(item_id, fromBase64(delta));
    },
    "response.output_audio.done": ({ response_id, item_id }) => {
      if (response_id === this.#response) this.#speaker.finish(item_id);
    },
    "response.output_audio_transcript.delta": ({ response_id, delta }) => {
      if (response_id !== this.#response) return;
      this.#caption += delta;
      this.#on.caption({ reply: this.#caption });
    },
    "response.output_audio_transcript.done": ({ transcript }) => this.#on.turn({ reply: transcript }),
    "response.done": ({ response }) => {
      this.#on.turn({});
      const silent = response.id === this.#response && !this.#speaker.item;
      if (silent && this.#state === "thinking") this.#become("listening");
    },
    "conversation.item.truncated": () => this.#on.turn({}),
    error: ({ error }) => {
      if (FATAL.includes(error.code)) this.#fail(error.code, error.message);
      else this.#on.failure(error.code, explain(error.code, error.message));
    },
  };

  async #onSpeech(start) {
    this.#spokeAt = start;
    this.#response = null;
    this.#become("hearing");
    const { item, played } = await this.#silence();
    if (item && !this.#over) this.#line.truncate(item, played);
  }
}
