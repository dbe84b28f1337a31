// openai of npm: push to talk, then a response in words that is in no conversation.
// node openai.mjs https://…/v1 question.pcm: prints what came.

import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { until } from "./microphone.mjs";

const [baseURL, file] = process.argv.slice(2);
const client = new OpenAI({ apiKey: "any", baseURL });
const line = await OpenAIRealtimeWS.create(client, { model: "any" });
const events = [];
const errors = [];
line.on("event", (event) => events.push(event));
line.on("error", (error) => errors.push(String(error.message)));
const came = (kind, times = 1) => events.filter((event) => event.type === kind).length >= times;

await until("the session begins", () => came("session.created"));
line.send({
  type: "session.update",
  session: { type: "realtime", audio: { input: { turn_detection: null } } },
});
await until("the session is updated", () => came("session.updated"));
line.send({ type: "input_audio_buffer.append", audio: readFileSync(file).toString("base64") });
line.send({ type: "input_audio_buffer.commit" });
line.send({ type: "response.create" });
await until("the first response is done", () => came("response.done"));
await until("the question has words", () =>
  came("conversation.item.input_audio_transcription.completed"),
);
line.send({
  type: "response.create",
  response: { conversation: "none", output_modalities: ["text"], metadata: { topic: "test" } },
});
await until("the second response is done", () => came("response.done", 2));
const words = events.find((event) => event.type.endsWith("transcription.completed")).transcript;
const responses = events.filter((event) => event.type === "response.done").map((event) => event.response);
const sound = events.filter((event) => event.type === "response.output_audio.delta").length;
line.close();
console.log(JSON.stringify({ errors, words, sound, responses }));
process.exit(0);
