// What the scripts here share. Each makes calls with OpenAI's own SDK to whatever OPENAI_BASE_URL
// names, and prints what it saw as one line of JSON; `spec/openai_third.lua` says what that must be.
import { File } from "node:buffer";

globalThis.File ??= File; // a global since Node.js 20; the SDK uploads nothing without it

const { default: OpenAI } = await import(process.env.OPENAI_SDK);

/** What the test has given. */
export const given = JSON.parse(process.argv[2] ?? "{}");

/** A client as people make it: the address and the key are in the environment. */
export const make = (options) => new OpenAI({ maxRetries: 0, ...options });

export const ask = (content, more) => ({
  model: "m",
  messages: [{ role: "user", content }],
  ...more,
});

// Of each answer its own: made up by the server anew each time.
const CHANGING = new Set(["id", "item_id", "created", "created_at"]);

const lasting = (key, value) =>
  CHANGING.has(key) && !String(value).startsWith("call_") ? typeof value : value;

export const tell = (value) => console.log(JSON.stringify(value, lasting));

/** How a call ends: what `use` makes of its answer, or the error as a program would look at it. */
export async function outcome(call, use = (answer) => answer) {
  try {
    return { answer: await use(await call()) };
  } catch (e) {
    return {
      error: {
        class: e.constructor.name,
        isApiError: e instanceof OpenAI.APIError,
        status: e.status,
        code: e.code,
        type: e.type,
        param: e.param,
        message: e.message,
        hasRequestId: typeof e.requestID === "string",
        retryAfter: e.headers?.get("retry-after") ?? undefined,
      },
    };
  }
}

/** Reads a stream to its end; `take` makes of each event what is kept of it. */
export async function all(stream, take = (event) => event) {
  const out = [];
  for await (const event of stream) out.push(take(event));
  return out;
}
