// Tool calls: whole, streamed, and carried out by the SDK itself, which then asks again.
import { all, ask, make, tell } from "./sdk.mjs";

const client = make();

const declared = (name) => ({ type: "function",
  function: { name, parameters: { type: "object", properties: {} } } });

const request = (more) => ask("use the tools", { tools: ["weather", "clock"].map(declared), ...more });

// Lets the SDK call our functions; gives what they were called with, and the last answer.
async function carriedOut(stream) {
  const calls = [];
  const runnable = ["weather", "clock"].map((name) => ({ type: "function", function: {
    ...declared(name).function,
    parse: JSON.parse,
    function: (args) => { calls.push({ name, args }); return "12"; },
  } }));
  const runner = client.chat.completions.runTools(ask("use the tools", { tools: runnable, stream }));
  return { text: await runner.finalContent(), calls };
}

tell({
  whole: await client.chat.completions.create(request()),
  streamed: await all(await client.chat.completions.create(request({ stream: true }))),
  assembled: await client.chat.completions.stream(request()).finalChatCompletion(),
  carriedOut: await carriedOut(false),
  carriedOutStreamed: await carriedOut(true),
});
