#!/usr/bin/env python3
"""What PyTorch does of the work that m1-bench measures, on the same GPU: the peer of docs/performance.md.

A decode step of M1-3B is one CUDA graph: cuBLAS linears, scaled_dot_product_attention over contiguous caches, and Triton kernels
for what lies between (residual + RMSNorm, silu·mul, rotary + cache, convolution and state update, as mamba_ssm has them). bf16
weights, KV and state, random values. Attention prefill is scaled_dot_product_attention with cuDNN and with flash.

  torch_peer.py [--batch 1,8,64,512] [--context 2304] [--attention 8x4096,1x16384] [--json FILE]

Needs PyTorch with CUDA and Triton. Medians of --repeat samples of graph replays, timed by events.
"""
import argparse
import json
import statistics

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

H, LAYERS, ATTENTION = 3072, 28, {3, 8, 13, 18, 23, 27}
HEADS, KV_HEADS, HEAD = 24, 8, 128
INNER, XB, STATE, CONV, RANK = 3072, 1024, 16, 4, 192
MLP, VOCABULARY, EPS = 8192, 128256, 1e-5


@triton.jit
def add_rms_norm_kernel(x, residual, weight, out, width: tl.constexpr, block: tl.constexpr, eps: tl.constexpr):
    row = tl.program_id(0)
    i = tl.arange(0, block)
    inside = i < width
    h = tl.load(x + row * width + i, mask=inside, other=0).to(tl.float32) + tl.load(residual + row * width + i, mask=inside, other=0).to(tl.float32)
    tl.store(residual + row * width + i, h.to(tl.bfloat16), mask=inside)
    scale = tl.rsqrt(tl.sum(h * h) / width + eps)
    tl.store(out + row * width + i, (h * scale * tl.load(weight + i, mask=inside, other=0)).to(tl.bfloat16), mask=inside)


@triton.jit
def silu_mul_kernel(gate_up, out, width: tl.constexpr, block: tl.constexpr):
    row = tl.program_id(0)
    i = tl.program_id(1) * block + tl.arange(0, block)
    gate = tl.load(gate_up + row * 2 * width + i).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + i).to(tl.float32)
    tl.store(out + row * width + i, (gate * tl.sigmoid(gate) * up).to(tl.bfloat16))


@triton.jit
def rotary_cache_kernel(qkv, cos, sin, q, keys, values, position, capacity, heads: tl.constexpr, kv_heads: tl.constexpr, head: tl.constexpr):
    """Rotates the heads of q and k by the step's position; k and v go to the cache [row, kv head, position, head]."""
    row, h = tl.program_id(0), tl.program_id(1)
    half: tl.constexpr = head // 2
    i = tl.arange(0, half)
    source = qkv + row * (heads + 2 * kv_heads) * head + h * head
    low, high = tl.load(source + i).to(tl.float32), tl.load(source + half + i).to(tl.float32)
    if h < heads + kv_heads:
        c, s = tl.load(cos + i), tl.load(sin + i)
        low, high = low * c - high * s, high * c + low * s
    if h < heads:
        to = q + (row * heads + h) * head
    elif h < heads + kv_heads:
        to = keys + ((row * kv_heads + h - heads) * capacity + position) * head
    else:
        to = values + ((row * kv_heads + h - heads - kv_heads) * capacity + position) * head
    tl.store(to + i, low.to(tl.bfloat16))
    tl.store(to + half + i, high.to(tl.bfloat16))


@triton.jit
def mamba_update_kernel(projected, dt, window, conv_weight, conv_bias, a, d, dt_bias, state, out, inner: tl.constexpr, xb: tl.constexpr, n: tl.constexpr, total: tl.constexpr):
    """Convolution of width 4, softplus, one step of the state, skip and gate; a program has the n channels of one group of one row."""
    row, group = tl.program_id(0), tl.program_id(1)
    c = group * n + tl.arange(0, n)
    share: tl.constexpr = inner // xb
    base = projected + row * total
    x = tl.load(base + inner + group // share * n + tl.arange(0, n)).to(tl.float32)
    b = tl.load(base + inner + xb + group // share * n + tl.arange(0, n)).to(tl.float32)
    read = tl.load(base + inner + 2 * xb + c).to(tl.float32)
    z = tl.load(base + c).to(tl.float32)
    w0 = window + (row * inner + c) * 4
    x1, x2, x3 = tl.load(w0 + 1).to(tl.float32), tl.load(w0 + 2).to(tl.float32), tl.load(w0 + 3).to(tl.float32)
    v = tl.load(conv_bias + c) + tl.load(conv_weight + c * 4) * x1 + tl.load(conv_weight + c * 4 + 1) * x2 + tl.load(conv_weight + c * 4 + 2) * x3 + tl.load(conv_weight + c * 4 + 3) * x
    tl.store(w0, x1.to(tl.bfloat16))
    tl.store(w0 + 1, x2.to(tl.bfloat16))
    tl.store(w0 + 2, x3.to(tl.bfloat16))
    tl.store(w0 + 3, x.to(tl.bfloat16))
    x = v * tl.sigmoid(v)
    delta = tl.load(dt + row * inner + c).to(tl.float32) + tl.load(dt_bias + c)
    delta = tl.where(delta > 20, delta, tl.log(1 + tl.exp(delta)))
    i = c[:, None] * n + tl.arange(0, n)[None, :]
    s = tl.load(state + row * inner * n + i).to(tl.float32)
    s = tl.exp(delta[:, None] * tl.load(a + i)) * s + (delta * x)[:, None] * b[None, :]
    tl.store(state + row * inner * n + i, s.to(tl.bfloat16))
    y = tl.sum(s * read[None, :], axis=1) + tl.load(d + c) * x
    tl.store(out + row * inner + c, (y * z * tl.sigmoid(z)).to(tl.bfloat16))


def mamba_reference(projected, dt, window, p, state):
    """The same in float32, as in the model's definition; returns the output and the new state."""
    z, x, b, c, _ = projected.float().split([INNER, XB, XB, INNER, RANK], dim=-1)
    rows, share = x.shape[0], INNER // XB
    x, b = (t.view(rows, XB // STATE, 1, STATE).expand(-1, -1, share, -1).reshape(rows, INNER // STATE, STATE) for t in (x, b))
    window = torch.cat([window.float()[..., 1:], x.reshape(rows, INNER, 1)], -1)
    x = F.silu((window * p["conv_weight"]).sum(-1) + p["conv_bias"])
    delta = F.softplus(dt.float() + p["dt_bias"])
    heads_of = lambda t: t.repeat_interleave(STATE, 1)  # noqa: E731
    s = torch.exp(delta[..., None] * p["a"]) * state.float() + (delta * x)[..., None] * heads_of(b)
    y = (s * heads_of(c.view(rows, -1, STATE))).sum(-1) + p["d"] * x
    return y * F.silu(z), s


def normal(*shape, scale=1.0, dtype=torch.bfloat16):
    return (torch.randn(*shape, device="cuda", dtype=torch.float32 if len(shape) == 1 else dtype) * scale).to(dtype)


class Model:
    def __init__(self):
        f32 = torch.float32
        self.embedding = normal(VOCABULARY, H, scale=0.02)
        self.layers = []
        for layer in range(LAYERS):
            p = {"norm1": torch.ones(H, device="cuda"), "norm2": torch.ones(H, device="cuda"), "gate_up": normal(2 * MLP, H, scale=0.02), "down": normal(H, MLP, scale=0.02)}
            if layer in ATTENTION:
                p |= {"qkv": normal((HEADS + 2 * KV_HEADS) * HEAD, H, scale=0.02), "out": normal(H, HEADS * HEAD, scale=0.02)}
            else:
                p |= {"in": normal(2 * INNER + 2 * XB + RANK, H, scale=0.02), "dt": normal(INNER, RANK, scale=0.1), "out": normal(H, INNER, scale=0.02),
                      "conv_weight": normal(INNER, CONV, scale=0.3, dtype=f32), "conv_bias": normal(INNER, scale=0.1, dtype=f32), "dt_bias": normal(INNER, dtype=f32) - 3,
                      "d": torch.ones(INNER, device="cuda"), "a": -torch.arange(1, STATE + 1, device="cuda", dtype=f32).repeat(INNER, 1)}
            self.layers.append(p)
        self.norm = torch.ones(H, device="cuda")

    def state(self, batch, context):
        """What the sequences carry; the step writes position context - 1."""
        states = []
        for layer in range(LAYERS):
            if layer in ATTENTION:
                states.append((normal(batch, KV_HEADS, context, HEAD), normal(batch, KV_HEADS, context, HEAD)))
            else:
                states.append((normal(batch, INNER, CONV), normal(batch, INNER, STATE, scale=0.1)))
        return states

    def step(self, tokens, states, context):
        batch = tokens.shape[0]
        angle = (context - 1) / 500000 ** (torch.arange(HEAD // 2, device="cuda", dtype=torch.float32) * 2 / HEAD)
        cos, sin = torch.cos(angle), torch.sin(angle)
        residual = torch.zeros(batch, H, device="cuda", dtype=torch.bfloat16)
        x = F.embedding(tokens, self.embedding)

        def norm(x, weight):
            out = torch.empty_like(x)
            add_rms_norm_kernel[(batch,)](x, residual, weight, out, H, triton.next_power_of_2(H), EPS, num_warps=8)
            return out

        for p, state in zip(self.layers, states):
            y = norm(x, p["norm1"])
            if "qkv" in p:
                qkv = F.linear(y, p["qkv"])
                q = torch.empty(batch, HEADS, 1, HEAD, device="cuda", dtype=torch.bfloat16)
                rotary_cache_kernel[(batch, HEADS + 2 * KV_HEADS)](qkv, cos, sin, q, state[0], state[1], context - 1, context, HEADS, KV_HEADS, HEAD, num_warps=1)
                y = F.scaled_dot_product_attention(q, state[0], state[1], enable_gqa=True).reshape(batch, HEADS * HEAD)
            else:
                projected = F.linear(y, p["in"])
                dt = F.linear(projected[:, -RANK:], p["dt"])
                y = torch.empty(batch, INNER, device="cuda", dtype=torch.bfloat16)
                mamba_update_kernel[(batch, INNER // STATE)](projected, dt, state[0], p["conv_weight"], p["conv_bias"], p["a"], p["d"], p["dt_bias"], state[1], y, INNER, XB, STATE,
                                                            2 * INNER + 2 * XB + RANK, num_warps=1)
            x = F.linear(y, p["out"])
            gate_up = F.linear(norm(x, p["norm2"]), p["gate_up"])
            y = torch.empty(batch, MLP, device="cuda", dtype=torch.bfloat16)
            silu_mul_kernel[(batch, MLP // 1024)](gate_up, y, MLP, 1024)
            x = F.linear(y, p["down"])
        return F.linear(norm(x, self.norm), self.embedding).argmax(-1)

    def check(self):
        """The update kernel against its definition: bf16 keeps eight bits, so within 2e-2 of the largest value."""
        p = self.layers[0]
        projected, window, state = normal(3, 2 * INNER + 2 * XB + RANK), normal(3, INNER, CONV), normal(3, INNER, STATE)
        dt = F.linear(projected[:, -RANK:], p["dt"])
        want, want_state = mamba_reference(projected, dt, window, p, state)
        y = torch.empty(3, INNER, device="cuda", dtype=torch.bfloat16)
        mamba_update_kernel[(3, INNER // STATE)](projected, dt, window, p["conv_weight"], p["conv_bias"], p["a"], p["d"], p["dt_bias"], state, y, INNER, XB, STATE, projected.shape[1], num_warps=1)
        for got, expected in ((y, want), (state, want_state)):
            worst = ((got.float() - expected).abs().max() / expected.abs().max()).item()
            assert worst < 2e-2, f"the peer's state update is wrong: {worst}"


def milliseconds(launch, repeat):
    """Median of `repeat` samples; a sample is a group of launches of at least 20 ms."""
    def group(count):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(count):
            launch()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / count
    group(3)
    count = max(1, int(20 / group(3)))
    return statistics.median(group(count) for _ in range(repeat))


def decode(model, batch, context, repeat):
    tokens = torch.randint(0, VOCABULARY, (batch,), device="cuda")
    states = model.state(batch, context)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            model.step(tokens, states, context)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model.step(tokens, states, context)
    return milliseconds(graph.replay, repeat)


def attention(sequences, length, backend, repeat):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    q = normal(sequences, HEADS, length, HEAD)
    k, v = normal(sequences, KV_HEADS, length, HEAD), normal(sequences, KV_HEADS, length, HEAD)
    with sdpa_kernel(getattr(SDPBackend, backend)):
        time = milliseconds(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), repeat)
    return time, 2 * 2 * sequences * HEADS * length * length / 2 * HEAD / time / 1e9


def main():
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=numbers, default=[1, 8, 64, 512])
    parser.add_argument("--context", type=numbers, default=[2304])
    parser.add_argument("--attention", default="8x4096,1x16384")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    print(f"PyTorch {torch.__version__}, Triton {triton.__version__}, {torch.cuda.get_device_name()}")
    figures = []
    model = Model()
    model.check()
    for context in arguments.context:
        for batch in arguments.batch:
            time = decode(model, batch, context, arguments.repeat)
            torch.cuda.empty_cache()
            print(f"decode batch {batch:4} context {context:5}  {time:8.3f} ms", flush=True)
            figures.append({"decode": [batch, context], "milliseconds": time})
    for pair in filter(None, arguments.attention.split(",")):
        sequences, length = map(int, pair.split("x"))
        for backend in ("CUDNN_ATTENTION", "FLASH_ATTENTION"):
            time, rate = attention(sequences, length, backend, arguments.repeat)
            print(f"attention prefill {pair} {backend}  {time:8.3f} ms  {rate:6.1f} TFLOP/s", flush=True)
            figures.append({"attention": [sequences, length], "backend": backend, "milliseconds": time, "teraflops": rate})
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
