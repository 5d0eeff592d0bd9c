// bigram.mjs CORPUS OUT.gguf: a language model so small that it is made in a moment, for trying out
// everything around it. It has read the lines of CORPUS, and says behind a word what stands behind
// it there most often. A sign ends an answer; so does a word that it has never read.
//
// For llama.cpp it is a Llama of one block that does nothing: an embedding has a one where its
// token stands, and the output's weights are the logarithms of how often one follows another.
import {readFileSync, writeFileSync} from "node:fs";

const END = 2;                    // the token that ends an answer
const NEVER = -20;                // the logarithm for what does not follow
const HEAD = 32, FORWARD = 32;    // sizes of an attention head and of the feed-forward layer
const TYPES = {unknown: 2, control: 3, word: 4, byte: 6};

const isSign = (word) => /^[.,!?]$/.test(word);
const wordsOf = (line) => line.split(/\s+/).filter(Boolean)
  .map((word) => isSign(word) ? word : " " + word);

// The tokens, and how often each is followed by which: two maps in each other.
function learn(text) {
  const tokens = [["<unk>", TYPES.unknown], ["<s>", TYPES.control], ["</s>", TYPES.control]];
  for (let byte = 0; byte < 256; byte++)
    tokens.push([`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, TYPES.byte]);
  const ids = new Map(), follows = new Map();
  const idOf = (word) => {
    if (!ids.has(word)) ids.set(word, tokens.push([word, TYPES.word]) - 1);
    return ids.get(word);
  };
  const count = (id, next) => {
    if (!follows.has(id)) follows.set(id, new Map());
    follows.get(id).set(next, (follows.get(id).get(next) ?? 0) + 1);
  };
  for (const words of text.split("\n").map(wordsOf))
    words.forEach((word, i) => {
      if (i + 1 < words.length) count(idOf(word), idOf(words[i + 1]));
      if (isSign(word)) count(idOf(word), END);
    });
  return {tokens, follows};
}

function matrix(columns, rows) {
  return {dimensions: [columns, rows], values: new Float32Array(columns * rows)};
}

// The logarithms, as weights of an embedding that the last norm has made √width long.
function output(width, {tokens, follows}) {
  const made = matrix(width, tokens.length);
  for (let id = 0; id < tokens.length; id++) {
    const counts = follows.get(id) ?? new Map([[END, 1]]);
    const sum = [...counts.values()].reduce((a, b) => a + b);
    for (let next = 0; next < tokens.length; next++) {
      const share = counts.get(next);
      made.values[next * width + id] = (share ? Math.log(share / sum) : NEVER) / Math.sqrt(width);
    }
  }
  return made;
}

function tensorsOf(width, learned) {
  const embeddings = matrix(width, learned.tokens.length);
  learned.tokens.forEach((_, id) => { embeddings.values[id * width + id] = 1; });
  const norm = () => ({dimensions: [width], values: new Float32Array(width).fill(1)});
  return {
    "token_embd.weight": embeddings, "output.weight": output(width, learned),
    "output_norm.weight": norm(), "blk.0.attn_norm.weight": norm(),
    "blk.0.ffn_norm.weight": norm(), "blk.0.attn_q.weight": matrix(width, width),
    "blk.0.attn_k.weight": matrix(width, HEAD), "blk.0.attn_v.weight": matrix(width, HEAD),
    "blk.0.attn_output.weight": matrix(width, width),
    "blk.0.ffn_gate.weight": matrix(width, FORWARD),
    "blk.0.ffn_up.weight": matrix(width, FORWARD),
    "blk.0.ffn_down.weight": matrix(FORWARD, width),
  };
}

// {== GGUF, the file format (version 3, all little-endian) ======================

const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };
const i32 = (n) => { const b = Buffer.alloc(4); b.writeInt32LE(n); return b; };
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b; };
const f32 = (n) => { const b = Buffer.alloc(4); b.writeFloatLE(n); return b; };
const text = (s) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);
const padding = (length) => Buffer.alloc((32 - length % 32) % 32);

const kinds = {u32: [4, u32], i32: [5, i32], f32: [6, f32], flag: [7, (v) => Buffer.from([+v])],
  text: [8, text]};

function field([name, kind, value]) {
  const [number, write] = kinds[kind];
  if (!Array.isArray(value)) return [text(name), u32(number), write(value)];
  return [text(name), u32(9), u32(number), u64(value.length), ...value.map(write)];
}

function fieldsOf(width, {tokens}) {
  return [["general.architecture", "text", "llama"], ["general.name", "text", "bigram"],
    ["llama.context_length", "u32", 512], ["llama.embedding_length", "u32", width],
    ["llama.block_count", "u32", 1], ["llama.feed_forward_length", "u32", FORWARD],
    ["llama.attention.head_count", "u32", width / HEAD],
    ["llama.attention.head_count_kv", "u32", 1],
    ["llama.attention.layer_norm_rms_epsilon", "f32", 1e-6],
    ["llama.rope.dimension_count", "u32", HEAD], ["llama.vocab_size", "u32", tokens.length],
    ["tokenizer.ggml.model", "text", "llama"],
    ["tokenizer.ggml.tokens", "text", tokens.map(([name]) => name)],
    ["tokenizer.ggml.scores", "f32", tokens.map(() => 0)],
    ["tokenizer.ggml.token_type", "i32", tokens.map(([, type]) => type)],
    ["tokenizer.ggml.unknown_token_id", "u32", 0], ["tokenizer.ggml.bos_token_id", "u32", 1],
    ["tokenizer.ggml.eos_token_id", "u32", END], ["tokenizer.ggml.add_bos_token", "flag", false],
    ["tokenizer.ggml.add_space_prefix", "flag", false]];
}

function gguf(fields, tensors) {
  const parts = [Buffer.from("GGUF"), u32(3), u64(Object.keys(tensors).length),
    u64(fields.length), ...fields.flatMap(field)];
  let offset = 0;
  for (const [name, {dimensions, values}] of Object.entries(tensors)) {
    parts.push(text(name), u32(dimensions.length), ...dimensions.map(u64), u32(0), u64(offset));
    offset += values.byteLength + padding(values.byteLength).length;
  }
  const head = Buffer.concat(parts);
  const data = Object.values(tensors).flatMap(({values}) =>
    [Buffer.from(values.buffer), padding(values.byteLength)]);
  return Buffer.concat([head, padding(head.length), ...data]);
}

// }==============================================================================

const [corpus, path] = process.argv.slice(2);
const learned = learn(readFileSync(corpus, "utf8"));
const width = Math.ceil(learned.tokens.length / HEAD) * HEAD;
writeFileSync(path, gguf(fieldsOf(width, learned), tensorsOf(width, learned)));
