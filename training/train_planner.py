"""Trains the built-in planner, a small Llama that answers captions with layouts: `python train_planner.py --minutes 60`.

Data is made as it goes (`planner_world.py`), so nothing is seen twice. Only answers count in the loss. `export_planner.py` writes the GGUF file.
"""

import argparse
import json
import random
import time

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

from muon import Pair
from pace import Average, Pace, ramp
from planner_world import numbered, sample
from world import CACHE

END, CAPTION, LAYOUT = "<|end|>", "<|caption|>", "<|layout|>"
SPECIAL = [END, CAPTION, LAYOUT]
WORDS = 80  # most words of a caption that have a number
TOKENIZER = CACHE / "planner_tokenizer.json"
CONFIG = {"vocab": 2048, "width": 192, "layers": 4, "heads": 6, "hidden": 512, "theta": 10000.0, "eps": 1e-5, "context": 1024}


def tokenizer(samples=120_000):
    """Byte-level BPE as GPT-2's, trained on captions and answers; the numbers of words are tokens of their own."""
    if not TOKENIZER.exists():
        rng = random.Random(11)
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=CONFIG["vocab"] - WORDS, special_tokens=SPECIAL, show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        texts = (f"{shape}: {caption}\n{answer}" for shape, caption, answer in (sample(rng) for _ in range(samples)))
        bpe.train_from_iterator(texts, trainer)
        bpe.add_tokens([f"<{i + 1}>" for i in range(WORDS)])
        bpe.save(str(TOKENIZER))
    return Tokenizer.from_file(str(TOKENIZER))


def encoded(tokens, shape, caption, answer=None):
    """(ids, where the answer begins)"""
    prompt = tokens.encode(f"{CAPTION}{shape}: {numbered(caption)}{LAYOUT}").ids
    if answer is None:
        return prompt
    return prompt + tokens.encode(answer + END).ids, len(prompt)


class Block(nn.Module):
    def __init__(self, width, heads, hidden, eps):
        super().__init__()
        self.heads = heads
        self.attn_norm, self.ffn_norm = nn.RMSNorm(width, eps), nn.RMSNorm(width, eps)
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.ffn_gate, self.ffn_up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.ffn_down = nn.Linear(hidden, width, bias=False)

    def forward(self, x, rope):
        b, t, c = x.shape
        normed = self.attn_norm(x)
        q, k, v = (layer(normed).view(b, t, self.heads, -1).transpose(1, 2) for layer in (self.attn_q, self.attn_k, self.attn_v))  # (B, heads, T, D)
        attended = F.scaled_dot_product_attention(turned(q, rope), turned(k, rope), v, is_causal=True)
        x = x + self.attn_output(attended.transpose(1, 2).reshape(b, t, c))
        normed = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(normed)) * self.ffn_up(normed))


def turned(x, rope):
    """Rotary positions over neighbouring pairs, as GGUF's llama has them."""
    cos, sin = (part[: x.shape[2]].to(x.dtype) for part in rope)  # (T, D/2)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Planner(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, heads = config["width"], config["heads"]
        self.embedding = nn.Embedding(config["vocab"], width)
        self.blk = nn.ModuleList(Block(width, heads, config["hidden"], config["eps"]) for _ in range(config["layers"]))
        self.output_norm = nn.RMSNorm(width, config["eps"])
        head = width // heads
        angles = torch.outer(torch.arange(config["context"]).float(), config["theta"] ** (-torch.arange(0, head, 2).float() / head))
        self.rope = angles.cos(), angles.sin()
        nn.init.normal_(self.embedding.weight, std=0.02)
        for block in self.blk:
            for layer in (block.attn_output, block.ffn_down):
                nn.init.normal_(layer.weight, std=0.02 / (2 * config["layers"]) ** 0.5)

    def features(self, ids):
        x = self.embedding(ids)
        for block in self.blk:
            x = block(x, self.rope)
        return self.output_norm(x)

    def forward(self, ids):
        return self.features(ids) @ self.embedding.weight.T


def batches(tokens, rng, budget):
    """Endless (ids, targets) of about `budget` tokens; a target of −100 does not count. Samples of like lengths go together."""
    while True:
        pool = [encoded(tokens, *sample(rng)) for _ in range(2400)]
        pool.sort(key=lambda one: len(one[0]))
        batch, groups = [], []
        for one in pool:
            batch.append(one)
            if len(batch) * len(one[0]) >= budget:
                groups.append(batch)
                batch = []
        rng.shuffle(groups)
        for group in groups:
            length = max(len(ids) for ids, _ in group)
            ids = torch.zeros(len(group), length, dtype=torch.long)
            targets = torch.full((len(group), length), -100)
            for row, (one, start) in enumerate(group):
                ids[row, : len(one)] = torch.tensor(one)
                targets[row, start - 1: len(one) - 1] = ids[row, start: len(one)]
            yield ids, targets


def loss_of(model, ids, targets, is_number):
    """Numbers count less than words: many places are as good as the one that the sampler took, but there is one right word."""
    chosen = targets >= 0
    features, targets = model.features(ids)[chosen], targets[chosen]
    losses = F.cross_entropy((features @ model.embedding.weight.T).float(), targets, reduction="none")
    weights = torch.where(is_number[targets], 0.35, 1.0)
    return (losses * weights).sum() / weights.sum(), losses[~is_number[targets]].mean()


@torch.no_grad()
def answered(model, tokens, shape, caption, limit=160):
    """The greedy answer, without any constraint."""
    ids = encoded(tokens, shape, caption)
    start = len(ids)
    while len(ids) < start + limit:
        best = int(model(torch.tensor([ids]))[0, -1].argmax())
        if best == 0:
            break
        ids.append(best)
    return tokens.decode(ids[start:])


def words_of(answer):
    """An answer without its numbers for places: counts, quotes, style, settings, negatives."""
    kinds, *rest = answer.split("|")
    return [kind.split(":")[0] for kind in kinds.split(";")], rest


def report(model, tokens, count=40):
    rng = random.Random(99)
    right = 0
    for _ in range(count):
        shape, caption, truth = sample(rng)
        right += words_of(answered(model, tokens, shape, caption)) == words_of(truth)
    return right / count


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--budget", type=int, default=2560, help="tokens a step")
    arguments.add_argument("--name", default="planner")
    options = arguments.parse_args()
    tokens = tokenizer()
    torch.manual_seed(0)
    model = Planner(CONFIG)
    average, optimizer, pace = Average(model, 0.99), Pair([model], 2e-3, 1.2e-2), Pace(options.name, options.minutes)
    state = {"model": model, "average": average, "optimizer": optimizer}
    print("resumed" if pace.resume(state) else "new", sum(p.numel() for p in model.parameters()), "parameters", flush=True)
    rng = random.Random(1000 + pace.step)
    is_number = torch.tensor([tokens.id_to_token(i).removeprefix("Ġ").isdigit() for i in range(CONFIG["vocab"])])
    stream, mean, began, seen = batches(tokens, rng, options.budget), 0.0, time.time(), 0
    mean_words = 0.0
    share = pace.spent / 60 / options.minutes
    while share < 1:
        ids, targets = next(stream)
        with torch.autocast("cpu", torch.bfloat16):
            loss, words = loss_of(model, ids, targets, is_number)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(ramp(share, decay_from=0.55))
        average.update(model)
        share = pace.tick()
        seen += ids.numel()
        mean = loss.item() if mean == 0 else 0.98 * mean + 0.02 * loss.item()
        mean_words = words.item() if mean_words == 0 else 0.98 * mean_words + 0.02 * words.item()
        if pace.step % 50 == 0:
            print(json.dumps({"step": pace.step, "minutes": round(pace.spent / 60, 1), "loss": round(mean, 4), "words": round(mean_words, 4), "tokens_per_s": round(seen / (time.time() - began))}), flush=True)
        if pace.step % 150 == 0:
            pace.save(state)
            trial = Planner(CONFIG)
            average.copy_to(trial)
            print(json.dumps({"step": pace.step, "words right": report(trial, tokens)}), flush=True)
    pace.save(state)


if __name__ == "__main__":
    main()
