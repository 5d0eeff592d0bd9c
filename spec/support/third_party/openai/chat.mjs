// Chat, whole and as a stream: by events, and put together by the SDK.
import { all, ask, make, tell } from "./sdk.mjs";

const client = make();

async function whole(text) {
  const { data, response } = await client.chat.completions.create(ask(text)).withResponse();
  return { data, status: response.status, type: response.headers.get("content-type") };
}

async function streamed(text, more) {
  const request = ask(text, { stream: true, ...more });
  const { data, response } = await client.chat.completions.create(request).withResponse();
  return { chunks: await all(data), status: response.status,
    isEventStream: response.headers.get("content-type").startsWith("text/event-stream") };
}

async function assembled(text) {
  const deltas = [];
  const runner = client.chat.completions
    .stream(ask(text, { stream_options: { include_usage: true } }))
    .on("content", (delta) => deltas.push(delta));
  return { completion: await runner.finalChatCompletion(), deltas, usage: await runner.totalUsage() };
}

tell({
  whole: await whole("weather in words"),
  beyondAscii: await whole("请问天气如何"),
  reasoning: await whole("think first"),
  streamed: await streamed("weather in words"),
  withUsage: await streamed("weather in words", { stream_options: { include_usage: true } }),
  beyondAsciiStreamed: await streamed("请问天气如何"),
  assembled: await assembled("weather in words"),
});
