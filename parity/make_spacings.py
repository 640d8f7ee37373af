"""Timesteps and noise levels at every number of steps: `python parity/make_spacings.py` writes fixtures/schedulers/spacings.safetensors.

The header's `cases` maps a case to scheduler class and config. Of each case there are tensors (1000), the value at n − 1 being that of n steps:
`hash.<case>` i32, 0 where diffusers cannot paint (it raises, looks ᾱ up at a timestep outside training, or visits one level twice, which ends in NaN);
where they follow from levels, and so are fractions or were rounded from fractions, `timesteps.<case>` f32, their sum instead; and for the classes that
have them `sigmas.<case>` f32, Σ σ_i / (i + 1) over all levels but the last, and `init.<case>` f32, the initial sigma.

The hash starts at 1 and becomes hash · 16777619 + bits, modulo 2^32, for the bits of each timestep as f32, in their order.
"""

import diffusers
import numpy as np
import torch

from common import write

COUNTS = range(1, 1001)
SEED = 0  # nothing is random
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SPACINGS = ("leading", "trailing", "linspace")
LEVELS = {"use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas"}
# Class, name, config, spacings.
KINDS = [
    ("DDIMScheduler", "DDIM", {}, SPACINGS),
    ("PNDMScheduler", "PNDM", {"skip_prk_steps": True}, SPACINGS),
    ("PNDMScheduler", "PNDM_runge_kutta", {}, SPACINGS),
    ("EulerDiscreteScheduler", "Euler", {}, SPACINGS),
    ("EulerDiscreteScheduler", "Euler_karras", {"use_karras_sigmas": True}, SPACINGS),
    ("EulerDiscreteScheduler", "Euler_exponential", {"use_exponential_sigmas": True, "sigma_max": 10.0, "sigma_min": 0.05}, SPACINGS),
    ("EulerAncestralDiscreteScheduler", "EulerAncestral", {}, SPACINGS),
    ("DPMSolverMultistepScheduler", "DPM", {}, SPACINGS),
    ("DPMSolverMultistepScheduler", "DPM_clipped", {"lambda_min_clipped": -2.0}, SPACINGS),
    ("DPMSolverMultistepScheduler", "DPM_cosine", {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, SPACINGS),
    # Their levels do not depend on the spacing.
    ("DPMSolverMultistepScheduler", "DPM_karras", {"use_karras_sigmas": True}, ("linspace",)),
    ("DPMSolverMultistepScheduler", "DPM_lu", {"use_lu_lambdas": True}, ("linspace",)),
]


def polynomial_hash(timesteps):
    value = 1
    for bits in np.asarray(timesteps, dtype=np.float32).view(np.uint32).tolist():
        value = (value * 16777619 + bits) % 2**32
    return value


def paints(scheduler, timesteps):
    """Whether stepping through these timesteps makes sense."""
    name = type(scheduler).__name__
    if name in ("DDIMScheduler", "PNDMScheduler"):
        return timesteps.min() >= 0 and timesteps.max() <= 999
    if name == "DPMSolverMultistepScheduler":
        levels = scheduler.sigmas[:-2].tolist()  # behind a step between equal levels a second-order step is NaN; the last step is of first order
        return len(set(levels)) == len(levels)
    return True


def measure(scheduler, count):
    nothing = {"hash": 0, "timesteps": 0.0, "sigmas": 0.0, "init": 0.0}
    try:
        scheduler.set_timesteps(count)
    except (ValueError, ZeroDivisionError):
        return nothing
    timesteps = scheduler.timesteps.numpy()
    if not paints(scheduler, timesteps):
        return nothing
    row = nothing | {"hash": polynomial_hash(timesteps), "timesteps": timesteps.astype(np.float64).sum()}
    if hasattr(scheduler, "sigmas"):
        sigmas = scheduler.sigmas.double()[:-1]
        row |= {"sigmas": (sigmas / torch.arange(1, len(sigmas) + 1)).sum().item(), "init": float(scheduler.init_noise_sigma)}
    return row


def main():
    tensors, cases = {}, {}
    for scheduler_class, name, own, spacings in KINDS:
        for spacing in spacings:
            config = BETAS | own | {"timestep_spacing": spacing}
            scheduler = getattr(diffusers, scheduler_class).from_config(config)
            rows = [measure(scheduler, count) for count in COUNTS]
            case = f"{name}.{spacing}"
            cases[case] = {"class": scheduler_class, "config": config}
            hashes = np.array([row["hash"] for row in rows], dtype=np.uint32).view(np.int32)
            tensors[f"hash.{case}"] = torch.from_numpy(hashes.copy())
            keys = [key for key, is_there in (("timesteps", LEVELS & own.keys()), ("sigmas", hasattr(scheduler, "sigmas")),
                                              ("init", "Euler" in scheduler_class)) if is_there]
            for key in keys:
                tensors[f"{key}.{case}"] = torch.tensor([row[key] for row in rows], dtype=torch.float32)
            print(case, sum(row["hash"] == 0 for row in rows), "counts cannot be painted")
    write("schedulers", "spacings", tensors, SEED, cases=cases)


main()
