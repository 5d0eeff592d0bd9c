// OpenAI's own SDK as a client of the gateway.
//   node openai_sdk.mjs FOLDER_OF_NODE_MODULES BASE_URL KEY SCENARIO…
// Prints one line of JSON for each scenario: { name, value } or { name, error }.
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, baseURL, apiKey, ...wanted] = process.argv.slice(2);
const { OpenAI } = createRequire(resolve(folder, "package.json"))("openai");
const openai = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60000 });
const model = "m";

const ask = (text) => [{ role: "user", content: text }];

const tools = [
  { type: "function", function: { name: "weather", parameters: { type: "object" } } },
  { type: "function", function: { name: "clock", parameters: { type: "object" } } },
];

// What the SDK raises, in plain words.
const told = (error) => ({
  class: error.constructor.name, status: error.status, code: error.code, type: error.type,
  param: error.param, message: error.message, retry_after: error.headers?.get("retry-after"),
  should_retry: error.headers?.get("x-should-retry"),
});

const failure_of = async (promise) => {
  try {
    return { unexpected: await promise };
  } catch (error) {
    return told(error);
  }
};

const streamed = async (stream) => {
  let text = "", chunks = 0, finish = null;
  for await (const chunk of stream) {
    chunks++;
    text += chunk.choices[0]?.delta?.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
  }
  return { text, chunks, finish };
};

const scenarios = {
  async chat() {
    const { data, response } = await openai.chat.completions
      .create({ model, messages: ask("the weather in words"), seed: 7 }).withResponse();
    return { text: data.choices[0].message.content, model: data.model, usage: data.usage,
      source: response.headers.get("x-unbusy-source"),
      target: response.headers.get("x-unbusy-target"),
      tries: response.headers.get("x-unbusy-tries") };
  },

  async chinese() {
    const answer = await openai.chat.completions.create({ model, messages: ask("天气如何") });
    return answer.choices[0].message.content;
  },

  async stream() {
    return streamed(await openai.chat.completions
      .create({ model, messages: ask("the weather in words"), stream: true }));
  },

  async reasoning() {
    const answer = await openai.chat.completions.create({ model, messages: ask("think first") });
    return answer.choices[0].message;
  },

  async tools() {
    const messages = ask("use the tools");
    const first = await openai.chat.completions.create({ model, messages, tools });
    const calls = first.choices[0].message.tool_calls;
    messages.push(first.choices[0].message);
    for (const call of calls) {
      messages.push({ role: "tool", tool_call_id: call.id, content: "rain" });
    }
    const second = await openai.chat.completions.create({ model, messages, tools });
    return { calls, finish: first.choices[0].finish_reason,
      text: second.choices[0].message.content };
  },

  async tools_stream() {
    const runner = openai.chat.completions.stream({ model, messages: ask("use the tools"), tools });
    const whole = await runner.finalChatCompletion();
    return { calls: whole.choices[0].message.tool_calls, finish: whole.choices[0].finish_reason };
  },

  async embeddings() {
    const answer = await openai.embeddings
      .create({ model, input: "one vector", encoding_format: "float" });
    return answer.data[0].embedding;
  },

  async models() {
    const list = [];
    for await (const one of openai.models.list()) list.push(one.id);
    return { list, one: (await openai.models.retrieve(list[0])).id,
      none: await failure_of(openai.models.retrieve("nothing-of-that-name")) };
  },

  async responses() {
    const answer = await openai.responses.create({ model, input: "hello there" });
    return { status: answer.status, text: answer.output_text, usage: answer.usage != null };
  },

  async responses_stream() {
    const stream = await openai.responses.create({ model, input: "hello there", stream: true });
    let text = "", last = null;
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") text += event.delta;
      last = event.type;
    }
    return { text, last };
  },

  async wrong_key() {
    const other = new OpenAI({ baseURL, apiKey: "sk-of-nobody", maxRetries: 0 });
    return failure_of(other.chat.completions.create({ model, messages: ask("x") }));
  },

  async bad_request() {
    return failure_of(openai.chat.completions.create({ model }));
  },

  async no_such_path() {
    return failure_of(openai.get("/../nothing"));
  },

  async limited() {
    return failure_of(openai.chat.completions
      .create({ model, messages: ask("limited for long") }));
  },

  // With the SDK's own retries on: the gateway has tried already, and says so.
  async one_layer() {
    const eager = new OpenAI({ baseURL, apiKey, maxRetries: 2 });
    return failure_of(eager.chat.completions.create({ model, messages: ask("always bad") }));
  },

  async cut() {
    return failure_of(openai.chat.completions
      .create({ model, messages: ask("cut it"), stream: true }).then(streamed));
  },

  async hundred() {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) =>
      openai.chat.completions.create({ model, messages: ask("number " + i) })));
    return answers.map((a) => a.choices[0].message.content);
  },

  async abort() {
    const control = new AbortController();
    setTimeout(() => control.abort(), 300);
    return failure_of(openai.chat.completions
      .create({ model, messages: ask("slow") }, { signal: control.signal }));
  },

  async abort_stream() {
    const stream = await openai.chat.completions
      .create({ model, messages: ask("a long stream"), stream: true });
    let chunks = 0;
    for await (const _ of stream) {
      if (++chunks === 3) break; // the SDK aborts its request
    }
    return chunks;
  },
};

for (const name of wanted) {
  let line;
  try {
    line = { name, value: await scenarios[name]() };
  } catch (error) {
    line = { name, error: told(error) };
  }
  console.log(JSON.stringify(line));
}
