// The line to the server: the OpenAI Realtime API over a WebSocket.

import { Heartbeat } from "./heartbeat.js";
import { WIRE_RATE } from "./sound.js";

const EAGERNESS = { quick: "high", normal: "medium", patient: "low" }; // the API's words for it
const OPENING = 10000; // milliseconds until the server must have said hello; what is said meanwhile is kept
const PROBE = 3000; // milliseconds for anything at all to answer
const MESSAGE_RATE = (WIRE_RATE * 2 * 4) / 3; // characters a second of sound: base64 of PCM16

/**
 * One connection. Sends what it is told, and hands on every server event by its type. Sound is kept until the server
 * has said hello, and sent then.
 */
export class Line {
  #socket;
  #url;
  #on;
  #closed = false; // by us, or lost
  #early = []; // sound from before the hello; null after it
  #opening;
  #heartbeat = null;

  /**
   * @param {string} url of the line; relative to the page, http(s) or ws(s)
   * @param {string} conversation the name of the conversation to go on with
   * @param {object} on
   * @param {(event: object) => void} on.event
   * @param {(code: string, message?: string) => void} on.lost the line is dead: "lost", "too_slow" or a word of the
   *   server's. It was never alive: "unreachable", "not_a_line" (something else answers), "refused" with what the
   *   server closed it with, or a word of the server's.
   */
  constructor(url, conversation, on) {
    const address = new URL(url, location.href);
    this.#url = new URL(address);
    this.#url.protocol = address.protocol.replace("ws", "http");
    address.protocol = address.protocol.replace("http", "ws");
    address.searchParams.set("conversation", conversation);
    address.searchParams.set("extensions", "1"); // the events of `duologue.`
    this.#on = on;
    this.#opening = setTimeout(() => this.#lose("unreachable"), OPENING);
    this.#socket = new WebSocket(address, "realtime");
    this.#socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.#socket.onclose = ({ reason }) => this.#onClose(reason);
  }

  /**
   * Say how turns are taken; what is not named stays as the server has it.
   * @param {object} settings
   * @param {boolean} settings.bargeIn
   * @param {"quick" | "normal" | "patient" | "fixed"} settings.patience fixed: the server's silence
   * @param {number} settings.idleTimeout seconds
   */
  update({ bargeIn, patience, idleTimeout }) {
    const fixed = patience === "fixed";
    const turn_detection = {
      ...(fixed ? { type: "server_vad" } : { type: "semantic_vad", eagerness: EAGERNESS[patience] }),
      create_response: true,
      interrupt_response: bargeIn,
      half_duplex: !bargeIn,
      idle_timeout_ms: Math.round(idleTimeout * 1000),
    };
    this.#send({ type: "session.update", session: { type: "realtime", audio: { input: { turn_detection } } } });
  }

  /**
   * @param {Int16Array} pcm at 24 kHz
   * @param {boolean} echo nobody speaks in it; it is the reply that comes back
   */
  append(pcm, echo) {
    const event = { type: "input_audio_buffer.append", audio: toBase64(pcm), ...(echo && { echo }) };
    if (this.#early) this.#early.push(event);
    else this.#send(event);
  }

  /**
   * Tell that a reply began to be heard.
   * @param {string} item
   * @param {number} ago milliseconds
   */
  reportStart(item, ago) {
    this.#send({ type: "duologue.playback.started", item_id: item, ago_ms: ago });
  }

  /** Tell that the newest turn was ended too early. */
  markCut() {
    this.#send({ type: "duologue.cut.marked" });
  }

  /**
   * Let a reply go on that was interrupted.
   * @param {string} item
   */
  resume(item) {
    this.#send({ type: "duologue.reply.resume", item_id: item });
  }

  /**
   * Tell how much of a reply was heard; the rest is forgotten.
   * @param {string} item
   * @param {number} milliseconds
   */
  truncate(item, milliseconds) {
    this.#send({
      type: "conversation.item.truncate",
      item_id: item,
      content_index: 0,
      audio_end_ms: milliseconds,
    });
  }

  /** Stop the reply under way, if any. */
  cancel() {
    this.#send({ type: "response.cancel" });
  }

  /** Hang up. What was sent still arrives. */
  close() {
    this.#end();
    this.#socket.close(1000);
  }

  /**
   * Cut the reply to what was heard, wait until the server has done so (half a second at most), hang up.
   * @param {string} item
   * @param {number} milliseconds
   * @returns {Promise<void>}
   */
  async farewell(item, milliseconds) {
    this.#end();
    this.cancel();
    this.truncate(item, milliseconds);
    await new Promise((resolve) => {
      this.#settled = resolve;
      setTimeout(resolve, 500);
    });
    this.close();
  }

  #settled = () => {};

  #receive(event) {
    if (this.#closed) return this.#onFarewell(event);
    this.#heartbeat?.hear(event.type);
    if (this.#closed || event.type === "duologue.pong") return;
    this.#on.event(event);
    if (event.type === "session.created") this.#begin();
  }

  #onFarewell({ type }) {
    if (type === "conversation.item.truncated" || type === "error") this.#settled();
  }

  /** The server has said hello, and was told how turns are taken: what was said until now is sent. */
  #begin() {
    clearTimeout(this.#opening);
    for (const event of this.#early) this.#send(event);
    this.#early = null;
    this.#heartbeat = new Heartbeat({
      ping: () => this.#send({ type: "duologue.ping" }),
      backlog: () => this.#socket.bufferedAmount / MESSAGE_RATE,
      dead: (code) => this.#lose(code),
    });
  }

  async #onClose(reason) {
    this.#settled();
    if (this.#closed) return;
    const begun = this.#heartbeat !== null;
    this.#end();
    if (/^[a-z]+(_[a-z]+)+$/.test(reason)) this.#on.lost(reason);
    else if (begun) this.#on.lost("lost");
    else if (reason) this.#on.lost("refused", reason);
    else this.#on.lost(await this.#probe());
  }

  /** Browsers do not tell why a line was not opened: see whether there is anybody. */
  async #probe() {
    try {
      await fetch(this.#url, { mode: "no-cors", method: "HEAD", signal: AbortSignal.timeout(PROBE) });
      return "not_a_line";
    } catch {
      return "unreachable";
    }
  }

  #lose(code) {
    this.close();
    this.#on.lost(code);
  }

  #end() {
    this.#closed = true;
    clearTimeout(this.#opening);
    this.#heartbeat?.stop();
  }

  #send(event) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(event));
  }
}

/**
 * @param {string} text base64 of PCM16
 * @returns {Int16Array}
 */
export function fromBase64(text) {
  const bytes = atob(text);
  const buffer = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) buffer[i] = bytes.charCodeAt(i);
  return new Int16Array(buffer.buffer);
}

function toBase64(pcm) {
  const bytes = new Uint8Array(pcm.buffer);
  let text = "";
  // In pieces, as a call takes only so many arguments.
  for (let i = 0; i < bytes.length; i += 8192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  }
  return btoa(text);
}
