// The chat: the newest turns of the conversation, their words and their recordings.

import { recall, remember } from "./memory.js";

const AT_ONCE = 20; // turns; the rest waits behind a button, so that a long conversation costs no more than a short one
const NEWS = 2; // turns that are asked for after a change: the newest, and the one before, which it may have cut short
const NEARLY = 64; // pixels from the end: a line that comes while its reader scrolls back there leaves them short of it

const NODS = "duologue nods"; // under which the browser remembers whether they are shown

const ASIDE = { pending: "…", heard: "Your recording", replied: "The reply", gone: "The recording is gone.", away: "The recording cannot be fetched just now: play it again." };
const OUTCOMES = { failed: "The model failed to answer.", interrupted: "interrupted" };

/**
 * Bring the constant markup of chat.html to life. It follows the voice panel of the same document.
 * @param {object} where
 * @param {HTMLElement} where.element holds the markup
 */
export function mount({ element }) {
  new Chat(element.querySelector(".chat"));
}

class Chat {
  #root;
  #conversation = null;
  #server = null; // the process that the recordings are in
  #limit = AT_ONCE; // turns that are shown at once
  #earlier = 0; // turns before those that are shown
  #shown = new Map(); // by turn id, oldest first: its last data, and its two elements
  #pending = null; // what stands for an utterance that the server has not told of yet
  #asking = false;
  #again = false; // something has changed since it was asked
  #state = "idle";
  #heard = ""; // the words so far of the utterance that goes on, or was just ended
  #untold = null; // the id of the turn whose reply is to be announced

  constructor(root) {
    this.#root = root;
    this.#find(".earlier").onclick = () => this.#showEarlier();
    this.#find(".scroller").addEventListener("scrollend", ({ target }) => {
      const whole = target.scrollHeight - target.clientHeight;
      if (target.scrollTop > -Math.min(NEARLY, whole / 2)) target.scrollTop = 0;
    });
    const nods = this.#find(".nods input");
    nods.checked = recall("localStorage", NODS) === "shown";
    nods.onchange = () => {
      remember("localStorage", NODS, nods.checked ? "shown" : "");
      this.#settle();
    };
    root.addEventListener("play", ({ target }) => this.#silenceOthers(target), true);
    const listen = ({ detail }) => {
      if (root.isConnected) this.#follow(detail);
      else document.removeEventListener("duologue", listen);
    };
    document.addEventListener("duologue", listen);
    const panel = document.querySelector(".voice[data-conversation]"); // it may have been there first
    if (panel) this.#follow({ ...panel.dataset, changed: true });
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }

  /** The voice panel has something to tell. */
  #follow({ conversation, state, changed, heard = "" }) {
    if (conversation !== this.#conversation) this.#clear(conversation);
    const more = heard !== this.#heard;
    this.#heard = heard;
    if (heard ? more : state === "thinking" && this.#state !== "thinking") this.#expect();
    if (state === "listening" || state === "idle") this.#forgetPending();
    this.#state = state;
    this.#announce();
    if (changed && conversation) this.#ask();
  }

  #clear(conversation) {
    this.#conversation = conversation;
    this.#limit = AT_ONCE;
    this.#earlier = 0;
    this.#shown.clear();
    this.#pending = this.#untold = null;
    this.#find(".turns").replaceChildren();
    this.#find(".told").textContent = "";
    this.#settle();
  }

  /** The user speaks, or has finished; the server tells of the turn when it is sure that it has ended. */
  #expect() {
    const newest = [...this.#shown.values()].at(-1);
    const known = newest && !newest.gone && newest.turn.status === "in_progress";
    if (known) return;
    this.#pending ??= message("user");
    rewrite(this.#pending, [this.#heard ? words(this.#heard) : aside(ASIDE.pending)]);
    this.#find(".turns").append(this.#pending);
    this.#settle();
  }

  #forgetPending() {
    this.#pending?.remove();
    this.#pending = null;
    this.#settle();
  }

  /** Ask for what is new; one question at a time, and a last one after the last change. */
  async #ask() {
    this.#again = true;
    if (this.#asking) return;
    this.#asking = true;
    try {
      while (this.#again) {
        this.#again = false;
        await this.#update(this.#current.length ? NEWS : AT_ONCE);
      }
    } catch {
      // What is shown stays; the voice panel tells why the server does not answer.
    } finally {
      this.#asking = false;
    }
  }

  async #update(count) {
    const conversation = this.#conversation;
    const news = await fetchTurns({ conversation, newest: count });
    if (conversation !== this.#conversation) return;
    if (this.#server && news.server !== this.#server) this.#onRestart();
    this.#server = news.server;
    const missed = news.earlier > 0 && this.#current.length > 0 && !this.#shown.has(news.turns[0].id);
    if (missed && count < AT_ONCE) await this.#update(AT_ONCE); // another tab has gone on with the conversation
    else this.#take(news);
  }

  /** The ids of those that the server may still have. */
  get #current() {
    return [...this.#shown.keys()].filter((id) => !this.#shown.get(id).gone);
  }

  /** From the first of these turns on, all is as the server says. */
  #take({ turns, earlier }) {
    const before = this.#current;
    const place = before.indexOf(turns[0]?.id);
    const named = new Set(turns.map(({ id }) => id));
    for (const id of before.slice(Math.max(0, place))) if (!named.has(id)) this.#remove(id);
    for (const turn of turns) {
      if (!this.#shown.has(turn.id)) this.#greet(turn);
      this.#show(turn);
    }
    if (place < 0) this.#earlier = earlier;
    this.#trim();
    this.#announce();
    this.#settle();
  }

  /** A turn that was not there before: the one that was expected, if a call goes on. */
  #greet(turn) {
    if (this.#state === "idle") return;
    this.#forgetPending();
    this.#untold = turn.id;
  }

  #show(turn) {
    const before = this.#shown.get(turn.id);
    const entry = before ?? { user: message("user"), bot: message("bot") };
    this.#shown.set(turn.id, entry);
    this.#fill(entry, turn);
    if (!before) this.#find(".turns").append(entry.user);
    if (hasReply(turn)) entry.user.after(entry.bot);
    else entry.bot.remove();
  }

  #fill(entry, turn) {
    const before = entry.turn;
    entry.turn = turn;
    if (!before || before.user !== turn.user || before.status !== turn.status) {
      const underWay = turn.status === "in_progress";
      const said = turn.user || (underWay && this.#heard);
      const unknown = underWay ? ASIDE.pending : ASIDE.heard;
      const player = before ? entry.user.querySelector(".player") : recording(turn, "wav", turn.heard, "what you said");
      rewrite(entry.user, [said ? words(said) : aside(unknown), player]);
    }
    const ended = turn.status !== "in_progress";
    const kin = ["reply", "status", "version", "timings"].every((name) => before?.[name] === turn[name]);
    const same = kin && before.nods.length === turn.nods.length;
    if (same || !hasReply(turn)) return;
    const told = ended ? [OUTCOMES[turn.status], turn.timings].filter(Boolean).join(" · ") : "";
    const heard = ended && turn.version > 0;
    const kept = before?.version === turn.version && before.status !== "in_progress";
    const player = kept ? entry.bot.querySelector(".player") : heard && recording(turn, "mp3", turn.replied, "the reply");
    rewrite(entry.bot, [turn.reply ? words(turn.reply) : heard && aside(ASIDE.replied), player, told && aside(told), ...turn.nods.map(nodded)]);
  }

  #remove(id) {
    const { user, bot } = this.#shown.get(id);
    user.remove();
    bot.remove();
    this.#shown.delete(id);
  }

  /** The oldest go behind the button. */
  #trim() {
    for (const id of [...this.#shown.keys()].slice(0, -this.#limit)) {
      if (!this.#shown.get(id).gone) this.#earlier++;
      this.#remove(id);
    }
  }

  async #showEarlier() {
    const button = this.#find(".earlier");
    button.disabled = true;
    try {
      const before = this.#current[0];
      const { turns, earlier } = await fetchTurns({ conversation: this.#conversation, newest: AT_ONCE, before });
      if (before !== this.#current[0]) return;
      this.#limit += turns.length;
      this.#earlier = earlier;
      const newer = [...this.#shown];
      this.#shown.clear();
      for (const turn of turns) this.#show(turn);
      for (const [id, entry] of newer) {
        this.#shown.set(id, entry);
        this.#find(".turns").append(entry.user);
        if (hasReply(entry.turn)) this.#find(".turns").append(entry.bot);
      }
      this.#find(".scroller").focus();
    } catch {
      // The button stays.
    } finally {
      button.disabled = false;
      this.#settle();
    }
  }

  /** What was said stays to be read; the recordings went with the old process. */
  #onRestart() {
    this.#earlier = 0;
    for (const entry of this.#shown.values()) entry.gone = true;
    for (const player of this.#root.querySelectorAll(".player")) player.replaceWith(aside(ASIDE.gone));
  }

  /** The words of a reply, once, when it is over and nothing is being spoken. */
  #announce() {
    const turn = this.#shown.get(this.#untold)?.turn;
    const quiet = this.#state === "listening" || this.#state === "idle";
    if (!turn || turn.status === "in_progress" || !quiet) return;
    this.#untold = null;
    this.#find(".told").textContent = turn.reply;
  }

  #silenceOthers(playing) {
    for (const player of this.#root.querySelectorAll("audio")) if (player !== playing) player.pause();
  }

  #settle() {
    this.#find(".placeholder").hidden = this.#shown.size > 0 || this.#pending !== null;
    this.#find(".earlier").hidden = this.#earlier === 0;
    this.#find(".nods").hidden = !this.#find(".nod");
    this.#root.toggleAttribute("data-nods", this.#find(".nods input").checked);
  }
}

async function fetchTurns(asked) {
  const address = new URL("../v1/turns", import.meta.url);
  for (const [name, value] of Object.entries(asked)) address.searchParams.set(name, value);
  const response = await fetch(address);
  if (!response.ok) throw new Error(`the turns did not come: ${response.status}`);
  return response.json();
}

/** Of a reply that is under way, its words; of one that is over, at least how it ended. */
function hasReply({ status, reply, version, timings }) {
  return Boolean(reply || (status !== "in_progress" && (version || timings || OUTCOMES[status])));
}

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text; // never markup: these are other people's words
  return element;
}

// With an end of line, as who copies a conversation wants it.
const words = (text) => make("p", "words", `${text}\n`);
const aside = (text) => make("p", "aside", `${text}\n`);

/** What the user said into a reply that went on. */
function nodded({ id, user, heard }) {
  const line = make("div", "nod");
  line.append(aside(`You, meanwhile: ${user}`), recording({ id, version: 0 }, "wav", heard, "what you said meanwhile"));
  return line;
}

function message(side) {
  const element = make("li", `message ${side}`);
  element.append(make("span", "who", side === "user" ? "You: " : "Reply: "));
  return element;
}

/** New content behind the name of who speaks. What is there already stays, and so does the place of its reader. */
function rewrite(element, parts) {
  const wanted = parts.filter(Boolean);
  const there = element.querySelector(".words");
  if (there && wanted[0].className === "words") {
    there.textContent = wanted[0].textContent;
    wanted[0] = there;
  }
  let place = element.firstElementChild;
  for (const child of [...element.children].slice(1)) if (!wanted.includes(child)) child.remove();
  for (const part of wanted) {
    if (place.nextElementSibling !== part) place.after(part);
    place = part;
  }
}

/** A button with the length, which turns into the browser's own player when it is pressed. */
function recording({ id, version }, kind, seconds, name) {
  const player = make("div", "player");
  const whole = Math.max(1, Math.round(seconds));
  const length = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  const button = make("button", "play", `▶ ${length}`);
  button.type = "button";
  button.setAttribute("aria-label", `Play ${name}, ${whole} second${whole === 1 ? "" : "s"}`);
  const audio = document.createElement("audio");
  audio.preload = "none";
  audio.setAttribute("aria-label", name);
  audio.src = new URL(`../v1/recordings/${encodeURIComponent(id)}.${kind}?v=${version}`, import.meta.url);
  audio.addEventListener("error", async () => {
    const answer = await fetch(audio.src, { method: "HEAD" }).catch(() => null);
    if (answer?.status === 404) player.replaceWith(aside(ASIDE.gone));
    else if (!player.querySelector("small")) player.append(aside(ASIDE.away));
  });
  button.onclick = () => {
    button.remove();
    audio.controls = true;
    audio.focus();
    audio.play().catch(() => {}); // why not is told by the event above
  };
  player.append(button, audio);
  return player;
}
