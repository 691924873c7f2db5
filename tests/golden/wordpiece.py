#!/usr/bin/env python3
"""Makes tests/golden/wordpiece.json: what Hugging Face `tokenizers` says about real text and about nasty strings.

Run by hand from the repository root, with PyPI `tokenizers` installed and weights/minilm/ fetched:

    python3 tests/golden/wordpiece.py > wordpiece.json.part && mv wordpiece.json.part tests/golden/wordpiece.json

Of the data sets only hashes and counts are stored, one row of hashes for each 500 sentences; the test reads the text
from ../shared/data and computes the same. A hash is FNV-1a with 64 bits over 32-bit numbers (h = (h ^ number) * prime).
Its columns, each over the sentences of the block in order:
  texts      words joined by one blank, encoded as a whole: id, first byte, end byte of each piece, then -1
  cased      the same without lower case and accent stripping
  words      the same for each word alone, -1 behind each word
  max_len_*  [CLS] pieces [SEP] of the words that fit: the ids, -1, index of each kept word's first piece, -1, kept
             words, 1 when something was cut
"""
import hashlib
import json
import platform
import random
import sys

import tokenizers

VOCAB = "weights/minilm/vocab.txt"
DATA = "../shared/"
FILES = [
    "data/twitter-gmner/train.txt", "data/twitter-gmner/dev.txt",
    "data/ccks-aug/CCKS_Aug_train.conll", "data/ccks-aug/CCKS_Aug_dev.conll", "data/ccks-aug/CCKS_test.conll",
]
BLOCK = 500
MAX_LEN = [128, 24]
COLUMNS = ["texts", "cased", "words"] + [f"max_len_{n}" for n in MAX_LEN]


class Fnv:
    def __init__(self):
        self.value = 0xCBF29CE484222325

    def add(self, numbers):
        h = self.value
        for number in numbers:
            h = (h ^ (number & 0xFFFFFFFF)) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        self.value = h


def make(lower):
    t = tokenizers.BertWordPieceTokenizer(VOCAB, lowercase=lower)
    # A literal "[SEP]" in a text is text.
    t._tokenizer.encode_special_tokens = True
    return t


LOWER, CASED = make(True), make(False)


def pieces(tokenizer, text):
    """Flat id, first byte, end byte of each piece; `tokenizers` counts characters, we count bytes."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    at = [0]
    for character in text:
        at.append(at[-1] + len(character.encode()))
    flat = []
    for number, (start, end) in zip(encoding.ids, encoding.offsets):
        flat += [number, at[start], at[end]]
    return flat


def sentence(ids_of_words, max_len):
    """The encoder's view, written from its contract."""
    ids, first, cut = [LOWER.token_to_id("[CLS]")], [], 0
    for word in ids_of_words:
        word = word or [LOWER.token_to_id("[UNK]")]
        if len(ids) + len(word) + 1 > max_len:
            cut = 1
            if first:
                break
            word = word[:max_len - 2]
        first.append(len(ids))
        ids += word
        if cut:
            break
    ids.append(LOWER.token_to_id("[SEP]"))
    return ids + [-1] + first + [-1, len(first), cut]


def sentences(path):
    """Words of each sentence: the first column; a blank line ends a sentence, an IMGID line begins one."""
    words = []
    # Only "\n" ends a line: words of the set hold other characters that Python takes for line ends.
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("IMGID:"):
                continue
            if line:
                words.append(line.split("\t")[0])
            elif words:
                yield words
                words = []
    if words:
        yield words


def hash_file(name):
    counts = {"sentences": 0, "words": 0, "pieces_of_texts": 0, "pieces_of_words": 0, "words_without_pieces": 0}
    blocks, hashes = [], None
    for words in sentences(DATA + name):
        if counts["sentences"] % BLOCK == 0:
            hashes = {column: Fnv() for column in COLUMNS}
            blocks.append(hashes)
        whole = pieces(LOWER, " ".join(words))
        hashes["texts"].add(whole + [-1])
        hashes["cased"].add(pieces(CASED, " ".join(words)) + [-1])
        alone = [pieces(LOWER, word) for word in words]
        for word in alone:
            hashes["words"].add(word + [-1])
        for n in MAX_LEN:
            hashes[f"max_len_{n}"].add(sentence([word[::3] for word in alone], n))
        counts["sentences"] += 1
        counts["words"] += len(words)
        counts["pieces_of_texts"] += len(whole) // 3
        counts["pieces_of_words"] += sum(map(len, alone)) // 3
        counts["words_without_pieces"] += alone.count([])
    return {"path": name, **counts, "blocks": [[f"{b[c].value:016x}" for c in COLUMNS] for b in blocks]}


def nasty():
    yield "empty", ""
    yield "blanks only", " \t\r\n "
    yield "controls only", "\x01\x7f\u0092\u0085"
    yield "emoji", "so happy \U0001F600\U0001F602!"
    yield "emoji family joined by U+200D", "\U0001F468\u200d\U0001F469\u200d\U0001F467 home"
    yield "flag and skin tone", "\U0001F1FA\U0001F1F8 \U0001F44D\U0001F3FD"
    yield "variation selectors", "\u2764\ufe0f \u2764\ufe0e x\ufe0fy"
    yield "U+200B between, before, after", "a\u200bb \u200bc d\u200b \u200b"
    yield "U+0092 for an apostrophe", "don\u0092t"
    yield "soft hyphen, byte order mark", "co\u00adop \ufeffstart"
    yield "CJK next to letters", "\u4e2d\u56fdUSA\u6b66\u5668abc"
    yield "CJK beyond the first plane", "x\U00020000y\U0002B920z\U0002F800"
    yield "CJK compatibility characters", "\uf900\uf9ff"
    yield "between two CJK blocks", "a\U0002B830b"
    yield "kana and voiced kana", "\u3042\u30ab\u304c\u30ac\u3099"
    yield "Hangul decomposes", "\ud55c\uad6d\uc5b4 Seoul\uc11c\uc6b8"
    yield "combining accents", "cafe\u0301 nai\u0308ve E\u0301\u0302\u0303"
    yield "composed accents", "caf\u00e9 na\u00efve \u00c5\u1e69\u1fa7"
    yield "accent without a letter", "\u0301 \u0301a"
    yield "accents only", "\u0301\u0302\u0344"
    yield "accent behind punctuation", "!\u0301?"
    yield "two marks out of order, one stays", "a\u302e\u0316b c\u302e\u0344\u0316"
    yield "musical notes decompose into marks that stay", "\U0001D15E\U0001D160 a\U0001D16D\U0001D165"
    yield "run of marks", "a" + "\u0301\u0316\u302e" * 40 + "b"
    yield "U+0130", "\u0130stanbul I\u0307 i"
    yield "German sharp s", "Stra\u00dfe STRA\u1e9eE"
    yield "final sigma", "\u039f\u0394\u039f\u03a3"
    yield "ligatures and letters with strokes", "\ufb01sh \u0142\u00f3d\u017a \u00f8 \u0111"
    yield "title case digraph", "\u01c5 \u01c4"
    yield "full width", "\uff28\uff25\uff2c\uff2c\uff2f\uff01"
    yield "blanks of all kinds", "a\tb\nc\rd\u00a0e\u2003f\u3000g\u2028h\u2029i"
    yield "ASCII symbols", "a$b+c<d=e>f^g`h|i~j_k"
    yield "symbols that are no punctuation", "a\u20acb\u00a3c\u2122d\u00a9e"
    yield "other punctuation", "\u00bfqu\u00e9? \u2026\u201cquoted\u201d\u2014dash \u3002"
    yield "literal special pieces", "[CLS] a [SEP] [UNK] [PAD] [MASK]"
    yield "literal continuation marks", "##ing ## a##b"
    yield "address", "https://t.co/AbC123xYz @user_name #HashTag&amp;RT"
    yield "word of 100 characters", "a" * 100
    yield "word of 101 characters", "a" * 101 + " b"
    yield "101 letters, one of them an accent", "a" * 50 + "\u0301" + "a" * 50
    yield "100 letters that decompose beyond 100", "\uac01" * 50
    yield "word of many pieces", "qzxj" * 20
    yield "word that begins well and ends unknown", "walking\U0001F600 ok"
    yield "unassigned code points", "\u0378 a\u0378b \U000E0080"
    yield "new emoji", "\U0001FAE8 \U0001FAF0hi"
    yield "noncharacters and private use", "a\uffffb \ue000c \U0010FFFF \U000F0000"
    yield "replacement character", "a\ufffdb \ufffd"
    yield "right to left", "\u0634\u0643\u0631\u0627 \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u202ertl\u202c\u200f!"
    yield "Arabic with marks", "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f"
    yield "Devanagari", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0958"
    yield "Thai", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"
    yield "Cyrillic", "\u0419\u043e\u0433\u0443\u0440\u0442 \u0401\u043b\u043a\u0430"
    yield "Vietnamese", "Vi\u1ec7t Nam \u01a0\u01af"
    yield "mathematical letters", "\U0001D400\U0001D41A \u210d"
    yield "zalgo", "h" + "".join(chr(0x300 + i % 0x6f) for i in range(300)) + "i"


def strings():
    texts = list(nasty())
    # Characters of all these kinds in random order, from a fixed seed.
    pool = sorted({character for _, text in texts for character in text})
    draw = random.Random(20240607)
    texts += [(f"mixed {i}", "".join(draw.choice(pool) for _ in range(24))) for i in range(40)]
    for what, text in texts:
        yield {"what": what, "text": text, "lower": pieces(LOWER, text), "cased": pieces(CASED, text)}


def main():
    with open(VOCAB, "rb") as file:
        vocab_sha256 = hashlib.sha256(file.read()).hexdigest()
    out = {
        "made_by": "tests/golden/wordpiece.py",
        "versions": {"tokenizers": tokenizers.__version__, "python": platform.python_version()},
        "vocab": VOCAB, "vocab_sha256": vocab_sha256,
        "block": BLOCK, "max_len": MAX_LEN, "columns": COLUMNS,
    }
    print("{")
    for key, value in out.items():
        print(f" {json.dumps(key)}: {json.dumps(value)},")
    print(' "files": [')
    print(",\n".join("  " + json.dumps(hash_file(name)).replace('"], ["', '"],\n   ["') for name in FILES))
    print(' ],\n "strings": [')
    print(",\n".join("  " + json.dumps(s) for s in strings()))
    print(" ]\n}")


if __name__ == "__main__":
    sys.exit(main())
