"""Trains ELLA for the frozen miniature: `python train_ella.py --minutes 40`. Goes on from .cache/ella.pt when it is there.

ELLA (Hu et al. 2024, arXiv 2403.05135): a T5 text encoder and a connector which makes, at each timestep, 64 tokens of its states; they take the place of
CLIP's at every cross-attention. The encoder is transformers' `T5EncoderModel` and small, the connector has the names of the released file. Both are trained;
the UNet stays as published.

The plain loss of a diffusion model says little about single words of a long caption. Four things say more:

- **A plan** (`Plan`): from the 64 tokens alone a small head tells kind and colour at each cell. It needs no UNet, so the first minutes are for it and for
  the language.
- **A teacher** (`Regions`): at each cross-attention CLIP shows what it would answer if each part of the picture had its own short prompt: "four red cars on
  a beach" for the cells of the red car, one of four things. For captions that are short anyway it answers with the caption. ELLA's answer is drawn towards that, for each layer.
- **Tags**: from the text encoder's state at a noun a linear layer tells colour and place of the thing that it names. What belongs to what is
  learned in minutes so.
- **CellClassifier** of train_unet.py: kinds and colours, read from features of the UNet.

One batch in three gets CLIP's tokens of the caption too, behind ELLA's, so that both know of each other.
"""

import argparse
import math

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from dense import COUNTS, compose_dense, dense_caption, region_of
from latents import PUBLISHED, load_latents
from muon import OUTER, Pair
from pace import Average, Pace, ramp
from train_unet import SCHEDULER, SNR_LIMIT, UNET, CellClassifier, cell_errors
from world import BACKGROUNDS, CACHE, COLOR_NAMES, KINDS, NATURAL, NUMBERS, SIZE, article, caption

T5 = dict(
    d_model=128, d_kv=32, num_heads=4, d_ff=320, num_layers=4, feed_forward_proj="gated-gelu", relative_attention_num_buckets=32,
    relative_attention_max_distance=128, layer_norm_epsilon=1e-6, dropout_rate=0.0, pad_token_id=0, eos_token_id=1,
)
CONNECTOR = dict(width=UNET["cross_attention_dim"], layers=3, heads=4, latents=64, time_channel=320)
PLAN_WEIGHT, LOOK_WEIGHT, TEACHER_WEIGHT, TAGS_WEIGHT = 0.05, 0.1, 1.0, 0.02
TOKENIZER = CACHE / "t5_tokenizer.json"
FEW = [0.0, 0.4, 0.35, 0.15, 0.04, 0.03, 0.03]  # odds of so many things at first: which place belongs to which thing is learned on two
PHRASE_TOKENS = 12  # of a teacher's short prompt; the padding behind them is one token, counted as many times as it stands


# ---------------------------------------------------------------- the connector


class AdaLN(nn.Module):
    """LN(x) · (1 + scale) + shift, where a linear layer of the time makes (shift, scale)."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 2 * width)

    def forward(self, x, time):
        shift, scale = self.linear(time)[:, None].chunk(2, -1)  # (B, 1, D) each
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Attention(nn.Module):
    """Attention with q, k, v in one matrix, in PyTorch's names."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x, keys):
        """x (B, N, D) looks at keys (B, M, D)."""
        (wq, wk, wv), (bq, bk, bv) = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        apart = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        y = F.scaled_dot_product_attention(apart(F.linear(x, wq, bq)), apart(F.linear(keys, wk, bk)), apart(F.linear(keys, wv, bv)))
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        self.ln_1, self.ln_2, self.ln_ff = AdaLN(width), AdaLN(width), AdaLN(width)

    def forward(self, z, text, time):
        own = self.ln_1(z, time)
        z = z + self.attn(own, torch.cat([own, self.ln_2(text, time)], 1))
        return z + self.mlp["c_proj"](F.relu(self.mlp["c_fc"](self.ln_ff(z, time))) ** 2)


class Resampler(nn.Module):
    def __init__(self, width, layers, heads, latents, input_dim):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, width))
        self.time_aware_linear = nn.Linear(width, width)
        self.proj_in = nn.Linear(input_dim, width)
        self.perceiver_blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, text, time):
        x, z = self.proj_in(text), self.latents + self.time_aware_linear(time)[:, None]
        for block in self.perceiver_blocks:
            z = block(z, x, time)
        return z


class Connector(nn.Module):
    """T5 states (B, L, D_text) and timesteps (B,) to tokens (B, 64, D)."""

    def __init__(self, width, layers, heads, latents, time_channel, input_dim=T5["d_model"]):
        super().__init__()
        self.time_embedding = nn.ModuleDict({"linear_1": nn.Linear(time_channel, width), "linear_2": nn.Linear(width, width)})
        self.connector = Resampler(width, layers, heads, latents, input_dim)
        self.frequencies = torch.exp(-math.log(10000) * torch.arange(time_channel // 2) / (time_channel // 2))

    def forward(self, text, t):
        angle = t[:, None].float() * self.frequencies
        time = self.time_embedding["linear_1"](torch.cat([angle.cos(), angle.sin()], -1))
        return self.connector(text, F.silu(self.time_embedding["linear_2"](F.silu(time))))


# ---------------------------------------------------------------- what helps the training


class Plan(nn.Module):
    """Kind and colour at each cell, told from the tokens alone: every cell asks them, by its place."""

    def __init__(self, cells=16, width=CONNECTOR["width"]):
        super().__init__()
        self.places = nn.Parameter(0.5 * torch.randn(cells * cells, width))
        self.attn = Attention(width, 4)
        self.heads = nn.Linear(width, 1 + len(KINDS) + 2 + len(COLOR_NAMES))

    def forward(self, tokens):
        """Logits of kinds (B, 1 + kinds, H, W) and of colours (B, 2 + colours, H, W)."""
        cells = math.isqrt(len(self.places))
        found = self.heads(self.attn(self.places.expand(len(tokens), -1, -1), tokens)).transpose(1, 2).unflatten(2, (cells, cells))
        return found.split([1 + len(KINDS), 2 + len(COLOR_NAMES)], 1)


class Tags(nn.Module):
    """Kind, colour, column and row of the thing that a noun of the caption names, told from the text encoder's state at that noun."""

    def __init__(self, tokenizer):
        super().__init__()
        self.heads = nn.Linear(T5["d_model"], len(KINDS) + 1 + len(COLOR_NAMES) + 3 + 3)
        self.nouns = {tokenizer(f"the {name}").input_ids[-2]: kind for kind, (name, _, _) in enumerate(KINDS)}
        assert len(self.nouns) == len(KINDS)

    def loss(self, states, ids, scenes):
        """Cross-entropies over all nouns of states (B, L, D)."""
        places, wanted = [], []
        for b, (row, scene) in enumerate(zip(ids.tolist(), scenes)):
            things = {thing.kind: thing for thing in scene.things}
            for i, token in enumerate(row):
                if thing := things.get(self.nouns.get(token)):
                    places.append((b, i))
                    wanted.append((thing.kind, 1 + thing.color, *region_of(thing)))
        told = self.heads(states[tuple(torch.tensor(places).T)]).split([len(KINDS), 1 + len(COLOR_NAMES), 3, 3], 1)
        return sum(F.cross_entropy(t, w) for t, w in zip(told, torch.tensor(wanted).T))


class Clip:
    """The published text encoder."""

    def __init__(self):
        self.tokenizer = CLIPTokenizer.from_pretrained(PUBLISHED / "tokenizer")
        self.model = CLIPTextModel.from_pretrained(PUBLISHED / "text_encoder").float().eval().requires_grad_(False)
        self.known = {}

    @torch.no_grad()
    def __call__(self, texts):
        ids = self.tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
        return self.model(ids).last_hidden_state

    def short(self, text):
        """The states of a short prompt, (PHRASE_TOKENS, D); the last is the mean of the paddings."""
        if text not in self.known:
            states = self([text])[0]
            self.known[text] = torch.cat([states[:PHRASE_TOKENS - 1], states[PHRASE_TOKENS - 1:].mean(0, keepdim=True)])
        return self.known[text]


def parts_of(scene, cells=16):
    """Short prompts of the parts of a picture, and which part each of `cells` × `cells` cells belongs to; 0 is the backdrop."""
    where, _, noun = BACKGROUNDS[scene.background]
    prompts, owner = [f"{article(noun).capitalize()} scene"], torch.zeros(cells, cells, dtype=torch.long)
    centre = (torch.arange(cells) + 0.5) * SIZE / cells
    for thing in scene.things:
        color = "" if thing.color == NATURAL else COLOR_NAMES[thing.color] + " "
        one, many, _ = KINDS[thing.kind]
        count = min(4, len(scene.things))  # the UNet has learned that "a red car" is alone; "four red cars" leaves room for others
        prompts.append(f"{article(color + one) if count == 1 else f'{NUMBERS[count]} {color}{many}'} {where}")
        half = thing.size / 2
        owner[((centre - thing.y).abs() <= half)[:, None] & ((centre - thing.x).abs() <= half)[None, :]] = len(prompts) - 1
    return prompts, owner


class Regions:
    """The teacher at every cross-attention of a UNet. With `lessons` set, layers note how far their answers are from the teacher's in `errors`;
    with `follow` too they answer as the teacher does."""

    def __init__(self, unet):
        self.lessons, self.follow, self.errors = None, False, []
        for name, module in unet.named_modules():
            if name.endswith(".attn2"):
                module.set_processor(self)

    def teach(self, scenes, prompts, clip):
        """`prompts` has a whole prompt for each picture, or None where the parts of the scene have their own."""
        states, owners = [], []
        for scene, prompt in zip(scenes, prompts):
            parts, owner = ([prompt], torch.zeros(16, 16, dtype=torch.long)) if prompt is not None else parts_of(scene)
            owners.append(owner)
            states.append([clip.short(part) for part in parts] if prompt is None else list(clip([prompt])[0].split(PHRASE_TOKENS)))
        size, many = len(states), max(len(s) for s in states)
        tokens = torch.zeros(size, many, PHRASE_TOKENS, states[0][0].shape[-1])
        weight = torch.full((size, many, PHRASE_TOKENS), -torch.inf)  # logarithm of how often a token stands there
        part = torch.full((size, many), -1)
        for b, found in enumerate(states):
            for i, state in enumerate(found):
                tokens[b, i, :len(state)], weight[b, i, :len(state)] = state, 0
                part[b, i] = i if prompts[b] is None else 0
                if prompts[b] is None:
                    weight[b, i, -1] = math.log(77 - PHRASE_TOKENS + 1)
        owners = torch.stack(owners)
        self.lessons = tokens.flatten(1, 2), {}
        for cells in (16, 8):
            owner = owners if cells == 16 else owners[:, 1::2, 1::2]
            bias = torch.where(owner.flatten(1)[:, :, None] == part[:, None], 0.0, -torch.inf)  # (B, cells², parts)
            self.lessons[1][cells * cells] = (bias[..., None] + weight[:, None]).flatten(2)[:, None]  # (B, 1, cells², tokens)

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        apart = lambda y: y.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        q = apart(attn.to_q(hidden_states))
        answer = F.scaled_dot_product_attention(q, apart(attn.to_k(encoder_hidden_states)), apart(attn.to_v(encoder_hidden_states)))
        if self.lessons is not None:
            tokens, biases = self.lessons
            tokens = tokens.repeat(len(q) // len(tokens), 1, 1)
            with torch.no_grad():
                k, v, bias = apart(attn.to_k(tokens)), apart(attn.to_v(tokens)), biases[q.shape[2]]
                taught = F.scaled_dot_product_attention(q.detach(), k, v, bias.repeat(len(q) // len(bias), 1, 1, 1))
            if self.follow:
                answer = taught if self.follow is True else torch.where(self.follow[:, None, None, None], taught, answer)
            else:
                self.errors.append(((answer - taught) ** 2).mean((1, 2, 3)) / taught.var())
        return attn.to_out[0](answer.transpose(1, 2).flatten(2))


# ---------------------------------------------------------------- training


@torch.no_grad()
def look_near(text):
    """Starts attention with neighbours: heads that look left, right, both ways and everywhere. From nothing, distances take longer to learn than all else."""
    bias = text.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight  # (buckets, heads)
    half = len(bias) // 2
    distance = torch.tensor([min(i, 7) + (0 if i < 8 else 8 * 16 ** ((i - 8) / 8) - 7) for i in range(half)])
    left, right = torch.cat([-0.7 * distance, -0.7 * distance - 6]), torch.cat([-0.7 * distance - 6, -0.7 * distance])
    left[0] = right[0] = -2.0  # oneself
    bias.copy_(torch.stack([left, right, -0.15 * torch.cat([distance, distance]), torch.zeros(2 * half)], 1))


def build():
    """Tokenizer, text encoder and connector with random weights; the frozen UNet."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(TOKENIZER), pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    text, connector = T5EncoderModel(T5Config(vocab_size=len(tokenizer), **T5)), Connector(**CONNECTOR)
    with torch.no_grad():
        text.shared.weight.normal_(0, 1)
    look_near(text)
    unet = UNet2DConditionModel.from_pretrained(PUBLISHED / "unet").float().requires_grad_(False)
    return tokenizer, text, connector, unet.to(memory_format=torch.channels_last)


def read(tokenizer, text, captions, fixed=None):
    """Last states of captions of any lengths, their mask, and their ids."""
    batch = tokenizer(captions, padding="max_length" if fixed else True, truncation=bool(fixed), max_length=fixed, return_tensors="pt")
    return text(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state, batch.attention_mask.bool(), batch.input_ids


def tokens_of(tokenizer, text, connector, captions, t):
    """ELLA's tokens for captions, (B, 64, D). Paddings are left out of the connector's attention, as when each caption comes alone."""
    return masked(connector, *read(tokenizer, text, captions)[:2], t)


def masked(connector, states, mask, t):
    """The connector over paddings that nothing looks at."""
    bias = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    bias = F.pad(bias, (CONNECTOR["latents"], 0))[:, None, None]  # (B, 1, 1, 64 + L)
    plain = F.scaled_dot_product_attention
    try:
        F.scaled_dot_product_attention = lambda q, k, v: plain(q, k, v, bias)
        return connector(states, t)
    finally:
        F.scaled_dot_product_attention = plain


class Samples:
    """Random latents and fresh captions: long ones of the dense set, shorter ones of the others."""

    def __init__(self, seed, dense=0.7):
        self.rng, self.dense = np.random.default_rng(seed), dense
        self.sets = {name: load_latents(name) for name in ("dense", "stage1", "stage2", "boxes")}

    def batch(self, size):
        """Latents (B, 4, H, W), captions, scenes, and the teacher's whole prompts (None where parts have their own)."""
        latents, captions, scenes, prompts = [], [], [], []
        for _ in range(size):
            long = self.rng.random() < self.dense
            cached, known = self.sets["dense" if long else ("stage1", "stage2", "boxes")[self.rng.integers(3)]]
            i = int(self.rng.integers(len(known)))
            text = dense_caption(known[i], self.rng) if long else caption(known[i], self.rng)
            if self.rng.random() < 0.06:
                text, long = "", False
            latents.append(cached[i])
            captions.append(text)
            scenes.append(known[i])
            prompts.append(None if long else text)
        return torch.stack(latents).contiguous(memory_format=torch.channels_last), captions, scenes, prompts


def languages(rng, size, counts):
    """Captions and scenes that need no picture."""
    scenes = [compose_dense(rng, counts) for _ in range(size)]
    return [dense_caption(scene, rng) for scene in scenes], scenes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="ella", help="of the checkpoint in .cache")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--language-until", type=float, default=0.35, help="share of the budget for the plan alone")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--muon-lr", type=float, default=4e-3)
    parser.add_argument("--start-from", help="name of a checkpoint in .cache, of which the networks are taken and nothing else")
    args = parser.parse_args()
    torch.manual_seed(0)
    tokenizer, text, connector, unet = build()
    clip, look, plan, tags, regions = Clip(), CellClassifier(unet), Plan(), Tags(tokenizer), Regions(unet)
    optimizer = Pair([text, connector, look, plan, tags], args.lr, args.muon_lr,
                     outer=(*OUTER, "shared", "relative_attention_bias", "latents", "places", "head", "heads", "colors", "linear_1"))
    averages = {"text_average": Average(text), "connector_average": Average(connector)}
    pace = Pace(args.name, args.minutes)
    state = {"text": text, "connector": connector, "look": look, "plan": plan, "tags": tags, "optimizer": optimizer, **averages}
    if not pace.resume(state) and args.start_from:
        saved = torch.load(CACHE / f"{args.start_from}.pt", map_location="cpu", weights_only=False)
        for part, model in (("text", text), ("connector", connector), ("plan", plan)):
            model.load_state_dict(saved[part])
        look_near(text)
    torch.manual_seed(pace.step)
    alphas_cumprod = DDIMScheduler(**SCHEDULER).alphas_cumprod
    samples = Samples(pace.step)
    share, total, counted = pace.spent / 60 / args.minutes, np.zeros(5), 0
    while share < 1:
        if share < args.language_until:
            early = share < 0.4 * args.language_until
            captions, scenes = languages(samples.rng, 2 * args.batch, FEW if early else COUNTS)
            with torch.autocast("cpu", torch.bfloat16):
                states, mask, ids = read(tokenizer, text, captions)
                tokens = masked(connector, states, mask, torch.randint(0, 1000, (len(captions),)))
            planned, tagged = sum(cell_errors(plan(tokens.float()), scenes)), tags.loss(states.float(), ids, scenes)
            loss, seen = planned + tagged, (0, planned.item(), 0, 0, tagged.item())
        else:
            error, *helps = losses(tokenizer, text, connector, unet, clip, (look, plan, tags), regions, samples.batch(args.batch), alphas_cumprod, samples.rng)
            loss = error + PLAN_WEIGHT * helps[0] + LOOK_WEIGHT * helps[1] + TEACHER_WEIGHT * helps[2] + TAGS_WEIGHT * helps[3]
            seen = error.item(), *(h.item() for h in helps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*text.parameters(), *connector.parameters()], 1.0)
        optimizer.step(ramp(share, decay_from=0.5))
        averages["text_average"].update(text)
        averages["connector_average"].update(connector)
        share, total, counted = pace.tick(), total + seen, counted + 1
        if pace.step % 20 == 0:
            total /= counted
            print(f"step {pace.step} minutes {pace.spent / 60:.1f} loss {total[0]:.4f} plan {total[1]:.3f} look {total[2]:.3f} teacher {total[3]:.3f} tags {total[4]:.3f}", flush=True)
            total, counted = np.zeros(5), 0
        if pace.step % 100 == 0:
            pace.save(state)
    pace.save(state)


def losses(tokenizer, text, connector, unet, clip, helpers, regions, batch, alphas_cumprod, rng):
    """The weighted error of v; the plan's, of long captions; look's; the distance to the teacher; the tags', of long captions."""
    look, plan, tags = helpers
    latents, captions, scenes, prompts = batch
    size = len(latents)
    t = (1000 * torch.rand(size) ** 0.5).long().clamp(0, 999)
    alpha, sigma = (f[:, None, None, None] for f in (alphas_cumprod[t].sqrt(), (1 - alphas_cumprod[t]).sqrt()))
    noise = torch.randn_like(latents)
    states, mask, ids = read(tokenizer, text, captions)
    tokens = masked(connector, states, mask, t)
    long = [i for i, prompt in enumerate(prompts) if prompt is None]
    of_long = [scenes[i] for i in long]
    planned, tagged = sum(cell_errors(plan(tokens[long]), of_long)), tags.loss(states[long], ids[long], of_long)
    context = torch.cat([tokens, clip(captions)], 1) if rng.random() < 1 / 3 else tokens
    regions.errors.clear()
    regions.teach(scenes, prompts, clip)
    v = unet(alpha * latents + sigma * noise, t, context, return_dict=False)[0]
    snr = (alpha / sigma).flatten() ** 2
    weight = ((1 + SNR_LIMIT) / (1 + snr)).clamp(max=1)
    error = (weight * ((v - (alpha * noise - sigma * latents)) ** 2).mean((1, 2, 3))).mean()
    return error, planned, sum(cell_errors(look(), scenes)), torch.stack(regions.errors).mean(), tagged


def averaged(name="ella"):
    """Tokenizer, text encoder, connector and UNet as trained so far, average weights."""
    tokenizer, text, connector, unet = build()
    saved = torch.load(CACHE / f"{name}.pt", map_location="cpu", weights_only=False)
    for model, key in ((text, "text_average"), (connector, "connector_average")):
        average = Average(model)
        average.load_state_dict(saved[key])
        average.copy_to(model)
    return tokenizer, text.eval(), connector.eval(), unet.eval()


if __name__ == "__main__":
    main()
