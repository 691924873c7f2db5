#!/usr/bin/env python3
"""Checks by hand that transformers opens what `gmner train` wrote: no encoder tensor is missing, the tokenizer reads
our vocabulary, and training moved the hidden states.

    build/gmner train --config configs/twitter-gmner-text.json --out /tmp/run --set train.max_steps=10
    python3 tests/golden/opens_in_transformers.py /tmp/run/last weights/minilm

The arguments are a model folder and the encoder it began with, of any family. Needs PyPI `torch` and `transformers`, and ../shared.
"""
import sys

import torch
import transformers

from bert import states_of, tweets

# The heads are ours; buffers that older files carry are no weights.
OURS = ("span.", "crf.", "shape.")


def open_all(folder):
    model, report = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    return model.eval(), report


def open_tokenizer(folder):
    """Words given one by one: RoBERTa's asks to be told that a blank stands before each."""
    is_bpe = transformers.AutoConfig.from_pretrained(folder).model_type == "roberta"
    return transformers.AutoTokenizer.from_pretrained(folder, **(dict(add_prefix_space=True) if is_bpe else {}))


def main(folder, encoder):
    before, first = open_all(encoder)
    after, report = open_all(folder)
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    assert type(after) is type(before), (type(before), type(after))
    tensors = len(after.state_dict())
    print(f"{folder}: {tensors} tensors of the encoder, missing {missing}, not the encoder's {unexpected}")
    assert set(missing) <= set(first["missing_keys"]) and not report["mismatched_keys"], report # a pooler, where none came
    assert all(key.startswith(OURS) for key in unexpected), unexpected
    theirs, ours = open_tokenizer(encoder), open_tokenizer(folder)
    moved, rms = [], []
    for words in tweets("../shared/data/twitter-gmner/dev.txt", 20):
        ids = ours(words, is_split_into_words=True)["input_ids"]
        assert ids == theirs(words, is_split_into_words=True)["input_ids"], words
        with torch.no_grad():
            x, y = states_of(before, ids), states_of(after, ids)
        assert torch.isfinite(y).all()
        moved.append((y - x).pow(2).mean().sqrt().item())
        rms.append(x.pow(2).mean().sqrt().item())
    print(f"hidden states of {len(moved)} tweets moved by {min(moved):.3g} to {max(moved):.3g}, "
          f"their rms is {sum(rms) / len(rms):.3g}")
    assert min(moved) > 0, "training left the encoder as it was"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
