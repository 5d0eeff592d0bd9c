// The Responses API: whole, by events, and put together by the SDK.
import { all, make, tell } from "./sdk.mjs";

const client = make();

tell({
  whole: await client.responses.create({ model: "m", input: "weather in words" }),
  tools: await client.responses.create({ model: "m", input: [
    { role: "user", content: "use the tools" }] }),
  streamed: await all(await client.responses.create({ model: "m", stream: true,
    input: "use the tools" })),
  assembled: (await client.responses.stream({ model: "m", input: "weather in words" })
    .finalResponse()).output_text,
});
