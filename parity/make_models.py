"""Tiny random checkpoints in diffusers folders: `python parity/make_models.py` writes fixtures/models/{sd1,sd2,small,gligen}.

`sd1` has the shape of Stable Diffusion 1.x (quick-gelu text encoder, 1×1-convolution projections, epsilon, PNDM), `sd2` that of 2.x
(gelu, linear projections, heads by level, v-prediction, DDIM, pad token 0), `small` the two-level shape of the miniature, `gligen` that with
grounding adapters (epsilon). The other scripts load them from there, so weights are stored once, as f16; all computation is f32.
"""

import gzip
import json
import shutil
from pathlib import Path

import open_clip
import torch
from diffusers import (AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionGLIGENPipeline, StableDiffusionPipeline,
                       UNet2DConditionModel)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from common import MODELS, randomise

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
WORDS = "a an the of on with and in red blue green white photo painting dog cat bowl table left right two house sky blurry".split()


def clip_merges():
    """CLIP's 48 894 merges, best first, from the file that open_clip ships."""
    source = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.open(source, "rt", encoding="utf-8").read().split("\n")
    return [tuple(line.split()) for line in lines[1:49152 - 256 - 2 + 1]]


def byte_symbols():
    """The 256 printable stand-ins for bytes, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def write_tokenizer(folder, merges, pad=EOS):
    """A `tokenizer/` folder as CLIP checkpoints have it, and the tokenizer that transformers makes of it."""
    folder.mkdir(parents=True, exist_ok=True)
    symbols = byte_symbols()
    tokens = symbols + [s + "</w>" for s in symbols] + ["".join(pair) for pair in merges] + [BOS, EOS]
    vocab = {token: i for i, token in enumerate(tokens)}
    assert len(vocab) == len(tokens)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": pad}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return CLIPTokenizer.from_pretrained(folder)


def merges_for(words):
    """The merges on CLIP's way to each word, in CLIP's order."""
    merges = clip_merges()
    rank = {pair: i for i, pair in enumerate(merges)}
    kept = set()
    for word in words:
        parts = [*word[:-1], word[-1] + "</w>"]
        while pairs := [pair for pair in zip(parts, parts[1:]) if pair in rank]:
            best = min(pairs, key=rank.get)
            kept.add(best)
            i = next(i for i, pair in enumerate(zip(parts, parts[1:])) if pair == best)
            parts[i:i + 2] = ["".join(best)]
    return sorted(kept, key=rank.get)


def text_encoder(seed, vocab_size, **config):
    special = {"bos_token_id": vocab_size - 2, "eos_token_id": vocab_size - 1, "pad_token_id": vocab_size - 1}
    config = CLIPTextConfig(vocab_size=vocab_size, max_position_embeddings=77, **(special | config))
    return randomise(CLIPTextModel(config), seed, gains={"q_proj": 2.0, "k_proj": 2.0})


def vae(seed, channels):
    model = AutoencoderKL(block_out_channels=channels, layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=64,
                          down_block_types=["DownEncoderBlock2D"] * len(channels), up_block_types=["UpDecoderBlock2D"] * len(channels),
                          scaling_factor=0.18215)
    return randomise(model, seed, gains={"to_q": 2.0, "to_k": 2.0, "decoder.conv_out": 0.6})


def unet(seed, **config):
    return randomise(UNet2DConditionModel(sample_size=16, **config), seed, gains={"to_q": 1.7, "to_k": 1.7})


CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"
SD_BLOCKS = {"down_block_types": [CROSS, CROSS, CROSS, PLAIN], "up_block_types": [PLAIN_UP, CROSS_UP, CROSS_UP, CROSS_UP]}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1, "set_alpha_to_one": False}


def save(name, text, unet, vae, scheduler, merges, pad, pipeline_class=StableDiffusionPipeline):
    folder = MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = write_tokenizer(folder / "tokenizer", merges, pad)
    assert len(tokenizer) == text.config.vocab_size
    pipeline = pipeline_class(vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
                              safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.to(torch.float16).save_pretrained(folder)
    write_tokenizer(folder / "tokenizer", merges, pad)  # transformers saves a tokenizer.json that most checkpoints lack
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            print(f"{file.relative_to(MODELS)}: {file.stat().st_size / 1024:.1f} KiB")


def add_text_model_prefix(name):
    """The names of transformers 4: `text_model.` before all of them. Version 5, which saved the file, has dropped it."""
    file = MODELS / name / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    save_file({f"text_model.{key}": value for key, value in weights.items()}, file, metadata={"format": "pt"})


def main():
    merges = merges_for(WORDS)
    vocab_size = 512 + len(merges) + 2
    save("sd1", text_encoder(11, vocab_size, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
                             hidden_act="quick_gelu"),
         unet(12, block_out_channels=[16, 16, 16, 24], layers_per_block=2, cross_attention_dim=32, attention_head_dim=4, norm_num_groups=8,
              **SD_BLOCKS),
         vae(13, [8, 8, 16, 16]), PNDMScheduler(**BETAS, skip_prk_steps=True), merges, EOS)
    save("sd2", text_encoder(21, vocab_size, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48,
                             hidden_act="gelu", bos_token_id=0, eos_token_id=2, pad_token_id=1),  # as published: the pooled state is then that of the largest id
         unet(22, block_out_channels=[8, 16, 16, 24], layers_per_block=2, cross_attention_dim=24, attention_head_dim=[1, 2, 4, 3],
              norm_num_groups=4, use_linear_projection=True, **SD_BLOCKS),
         vae(23, [4, 8, 8, 12]), DDIMScheduler(**BETAS, clip_sample=False, prediction_type="v_prediction"), merges, "!")
    add_text_model_prefix("sd2")
    save("small", text_encoder(31, vocab_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                               hidden_act="quick_gelu"),
         unet(32, block_out_channels=[16, 24], layers_per_block=2, cross_attention_dim=16, attention_head_dim=4, norm_num_groups=8,
              down_block_types=[CROSS, PLAIN], up_block_types=[PLAIN_UP, CROSS_UP]),
         vae(33, [4, 8, 8, 8]), DDIMScheduler(**BETAS, clip_sample=False, prediction_type="v_prediction"), merges, EOS)
    save("gligen", text_encoder(41, vocab_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                                hidden_act="quick_gelu"),
         unet(42, block_out_channels=[16, 24], layers_per_block=2, cross_attention_dim=16, attention_head_dim=4, norm_num_groups=8,
              down_block_types=[CROSS, PLAIN], up_block_types=[PLAIN_UP, CROSS_UP], attention_type="gated"),
         vae(43, [4, 8, 8, 8]), DDIMScheduler(**BETAS, clip_sample=False), merges, EOS, StableDiffusionGLIGENPipeline)


if __name__ == "__main__":
    main()
