"""ELLA's connector: `python parity/make_ella.py` writes models/ella (tiny, f16 weights, the released file's names) and fixtures/ella/ella.safetensors.

No library has the connector, so this is a second version of it, written from the formulas of arXiv 2403.05135 and the released tensors' shapes, on
`torch.nn.MultiheadAttention`. `states.<case>` (1, L, D') and, for timesteps T, `tokens.<case>.<t>` (1, N, D); `t5.<case>` are tokens of a text of models/t5.
"""

import json
import math

import torch
from safetensors.torch import load_file, save
from torch import nn
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from common import MODELS, generator, randomise, with_sorted_header, write

SEED = 0
CONFIG = dict(width=24, layers=2, heads=4, num_latents=6, input_dim=32, time_channel=10)
TIMESTEPS = (0, 1, 137, 500, 981, 999)
TEXTS = {"text": "In the top left corner there is a red car.", "empty": ""}


class Normed(nn.Module):
    """One of the three adaptive norms: LN without affine; the time's linear layer gives the shift, then the scale."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 2 * width)
        self.plain = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)

    def forward(self, x, s):
        both = self.linear(s)
        shift, scale = both[:, : x.shape[-1]], both[:, x.shape[-1]:]
        return self.plain(x) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class PerceiverBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        for name in ("ln_1", "ln_2", "ln_ff"):
            self.add_module(name, Normed(width))

    def forward(self, z, x, s):
        a = self.ln_1(z, s)
        keys = torch.cat((a, self.ln_2(x, s)), dim=1)
        z = z + self.attn(a, keys, keys, need_weights=False)[0]
        hidden = self.mlp.c_fc(self.ln_ff(z, s))
        return z + self.mlp.c_proj(hidden.clamp(min=0).square())


class Connector(nn.Module):
    def __init__(self, width, layers, heads, num_latents, input_dim, time_channel):
        super().__init__()
        self.time_embedding = nn.ModuleDict({"linear_1": nn.Linear(time_channel, width), "linear_2": nn.Linear(width, width)})
        inner = nn.Module()
        inner.latents = nn.Parameter(torch.zeros(num_latents, width))
        inner.time_aware_linear = nn.Linear(width, width)
        inner.proj_in = nn.Linear(input_dim, width)
        inner.perceiver_blocks = nn.ModuleList([PerceiverBlock(width, heads) for _ in range(layers)])
        self.connector = inner
        self.half = time_channel // 2

    def forward(self, states, t):
        angles = t * torch.exp(torch.arange(self.half, dtype=torch.float32) * (-math.log(10000.0) / self.half))
        e = self.time_embedding["linear_1"](torch.cat((torch.cos(angles), torch.sin(angles)))[None])
        s = nn.functional.silu(self.time_embedding["linear_2"](nn.functional.silu(e)))
        x = self.connector.proj_in(states)
        z = (self.connector.latents + self.connector.time_aware_linear(s))[None]
        for block in self.connector.perceiver_blocks:
            z = block(z, x, s)
        return z


def main():
    model = randomise(Connector(**CONFIG), SEED)
    folder = MODELS / "ella"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    (folder / "ella.safetensors").write_bytes(with_sorted_header(save(weights, metadata={"format": "pt"})))
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    random = generator(SEED + 1)
    cases = {"one": torch.randn(1, 1, CONFIG["input_dim"], generator=random), "many": 3 * torch.randn(1, 37, CONFIG["input_dim"], generator=random)}
    tensors = {f"states.{case}": states for case, states in cases.items()}
    tensors |= {f"tokens.{case}.{t}": model(states, t) for case, states in cases.items() for t in TIMESTEPS}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(MODELS / "t5" / "tokenizer.json"), pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    t5 = T5EncoderModel.from_pretrained(MODELS / "t5", dtype=torch.float32).eval()
    for case, text in TEXTS.items():
        flexible = tokenizer(text, return_tensors="pt")
        fixed = tokenizer(text, padding="max_length", truncation=True, max_length=128, return_tensors="pt")
        for length, batch in (("flexible", flexible), ("fixed", fixed)):
            states = t5(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
            tensors[f"t5.{case}.{length}"] = model(states, 500)  # paddings are seen
    write("ella", "ella", tensors, SEED, config=CONFIG, texts=TEXTS, timesteps=list(TIMESTEPS))


main()
