// Calls that the program gives up: before the answer, within a stream (in three ways), and by the
// SDK's own timeout. given.counts is where the upstream behind says what it has in service.
import { ask, given, make, outcome, tell } from "./sdk.mjs";

const client = make();

async function inService() {
  for (;;) {
    if ((await (await fetch(given.counts)).json()).in_service > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function beforeAnswer(stream) {
  const controller = new AbortController();
  inService().then(() => controller.abort());
  return outcome(() => client.chat.completions.create(ask("hi", { stream }),
    { signal: controller.signal }));
}

// `leave` is called at the second chunk; gives how many came.
async function within(leave) {
  const controller = new AbortController();
  const stream = await client.chat.completions.create(ask("hi", { stream: true }),
    { signal: controller.signal });
  let count = 0;
  for await (const _ of stream) {
    count++;
    if (count === 2 && leave(stream, controller) === "break") break;
  }
  return count;
}

const ways = {
  whole: () => beforeAnswer(false),
  stream: () => beforeAnswer(true),
  signal: () => outcome(() => within((_, controller) => controller.abort())),
  controller: () => outcome(() => within((stream) => stream.controller.abort())),
  leaving: () => outcome(() => within(() => "break")),
  timeout: () => outcome(() => make({ timeout: 1000 }).chat.completions.create(ask("hi"))),
};

tell(await ways[given.way]());
