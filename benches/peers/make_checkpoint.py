"""A random checkpoint of Stable Diffusion 1.5's size in diffusers' layout: `python make_checkpoint.py FOLDER` (2.1 GB, f16).

`--gligen` gives the UNet GLIGEN's grounding adapters, as `longlian/lmd_plus` has them (2.4 GB). Speed does not depend on what weights mean. The fresh
weights of the reference library keep activations finite in half precision; only the adapters' gates are opened, which fresh ones shut.
"""

import argparse
import gzip
import json
from pathlib import Path

import open_clip
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
OPEN_GATE = 0.5  # before the tanh
INDEX = {
    "_diffusers_version": "0.42.1", "requires_safety_checker": False,
    "safety_checker": [None, None], "feature_extractor": [None, None], "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
}


def write_tokenizer(folder):
    """CLIP's own vocabulary, from the merges that open_clip ships."""
    source = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.open(source, "rt", encoding="utf-8").read().split("\n")
    merges = [tuple(line.split()) for line in lines[1:49152 - 256 - 2 + 1]]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = symbols + [s + "</w>" for s in symbols] + ["".join(pair) for pair in merges] + [BOS, EOS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def unet(is_grounded):
    extra = {"attention_type": "gated"} if is_grounded else {}
    network = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280), **extra)
    for name, parameter in network.named_parameters():
        if name.endswith(("fuser.alpha_attn", "fuser.alpha_dense")):
            parameter.data.fill_(OPEN_GATE)
    return network


def main(folder, is_grounded):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    unet(is_grounded).save_pretrained(folder / "unet")
    AutoencoderKL(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
                  up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4,
                  sample_size=512).save_pretrained(folder / "vae")
    CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                 num_attention_heads=12, hidden_act="quick_gelu", projection_dim=768, bos_token_id=49406,
                                 eos_token_id=49407)).save_pretrained(folder / "text_encoder")
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False,
                  set_alpha_to_one=False).save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    pipeline = "StableDiffusionGLIGENPipeline" if is_grounded else "StableDiffusionPipeline"
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **INDEX}, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gligen", action="store_true")
    args = parser.parse_args()
    main(args.folder, args.gligen)
