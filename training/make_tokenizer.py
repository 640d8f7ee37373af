"""Trims CLIP's vocabulary: `python make_tokenizer.py FOLDER` writes vocab.json, merges.txt and the two config files.

The first merges stay, and all merges on the way to the words of the world, which are therefore one token each. Merges keep
their order, so any word that was one token of CLIP and is kept is split in the same way by the same rules.
"""

import gzip
import json
import sys
from pathlib import Path

import open_clip

from world import all_words

FIRST_MERGES = 4000


def byte_symbols():
    """CLIP's 256 printable stand-ins for bytes, in CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b) for b in printable] + [chr(next(spare)) for b in range(256) if b not in printable]


def path_of(word, ranks):
    """The merges that turn the letters of a word into as few tokens as CLIP would."""
    parts, used = [*word[:-1], word[-1] + "</w>"], []
    while pairs := [pair for pair in zip(parts, parts[1:]) if pair in ranks]:
        best = min(pairs, key=ranks.get)
        used.append(best)
        merged, i = [], 0
        while i < len(parts):
            if tuple(parts[i:i + 2]) == best:
                merged.append(parts[i] + parts[i + 1])
                i += 2
            else:
                merged.append(parts[i])
                i += 1
        parts = merged
    return used, parts


def trim(words):
    source = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.open(source, "rt", encoding="utf-8").read().split("\n")
    merges = [tuple(line.split()) for line in lines[1:49152 - 256 - 2 + 1]]
    ranks = {pair: i for i, pair in enumerate(merges)}
    kept = set(merges[:FIRST_MERGES])
    for word in words:
        used, parts = path_of(word, ranks)
        if len(parts) > 1:
            print(f"{word} is {len(parts)} tokens even in CLIP: {parts}", file=sys.stderr)
        kept |= set(used)
    merges = [pair for pair in merges if pair in kept]
    symbols = byte_symbols()
    tokens = symbols + [s + "</w>" for s in symbols] + ["".join(pair) for pair in merges]
    return merges, tokens + ["<|startoftext|>", "<|endoftext|>"]


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    merges, tokens = trim(all_words())
    vocab = {token: i for i, token in enumerate(tokens)}
    assert len(vocab) == len(tokens), "a token twice"
    bos, eos = "<|startoftext|>", "<|endoftext|>"
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {"bos_token": bos, "eos_token": eos, "unk_token": eos, "pad_token": eos}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, "errors": "replace",
              "add_prefix_space": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{len(tokens)} tokens")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
