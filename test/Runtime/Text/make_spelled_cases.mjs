// Writes data/spelled-tokenizer-cases.jsonl: a small tokenizer of characters with the parts that SentencePiece's kin use, in
// several arrangements, and what Hugging Face's own library makes of some texts with each.
// Usage: M1_NPM=DIR node make_spelled_cases.mjs > data/spelled-tokenizer-cases.jsonl   (DIR: see peer_check.mjs)
import { createRequire } from "node:module";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const { Tokenizer } = createRequire(path.join(process.env.M1_NPM, "node_modules", "x.js"))("tokenizers");

const vocab = {};
const add = (token) => (vocab[token] ??= Object.keys(vocab).length);
["<unk>", "<s>", "</s>"].forEach(add);
for (let b = 0; b < 256; ++b) if (b % 16 || b < 128) add(`<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`);
"▁abcdefghijklmnopqrstuvwxyz.,'!é数ﬁ ".split("").forEach(add);
const merges = ["t h", "th e", "▁ the", "i n", "e r", "▁ a", "o n", "▁ ▁", "▁▁ ▁▁", "a b", "ab c", "r e", "h e", "▁ o", "▁o n", "in g", "n d", "a nd"].map((m) => m.split(" "));
merges.forEach(([a, b]) => add(a + b));
add("\n");

const sequence = (kind, list) => ({ type: "Sequence", [kind]: list });
const replace = (from, to) => ({ type: "Replace", pattern: { String: from }, content: to });
const llama = {
  normalizer: sequence("normalizers", [{ type: "Prepend", prepend: "▁" }, replace(" ", "▁")]),
  pre_tokenizer: null,
  decoder: sequence("decoders", [replace("▁", " "), { type: "ByteFallback" }, { type: "Fuse" }, { type: "Strip", content: " ", start: 1, stop: 0 }]),
};
const gemma = {
  normalizer: replace(" ", "▁"),
  pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false },
  decoder: sequence("decoders", [replace("▁", " "), { type: "ByteFallback" }, { type: "Fuse" }]),
};
const metaspace = (prepend_scheme, split = true) => ({
  normalizer: sequence("normalizers", [{ type: "NFKC" }, { type: "Strip", strip_left: true, strip_right: true }, { type: "Lowercase" }]),
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme, split },
  decoder: { type: "Metaspace", replacement: "▁", prepend_scheme, split },
});
const words = {
  normalizer: sequence("normalizers", [{ type: "NFD" }, { type: "StripAccents" }, { type: "Replace", pattern: { Regex: "[0-9]+" }, content: " the " }]),
  pre_tokenizer: sequence("pretokenizers", [{ type: "WhitespaceSplit" }, { type: "Punctuation", behavior: "Isolated" }, { type: "Digits", individual_digits: true }]),
  decoder: sequence("decoders", [{ type: "Fuse" }, { type: "Strip", content: "a", start: 2, stop: 0 }]),
};
const variants = {
  llama: [llama, {}],
  gemma: [gemma, {}],
  unfused: [gemma, { fuse_unk: false }],
  withoutBytes: [llama, { byte_fallback: false }],
  metaspaceAlways: [metaspace("always"), {}],
  metaspaceFirst: [metaspace("first"), {}],
  metaspaceNever: [metaspace("never", false), {}],
  words: [words, {}],
  whitespace: [{ ...words, pre_tokenizer: { type: "Whitespace" } }, { ignore_merges: true }],
  // Where the text begins: what is taken away before it is not a part of it.
  removedFirst: [{ ...metaspace("first"), normalizer: sequence("normalizers", [{ type: "Replace", pattern: { Regex: "^the" }, content: "" }, { type: "StripAccents" }]) }, {}],
  removedPieces: [{ ...metaspace("first"), normalizer: null, pre_tokenizer: sequence("pretokenizers", [{ type: "Split", pattern: { String: "the" }, behavior: "Removed", invert: false }, { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true }]) }, {}],
  twoMetaspaces: [{ ...metaspace("first"), normalizer: null, pre_tokenizer: sequence("pretokenizers", [{ type: "Metaspace", replacement: "_", prepend_scheme: "never", split: false }, { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true }]) }, {}],
  // White space that the token before has taken with it, which is a token itself.
  takenSpace: [{ ...llama, normalizer: null, added: ["\n"] }, {}],
  // Added tokens that are found in normalised text decode to what they are there.
  normalizedTokens: [{ ...llama, normalized: ["The x", "é"] }, {}],
  loweredTokens: [{ ...gemma, normalizer: sequence("normalizers", [{ type: "Lowercase" }, replace(" ", "▁")]), normalized: ["The x", "É!"] }, {}],
};
const texts = ["", " ", "the", " the  and", "The other thing on a hand.", "abcabc abc", "   a    b", "été 数学 数x", "ﬁn Ⅷ １２ 12abc", "it's, the! and...", "a\nb\t\u0000",
  "😀 the 😀😀", "<s>the</s> and<s> a", "</s>", " <s> ", "aaaa on aa", "ÀÉ e\u0301 \u00a0the\u3000and", "▁the▁and", "x<unk>y", "\u0010\u00f0 \u0900",
  "👩\u200d👧 a\u200cb Ⓐ", "a</s>\n the", "a</s> \n\n the</s>\n", "\u0301the", "The x", "a The x b,é É! the x"];
for (const [name, [parts, model]] of Object.entries(variants)) {
  const tokenizer = {
    version: "1.0", truncation: null, padding: null,
    added_tokens: ["<unk>", "<s>", "</s>", ...(parts.added ?? [])].map((content) => ({ id: vocab[content], content, single_word: false, lstrip: false, rstrip: content === "</s>", normalized: false, special: true }))
      .concat((parts.normalized ?? []).map((content, i) => ({ id: vocab[content] ?? Object.keys(vocab).length + i, content, single_word: false, lstrip: false, rstrip: false, normalized: true, special: false }))),
    normalizer: parts.normalizer, pre_tokenizer: parts.pre_tokenizer, post_processor: null, decoder: parts.decoder,
    model: { type: "BPE", dropout: null, unk_token: "<unk>", continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: true, byte_fallback: true, ignore_merges: false, vocab, merges, ...model },
  };
  const folder = mkdtempSync(path.join(tmpdir(), "m1-cases-"));
  writeFileSync(path.join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  const peer = Tokenizer.fromFile(path.join(folder, "tokenizer.json"));
  rmSync(folder, { recursive: true });
  // The first line of the file has the vocabulary; the others leave it out.
  if (name !== "llama") tokenizer.model = { ...tokenizer.model, vocab: null, merges: null };
  console.log(JSON.stringify({ variant: name, tokenizer }));
  for (const text of texts) {
    const ids = (await peer.encode(text, null, { addSpecialTokens: false })).getIds();
    if (!ids.length) continue; // of which the library's Strip panics
    console.log(JSON.stringify({ text, ids, decoded: await peer.decode(ids, false), plain: await peer.decode(ids, true) }));
  }
}
