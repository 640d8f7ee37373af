"""Muon: momentum whose matrices are orthogonalised, for matrices and convolutions; AdamW for everything else."""

import torch


@torch.no_grad()
def orthogonalise(m, steps=5):
    """The nearest half-orthogonal matrix, nearly, by a quintic Newton-Schulz iteration. `m` is (rows, columns)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = m.T if m.shape[0] > m.shape[1] else m
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if m.shape[0] > m.shape[1] else x


class Muon(torch.optim.Optimizer):
    """`lr` is the size of an update relative to RMS 1 in a square matrix; a (out, in) update has RMS 0.2 · lr · √max(out, in)
    / √max(out, in), so that one learning rate fits AdamW's scale."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                nesterov = p.grad.lerp(state["momentum"], group["momentum"])
                matrix = nesterov.reshape(p.shape[0], -1)
                update = orthogonalise(matrix) * (0.2 * max(matrix.shape) ** 0.5)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.reshape(p.shape), alpha=-group["lr"])


# Names of layers that AdamW trains although they are matrices.
OUTER = ("conv_in", "conv_out", "embedding", "embeddings")


class Pair:
    """Muon for the hidden matrices of a model, AdamW for embeddings, first and last layers, norms and biases."""

    def __init__(self, models, lr, muon_lr, outer=OUTER):
        hidden, rest = [], []
        for model in models:
            for name, p in model.named_parameters():
                is_outer = any(part in outer for part in name.split("."))
                (hidden if p.ndim >= 2 and not is_outer else rest).append(p)
        self.adam = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
        self.muon = Muon(hidden, lr=muon_lr)
        self.rates = lr, muon_lr

    def step(self, factor):
        for optimizer, rate in ((self.adam, self.rates[0]), (self.muon, self.rates[1])):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self):
        return {"adam": self.adam.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, saved):
        self.adam.load_state_dict(saved["adam"])
        self.muon.load_state_dict(saved["muon"])
