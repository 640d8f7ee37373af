"""PyTorch and diffusers as a peer: `python peer_torch.py FOLDER f32|bf16|int8 [THREADS]`, then the line protocol of the `time_parts` example.

Weights are frozen (which the published pipelines forget: it spares PyTorch their gradients), convolutions are channels-last, attention is
PyTorch's fused one except at the layers whose maps a guidance pass records. In `guidance` that pass runs the whole network, as in the published pipelines; `short`
ends it at the last map, as ours does. `int8` is what PyTorch itself quantises for processors: the products of linear layers, activations by dynamic ranges, the rest in
f32, and no gradients. The first line tells the seconds of loading, the instructions that PyTorch's own kernels use, and those of oneDNN by the name of a convolution that it ran.
"""

import os
import re
import sys
import tempfile
import time

import torch
from diffusers import StableDiffusionPipeline

PROMPTS = ["", "a realistic photo of a red dog and a white bowl on a table"]
GUIDANCE_LAYERS = ["mid_block.attentions.0", "up_blocks.1.attentions.0", "up_blocks.1.attentions.1", "up_blocks.1.attentions.2"]


class LastMap(Exception):
    """All maps are there; what follows in the network is not needed."""


class Recorder:
    """Cross-attention written out, its probabilities kept; once there are `last` of them, the pass is over."""

    def __init__(self, maps, last=None):
        self.maps, self.last = maps, last

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probs = attn.get_attention_scores(query, key)
        self.maps.append(probs)
        if len(self.maps) == self.last:
            raise LastMap
        return attn.to_out[0](attn.batch_to_head_dim(torch.bmm(probs, value)))


class Parts:
    def __init__(self, folder, precision):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype)
        for model in (self.pipe.unet, self.pipe.vae, self.pipe.text_encoder):
            model.requires_grad_(False).eval()
        self.pipe.unet.to(memory_format=torch.channels_last)
        self.pipe.vae.to(memory_format=torch.channels_last)
        if precision == "int8":
            self.pipe.unet = torch.ao.quantization.quantize_dynamic(self.pipe.unet, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
        self.latents = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
        self.latents = self.latents.contiguous(memory_format=torch.channels_last)
        self.embeds = self.embed()
        self.plain = dict(self.pipe.unet.attn_processors)
        self.maps = []

    @torch.no_grad()
    def embed(self):
        ids = self.pipe.tokenizer(PROMPTS, padding="max_length", max_length=77, return_tensors="pt").input_ids
        return self.pipe.text_encoder(ids).last_hidden_state

    def encode(self):
        self.embed()

    @torch.no_grad()
    def step(self):
        self.pipe.unet(torch.cat([self.latents] * 2), 981, self.embeds, return_dict=False)

    def short(self):
        self.guidance(last=len(GUIDANCE_LAYERS))

    def guidance(self, last=None):
        recorders = {name: Recorder(self.maps, last) if "attn2" in name and any(name.startswith(layer) for layer in GUIDANCE_LAYERS)
                     else processor for name, processor in self.plain.items()}
        self.pipe.unet.set_attn_processor(recorders)
        self.maps.clear()
        latents = self.latents.detach().requires_grad_(True)
        try:
            self.pipe.unet(latents, 981, self.embeds[1:], return_dict=False)
        except LastMap:
            pass
        loss = sum((probs[:, :, 1:5].float() ** 2).mean() for probs in self.maps)
        torch.autograd.grad(loss, latents)
        self.pipe.unet.set_attn_processor(dict(self.plain))

    @torch.no_grad()
    def decode(self):
        self.pipe.vae.decode(self.latents / self.pipe.vae.config.scaling_factor)


def kernels(dtype):
    """The instructions of PyTorch's own kernels, and the name of the kernel that oneDNN takes for a 3 × 3 convolution: found out by having it tell."""
    convolution = torch.nn.Conv2d(64, 64, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)
    image = torch.randn(1, 64, 32, 32).to(dtype=dtype, memory_format=torch.channels_last)
    stdout = os.dup(1)
    with tempfile.TemporaryFile("w+") as told:
        os.dup2(told.fileno(), 1)  # it writes where the answers go
        try:
            with torch.no_grad(), torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                convolution(image)
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        told.seek(0)
        ran = re.search(r"exec,cpu,convolution,([^,]+),", told.read())
    return f"{torch.backends.cpu.get_cpu_capability().lower()}, oneDNN {ran[1] if ran else 'not used'}"


def main(folder, precision, threads=None):
    start = time.perf_counter()
    torch.set_num_threads(int(threads or os.cpu_count()))
    parts = Parts(folder, precision)
    seconds = time.perf_counter() - start
    print(f"{seconds:.4f} {kernels(parts.latents.dtype)}", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        getattr(parts, line.strip())()
        print(f"{time.perf_counter() - start:.4f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
