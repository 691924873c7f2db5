#!/usr/bin/env python3
"""Makes what tests/model/vectors_test.c compares vectors of real tweets with: those of Hugging Face `transformers`, as the page of
all-MiniLM-L6-v2 says to make them (`sentence-transformers` does the same): the mean of the last states over all tokens, normalised.

Run by hand from the repository root, with PyPI `torch` and `transformers` installed:

    python3 tests/golden/sentences.py     writes tests/golden/sentences_minilm.safetensors (needs weights/minilm, ../shared)

`vector` [20, 384]: of the first 20 sentences of the Twitter-GMNER dev set, their words with a blank between them, each whole
text through the tokenizer. The texts themselves are read from ../shared by the test.
"""
import torch
import transformers
from safetensors.torch import save_file

from bert import tweets

FOLDER = "weights/minilm"
MADE_BY = f"tests/golden/sentences.py, torch {torch.__version__}, transformers {transformers.__version__}"

if __name__ == "__main__":
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    model = transformers.AutoModel.from_pretrained(FOLDER, dtype=torch.float32).eval()
    texts = [" ".join(words) for words in tweets("../shared/data/twitter-gmner/dev.txt", 20)]
    # All at once, padded: so a text's vector there depends on its mask, which is part of what is compared.
    given = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = model(**given).last_hidden_state
    mask = given["attention_mask"].unsqueeze(-1).float()
    mean = (states * mask).sum(1) / mask.sum(1)
    save_file({"vector": torch.nn.functional.normalize(mean, dim=1).contiguous()}, "tests/golden/sentences_minilm.safetensors", metadata={"made_by": MADE_BY})
