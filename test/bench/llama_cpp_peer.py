#!/usr/bin/env python3
"""What llama.cpp does of the work that m1-bench measures, on the CPU of this machine, in turn with m1-bench.

A Llama of the sizes of CONFIG is written as GGUF files of random weights (bf16, q8_0, q6_K, q4_K: what llama-quantize makes of each matrix, the
table of embeddings in q8_0 and q6_K), and m1-bench runs artifacts of the same sizes. Each round measures every pair, ours then theirs:
decode steps of one token for each of --batch sequences from --context on, and a prompt of --prefill tokens.

  llama_cpp_peer.py --llama DIR --m1-bench BIN/m1-bench --config CONFIG.json
      --pair bf16=A.m1a --pair q8_0=B.m1a --pair q4_K=C.m1a [--threads 2] [--rounds 3] [--json FILE]

DIR holds libllama and libggml as they are published in the npm package @node-llama-cpp/linux-x64 (bins/linux-x64).
"""
import argparse
import ctypes
import glob
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Import"))
import gguf_files

# Sizes of a block and its values; where its f16 scales lie; where its bytes must not be random.
BLOCKS = {"BF16": (2, 1), "F32": (4, 1), "Q8_0": (34, 32), "Q4_K": (144, 256), "Q6_K": (210, 256)}
SCALES = {"Q8_0": [0], "Q4_K": [0, 2], "Q6_K": [208]}


def random_blocks(kind, count):
    """The bytes of `count` blocks: 4096 random ones, over and over."""
    size, _ = BLOCKS[kind]
    if kind == "F32":
        return struct.pack("<f", 1) * count
    drawn = bytearray(os.urandom(4096 * size))
    if kind == "BF16":  # between -0.03 and 0.03: sign and exponent
        drawn[1::2] = bytes(byte & 0x80 | 0x3C for byte in drawn[1::2])
    for at in SCALES.get(kind, []):
        low, high = struct.pack("<e", 2e-4)
        drawn[at::size], drawn[at + 1::size] = bytes([low]) * 4096, bytes([high]) * 4096
    return (bytes(drawn) * (-(-count // 4096)))[:count * size]


def write_model(path, config, matrices, table):
    """A Llama whose matrices have the type `matrices` and whose embeddings, also its head, have the type `table`."""
    hidden, heads, kv, mlp = (config[name] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size"))
    head, layers, vocabulary = config.get("head_dim", hidden // heads), config["num_hidden_layers"], config["vocab_size"]
    metadata = {"general.architecture": "llama", "general.name": "random", "llama.context_length": 8192, "llama.embedding_length": hidden, "llama.block_count": layers,
                "llama.feed_forward_length": mlp, "llama.attention.head_count": heads, "llama.attention.head_count_kv": kv, "llama.attention.key_length": head,
                "llama.attention.value_length": head, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": head, "llama.rope.freq_base": 500000.0,
                "llama.vocab_size": vocabulary, "tokenizer.ggml.model": "no_vocab"}
    tensors = {}

    def add(name, kind, *shape):
        values = 1
        for length in shape:
            values *= length
        tensors[name] = (kind, list(shape), random_blocks(kind, values // BLOCKS[kind][1]))
    add("token_embd.weight", table, vocabulary, hidden)
    add("output_norm.weight", "F32", hidden)
    for layer in range(layers):
        for name, rows, columns in (("attn_q", heads * head, hidden), ("attn_k", kv * head, hidden), ("attn_v", kv * head, hidden), ("attn_output", hidden, heads * head),
                                    ("ffn_gate", mlp, hidden), ("ffn_up", mlp, hidden), ("ffn_down", hidden, mlp)):
            add(f"blk.{layer}.{name}.weight", matrices, rows, columns)
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{name}.weight", "F32", hidden)
    gguf_files.write(path, metadata, tensors)


class Parameters(ctypes.Structure):
    """A struct of parameters, larger than any version's: it is passed in memory, and what lies behind it is not looked at."""
    _fields_ = [("words", ctypes.c_uint32 * 64)]


class Batch(ctypes.Structure):
    _fields_ = [("tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embedding", ctypes.c_void_p), ("position", ctypes.POINTER(ctypes.c_int32)),
                ("sequences", ctypes.POINTER(ctypes.c_int32)), ("sequence", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8))]


class LlamaCpp:
    def __init__(self, directory):
        for name in ("libggml-base*.so*", "libggml.*so*", "libllama.*so*"):
            for path in sorted(glob.glob(os.path.join(directory, name))):
                library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
                if "libggml." in path:
                    self.ggml = library
        self.library = library
        self.quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)
        library.llama_log_set(self.quiet, None)
        self.ggml.ggml_backend_load_all_from_path(directory.encode())
        for name, result, arguments in (
                ("llama_model_default_params", Parameters, []), ("llama_context_default_params", Parameters, []),
                ("llama_model_load_from_file", ctypes.c_void_p, [ctypes.c_char_p, Parameters]), ("llama_init_from_model", ctypes.c_void_p, [ctypes.c_void_p, Parameters]),
                ("llama_model_free", None, [ctypes.c_void_p]), ("llama_free", None, [ctypes.c_void_p]), ("llama_batch_init", Batch, [ctypes.c_int32] * 3),
                ("llama_batch_free", None, [Batch]), ("llama_decode", ctypes.c_int32, [ctypes.c_void_p, Batch]), ("llama_n_seq_max", ctypes.c_uint32, [ctypes.c_void_p]),
                ("llama_n_ctx", ctypes.c_uint32, [ctypes.c_void_p]), ("llama_n_threads", ctypes.c_int32, [ctypes.c_void_p]),
                ("llama_n_threads_batch", ctypes.c_int32, [ctypes.c_void_p]), ("llama_print_system_info", ctypes.c_char_p, []),
                ("llama_synchronize", None, [ctypes.c_void_p])):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        library.llama_backend_init()

    def context(self, model, tokens, sequences, threads):
        parameters = self.library.llama_context_default_params()
        words = parameters.words
        # n_ctx, n_batch, n_ubatch, n_seq_max, then up to some further counts, then both numbers of threads, 4 unless asked for.
        at = next((i for i in range(4, 12) if words[i] == words[i + 1] == 4), None)
        if list(words[:4]) != [512, 2048, 512, 1] or at is None:
            sys.exit(f"llama_cpp_peer: the parameters of this llama.cpp are laid out otherwise: {list(words[:12])}")
        words[0], words[3], words[at], words[at + 1] = tokens, sequences, threads, threads
        context = self.library.llama_init_from_model(model, parameters)
        if not context:
            sys.exit("llama_cpp_peer: llama.cpp makes no context")
        seen = (self.library.llama_n_seq_max(context), self.library.llama_n_threads(context), self.library.llama_n_threads_batch(context))
        if seen != (sequences, threads, threads) or self.library.llama_n_ctx(context) < tokens:
            sys.exit(f"llama_cpp_peer: llama.cpp did not take the parameters: {seen}")
        return context

    def decode(self, context, rows):
        """One call with `rows` of sequence, position and whether its logits are wanted; its seconds."""
        batch = self.library.llama_batch_init(len(rows), 0, 1)
        for i, (sequence, position, wanted) in enumerate(rows):
            batch.token[i], batch.position[i], batch.sequences[i], batch.logits[i] = 17 + 31 * i % 1000, position, 1, wanted
            batch.sequence[i][0] = sequence
        batch.tokens = len(rows)
        start = time.perf_counter()
        failed = self.library.llama_decode(context, batch)
        self.library.llama_synchronize(context)
        seconds = time.perf_counter() - start
        if failed:
            sys.exit(f"llama_cpp_peer: llama_decode fails with {failed}")
        self.library.llama_batch_free(batch)
        return seconds

    def measure(self, path, batches, context_length, prefill, threads, repeat):
        model = self.library.llama_model_load_from_file(path.encode(), self.library.llama_model_default_params())
        if not model:
            sys.exit(f"llama_cpp_peer: llama.cpp does not load {path}")
        figures = {}
        for batch in batches:
            context = self.context(model, (context_length + repeat + 2) * batch, batch, threads)
            rows = [(sequence, position, position == context_length - 1) for position in range(context_length) for sequence in range(batch)]
            for start in range(0, len(rows), 512):
                self.decode(context, rows[start:start + 512])
            samples = [self.decode(context, [(sequence, context_length + step, 1) for sequence in range(batch)]) for step in range(repeat + 1)]
            figures[f"decode {batch}"] = batch / statistics.median(samples[1:])
            self.library.llama_free(context)
        samples = []
        for _ in range(3):
            context = self.context(model, prefill + 1, 1, threads)
            samples.append(self.decode(context, [(0, position, position == prefill - 1) for position in range(prefill)]))
            self.library.llama_free(context)
        figures[f"prefill {prefill}"] = prefill / min(samples)
        self.library.llama_model_free(model)
        return figures


def measure_ours(bench, artifact, batches, context_length, prefill, threads, repeat):
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "bench.json")
        subprocess.run([bench, artifact, "--batch", ",".join(map(str, batches)), "--context", str(context_length), "--prefill", f"1x{prefill}", "--threads", str(threads),
                        "--repeat", str(repeat), "--json", file], check=True, stdout=subprocess.DEVNULL)
        with open(file) as opened:
            report = json.load(opened)
    figures = {}
    for case in report["cases"]:
        name = f"prefill {prefill}" if case["kind"] == "prefill" else f"decode {case['sequences']}"
        figures[name] = case["tokens_per_second"]
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", required=True)
    parser.add_argument("--m1-bench", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--pair", action="append", required=True, metavar="bf16|q8_0|q6_K|q4_K=ARTIFACT")
    parser.add_argument("--batch", default="1,32")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))), help="numbers of threads, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    with open(arguments.config) as file:
        config = json.load(file)
    batches = [int(batch) for batch in arguments.batch.split(",")]
    types = {"bf16": ("BF16", "BF16"), "q8_0": ("Q8_0", "Q8_0"), "q6_K": ("Q6_K", "Q6_K"), "q4_K": ("Q4_K", "Q6_K")}
    llama = LlamaCpp(arguments.llama)
    print("llama.cpp:", llama.library.llama_print_system_info().decode(), flush=True)
    numbers = [int(threads) for threads in arguments.threads.split(",")]
    seen = {}
    with tempfile.TemporaryDirectory() as directory:
        pairs = []
        for pair in arguments.pair:
            kind, artifact = pair.split("=", 1)
            path = os.path.join(directory, kind + ".gguf")
            if not os.path.exists(path):
                write_model(path, config, *types[kind])
            pairs.append((kind, path, artifact))
        for _ in range(arguments.rounds):
            for threads in numbers:
                for kind, path, artifact in pairs:
                    sizes = (batches, arguments.context, arguments.prefill, threads, arguments.repeat)
                    ours = measure_ours(arguments.m1_bench, artifact, *sizes)
                    theirs = llama.measure(path, *sizes)
                    print(f"  {threads} threads {kind}:", ", ".join(f"{case} {theirs[case]:.1f} here {ours[case]:.1f}" for case in ours), flush=True)
                    for case in ours:
                        seen.setdefault((threads, kind, os.path.basename(artifact), case), []).append((ours[case], theirs[case]))
    print(f"tokens/s, medians of {arguments.rounds} rounds, lowest … highest")
    report = []
    for (threads, kind, artifact, case), values in seen.items():
        ours, theirs = (sorted(column) for column in zip(*values))
        ratio = statistics.median(ours) / statistics.median(theirs)
        spread = lambda column: f"{statistics.median(column):9.1f} ({column[0]:.1f} … {column[-1]:.1f})"
        print(f"{threads:3} threads {kind:5} {artifact:24} {case:12} llama.cpp {spread(theirs)}  ours {spread(ours)}  {ratio:.2f}", flush=True)
        report.append({"threads": threads, "type": kind, "artifact": artifact, "case": case, "llama_cpp": theirs, "ours": ours, "ratio": ratio})
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(report, file, indent=1)


main()
