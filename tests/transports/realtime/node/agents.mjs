// @openai/agents: two spoken turns, the second into the first reply, and one that is written.
// node agents.mjs ws://… question.pcm: prints what it has in its history, and what went wrong.

import { readFileSync } from "node:fs";
import { RealtimeAgent, RealtimeSession } from "@openai/agents/realtime";
import { Microphone, pause, until } from "./microphone.mjs";

const [url, file] = process.argv.slice(2);
const question = readFileSync(file);
const session = new RealtimeSession(new RealtimeAgent({ name: "Duo", instructions: "Be kind." }), {
  transport: "websocket",
  model: "any",
});
const errors = [];
let heard = 0; // bytes of sound
let interrupted = 0;
session.on("error", (event) => errors.push(JSON.stringify(event.error ?? event)));
session.on("audio", (event) => (heard += event.data.byteLength));
session.on("audio_interrupted", () => (interrupted += 1));
const told = (role) =>
  session.history
    .filter((item) => item.type === "message" && item.role === role)
    .map((item) => item.content.map((part) => part.transcript ?? part.text ?? "").join(" "));

await session.connect({ apiKey: "any", url });
const microphone = new Microphone((frame) =>
  session.sendAudio(frame.buffer.slice(frame.byteOffset, frame.byteOffset + frame.length)),
);
microphone.say(question);
await until("the first reply sounds", () => heard > 0);
await pause(1200);
microphone.say(question);
await until("the first reply is interrupted", () => interrupted > 0);
await until("both questions have words", () => told("user").filter(Boolean).length >= 2);
await until("the second reply has words", () => told("assistant").filter(Boolean).length >= 2);
session.interrupt();
await pause(500);
const before = told("assistant").length;
session.sendMessage("Say good morning.");
await until("what was written is answered", () => told("assistant").length > before && told("assistant").at(-1));
await pause(1000);
microphone.close();
session.close();
console.log(JSON.stringify({ errors, user: told("user"), assistant: told("assistant"), interrupted }));
process.exit(0);
