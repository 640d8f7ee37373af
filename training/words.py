"""Words that change nothing in a picture: a sleeping cat is a cat, whatever "sleeping" means to the model.

The frequent ones are listed and are one token each; the strange ones are all words of CLIP's vocabulary that are not in the lists, which the
trimmed tokenizer splits into pieces. A model that has met thousands of them learns to look past any.
"""

import gzip
from functools import lru_cache
from pathlib import Path

ADJECTIVES = ("old new shiny happy sad tall tiny huge cute lovely funny strange beautiful wooden plastic soft hard broken clean dirty wet dry "
              "heavy light fast slow young ancient modern simple fancy cheap expensive striped plain bright lonely sleepy angry quiet loud "
              "famous magic toy round fluffy fat thin warm cold fresh ripe little giant small big large pretty ugly royal golden wild dark pale").split()
VERBS = ("sitting standing waiting lying resting sleeping running jumping smiling flying floating parked placed seen left looking eating "
         "playing walking dancing shining drifting hiding").split()
# What people add to a prompt; it says nothing about what is in the picture.
STYLES = ("high quality", "highly detailed", "4k", "sharp focus", "digital art", "flat design", "colorful", "cartoon style", "beautiful lighting",
          "minimalist", "in the morning", "on a sunny day")


@lru_cache(maxsize=1)
def strange_words():
    """Words of four to ten letters from CLIP's vocabulary, in its order (frequent first)."""
    import open_clip

    lines = gzip.open(Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz"), "rt", encoding="utf-8").read().split("\n")
    whole = ("".join(line.split()) for line in lines[1:49152 - 256 - 2 + 1])
    words = (w.removesuffix("</w>") for w in whole if w.endswith("</w>"))
    return [w for w in words if w.isascii() and w.isalpha() and 4 <= len(w) <= 10]
