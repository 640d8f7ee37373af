"""Trains text encoder and UNet together: `python train_unet.py --minutes 90`. Goes on from .cache/unet.pt when it is there.

v-prediction on cached latents. Close-ups come first (see closeups.py), then whole scenes. A helper head (`CellClassifier`) names kind and colour at every
cell from the middle of the UNet, in training only: the plain loss hardly notices shapes while they are small. The loss of timesteps cleaner than SNR 5 is
scaled down (as min-SNR does); noisy timesteps, where kind, colour and place are decided, keep the full weight. Stage 1 scenes follow the close-ups until `--stage-2-from` of the budget, then stages 1 and 2.

`--start-from FOLDER` begins with the weights of an exported miniature instead of random ones.
"""

import argparse
import os
from dataclasses import replace

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from latents import load_latents
from muon import OUTER, Pair
from pace import Average, Pace, ramp
from partner import Partner, serve_gradients
from world import CACHE, COLOR_NAMES, KINDS, SIZE, back_to_front, caption, sized

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
CELLS_WEIGHT = 0.08  # of the helper head's two errors


def build():
    """Tokenizer, text encoder and UNet with random weights."""
    tokenizer = CLIPTokenizer.from_pretrained(CACHE / "tokenizer")
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), **TEXT, **ids))
    return tokenizer, text, UNet2DConditionModel(**UNET).to(memory_format=torch.channels_last)


class CellClassifier(nn.Module):
    """Says what stands at each cell, from the features after the first up block: 0 nothing, 1 + kind; and 0 nothing, 1 a thing's own colours, 2 + colour."""

    def __init__(self, unet):
        super().__init__()
        width = UNET["block_out_channels"][-1]
        self.head, self.colors = nn.Conv2d(width, 1 + len(KINDS), 1), nn.Conv2d(width, 2 + len(COLOR_NAMES), 1)
        for head in (self.head, self.colors):
            nn.init.zeros_(head.weight)  # features may be large: random weights would be loudly wrong
        unet.up_blocks[0].register_forward_hook(lambda module, inputs, output: setattr(self, "seen", output))

    def forward(self):
        """Logits of kinds and of colours for the UNet's last call."""
        return self.head(self.seen), self.colors(self.seen)


def cell_error(logits, wanted):
    """Cross-entropy of logits (B, classes, H, W), things and background weighing the same."""
    error = F.cross_entropy(logits, wanted, reduction="none")
    parts = [error[mask].mean() for mask in (wanted > 0, wanted == 0) if mask.any()]
    return sum(parts) / len(parts)


def cell_errors(logits, scenes):
    """The errors of logits of kinds and of colours."""
    recoloured = [replace(scene, things=[replace(thing, kind=1 + thing.color) for thing in scene.things]) for scene in scenes]
    return [cell_error(told, kinds_of(shown, told.shape[2])) for told, shown in zip(logits, (scenes, recoloured))]


def kinds_of(scenes, cells):
    """What stands at each cell, (B, H, W): 0 nothing, 1 + kind within an ellipse that fills nine tenths of a thing's width and height."""
    kinds = np.zeros((len(scenes), cells, cells), np.int64)
    centre = (np.arange(cells) + 0.5) * SIZE / cells
    for b, scene in enumerate(scenes):
        for _, thing in back_to_front(scene):
            w, h = sized(thing)
            rx, ry = (max(0.45 * side, 0.5 * SIZE / cells) for side in (w, h))
            near = ((centre[:, None] - (thing.bottom - h / 2)) / ry) ** 2 + ((centre[None, :] - thing.x) / rx) ** 2 < 1
            kinds[b][near] = 1 + thing.kind
    return torch.from_numpy(kinds)


class Samples:
    """Random latents with fresh captions from the stages' cached sets."""

    def __init__(self, tokenizer, seed):
        self.tokenizer, self.rng, self.sets = tokenizer, np.random.default_rng(seed), {}

    def batch(self, names, size, length=77):
        """Latents (B, 4, H, W), token ids (B, `length`) and the scenes; one caption in ten is empty."""
        latents, captions, shown = [], [], []
        for _ in range(size):
            name = names[self.rng.integers(len(names))]
            if name not in self.sets:
                self.sets[name] = load_latents(name)
            cached, scenes = self.sets[name]
            i = int(self.rng.integers(len(scenes)))
            latents.append(cached[i])
            shown.append(scenes[i])
            captions.append("" if self.rng.random() < 0.1 else caption(scenes[i], self.rng))
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        return torch.stack(latents).contiguous(memory_format=torch.channels_last), tokens.input_ids, shown


def loss_of(unet, text, classifier, batch, alphas_cumprod):
    """The weighted error of v, and the helper head's of kinds and of colours."""
    latents, ids, scenes = batch
    size = len(latents)
    # Half of the timesteps cover 0..1000 evenly, half crowd where shapes are decided (log-normal odds around 450).
    even, crowded = torch.rand(size), torch.sigmoid(0.8 * torch.randn(size) - 0.2)
    t = (1000 * torch.where(torch.arange(size) % 2 == 0, even, crowded)).long().clamp(0, 999)
    alpha, sigma = (f[:, None, None, None] for f in (alphas_cumprod[t].sqrt(), (1 - alphas_cumprod[t]).sqrt()))
    noise = torch.randn_like(latents)
    v = unet(alpha * latents + sigma * noise, t, text(ids).last_hidden_state, return_dict=False)[0]
    snr = (alpha / sigma).flatten() ** 2
    weight = ((1 + SNR_LIMIT) / (1 + snr)).clamp(max=1)
    error = (weight * ((v - (alpha * noise - sigma * latents)) ** 2).mean((1, 2, 3))).mean()
    return error, *cell_errors(classifier(), scenes)


def next_batch(samples, share, args):
    """Close-ups early on; one batch in ten after that. 24 and 32 tokens are enough for most captions, which is a third faster; the padding up to 77 is
    learned in the last part of the budget."""
    early, length = share < args.closeups_until, 32 if share < 0.85 else 77
    if early or samples.rng.random() < 0.1:
        return samples.batch(["closeup"], 3 * args.batch, 24 if early else length)
    return samples.batch(["stage1"] if share < args.stage_2_from else ["stage1", "stage2", "stage2"], args.batch, length)


def parameters_of(*models):
    return [p for model in models for p in model.parameters()]


def help_along(shared, share, given, ready, args):
    """What the partner process does: gradients of batches of its own."""
    tokenizer, text, unet = build()
    classifier, samples = CellClassifier(unet), Samples(tokenizer, int.from_bytes(os.urandom(4), "little"))
    alphas_cumprod = DDIMScheduler(**SCHEDULER).alphas_cumprod

    def compute():
        error, kinds, colors = loss_of(unet, text, classifier, next_batch(samples, share.value, args), alphas_cumprod)
        (error + CELLS_WEIGHT * (kinds + colors)).backward()

    serve_gradients(parameters_of(unet, text, classifier), shared, given, ready, compute)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="unet", help="of the checkpoint in .cache")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--muon-lr", type=float, default=3e-3)
    parser.add_argument("--closeups-until", type=float, default=0.1)
    parser.add_argument("--start-from", help="folder of an exported miniature")
    parser.add_argument("--stage-2-from", type=float, default=0.25)
    parser.add_argument("--partner", action="store_true", help="a second process takes what is left of the other cores")
    args = parser.parse_args()
    torch.manual_seed(0)
    tokenizer, text, unet = build()
    if args.start_from:
        text.load_state_dict(CLIPTextModel.from_pretrained(f"{args.start_from}/text_encoder").float().state_dict())
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(f"{args.start_from}/unet").float().state_dict())
    classifier = CellClassifier(unet)
    optimizer = Pair([unet, text, classifier], args.lr, args.muon_lr, outer=(*OUTER, "head", "colors"))
    averages = {"unet_average": Average(unet), "text_average": Average(text)}
    pace = Pace(args.name, args.minutes)
    state = {"unet": unet, "text": text, "classifier": classifier, "optimizer": optimizer, **averages}
    pace.resume(state)
    torch.manual_seed(pace.step)
    alphas_cumprod = DDIMScheduler(**SCHEDULER).alphas_cumprod
    samples = Samples(tokenizer, pace.step)
    share, total, helped = pace.spent / 60 / args.minutes, np.zeros(3), 0
    partner = Partner(parameters_of(unet, text, classifier), help_along, args) if args.partner else None
    while share < 1:
        error, kinds, colors = loss_of(unet, text, classifier, next_batch(samples, share, args), alphas_cumprod)
        (error + CELLS_WEIGHT * (kinds + colors)).backward()
        helped += partner.join_gradients(share) if partner else 0
        torch.nn.utils.clip_grad_norm_([*unet.parameters(), *text.parameters()], 1.0)
        optimizer.step(ramp(share, decay_from=0.55))
        averages["unet_average"].update(unet)
        averages["text_average"].update(text)
        share, total = pace.tick(), total + (error.item(), kinds.item(), colors.item())
        if pace.step % 20 == 0:
            print(f"step {pace.step} minutes {pace.spent / 60:.1f} loss {total[0] / 20:.4f} kinds {total[1] / 20:.3f} colours {total[2] / 20:.3f} helped {helped}", flush=True)
            total[:], helped = 0, 0
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
