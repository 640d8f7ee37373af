"""Trains text encoder and UNet together: `python train_unet.py --minutes 90`. Goes on from .cache/unet.pt when it is there.

v-prediction on cached latents. The loss of timesteps cleaner than SNR 5 is scaled down (as min-SNR does); noisy timesteps, where
kind, colour and place are decided, keep the full weight. Stage 1 scenes until `--stage-2-from` of the budget, then stage 2.
"""

import argparse

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from latents import load_latents
from muon import Pair
from pace import Average, Pace, ramp
from world import CACHE, caption

SCHEDULER = dict(
    num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
    clip_sample=False, set_alpha_to_one=False, prediction_type="v_prediction",
)
UNET = dict(
    sample_size=16, in_channels=4, out_channels=4, block_out_channels=(48, 96), layers_per_block=2,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), mid_block_type="UNetMidBlock2DCrossAttn",
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=128, attention_head_dim=3,
    norm_num_groups=16,
)
TEXT = dict(
    hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=77,
    hidden_act="quick_gelu", projection_dim=128,
)
SNR_LIMIT = 5.0


def build():
    """Tokenizer, text encoder and UNet with random weights."""
    tokenizer = CLIPTokenizer.from_pretrained(CACHE / "tokenizer")
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), **TEXT, **ids))
    return tokenizer, text, UNet2DConditionModel(**UNET).to(memory_format=torch.channels_last)


class Samples:
    """Random latents with fresh captions from the stages' cached sets."""

    def __init__(self, tokenizer, seed):
        self.tokenizer, self.rng, self.sets = tokenizer, np.random.default_rng(seed), {}

    def batch(self, names, size):
        """Latents (B, 4, 16, 16) and token ids (B, 77); one caption in ten is empty."""
        latents, captions = [], []
        for _ in range(size):
            name = names[self.rng.integers(len(names))]
            if name not in self.sets:
                self.sets[name] = load_latents(name)
            cached, scenes = self.sets[name]
            i = int(self.rng.integers(len(scenes)))
            latents.append(cached[i])
            captions.append("" if self.rng.random() < 0.1 else caption(scenes[i], self.rng))
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        return torch.stack(latents).contiguous(memory_format=torch.channels_last), tokens.input_ids


def loss_of(unet, text, latents, ids, alphas_cumprod):
    batch = len(latents)
    # One timestep from each of B equal shares: less variance than independent draws.
    t = ((torch.arange(batch) + torch.rand(batch)) * (1000 / batch)).long()
    alpha, sigma = (f[:, None, None, None] for f in (alphas_cumprod[t].sqrt(), (1 - alphas_cumprod[t]).sqrt()))
    noise = torch.randn_like(latents)
    v = unet(alpha * latents + sigma * noise, t, text(ids).last_hidden_state, return_dict=False)[0]
    snr = (alpha / sigma).flatten() ** 2
    weight = ((1 + SNR_LIMIT) / (1 + snr)).clamp(max=1)
    return (weight * ((v - (alpha * noise - sigma * latents)) ** 2).mean((1, 2, 3))).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="unet", help="of the checkpoint in .cache")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--muon-lr", type=float, default=3e-3)
    parser.add_argument("--stage-2-from", type=float, default=0.75)
    args = parser.parse_args()
    torch.manual_seed(0)
    tokenizer, text, unet = build()
    optimizer = Pair([unet, text], args.lr, args.muon_lr)
    averages = {"unet_average": Average(unet), "text_average": Average(text)}
    pace = Pace(args.name, args.minutes)
    state = {"unet": unet, "text": text, "optimizer": optimizer, **averages}
    pace.resume(state)
    torch.manual_seed(pace.step)
    alphas_cumprod = DDIMScheduler(**SCHEDULER).alphas_cumprod
    samples = Samples(tokenizer, pace.step)
    share, total = pace.spent / 60 / args.minutes, 0.0
    while share < 1:
        # Most of a late batch is stage 1 still: single large things are what most prompts of LMD ask for.
        names = ["stage1"] if share < args.stage_2_from else ["stage1", "stage1", "stage2"]
        loss = loss_of(unet, text, *samples.batch(names, args.batch), alphas_cumprod)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*unet.parameters(), *text.parameters()], 1.0)
        optimizer.step(ramp(share, decay_from=0.55))
        averages["unet_average"].update(unet)
        averages["text_average"].update(text)
        share, total = pace.tick(), total + loss.item()
        if pace.step % 20 == 0:
            print(f"step {pace.step} minutes {pace.spent / 60:.1f} loss {total / 20:.4f}", flush=True)
            total = 0.0
        if pace.step % 200 == 0:
            pace.save(state)
    pace.save(state)


def averaged(name="unet"):
    """Tokenizer, text encoder and UNet as trained so far, average weights."""
    tokenizer, text, unet = build()
    path = CACHE / f"{name}.pt"
    if path.exists():
        saved = torch.load(path, map_location="cpu", weights_only=False)
        for model, key in ((unet, "unet"), (text, "text")):
            average = Average(model)
            average.load_state_dict(saved[f"{key}_average"])
            average.copy_to(model)
    return tokenizer, text.eval(), unet.eval()


if __name__ == "__main__":
    main()
