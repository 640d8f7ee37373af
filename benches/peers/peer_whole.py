"""A whole generation by PyTorch and diffusers: `python peer_whole.py FOLDER sd|lmd-plus --precision bf16 --steps 8`, for whole.py.

`sd` is diffusers' own pipeline. `lmd-plus` is the community pipeline `llm_grounded_diffusion` as a loop of its own over a GLIGEN folder, as in
parity/make_lmd_plus.py: threshold 0, so that `--updates` alone decides how often latents move before each step. At its best PyTorch has frozen
weights, channels-last convolutions, and attention maps of the guided layers only; `--as-published` keeps gradients of weights, channels first, and maps
of every cross-attention; `--short` ends the pass of an update at the last map, as ours does and the pipeline does not. `--load-only` ends when the first step would begin.
Prints its times as JSON.
"""

import argparse
import json
import os
import time

import torch
from diffusers import StableDiffusionGLIGENPipeline, StableDiffusionPipeline

from peer_torch import GUIDANCE_LAYERS, LastMap, Recorder

PROMPT, NEGATIVE = "a realistic photo of a scene with a blue dog and a white bowl", "blurry"
PHRASES = ["a blue dog", "a white bowl"]
BOXES = [[0.1, 0.4, 0.49, 0.98], [0.625, 0.586, 0.9375, 0.879]]  # x0, y0, x1, y1
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
GUIDANCE_SCALE, LOSS_SCALE, BETA, TOP_P, SLOTS = 7.5, 20.0, 0.3, 0.2, 30


def load(args):
    pipeline = StableDiffusionPipeline if args.method == "sd" else StableDiffusionGLIGENPipeline
    pipe = pipeline.from_pretrained(args.folder, torch_dtype=DTYPES[args.precision])
    pipe.set_progress_bar_config(disable=True)
    if not args.as_published:
        for model in (pipe.unet, pipe.vae, pipe.text_encoder):
            model.requires_grad_(False).eval()
        if not args.load_only:
            pipe.unet.to(memory_format=torch.channels_last)
            pipe.vae.to(memory_format=torch.channels_last)
    return pipe


@torch.no_grad()
def encode(pipe, texts):
    ids = pipe.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt").input_ids
    return pipe.text_encoder(ids).last_hidden_state


@torch.no_grad()
def grounding(pipe):
    """Boxes, pooled phrases and mask of [unconditional, conditional]."""
    width = pipe.unet.config.cross_attention_dim
    boxes, phrases, mask = torch.zeros(2, SLOTS, 4), torch.zeros(2, SLOTS, width), torch.zeros(2, SLOTS)
    ids = pipe.tokenizer(PHRASES, padding=True, return_tensors="pt").input_ids
    boxes[:, :len(BOXES)] = torch.tensor(BOXES)
    phrases[:, :len(BOXES)] = pipe.text_encoder(ids).pooler_output
    mask[1, :len(BOXES)] = 1
    return {name: x.to(pipe.unet.dtype) for name, x in [("boxes", boxes), ("positive_embeddings", phrases), ("masks", mask)]}


def positions(tokenizer, phrase):
    text, wanted = tokenizer(PROMPT).input_ids, tokenizer(phrase).input_ids[1:-1]
    return next(list(range(i, i + len(wanted))) for i in range(len(text)) if text[i:i + len(wanted)] == wanted)


def mask_of(box, side):
    x0, y0, x1, y1 = (round(edge * side) for edge in box)
    mask = torch.zeros(side, side)
    mask[y0:y1, x0:x1] = 1
    return mask.flatten()  # (HW)


def box_loss(maps, tokens):
    """LMD's box loss with both weights 1, summed over heads; maps are (heads, HW, L)."""
    total = 0.0
    for probs in maps:
        side = int(probs.shape[1] ** 0.5)
        for box, places in zip(BOXES, tokens):
            mask = mask_of(box, side).to(probs.dtype)
            inside = int(mask.sum())
            attention = probs[:, :, places].transpose(1, 2)  # (heads, tokens, HW)
            foreground = (attention * mask).topk(max(1, int(TOP_P * inside))).values.mean(-1)
            background = (attention * (1 - mask)).topk(max(1, int(TOP_P * (side * side - inside)))).values.mean(-1)
            total = total + (1 - foreground + background).mean(-1).sum()
    return total / (len(maps) * len(BOXES))


class Painter:
    def __init__(self, pipe, args):
        self.pipe, self.maps = pipe, []
        self.text, self.grounding = encode(pipe, [NEGATIVE, PROMPT]), grounding(pipe)
        self.tokens = [positions(pipe.tokenizer, phrase) for phrase in PHRASES]
        fused = dict(pipe.unet.attn_processors)
        is_recorded = (lambda name: "attn2" in name) if args.as_published else (lambda name: "attn2" in name and name.startswith(tuple(GUIDANCE_LAYERS)))
        last = len(GUIDANCE_LAYERS) if args.short else None
        self.fused, self.recorders = fused, {name: Recorder(self.kept(name), last) if is_recorded(name) else old for name, old in fused.items()}

    def kept(self, name):
        return self.maps if name.startswith(tuple(GUIDANCE_LAYERS)) else []

    def update(self, latents, timestep):
        """Latents moved once: the conditional text, no grounding."""
        unet, scheduler = self.pipe.unet, self.pipe.scheduler
        unet.set_attn_processor(dict(self.recorders))
        self.maps.clear()
        latents = latents.detach().requires_grad_()
        try:
            unet(latents, timestep, self.text[1:], return_dict=False)
        except LastMap:
            pass
        loss = LOSS_SCALE * box_loss(self.maps, self.tokens)
        (gradient,) = torch.autograd.grad(loss.float(), latents)
        self.maps.clear()
        unet.set_attn_processor(dict(self.fused))
        return latents.detach() - (1 - scheduler.alphas_cumprod[timestep]).sqrt().to(gradient.dtype) * gradient

    @torch.no_grad()
    def step(self, latents, timestep, is_grounded):
        arguments = {"gligen": dict(self.grounding)} if is_grounded else None
        noise = self.pipe.unet(torch.cat([latents] * 2), timestep, self.text, cross_attention_kwargs=arguments, return_dict=False)[0]
        noise = noise[:1] + GUIDANCE_SCALE * (noise[1:] - noise[:1])
        return self.pipe.scheduler.step(noise, timestep, latents).prev_sample


def lmd_plus(pipe, args, times):
    painter = Painter(pipe, args)
    latents = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(args.seed)).to(pipe.unet.dtype)
    pipe.scheduler.set_timesteps(args.steps)
    for index, timestep in enumerate(pipe.scheduler.timesteps):
        for _ in range(args.updates[index] if index < len(args.updates) else 0):
            latents = timed(times, "updates", lambda: painter.update(latents, timestep))
        is_grounded = index < int(BETA * args.steps)
        latents = timed(times, "grounded steps" if is_grounded else "steps", lambda: painter.step(latents, timestep, is_grounded))
    with torch.no_grad():
        pixels = timed(times, "decoding", lambda: pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)[0])
    return pipe.image_processor.postprocess(pixels)[0]


def sd(pipe, args, times):
    random = torch.Generator().manual_seed(args.seed)
    return timed(times, "pipeline", lambda: pipe(PROMPT, negative_prompt=NEGATIVE, num_inference_steps=args.steps, guidance_scale=GUIDANCE_SCALE, generator=random)).images[0]


def timed(times, name, call):
    start = time.perf_counter()
    result = call()
    times.setdefault(name, []).append(round(time.perf_counter() - start, 3))
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("method", choices=["sd", "lmd-plus"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--updates", type=int, nargs="*", default=[], help="before each step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--precision", choices=list(DTYPES), default="bf16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--as-published", action="store_true")
    parser.add_argument("--load-only", action="store_true")
    parser.add_argument("--out", default="peer.png")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    times = {}
    pipe = timed(times, "loading", lambda: load(args))
    if args.load_only:
        encode(pipe, [NEGATIVE, PROMPT])
        print(json.dumps(times), flush=True)
        os._exit(0)  # what follows is no part of the start
    {"sd": sd, "lmd-plus": lmd_plus}[args.method](pipe, args, times).save(args.out)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
