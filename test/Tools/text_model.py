"""A tiny checkpoint with text: a golden model's weights with a byte-level tokenizer and a chat template of the same vocabulary."""
import json
import os
import shutil

GOLDENS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Integration", "goldens")


# Long enough that an answer to interrupt lasts for seconds: the tiny model says thousands of tokens in one.
CONTEXT = 65536


def byte_characters():
    """GPT-2's printable stand-ins of the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for byte in range(256):
        if byte in kept:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


def write(directory, golden="m1-mamba1-f32"):
    """Vocabulary 512: <pad>, <s>, </s>, the 256 bytes, then words w259 to w511 that no text encodes to."""
    shutil.copytree(os.path.join(GOLDENS, golden), directory, dirs_exist_ok=True)
    config_path = os.path.join(directory, "config.json")
    with open(config_path) as file:
        model_config = json.load(file)
    model_config["max_position_embeddings"] = CONTEXT
    os.chmod(config_path, 0o644)
    with open(config_path, "w") as file:
        json.dump(model_config, file)
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2}
    for character in byte_characters().values():
        vocabulary[character] = len(vocabulary)
    for word in range(len(vocabulary), 512):
        vocabulary[f"w{word}"] = word
    special = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for i, c in enumerate(["<pad>", "<s>", "</s>"])]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocabulary, "merges": []}}
    config = {"bos_token": "<s>", "eos_token": "</s>", "model_max_length": 4096,
              "chat_template": "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
                               "{% if add_generation_prompt %}assistant: {% endif %}"}
    for name, content in ("tokenizer.json", tokenizer), ("tokenizer_config.json", config):
        with open(os.path.join(directory, name), "w") as file:
            json.dump(content, file)
    return directory
