"""T5's text encoder: `python parity/make_t5.py` writes models/t5 (a folder as FLAN-T5's, tiny, f16 weights) and fixtures/t5/{t5.safetensors,tokens.json}.

`ids.<case>` (1, L) i64, `length.<case>` how many of them are not padding, and, for each, transformers' `last_hidden_state` (1, L, D): `last.<case>` in f32,
`half.<case>` of the same weights in f16. The feed-forward of the first layer is so large that f16 overflows, as FLAN-T5-XL's does. tokens.json: texts, and
their ids by `tokenizer.json`; models/t5/spiece.model holds the same pieces as SentencePiece's format has them, without a table of characters.
"""

import json
import struct

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from common import FIXTURES, MODELS, VERSIONS, randomise, with_sorted_header, write
from safetensors.torch import save

SEED = 0
CONFIG = dict(
    d_model=32, d_kv=12, num_heads=3, d_ff=48, num_layers=3, feed_forward_proj="gated-gelu", relative_attention_num_buckets=32,
    relative_attention_max_distance=128, layer_norm_epsilon=1e-6, dropout_rate=0.0, pad_token_id=0, eos_token_id=1,
)
TEXTS = {
    "short": "a red car",
    "empty": "",
    "sentences": "In the top left corner there is a red car. Below it, a dog sleeps; the dog is brown!",
    "scripts": "Ünïcode, 北京 and Привет: naïve ﬁsh ½",
    "spaces": "  two   spaces\tand a tab \n",
    "marks": "an end </s> in the text",
    "long": "A small dog and a large cat look at the sea. " * 18,
}
CORPUS = [*TEXTS.values(), "the quick brown fox jumps over the lazy dog", "there are houses in the field, and a bird above them"] * 4


def make_tokenizer():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=220, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([text for text in CORPUS], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def sentencepiece_of(tokenizer):
    """The pieces as a `spiece.model`: fields 1 (pieces: text, score, type), 2 (trainer: unigram) and 3 (normaliser: identity)."""
    field = lambda number, content: bytes([number << 3 | 2]) + varint(len(content)) + content
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    kinds = {"<pad>": 3, "</s>": 3, "<unk>": 2}
    body = b""
    for text, score in pieces:
        body += field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kinds.get(text, 1)]))
    return body + field(2, b"\x18\x01") + field(3, field(1, b"identity"))


def varint(value):
    encoded = b""
    while value > 127:
        encoded, value = encoded + bytes([value & 127 | 128]), value >> 7
    return encoded + bytes([value])


def main():
    folder = MODELS / "t5"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer()
    # Scores that f32 holds exactly, so that both files have the same.
    saved = json.loads(tokenizer.to_str())
    saved["model"]["vocab"] = [[text, struct.unpack("<f", struct.pack("<f", score))[0]] for text, score in saved["model"]["vocab"]]
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    (folder / "tokenizer.json").write_text(json.dumps(saved, ensure_ascii=False, indent=0) + "\n")
    (folder / "spiece.model").write_bytes(sentencepiece_of(tokenizer))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    config = T5Config(vocab_size=tokenizer.get_vocab_size() + 4, **CONFIG)
    model = randomise(T5EncoderModel(config), SEED, {"block.0.layer.1.DenseReluDense.wo": 2e4, "relative_attention_bias": 2.0})
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items() if name != "encoder.embed_tokens.weight"}
    (folder / "model.safetensors").write_bytes(with_sorted_header(save(weights, metadata={"format": "pt"})))
    kept = {key: value for key, value in config.to_dict().items() if key in CONFIG or key in ("vocab_size", "model_type")}
    (folder / "config.json").write_text(json.dumps(kept, indent=2) + "\n")

    tensors, tokens = {}, {}
    cases = {case: fast(text, return_tensors="pt") for case, text in TEXTS.items()}
    for case in ("short", "empty", "long"):
        cases[f"{case}_fixed"] = fast(TEXTS[case], padding="max_length", truncation=True, max_length=128, return_tensors="pt")
    half = T5EncoderModel(config)
    half.load_state_dict(model.state_dict())
    half = half.half().eval()
    assert all(p.dtype == torch.float16 for p in half.parameters())
    for case, batch in cases.items():
        ids, mask = batch.input_ids, batch.attention_mask
        tensors[f"ids.{case}"], tensors[f"length.{case}"] = ids, mask.sum()[None]
        tensors[f"last.{case}"] = model(input_ids=ids, attention_mask=mask).last_hidden_state
        tensors[f"half.{case}"] = half(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        tokens[case] = ids[0].tolist()
    overflown = torch.cat([abs(tensors[f"half.{case}"] - tensors[f"last.{case}"]).flatten() for case in TEXTS])
    assert overflown.max() > 0.05, "f16 should matter here"
    write("t5", "t5", tensors, SEED, texts=TEXTS, model="models/t5")
    document = {"script": "make_t5.py", "versions": VERSIONS, "seed": SEED, "texts": TEXTS, "ids": tokens}
    (FIXTURES / "t5" / "tokens.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


main()
