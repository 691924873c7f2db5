#!/usr/bin/env python3
"""Makes the small vocabularies of tests/golden/tokenizers/: roberta/ (byte-level BPE) and xlm_roberta/ (SentencePiece
unigram), trained on synthetic tweets of `gmner synth` and on random strings of a fixed seed.

Run by hand from the repository root with a built program and PyPI tokenizers==0.23.3, sentencepiece==0.1.97:

    python3 tests/golden/tokenizers/vocabularies.py

Training depends on the versions: the files are kept as they were made, not made again.
"""
import json
import pathlib
import random
import subprocess
import sys
import unicodedata

import sentencepiece
import tokenizers

HERE = pathlib.Path(__file__).parent
TWEETS = ["build/gmner", "synth", "--out", "-", "--count", "3000", "--seed", "7", "--hard"]
# Scripts that real text brings: their code points in turn, from where to where.
RANGES = [(0xC0, 0x17F), (0x391, 0x3C9), (0x410, 0x44F), (0x5D0, 0x5EA), (0x627, 0x64A), (0x3042, 0x30F3),
          (0x1F600, 0x1F64F), (0x1F300, 0x1F3FF), (0x2018, 0x2026), (0x300, 0x310)]


def hanzi():
    """The 3755 everyday characters: level 1 of GB 2312."""
    for row in range(0xB0, 0xD8):
        for cell in range(0xA1, 0xFF):
            try:
                yield bytes([row, cell]).decode("gb2312")
            except UnicodeDecodeError:
                pass


def lines():
    for line in subprocess.run(TWEETS, check=True, stdout=subprocess.PIPE).stdout.decode().splitlines():
        yield " ".join(json.loads(line)["tokens"])
    draw = random.Random(20240608)
    for first, last in RANGES:
        for _ in range(60):
            yield " ".join("".join(chr(draw.randint(first, last)) for _ in range(draw.randint(1, 6))) for _ in range(6))
    # Each character once, and sentences of two thousand invented words.
    known = list(hanzi())
    for at in range(0, len(known), 20):
        yield "".join(known[at:at + 20])
    words = ["".join(draw.choices(known[:800], k=draw.choice([2, 2, 2, 3, 4]))) for _ in range(2000)]
    for _ in range(3000):
        yield "".join(draw.choices(words, weights=[1 / (i + 5) for i in range(len(words))], k=8)) + "，。"[draw.randint(0, 1)]


def rules():
    """A short form of SentencePiece's nmt_nfkc: the compatibility characters of a few blocks, blanks of all kinds, and
    controls that vanish. The full table would be larger than the rest of the model."""
    blocks = [(0xA0, 0xFF), (0x2000, 0x206F), (0x2100, 0x214F), (0x3000, 0x303F), (0xFF01, 0xFF5E), (0x2160, 0x217F)]
    for code in [c for first, last in blocks for c in range(first, last + 1)]:
        target = unicodedata.normalize("NFKC", chr(code))
        if target != chr(code):
            yield chr(code), target
    for code in [9, 10, 12, 13, 0x61C, 0x200B, 0x200C, 0x200E, 0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD]:
        yield chr(code), " "
    for code in [*range(1, 9), 0xB, *range(0xE, 0x20), 0x7F, 0x8F, 0x9F]:
        yield chr(code), ""
    for letter in "AEIOUaeiou":
        for mark in "\u0300\u0301\u0302\u0308":
            yield letter + mark, unicodedata.normalize("NFKC", letter + mark)


def write(folder, name, value):
    (HERE / folder).mkdir(exist_ok=True)
    (HERE / folder / name).write_text(json.dumps(value, indent=1) + "\n")


def train_bpe(text):
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator(text, vocab_size=3000, min_frequency=2, show_progress=False,
                            special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    write("roberta", "config.json", {"model_type": "roberta", "vocab_size": bpe.get_vocab_size()})
    write("roberta", "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True})
    bpe.save_model(str(HERE / "roberta"))


def train_unigram(text):
    scratch = pathlib.Path("build/golden")
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "lines.txt").write_text("\n".join(text) + "\n")
    # A rule is its characters in hexadecimal, a tab, and what they become.
    spelt = sorted({" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) for a, b in rules()})
    (scratch / "rules.tsv").write_text("".join(line + "\n" for line in spelt))
    sentencepiece.SentencePieceTrainer.Train(
        input=scratch / "lines.txt", model_prefix=scratch / "xlm", model_type="unigram", vocab_size=6000,
        character_coverage=1.0, normalization_rule_tsv=scratch / "rules.tsv", max_sentencepiece_length=12, num_threads=1,
        minloglevel=1)
    write("xlm_roberta", "config.json", {"model_type": "xlm-roberta", "vocab_size": 6002})
    (scratch / "xlm.model").rename(HERE / "xlm_roberta" / "sentencepiece.bpe.model")


def main():
    text = list(lines())
    train_bpe(text)
    train_unigram(text)


if __name__ == "__main__":
    sys.exit(main())
