// The component: what is seen of a call, and its buttons.

import { Call } from "./call.js";
import { recall, remember } from "./memory.js";
import { DOING, NOTED } from "./words.js";

const SETTLE = 20; // milliseconds: events that come together make one update of the chat
const CAPTION = 300; // milliseconds between updates while a reply goes on: four or five letters of speech
const NOTED_FOR = 4000; // milliseconds: to be read twice
const ANNOUNCED = ["idle", "connecting"]; // states that a screen reader tells each time; its voice would be heard in others

// What an app may change while the panel is shown, by the names of `duologue.Voice`.
const CHANGEABLE = {
  label: "label",
  url: "url",
  stream_every: "streamEvery",
  pre_roll: "preRoll",
  barge_in: "bargeIn",
  patience: "patience",
  idle_timeout: "idleTimeout",
  time_limit: "timeLimit",
};
const changes = new Map(); // by panel: Gradio forgets them when it shows a panel again that it had taken away

/**
 * Bring the constant markup of voice.html to life.
 *
 * The panel tells the page, too: each `duologue` event of the document has the conversation's name, the
 * panel's state, whether the conversation has changed, and the words of the utterance that goes on.
 * @param {object} where
 * @param {HTMLElement} where.element holds the markup
 * @param {(event: string, data: object) => void} where.trigger tells the app: `turn`, `failure`
 * @param {import("./call.js").Conf & import("./call.js").Wishes & {label: string}} where.conf
 * @param {object} where.props what the app has changed of it
 * @param {(names: string[], changed: () => void) => void} where.watch tells when it does
 */
export function mount({ element, trigger, conf, props, watch }) {
  const key = `duologue ${conf.url} ${conf.label}`;
  const panel = new Panel(element.querySelector(".voice"), trigger, Object.assign(conf, changes.get(key)), key);
  watch(Object.keys(CHANGEABLE), () => {
    const news = Object.entries(CHANGEABLE).filter(([name]) => props[name] !== undefined);
    const changed = Object.fromEntries(news.map(([name, ours]) => [ours, props[name]]));
    changes.set(key, { ...changes.get(key), ...changed });
    panel.change(changed);
  });
}

class Panel {
  #root;
  #trigger;
  #conf;
  #key; // of what the browser remembers for this panel
  #call = null;
  // One object for all `turn` events: one that Gradio has put off ("always_last") is sent later with
  // the data object of the event before it.
  #news = { conversation: null, user: "", reply: "" };
  #heard = ""; // the words so far of the utterance that goes on
  #settling = 0;
  #noted = 0; // the timer of what stands in the status line meanwhile

  constructor(root, trigger, conf, key) {
    this.#root = root;
    this.#trigger = trigger;
    this.#conf = conf;
    this.#key = key;
    root.setAttribute("aria-label", conf.label);
    root.onkeydown = (event) => {
      // A key that is held presses a button again and again.
      if (event.repeat && event.target.matches("button")) event.preventDefault();
    };
    this.#find(".talk").onclick = ({ detail }) => {
      // The second half of a double click: who made it did not mean to stop.
      if (detail < 2) this.#toggle();
    };
    this.#find(".anew").onclick = () => this.#begin();
    this.#find(".resume").onclick = () => this.#call?.resume();
    this.#find(".cut").onclick = ({ target }) => {
      if (target.ariaDisabled !== "true") this.#markCut();
    };
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

  /** The app has changed some of the settings. */
  change(settings) {
    Object.assign(this.#conf, settings);
    this.#root.setAttribute("aria-label", this.#conf.label);
    if ("bargeIn" in settings) this.#find("input").checked = settings.bargeIn;
    if ("patience" in settings) this.#showPatience(settings.patience);
    this.#onWish();
  }

  /** The name of this tab's conversation, or null before the first. */
  get #name() {
    return recall("sessionStorage", this.#key);
  }

  #rename() {
    // crypto.randomUUID is not there on pages without https.
    const name = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0"));
    remember("sessionStorage", this.#key, name.join(""));
  }

  #setUpPatience() {
    const select = this.#find("select");
    const remembered = recall("localStorage", this.#key);
    const known = [...select.options].some(({ value }) => value === remembered);
    this.#showPatience(known && this.#conf.patience !== "fixed" ? remembered : this.#conf.patience);
    select.onchange = () => {
      remember("localStorage", this.#key, select.value);
      this.#onWish();
    };
  }

  #showPatience(patience) {
    if (patience !== "fixed") this.#find("select").value = patience;
    this.#find(".patience").hidden = patience === "fixed";
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
      heard: (words) => this.#onHeard(words),
      caption: (words) => this.#tell(words, CAPTION),
      ducked: (ducked) => this.#root.toggleAttribute("data-ducked", ducked),
      cuttable: (possible) => this.#offerCut(possible),
      resumable: (possible) => (this.#find(".resume").hidden = !possible),
      played: (underruns) => (this.#root.dataset.underruns = underruns),
    });
    this.#call = call;
    call.start();
  }

  #onState(call, state) {
    if (call !== this.#call) return;
    if (state === "idle") this.#call = null;
    if (state === "hearing") this.#fail("", "");
    if (state === "listening" || state === "idle") this.#heard = "";
    if (state === "hearing" || state === "idle") this.#forgetNote();
    this.#show(state);
  }

  #show(state) {
    const idle = state === "idle";
    const first = state === "listening" && this.#root.dataset.state === "connecting";
    if (state !== this.#root.dataset.state) this.#find(".doing").ariaLive = first || ANNOUNCED.includes(state) ? "polite" : "off";
    this.#root.dataset.state = state;
    this.#find(".talk span").textContent = idle ? "Start conversation" : "Stop conversation";
    if (!this.#noted) this.#find(".doing").textContent = this.#doing(state);
    this.#find(".anew").hidden = !idle || !this.#name;
    if (state !== "speaking") this.#root.removeAttribute("data-ducked");
    if (idle) {
      this.#find(".cut").hidden = true;
      this.#meter(0);
    }
    this.#report(false);
  }

  #doing(state) {
    // A failure says what to do by itself.
    if (state === "idle" && this.#find(".failure").textContent) return "";
    return (this.#call?.deaf && DOING.deaf[state]) || DOING[state];
  }

  /** There is something to complain of, or no longer. The button keeps its place until the call ends. */
  #offerCut(possible) {
    const button = this.#find(".cut");
    if (possible) button.hidden = false;
    button.ariaDisabled = String(!possible); // not `disabled`: it would lose the keyboard's focus
  }

  #markCut() {
    this.#forgetNote();
    this.#noted = setTimeout(() => {
      this.#forgetNote();
      this.#show(this.#root.dataset.state);
    }, NOTED_FOR);
    this.#find(".doing").ariaLive = "polite";
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
    if (line.textContent !== sentence) {
      line.textContent = sentence;
      line.scrollIntoView({ block: "nearest" }); // a window may be too low for the whole panel
    }
    if (!this.#call) this.#find(".doing").textContent = this.#doing("idle");
    if (code) this.#trigger("failure", { code, message: sentence });
  }

  #onHeard(words) {
    this.#heard = words;
    if (!words) return;
    this.#news.user = words;
    this.#trigger("turn", this.#news);
    this.#report(false);
  }

  #tell(words, within = SETTLE) {
    Object.assign(this.#news, words, { conversation: this.#name });
    if (this.#settling && within > SETTLE) return; // what is due already will tell it
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      this.#settling = 0;
      this.#trigger("turn", this.#news);
      this.#report(true);
    }, within);
  }

  /** Tell the page around the panel. */
  #report(changed) {
    const conversation = this.#name;
    if (conversation === null) return;
    this.#root.dataset.conversation = conversation;
    const detail = { conversation, state: this.#root.dataset.state, changed, heard: this.#heard };
    document.dispatchEvent(new CustomEvent("duologue", { detail }));
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
