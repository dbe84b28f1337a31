// The component: what is seen of a call, and its buttons.

import { Call } from "./call.js";
import { DOING, NOTED } from "./words.js";

const SETTLE = 20; // milliseconds: events that come together make one update of the chat
const CAPTION = 300; // milliseconds between updates while a reply goes on: four or five letters of speech
const NOTED_FOR = 4000; // milliseconds: to be read twice

/**
 * Bring the constant markup of voice.html to life.
 * @param {object} where
 * @param {HTMLElement} where.element holds the markup
 * @param {(event: string, data: object) => void} where.trigger tells the app: `turn`, `failure`
 * @param {import("./call.js").Conf & import("./call.js").Wishes & {label: string}} where.conf
 */
export function mount({ element, trigger, conf }) {
  new Panel(element.querySelector(".voice"), trigger, conf);
}

class Panel {
  #root;
  #trigger;
  #conf;
  #call = null;
  // One object for all `turn` events: one that Gradio has put off ("always_last") is sent later with
  // the data object of the event before it.
  #news = { conversation: null, user: "", reply: "" };
  #settling = 0;
  #noted = 0; // the timer of what stands in the status line meanwhile

  constructor(root, trigger, conf) {
    this.#root = root;
    this.#trigger = trigger;
    this.#conf = conf;
    root.setAttribute("aria-label", conf.label);
    this.#find(".talk").onclick = ({ detail }) => {
      // The second half of a double click: who made it did not mean to stop.
      if (detail < 2) this.#toggle();
    };
    this.#find(".anew").onclick = () => this.#begin();
    this.#find(".cut").onclick = () => this.#markCut();
    this.#find("input").checked = conf.bargeIn;
    this.#find("input").onchange = () => this.#onWish();
    this.#setUpPatience();
    this.#watchRemoval();
    if (this.#name) this.#tell({}); // a reloaded tab shows its conversation again
    this.#show("idle");
    this.#find(".talk").disabled = false; // before this, a click would be lost
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }

  /** The name of this tab's conversation, or null before the first. */
  get #name() {
    return sessionStorage.getItem(this.#key);
  }

  get #key() {
    return `duologue ${this.#conf.url} ${this.#conf.label}`;
  }

  #rename() {
    // crypto.randomUUID is not there on pages without https.
    const name = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0"));
    sessionStorage.setItem(this.#key, name.join(""));
  }

  #setUpPatience() {
    const select = this.#find("select");
    const remembered = localStorage.getItem(this.#key);
    select.value = [...select.options].some(({ value }) => value === remembered) ? remembered : this.#conf.patience;
    select.onchange = () => {
      localStorage.setItem(this.#key, select.value);
      this.#onWish();
    };
    this.#find(".patience").hidden = this.#conf.patience === "fixed";
  }

  #onWish() {
    if (this.#call) this.#call.wishes = this.#wishes;
  }

  /** @returns {import("./call.js").Wishes} */
  get #wishes() {
    const patience = this.#conf.patience === "fixed" ? "fixed" : this.#find("select").value;
    return { bargeIn: this.#find("input").checked, patience };
  }

  #begin() {
    this.#rename();
    this.#fail("", "");
    this.#tell({ user: "", reply: "" });
    this.#show("idle");
  }

  #toggle() {
    if (this.#call) {
      this.#call.stop();
      return;
    }
    if (!this.#name) this.#rename();
    this.#fail("", "");
    const call = new Call(this.#conf, this.#name, this.#wishes, {
      state: (state) => this.#onState(call, state),
      failure: (code, sentence) => this.#fail(code, sentence),
      level: (level) => this.#meter(level),
      turn: (words) => this.#tell(words),
      caption: (words) => this.#tell(words, CAPTION),
      ducked: (ducked) => this.#root.toggleAttribute("data-ducked", ducked),
      cuttable: (possible) => this.#offerCut(possible),
      played: (underruns) => (this.#root.dataset.underruns = underruns),
    });
    this.#call = call;
    call.start();
  }

  #onState(call, state) {
    if (call !== this.#call) return;
    if (state === "idle") this.#call = null;
    if (state === "hearing") this.#fail("", "");
    if (state === "hearing" || state === "idle") this.#forgetNote();
    this.#show(state);
  }

  #show(state) {
    const idle = state === "idle";
    this.#root.dataset.state = state;
    this.#find(".talk span").textContent = idle ? "Start conversation" : "Stop conversation";
    if (!this.#noted) this.#find(".doing").textContent = (this.#call?.deaf && DOING.deaf[state]) || DOING[state];
    this.#find(".anew").hidden = !idle || !this.#name;
    if (state !== "speaking") this.#root.removeAttribute("data-ducked");
    if (idle) {
      this.#find(".cut").hidden = true;
      this.#meter(0);
    }
  }

  /** There is something to complain of, or no longer. The button keeps its place until the call ends. */
  #offerCut(possible) {
    const button = this.#find(".cut");
    if (possible) button.hidden = false;
    button.disabled = !possible;
  }

  #markCut() {
    this.#forgetNote();
    this.#noted = setTimeout(() => {
      this.#forgetNote();
      this.#show(this.#root.dataset.state);
    }, NOTED_FOR);
    this.#find(".doing").textContent = NOTED;
    this.#call.markCut();
  }

  #forgetNote() {
    clearTimeout(this.#noted);
    this.#noted = 0;
  }

  /** Decibels are what an ear and a meter agree on: -50 dB is empty, -10 dB is full. */
  #meter(level) {
    const full = Math.max(0, Math.min(1, (20 * Math.log10(level + 1e-6) + 50) / 40));
    const meter = this.#find(".meter");
    meter.style.setProperty("--level", full.toFixed(2));
    meter.setAttribute("aria-valuenow", Math.round(full * 100));
  }

  #fail(code, sentence) {
    const line = this.#find(".failure");
    if (line.textContent !== sentence) line.textContent = sentence;
    if (code) this.#trigger("failure", { code, message: sentence });
  }

  #tell(words, within = SETTLE) {
    Object.assign(this.#news, words, { conversation: this.#name });
    if (this.#settling && within > SETTLE) return; // what is due already will tell it
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      this.#settling = 0;
      this.#trigger("turn", this.#news);
    }, within);
  }

  /** Gradio says nothing when it takes a component away; the microphone must not stay on. */
  #watchRemoval() {
    const leave = () => this.#call?.abandon();
    const observer = new MutationObserver(() => {
      if (this.#root.isConnected) return;
      observer.disconnect();
      removeEventListener("pagehide", hide);
      leave();
    });
    const hide = () => {
      leave();
      this.#call = null;
      this.#show("idle"); // the back button may bring the page back as it was
    };
    addEventListener("pagehide", hide);
    observer.observe(document.body, { childList: true, subtree: true });
  }
}
