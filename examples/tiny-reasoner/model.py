"""The teacher (a llama-style transformer) and the student (M1 with Mamba-1 layers) over flat dictionaries of parameters named as in
the checkpoint, so that a checkpoint is the dictionary. `forward` runs whole sequences for training, `Decoder` one token of many sequences."""
import dataclasses
import math

import torch
import torch.nn.functional as F

from scan import scan


@dataclasses.dataclass(frozen=True)
class Config:
    vocab: int = 480
    d_model: int = 256
    layers: int = 8
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 32
    mlp: int = 512
    d_state: int = 16
    d_conv: int = 4
    eps: float = 1e-5
    theta: float = 10000.0
    attention_layers: tuple = (2, 5)  # of the student; the teacher has attention everywhere
    positions: int = 1024

    @property
    def d_inner(self):
        return self.heads * self.head_dim

    @property
    def d_xb(self):
        return self.kv_heads * self.head_dim

    @property
    def dt_rank(self):
        return -(-self.d_model // 16)

    def hugging_face(self, special):
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": self.d_model, "num_hidden_layers": self.layers,
                "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads, "head_dim": self.head_dim,
                "intermediate_size": self.mlp, "hidden_act": "silu", "rms_norm_eps": self.eps, "rope_theta": self.theta,
                "max_position_embeddings": self.positions, "vocab_size": self.vocab, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
                "bos_token_id": special[0], "eos_token_id": special[1]}


def shapes(config, student):
    """Name -> shape of every parameter."""
    c, out = config, {"model.embed_tokens.weight": (config.vocab, config.d_model), "model.norm.weight": (config.d_model,)}
    for i in range(c.layers):
        at = f"model.layers.{i}."
        if not student:
            out[at + "self_attn.q_proj.weight"] = (c.d_inner, c.d_model)
            out[at + "self_attn.k_proj.weight"] = out[at + "self_attn.v_proj.weight"] = (c.d_xb, c.d_model)
            out[at + "self_attn.o_proj.weight"] = (c.d_model, c.d_inner)
        elif i in c.attention_layers:
            out[at + "mha.in_proj.weight"] = (c.d_inner + 2 * c.d_xb, c.d_model)
            out[at + "mha.out_proj.weight"] = (c.d_model, c.d_inner)
        else:
            out[at + "mamba.in_proj.weight"] = (2 * c.d_inner + 2 * c.d_xb + c.dt_rank, c.d_model)
            out[at + "mamba.out_proj.weight"] = (c.d_model, c.d_inner)
            out[at + "mamba.dt_proj.weight"] = (c.d_inner, c.dt_rank)
            out[at + "mamba.conv1d.weight"] = (c.d_inner, 1, c.d_conv)
            out[at + "mamba.A_log"] = (c.d_inner, c.d_state)
            out[at + "mamba.dt_proj.bias"] = out[at + "mamba.conv1d.bias"] = out[at + "mamba.D"] = (c.d_inner,)
        out[at + "mlp.gate_proj.weight"] = out[at + "mlp.up_proj.weight"] = (c.mlp, c.d_model)
        out[at + "mlp.down_proj.weight"] = (c.d_model, c.mlp)
        out[at + "input_layernorm.weight"] = out[at + "post_attention_layernorm.weight"] = (c.d_model,)
    return out


def random_matrix(name, shape, config):
    """What from-scratch models start from: variance 1/fan_in, the residual branches' last matrices scaled down by depth."""
    if len(shape) == 1:
        return torch.ones(shape)
    if "embed_tokens" in name:
        return torch.randn(shape) * config.d_model**-0.5
    scale = shape[1] ** -0.5
    if name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight")):
        scale *= (2 * config.layers) ** -0.5
    return torch.randn(shape) * scale


# Functions that torch.compile may fuse (train.py decides): all work on flat rows [tokens, features].
def rms_norm(h, weight, eps, dtype):
    return (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps) * weight).to(dtype)


def add_rms_norm(h, update, weight, eps):
    h = h + update.to(h.dtype)
    return h, rms_norm(h, weight, eps, update.dtype)


def silu_mul(gate, up):
    return (F.silu(gate.float()) * up.float()).to(gate.dtype) if gate.dtype == torch.bfloat16 else F.silu(gate) * up


def causal_conv(x, weight, bias, position, d_state):
    """x [tokens, d_xb] -> [tokens, d_inner]: heads repeated, then the depthwise convolution and silu. position [tokens, 1] in its sequence."""
    inner, _, width = weight.shape
    repeat = inner // x.shape[1]
    wide = torch.promote_types(x.dtype, torch.float32)
    x_wide = x.to(wide).view(x.shape[0], -1, 1, d_state).expand(-1, -1, repeat, -1).reshape(x.shape[0], inner)
    weight = weight.to(wide)
    y = bias.to(wide) + weight[:, 0, width - 1] * x_wide
    for back in range(1, width):
        earlier = F.pad(x_wide, (0, 0, back, 0))[:-back]
        y = y + weight[:, 0, width - 1 - back] * torch.where(position >= back, earlier, torch.zeros_like(earlier))
    return F.silu(y).to(x.dtype)


def rotate(x, cos, sin):
    """x [tokens, heads, d]; cos, sin [tokens, 1, d / 2]; the half-split form."""
    a, b = x.float().chunk(2, -1) if x.dtype == torch.bfloat16 else x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


FUSED = {"add_rms_norm": add_rms_norm, "silu_mul": silu_mul, "causal_conv": causal_conv, "rotate": rotate}


def attention(q, k, v):
    """[rows, heads, length, d], causal."""
    repeat = q.shape[1] // k.shape[1]
    k, v = (t.unsqueeze(2).expand(-1, -1, repeat, -1, -1).reshape(q.shape) for t in (k, v))
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    mask = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).tril()
    return scores.masked_fill(~mask, -math.inf).softmax(-1) @ v


class Embedding(torch.autograd.Function):
    """Rows of the table; the gradient is one matrix product, which is exact in its sums and never waits for the host."""

    @staticmethod
    def forward(ctx, tokens, table):
        ctx.save_for_backward(tokens)
        ctx.vocab = table.shape[0]
        return F.embedding(tokens, table)

    @staticmethod
    def backward(ctx, grad):
        one_hot = ctx.saved_tensors[0].unsqueeze(0) == torch.arange(ctx.vocab, device=grad.device).unsqueeze(1)
        return None, one_hot.to(grad.dtype) @ grad


class Rows:
    """Positions and rotary tables of `rows` sequences of `length` tokens laid end to end."""

    def __init__(self, config, rows, length, device, dtype=torch.float32):
        self.length = length
        at = torch.arange(length, device=device).repeat(rows)
        self.position = at.unsqueeze(1)
        frequency = config.theta ** (-torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float64) / config.head_dim)
        angle = (at.double().unsqueeze(1) * frequency).unsqueeze(1)
        self.cos, self.sin = angle.cos().to(dtype), angle.sin().to(dtype)


def forward(params, config, tokens, rows, student):
    """tokens [rows * length] -> logits [rows * length, vocab] in the type of the matrices; the residual stream is at least f32."""
    c, length = config, rows.length
    count = tokens.shape[0] // length
    embedding = params["model.embed_tokens.weight"]
    dtype = embedding.dtype
    h = Embedding.apply(tokens, embedding).to(torch.promote_types(dtype, torch.float32))
    x = rms_norm(h, params["model.layers.0.input_layernorm.weight"], c.eps, dtype)
    for i in range(c.layers):
        at = f"model.layers.{i}."
        if student and i not in c.attention_layers:
            p = {name: params[f"{at}mamba.{name}"] for name in
                 ("in_proj.weight", "out_proj.weight", "dt_proj.weight", "dt_proj.bias", "conv1d.weight", "conv1d.bias", "A_log", "D")}
            z, xs, b, cs, dt = F.linear(x, p["in_proj.weight"]).split((c.d_inner, c.d_xb, c.d_xb, c.d_inner, c.dt_rank), 1)
            raw = F.linear(dt, p["dt_proj.weight"])
            xs = FUSED["causal_conv"](xs, p["conv1d.weight"], p["conv1d.bias"], rows.position, c.d_state)
            inner = scan(raw, p["dt_proj.bias"], p["A_log"], b, cs, xs, p["D"], z, length)
            update = F.linear(inner, p["out_proj.weight"])
        else:
            if student:
                q, k, v = F.linear(x, params[at + "mha.in_proj.weight"]).split((c.d_inner, c.d_xb, c.d_xb), 1)
                out = params[at + "mha.out_proj.weight"]
            else:
                q, k, v = (F.linear(x, params[f"{at}self_attn.{name}_proj.weight"]) for name in "qkv")
                out = params[at + "self_attn.o_proj.weight"]
            q = FUSED["rotate"](q.reshape(-1, c.heads, c.head_dim), rows.cos, rows.sin)
            k = FUSED["rotate"](k.reshape(-1, c.kv_heads, c.head_dim), rows.cos, rows.sin)
            q, k, v = (t.reshape(count, length, -1, c.head_dim).transpose(1, 2) for t in (q, k, v))
            update = F.linear(attention(q, k, v).transpose(1, 2).reshape(count * length, c.d_inner), out)
        h, x = FUSED["add_rms_norm"](h, update, params[at + "post_attention_layernorm.weight"], c.eps)
        update = F.linear(FUSED["silu_mul"](F.linear(x, params[at + "mlp.gate_proj.weight"]), F.linear(x, params[at + "mlp.up_proj.weight"])),
                          params[at + "mlp.down_proj.weight"])
        last = i + 1 == c.layers
        h, x = FUSED["add_rms_norm"](h, update, params["model.norm.weight" if last else f"model.layers.{i + 1}.input_layernorm.weight"], c.eps)
    return F.linear(x, embedding)


class Decoder:
    """One token of `rows` sequences at a time, states in place, so that a step can be a CUDA graph."""

    def __init__(self, params, config, rows, length, student, device):
        c = self.config = config
        self.params, self.rows, self.length, self.student = params, rows, length, student
        dtype = params["model.embed_tokens.weight"].dtype
        self.wide = torch.promote_types(dtype, torch.float32)
        table = Rows(config, 1, length, device, self.wide)
        self.cos, self.sin = table.cos, table.sin
        self.positions = torch.arange(length, device=device)
        self.at = torch.zeros((), dtype=torch.long, device=device)  # position of the token that the next step eats
        self.conv, self.state, self.keys, self.values = {}, {}, {}, {}
        for i in range(c.layers):
            if student and i not in c.attention_layers:
                self.conv[i] = torch.zeros(rows, c.d_inner, c.d_conv, device=device, dtype=dtype)
                self.state[i] = torch.zeros(rows, c.d_inner, c.d_state, device=device, dtype=self.wide)
            else:
                self.keys[i] = torch.zeros(rows, c.kv_heads, length, c.head_dim, device=device, dtype=dtype)
                self.values[i] = torch.zeros_like(self.keys[i])

    def reset(self):
        self.at.zero_()
        for tensor in (*self.conv.values(), *self.state.values()):
            tensor.zero_()

    def mamba(self, i, x):
        c, at = self.config, f"model.layers.{i}.mamba."
        p = lambda name: self.params[at + name]
        z, xs, b, cs, dt = F.linear(x, p("in_proj.weight")).split((c.d_inner, c.d_xb, c.d_xb, c.d_inner, c.dt_rank), 1)
        repeat = c.d_inner // c.d_xb
        delta = F.softplus(F.linear(dt, p("dt_proj.weight")).to(self.wide) + 2 * p("dt_proj.bias").to(self.wide))
        xs = xs.view(self.rows, -1, 1, c.d_state).expand(-1, -1, repeat, -1).reshape(self.rows, c.d_inner)
        conv = self.conv[i]
        conv.copy_(torch.cat((conv[..., 1:], xs.unsqueeze(-1)), -1))
        xs = (conv.to(self.wide) * p("conv1d.weight")[:, 0].to(self.wide)).sum(-1) + p("conv1d.bias").to(self.wide)
        xs = F.silu(xs).to(x.dtype).to(self.wide)
        b = b.to(self.wide).view(self.rows, -1, 1, 1, c.d_state)
        cs = cs.to(self.wide).view(self.rows, -1, repeat, 1, c.d_state)
        self.state[i].mul_(torch.exp(delta.unsqueeze(-1) * -torch.exp(p("A_log").to(self.wide))))
        state = self.state[i].view(self.rows, -1, repeat, c.d_state, c.d_state)  # [.., heads of B, groups, channels, states]
        state.addcmul_((delta * xs).view(self.rows, -1, repeat, c.d_state, 1), b.expand(state.shape))
        y = (state * cs).sum(-1).view(self.rows, c.d_inner) + p("D").to(self.wide) * xs
        return F.linear((y * F.silu(z.to(self.wide))).to(x.dtype), p("out_proj.weight"))

    def attend(self, i, x):
        c, at = self.config, f"model.layers.{i}."
        if self.student:
            q, k, v = F.linear(x, self.params[at + "mha.in_proj.weight"]).split((c.d_inner, c.d_xb, c.d_xb), 1)
            out = self.params[at + "mha.out_proj.weight"]
        else:
            q, k, v = (F.linear(x, self.params[f"{at}self_attn.{name}_proj.weight"]) for name in "qkv")
            out = self.params[at + "self_attn.o_proj.weight"]
        cos, sin = self.cos.index_select(0, self.at.view(1)), self.sin.index_select(0, self.at.view(1))
        q = rotate(q.reshape(-1, c.heads, c.head_dim), cos, sin)
        k = rotate(k.reshape(-1, c.kv_heads, c.head_dim), cos, sin)
        self.keys[i].index_copy_(2, self.at.view(1), k.unsqueeze(2))
        self.values[i].index_copy_(2, self.at.view(1), v.reshape(-1, c.kv_heads, 1, c.head_dim))
        q = q.view(self.rows, c.kv_heads, c.heads // c.kv_heads, c.head_dim)
        scores = (q @ self.keys[i].transpose(-1, -2)).to(self.wide) / math.sqrt(c.head_dim)
        scores = scores.masked_fill(self.positions > self.at, -math.inf)
        return F.linear((scores.softmax(-1).to(x.dtype) @ self.values[i]).reshape(self.rows, c.d_inner), out)

    def step(self, tokens):
        """tokens [rows] -> logits [rows, vocab]; moves on by one position."""
        c, params = self.config, self.params
        embedding = params["model.embed_tokens.weight"]
        h = F.embedding(tokens, embedding).to(self.wide)
        for i in range(c.layers):
            at = f"model.layers.{i}."
            x = rms_norm(h, params[at + "input_layernorm.weight"], c.eps, embedding.dtype)
            h = h + (self.mamba(i, x) if i in self.state else self.attend(i, x)).to(self.wide)
            x = rms_norm(h, params[at + "post_attention_layernorm.weight"], c.eps, embedding.dtype)
            gated = silu_mul(F.linear(x, params[at + "mlp.gate_proj.weight"]), F.linear(x, params[at + "mlp.up_proj.weight"]))
            h = h + F.linear(gated, params[at + "mlp.down_proj.weight"]).to(self.wide)
        self.at += 1
        return F.linear(rms_norm(h, params["model.norm.weight"], c.eps, embedding.dtype), embedding)
