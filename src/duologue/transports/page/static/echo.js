// Tells the user from the echo of what is played. Pure: levels and times in, yes or no out.
//
// The network that finds speech is nearly blind to levels: it takes a reply that comes back 30 dB quieter, behind the
// browser's own echo cancellation, for somebody speaking. So the level decides: what is no louder in the microphone
// than the reply usually is there is its echo. How loud that is, is learned from the call itself.
//
// Until it is, a reply may be ducked, but not stopped: a reply that stops itself is worse than one that is a
// moment late to stop. Being ducked is also the test: the echo gets quieter with the reply, and a person does not.

const REACH = 0.4; // seconds from when a sound is rendered to when the room has done with it, output latency apart
const DIP = 0.1; // seconds: shorter dips are inside a word, so of the microphone the loudest of this time counts
const MARGIN = 4; // decibels above the loudest echo so far
const ENOUGH = 2; // seconds of a reply from which the echo is known well enough
const MEMORY = 10; // seconds of replies that it is known from: volumes change, and echo cancellation learns
const LOUD = 10; // decibels: quieter parts of replies tell more of the room's noise than of their echo
const DOUBT = 0.3; // seconds until the server has told that it suspects speech
const FOLLOWED = 6; // decibels that the microphone goes down if it hears a reply that goes down by 15
const SETTLED = 0.15; // seconds that this takes, output latency apart
const ODD = 3; // times that what was ducked was echo after all, until what was known of it is given up

/** Decides for every chunk of the microphone whether it is echo. All times are seconds of one clock, all levels 0..1. */
export class EchoGate {
  #played = []; // {at, level, source}: of the newest REACH, in decibels, with and without the gain
  #heard = []; // {at, level, ratio}: of the newest DOUBT; ratio to the source
  #loudest = -Infinity; // of all that was played
  #playing = false; // what the microphone hears now may tell of the echo
  #pending = []; // {at, seconds, ratio}: may still turn out to be somebody speaking
  #known = []; // {seconds, ratio}: of echo
  #duckedAt = null;
  #ratioBefore = 0; // of the microphone to the source, before it was ducked
  #person = false; // who spoke when it was ducked did not get quieter
  #odd = 0;

  /** A reply begins. */
  begin() {
    this.#playing = true;
  }

  /**
   * Some of it was played.
   * @param {number} level with the gain in it
   * @param {number} gain
   * @param {number} at when it was rendered
   */
  play(level, gain, at) {
    const played = { at, level: decibels(level), source: decibels(level / gain) };
    this.#played.push(played);
    this.#loudest = Math.max(this.#loudest, played.source);
  }

  /**
   * A chunk of the microphone.
   * @param {number} level
   * @param {number} seconds it lasts
   * @param {number} at when it was complete
   * @param {number} latency seconds from rendering to the loudspeaker, as far as the browser knows
   * @returns {boolean} whether it is no louder than the echo of what is played
   */
  isEcho(level, seconds, at, latency) {
    while (this.#played.length && this.#played[0].at < at - seconds - REACH - latency) this.#played.shift();
    const played = loudest(this.#played, "level");
    const source = loudest(this.#played, "source");
    const heard = decibels(level);
    while (this.#heard.length && this.#heard[0].at <= at - DOUBT) this.#heard.shift();
    if (played === -Infinity) {
      this.#heard.push({ at, level: heard, ratio: -Infinity });
      return false;
    }
    this.#heard.push({ at, level: heard, ratio: heard - source });
    if (this.#playing && played >= this.#loudest - LOUD) this.#pending.push({ at, seconds, ratio: heard - played });
    this.#learn(this.#pending.filter((chunk) => this.#duckedAt === null && chunk.at <= at - DOUBT));
    return this.#newest("level", DIP) < played + this.#ratio + MARGIN;
  }

  /** The server suspects speech, and the reply is ducked. */
  duck() {
    if (!this.#heard.length) return;
    this.#duckedAt = this.#heard.at(-1).at;
    this.#ratioBefore = this.#newest("ratio", DOUBT);
  }

  /**
   * It was none, and the reply is at full level again.
   * @param {number} latency as above
   */
  restore(latency) {
    if (this.#duckedAt === null) return;
    const tested = this.#heard.at(-1).at - this.#duckedAt >= SETTLED + latency;
    const followed = this.#newest("ratio", DIP) <= this.#ratioBefore - FOLLOWED;
    this.#duckedAt = null;
    this.#person = tested && !followed;
    this.#odd = tested && followed ? this.#odd + 1 : 0;
    // A cough, too, is gone by now. Before anything is known, it counts as echo all the same; afterwards only what
    // comes again and again does: somebody has turned the volume up.
    if (this.#odd >= (this.#isKnown ? ODD : 1)) this.#learn(this.#pending);
    else this.#pending = [];
  }

  /** The reply is over, or was stopped. */
  end() {
    this.#playing = this.#person = false;
    this.#pending = []; // who answers at once, or stopped it, is no echo
    this.#duckedAt = null;
    this.#odd = 0;
  }

  get #isKnown() {
    return sum(this.#known) >= ENOUGH;
  }

  /** Decibels of the echo to what is played. */
  get #ratio() {
    // No set-up that anybody would talk with sends back more than it gets.
    if (!this.#isKnown && this.#duckedAt !== null && !this.#person) return 0;
    return loudest(this.#known, "ratio");
  }

  #learn(chunks) {
    this.#known.push(...chunks);
    this.#pending = this.#pending.filter((chunk) => !chunks.includes(chunk));
    while (sum(this.#known) > MEMORY) this.#known.shift();
  }

  #newest(key, seconds) {
    const end = this.#heard.at(-1).at;
    return loudest(
      this.#heard.filter(({ at }) => at > end - seconds),
      key,
    );
  }
}

function decibels(level) {
  return 20 * Math.log10(Math.max(level, 1e-5)); // -100 dB: digital silence
}

function loudest(list, key) {
  return list.reduce((most, entry) => Math.max(most, entry[key]), -Infinity);
}

function sum(chunks) {
  return chunks.reduce((total, { seconds }) => total + seconds, 0);
}
