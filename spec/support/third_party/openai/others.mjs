// Embeddings, models, and what a gateway passes on without knowing it: moderations, files, speech.
import { all, make, outcome, tell } from "./sdk.mjs";

const { toFile } = await import(process.env.OPENAI_SDK);
const client = make();

async function files() {
  const text = "größer {\"a\":1}\r\n\n";
  const file = await client.files.create({ file: await toFile(Buffer.from(text), "ä b.jsonl"),
    purpose: "batch" });
  const content = await client.files.content(file.id);
  return { file, again: await client.files.retrieve(file.id), isSame: await content.text() === text,
    listed: (await all(client.files.list())).some((one) => one.id === file.id),
    deleted: await client.files.delete(file.id),
    unknown: await outcome(() => client.files.retrieve("file-none")) };
}

async function speech() {
  const answer = await client.audio.speech.create({ model: "tts", voice: "alloy", input: "say it" });
  return { type: answer.headers.get("content-type"),
    bytes: Buffer.from(await answer.arrayBuffer()).toString("hex") };
}

tell({
  embedding: await client.embeddings.create({ model: "m", input: "one vector" }),
  embeddings: await client.embeddings.create({ model: "m", input: ["one vector", "another"],
    encoding_format: "float" }),
  models: await all(client.models.list()),
  moderation: await client.moderations.create({ input: "weather in words" }),
  files: await files(),
  speech: await speech(),
});
