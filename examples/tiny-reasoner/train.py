#!/usr/bin/env python3
"""Trains the tiny reasoner: teacher -> distilled student (against the same student from scratch) -> supervised fine-tuning -> GRPO.

usage: train.py --out DIR [--load DIR] [--budget teacher=75,distill=40,scratch=40,sft=60,grpo=45] [--stages ...] [--smoke]

Budgets are seconds of training per stage; learning rates follow the clock, so a stage always ends annealed. Each stage writes its
weights to DIR/STAGE.safetensors when it ends, its scores to DIR/log.jsonl, and starts from what it finds there or in --load: run the
same command again after a crash and only what is missing is trained (a stage found in --load is trained on when its budget is given)."""
import argparse
import array
import collections
import gc
import json
import multiprocessing
import os
import re
import random
import sys
import time
import traceback

import torch
import torch.nn.functional as F

START = time.time()
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import m1_init
import model
import problems
import scan as scan_module
import tokenizer as tokenizer_module
from optimizer import HALF, Optimizer
from scan import scan, scan_reference

TOKENS = 26880  # a step's tokens: a multiple of every length below, so that shapes stay the same
LENGTHS = (48, 64, 80, 96, 128, 160, 224)
ROLLOUT = 256  # longest sequence when sampling
STAGES = ("teacher", "distill", "scratch", "sft", "grpo")


def shard(task):
    """Encoded problems by length: length -> (tokens, pairs of prompt length and whole length), in int16."""
    seed, count, split = task
    tokens = tokenizer_module.Tokenizer(os.path.join(HERE, "model"))
    out = {length: (array.array("h"), array.array("h")) for length in LENGTHS}
    source = problems.generate(seed, split)
    for _ in range(count):
        item = next(source)
        prompt = tokens.prompt(item["problem"])
        ids = prompt + tokens.solution(item["thought"])
        for length in LENGTHS:
            if len(ids) <= length:
                out[length][0].extend(ids + [tokens.end] * (length - len(ids)))
                out[length][1].extend((len(prompt), len(ids)))
                break
    return {length: (a.tobytes(), b.tobytes()) for length, (a, b) in out.items()}


def say(text):
    print(f"[{time.time() - START:6.1f} s] {text}", flush=True)


class Run:
    """What all stages share: device, data, logs, checkpoints."""

    def __init__(self, options, config, device, pool, jobs):
        self.options, self.config, self.device, self.pool, self.jobs = options, config, device, pool, jobs
        self.tokens = tokenizer_module.Tokenizer(os.path.join(HERE, "model"))
        self.half = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.data = None
        self.validation = problems.distinct(11, "validation", options.validation, "train")

    def wait_for_data(self):
        if self.data is None:
            parts = self.jobs.get()
            self.pool.close()
            self.data = {}
            for length in LENGTHS:
                ids = torch.frombuffer(bytearray(b"".join(part[length][0] for part in parts)), dtype=torch.int16).view(-1, length)
                pairs = torch.frombuffer(bytearray(b"".join(part[length][1] for part in parts)), dtype=torch.int16).view(-1, 2)
                self.data[length] = ids.to(self.device), pairs.to(self.device)
            say("data: " + ", ".join(f"{len(ids)} of {length}" for length, (ids, _) in self.data.items()))
        return self.data

    def log(self, **fields):
        with open(os.path.join(self.options.out, "log.jsonl"), "a", encoding="utf-8") as out:
            out.write(json.dumps(fields) + "\n")

    def path(self, stage, load=False):
        return os.path.join(self.options.load if load else self.options.out, stage + ".safetensors")

    def save(self, stage, values):
        def stored(value):
            return "BF16", list(value.shape), value.detach().to(torch.bfloat16).contiguous().view(torch.int16).cpu().numpy().tobytes()
        m1_init.write_safetensors(self.path(stage) + ".part", {name: stored(value) for name, value in values.items()})
        os.replace(self.path(stage) + ".part", self.path(stage))

    def find(self, stage):
        """Weights of a stage done earlier: (values, whether this output folder holds them)."""
        for load in (False, True):
            if (not load or self.options.load) and os.path.exists(self.path(stage, load)):
                stored = m1_init.read_safetensors(self.path(stage, load))
                values = {name: torch.frombuffer(bytearray(data), dtype=torch.bfloat16).view(shape).float() for name, (_, shape, data) in stored.items()}
                return values, not load
        return None, False


def capture(device, function):
    """Runs `function` a few times, then returns a callable that repeats it: a CUDA graph on a GPU. A graph does not own the tensors it
    reads: what it returns keeps `function`, and so its inputs, alive."""
    if device.type != "cuda":
        return function
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            function()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()

    def replay(keep=function):
        graph.replay()
    return replay


def cross_entropy(logits, targets, weight):
    """Sum of weighted losses."""
    return (F.cross_entropy(logits.float(), targets, reduction="none") * weight).sum()


def reverse_kl(logits, teacher_logits, weight):
    """KL(student || teacher), summed with weights."""
    student, teacher = F.log_softmax(logits.float(), -1), F.log_softmax(teacher_logits.float(), -1)
    return ((student.exp() * (student - teacher)).sum(-1) * weight).sum()


def policy_loss(logits, targets, advantage, weight, entropy_bonus):
    """Policy gradient with an entropy bonus, no KL term: advantage and weight per token."""
    logp = F.log_softmax(logits.float(), -1)
    chosen = logp.gather(1, targets.unsqueeze(1)).squeeze(1)
    entropy = -(logp.exp() * logp).sum(-1)
    return -((advantage * chosen + entropy_bonus * entropy) * weight).sum()


LOSSES = {"cross_entropy": cross_entropy, "reverse_kl": reverse_kl, "policy_loss": policy_loss}


def compile_functions():
    """torch.compile of the elementwise functions; the matrix products, the scan and attention stay as they are."""
    import torch._dynamo
    torch._dynamo.config.recompile_limit = 64
    for table in (model.FUSED, LOSSES):
        for name, function in table.items():
            table[name] = torch.compile(function, dynamic=False)


def fit(run, stage, values, student, teacher=None, budget=1.0, peak=3e-3):
    """Cross entropy on the worked solutions, or reverse KL to `teacher`, for `budget` seconds. Returns the trained values."""
    data, device, config = run.wait_for_data(), run.device, run.config
    optimizer = Optimizer(values, device, run.half)
    work = optimizer.work
    frozen = teacher and {name: value.to(device, run.half if name.endswith(HALF) else torch.float32) for name, value in teacher.items()}
    stats = torch.zeros(2, device=device)

    def accumulate(length):
        ids, pairs = data[length]
        count = run.options.tokens // length
        rows = model.Rows(config, count, length, device)

        def go():
            optimizer.zero()
            pick = torch.randint(len(ids), (count,), device=device)
            batch, bounds = ids[pick].long(), pairs[pick].long()
            at = rows.position.view(count, length)
            weight = ((at >= bounds[:, :1] - 1) & (at < bounds[:, 1:] - 1)).float().view(-1)
            weight = weight / weight.sum()
            flat = batch.reshape(-1)
            logits = model.forward(work, config, flat, rows, student)
            if frozen:
                with torch.no_grad():
                    wanted = model.forward(frozen, config, flat, rows, False)
                loss = LOSSES["reverse_kl"](logits, wanted, weight)
            else:
                loss = LOSSES["cross_entropy"](logits, torch.roll(flat, -1), weight)
            loss.backward()
            with torch.no_grad():
                stats.add_(torch.stack((loss.detach(), torch.ones_like(loss))))
        return go

    begin = time.time()
    steps = {length: capture(device, accumulate(length)) for length in LENGTHS if len(data[length][0]) >= run.options.tokens // length}
    update = capture(device, optimizer.update)  # with lr 0 until the loop sets it
    if device.type == "cuda":
        torch.cuda.synchronize()
    say(f"{stage}: ready after {time.time() - begin:.1f} s")
    if run.options.profile and device.type == "cuda":
        from torch.profiler import ProfilerActivity, profile
        with profile(activities=[ProfilerActivity.CUDA]) as recorded:
            for step in (*steps.values(), update):
                step()
            torch.cuda.synchronize()
        spent = sorted(((getattr(event, "device_time_total", 0), event.count, event.key) for event in recorded.key_averages()), reverse=True)
        say(f"{stage}: {sum(time for time, _, _ in spent) / 1e3:.1f} ms of kernels in {len(steps)} steps and an update")
        for time_us, number, name in spent[:24]:
            print(f"{time_us / 1e3:9.2f} ms {number:6d} x {name[:110]}", flush=True)
    shares = [len(data[length][0]) * length for length in steps]
    order = random.Random(1)  # a step's length: as often as its share of the tokens
    begin, count, losses = time.time(), 0, []
    while True:
        done = (time.time() - begin) / budget
        if done >= 1:
            break
        rate = peak * min(1.0, (count + 1) / 100) * min(1.0, (1 - done) / 0.6)
        optimizer.lr.fill_(rate)
        steps[order.choices(list(steps), shares)[0]]()
        update()
        count += 1
        if count % 10 == 0 and device.type == "cuda":
            torch.cuda.synchronize()
        if count % max(1, run.options.report) == 0:
            loss = (stats[0] / stats[1]).item()
            stats.zero_()
            losses.append(round(loss, 4))
            if len(losses) % 5 == 1:
                say(f"{stage}: step {count}, loss {loss:.4f}, {count * run.options.tokens / (time.time() - begin) / 1e6:.2f} M tokens/s")
            assert loss == loss, f"{stage}: loss is not a number"
    seconds = time.time() - begin
    say(f"{stage}: {count} steps in {seconds:.1f} s, last losses {losses[-3:]}")
    run.log(stage=stage, steps=count, seconds=round(seconds, 1), tokens=count * run.options.tokens, losses=losses)
    return optimizer.values()


class Sampler:
    """Samples continuations of up to `rows` prompts at once; a step is one CUDA graph."""

    def __init__(self, run, work, student, rows, temperature):
        self.run, self.rows, self.temperature = run, rows, temperature
        device = run.device
        self.decoder = model.Decoder(work, run.config, rows, ROLLOUT, student, device)
        self.ids = torch.full((rows, ROLLOUT), run.tokens.end, dtype=torch.long, device=device)
        self.prompt = torch.ones(rows, dtype=torch.long, device=device)
        self.current = torch.zeros(rows, dtype=torch.long, device=device)
        self.finished = torch.zeros(rows, dtype=torch.bool, device=device)
        with torch.no_grad():
            self.step = capture(device, self._step)

    @torch.no_grad()
    def _step(self):
        logits = self.decoder.step(self.current)[:, :self.run.tokens.size].float() / self.temperature
        noise = torch.empty_like(logits).exponential_().clamp_(min=1e-20)
        chosen = (logits.softmax(-1) / noise).argmax(-1)
        at = self.decoder.at.view(1)
        inside = self.prompt > at
        chosen = torch.where(inside, self.ids.index_select(1, at.clamp(max=ROLLOUT - 1)).squeeze(1), chosen)
        chosen = torch.where(self.finished, torch.full_like(chosen, self.run.tokens.end), chosen)
        self.ids.index_copy_(1, at.clamp(max=ROLLOUT - 1), chosen.unsqueeze(1))
        self.finished.logical_or_((chosen == self.run.tokens.end) & ~inside)
        self.current.copy_(chosen)

    @torch.no_grad()
    def sample(self, prompts):
        """prompts: lists of ids, at most `rows`. Returns (ids [rows, ROLLOUT], first position after each prompt, whole lengths), on the host."""
        ids = torch.full((self.rows, ROLLOUT), self.run.tokens.end, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            ids[i, :len(prompt)] = torch.tensor(prompt)
        self.ids.copy_(ids)
        self.prompt.copy_(torch.tensor([len(prompt) for prompt in prompts] + [1] * (self.rows - len(prompts))))
        self.decoder.reset()
        self.current.copy_(self.ids[:, 0])
        self.finished.zero_()
        for i in range(ROLLOUT - 1):
            self.step()
            if i % 16 == 15 and bool(self.finished.all()):
                break
        ids = self.ids.cpu()
        place = torch.arange(ROLLOUT)
        ends = (ids == self.run.tokens.end) & (place >= self.prompt.cpu().unsqueeze(1))
        ends[:, -1] = True
        lengths = (ends.float().argmax(1) + 1).tolist()
        return ids, lengths


def answer_of(run, ids):
    """The text inside the last \\boxed{...} of a sample's end, or None."""
    found = re.findall(r"\\boxed\{([^{}]*)\}", run.tokens.decode(ids[-24:]))
    return found[-1] if found else None


def evaluate(run, stage, work, student, items, samples, temperature=0.7):
    """pass@1 over all samples and majority@samples; logs them with accuracy by kind and level."""
    begin = time.time()
    rows = min(len(items) * samples, run.options.sample_rows)
    per = max(1, rows // samples)
    sampler = Sampler(run, work, student, per * samples, temperature)
    right = majority = tokens = 0
    cells, votes, kept = collections.defaultdict(list), collections.defaultdict(list), []
    for first in range(0, len(items), per):
        part = items[first:first + per]
        prompts = [prompt for item in part for prompt in [run.tokens.prompt(item["problem"])] * samples]
        ids, lengths = sampler.sample(prompts)
        ids = ids.tolist()
        for k, item in enumerate(part):
            answers = [answer_of(run, ids[i][len(prompts[i]):lengths[i]]) for i in range(k * samples, (k + 1) * samples)]
            good = sum(answer == item["answer"] for answer in answers)
            counts = collections.Counter(answer for answer in answers if answer is not None)
            won = bool(counts) and counts.most_common(1)[0][0] == item["answer"]
            right, majority = right + good, majority + won
            tokens += sum(lengths[i] - len(prompts[i]) for i in range(k * samples, (k + 1) * samples))
            cells[item["kind"], item["level"]].append(good / samples)
            votes[item["kind"], item["level"]].append(won)
            if len(kept) < 3:
                kept.append([item["problem"], run.tokens.decode(ids[k * samples][len(prompts[k * samples]):lengths[k * samples]]), item["answer"]])
    table = {f"{kind} {level}": [round(sum(cells[kind, level]) / len(cells[kind, level]), 3),
                                 round(sum(votes[kind, level]) / len(votes[kind, level]), 3), len(cells[kind, level])] for kind, level in sorted(cells)}
    scores = {"pass@1": round(right / (len(items) * samples), 4), f"maj@{samples}": round(majority / len(items), 4),
              "problems": len(items), "samples": samples, "temperature": temperature, "mean_tokens": round(tokens / (len(items) * samples), 1)}
    say(f"{stage}: {scores} in {time.time() - begin:.1f} s")
    for problem, thought, answer in kept[:2]:
        say(f"  {problem!r} -> {thought!r} ({answer})")
    run.log(stage=stage, scores=scores, cells=table)
    return scores, table


def reinforce(run, values, budget, peak=2e-4, group=16, entropy_bonus=0.003):
    """GRPO: groups of samples of one prompt, reward 1 for the right answer, advantage normalised in the group, one update a batch."""
    device, config = run.device, run.config
    optimizer = Optimizer(values, device, run.half, weight_decay=0.0)
    count = max(1, run.options.tokens // ROLLOUT)
    batches = 16 if device.type == "cuda" else 2
    total = max(count * batches // group, 1) * group
    rows = model.Rows(config, count, ROLLOUT, device)
    ids = torch.zeros(count * ROLLOUT, dtype=torch.long, device=device)
    advantage, weight = (torch.zeros(count * ROLLOUT, device=device) for _ in range(2))

    def go():
        logits = model.forward(optimizer.work, config, ids, rows, True)
        LOSSES["policy_loss"](logits, torch.roll(ids, -1), advantage, weight, entropy_bonus).backward()

    accumulate, update = capture(device, go), capture(device, optimizer.update)
    sampler = Sampler(run, optimizer.work, True, total, 1.0)
    source = problems.generate(97, "train", "hard")
    say("grpo: ready")
    begin, step, rewards = time.time(), 0, []
    while time.time() - begin < budget:
        items = [next(source) for _ in range(total // group)]
        prompts = [prompt for item in items for prompt in [run.tokens.prompt(item["problem"])] * group]
        sampled, lengths = sampler.sample(prompts)
        listed = sampled.tolist()
        reward = torch.tensor([float(answer_of(run, listed[i][len(prompts[i]):lengths[i]]) == items[i // group]["answer"]) for i in range(total)])
        grouped = reward.view(-1, group)
        normal = ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + 1e-4)).view(-1)
        place = torch.arange(ROLLOUT)
        starts, ends = torch.tensor([len(prompt) for prompt in prompts]), torch.tensor(lengths)
        mask = ((place >= starts.unsqueeze(1) - 1) & (place < ends.unsqueeze(1) - 1)).float()
        mask = mask / mask.sum()
        optimizer.zero()
        optimizer.lr.fill_(peak * min(1.0, (step + 1) / 5))
        for first in range(0, total - count + 1, count):
            part = slice(first, first + count)
            ids.copy_(sampled[part].reshape(-1))
            advantage.copy_(normal[part].unsqueeze(1).expand(-1, ROLLOUT).reshape(-1))
            weight.copy_(mask[part].reshape(-1))
            accumulate()
        update()
        rewards.append(round(reward.mean().item(), 4))
        step += 1
        if step % 10 == 1:
            say(f"grpo: step {step}, reward {rewards[-1]:.3f}")
    seconds = time.time() - begin
    say(f"grpo: {step} steps in {seconds:.1f} s, rewards {rewards[:3]} ... {rewards[-3:]}")
    run.log(stage="grpo", steps=step, seconds=round(seconds, 1), rollouts=step * total, rewards=rewards)
    return optimizer.values()


def checks(run):
    """On the GPU: the Triton scan against the parallel scan in float64, and decoding against the whole forward pass."""
    config, device = run.config, run.device
    torch.manual_seed(3)
    rows, length, heads = 5, 37, config.d_xb
    make = lambda *shape: torch.randn(*shape, device=device, dtype=torch.float64)
    inner, N = config.d_inner, config.d_state
    args = [make(rows * length, inner), make(inner) * 0.3, make(inner, N) * 0.5, make(rows * length, heads), make(rows * length, inner),
            make(rows * length, inner), make(inner), make(rows * length, inner)]
    args = [a.float() if i in (1, 2, 6) else a.to(run.half) for i, a in enumerate(args)]
    grad = make(rows * length, inner).to(run.half)
    results = []
    for reference in (True, False):
        leaves = [a.double() if reference else a.clone() for a in args]
        for leaf in leaves:
            leaf.requires_grad_()
        out = (scan_reference if reference else scan)(*leaves, length)
        out.backward(grad.to(out.dtype))
        results.append([out, *(leaf.grad for leaf in leaves)])
    names = ("out", "raw", "bias", "A_log", "B", "C", "x", "D", "z")
    errors = {name: ((b.double() - a).norm() / a.norm()).item() for name, a, b in zip(names, *results)}
    say("scan against float64: " + ", ".join(f"{name} {error:.1e}" for name, error in errors.items()))
    assert all(error < 0.03 for error in errors.values()), "the fused scan disagrees with the reference"
    for student in (True, False) if not run.options.compile else ():  # would compile for these sizes
        values = {name: model.random_matrix(name, shape, config) for name, shape in model.shapes(config, student).items()}
        values = {name: value.to(device) for name, value in values.items()}
        ids = torch.randint(config.vocab, (3, 20), device=device)
        decoder = model.Decoder(values, config, 3, 20, student, device)
        with torch.no_grad():
            one = torch.stack([decoder.step(ids[:, t]) for t in range(20)], 1)
            whole = model.forward(values, config, ids.reshape(-1), model.Rows(config, 3, 20, device), student).view(one.shape)
        error = ((one - whole).norm() / whole.norm()).item()
        say(f"decoding against the whole pass, {'student' if student else 'teacher'}: {error:.1e}")
        assert error < 5e-3, "decoding disagrees with the whole pass"
    if device.type != "cuda":
        return
    for length in (64, 224):
        count = run.options.tokens // length
        raw, b, c, x, z = (torch.randn(count * length, n, device=device, dtype=run.half).requires_grad_() for n in (inner, heads, inner, inner, inner))
        bias, A_log, D = (torch.randn(*shape, device=device).requires_grad_() for shape in ((inner,), (inner, N), (inner,)))

        def pass_through(backward):
            out = scan(raw, bias, A_log, b, c, x, D, z, length)
            if backward:
                out.backward(out.detach())

        times = []
        for backward in (False, True):
            pass_through(backward)
            torch.cuda.synchronize()
            begin = time.time()
            for _ in range(5):
                pass_through(backward)
            torch.cuda.synchronize()
            times.append((time.time() - begin) / 5 * 1e6)
        say(f"scan of {count} x {length}: forward {times[0]:.0f} us, forward + backward {times[1]:.0f} us")


def student_start(run, teacher):
    """Stage 1's initialisation, exactly m1_init's (and m1-convert's)."""
    config = run.config
    hugging = config.hugging_face((run.tokens.begin, run.tokens.end))
    plain = {name: (list(value.shape), value.detach().float().cpu().contiguous().numpy().tobytes()) for name, value in teacher.items()}
    converted, _ = m1_init.convert(plain, hugging, config.attention_layers, run.options.seed, m1_init.encode_f32)
    values = {name: torch.frombuffer(bytearray(data), dtype=torch.float32).view(shape) for name, (shape, data) in converted.items()}
    assert {name: tuple(value.shape) for name, value in values.items()} == model.shapes(config, True)
    return values


def fresh(run, student):
    """From-scratch values: what Mamba draws as in stage 1, the rest at random."""
    torch.manual_seed(run.options.seed)
    config = run.config
    values = {name: model.random_matrix(name, shape, config) for name, shape in model.shapes(config, student).items()}
    if student:
        teacher = {name: model.random_matrix(name, shape, config) for name, shape in model.shapes(config, False).items()}
        start = student_start(run, teacher)
        for name in values:
            if ".mamba." in name and not name.endswith(("in_proj.weight", "out_proj.weight")):
                values[name] = start[name]
    return values


def stage_values(run, stage, budgets):
    """Trains one stage, or finds it trained."""
    found, done = run.find(stage)
    if done or (found and not budgets.get(stage)):
        say(f"{stage}: found")
        return found
    budget = budgets.get(stage, 0)
    if run.options.deadline:
        budget = min(budget, run.options.deadline - time.time() - 12)
    if budget <= 0:
        return None
    if stage == "teacher":
        values = fit(run, stage, found or fresh(run, False), False, budget=budget, peak=run.options.peak)
    elif stage in ("distill", "scratch"):
        teacher, _ = run.find("teacher")
        start = found or (student_start(run, teacher) if stage == "distill" else fresh(run, True))
        values = fit(run, stage, start, True, teacher, budget=budget)
    elif stage == "sft":
        values = fit(run, stage, found or run.find("distill")[0], True, budget=budget, peak=2e-3)
    else:
        values = reinforce(run, found or run.find("sft")[0], budget)
    assert all(bool(torch.isfinite(value).all()) for value in values.values()), f"{stage}: weights are not finite"
    run.save(stage, values)
    stored, _ = run.find(stage)  # what is scored is what is stored: rounded to bf16
    work = {name: value.to(run.device, run.half if name.endswith(HALF) else torch.float32) for name, value in stored.items()}
    evaluate(run, stage, work, stage != "teacher", run.validation, run.options.samples)
    return stored


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--load", default="", help="folder with stages of an earlier run")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--budget", default="teacher=75,distill=40,scratch=40,sft=60,grpo=45", help="seconds of training a stage")
    parser.add_argument("--deadline", type=float, default=0, help="time of day in seconds since 1970 by which to be done: stages are cut short")
    parser.add_argument("--problems", type=int, default=1600000, help="training problems")
    parser.add_argument("--validation", type=int, default=500)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--sample-rows", type=int, default=16000)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="tokens a step")
    parser.add_argument("--report", type=int, default=100, help="steps between reported losses")
    parser.add_argument("--peak", type=float, default=4e-3, help="the teacher's highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="fuse elementwise functions with torch.compile")
    parser.add_argument("--parallel-scan", action="store_true", help="the plain PyTorch scan even on a GPU")
    parser.add_argument("--profile", action="store_true", help="print where a step's time goes")
    parser.add_argument("--smoke", action="store_true", help="a tiny model, a second a stage: does everything run?")
    parser.add_argument("--check", action="store_true", help="check the fused scan and decoding first")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    if options.smoke:
        options.problems, options.validation, options.samples, options.sample_rows, options.report = 40000, 20, 4, 80, 5
    budgets = {name: float(value) for name, value in (part.split("=") for part in options.budget.split(",") if part)}
    unknown = (set(budgets) | set(options.stages.split(","))) - set(STAGES)
    if unknown:
        sys.exit(f"train.py: unknown stage {sorted(unknown)}; there are {', '.join(STAGES)}")

    # Workers start before the GPU is touched, and generate while it warms up.
    workers = os.cpu_count() or 1
    pool = multiprocessing.get_context("fork").Pool(workers)
    size = max(1, options.problems // (workers * 4))
    jobs = pool.map_async(shard, [(1000 + i, size, "train") for i in range(workers * 4)], chunksize=1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        # A run with the garbage collector on and cuDNN's attention crashed inside a graph's replay, as it does when code that a graph
        # refers to is unloaded; without both it did not, and which of the two it was is not known.
        gc.disable()
        gc.collect = lambda *_: 0  # torch.cuda.graph calls it
        torch.backends.cuda.enable_cudnn_sdp(False)
    config = model.Config(d_model=64, layers=3, heads=4, kv_heads=2, head_dim=16, mlp=96, attention_layers=(1,)) if options.smoke else model.Config()
    if options.compile:
        compile_functions()
    if options.parallel_scan:
        scan_module.FUSED = False
    run = Run(options, config, device, pool, jobs)
    assert run.tokens.size <= config.vocab
    say(f"{device}, torch {torch.__version__}, {sum(torch.Size(s).numel() for s in model.shapes(config, True).values()) / 1e6:.2f} M parameters in the student")
    if options.check:
        checks(run)
    failed = []
    for stage in options.stages.split(","):
        try:
            stage_values(run, stage, budgets)
        except Exception as error:  # a later stage's failure must not lose what an earlier one saved
            traceback.print_exc()
            say(f"{stage}: failed: {error}")
            failed.append(stage)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
