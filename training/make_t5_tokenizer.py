"""Makes the tokenizer of the miniature's T5: `python make_t5_tokenizer.py FILE` learns a Unigram model and writes it as T5's `tokenizer.json`.

It learns from captions of this world, long and short, and from this folder's READMEs, so that other English words fall into few pieces. Numbers, punctuation and letters
are pieces of their own. The parts of the file are those of FLAN-T5's: normalisation, "▁" for a space, `</s>` at the end; 0 is `<pad>`, 1 `</s>`, 2 `<unk>`.
"""

import string
import sys

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from dense import compose_dense, dense_caption
from world import HERE, all_words, caption, compose

SIZE = 1600


def texts():
    rng = np.random.default_rng(61)
    for i in range(6000):
        yield dense_caption(compose_dense(rng), rng)
        yield caption(compose(rng, 1 + i % 2), rng)
    for path in sorted([*HERE.glob("*.md"), *HERE.parent.glob("*.md")]):
        yield from path.read_text().splitlines()
    for _ in range(50):
        yield " ".join(all_words())


def main(path):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=SIZE, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", shrinking_factor=0.75,
                                      initial_alphabet=list(string.ascii_letters + string.digits + string.punctuation + "äöüßéèêáàâçñóíú"))
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(path)
    print(tokenizer.get_vocab_size(), tokenizer.encode("A red car is in the bottom left corner, a hippopotamus reads.").tokens)


if __name__ == "__main__":
    main(sys.argv[1])
