// What a client gets when something stands in for the answer: whole, by events, and put together by
// the SDK, of every API that can have it.
import { all, ask, make, outcome, tell } from "./sdk.mjs";

const client = make();
const usage = { stream_options: { include_usage: true } };

async function assembledChat() {
  const runner = client.chat.completions.stream(ask("hi", usage));
  return { completion: await runner.finalChatCompletion(), usage: await runner.totalUsage() };
}

async function headers() {
  const { response } = await client.chat.completions.create(ask("hi")).withResponse();
  return Object.fromEntries([...response.headers].filter(([name]) => name.startsWith("x-unbusy-")));
}

const chat = (more) => () => client.chat.completions.create(ask("hi", more));
const complete = (more) => () => client.completions.create({ model: "m", prompt: "hi", ...more });
const respond = (more) => () => client.responses.create({ model: "m", input: "hi", ...more });

tell({
  chat: await outcome(chat()),
  chatStreamed: await outcome(chat({ stream: true, ...usage }), (stream) => all(stream)),
  chatAssembled: await outcome(assembledChat),
  complete: await outcome(complete()),
  completeStreamed: await outcome(complete({ stream: true }), (stream) => all(stream)),
  responses: await outcome(respond()),
  responsesStreamed: await outcome(respond({ stream: true }), (stream) => all(stream)),
  responsesAssembled: await outcome(() =>
    client.responses.stream({ model: "m", input: "hi" }).finalResponse()),
  headers: await outcome(headers),
});
