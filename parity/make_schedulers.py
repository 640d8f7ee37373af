"""Schedulers: `python parity/make_schedulers.py` writes fixtures/schedulers/schedulers.safetensors.

The header's `cases` maps a case to scheduler class, config, number of steps and initial sigma. `timesteps.<case>` is f64; `states.<case>` (S, 1, 4, 4, 4) f32
holds the sample after each call (after every tenth and the last for 50 steps). The stand-in for a model is
`0.3 · scaled sample + output[i]` at call i, with `output` (52, 1, 4, 4, 4) shared by all cases; the start is `start` · initial sigma, and the
ancestral scheduler draws its noise from a CPU generator with the header's `noise_seed`. Channels first, which matters for that noise only.

Flow matching goes along the levels that its pipelines pass, `linspace(1, 1/S, S)`; those that the class makes by itself are shifted twice.
"""

import json

import diffusers
import numpy as np
import torch

from common import generator, write

SEED = 3
NOISE_SEED = 9
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
OWN = {
    "DDIMScheduler": {"set_alpha_to_one": False, "clip_sample": False},
    "PNDMScheduler": {"set_alpha_to_one": False, "skip_prk_steps": True},
    "EulerDiscreteScheduler": {},
    "EulerAncestralDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {},
}


FLOW_MATCH = "FlowMatchEulerDiscreteScheduler"


def run(scheduler_class, config, steps, start, output):
    scheduler = getattr(diffusers, scheduler_class).from_config(config)
    is_flow = scheduler_class == FLOW_MATCH
    scheduler.set_timesteps(**({"sigmas": np.linspace(1.0, 1 / steps, steps)} if is_flow else {"num_inference_steps": steps}))
    is_ancestral = "Ancestral" in scheduler_class
    extra = {"generator": generator(NOISE_SEED)} if is_ancestral else {}
    init_noise_sigma = 1.0 if is_flow else scheduler.init_noise_sigma
    sample = start * init_noise_sigma
    states = []
    for i, timestep in enumerate(scheduler.timesteps):
        model_output = 0.3 * (sample if is_flow else scheduler.scale_model_input(sample, timestep)) + output[i]
        sample = scheduler.step(model_output, timestep, sample, **extra).prev_sample
        states.append(sample)
    kept = [i for i in range(len(states)) if steps <= 10 or i % 10 == 9 or i == len(states) - 1]
    assert all(torch.isfinite(state).all() for state in states)
    return scheduler, init_noise_sigma, torch.stack([states[i] for i in kept]), kept


def main():
    random = generator(SEED)
    start, output = (torch.randn(n, 1, 4, 4, 4, generator=random) for n in (1, 52))
    tensors, cases = {"start": start[0], "output": output}, {}
    for scheduler_class, own in OWN.items():
        for prediction in ("epsilon", "v_prediction"):
            for spacing in ("leading", "trailing", "linspace"):
                for steps in (1, 10, 50):
                    if steps == 1 and scheduler_class == "PNDMScheduler":
                        continue  # diffusers' PNDM has no second-largest timestep to repeat then
                    if steps == 1 and "Euler" in scheduler_class and spacing == "linspace":
                        continue  # all at timestep 0, where 1 − ᾱ is so small that diffusers' f32 tables put sigma 3e-5 of itself off
                    case = f"{scheduler_class.removesuffix('Scheduler')}.{prediction}.{spacing}.{steps}"
                    config = BETAS | own | {"prediction_type": prediction, "timestep_spacing": spacing}
                    add(tensors, cases, case, scheduler_class, config, steps, start[0], output)
    # Keys that published checkpoints vary.
    extra = {
        "DDIM.class_defaults": ("DDIMScheduler", {}),
        "DDIM.zero_snr": ("DDIMScheduler", BETAS | OWN["DDIMScheduler"] | {"prediction_type": "v_prediction", "timestep_spacing": "trailing",
                                                                         "rescale_betas_zero_snr": True}),
        "EulerDiscrete.class_defaults": ("EulerDiscreteScheduler", {}),
        "EulerDiscrete.karras": ("EulerDiscreteScheduler", BETAS | {"use_karras_sigmas": True, "timestep_spacing": "leading"}),
        "DPMSolverMultistep.karras": ("DPMSolverMultistepScheduler", BETAS | {"use_karras_sigmas": True}),
        "DPMSolverMultistep.from_sd15": ("DPMSolverMultistepScheduler", BETAS | OWN["PNDMScheduler"]),
        "EulerDiscrete.karras_ends": ("EulerDiscreteScheduler", BETAS | {"use_karras_sigmas": True, "timestep_spacing": "leading", "sigma_max": 10.0,
                                                                       "sigma_min": 0.1}),
        "EulerDiscrete.exponential": ("EulerDiscreteScheduler", BETAS | {"use_exponential_sigmas": True, "final_sigmas_type": "sigma_min"}),
        "EulerDiscrete.log_linear": ("EulerDiscreteScheduler", BETAS | {"interpolation_type": "log_linear", "timestep_type": "continuous"}),
        "DPMSolverMultistep.karras_ends": ("DPMSolverMultistepScheduler", BETAS | {"use_karras_sigmas": True, "sigma_max": 10.0, "sigma_min": 0.1}),
        "DPMSolverMultistep.from_unipc": ("DPMSolverMultistepScheduler", BETAS | {"solver_type": "bh2"}),
        "DPMSolverMultistep.from_deis": ("DPMSolverMultistepScheduler", BETAS | {"solver_type": "logrho", "algorithm_type": "deis",
                                                                              "final_sigmas_type": "sigma_min"}),
        "DPMSolverMultistep.heun": ("DPMSolverMultistepScheduler", BETAS | {"solver_type": "heun", "prediction_type": "v_prediction"}),
        "DPMSolverMultistep.lu": ("DPMSolverMultistepScheduler", BETAS | {"use_lu_lambdas": True}),
        "DPMSolverMultistep.clipped": ("DPMSolverMultistepScheduler", BETAS | {"lambda_min_clipped": -2.0, "timestep_spacing": "trailing"}),
        "PNDM.class_defaults": ("PNDMScheduler", {}),
        "PNDM.class_defaults_skip_prk": ("PNDMScheduler", {"skip_prk_steps": True}),
        "PNDM.runge_kutta": ("PNDMScheduler", BETAS | {"set_alpha_to_one": False, "prediction_type": "v_prediction"}),
    }
    for case, (scheduler_class, config) in extra.items():
        add(tensors, cases, f"{case}.10", scheduler_class, config, 10, start[0], output)
    for name, config in {"class_defaults": {}, "shift_3": {"shift": 3.0}, "shift_6": {"shift": 6.0, "num_train_timesteps": 500}}.items():
        for steps in (1, 10, 50):
            # Files of this class name it; it is what says that the model was trained so.
            add(tensors, cases, f"FlowMatchEulerDiscrete.{name}.{steps}", FLOW_MATCH, {"_class_name": FLOW_MATCH} | config, steps, start[0], output)
    write("schedulers", "schedulers", tensors, SEED, cases=cases, noise_seed=NOISE_SEED)


def add(tensors, cases, case, scheduler_class, config, steps, start, output):
    scheduler, init_noise_sigma, states, kept = run(scheduler_class, config, steps, start, output)
    tensors[f"timesteps.{case}"] = scheduler.timesteps.double()
    tensors[f"states.{case}"] = states
    cases[case] = {"class": scheduler_class, "config": json.loads(json.dumps(config)), "steps": steps, "kept": kept,
                   "init_noise_sigma": float(init_noise_sigma)}


main()
