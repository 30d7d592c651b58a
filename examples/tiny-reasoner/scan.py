"""The inside of M1's Mamba-1 layer in PyTorch: softplus, selective scan, skip and gate, with its gradient.

y[t, c] = (sum_n s[t, c, n] * C[t, g(c), n] + D[c] * x[t, c]) * silu(z[t, c])
s[t, c, n] = exp(delta[t, c] * A[c, n]) * s[t - 1, c, n] + delta[t, c] * B[t, h(c), n] * x[t, c],  delta = softplus(raw + 2 * bias)

Channels lie in groups of N (the state size); g(c) = c // N, and each head h of B serves `repeat` consecutive groups. `scan_reference` is a
parallel scan over time (log2 L steps of Hillis and Steele) in plain PyTorch and runs anywhere; `scan_triton` does the same in one
pass on a GPU, keeping the states for the backward pass in bf16."""
import torch
import torch.nn.functional as F

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None


def scan_reference(raw, bias, A_log, B, C, x, D, z, length):
    """raw, C, x, z: [rows * length, d_inner]; B: [rows * length, d_xb]. Sequences are rows of `length` tokens; returns like x."""
    inner, N = A_log.shape
    rows = raw.shape[0] // length
    dtype = torch.float64 if raw.dtype == torch.float64 else torch.float32
    delta = F.softplus(raw.to(dtype) + 2 * bias.to(dtype)).view(rows, length, inner, 1)
    repeat = inner // B.shape[1]
    heads = lambda t, r: t.to(dtype).view(rows, length, -1, 1, 1, N).expand(-1, -1, -1, r, N, -1).reshape(rows, length, inner, N)
    xs = x.to(dtype).view(rows, length, inner)
    log_decay = delta * -torch.exp(A_log.to(dtype))
    state = delta * heads(B, repeat) * xs.unsqueeze(-1)
    step = 1
    while step < length:  # (a1, b1) then (a2, b2) is (a1 + a2, exp(a2) * b1 + b2), a in logarithms
        state = torch.cat((state[:, :step], state[:, step:] + torch.exp(log_decay[:, step:]) * state[:, :-step]), 1)
        log_decay = torch.cat((log_decay[:, :step], log_decay[:, step:] + log_decay[:, :-step]), 1)
        step *= 2
    y = (state * heads(C, 1)).sum(-1) + D.to(dtype) * xs
    return (y * F.silu(z.to(dtype)).view(rows, length, inner)).reshape(rows * length, inner).to(x.dtype)


if triton is not None:
    # One program: one sequence and the R groups of N channels that share one head of B. Tiles are [R, N channels, N states].
    @triton.jit
    def _softplus(v):
        return tl.where(v > 20.0, v, tl.log(1.0 + tl.exp(tl.minimum(v, 20.0))))

    @triton.jit
    def _forward(raw, bias, A_log, B, C, x, D, z, out, states, length, sb, sc, sz,
                 INNER: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        head = tl.program_id(1)
        r = tl.arange(0, R)[:, None, None]
        p = tl.arange(0, N)[None, :, None]
        n = tl.arange(0, N)[None, None, :]
        channel = (head * R + r) * N + p  # [R, N, 1]
        A = -tl.exp(tl.load(A_log + channel * N + n))
        b2 = 2.0 * tl.load(bias + channel)
        skip = tl.load(D + channel)
        state = tl.zeros([R, N, N], tl.float32)
        token = row * length
        raw_t, x_t = tl.load(raw + token * INNER + channel), tl.load(x + token * INNER + channel)
        z_t, b_t = tl.load(z + token * sz + channel), tl.load(B + token * sb + head * N + n)
        c_t = tl.load(C + token * sc + (head * R + r) * N + n)
        for t in range(0, length):
            ahead = row * length + tl.minimum(t + 1, length - 1)  # the next token's operands travel while this one is computed
            raw_n, x_n = tl.load(raw + ahead * INNER + channel), tl.load(x + ahead * INNER + channel)
            z_n, b_n = tl.load(z + ahead * sz + channel), tl.load(B + ahead * sb + head * N + n)
            c_n = tl.load(C + ahead * sc + (head * R + r) * N + n)
            delta = _softplus(raw_t.to(tl.float32) + b2)
            xs = x_t.to(tl.float32)
            zs = z_t.to(tl.float32)
            state = tl.exp(delta * A) * state + (delta * xs) * b_t.to(tl.float32)
            tl.store(states + (token * INNER + channel) * N + n, state.to(tl.bfloat16))
            y = tl.sum(state * c_t.to(tl.float32), 2, keep_dims=True) + skip * xs
            y = y * zs / (1.0 + tl.exp(-zs))
            tl.store(out + token * INNER + channel, y.to(out.dtype.element_ty))
            raw_t, x_t, z_t, b_t, c_t = raw_n, x_n, z_n, b_n, c_n
            token += 1

    @triton.jit
    def _backward(raw, bias, A_log, B, C, x, D, z, states, grad, d_raw, d_B, d_C, d_x, d_z, d_A, d_D, d_bias, length, sb, sc, sz,
                  INNER: tl.constexpr, XB: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        head = tl.program_id(1)
        r = tl.arange(0, R)[:, None, None]
        p = tl.arange(0, N)[None, :, None]
        n = tl.arange(0, N)[None, None, :]
        channel = (head * R + r) * N + p
        A = -tl.exp(tl.load(A_log + channel * N + n))
        b2 = 2.0 * tl.load(bias + channel)
        skip = tl.load(D + channel)
        carry = tl.zeros([R, N, N], tl.float32)  # decay[t + 1] * gradient of s[t + 1]
        sum_A = tl.zeros([R, N, N], tl.float32)
        sum_D = tl.zeros([R, N, 1], tl.float32)
        sum_bias = tl.zeros([R, N, 1], tl.float32)
        first = row * length
        token = first + length - 1
        state = tl.load(states + (token * INNER + channel) * N + n).to(tl.float32)
        raw_t, x_t = tl.load(raw + token * INNER + channel), tl.load(x + token * INNER + channel)
        z_t, g_t = tl.load(z + token * sz + channel), tl.load(grad + token * INNER + channel)
        b_t, c_t = tl.load(B + token * sb + head * N + n), tl.load(C + token * sc + (head * R + r) * N + n)
        s_t = tl.load(states + (tl.maximum(token - 1, first) * INNER + channel) * N + n)
        for i in range(0, length):
            ahead = tl.maximum(token - 1, first)
            raw_n, x_n = tl.load(raw + ahead * INNER + channel), tl.load(x + ahead * INNER + channel)
            z_n, g_n = tl.load(z + ahead * sz + channel), tl.load(grad + ahead * INNER + channel)
            b_n, c_n = tl.load(B + ahead * sb + head * N + n), tl.load(C + ahead * sc + (head * R + r) * N + n)
            s_n = tl.load(states + (tl.maximum(token - 2, first) * INNER + channel) * N + n)
            before = tl.where(token > first, s_t.to(tl.float32), 0.0)
            v = raw_t.to(tl.float32) + b2
            delta = _softplus(v)
            xs = x_t.to(tl.float32)
            zs = z_t.to(tl.float32)
            bs = b_t.to(tl.float32)
            cs = c_t.to(tl.float32)
            g = g_t.to(tl.float32)
            decay = tl.exp(delta * A)
            y = tl.sum(state * cs, 2, keep_dims=True) + skip * xs
            sigmoid = 1.0 / (1.0 + tl.exp(-zs))
            dy = g * zs * sigmoid
            tl.store(d_z + token * INNER + channel, (g * y * sigmoid * (1.0 + zs * (1.0 - sigmoid))).to(d_z.dtype.element_ty))
            d_cs = tl.sum(dy * state, 1, keep_dims=True)  # [R, 1, N]
            tl.store(d_C + token * INNER + (head * R + r) * N + n, d_cs.to(d_C.dtype.element_ty))
            ds = carry + dy * cs
            through = tl.sum(ds * bs, 2, keep_dims=True)
            tl.store(d_x + token * INNER + channel, (dy * skip + delta * through).to(d_x.dtype.element_ty))
            d_bs = tl.sum(tl.sum(ds * (delta * xs), 1, keep_dims=True), 0, keep_dims=True)  # [1, 1, N]
            tl.store(d_B + token * XB + head * N + n, d_bs.to(d_B.dtype.element_ty))
            carry = ds * decay
            da = carry * before
            d_delta = tl.sum(da * A, 2, keep_dims=True) + through * xs
            d_v = d_delta / (1.0 + tl.exp(-v))
            tl.store(d_raw + token * INNER + channel, d_v.to(d_raw.dtype.element_ty))
            sum_A += da * delta
            sum_D += dy * xs
            sum_bias += d_v
            state = before
            raw_t, x_t, z_t, g_t, b_t, c_t, s_t = raw_n, x_n, z_n, g_n, b_n, c_n, s_n
            token -= 1
        tl.store(d_A + (row * INNER + channel) * N + n, sum_A * A)  # A_log's gradient: dA/dA_log = A
        tl.store(d_D + row * INNER + channel, sum_D)
        tl.store(d_bias + row * INNER + channel, 2.0 * sum_bias)

    class _Scan(torch.autograd.Function):
        @staticmethod
        def forward(ctx, raw, bias, A_log, B, C, x, D, z, length):
            inner, N = A_log.shape
            rows, heads = raw.shape[0] // length, B.shape[1] // N
            assert raw.is_contiguous() and x.is_contiguous() and all(t.stride(1) == 1 for t in (B, C, z))
            out = torch.empty_like(x)
            states = torch.empty(raw.shape[0], inner, N, device=x.device, dtype=torch.bfloat16)
            _forward[(rows, heads)](raw, bias, A_log, B, C, x, D, z, out, states, length, B.stride(0), C.stride(0), z.stride(0),
                                    INNER=inner, R=inner // B.shape[1], N=N, num_warps=1)
            ctx.save_for_backward(raw, bias, A_log, B, C, x, D, z, states)
            ctx.length = length
            return out

        @staticmethod
        def backward(ctx, grad):
            raw, bias, A_log, B, C, x, D, z, states = ctx.saved_tensors
            inner, N = A_log.shape
            rows, heads, length = raw.shape[0] // ctx.length, B.shape[1] // N, ctx.length
            d_raw, d_x, d_z, d_C = (torch.empty_like(x) for _ in range(4))
            d_B = torch.empty(B.shape, device=x.device, dtype=x.dtype)
            d_A = torch.empty(rows, inner, N, device=x.device)
            d_D, d_bias = torch.empty(rows, inner, device=x.device), torch.empty(rows, inner, device=x.device)
            _backward[(rows, heads)](raw, bias, A_log, B, C, x, D, z, states, grad.contiguous(), d_raw, d_B, d_C, d_x, d_z, d_A, d_D, d_bias,
                                     length, B.stride(0), C.stride(0), z.stride(0),
                                     INNER=inner, XB=B.shape[1], R=inner // B.shape[1], N=N, num_warps=1)
            return d_raw, d_bias.sum(0), d_A.sum(0), d_B, d_C, d_x, d_D.sum(0), d_z, None


def scan_triton(raw, bias, A_log, B, C, x, D, z, length):
    return _Scan.apply(raw, bias, A_log, B, C, x, D, z, length)


FUSED = triton is not None


def scan(raw, bias, A_log, B, C, x, D, z, length):
    if FUSED and raw.is_cuda and raw.dtype != torch.float64:
        return scan_triton(raw, bias, A_log, B, C, x, D, z, length)
    return scan_reference(raw, bias, A_log, B, C, x, D, z, length)
