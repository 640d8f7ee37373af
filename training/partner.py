"""A second process that computes gradients beside the first, with whatever processor time is left over.

Both read the same weights in shared memory. The partner's gradients are at most a step or two old when they are added; with momentum
that does no harm, and unlike threads in step with each other neither process waits when something else uses a core.
"""

import os
import time

import torch
from torch import multiprocessing


class Partner:
    """Starts `work(shared, share, given, ready)` in a process of its own; `params` move to shared memory."""

    def __init__(self, params, work, *arguments):
        self.params = list(params)
        for p in self.params:
            p.data.share_memory_()
        context = multiprocessing.get_context("spawn")
        self.given = [torch.zeros_like(p.data).share_memory_() for p in self.params]
        self.share, self.ready = context.Value("d", 0.0), context.Event()
        shared = [p.data for p in self.params]
        context.Process(target=work, args=(shared, self.share, self.given, self.ready, *arguments), daemon=True).start()

    @torch.no_grad()
    def join_gradients(self, share):
        """Averages the partner's gradients with those of `params`, if there are new ones; True then."""
        self.share.value = share
        if not self.ready.is_set():
            return False
        for p, given in zip(self.params, self.given):
            if p.grad is not None:
                p.grad.add_(given).mul_(0.5)
        self.ready.clear()
        return True


def serve_gradients(params, shared, given, ready, compute):
    """The partner's loop: `compute()` fills the gradients of `params`, which become views of the shared weights."""
    os.sched_setaffinity(0, range(os.cpu_count()))  # the first process may be bound to one core
    os.nice(20)
    torch.set_num_threads(1)
    params = list(params)
    for p, weights in zip(params, shared):
        p.data = weights
    while os.getppid() != 1:
        compute()
        while ready.is_set() and os.getppid() != 1:
            time.sleep(0.002)
        for p, out in zip(params, given):
            if p.grad is not None:
                out.copy_(p.grad)
                p.grad = None
        ready.set()
