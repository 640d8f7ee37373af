"""What every training shares: how many threads to use, when to stop, where to go on.

A training has a budget in minutes, not in steps; its learning rate follows the share of the budget that is spent. The
file `.cache/threads` may be changed at any time and holds the number of CPU threads to use; with OMP_NUM_THREADS=1 in
the environment there is one thread always, and the budget counts its own time only.
"""

import os
import time

import torch

from world import CACHE

torch.set_flush_denormal(True)


class Pace:
    """Counts steps and training time over all runs of one training, and saves both with the models."""

    def __init__(self, name, minutes):
        self.path = CACHE / f"{name}.pt"
        self.minutes, self.step, self.spent = minutes, 0, 0.0
        self.now = time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.monotonic
        self.clock = self.now()
        self.set_threads()

    def resume(self, state):
        """Loads the checkpoint into everything in `state` (name: object with load_state_dict) that it holds; False when there is none."""
        if not self.path.exists():
            return False
        saved = torch.load(self.path, map_location="cpu", weights_only=False)
        for name, part in state.items():
            if name in saved:
                part.load_state_dict(saved[name])
        self.step, self.spent = saved["step"], saved["spent"]
        self.clock = self.now()
        return True

    def save(self, state):
        saved = {name: part.state_dict() for name, part in state.items()}
        torch.save({**saved, "step": self.step, "spent": self.spent}, f"{self.path}.new")
        os.replace(f"{self.path}.new", self.path)

    def tick(self):
        """Call once a step; returns the share of the budget that is spent, 0..=1."""
        now = self.now()
        self.spent, self.clock, self.step = self.spent + now - self.clock, now, self.step + 1
        if self.step % 20 == 0:
            self.set_threads()
        return min(1.0, self.spent / 60 / self.minutes)

    def set_threads(self):
        if "OMP_NUM_THREADS" in os.environ:
            return
        try:
            wanted = int((CACHE / "threads").read_text())
        except (OSError, ValueError):
            wanted = 2
        if wanted != torch.get_num_threads():
            torch.set_num_threads(wanted)


def ramp(share, warmup=0.02, decay_from=0.7):
    """Learning rate factor: up over the first `warmup` of the budget, flat, cosine down to 0 from `decay_from` on."""
    if share < warmup:
        return 0.05 + 0.95 * share / warmup
    if share < decay_from:
        return 1.0
    return 0.01 + 0.99 * 0.5 * (1 + torch.cos(torch.tensor((share - decay_from) / (1 - decay_from) * torch.pi)).item())


class Average:
    """Exponential moving average of a model's weights; its memory grows with the number of steps up to `decay`."""

    def __init__(self, model, decay=0.9995):
        self.decay, self.updates = decay, 0
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model):
        self.updates += 1
        decay = min(self.decay, 1 - 10 / (self.updates + 30))
        parts = [(self.weights[name], p) for name, p in model.named_parameters()]
        torch._foreach_lerp_([a for a, _ in parts], [p for _, p in parts], 1 - decay)

    @torch.no_grad()
    def copy_to(self, model):
        for name, p in model.named_parameters():
            p.copy_(self.weights[name])

    def state_dict(self):
        return {"weights": self.weights, "updates": self.updates}

    def load_state_dict(self, saved):
        self.weights, self.updates = saved["weights"], saved["updates"]
