"""Muon for the hidden matrices, Adam for the rest, over parameters kept in a few stacked buffers so that an update is a handful of
kernels and fits a CUDA graph. The f32 masters live here; the model computes with `work`: bf16 matrices and f32 vectors.

Muon's update is orthogonalised momentum (five Newton-Schulz steps), scaled to the size of an Adam update: 0.2 * sqrt(max(rows, columns))."""
import torch

MUON = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight", "in_proj.weight", "out_proj.weight",
        "gate_proj.weight", "up_proj.weight", "down_proj.weight")
HALF = MUON + ("embed_tokens.weight", "dt_proj.weight")


def orthogonalise(g):
    """[n, r, c] -> nearest semi-orthogonal matrices, roughly (singular values 0.7 to 1.2)."""
    x = g.bfloat16() if g.is_cuda else g.float()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.float().square().sum((1, 2), keepdim=True).sqrt() + 1e-7).to(x.dtype)
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445, alpha=1.0)
    return (x.transpose(1, 2) if tall else x).float()


class Optimizer:
    def __init__(self, values, device, half=torch.bfloat16, weight_decay=0.05, betas=(0.9, 0.98)):
        self.weight_decay, self.betas = weight_decay, betas
        self.lr = torch.zeros((), device=device)
        self.count = torch.zeros((), device=device)
        self.work, self.groups, self.flats = {}, [], []
        stacks = {}
        for name, value in values.items():
            if name.endswith(MUON):
                stacks.setdefault(tuple(value.shape), []).append(name)
        for shape, names in stacks.items():
            master = torch.stack([values[name].float() for name in names]).to(device)
            group = {"master": master, "work": master.to(half), "grad": torch.zeros_like(master, dtype=half), "momentum": torch.zeros_like(master)}
            for i, name in enumerate(names):
                self._leaf(name, group["work"][i], group["grad"][i])
            self.groups.append(group)
        for dtype in (half, torch.float32):
            names = [name for name in values if not name.endswith(MUON) and (dtype == half if name.endswith(HALF) else dtype != half or half == torch.float32)]
            names = [name for name in names if name not in self.work]
            if not names:
                continue
            master = torch.cat([values[name].float().reshape(-1) for name in names]).to(device)
            flat = {"master": master, "work": master.to(dtype, copy=True), "grad": torch.zeros_like(master, dtype=dtype),
                    "m": torch.zeros_like(master), "v": torch.zeros_like(master)}
            offset = 0
            for name in names:
                shape, count = values[name].shape, values[name].numel()
                self._leaf(name, flat["work"][offset:offset + count].view(shape), flat["grad"][offset:offset + count].view(shape))
                offset += count
            self.flats.append(flat)
        assert set(self.work) == set(values)

    def _leaf(self, name, work, grad):
        leaf = work.detach().requires_grad_()
        leaf.grad = grad
        self.work[name] = leaf

    def zero(self):
        for group in (*self.groups, *self.flats):
            group["grad"].zero_()

    @torch.no_grad()
    def update(self, clip=1.0):
        """One step with the gradients accumulated so far; returns their norm."""
        self.count += 1
        every = (*self.groups, *self.flats)
        norm = torch.stack([group["grad"].float().square().sum() for group in every]).sum().sqrt()
        scale = torch.clamp(clip / (norm + 1e-6), max=1.0)
        for group in self.groups:
            g = group["grad"].float() * scale
            group["momentum"].mul_(0.95).add_(g, alpha=0.05)
            direction = orthogonalise(g * 0.05 + group["momentum"] * 0.95)
            size = 0.2 * max(g.shape[1:]) ** 0.5
            group["master"].mul_(1 - self.lr * self.weight_decay).sub_(direction * (self.lr * size))
            group["work"].copy_(group["master"])
        first, second = self.betas
        for flat in self.flats:
            g = flat["grad"].float() * scale
            flat["m"].mul_(first).add_(g, alpha=1 - first)
            flat["v"].mul_(second).addcmul_(g, g, value=1 - second)
            mean, square = flat["m"] / (1 - first**self.count), flat["v"] / (1 - second**self.count)
            flat["master"].sub_(self.lr * mean / (square.sqrt() + 1e-8))
            flat["work"].copy_(flat["master"])
        return norm

    @torch.no_grad()
    def values(self):
        """The f32 masters by name."""
        out = {}
        for group in (*self.groups, *self.flats):
            for name, leaf in self.work.items():
                if leaf.data_ptr() >= group["work"].data_ptr() and leaf.data_ptr() < group["work"].data_ptr() + group["work"].numel() * group["work"].element_size():
                    offset = (leaf.data_ptr() - group["work"].data_ptr()) // group["work"].element_size()
                    out[name] = group["master"].reshape(-1)[offset:offset + leaf.numel()].view(leaf.shape).clone()
        return {name: out[name] for name in self.work}
