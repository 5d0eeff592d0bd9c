// One embedding of given.input, in the packed form that the SDK asks for, and as numbers.
import { given, make, tell } from "./sdk.mjs";

// Packed numbers have 32 bits: seven digits.
async function vector(more) {
  const answer = await make().embeddings.create({ model: "m", input: given.input, ...more });
  return answer.data[0].embedding.map((n) => Number(n.toPrecision(6)));
}

tell({ base64: await vector(), float: await vector({ encoding_format: "float" }) });
