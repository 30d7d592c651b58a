#!/usr/bin/env python3
"""GRPO of the tiny reasoner with rollouts from M1 Runtime in the same process: the engine draws groups of samples, PyTorch trains on them, and
the model gets the new weights from the GPU's own memory (Model.update_weights).

usage: grpo.py ARTIFACT --out DIR [--seconds 60 | --iterations 50] [--rollouts engine|torch] [--device cuda]
       grpo.py ARTIFACT --check [--f32 ARTIFACT]      agreement with the trainer, speeds, and whether a seed repeats; trains nothing

ARTIFACT was compiled from a checkpoint of these sizes, for the device (m1-compile --target cuda). The trainer starts from --weights; the artifact's
own weights are replaced by them. Writes DIR/log.jsonl, a line an iteration, and DIR/grpo.safetensors, which export.py takes. `--rollouts torch`
draws with train.py's sampler instead, to compare. Needs PyTorch, and the package m1rt (PYTHONPATH=runtime/python, M1RT_LIBRARY=…/libm1rt.so.0
where it is not installed)."""
import argparse
import array
import collections
import gc
import hashlib
import json
import math
import multiprocessing
import os
import re
import sys
import time
import traceback

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # sums in one order, run after run
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import m1_init
import model
import problems
import tokenizer as tokenizer_module
import train
from optimizer import Optimizer
from train import say

try:
    import m1rt
except ImportError:
    sys.path.insert(0, os.path.join(HERE, "..", "..", "runtime", "python"))
    import m1rt

LENGTHS = (96, 128, 160, 192, 256, 384)  # of padded sequences; each divides train.TOKENS
LONGEST = LENGTHS[-1]                    # prompt and answer
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


def draw_problems(task):
    """Prompts of one shard: (prompt ids, answer) of problems of the training split, none so long that no answer fits."""
    seed, count, mix = task
    tokens = tokenizer_module.Tokenizer(os.path.join(HERE, "model"))
    source, out = problems.generate(seed, "train", mix), []
    while len(out) < count:
        item = next(source)
        prompt = tokens.prompt(item["problem"])
        if 2 * len(prompt) <= LONGEST:
            out.append((prompt, item["answer"]))
    return out


class Rollouts:
    """Sampled answers of some prompts: ids (prompt and answer), length of the prompt, and whether the answer is right."""

    def __init__(self):
        self.ids, self.prompts, self.right = [], [], []
        self.tokens = 0  # sampled
        self.seconds = 0.0

    def add(self, prompt, answer, said, text, ended):
        found = BOXED.findall(text)
        self.ids.append(prompt + said)
        self.prompts.append(len(prompt))
        self.right.append(float(ended and bool(found) and found[-1] == answer))
        self.tokens += len(said)


def engine_rollouts(engine, items, group, seed, temperature=1.0):
    """`group` samples of each (prompt, answer) by M1 Runtime."""
    out, begin = Rollouts(), time.time()
    params = m1rt.Params(max_new_tokens=LONGEST, temperature=temperature, seed=seed)  # the engine's context ends them, too
    for completion in engine.generate([prompt for prompt, _ in items], group, params):
        prompt, answer = items[completion.prompt]
        for sample in completion.samples:
            if sample.finish_reason == "failed":
                raise RuntimeError(sample.error)
            out.add(prompt, answer, sample.tokens, sample.text, sample.finish_reason == "stop_token")
    out.seconds = time.time() - begin
    return out


def torch_rollouts(sampler, run, items, group):
    """The same by train.py's sampler: all of them together, a token of each a step."""
    out, begin = Rollouts(), time.time()
    prompts = [prompt for prompt, _ in items for _ in range(group)]
    ids, lengths = sampler.sample(prompts)
    ids = ids.tolist()
    for i, prompt in enumerate(prompts):
        said = ids[i][len(prompt):lengths[i]]
        out.add(prompt, items[i // group][1], said, run.tokens.decode(said[-24:]), said[-1:] == [run.tokens.end])
    out.seconds = time.time() - begin
    return out


class Bucket:
    """Sequences padded to one length: static memory, so that a pass over them can be a CUDA graph."""

    def __init__(self, trainer, length, reference):
        device, self.length = trainer.device, length
        self.count = max(1, trainer.options.tokens // length)
        size = self.count * length
        self.rows = model.Rows(trainer.config, self.count, length, device)
        self.ids = torch.zeros(size, dtype=torch.long, device=device)
        self.old, self.start, self.advantage, self.weight, self.out = (torch.zeros(size, device=device) for _ in range(5))
        options, config, work = trainer.options, trainer.config, trainer.optimizer.work

        def log_probabilities(params):
            logits = model.forward(params, config, self.ids, self.rows, True).float()
            return logits, -F.cross_entropy(logits, torch.roll(self.ids, -1), reduction="none")

        @torch.no_grad()
        def score(params, out):
            out.copy_(log_probabilities(params)[1])

        def learn():
            logits, logp = log_probabilities(work)
            ratio = torch.exp(logp - self.old)
            gain = torch.minimum(ratio * self.advantage, ratio.clamp(1 - options.clip, 1 + options.clip_high) * self.advantage)
            loss = -gain
            if options.entropy:
                every = F.log_softmax(logits, -1)
                loss = loss + options.entropy * (every.exp() * every).sum(-1)
            if options.kl:  # to the start, Schulman's estimator that is never negative
                away = self.start - logp
                loss = loss + options.kl * (torch.exp(away) - away - 1)
            (loss * self.weight).sum().backward()

        self.score = train.capture(device, lambda: score(work, self.old))
        self.score_start = train.capture(device, lambda: score(reference, self.start)) if reference else None
        self.learn = train.capture(device, learn)


class Trainer:
    def __init__(self, options, config, values, device, half):
        self.options, self.config, self.device, self.half = options, config, device, half
        self.optimizer = Optimizer(values, device, half, weight_decay=0.0)
        reference = None
        if options.kl:
            reference = {name: value.detach().clone() for name, value in self.optimizer.work.items()}
        self.buckets = {length: Bucket(self, length, reference) for length in options.lengths}
        self.optimizer.lr.zero_()
        self.step = train.capture(device, self.optimizer.update)
        self.restart(values)  # captures have run everything

    @torch.no_grad()
    def restart(self, values):
        """As if nothing had been learnt; what graphs refer to stays where it is."""
        fresh = Optimizer(values, self.device, self.half, weight_decay=0.0)
        for mine, theirs in zip((*self.optimizer.groups, *self.optimizer.flats), (*fresh.groups, *fresh.flats)):
            for name, value in theirs.items():
                mine[name].copy_(value)
        self.optimizer.count.zero_()

    def weights(self):
        """What the engine gets: the tensors that the trainer computes with, where they are."""
        return {name: value.detach() for name, value in self.optimizer.work.items()}

    def batches(self, rollouts, chosen):
        """The chosen rollouts in padded batches, the short ones together: (bucket, their numbers)."""
        by_length = collections.defaultdict(list)
        for i in sorted(chosen, key=lambda i: (len(rollouts.ids[i]), i)):
            by_length[next(length for length in self.buckets if len(rollouts.ids[i]) <= length)].append(i)
        for length, members in by_length.items():
            bucket = self.buckets[length]
            for first in range(0, len(members), bucket.count):
                yield bucket, members[first:first + bucket.count]

    def fill(self, bucket, rollouts, members, advantages=None, tokens=1):
        """Puts rollouts into the bucket's memory. A place's target is the token after it."""
        length, end = bucket.length, self.options.end
        ids, weight, advantage = array.array("h"), array.array("f"), array.array("f")
        for i in members:
            own, prompt = rollouts.ids[i], rollouts.prompts[i]
            ids.extend(own + [end] * (length - len(own)))
            weight.extend([0.0] * (prompt - 1) + [1.0 / tokens] * (len(own) - prompt) + [0.0] * (length - len(own) + 1))
            advantage.extend([advantages[i] if advantages else 0.0] * length)
        empty = (bucket.count - len(members)) * length
        ids.extend([end] * empty)
        weight.extend([0.0] * empty)
        advantage.extend([0.0] * empty)
        bucket.ids.copy_(torch.frombuffer(ids, dtype=torch.int16))
        bucket.weight.copy_(torch.frombuffer(weight, dtype=torch.float32))
        bucket.advantage.copy_(torch.frombuffer(advantage, dtype=torch.float32))

    def log_probabilities(self, rollouts):
        """Of every sampled token, by rollout, at temperature 1."""
        out = {}
        for bucket, members in self.batches(rollouts, range(len(rollouts.ids))):
            self.fill(bucket, rollouts, members)
            bucket.score()
            values = bucket.old.view(bucket.count, bucket.length).tolist()
            for row, i in enumerate(members):
                out[i] = values[row][rollouts.prompts[i] - 1:len(rollouts.ids[i]) - 1]
        return [out[i] for i in range(len(rollouts.ids))]

    def train(self, rollouts, rate):
        """Updates from groups of rollouts. Groups that are all right or all wrong teach nothing. Returns how many rollouts were used."""
        group, right = self.options.group, rollouts.right
        advantages, used = [0.0] * len(right), []
        for first in range(0, len(right), group):
            mean = sum(right[first:first + group]) / group
            deviation = math.sqrt(sum((value - mean) ** 2 for value in right[first:first + group]) / group)
            if deviation > 0:
                used += range(first, first + group)
                for i in range(first, first + group):
                    advantages[i] = (right[i] - mean) / (deviation + 1e-4)
        parts = [used[i::self.options.updates] for i in range(self.options.updates)]
        # Before the first update, as the samples were drawn: the clip measures how far the later updates have gone.
        old = {}
        for part, members in enumerate(parts):
            for number, (bucket, rows) in enumerate(self.batches(rollouts, members)):
                self.fill(bucket, rollouts, rows)
                bucket.score()
                old[part, number] = bucket.old.clone()
        self.optimizer.lr.fill_(rate)
        for part, members in enumerate(parts):
            tokens = sum(len(rollouts.ids[i]) - rollouts.prompts[i] for i in members)
            if not tokens:
                continue
            self.optimizer.zero()
            for number, (bucket, rows) in enumerate(self.batches(rollouts, members)):
                self.fill(bucket, rollouts, rows, advantages, tokens)
                bucket.old.copy_(old[part, number])
                if bucket.score_start:
                    bucket.score_start()
                bucket.learn()
            self.step()
        return len(used)


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def hand_over(rollout_model, trainer):
    """Gives the engine the trainer's weights; returns the seconds it took."""
    synchronize(trainer.device)
    begin = time.time()
    rollout_model.update_weights(trainer.weights())
    return time.time() - begin


def evaluate(engine, items, samples, temperature=0.7):
    """pass@1 and majority of the samples on held-out problems, with the share of right single samples by kind and level."""
    params = m1rt.Params(max_new_tokens=400, temperature=temperature, seed=1)
    begin, right, won = time.time(), 0, 0
    cells = collections.defaultdict(list)
    for completion in engine.generate([item["prompt"] for item in items], samples, params):
        item = items[completion.prompt]
        good = sum(sample.ballot() == item["answer"] for sample in completion.samples)
        right += good
        won += completion.vote().answer == item["answer"]
        cells[f"{item['kind']} {item['level']}"].append(good / samples)
    return {"pass@1": right / (len(items) * samples), f"maj@{samples}": won / len(items), "problems": len(items), "seconds": time.time() - begin,
            "cells": {cell: [round(sum(shares) / len(shares), 3), len(shares)] for cell, shares in sorted(cells.items())}}


def fingerprint(trainer, rollouts):
    """SHA-256 of the weights and of what was said."""
    sha = hashlib.sha256(json.dumps(rollouts.ids).encode())
    for name, value in sorted(trainer.weights().items()):
        sha.update(value.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return sha.hexdigest()


class Loop:
    """Problems, engine and trainer, from one start."""

    def __init__(self, options, device, pool):
        self.options, self.device = options, device
        stored = m1_init.read_safetensors(options.weights)
        self.values = {name: torch.frombuffer(bytearray(data), dtype=torch.bfloat16).view(shape).float() for name, (_, shape, data) in stored.items()}
        self.config = model.Config()
        if {name: tuple(value.shape) for name, value in self.values.items()} != model.shapes(self.config, True):
            sys.exit(f"grpo.py: {options.weights} does not hold a student of model.Config's sizes")
        self.tokens = tokenizer_module.Tokenizer(os.path.join(HERE, "model"))
        options.end = self.tokens.end
        half = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.trainer = Trainer(options, self.config, self.values, device, half)
        self.model = m1rt.Model(options.artifact, device=options.device)
        # A sample's last token is never fed: it may be one longer than the context.
        self.engine = self.model.engine(max_samples=options.slots, max_context=LONGEST - 1, prefix_cache_slots=0)
        self.jobs = pool
        self.items, self.next = [], 0
        self.sampler = None
        if options.rollouts == "torch":
            train.ROLLOUT = LONGEST
            self.sampler = train.Sampler(self, self.trainer.optimizer.work, True, options.prompts * options.group, 1.0)

    def draw(self, count):
        """The next problems."""
        if not self.items:
            self.items = [item for part in self.jobs.get() for item in part]
        first, self.next = self.next, (self.next + count) % (len(self.items) - count)
        return self.items[first:first + count]

    def restart(self):
        self.trainer.restart(self.values)
        self.next = 0
        torch.manual_seed(self.options.seed)

    def iterate(self, number, rate):
        """One iteration: (rollouts, what happened)."""
        handing = hand_over(self.model, self.trainer) if self.sampler is None else 0.0
        items = self.draw(self.options.prompts)
        if self.sampler is None:
            rollouts = engine_rollouts(self.engine, items, self.options.group, self.options.seed * 1000003 + number)
        else:
            rollouts = torch_rollouts(self.sampler, self, items, self.options.group)
        begin = time.time()
        used = self.trainer.train(rollouts, rate)
        synchronize(self.device)
        return rollouts, {"iteration": number, "reward": sum(rollouts.right) / len(rollouts.right), "rollouts": len(rollouts.right),
                          "used": used, "tokens": rollouts.tokens, "update_seconds": handing, "rollout_seconds": rollouts.seconds,
                          "train_seconds": time.time() - begin}

    def learn(self):
        """Trains for a number of iterations or of seconds; the rate falls to a tenth. Returns the log."""
        options, log, begin = self.options, [], time.time()
        self.restart()
        while True:
            done = len(log) / options.iterations if options.iterations else (time.time() - begin) / options.seconds
            if done >= 1:
                break
            rate = options.rate * min(1.0, (len(log) + 1) / 5) * (1 - 0.9 * done)
            _, entry = self.iterate(len(log), rate)
            entry["seconds"] = time.time() - begin
            log.append(entry)
            if (len(log) - 1) % options.report == 0:
                say(f"iteration {entry['iteration']}: reward {entry['reward']:.3f}, {entry['rollouts'] / entry['rollout_seconds']:.0f} rollouts/s, "
                    f"rollouts {entry['rollout_seconds']:.2f} s, training {entry['train_seconds']:.2f} s, update {1e3 * entry['update_seconds']:.1f} ms")
        return log


def disagreement(rollout_model, trainer, items, seed):
    """Largest and mean difference of the log probabilities that engine and trainer give the same sampled tokens."""
    params = m1rt.Params(max_new_tokens=LONGEST, temperature=1.0, seed=seed, logprobs=True)
    rollouts, given = Rollouts(), []
    with rollout_model.engine(max_samples=64, max_context=LONGEST - 1, prefix_cache_slots=0) as engine:
        for completion in engine.generate([prompt for prompt, _ in items], 4, params):
            for sample in completion.samples:
                rollouts.add(items[completion.prompt][0], "", sample.tokens, "", False)
                given.append(sample.logprobs)
    own = trainer.log_probabilities(rollouts)
    differences = [abs(a - b) for mine, theirs in zip(own, given) for a, b in zip(mine, theirs)]
    return max(differences), sum(differences) / len(differences), len(differences)


@torch.no_grad()
def stray(trainer, scale):
    """Moves every weight a little, the same way each time, to values that bf16 holds: artifacts store most weights so."""
    generator = torch.Generator(device="cpu").manual_seed(5)
    for value in trainer.optimizer.work.values():
        noise = torch.randn(value.shape, generator=generator).to(value.device, value.dtype)
        value.add_(noise * value.float().std().nan_to_num().to(value.dtype) * scale)
        value.copy_(value.to(torch.bfloat16))


def guarded(name, body, failed):
    """One check; what it raises is told, and the others go on."""
    try:
        say(f"{name}: {body()}")
    except Exception:
        traceback.print_exc()
        failed.append(name)
        say(f"{name}: failed")


def check(options, loop):
    """Everything but training. Returns the names of checks that failed."""
    failed, items = [], loop.draw(min(32, options.prompts))
    trainer, device = loop.trainer, loop.device

    def agreement(rollout_model, of):
        def body():
            parts = []
            for scale in (0.0, 0.05):
                if scale:
                    stray(of, scale)
                seconds = hand_over(rollout_model, of)
                largest, mean, count = disagreement(rollout_model, of, items, 11)
                parts.append(f"weights moved by {scale:g}: largest {largest:.2e}, mean {mean:.2e} of {count} tokens (update {1e3 * seconds:.1f} ms)")
            return "; ".join(parts)
        return body

    guarded(f"log probabilities of engine and trainer, {'bf16' if device.type == 'cuda' else 'f32'}", agreement(loop.model, trainer), failed)
    loop.restart()

    def single():
        plain = argparse.Namespace(**{**vars(options), "tokens": min(options.tokens, 7680)})
        with m1rt.Model(options.f32, device=options.device) as exact:
            return agreement(exact, Trainer(plain, loop.config, loop.values, device, torch.float32))()
    if options.f32:
        guarded("log probabilities of engine and trainer, f32", single, failed)

    def own_weights():
        """The artifact's own scores are those after an update with the weights that it was compiled from, from either memory."""
        with m1rt.Model(options.artifact, device=options.device) as fresh:
            text = items[0][0] + [loop.tokens.end] * 20
            own = fresh.score(text)
            stray(trainer, 0.05)
            hand_over(fresh, trainer)
            moved = fresh.score(text)
            loop.restart()
            hand_over(fresh, trainer)
            back = fresh.score(text)
            fresh.update_weights({name: value.to(torch.float32).cpu() for name, value in trainer.weights().items()})
            host = fresh.score(text)
        return f"moved weights change scores: {moved != own}; the artifact's own back from the GPU, bit for bit: {back == own}; through the host: {host == own}"
    guarded("the artifact's own weights", own_weights, failed)

    def update_times():
        times = sorted(hand_over(loop.model, trainer) for _ in range(20))
        bytes_ = sum(value.numel() * value.element_size() for value in trainer.weights().values())
        return f"median {1e3 * times[10]:.2f} ms, longest {1e3 * times[-1]:.2f} ms for {bytes_ / 1e6:.1f} MB in {len(trainer.weights())} tensors"
    guarded("an update", update_times, failed)

    def speeds():
        parts = []
        wanted = loop.draw(options.prompts)
        for _ in range(3):
            drawn = engine_rollouts(loop.engine, wanted, options.group, 3)
            parts.append(f"engine {len(drawn.ids) / drawn.seconds:.0f} rollouts/s, {drawn.tokens / drawn.seconds / 1e3:.0f} k tokens/s, reward "
                         f"{sum(drawn.right) / len(drawn.right):.3f}")
        train.ROLLOUT = LONGEST
        sampler = train.Sampler(loop, trainer.optimizer.work, True, options.prompts * options.group, 1.0)
        for _ in range(3):
            drawn = torch_rollouts(sampler, loop, wanted, options.group)
            parts.append(f"train.py's sampler {len(drawn.ids) / drawn.seconds:.0f} rollouts/s, {drawn.tokens / drawn.seconds / 1e3:.0f} k tokens/s, reward "
                         f"{sum(drawn.right) / len(drawn.right):.3f}")
        return f"{options.prompts} prompts, {options.group} samples of each: " + "; ".join(parts)
    guarded("rollouts", speeds, failed)

    def repeats():
        prints = []
        for _ in range(2):
            loop.restart()
            for number in range(3):
                rollouts, entry = loop.iterate(number, options.rate)
            prints.append(fingerprint(trainer, rollouts))
        if prints[0] != prints[1]:
            raise RuntimeError(f"{prints}")
        return f"3 iterations twice: the same tokens and weights, SHA-256 {prints[0][:16]}; the last one: {entry}"
    guarded("a seed repeats", repeats, failed)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("artifact", help="compiled from a checkpoint of these sizes, bf16 on a GPU")
    parser.add_argument("--out", default="", help="folder for the log and the trained weights")
    parser.add_argument("--weights", default=os.path.join(HERE, "model", "model.safetensors"), help="to start from")
    parser.add_argument("--device", default="cuda", help="of the engine; the trainer's is PyTorch's default GPU, or the CPU")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--iterations", type=int, default=0, help="instead of seconds: the same seed then gives the same weights, bit for bit")
    parser.add_argument("--rollouts", choices=("engine", "torch"), default="engine")
    parser.add_argument("--mix", choices=sorted(problems.MIXES), default="test", help="of problems.py; those of the training split")
    parser.add_argument("--prompts", type=int, default=128, help="an iteration")
    parser.add_argument("--group", type=int, default=16, help="samples of a prompt")
    parser.add_argument("--updates", type=int, default=2, help="of the weights, an iteration")
    parser.add_argument("--rate", type=float, default=2e-4, help="the highest learning rate")
    parser.add_argument("--clip", type=float, default=0.2)
    parser.add_argument("--clip-high", type=float, default=0.28, help="above 1: more than below, so that rare tokens may become likelier")
    parser.add_argument("--entropy", type=float, default=0.003, help="bonus")
    parser.add_argument("--kl", type=float, default=0.0, help="to the start")
    parser.add_argument("--slots", type=int, default=2048, help="samples at once")
    parser.add_argument("--tokens", type=int, default=train.TOKENS, help="of a padded batch")
    parser.add_argument("--problems", type=int, default=64000, help="to draw from")
    parser.add_argument("--evaluate", type=int, default=32, help="samples of each of test.jsonl's problems before and after; 0: none")
    parser.add_argument("--report", type=int, default=20, help="iterations between reports")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--f32", default="", help="for --check: the artifact with --activation-type f32")
    options = parser.parse_args()
    if not options.check and not options.out:
        parser.error("--out or --check is needed")
    options.lengths = LENGTHS

    # Workers start before the GPU is touched.
    workers = os.cpu_count() or 1
    pool = multiprocessing.get_context("fork").Pool(workers)
    jobs = pool.map_async(draw_problems, [(100003 * options.seed + i, max(1, options.problems // workers), options.mix) for i in range(workers)])
    device = torch.device("cuda" if torch.cuda.is_available() and options.device != "cpu" else "cpu")
    torch.use_deterministic_algorithms(True)
    if hasattr(torch.utils, "deterministic"):
        torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads it
    torch.backends.cuda.matmul.allow_tf32 = False
    if device.type == "cuda":  # attention with one order of its sums; see train.py about cuDNN's, and about the garbage collector
        gc.disable()
        gc.collect = lambda *_: 0
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
    loop = Loop(options, device, jobs)
    say(f"{device}, torch {torch.__version__}, m1rt {m1rt.runtime_version()} on {loop.model.info.device_name}: ready")
    if options.check:
        failed = check(options, loop)
        sys.exit(f"failed: {', '.join(failed)}" if failed else 0)

    os.makedirs(options.out, exist_ok=True)
    with open(os.path.join(HERE, "test.jsonl"), encoding="utf-8") as source:
        held_out = [dict(item, prompt=loop.tokens.prompt(item["problem"])) for item in map(json.loads, source)]

    def score(when):
        if not options.evaluate:
            return
        with loop.model.engine(max_samples=options.slots, max_context=640, prefix_cache_slots=0) as engine:
            hand_over(loop.model, loop.trainer)
            scores = evaluate(engine, held_out, options.evaluate)
        say(f"{when}: {scores}")
        log({"when": when, **scores})

    def log(entry):
        with open(os.path.join(options.out, "log.jsonl"), "a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")

    score("before")
    entries = loop.learn()
    for entry in entries:
        log(entry)
    last = entries[-min(10, len(entries)):]
    say(f"{len(entries)} iterations, {sum(entry['rollouts'] for entry in entries)} rollouts in {entries[-1]['seconds']:.1f} s; the last ones: reward "
        f"{sum(entry['reward'] for entry in last) / len(last):.3f}, "
        + ", ".join(f"{key} {sum(entry[key] for entry in last) / len(last):.4f}" for key in ("update_seconds", "rollout_seconds", "train_seconds")))
    values = loop.trainer.optimizer.values()
    if not all(bool(torch.isfinite(value).all()) for value in values.values()):
        sys.exit("grpo.py: weights are not finite")

    def stored(value):
        return "BF16", list(value.shape), value.to(torch.bfloat16).contiguous().view(torch.int16).cpu().numpy().tobytes()
    m1_init.write_safetensors(os.path.join(options.out, "grpo.safetensors"), {name: stored(value) for name, value in values.items()})
    score("after")


if __name__ == "__main__":
    main()
