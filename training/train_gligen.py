"""Trains grounding adapters for the frozen miniature: `python train_gligen.py --minutes 82`. Goes on from .cache/gligen.pt when it is there.

GLIGEN (Li et al. 2023, arXiv 2301.07093): a network that makes a token of each box and its phrase, and a gated self-attention layer in each
transformer block that shows the tokens to the picture. Names and shapes are diffusers' (`attention_type: gated`), so everything that reads
published adapters reads these. The base is the published UNet and text encoder, of which nothing changes.

The text encoder's pooled states are nearly one and the same vector (its square is 71, their variance 0.8, a quarter of which is colour), so that a
network fed with them sees boxes long before phrases. Training feeds it whitened states instead; `averaged` folds the whitening into the
first matrix, whose input then is what every GLIGEN's is.

Gates start open before layers whose last matrices are zero: the network starts as the base either way, but a gate at zero would let nothing
through to learn from. Errors inside boxes weigh more, and the noisy timesteps, for which adapters are switched on, come more often.
"""

import argparse

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from latents import PUBLISHED, load_latents
from muon import OUTER, Pair
from pace import Average, Pace, ramp
from train_unet import SCHEDULER, CELLS_WEIGHT, SNR_LIMIT, UNET, CellClassifier, cell_errors
from world import CACHE, COLOR_NAMES, KINDS, article, caption, drawn_box, noun_phrase

SLOTS = 30  # boxes that adapters are shown, empty ones included, in all published checkpoints
EMPTY = 0.12  # share of pictures without boxes: the unconditional half of guidance, and prompts without a layout
NO_CAPTION = 0.4  # more than the base's: what a caption tells need not be learned from phrases
AS_DRAWN = 0.5  # share of boxes that fit their thing exactly; the others have its area and centre and sides of another ratio
WEIGHT_INSIDE = 3.0  # of a cell in a box, where one outside has 1


class Adapters:
    """The parameters of a UNet that are GLIGEN's, under the UNet's names."""

    def __init__(self, unet):
        self.params = {n: p for n, p in unet.named_parameters() if n.startswith("position_net.") or ".fuser." in n}

    def named_parameters(self):
        return self.params.items()

    def state_dict(self):
        return {name: p.detach() for name, p in self.params.items()}

    @torch.no_grad()
    def load_state_dict(self, saved):
        for name, p in self.params.items():
            p.copy_(saved[name])


def build():
    """Tokenizer, text encoder, UNet and its adapters; the adapters alone can be trained, and do nothing yet."""
    tokenizer = CLIPTokenizer.from_pretrained(PUBLISHED / "tokenizer")
    text = CLIPTextModel.from_pretrained(PUBLISHED / "text_encoder").float().eval().requires_grad_(False)
    unet = UNet2DConditionModel(**UNET, attention_type="gated")
    base = UNet2DConditionModel.from_pretrained(PUBLISHED / "unet").float().state_dict()
    missing, unexpected = unet.load_state_dict(base, strict=False)
    adapters = Adapters(unet.requires_grad_(False))
    assert set(missing) == set(adapters.params) and not unexpected
    with torch.no_grad():
        for name, p in adapters.named_parameters():
            p.requires_grad_(True)
            if ".alpha_" in name:
                p.fill_(1.0)
            elif ".to_out.0." in name or ".fuser.ff.net.2." in name:
                p.zero_()
    return tokenizer, text, unet.to(memory_format=torch.channels_last), adapters


class Whitening:
    """x ↦ (x − mean) · scale over the phrases of the world: mean 0 and, in the directions in which phrases differ, variance 1."""

    SMALLEST = 0.003  # variances below count as this

    def __init__(self, phrases):
        known = torch.stack([phrases(article(color + kind) + color + kind)
                             for kind, _, _ in KINDS for color in ("", *(f"{color} " for color in COLOR_NAMES))])
        self.mean = known.mean(0)
        variances, directions = torch.linalg.eigh(torch.cov(known.T, correction=0))
        deviations = (variances.clamp(min=0) + self.SMALLEST).sqrt()
        self.scale = directions / deviations @ directions.T  # (D, D), symmetric
        self.back = directions * deviations @ directions.T

    def __call__(self, x):
        return (x - self.mean) @ self.scale

    def folded(self, weights):
        """Adapters trained on whitened phrases, as adapters for plain ones. Matrices are rounded to f16 before the bias makes up for the mean."""
        weights, width = dict(weights), len(self.mean)
        of_phrase, of_box = weights["position_net.linears.0.weight"].split([width, 64], 1)
        of_phrase = (of_phrase @ self.scale).half().float()
        weights["position_net.linears.0.weight"] = torch.cat([of_phrase, of_box], 1)
        weights["position_net.linears.0.bias"] = weights["position_net.linears.0.bias"] - of_phrase @ self.mean
        weights["position_net.null_positive_feature"] = weights["position_net.null_positive_feature"] @ self.back + self.mean
        return weights


class Phrases:
    """The text encoder's pooled state of a phrase, each computed once: (D,)."""

    def __init__(self, tokenizer, text):
        self.tokenizer, self.text, self.known = tokenizer, text, {}

    def whitened(self):
        """The same, whitened."""
        whitening = Whitening(self)
        return lambda phrase: whitening(self(phrase))

    @torch.no_grad()
    def __call__(self, phrase):
        if phrase not in self.known:
            ids = self.tokenizer([phrase], padding="max_length", truncation=True, return_tensors="pt").input_ids
            self.known[phrase] = self.text(ids).pooler_output[0]
        return self.known[phrase]


def grounding(slots, phrases, width=UNET["cross_attention_dim"]):
    """The adapters' input for a batch: `slots` holds a list of (phrase, box) for each picture."""
    size = len(slots)
    found = {"boxes": torch.zeros(size, SLOTS, 4), "positive_embeddings": torch.zeros(size, SLOTS, width), "masks": torch.zeros(size, SLOTS)}
    for b, picture in enumerate(slots):
        for i, (phrase, box) in enumerate(picture[:SLOTS]):
            found["boxes"][b, i] = torch.tensor(box)
            found["positive_embeddings"][b, i] = phrases(phrase)
            found["masks"][b, i] = 1
    return found


def reshaped(box, rng):
    """A box of the same area and centre with another ratio of sides, as a language model might draw it; never outside the picture."""
    x0, y0, x1, y1 = box
    stretch = np.exp(rng.uniform(np.log(0.5), np.log(2.0)) / 2)
    w, h = (x1 - x0) * stretch, (y1 - y0) / stretch
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return [float(np.clip(v, 0, 1)) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]


def slots_of(scene, rng):
    """A slot for each thing of a well-drawn scene."""
    if scene.bad:
        return []
    boxes = (drawn_box(thing) for thing in scene.things)
    boxes = [box if rng.random() < AS_DRAWN else reshaped(box, rng) for box in boxes]
    return [(noun_phrase([thing], rng), box) for thing, box in zip(scene.things, boxes)]


def cells_inside(slots, cells):
    """1 for cells whose centre is in a box, else 0: (B, 1, H, W)."""
    centre = (torch.arange(cells) + 0.5) / cells
    inside = torch.zeros(len(slots), 1, cells, cells)
    for b, picture in enumerate(slots):
        for _, (x0, y0, x1, y1) in picture:
            inside[b, 0, ((centre > y0) & (centre < y1))[:, None] & ((centre > x0) & (centre < x1))[None, :]] = 1
    return inside


class Samples:
    """Random latents, fresh captions and slots from cached sets."""

    def __init__(self, names, tokenizer, phrases, seed):
        self.tokenizer, self.phrases, self.rng = tokenizer, phrases, np.random.default_rng(seed)
        self.names, self.sets = names, {name: load_latents(name) for name in set(names)}

    def batch(self, size):
        """Latents (B, 4, H, W), token ids (B, 77), grounding, cells inside boxes (B, 1, H, W) and the scenes."""
        latents, captions, slots, shown = [], [], [], []
        for _ in range(size):
            cached, scenes = self.sets[self.names[self.rng.integers(len(self.names))]]
            i = int(self.rng.integers(len(scenes)))
            latents.append(cached[i])
            shown.append(scenes[i])
            captions.append("" if self.rng.random() < NO_CAPTION else caption(scenes[i], self.rng))
            slots.append([] if self.rng.random() < EMPTY else slots_of(scenes[i], self.rng))
        ids = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        latents = torch.stack(latents).contiguous(memory_format=torch.channels_last)
        return latents, ids, grounding(slots, self.phrases), cells_inside(slots, latents.shape[2]), shown


def loss_of(unet, text, look, batch, alphas_cumprod):
    """The weighted error of v, and the helper heads' of kinds and colours."""
    latents, ids, slots, inside, scenes = batch
    size = len(latents)
    t = (1000 * torch.rand(size) ** 0.6).long().clamp(0, 999)
    alpha, sigma = (f[:, None, None, None] for f in (alphas_cumprod[t].sqrt(), (1 - alphas_cumprod[t]).sqrt()))
    noise = torch.randn_like(latents)
    with torch.no_grad():
        prompt = text(ids).last_hidden_state
    v = unet(alpha * latents + sigma * noise, t, prompt, cross_attention_kwargs={"gligen": slots}, return_dict=False)[0]
    snr = (alpha / sigma) ** 2
    weight = ((1 + SNR_LIMIT) / (1 + snr)).clamp(max=1) * (1 + (WEIGHT_INSIDE - 1) * inside)
    error = (weight * (v - (alpha * noise - sigma * latents)) ** 2).mean((1, 2, 3)).mean()
    return error, *cell_errors(look(), scenes)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="gligen", help="of the checkpoint in .cache")
    parser.add_argument("--minutes", type=float, default=82)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--muon-lr", type=float, default=5e-3)
    parser.add_argument("--sets", nargs="+", default=["boxes", "boxes", "boxes", "stage2"])
    args = parser.parse_args()
    torch.manual_seed(0)
    tokenizer, text, unet, adapters = build()
    look = CellClassifier(unet)
    optimizer = Pair([adapters, look], args.lr, args.muon_lr, outer=(*OUTER, "head", "colors"))
    average, pace = Average(adapters), Pace(args.name, args.minutes)
    state = {"adapters": adapters, "look": look, "average": average, "optimizer": optimizer}
    pace.resume(state)
    torch.manual_seed(pace.step)
    alphas_cumprod = DDIMScheduler(**SCHEDULER).alphas_cumprod
    samples = Samples(args.sets, tokenizer, Phrases(tokenizer, text).whitened(), pace.step)
    share, total = pace.spent / 60 / args.minutes, np.zeros(3)
    while share < 1:
        error, kinds, colors = loss_of(unet, text, look, samples.batch(args.batch), alphas_cumprod)
        (error + CELLS_WEIGHT * (kinds + colors)).backward()
        torch.nn.utils.clip_grad_norm_(adapters.params.values(), 1.0)
        optimizer.step(ramp(share, decay_from=0.5))
        average.update(adapters)
        share, total = pace.tick(), total + (error.item(), kinds.item(), colors.item())
        if pace.step % 20 == 0:
            gates = [p.item() for name, p in adapters.named_parameters() if ".alpha_attn" in name]
            print(f"step {pace.step} minutes {pace.spent / 60:.1f} loss {total[0] / 20:.4f} kinds {total[1] / 20:.3f} colours {total[2] / 20:.3f} "
                  f"gates {min(gates):.2f}..{max(gates):.2f}", flush=True)
            total[:] = 0
        if pace.step % 50 == 0:
            pace.save(state)
    pace.save(state)


def averaged(name="gligen"):
    """Tokenizer, text encoder, UNet and adapters as trained so far, average weights, for plain phrases; None without a checkpoint."""
    path = CACHE / f"{name}.pt"
    if not path.exists():
        return None
    tokenizer, text, unet, adapters = build()
    average = Average(adapters)
    average.load_state_dict(torch.load(path, map_location="cpu", weights_only=False)["average"])
    adapters.load_state_dict(Whitening(Phrases(tokenizer, text)).folded(average.weights))
    return tokenizer, text, unet.eval(), adapters


if __name__ == "__main__":
    main()
