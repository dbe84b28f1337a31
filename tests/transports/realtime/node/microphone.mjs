// A microphone that never stops: sound in real time, 24 kHz 16 bit, and silence in between.

const STEP = 40; // ms
const FRAME = (24000 * 2 * STEP) / 1000; // bytes

export class Microphone {
  constructor(send) {
    this.rest = Buffer.alloc(0);
    let due = performance.now();
    this.timer = setInterval(() => {
      for (; due <= performance.now(); due += STEP) {
        const frame = Buffer.alloc(FRAME);
        this.rest.copy(frame, 0, 0, FRAME);
        this.rest = this.rest.subarray(FRAME);
        send(frame);
      }
    }, STEP / 2);
  }

  say(sound) {
    this.rest = Buffer.concat([this.rest, sound]);
  }

  close() {
    clearInterval(this.timer);
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(what, true_, seconds = 120) {
  const end = performance.now() + 1000 * seconds;
  while (!true_()) {
    if (performance.now() > end) throw new Error(`it never came to that: ${what}`);
    await pause(20);
  }
}
