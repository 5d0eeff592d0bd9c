// server.mjs MODEL.gguf [PORT]: llama.cpp (by node-llama-cpp) behind POST /v1/chat/completions, on
// 127.0.0.1. One question at a time; the others wait. A port of 0 is a free one.
import {createServer} from "node:http";
import {availableParallelism} from "node:os";
import {basename} from "node:path";
import {getLlama, LlamaChatSession, LlamaCompletion} from "node-llama-cpp";

const [path, port = "8081"] = process.argv.slice(2);
const MOST_BYTES = 1 << 20;  // of a request
const MOST_TOKENS = 128;     // of an answer, where nobody says how many

const llama = await getLlama({gpu: false, build: "never", logLevel: "error", progressLogs: false});
const model = await llama.loadModel({modelPath: path});
const context = await model.createContext({contextSize: Math.min(model.trainContextSize, 4096),
  threads: Math.max(1, availableParallelism() - 1)});  // one is left for nginx
const isChat = model.fileInfo.metadata?.tokenizer?.chat_template != null;
const name = basename(path, ".gguf");

const textOf = (content) => typeof content === "string" ? content :
  (content ?? []).map((part) => part.text ?? "").join("");

// The answer to the messages. A model that knows no chat goes on from the last words.
async function answer(messages, options) {
  const sequence = context.getSequence();
  const asked = textOf(messages.at(-1)?.content);
  try {
    if (!isChat) {
      const completion = new LlamaCompletion({contextSequence: sequence});
      const {response, metadata} =
        await completion.generateCompletionWithMeta(" " + asked.trim(), options);
      return {text: response, stop: metadata.stopReason};
    }
    const session = new LlamaChatSession({contextSequence: sequence, systemPrompt: ""});
    session.setChatHistory(messages.slice(0, -1).map(({role, content}) =>
      role === "assistant" ? {type: "model", response: [textOf(content)]} :
        {type: role === "system" ? "system" : "user", text: textOf(content)}));
    const {responseText, stopReason} = await session.promptWithMeta(asked, options);
    return {text: responseText, stop: stopReason};
  } finally {
    sequence.dispose();
  }
}

let last = Promise.resolve();  // each waits for the one before it

function inTurn(work) {
  const done = last.then(work);
  last = done.catch(() => {});
  return done;
}

const count = (text) => model.tokenize(text).length;

async function complete(request, signal, onText) {
  const {text, stop} = await inTurn(() => signal.aborted ? {text: "", stop: "abort"} :
    answer(request.messages, {signal, stopOnAbortSignal: true, onTextChunk: onText,
      maxTokens: request.max_completion_tokens ?? request.max_tokens ?? MOST_TOKENS,
      temperature: request.temperature ?? 0}));
  const asked = count(request.messages.map(({content}) => textOf(content)).join("\n"));
  const said = count(text);
  return {text: text.trim(), finish: stop === "maxTokens" ? "length" : "stop",
    usage: {prompt_tokens: asked, completion_tokens: said, total_tokens: asked + said}};
}

const envelope = (object, more) => ({id: "chatcmpl-" + Date.now().toString(36), object,
  created: Math.floor(Date.now() / 1000), model: name, ...more});

async function whole(request, response, signal) {
  const {text, finish, usage} = await complete(request, signal);
  send(response, 200, envelope("chat.completion", {usage, choices: [{index: 0,
    finish_reason: finish, message: {role: "assistant", content: text}}]}));
}

async function streamed(request, response, signal) {
  const event = (delta, finish, more) => response.write("data: " + JSON.stringify(
    envelope("chat.completion.chunk", {choices: [{index: 0, delta, finish_reason: finish}],
      ...more})) + "\n\n");
  response.writeHead(200, {"content-type": "text/event-stream"});
  event({role: "assistant", content: ""}, null);
  let begun = false;  // blanks before the first word are left out, as in a whole answer
  const {finish, usage} = await complete(request, signal, (text) => {
    const content = begun ? text : text.trimStart();
    begun ||= content !== "";
    if (content !== "") event({content}, null);
  });
  event({}, finish, request.stream_options?.include_usage ? {usage} : {});
  response.end("data: [DONE]\n\n");
}

function send(response, status, body) {
  response.writeHead(status, {"content-type": "application/json"}).end(JSON.stringify(body));
}

const fail = (response, status, message) =>
  send(response, status, {error: {message, type: "invalid_request_error", param: null, code: null}});

async function read(request) {
  let text = "";
  for await (const bytes of request.setEncoding("utf8"))
    if ((text += bytes).length > MOST_BYTES) throw new Error("the request is too large");
  const body = JSON.parse(text);
  if (!Array.isArray(body.messages)) throw new Error("messages: a list expected");
  return body;
}

const server = createServer(async (request, response) => {
  if (request.method !== "POST" || request.url !== "/v1/chat/completions")
    return fail(response, 404, "there is nothing at this path");
  let body;
  try { body = await read(request); } catch (e) { return fail(response, 400, e.message); }
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  try {
    await (body.stream ? streamed : whole)(body, response, gone.signal);
  } catch (e) {
    if (response.headersSent) response.destroy(); else fail(response, 500, e.message);
  }
});

server.listen(Number(port), "127.0.0.1", () =>
  console.log(`${name}: http://127.0.0.1:${server.address().port}/v1`));
