#!/usr/bin/env python3
"""Makes tests/golden/tokenizers.json: what Hugging Face `transformers` and `tokenizers` say about real text and nasty
strings with MPNet's vocabulary and the small ones of RoBERTa's and XLM-R's kind beside this file.

Run by hand from the repository root, with weights/minilm/ and weights/mpnet/ fetched and PyPI tokenizers==0.23.3,
transformers==5.23.0, sentencepiece==0.1.97, protobuf:

    python3 tests/golden/tokenizers/tokenizers_golden.py > t.part && mv t.part tests/golden/tokenizers.json

Form and hashes are those of ../wordpiece.py. The columns here: texts (the words joined by one blank), words (each
alone), max_len_128 and max_len_24 (sentences as the encoder reads them, without sentences of ties).

A tie: `tokenizers` and libsentencepiece 0.1.97 find other pieces of the same score, up to the rounding of sums of
float32. The golden file lists the sentences with one; the test skips them. Anything else in real text stops this
script. Nasty strings that `tokenizers` reads otherwise than SentencePiece, by which XLM-R was trained, are left out and
named under "otherwise": it normalises whole graphemes where SentencePiece takes the longest rule, and it finds the names
of special pieces in a text.
"""
import functools
import json
import os
import pathlib
import platform
import sys

os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"  # sentencepiece 0.1.97 brings old generated code
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import sentencepiece  # noqa: E402
import tokenizers  # noqa: E402
import transformers  # noqa: E402
import wordpiece  # noqa: E402

HERE = "tests/golden/tokenizers/"
MAX_LEN = [128, 24]
COLUMNS = ["texts", "words"] + [f"max_len_{n}" for n in MAX_LEN]
KINDS = {
    "mpnet": ("weights/mpnet", transformers.MPNetTokenizer, {}),
    "roberta": (HERE + "roberta", transformers.RobertaTokenizer, {"add_prefix_space": True}),
    "xlm-roberta": (HERE + "xlm_roberta", transformers.XLMRobertaTokenizer, {}),
}

# Of what normalisation drops, `tokenizers` gives the bytes to the character before, SentencePiece to the one behind.
OTHER_RANGES = ["controls only", "101 letters, one of them an accent"]


class Kind:
    def __init__(self, name):
        self.folder, make, options = KINDS[name]
        # A literal "<s>" in a text is text.
        self.hf = make.from_pretrained(self.folder, split_special_tokens=True, **options)
        self.hf._tokenizer.encode_special_tokens = True
        self.hf._tokenizer.no_truncation()
        self.hf._tokenizer.no_padding()
        self.model, self.asked = None, 0
        if name == "xlm-roberta":
            self.model = sentencepiece.SentencePieceProcessor(model_file=self.folder + "/sentencepiece.bpe.model")

    @functools.lru_cache(200000)
    def pieces(self, text):
        return wordpiece.pieces(self.hf._tokenizer, text)

    def both(self, text):
        theirs = self.pieces(text)[::3]
        return [i + 1 if i else 3 for i in self.model.encode(text)] if self.model else theirs, theirs

    @functools.lru_cache(200000)
    def is_tie(self, text):
        ours, theirs = self.both(text)
        if ours == theirs:
            return False
        score = [sum(self.model.get_score(i - 1) for i in ids if i != 3) for ids in (ours, theirs)]
        if ours.count(3) != theirs.count(3) or abs(score[0] - score[1]) > 1e-5 * abs(score[0]):
            sys.exit(f"{text!r}: {ours} and {theirs} are no tie: {score}")
        return True

    def sentence(self, words, ids_of_words, max_len):
        """The encoder's view, written from its contract."""
        hf = self.hf
        ids, first, cut = [hf.cls_token_id], [], 0
        for word in ids_of_words:
            word = word or [hf.unk_token_id]
            if len(ids) + len(word) + 1 > max_len:
                cut = 1
                if first:
                    break
                word = word[:max_len - 2]
            first.append(len(ids))
            ids += word
            if cut:
                break
        ids.append(hf.sep_token_id)
        # transformers is slow: every tenth sentence will do.
        self.asked += 1
        if not cut and all(ids_of_words) and self.asked % 10 == 0 and ids != hf(words, is_split_into_words=True)["input_ids"]:
            sys.exit(f"transformers reads {words!r} otherwise")
        return ids + [-1] + first + [-1, len(first), cut]


def hash_file(kind, name):
    counts = {"sentences": 0, "words": 0, "pieces_of_texts": 0, "pieces_of_words": 0, "words_without_pieces": 0}
    blocks, hashes, ties = [], None, []
    for number, words in enumerate(wordpiece.sentences(wordpiece.DATA + name)):
        if number % wordpiece.BLOCK == 0:
            hashes = {column: wordpiece.Fnv() for column in COLUMNS}
            blocks.append(hashes)
        counts["sentences"] += 1
        text = " ".join(words)
        if kind.is_tie(text) or any(map(kind.is_tie, words)):
            ties.append(number)
            continue
        whole = kind.pieces(text)
        hashes["texts"].add(whole + [-1])
        alone = [kind.pieces(word) for word in words]
        for word in alone:
            hashes["words"].add(word + [-1])
        for n in MAX_LEN:
            hashes[f"max_len_{n}"].add(kind.sentence(words, [word[::3] for word in alone], n))
        counts["words"] += len(words)
        counts["pieces_of_texts"] += len(whole) // 3
        counts["pieces_of_words"] += sum(map(len, alone)) // 3
        counts["words_without_pieces"] += alone.count([])
    return {"path": name, **counts, "ties": ties, "blocks": [[f"{b[c].value:016x}" for c in COLUMNS] for b in blocks]}


def nasty():
    yield from wordpiece.nasty()
    yield "names of special pieces", "<s> a </s> <unk><pad> <mask> [UNK]"
    yield "contractions", "I'm you're he'll we've it's I'd don't DON'T 'tis 's"
    yield "digits and letters", "abc123def 1,000.50 4th B2B"
    yield "runs of blanks", "a  b   c    d"
    yield "blanks at both ends", "  a b  "
    yield "one blank", " "
    yield "blanks before symbols", "a  !! \t?"
    yield "tab first", "\tx"
    yield "no-break space first", "\u00a0x"
    yield "U+0085 and U+180E", "a\u0085b\u180ec"
    yield "ellipsis and fractions", "so\u2026 \u00bd\u2122 \u2126 \u2163"
    yield "one of many bytes", "\U0001F600"
    yield "the mark of a word's beginning", "\u2581a\u2581 b"
    yield "hanzi", "\u6211\u7231\u5317\u4eac\uff0c\u4f60\u5462\uff1f"
    yield "a rare hanzi", "\u6211\u9f98\u9750\u4eac"
    yield "unknown characters in a row", "\u13a0\u13a1\u13a2 x\u13a3"
    yield "full width and ideographic space", "\uff21\uff22\u3000\uff11"
    yield "run of one letter", "o" * 100
    yield "newline and carriage return", "a\nb\r\nc\n"


def describe(name):
    kind = Kind(name)
    yield f'  {{"kind": "{name}", "folder": "{kind.folder}", "size": {len(kind.hf)},'
    yield '   "files": ['
    yield ",\n".join("    " + json.dumps(hash_file(kind, f)).replace('"], ["', '"],\n     ["') for f in wordpiece.FILES)
    same, otherwise = [], []
    for what, text in nasty():
        ours, theirs = kind.both(text)
        if ours == theirs and (kind.model is None or what not in OTHER_RANGES):
            same.append(json.dumps({"what": what, "text": text, "pieces": kind.pieces(text)}))
        else:
            otherwise.append(what)
    yield '   ],\n   "strings": [\n    ' + ",\n    ".join(same)
    yield f'   ],\n   "otherwise": {json.dumps(otherwise)}}}'


def main():
    out = {
        "made_by": "tests/golden/tokenizers/tokenizers_golden.py",
        "versions": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__,
                     "sentencepiece": sentencepiece.__version__, "python": platform.python_version()},
        "block": wordpiece.BLOCK, "max_len": MAX_LEN, "columns": COLUMNS,
    }
    print("{")
    for key, value in out.items():
        print(f" {json.dumps(key)}: {json.dumps(value)},")
    print(' "kinds": [')
    print(",\n".join("\n".join(describe(name)) for name in KINDS))
    print(" ]\n}")


if __name__ == "__main__":
    sys.exit(main())
