#!/usr/bin/env python3
"""Writes data/small-tokenizer.json and data/tokenizer-cases.jsonl: a byte-level BPE trained on the lines below and what a plain
implementation of Hugging Face's rules, written for clarity and independent of the runtime's, makes of test texts.

Usage: python3 make_tokenizer_cases.py (from anywhere; Python 3.11, no packages)"""
import collections
import json
import os
import random
import unicodedata

CORPUS = """The number of ways to choose three of ten balls is 120, and we'll see that it's the answer.
Let $x$ be a real number with $\\frac{1}{2} + x = 3$. Then $x = \\frac{5}{2}$, so the answer is \\boxed{\\frac{5}{2}}.
First, add the numbers; then divide by the remainder. I'm sure they've done it, and you're right: don't worry.
def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n    print(add(i, i + 1))\n
Der Vater trägt große Äpfel über die Straße. Où est le café près de la forêt ? El niño comió una piña.
数学的答案是一百二十。 これは テスト です。 Сколько будет два плюс два? Ответ: четыре.
So the answer is 42. So the answer is 7. Therefore the total is 49, and the remainder is 1.
""" * 2
WHITE = [0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0x20, *range(9, 14)]


def kind(c):
    if ord(c) in WHITE:
        return "s"
    return {"L": "l", "N": "n"}.get(unicodedata.category(c)[0], "o")


def run(text, at, want, limit=None):
    end = at
    while end < len(text) and kind(text[end]) == want and (limit is None or end - at < limit):
        end += 1
    return end


def contraction(text, at, fold):
    for tail in ("s", "t", "re", "ve", "m", "ll", "d"):
        got = text[at + 1:at + 1 + len(tail)]
        if fold:
            got = got.lower().replace("\u017f", "s")
        if text[at] == "'" and got == tail:
            return at + 1 + len(tail)


def white(text, at, newlines):
    end = run(text, at, "s")
    if end == at:
        return None
    if newlines:
        last = max((i for i in range(at, end) if text[i] in "\r\n"), default=None)
        if last is not None:
            return last + 1
    return end if end == len(text) or end == at + 1 else end - 1


def piece_llama(text, at, digits):
    end = contraction(text, at, True)
    if end:
        return end
    start = at + 1 if text[at] not in "\r\n" and kind(text[at]) not in "ln" else at
    end = run(text, start, "l")
    if end > start:
        return end
    end = run(text, at, "n", digits)
    if end > at:
        return end
    start = at + 1 if text[at] == " " else at
    end = run(text, start, "o")
    if end > start:
        while end < len(text) and text[end] in "\r\n":
            end += 1
        return end
    return white(text, at, True)


def piece_gpt2(text, at):
    end = contraction(text, at, False)
    if end:
        return end
    start = at + 1 if text[at] == " " else at
    for want in "lno":
        end = run(text, start, want)
        if end > start:
            return end
    return white(text, at, False)


def pieces(text, piece):
    out, at = [], 0
    while at < len(text):
        end = piece(text, at)
        out.append(text[at:end])
        at = end
    return out


ALPHABET, extra = {}, 0x100
for b in range(256):
    if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE:
        ALPHABET[b] = chr(b)
    else:
        ALPHABET[b] = chr(extra)
        extra += 1


def spell(text):
    return "".join(ALPHABET[b] for b in text.encode())


def train(count):
    words = collections.Counter(spell(p) for p in pieces(CORPUS, lambda t, a: piece_llama(t, a, 3)))
    split = {w: list(w) for w in words}
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for w, n in words.items():
            for pair in zip(split[w], split[w][1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for w in words:
            split[w] = merge(split[w], best)
    return merges


def merge(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i:i + 2]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


MERGES = train(300)
# Two more ways to make tokens that exist, as in Llama 3's list, and a token that merging never reaches.
VOCAB = {}
for token in [ALPHABET[b] for b in range(256)] + ["".join(m) for m in MERGES] + ["Ġunreachable"]:
    VOCAB.setdefault(token, len(VOCAB))
for token in list(VOCAB):
    for cut in range(1, len(token)):
        pair = (token[:cut], token[cut:])
        if pair[0] in VOCAB and pair[1] in VOCAB and pair not in MERGES and len(MERGES) < 340:
            MERGES.append(pair)
RANKS = {m: r for r, m in enumerate(MERGES)}

ADDED = [{"content": "<|start|>", "special": True}, {"content": "<|end|>", "special": True}, {"content": "<|end|>more", "special": True},
         {"content": "<think>", "special": False}, {"content": "[L]", "special": False, "lstrip": True},
         {"content": "[R]", "special": False, "rstrip": True}, {"content": "word", "special": False, "single_word": True},
         {"content": "<é>", "special": False, "normalized": True}, {"content": "＜終＞", "special": True}]
for i, token in enumerate(ADDED):
    for key in ("lstrip", "rstrip", "single_word", "normalized", "special"):
        token.setdefault(key, False)
    token["id"] = len(VOCAB) + 3 + i  # a hole of three ids


def word_char(c):
    return c == "_" or unicodedata.category(c)[0] in "LM" or unicodedata.category(c) in ("Nd", "Nl", "Pc")


def cut_added(text, normalized):
    tokens = [t for t in ADDED if t["normalized"] == normalized]
    out, done, at = [], 0, 0
    while at < len(text):
        hits = [t for t in tokens if text.startswith(t["content"], at)]
        if not hits:
            at += 1
            continue
        token = max(hits, key=lambda t: len(t["content"]))
        begin, end = at, at + len(token["content"])
        at = end
        if token["single_word"] and ((begin > 0 and word_char(text[begin - 1])) or (end < len(text) and word_char(text[end]))):
            continue
        while token["lstrip"] and begin > done and kind(text[begin - 1]) == "s":
            begin -= 1
        while token["rstrip"] and end < len(text) and kind(text[end]) == "s":
            end += 1
        at = end
        if begin > done:
            out.append(text[done:begin])
        out.append(token["id"])
        done = end
    if done < len(text):
        out.append(text[done:])
    return out


def bpe(word, ignore_merges):
    if ignore_merges and word in VOCAB:
        return [VOCAB[word]]
    symbols = list(word)
    while True:
        ranked = [(RANKS[p], i) for i, p in enumerate(zip(symbols, symbols[1:])) if p in RANKS]
        if not ranked:
            return [VOCAB[s] for s in symbols]
        i = min(ranked)[1]
        symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]


VARIANTS = {
    "llama3": dict(piece=lambda t, a: piece_llama(t, a, 3), nfc=False, ignore_merges=True, prefix_space=False),
    "qwen2": dict(piece=lambda t, a: piece_llama(t, a, 1), nfc=True, ignore_merges=False, prefix_space=False),
    "gpt2": dict(piece=piece_gpt2, nfc=False, ignore_merges=False, prefix_space=True),
}


def encode(text, variant):
    ids = []
    for part in cut_added(text, False):
        if isinstance(part, int):
            ids.append(part)
            continue
        if variant["nfc"]:
            part = unicodedata.normalize("NFC", part)
        for inner in cut_added(part, True):
            if isinstance(inner, int):
                ids.append(inner)
                continue
            if variant["prefix_space"] and not inner.startswith(" "):
                inner = " " + inner
            for p in pieces(inner, variant["piece"]):
                ids += bpe(spell(p), variant["ignore_merges"])
    return ids


def decode(ids):
    names = {i: t for t, i in VOCAB.items()} | {t["id"]: t["content"] for t in ADDED}
    back = {c: b for b, c in ALPHABET.items()}
    data = b""
    for i in ids:
        name = names[i]
        data += bytes(back[c] for c in name) if all(c in back for c in name) else name.encode()
    return data.decode("utf-8", errors="replace")


TEXTS = ["", " ", "\n", "  \n\n  x", "the answer is 42", "THE ANSWER'S 12345 WE'LL they'\u017f 'tis don't", "a\tb\r\n\r\nc  d   e",
         "unreachable unreachable", "x" * 300 + " " + "the " * 80, "<|start|>hi<|end|>more<|end|>mor<|end", "a  [L]  b  [R]  c [L][R] [R][L] ",
         "word words aword word, (word) wordword_ word", "<é> <e\u0301> é e\u0301", "＜終＞終＞", "<think>\nSo\n\n", "ⅷ ½ ٣٤٥ ௧௨௩ 12ⅷ½",
         "e\u0301\u0323 \u1e69 s\u0307\u0323 \u212b \u2126 \ufb01 \u0958 \u0344 한글 \u1112\u1161\u11ab \u1112\u1161 \uac00\u11a8",
         "\u180e a\u180eb \u200b\u200d \u3000\u3000x \u00a0y \u2028z", "🙂👍🏽 👩‍👩‍👧 𝔘𝔫𝔦 \U0001F1E9\U0001F1EA", "數學的答案是一百二十。 これは テスト です。",
         "don't 've'll'S'T 'Re 'VE'M 'D'd '' 'x", "\x00\x01\x7f\ufeff\uffff"]
PARTS = ["the", " answer", "'s", "'LL", "'", "\u017f", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u180e", "\u3000", "1", "234", "½", "Ⅷ", "٣", "é", "e\u0301",
         "\u0323", "數", "です", "한", "\u1161", "🙂", "$", "\\frac{", "}", "_", "-", "...", "<|end|>", "word", "[L]", "[R]", "<é>", "Ä", "ß", "a", "B", "\u200d"]


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
    random.seed(4)
    texts = TEXTS + ["".join(random.choices(PARTS, k=random.randint(1, 24))) for _ in range(150)]
    decomposing = [chr(c) for c in range(0x110000) if unicodedata.normalize("NFD", chr(c)) != chr(c) and not 0xAC00 <= c < 0xD7A4]
    texts += ["".join(decomposing[i:i + 250]) for i in range(0, len(decomposing), 250)]
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": ADDED,
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": VOCAB, "merges": [" ".join(m) for m in MERGES]}}
    with open(os.path.join(folder, "small-tokenizer.json"), "w") as f:
        json.dump(tokenizer, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    with open(os.path.join(folder, "tokenizer-cases.jsonl"), "w") as f:
        for text in texts:
            case = {"text": text}
            for name, variant in VARIANTS.items():
                ids = encode(text, variant)
                case[name] = ids
                case[name + "_decoded"] = decode(ids)
            json.dump(case, f, ensure_ascii=True, separators=(",", ":"))
            f.write("\n")


main()
