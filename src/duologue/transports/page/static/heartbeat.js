// Whether a line is alive: asks the server every two seconds, and looks at how its messages come in.
//
// Nothing else tells. A socket whose other end is gone, or hangs, stays open for minutes and takes what is sent.

const TICK = 1000; // milliseconds
const PING = 2; // ticks between two questions
const SILENT = 6; // ticks without any message: 5 to 6 seconds, two unanswered questions among them
const LATE = 4; // seconds: who is answered later than that is talked past
const SLOW = 1.5; // seconds that the last answer took: the silence after it is no loss, the line is full
const AGAIN = 2; // late answers in a row: after a gap of up to 6 seconds only the first one is late

export class Heartbeat {
  #on;
  #timer;
  #ticks = 0;
  #silent = 0; // ticks since the last message; ticks, as a page that was halted for a while has not listened
  #asked = []; // milliseconds, when: of the questions without an answer
  #sound = 0; // milliseconds, when the last sound of a reply came
  #waited = 0; // seconds, for the last answer
  #late = 0;

  /**
   * @param {object} on
   * @param {() => void} on.ping ask the server
   * @param {() => number} on.backlog seconds of sound that wait to be sent
   * @param {(code: "lost" | "too_slow") => void} on.dead
   */
  constructor(on) {
    this.#on = on;
    this.#timer = setInterval(() => this.#tick(), TICK);
  }

  /** No more. */
  stop() {
    clearInterval(this.#timer);
  }

  /**
   * A message came.
   * @param {string} type
   */
  hear(type) {
    this.#silent = 0;
    if (type === "response.output_audio.delta") this.#sound = performance.now();
    if (type === "duologue.pong") this.#answer();
  }

  #tick() {
    if (++this.#silent >= SILENT) this.#on.dead(this.#waited > SLOW ? "too_slow" : "lost");
    else if (this.#ticks++ % PING === 0) {
      this.#asked.push(performance.now());
      this.#on.ping();
    }
  }

  #answer() {
    // An answer stands behind the sound that was sent before it, and that may take its time.
    this.#waited = (performance.now() - Math.max(this.#asked.shift(), this.#sound)) / 1000;
    const late = this.#waited > LATE || this.#on.backlog() > LATE;
    this.#late = late ? this.#late + 1 : 0;
    if (this.#late >= AGAIN) this.#on.dead("too_slow");
  }
}
