// One call: from Start to Stop, with its microphone, its loudspeaker and its line.

import { EchoGate } from "./echo.js";
import { fromBase64, Line } from "./line.js";
import { addWorklets, Microphone, openContext, Speaker, WIRE_RATE } from "./sound.js";
import { Watch } from "./watch.js";
import { explain, explainCut, explainIdle, explainMute, explainNear, explainRefusal, FATAL } from "./words.js";

const RESUMABLE = 10_000; // milliseconds for which an interrupted reply is offered to go on
const ALERT = 256 / WIRE_RATE; // seconds of microphone sent at once during a reply: two quanta; it ducks 15 ms earlier

/**
 * @typedef {object} Conf
 * @property {string} url of the line
 * @property {number} streamEvery seconds of microphone sent at once, or fewer
 * @property {number} preRoll seconds of a reply that must be there before it is played
 * @property {number} idleTimeout seconds without a word after which the call ends
 * @property {number} timeLimit seconds that one utterance may last
 *
 * @typedef {object} Wishes the user's own
 * @property {boolean} bargeIn speech stops a reply
 * @property {"quick" | "normal" | "patient" | "fixed"} patience with pauses
 *
 * @typedef {object} Listener
 * @property {(state: string) => void} state idle, connecting, listening, hearing, thinking or speaking
 * @property {(code: string, sentence: string) => void} failure both are empty when the last one is over
 * @property {(level: number) => void} level of the microphone, 0..1
 * @property {(words: {user?: string, reply?: string}) => void} turn the conversation has changed
 * @property {(words: string) => void} heard an utterance goes on: all its words so far; empty: another has begun
 * @property {(words: {reply: string}) => void} caption a reply goes on: all its words so far
 * @property {(ducked: boolean) => void} ducked the reply is played quietly, or no longer
 * @property {(possible: boolean) => void} cuttable the newest turn may be marked as cut off, or no longer
 * @property {(possible: boolean) => void} resumable a reply was interrupted and may go on, or may no longer
 * @property {(underruns: number) => void} played a reply was heard to its end
 */

export class Call {
  #conf;
  #on;
  #wishes;
  #over = false;
  #state = "idle";
  #context = null;
  #microphone = null;
  #watch = null;
  #speaker = null;
  #line = null;
  #gate = null;
  #open = false; // the server has said hello, and the line is not lost
  #response = null; // whose sound is welcome
  #caption = ""; // its words so far
  #utterance = null; // the item of the newest
  #heard = ""; // its words so far
  #warned = false; // that it comes near the limit in time
  #spokeAt = 0; // where in the session's audio it began, milliseconds
  #cuttable = null; // the item of an utterance that may be marked as cut off
  #made = null; // the response that the model has made to its end
  #interrupted = null; // the item of a reply that may go on
  #offering = 0; // the timer of that

  /**
   * @param {Conf} conf
   * @param {string} conversation its name
   * @param {Wishes} wishes
   * @param {Listener} on
   */
  constructor(conf, conversation, wishes, on) {
    this.#conf = conf;
    this.#on = on;
    this.#wishes = wishes;
    this.conversation = conversation;
  }

  /** Whether the microphone is ignored now. */
  get deaf() {
    return !this.#wishes.bargeIn && this.#answering;
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

  get #answering() {
    return this.#state === "thinking" || this.#state === "speaking";
  }

  /**
   * What the user wishes from now on.
   * @param {Wishes} wishes
   */
  set wishes(wishes) {
    this.#wishes = wishes;
    if (this.#open) this.#line.update({ ...wishes, idleTimeout: this.#conf.idleTimeout });
    if (!this.#over) this.#on.state(this.#state);
  }

  /** The user was cut off: say so, and let the user go on. */
  async markCut() {
    this.#line.markCut();
    this.#offerCut(null);
    if (!this.#answering) return;
    this.#line.cancel();
    this.#response = null;
    this.#become("listening");
    await this.#stopReply();
  }

  /** Let the reply go on that was interrupted, in place of what has come since. */
  async resume() {
    const item = this.#interrupted;
    this.#offerResume(null);
    if (!item) return;
    this.#line.resume(item);
    this.#response = null;
    this.#become("thinking");
    await this.#stopReply();
  }

  /** End at once: be silent, let go of the microphone, keep of the reply what was heard. */
  async stop() {
    if (this.#over) return;
    this.#letGo();
    this.#become("idle");
    const { item, played } = await this.#silence();
    if (item && this.#open) await this.#line.farewell(item, played);
    else this.#line?.close();
    this.#closeContext();
    // Not when the server is away: Gradio would tell so, too, and reload the page once it is back.
    if (this.#open) this.#on.turn({});
  }

  /** End within this very function: the page is going away. */
  abandon() {
    if (this.#over) return;
    this.#letGo();
    if (this.#speaker?.item) {
      this.#line?.cancel();
      this.#line?.truncate(this.#speaker.item, this.#speaker.played);
    }
    this.#line?.close();
    this.#closeContext();
  }

  #letGo() {
    this.#over = true;
    this.#offerResume(null);
    this.#watch?.stop();
    this.#microphone?.release();
  }

  #closeContext() {
    this.#context?.close().catch(() => {}); // it may have been closed by whoever stopped the sound
  }

  async #connect() {
    if (!navigator.mediaDevices?.getUserMedia) return this.#fail("insecure");
    this.#context = openContext();
    this.#context.resume().catch(() => {}); // in the click; what becomes of it is watched later
    try {
      await addWorklets(this.#context);
    } catch {
      return this.#fail("unreachable"); // they come from the server
    }
    if (this.#over) return;
    const microphone = await Microphone.open();
    if (this.#over) return microphone.release();
    this.#microphone = microphone;
    this.#gate = new EchoGate(microphone.cancelsEcho);
    this.#speaker = new Speaker(this.#context, this.#conf.preRoll, {
      started: (at) => {
        this.#gate.begin(at);
        this.#microphone.pace = Math.min(ALERT, this.#conf.streamEvery);
        this.#become("speaking");
      },
      audible: (item, ago) => this.#line.reportStart(item, Math.round(ago * 1000)),
      level: (level, at) => this.#gate.play(level, at),
      ended: (underruns) => {
        this.#relax();
        this.#on.played(underruns);
        this.#become("listening");
        this.#on.turn({}); // with how much of the reply was heard
      },
    });
    this.#line = new Line(this.#conf.url, this.conversation, {
      event: (event) => this.#receive(event),
      lost: (code, message) => this.#onLost(code, message),
    });
    await microphone.listen(this.#context, this.#conf.streamEvery, {
      chunk: (pcm, level, at) => this.#send(pcm, level, at),
      lost: () => this.#fail("unplugged"),
    });
    // Stopped during this last wait: the context of its own may have come after the release.
    if (this.#over) return microphone.release();
    this.#watch = new Watch(this.#context, microphone, {
      dead: (code) => this.#fail(code),
      mute: () => this.#on.failure("microphone_mute", explainMute(microphone.label, microphone.muted)),
      back: () => this.#on.failure("", ""),
    });
  }

  #send(pcm, level, at) {
    if (this.#over) return;
    const seconds = pcm.length / WIRE_RATE;
    this.#watch?.hear(level, seconds, this.#state === "listening");
    this.#on.level(this.deaf ? 0 : level);
    if (!this.deaf) this.#line.append(pcm, this.#gate.isEcho(level, seconds, at, this.#speaker.latency));
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

  #onLost(code, message) {
    const opened = this.#open;
    this.#open = false;
    if (opened) this.#fail(code, message);
    else this.#refuse(code, message);
  }

  /** The server did not take the call. */
  #refuse(code, message) {
    if (this.#over) return;
    this.#on.failure(code, explainRefusal(code, message));
    this.stop();
  }

  #offerCut(item) {
    this.#cuttable = item;
    this.#on.cuttable(item !== null);
  }

  #offerResume(item) {
    clearTimeout(this.#offering);
    this.#interrupted = item;
    this.#on.resumable(item !== null);
    if (item) this.#offering = setTimeout(() => this.#offerResume(null), RESUMABLE);
  }

  /** No reply is played any more. */
  #relax() {
    this.#gate?.end();
    if (this.#microphone) this.#microphone.pace = this.#conf.streamEvery;
  }

  /** Be silent, and keep of the reply what was heard. */
  async #stopReply() {
    const { item, played } = await this.#silence();
    if (!item || this.#over) return null;
    this.#line.truncate(item, played);
    return item;
  }

  /** Clear the loudspeaker, if there is anything in it. */
  async #silence() {
    this.#relax();
    if (!this.#speaker?.item) return { item: null, played: 0 };
    return this.#speaker.clear();
  }

  #receive(event) {
    this.#handlers[event.type]?.(event);
  }

  #handlers = {
    "session.created": () => {
      this.#open = true;
      this.wishes = this.#wishes;
      this.#become("listening");
    },
    "input_audio_buffer.speech_started": ({ item_id, audio_start_ms }) => this.#onSpeech(item_id, audio_start_ms),
    "input_audio_buffer.speech_stopped": ({ audio_end_ms }) => {
      const { timeLimit } = this.#conf;
      if (this.#warned) this.#on.failure("", "");
      this.#warned = false;
      // A millisecond for rounding.
      if (audio_end_ms - this.#spokeAt >= timeLimit * 1000 - 1) {
        this.#on.failure("time_limit", explainCut(timeLimit));
      }
      this.#offerCut(null);
      this.#become("thinking");
    },
    "duologue.limit.near": ({ item_id, remaining_ms }) => {
      if (item_id === null) return; // said over a reply
      this.#warned = true;
      this.#on.failure("limit_near", explainNear(Math.ceil(remaining_ms / 1000)));
    },
    // Not before: until then the user may just go on, and no harm is done.
    "input_audio_buffer.committed": ({ item_id }) => this.#offerCut(item_id),
    "input_audio_buffer.timeout_triggered": () => {
      this.#on.failure("idle_timeout", explainIdle(this.#conf.idleTimeout));
      this.stop();
    },
    "conversation.item.done": ({ item }) => {
      if (item.role === "user") this.#on.turn({});
    },
    "conversation.item.deleted": ({ item_id }) => this.#onDeleted(item_id),
    "conversation.item.input_audio_transcription.delta": ({ item_id, delta }) => {
      if (item_id !== this.#utterance) return;
      this.#heard += delta;
      this.#on.heard(this.#heard);
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
      if (response.status === "completed") this.#made = response.id;
      this.#on.turn({});
      const silent = response.id === this.#response && !this.#speaker.item;
      if (silent && this.#state === "thinking") this.#become("listening");
    },
    "conversation.item.truncated": () => this.#on.turn({}),
    "duologue.reply.ducked": ({ item_id }) => {
      if (item_id !== this.#speaker.item) return;
      this.#speaker.duck(item_id);
      this.#gate.duck();
      this.#on.ducked(true);
    },
    "duologue.reply.held": ({ item_id }) => this.#speaker.hold(item_id),
    "duologue.reply.restored": ({ item_id }) => {
      this.#speaker.restore(item_id);
      this.#gate.restore();
      this.#on.ducked(false);
    },
    error: ({ error }) => {
      if (!this.#open) this.#refuse(error.code, error.message);
      else if (FATAL.includes(error.code)) this.#fail(error.code, error.message);
      else this.#on.failure(error.code, explain(error.code, error.message));
    },
  };

  async #onSpeech(item, start) {
    if (item !== this.#utterance) {
      this.#utterance = item; // else the user goes on with it
      this.#spokeAt = start;
      this.#on.heard((this.#heard = ""));
    }
    const whole = this.#response !== null && this.#response === this.#made; // else there is no rest to go on with
    this.#response = null;
    this.#become("hearing");
    const interrupted = await this.#stopReply();
    if (interrupted && whole) this.#offerResume(interrupted);
  }

  /** The user went on when the reply had only begun: its turn becomes part of the next one. */
  #onDeleted(item) {
    if (item === this.#speaker.item) {
      this.#response = null;
      this.#silence();
    }
    if (item === this.#cuttable) this.#offerCut(null);
    this.#on.turn({ user: "", reply: "" });
  }
}
