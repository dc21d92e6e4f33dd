"""Muon for the matrices inside the layers, AdamW for everything else.

Muon: the momentum of a matrix is replaced by its nearest semi-orthogonal matrix (five Newton-Schulz steps), scaled so
that its root mean square is that of an Adam update; one learning rate then serves both. Matrices of one shape are
handled as one batch. Stacked experts and output groups are batches of matrices by themselves.
"""

import torch

MATRICES = ("wq_a", "wq_b", "wkv", "wgate", "wo_a", "wo_b", "w1", "w2", "w3", "shared_w1", "shared_w2", "shared_w3")
RATES = {"embed": 1.0, "head": 0.5, "fn": 0.4, "gate": 0.4, "weights_proj": 0.4}


def orthogonal(g, steps=5):
    """g [n, rows, columns]: an approximation of U V^T for each matrix."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16() if g.is_cuda else g.float()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.transpose(-2, -1)
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        y = x @ x.transpose(-2, -1)
        x = a * x + (b * y + c * (y @ y)) @ x
    return (x.transpose(-2, -1) if tall else x).float()


class Optimizer:
    def __init__(self, model, rate, decay=0.05, momentum=0.95):
        self.rate, self.decay, self.momentum = rate, decay, momentum
        self.groups, adam = {}, {}
        for name, p in model.named_parameters():
            leaf = name.rsplit(".", 1)[-1]
            if leaf in MATRICES and "blocks." in name:
                self.groups.setdefault(tuple(p.shape[-2:]), []).append(p)
            else:
                key = "fn" if leaf in ("fn", "hc_head_fn") else leaf
                adam.setdefault(RATES.get(key, 1.0 if p.dim() > 1 else 0.6), []).append(p)
        self.buffers = {shape: [torch.zeros_like(p) for p in group] for shape, group in self.groups.items()}
        self.adam = torch.optim.AdamW([{"params": ps, "scale": scale, "weight_decay": 0.0} for scale, ps in adam.items()],
                                      lr=rate, betas=(0.9, 0.97), eps=1e-10)

    @torch.no_grad()
    def step(self, factor):
        """One update; factor in [0, 1] scales all learning rates."""
        rate = self.rate * factor
        for group in self.adam.param_groups:
            group["lr"] = rate * group["scale"]
        self.adam.step()
        for shape, params in self.groups.items():
            updates = []
            for p, m in zip(params, self.buffers[shape]):
                m.lerp_(p.grad, 1 - self.momentum)
                updates.append(p.grad.lerp(m, self.momentum).reshape((-1,) + shape))
            sizes = [u.shape[0] for u in updates]
            updates = orthogonal(torch.cat(updates)) * (0.2 * max(shape) ** 0.5)
            for p, u in zip(params, updates.split(sizes)):
                p.mul_(1 - rate * self.decay).add_(u.reshape(p.shape), alpha=-rate)

    def state(self):
        return {"adam": self.adam.state_dict(), "muon": self.buffers}

    def load(self, state):
        self.adam.load_state_dict(state["adam"])
        for shape, own in self.buffers.items():
            for a, b in zip(own, state["muon"][shape]):
                a.copy_(b)
