// @openai/agents: a server of tools (MCP), whose one call is approved.
// node tools.mjs ws://… http://…/mcp: prints what was asked, called and said, and what went wrong.

import { hostedMcpTool } from "@openai/agents";
import { RealtimeAgent, RealtimeSession } from "@openai/agents/realtime";
import { until } from "./microphone.mjs";

const [url, serverUrl] = process.argv.slice(2);
const tool = hostedMcpTool({ serverLabel: "sums", serverUrl, requireApproval: "always" });
const agent = new RealtimeAgent({ name: "Duo", instructions: "Be kind.", tools: [tool] });
const session = new RealtimeSession(agent, { transport: "websocket", model: "any" });
const errors = [];
const asked = [];
const called = [];
let known = [];
session.on("error", (event) => errors.push(JSON.stringify(event.error ?? event)));
session.on("mcp_tools_changed", (tools) => (known = tools.map((one) => one.name)));
session.on("tool_approval_requested", (context, agent, request) => {
  asked.push(request.approvalItem.rawItem.name);
  session.approve(request.approvalItem);
});
session.on("mcp_tool_call_completed", (context, agent, call) => called.push(call.output));
const said = () =>
  session.history
    .filter((item) => item.type === "message" && item.role === "assistant")
    .map((item) => item.content.map((part) => part.transcript ?? part.text ?? "").join(" "))
    .filter(Boolean);

await session.connect({ apiKey: "any", url });
await until("the tools are known", () => known.length > 0);
session.sendMessage("What are two and three?");
await until("the tool is called", () => called.length > 0);
await until("what it gave is said", () => said().length > 0);
session.close();
console.log(JSON.stringify({ errors, known, asked, called, said: said() }));
process.exit(0);
