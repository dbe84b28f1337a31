// Runs in the page before anything of it: a microphone that tests speak into, and taps on what goes in and out.
// Times are milliseconds since 1970, on the main thread and on the audio threads.
(() => {
  // `echo`: decibels from the loudspeaker to the microphone, to be set before Start; null: all of it is cancelled.
  const rig = (window.rig = {
    log: [],
    tracks: { mic: [], speaker: [] },
    sent: [], // what the newest line was sent of the microphone: base64 of PCM16
    sentSamples: 0,
    contexts: [],
    live: [],
    lines: [],
    words: null,
    cue: null, // {state, act}: what is done as soon as the page is in that state
    hold: null, // a promise that getUserMedia waits for
    echo: null,
  });
  const now = () => performance.timeOrigin + performance.now();
  // `clock`: seconds of sound that the loudspeaker was given, in all of the newest call.
  const note = (entry) => rig.log.push({ at: now(), clock: rig.contexts.at(-1)?.currentTime ?? 0, ...entry });

  // Whole quanta come in bursts; the earliest rendering of a moment is the one that counts.
  const TAP = `registerProcessor("rig-tap", class extends AudioWorkletProcessor {
    begin() {
      this.chunk = new Float32Array(2048);
      this.filled = 0;
      this.frame = currentFrame;
      this.offset = Infinity;
    }
    process([[samples]]) {
      if (!this.chunk) this.begin();
      if (samples) this.chunk.set(samples, this.filled);
      this.offset = Math.min(this.offset, Date.now() - currentTime * 1000);
      this.filled += 128;
      if (this.filled === 2048) {
        const { frame, offset, chunk } = this;
        this.port.postMessage({ frame, offset, chunk }, [chunk.buffer]);
        this.chunk = null;
      }
      return true;
    }
  });`;
  const TAP_URL = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));

  const addModule = Worklet.prototype.addModule;
  const connect = AudioNode.prototype.connect;
  Worklet.prototype.addModule = async function (...given) {
    await addModule.call(this, TAP_URL);
    return addModule.apply(this, given);
  };

  function tap(context, name) {
    const node = new AudioWorkletNode(context, "rig-tap", { channelCount: 1, channelCountMode: "explicit" });
    const chunks = [];
    rig.tracks[name].push({ context, chunks, frames: 0 });
    const track = rig.tracks[name].at(-1);
    node.port.onmessage = ({ data }) => {
      chunks.push(data);
      track.frames = data.frame + data.chunk.length;
    };
    connect.call(node, context.destination); // silent
    return node;
  }

  const taps = new WeakMap();
  /** All that the page's loudspeaker plays. */
  function played(context) {
    if (!taps.has(context)) {
      taps.set(context, context.createGain());
      connect.call(taps.get(context), tap(context, "speaker"));
      rig.contexts.push(context);
    }
    return taps.get(context);
  }

  AudioNode.prototype.connect = function (to, ...more) {
    if (to instanceof AudioDestinationNode && this.context !== microphone?.context) {
      connect.call(this, played(this.context));
    }
    return connect.call(this, to, ...more);
  };

  // The microphone. It runs at 48 kHz, as most do.
  let microphone = null;
  async function open() {
    const context = new AudioContext({ sampleRate: 48000 });
    await context.resume();
    await context.audioWorklet.addModule(TAP_URL);
    const input = context.createGain();
    connect.call(input, tap(context, "mic"));
    hiss(context, input);
    return { context, input };
  }

  /** A microphone that gives exact zeros is muted or dead: this one has -94 dB at 24 kHz, too little to be heard. */
  function hiss(context, input) {
    const buffer = context.createBuffer(1, context.sampleRate, context.sampleRate);
    const noise = buffer.getChannelData(0);
    for (let i = 0; i < noise.length; i++) noise[i] = (Math.random() - 0.5) * 1e-4;
    const source = new AudioBufferSourceNode(context, { buffer, loop: true });
    connect.call(source, input);
    source.start();
  }

  // What a loudspeaker plays comes back into the microphone 50 ms later, spread over 100 ms. All of that in the
  // page's own context: between two, sound waits for as long as a busy machine pleases.
  const listen = AudioContext.prototype.createMediaStreamSource;
  AudioContext.prototype.createMediaStreamSource = function (stream) {
    const source = listen.call(this, stream);
    if (rig.echo === null) return source;
    const both = this.createGain();
    connect.call(source, both);
    connect.call(room(this), both);
    return both;
  };

  function room(context) {
    const buffer = context.createBuffer(1, context.sampleRate / 10, context.sampleRate);
    const walls = buffer.getChannelData(0);
    for (let i = 0; i < walls.length; i++) walls[i] = (Math.random() - 0.5) * 10 ** ((-3 * i) / walls.length);
    const energy = walls.reduce((sum, tap) => sum + tap * tap, 0);
    for (let i = 0; i < walls.length; i++) walls[i] *= 10 ** (rig.echo / 20) / Math.sqrt(energy);
    const delay = new DelayNode(context, { delayTime: 0.05 });
    const convolver = new ConvolverNode(context, { buffer, disableNormalization: true });
    connect.call(connect.call(played(context), delay), convolver);
    return convolver;
  }

  rig.fake = () => {
    navigator.mediaDevices.getUserMedia = async () => {
      note({ asked: true });
      await rig.hold;
      microphone ??= await open();
      const out = microphone.context.createMediaStreamDestination();
      connect.call(microphone.input, out);
      for (const track of out.stream.getTracks()) {
        const settings = track.getSettings();
        track.getSettings = () => ({ ...settings, echoCancellation: rig.echo === null });
        rig.live.push(track);
      }
      return out.stream;
    };
  };

  /** Say something, at once or as soon as the page is in a state; resolves when it has been said. */
  rig.say = async (base64, rate, state) => {
    if (state) await new Promise((act) => (rig.cue = { state, act }));
    const samples = new Float32Array(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
    const buffer = microphone.context.createBuffer(1, samples.length, rate);
    buffer.copyToChannel(samples, 0);
    rig.words = new AudioBufferSourceNode(microphone.context, { buffer });
    connect.call(rig.words, microphone.input);
    rig.words.start();
    await new Promise((resolve) => (rig.words.onended = resolve));
  };
  rig.hush = () => rig.words?.stop();

  /** What came since the last call, of the newest track; all of it at once would halt the page for seconds. */
  rig.drain = async (name) => {
    const track = rig.tracks[name].at(-1);
    const { context, chunks } = track;
    const due = context.currentTime * context.sampleRate; // until then, it has been rendered
    while (context.state === "running" && track.frames < due) await new Promise((resolve) => setTimeout(resolve, 10));
    const news = chunks.splice(0);
    return {
      track: `${performance.timeOrigin} ${rig.tracks[name].length}`,
      rate: context.sampleRate,
      frame: news[0]?.frame ?? 0,
      offsets: news.map(({ offset }) => offset),
      samples: news.map(({ chunk }) => encode(chunk)),
    };
  };

  function encode(samples) {
    return btoa(String.fromCharCode(...new Uint8Array(samples.buffer)));
  }

  /** What the newest line was sent since the last call. */
  rig.drainSent = () => ({ track: `${performance.timeOrigin} ${rig.lines.length}`, samples: rig.sent.splice(0) });

  // The line: every event but its sound.
  function digest(data) {
    const event = JSON.parse(data);
    if (event.type === "input_audio_buffer.append") {
      rig.sent.push(event.audio);
      rig.sentSamples += atob(event.audio).length / 2;
    }
    for (const key of ["audio", "delta"]) {
      if (typeof event[key] === "string") event[key] = event[key].length;
    }
    return event;
  }
  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", ({ data }) => note({ in: digest(data) }));
      this.addEventListener("close", () => note({ closed: true }));
      rig.socket = this;
      rig.sent = [];
      rig.lines.push(this.url);
    }
    send(data) {
      note({ out: digest(data) });
      super.send(data);
    }
  };

  // What the player is told: the name of the message's first field.
  window.AudioWorkletNode = class extends AudioWorkletNode {
    constructor(context, name, ...given) {
      super(context, name, ...given);
      if (name !== "duologue-player") return;
      const post = this.port.postMessage.bind(this.port);
      this.port.postMessage = (data, ...more) => {
        note({ player: Object.keys(data)[0] });
        post(data, ...more);
      };
    }
  };

  new MutationObserver((changes) => {
    for (const { target, attributeName } of changes) {
      if (attributeName === "data-ducked") note({ ducked: "ducked" in target.dataset });
      else note({ state: target.dataset.state });
      if (rig.cue?.state !== target.dataset.state) continue;
      rig.cue.act();
      rig.cue = null;
    }
  }).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-state", "data-ducked"] });
})();
