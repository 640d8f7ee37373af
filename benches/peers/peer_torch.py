"""PyTorch and diffusers as a peer: `python peer_torch.py FOLDER f32|bf16 [THREADS] [--short]`, then the line protocol of the `time_parts` example.

Weights are frozen (which the published pipelines forget: it spares PyTorch their gradients), convolutions are channels-last, attention is
PyTorch's fused one except at the layers whose maps a guidance pass records. That pass runs the whole network, as in the published pipelines; `--short`
ends it at the last map, as ours does.
"""

import sys
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
    def __init__(self, folder, dtype, is_short):
        self.last = len(GUIDANCE_LAYERS) if is_short else None
        self.pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype)
        for model in (self.pipe.unet, self.pipe.vae, self.pipe.text_encoder):
            model.requires_grad_(False).eval()
        self.pipe.unet.to(memory_format=torch.channels_last)
        self.pipe.vae.to(memory_format=torch.channels_last)
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

    def guidance(self):
        recorders = {name: Recorder(self.maps, self.last) if "attn2" in name and any(name.startswith(layer) for layer in GUIDANCE_LAYERS)
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


def main(folder, precision, *more):
    start = time.perf_counter()
    threads = [int(word) for word in more if word.isdigit()]
    torch.set_num_threads(threads[0] if threads else 2)
    parts = Parts(folder, {"f32": torch.float32, "bf16": torch.bfloat16}[precision], "--short" in more)
    print(f"{time.perf_counter() - start:.4f}", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        getattr(parts, line.strip())()
        print(f"{time.perf_counter() - start:.4f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
