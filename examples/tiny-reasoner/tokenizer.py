"""The example's tokenizer: byte-level BPE in the Hugging Face layout, whose merges join letters only.

Digits and signs stay single tokens (arithmetic is learnt digit by digit), the few words of the problems become one token each.
`build()` learns the merges from problems.py, always the same way; `Tokenizer` encodes ASCII text as the written tokenizer.json does."""
import collections
import json
import os
import re

import problems

SPECIALS = ("<|begin_of_text|>", "<|end_of_text|>", "<|system|>", "<|user|>", "<|assistant|>")
VOCABULARY = 512
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
ASCII_PATTERN = re.compile(PATTERN.replace(r"[^\r\n\p{L}\p{N}]", r"[^\r\nA-Za-z0-9]").replace(r"[^\s\p{L}\p{N}]", r"[^\sA-Za-z0-9]")
                           .replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]"))
# The system message is left out: the model was trained without one.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end_of_text|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def byte_characters():
    """GPT-2's mapping of bytes to printable characters."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return table


BYTES = byte_characters()


def _merge(symbols, pair):
    merged, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


def build(directory):
    """Learns the merges and writes tokenizer.json and tokenizer_config.json."""
    counts = collections.Counter()
    for item in problems.distinct(0, "train", 4000):
        counts.update(piece for piece in ASCII_PATTERN.findall(item["problem"] + "\n" + item["thought"]) if re.search("[A-Za-z]", piece))
    words = {piece: [BYTES[byte] for byte in piece.encode()] for piece in counts}
    merges = []
    while len(merges) < VOCABULARY - 256 - len(SPECIALS):
        pairs = collections.Counter()
        for piece, symbols in words.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += counts[piece]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {piece: _merge(symbols, best) for piece, symbols in words.items()}
    vocabulary = {BYTES[byte]: i for i, byte in enumerate(sorted(range(256), key=lambda byte: ord(BYTES[byte])))}
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    special = {name: len(vocabulary) + i for i, name in enumerate(SPECIALS)}
    added = [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for name, i in special.items()]
    begin = SPECIALS[0]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                    {"SpecialToken": {"id": begin, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {begin: {"id": begin, "ids": [special[begin]], "tokens": [begin]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocabulary,
                  "merges": [f"{left} {right}" for left, right in merges]}}
    config = {
        "added_tokens_decoder": {str(entry["id"]): {k: v for k, v in entry.items() if k != "id"} for entry in added},
        "bos_token": begin, "eos_token": SPECIALS[1], "clean_up_tokenization_spaces": False, "model_max_length": 1024,
        "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHAT_TEMPLATE}
    os.makedirs(directory, exist_ok=True)
    for name, value in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as out:
            json.dump(value, out, ensure_ascii=False, indent=1)
            out.write("\n")


class Tokenizer:
    def __init__(self, directory):
        with open(os.path.join(directory, "tokenizer.json"), encoding="utf-8") as source:
            data = json.load(source)
        self.vocabulary = data["model"]["vocab"]
        self.ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(data["model"]["merges"])}
        self.special = {entry["content"]: entry["id"] for entry in data["added_tokens"]}
        self.size = len(self.vocabulary) + len(self.special)
        self.begin, self.end, _, self.user, self.assistant = (self.special[name] for name in SPECIALS)
        self.characters = {character: byte for byte, character in BYTES.items()}
        self.tokens = {i: token for token, i in self.vocabulary.items()}
        self.cache = {}

    def encode(self, text):
        """Token ids of ASCII text without special tokens."""
        assert text.isascii()
        ids = []
        for piece in ASCII_PATTERN.findall(text):
            known = self.cache.get(piece)
            if known is None:
                symbols = [BYTES[byte] for byte in piece.encode()]
                while True:
                    ranked = [(self.ranks[pair], pair) for pair in zip(symbols, symbols[1:]) if pair in self.ranks]
                    if not ranked:
                        break
                    symbols = _merge(symbols, min(ranked)[1])
                known = self.cache[piece] = [self.vocabulary[symbol] for symbol in symbols]
            ids += known
        return ids

    def decode(self, ids):
        """The text of the ids, special tokens left out."""
        return bytes(self.characters[c] for i in ids if i in self.tokens for c in self.tokens[i]).decode(errors="replace")

    def prompt(self, problem):
        """What the chat template makes of one user message, with the start of the answer."""
        return [self.begin, self.user, *self.encode(problem), self.end, self.assistant]

    def solution(self, thought):
        return [*self.encode(thought), self.end]


if __name__ == "__main__":
    build(os.path.join(os.path.dirname(os.path.abspath(__file__)), "model"))
