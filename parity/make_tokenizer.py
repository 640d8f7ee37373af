"""Golden token ids: `python parity/make_tokenizer.py` writes fixtures/tokenizer/tokenizer.json.

transformers' CLIPTokenizer over CLIP's full vocabulary, once with the pad token of Stable Diffusion 1.x (`<|endoftext|>`) and once with that of
2.x (`!`, id 0, which as a special token is also cut out of the text before the merges), and over the trimmed vocabulary of
models/sd1. For each text `ids` (77, padded and truncated) of each; padding at the end is left out. The full vocabulary itself is not stored:
its merges are in open_clip's bpe_simple_vocab_16e6.txt.gz.
"""

import json
import tempfile
from pathlib import Path

from transformers import CLIPTokenizer

from common import FIXTURES, MODELS, VERSIONS
from make_models import clip_merges, write_tokenizer

TEXTS = [
    "", " ", "a", "A photo of a cat", "a photo of a cat", "  leading and trailing  ", "two  spaces\tand\ta tab\nand a line",
    "A realistic photo of a scene with a blue dog and a white bowl", "an oil painting of two orange cats, one on the left!",
    "wow!", "!", "!!!", "a dog!a cat", "hello, world. how are you?", "semi;colon:colon", "(parentheses) [brackets] {braces}", "\"quoted\" 'single'",
    "it's the cat's toy, isn't it?", "we've they're I'd you'll I'm", "IT'S UPPER'S", "dogs' bowls", "rock'n'roll",
    "numbers 0 1 23 456 7890 3.14 1,000", "512x512 8k 4K hdr", "50% off #1 @home $5 & more", "2023-05-23 at 10:30", "½ ² ① Ⅷ",
    "café naïve façade Ångström", "cafe\u0301 decomposed", "Ü ß ñ ç œ æ ø", "STRASSE STRAẞE", "İstanbul ıspanak", "Ελληνικά σίσυφος ΣΊΣΥΦΟΣ",
    "Привет, мир", "שלום", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดี", "你好，世界", "日本語のテキスト", "한국어 문장", "𠮷野家",
    "🐶", "a 🐱 and a 🐶 on the 🌙", "👩‍👩‍👧‍👦 family 🏳️‍🌈", "emoji🙂glued", "👍🏽",
    "non\u00a0breaking\u2003em\u200bzero\u3000wide", "a\u0000b", "\ufeffbom", "soft\u00adhyphen", "tab\tonly\t", "\r\nline ends\r\n",
    "<|endoftext|>", "a <|startoftext|> in text", "<|EndOfText|>", "<b>html</b> &amp; entity",
    "supercalifragilisticexpialidocious antidisestablishmentarianism", "xqzjvkw zzzzzzzz", "snake_case camelCase kebab-case",
    "http://example.com/a?b=c#d", "emdash—dash – … ellipsis", "“curly” ‘quotes’ don’t", "™ © ® € £ ¥ §", "\\ / | ~ ^ ` * + = _ -",
    "hello\u0301\u0302 stacked", "ﬁ ﬂ ligatures", "ａｂｃ fullwidth １２３", "a" * 300, "dog " * 100, "a dog and a cat, " * 15 + "end",
    "red dog, " * 25 + "!",
]


def ids(tokenizer, text):
    padded = tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
    assert len(padded) == 77
    end = padded.index(tokenizer.eos_token_id, 1) + 1 if "<|" not in text.lower() else len(padded)
    assert "<|" in text.lower() or all(i == tokenizer.pad_token_id for i in padded[end:])
    return padded[:end]


def main():
    with tempfile.TemporaryDirectory() as folder:
        tokenizers = {
            "sd1": write_tokenizer(Path(folder) / "sd1", clip_merges()),
            "sd2": write_tokenizer(Path(folder) / "sd2", clip_merges(), pad="!"),
            "trimmed": CLIPTokenizer.from_pretrained(MODELS / "sd1" / "tokenizer"),
            "trimmed_sd2": CLIPTokenizer.from_pretrained(MODELS / "sd2" / "tokenizer"),
        }
        assert len(tokenizers["sd1"]) == 49408
        cases = [{"text": text} | {name: ids(tokenizer, text) for name, tokenizer in tokenizers.items()} for text in TEXTS]
        pads = {name: tokenizer.pad_token_id for name, tokenizer in tokenizers.items()}
    header = {"script": "make_tokenizer.py", "versions": VERSIONS, "pad_ids": pads}
    rows = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    path = FIXTURES / "tokenizer" / "tokenizer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"header": {json.dumps(header)},\n"cases": [\n{rows}\n]}}\n')
    print(f"{path}: {len(cases)} texts, {path.stat().st_size // 1024} KiB")


main()
