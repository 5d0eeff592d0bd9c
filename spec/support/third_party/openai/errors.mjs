// Calls that fail: given.calls is a list of { stream, request, client }, made one after another.
import { all, ask, given, make, outcome, tell } from "./sdk.mjs";

const ends = [];
for (const { stream, request, client } of given.calls) {
  const made = ask("hi", { stream, ...request });
  const seen = [];
  const end = await outcome(() => make(client).chat.completions.create(made), (answer) =>
    stream ? all(answer, (chunk) => seen.push(chunk)) : answer);
  ends.push({ ...end, seen: stream ? seen.length : undefined });
}
tell(ends);
