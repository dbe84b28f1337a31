// Tells the user from the echo of what is played. Pure: levels and times in, yes or no out.
//
// The network that finds speech is nearly blind to levels: it takes a reply that comes back 30 dB quieter, behind the
// browser's own echo cancellation, for somebody speaking. So the level decides: what is no louder in the microphone
// than the reply usually is there is its echo. How loud that is, is learned from the call itself.
//
// Until it is, a reply may be ducked but hardly stopped, because a reply that stops itself is worse than one that
// stops late: what has ducked it counts as echo unless it is louder than any echo can be expected to be.
// Headphones send nothing back; then a few moments of a reply are enough to know that, and nobody is hindered.

const REACH = 0.4; // seconds from when a sound is rendered until the room has done with it, output latency apart
const SEEN = 0.03; // seconds that the server judges at once: of the microphone, the loudest of this time counts
const MARGIN = 4; // decibels above the loudest echo so far; of half of ENOUGH, twice that, and so on
const ENOUGH = 2; // seconds of replies from which the echo is known
const RAW = 0; // decibels from what is played to its echo, at most: nobody talks with what sends back more than it gets
const CANCELLED = -15; // the same behind the browser's echo cancellation, which should take more than that
const MEMORY = 10; // seconds of replies that it is known from: volumes change, and echo cancellation learns
const LOUD = 10; // decibels: parts of replies that are so much quieter tell of the room's noise, not of their echo
const DOUBT = 0.5; // seconds until a slow line has told that the server suspects speech
const STUBBORN = 3; // duckings of one reply for nothing: its echo must have become louder

/** Decides for every chunk of the microphone whether it is echo. All times are seconds of one clock, all levels 0..1. */
export class EchoGate {
  #expected; // decibels
  #played = []; // {at, level}: of the newest REACH, in decibels
  #loudest = -Infinity; // of all that was played
  #heard = []; // {at, level}: of the newest SEEN
  #playing = false;
  #since = 0; // when the reply that is played began, or was at full level again
  #ducked = false;
  #denied = 0; // duckings of this reply for nothing
  #pending = []; // {at, played, ratio, seconds}: may still turn out to be somebody speaking
  // {played, ratio, seconds}: of echo; decibels played, and from there to the microphone; 0 seconds: it may be more.
  #known = [];

  /** @param {boolean} cancelled the browser cancels echo */
  constructor(cancelled) {
    this.#expected = cancelled ? CANCELLED : RAW;
  }

  /** A reply begins to be rendered. */
  begin(at) {
    this.#playing = true;
    this.#since = at;
    this.#denied = 0;
  }

  /**
   * Something of it was rendered, the gain included.
   * @param {number} level
   * @param {number} at
   */
  play(level, at) {
    this.#played.push({ at, level: decibels(level) });
    if (decibels(level) <= this.#loudest) return;
    this.#loudest = decibels(level);
    this.#pending = this.#pending.filter(({ played }) => this.#isTelling(played));
    this.#known = this.#known.filter(({ played }) => this.#isTelling(played));
  }

  /** The server suspects speech, and the reply is ducked. */
  duck() {
    this.#ducked = true;
  }

  /** It was none, and the reply goes back to its full level. */
  restore() {
    this.#ducked = false;
    this.#since = this.#heard.at(-1)?.at ?? 0;
    this.#denied++;
    // A cough teaches nothing; but as long as nothing is known, or when it does not stop, it is taken for echo.
    if (!this.#isKnown || this.#denied >= STUBBORN) this.#known.push(...this.#pending);
    this.#pending = [];
  }

  /** The reply is over, or was stopped: what the microphone hears from now on is no echo to learn from. */
  end() {
    this.#playing = this.#ducked = false;
    this.#pending = [];
  }

  /**
   * Whether a chunk of the microphone is no louder than the echo of what is played.
   * @param {number} level
   * @param {number} seconds that it lasts
   * @param {number} at when it was complete
   * @param {number} latency seconds from rendering to the loudspeaker, as far as the browser knows
   */
  isEcho(level, seconds, at, latency) {
    this.#heard = [...this.#heard.filter((chunk) => chunk.at > at - SEEN), { at, level: decibels(level) }];
    this.#played = this.#played.filter((window) => window.at >= at - seconds - REACH - latency);
    const played = loudest(this.#played, "level");
    if (played === -Infinity) return false;
    if (this.#playing && this.#isTelling(played)) {
      const settled = !this.#ducked && at > this.#since + REACH + latency;
      this.#pending.push({ at, played, ratio: decibels(level) - played, seconds: settled ? seconds : 0 });
    }
    this.#learn(at);
    return loudest(this.#heard, "level") < played + this.#limit;
  }

  #learn(at) {
    if (!this.#ducked) {
      this.#known.push(...this.#pending.filter((chunk) => chunk.at <= at - DOUBT));
      this.#pending = this.#pending.filter((chunk) => chunk.at > at - DOUBT);
    }
    while (this.#seconds > MEMORY) this.#known.shift();
  }

  #isTelling(played) {
    return played > this.#loudest - LOUD;
  }

  get #isKnown() {
    return this.#seconds >= ENOUGH;
  }

  get #seconds() {
    return this.#known.reduce((total, { seconds }) => total + seconds, 0);
  }

  /** Decibels above what is played from which nothing is echo. */
  get #limit() {
    const known = loudest(this.#known, "ratio");
    if (this.#isKnown || !this.#ducked) return known + MARGIN;
    const guess = this.#seconds ? known + (MARGIN * ENOUGH) / this.#seconds : Infinity;
    return Math.min(this.#expected + MARGIN, guess);
  }
}

function decibels(level) {
  return 20 * Math.log10(Math.max(level, 1e-5)); // -100 dB: digital silence
}

function loudest(list, key) {
  return list.reduce((most, entry) => Math.max(most, entry[key]), -Infinity);
}
