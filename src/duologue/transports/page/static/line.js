// The line to the server: the OpenAI Realtime API over a WebSocket.

const EAGERNESS = { quick: "high", normal: "medium", patient: "low" }; // the API's words for it

/**
 * One connection. Sends what it is told, and hands on every server event by its type.
 */
export class Line {
  #socket;
  #closed = false; // by us

  /**
   * @param {string} url of the line; relative to the page, http(s) or ws(s)
   * @param {string} conversation the name of the conversation to go on with
   * @param {{event: (event: object) => void, lost: () => void}} on
   */
  constructor(url, conversation, on) {
    const address = new URL(url, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    address.searchParams.set("conversation", conversation);
    address.searchParams.set("extensions", "1"); // the events of `duologue.`
    this.#socket = new WebSocket(address, "realtime");
    this.#socket.onmessage = ({ data }) => {
      if (!this.#closed) on.event(JSON.parse(data));
      else this.#onFarewell(JSON.parse(data));
    };
    this.#socket.onclose = () => {
      this.#settled();
      if (!this.#closed) on.lost();
    };
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
      idle_timeout_ms: Math.round(idleTimeout * 1000),
    };
    this.#send({ type: "session.update", session: { type: "realtime", audio: { input: { turn_detection } } } });
  }

  /**
   * @param {Int16Array} pcm at 24 kHz
   * @param {boolean} echo nobody speaks in it; it is the reply that comes back
   */
  append(pcm, echo) {
    this.#send({ type: "input_audio_buffer.append", audio: toBase64(pcm), ...(echo && { echo }) });
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
    this.#closed = true;
    this.#socket.close(1000);
  }

  /**
   * Cut the reply to what was heard, wait until the server has done so (half a second at most), hang up.
   * @param {string} item
   * @param {number} milliseconds
   * @returns {Promise<void>}
   */
  async farewell(item, milliseconds) {
    this.#closed = true;
    this.cancel();
    this.truncate(item, milliseconds);
    await new Promise((resolve) => {
      this.#settled = resolve;
      setTimeout(resolve, 500);
    });
    this.close();
  }

  #settled = () => {};

  #onFarewell({ type }) {
    if (type === "conversation.item.truncated" || type === "error") this.#settled();
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
