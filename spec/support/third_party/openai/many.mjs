// given.n calls at once, every second one a stream; each must come back with its own answer.
import { all, ask, given, make, outcome, tell } from "./sdk.mjs";

const client = make();

async function text(i) {
  const stream = i % 2 === 1;
  const answer = await client.chat.completions.create(ask(`question ${i}`, { stream }));
  if (!stream) return answer.choices[0].message.content;
  return (await all(answer, (chunk) => chunk.choices[0]?.delta.content ?? "")).join("");
}

const ends = await Promise.all(Array.from({ length: given.n }, (_, i) => outcome(() => text(i))));
tell({ right: ends.filter((end, i) => end.answer === `echo: question ${i}`).length,
  others: ends.filter((end, i) => end.answer !== `echo: question ${i}`).slice(0, 5) });
