// All that the component says.

/** What it is doing now, by state; `deaf` where the microphone is off meanwhile. */
export const DOING = {
  idle: "Press Start, then just talk.",
  connecting: "Connecting… The browser may ask for your microphone.",
  listening: "Listening. Just talk.",
  hearing: "I hear you.",
  thinking: "Thinking…",
  speaking: "Speaking. Talk to interrupt.",
  deaf: { thinking: "Thinking… The microphone is off.", speaking: "Speaking. The microphone is off until the end." },
};

/** The answer to "You cut me off". */
export const NOTED = "Noted: I will wait longer for you.";

/** What went wrong and what to do, by code: those of the browser, of the line, and our own. */
const FAILURES = {
  NotAllowedError: "The microphone is blocked: allow it for this page next to the browser's address, then press Start.",
  NotFoundError: "No microphone was found: connect one, then press Start.",
  NotReadableError: "The microphone does not work just now: close other programs that use it, then press Start.",
  insecure: "The browser lends its microphone only to https pages and to localhost: open this page at such an address.",
  unplugged: "The microphone was unplugged or blocked: connect or allow it, then press Start to go on.",
  unreachable: "The server does not answer: see whether it is running, then press Start.",
  not_a_line: "The server answers but opens no line: a proxy in front of it has to pass WebSockets on.",
  lost: "The connection to the server was lost: press Start to go on with this conversation.",
  too_many_sessions: "The server is busy with other conversations: try again in a minute.",
  server_shutting_down: "The server is shutting down: press Start once it runs again.",
  session_expired: "This session has reached its longest duration: press Start to go on with this conversation.",
  too_slow: "The connection is too slow for talking: try another network, then press Start to go on.",
  sound_stopped: "The browser has stopped the sound of this page: press Start to go on.",
  session_idle: "Nothing came from this page for a while, and others waited: press Start to go on with this conversation.",
  too_many_errors: "The server did not understand this page: reload it, then press Start.",
  client_too_slow: "The connection is too slow for the sound of the reply: press Start to go on.",
  model_failed: "The model failed to answer: say it again, or say it differently.",
};

/** Codes after which there is no line any more. */
export const FATAL = [
  "too_many_sessions",
  "server_shutting_down",
  "session_expired",
  "session_idle",
  "too_many_errors",
  "client_too_slow",
];

/**
 * One sentence for a failure.
 * @param {string} code
 * @param {string} [message] what is said of a failure that is not known here
 */
export function explain(code, message) {
  return FAILURES[code] ?? `Something went wrong (${message || code}): press Start to try again.`;
}

/**
 * One sentence for a call that the server did not take.
 * @param {string} code
 * @param {string} [message] the server's own sentence; of "refused", what it closed the line with
 */
export function explainRefusal(code, message) {
  if (FAILURES[code]) return FAILURES[code];
  if (!message) return `The server does not take this call (${code}).`;
  const sentence = code === "refused" ? `the server does not take this call: ${message}` : message;
  return sentence[0].toUpperCase() + sentence.slice(1) + (/[.!?]$/.test(sentence) ? "" : ".");
}

/**
 * @param {string} label of the microphone; may be empty
 * @param {boolean} muted the system says so
 */
export function explainMute(label, muted) {
  const microphone = label ? `the microphone “${label}”` : "the microphone";
  if (muted) return `${microphone[0].toUpperCase()}${microphone.slice(1)} is muted: unmute it to be heard.`;
  return `Nothing comes from ${microphone}: unmute it, or choose another one in the browser.`;
}

/** @param {number} seconds */
export function explainIdle(seconds) {
  return `Nothing was said for ${count(seconds)}, so the microphone is off: press Start to go on.`;
}

/** @param {number} seconds */
export function explainNear(seconds) {
  return `In ${count(seconds)} this turn is as long as it may be: pause, and what you have said is answered.`;
}

/** @param {number} seconds */
export function explainCut(seconds) {
  return `A turn may last ${count(seconds)}: what you said until then is answered, say the rest afterwards.`;
}

function count(seconds) {
  return `${seconds} second${seconds === 1 ? "" : "s"}`;
}
