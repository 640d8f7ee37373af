"""Writes the planner as it stands as a GGUF file: `python export_planner.py FILE.gguf` (llama, q8_0 matrices, tokenizer and chat template inside)."""

import json
import sys

import gguf
import numpy as np
import torch

from train_planner import CAPTION, CONFIG, END, LAYOUT, SPECIAL, TOKENIZER, Planner
from world import CACHE

TEMPLATE = ("{% for message in messages %}{% if message.role == 'user' %}" + CAPTION + "{{ message.content }}{% else %}" + LAYOUT
            + "{{ message.content }}" + END + "{% endif %}{% endfor %}{% if add_generation_prompt %}" + LAYOUT + "{% endif %}")


def averaged(name="planner"):
    saved = torch.load(CACHE / f"{name}.pt", map_location="cpu", weights_only=False)
    model = Planner(CONFIG)
    for key, parameter in model.named_parameters():
        parameter.data.copy_(saved["average"]["weights"][key])
    return model, saved["step"]


def export(path):
    model, step = averaged()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("sinopia-planner")
    writer.add_description("Captions to layouts; made by training/train_planner.py")
    writer.add_context_length(CONFIG["context"])
    writer.add_embedding_length(CONFIG["width"])
    writer.add_block_count(CONFIG["layers"])
    writer.add_feed_forward_length(CONFIG["hidden"])
    writer.add_head_count(CONFIG["heads"])
    writer.add_head_count_kv(CONFIG["heads"])
    writer.add_rope_dimension_count(CONFIG["width"] // CONFIG["heads"])
    writer.add_rope_freq_base(CONFIG["theta"])
    writer.add_layer_norm_rms_eps(CONFIG["eps"])
    writer.add_vocab_size(CONFIG["vocab"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    add_tokenizer(writer)
    for name, parameter in model.named_parameters():
        name = name.replace("embedding.weight", "token_embd.weight")
        values = parameter.detach().float().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path}: step {step}")


def add_tokenizer(writer):
    bpe = json.loads(TOKENIZER.read_text())
    vocabulary = dict(bpe["model"]["vocab"])
    vocabulary.update((token["content"], token["id"]) for token in bpe["added_tokens"])
    names = sorted(vocabulary, key=vocabulary.get)
    added = {token["content"] for token in bpe["added_tokens"]} - set(SPECIAL)
    kinds = [gguf.TokenType.CONTROL if name in SPECIAL else gguf.TokenType.USER_DEFINED if name in added else gguf.TokenType.NORMAL for name in names]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["model"]["merges"]])
    writer.add_eos_token_id(vocabulary[END])
    writer.add_bos_token_id(vocabulary[END])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


if __name__ == "__main__":
    np.seterr(all="raise")
    export(sys.argv[1])
