#!/usr/bin/env python3
"""Makes what tests/model/bert_golden_test.c and tests/model/loss_golden_test.c compare with: numbers of Hugging Face
`transformers` and of torch.

Run by hand from the repository root, with PyPI `torch` and `transformers` installed:

    python3 tests/golden/bert.py small     writes tests/golden/bert/*/ (nothing is needed)
    python3 tests/golden/bert.py minilm    writes tests/golden/bert_minilm.safetensors (needs weights/minilm, ../shared)

small: encoders with random weights, one folder each, as a user would bring them: config.json, vocab.txt and
model.safetensors (float16, so that the files are small; the numbers are taken from the rounded weights), and
golden.json:
  sentences        words of the pieces a0, a1, ... by number: piece k has the id k + 5
  spans            gold [sentence, start, end, type]
  states           hidden states of all tokens, packed, from BertModel in float64
  heads            for each head its loss (no dropout) and for each parameter [dot, norm] of its float64 gradient, where
                   dot is the sum of gradient x cos(1 + 0.7 i) over elements i
  The heads' own weights are cosines as well (see `wave`), so that nothing else must be stored.
minilm: of the first 20 sentences of the Twitter-GMNER dev set the number of tokens and the root of the mean square
(`tokens`, `rms`), the first token's state (`first`) and 64 values chosen by hash for each token, packed (`chosen`). The
text itself is read from ../shared by the test.
"""
import json
import math
import os
import sys

import torch
import transformers
from safetensors.torch import save_file

MASK = 0xFFFFFFFF
SPAN_WIDTHS, SPAN_HIDDEN = 8, 256
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CLS, SEP = 2, 3
MADE_BY = f"tests/golden/bert.py, torch {torch.__version__}, transformers {transformers.__version__}"


def rounded(x, digits=9):
    return float(f"{x:.{digits}g}")


def config_of(**sizes):
    return dict(model_type="bert", architectures=["BertModel"], hidden_act="gelu", layer_norm_eps=1e-12,
                hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, pad_token_id=0, **sizes)


SMALL = {
    "h48": dict(seed=1, config=config_of(vocab_size=40, hidden_size=48, num_hidden_layers=2, num_attention_heads=3,
                                         intermediate_size=96, max_position_embeddings=24, type_vocab_size=2)),
    "h20": dict(seed=2, config=config_of(vocab_size=17, hidden_size=20, num_hidden_layers=3, num_attention_heads=1,
                                         intermediate_size=28, max_position_embeddings=16, type_vocab_size=1)),
}
# Words of each sentence and gold spans [sentence, start, end, type] among two types; the third sentence has one word,
# and a span of the second is eight words wide, the most that the span head reaches.
LENGTHS = [5, 12, 1]
SPANS = [[0, 1, 2, 0], [0, 4, 4, 1], [1, 0, 0, 1], [1, 2, 9, 0], [2, 0, 0, 0]]
TYPES = 2


def wave(name, shape):
    """The test's own weights of the heads: 0.3 cos(h + 1.3 i), h the sum of the name's bytes."""
    count = math.prod(shape)
    start = sum(name.encode())
    values = [0.3 * math.cos(start + 1.3 * i) for i in range(count)]
    return torch.tensor(values, dtype=torch.float32).double().reshape(shape)


def span_loss(words, heads, sentences):
    """Sum over all spans of cross-entropy, divided by the words of all sentences."""
    total, at = 0.0, 0
    for s, n in enumerate(sentences):
        gold = {(a, b): t + 1 for k, a, b, t in SPANS if k == s}
        h = words[at:at + n]
        at += n
        for i in range(n):
            for j in range(i, min(n, i + SPAN_WIDTHS)):
                hidden = torch.relu(heads["span.start.weight"] @ h[i] + heads["span.end.weight"] @ h[j]
                                    + heads["span.width.weight"][j - i] + heads["span.bias"])
                logits = heads["span.out.weight"] @ hidden + heads["span.out.bias"]
                total = total + torch.logsumexp(logits, 0) - logits[gold.get((i, j), 0)]
    return total / at


def crf_loss(words, heads, sentences):
    """Mean over sentences of log Z - score of the gold BIO path."""
    emit = words @ heads["crf.emit.weight"].T + heads["crf.emit.bias"]
    total, at = 0.0, 0
    for s, n in enumerate(sentences):
        tags = [0] * n
        for k, a, b, t in SPANS:
            if k == s:
                tags[a:b + 1] = [1 + 2 * t] + [2 + 2 * t] * (b - a)
        e = emit[at:at + n]
        at += n
        score = heads["crf.start"][tags[0]] + heads["crf.end"][tags[-1]] + sum(e[i, tags[i]] for i in range(n))
        score = score + sum(heads["crf.trans"][tags[i - 1], tags[i]] for i in range(1, n))
        alpha = heads["crf.start"] + e[0]
        for i in range(1, n):
            alpha = torch.logsumexp(alpha[:, None] + heads["crf.trans"], 0) + e[i]
        total = total + torch.logsumexp(alpha + heads["crf.end"], 0) - score
    return total / len(sentences)


def head_shapes(kind, hidden):
    if kind == "span":
        return {"span.start.weight": (SPAN_HIDDEN, hidden), "span.end.weight": (SPAN_HIDDEN, hidden),
                "span.width.weight": (SPAN_WIDTHS, SPAN_HIDDEN), "span.bias": (SPAN_HIDDEN,),
                "span.out.weight": (TYPES + 1, SPAN_HIDDEN), "span.out.bias": (TYPES + 1,)}
    tags = 2 * TYPES + 1
    return {"crf.emit.weight": (tags, hidden), "crf.emit.bias": (tags,), "crf.trans": (tags, tags),
            "crf.start": (tags,), "crf.end": (tags,)}


def states_of(model, ids):
    return model(input_ids=torch.tensor([ids])).last_hidden_state[0] # all of token type 0


def digest(gradient):
    g = gradient.reshape(-1)
    pattern = torch.cos(1 + 0.7 * torch.arange(g.numel(), dtype=torch.float64))
    return [rounded((g * pattern).sum().item()), rounded(g.norm().item())]


def small(name, seed, config):
    folder = f"tests/golden/bert/{name}"
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(seed)
    model = transformers.BertModel(transformers.BertConfig(**config), add_pooling_layer=False)
    with torch.no_grad():
        for key, p in model.named_parameters():
            scale = 0.1 if p.dim() == 1 else 0.7 / math.sqrt(p.shape[-1])
            base = 1.0 if key.endswith("LayerNorm.weight") else 0.0
            p.copy_((base + scale * torch.randn(p.shape)).half().float())
    model = model.double().eval()
    save_file({k: p.detach().half().contiguous() for k, p in model.named_parameters()}, f"{folder}/model.safetensors",
              metadata={"format": "pt"})
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")
    words = config["vocab_size"] - len(SPECIALS)
    with open(f"{folder}/vocab.txt", "w") as f:
        f.write("\n".join(SPECIALS + [f"a{k}" for k in range(words)]) + "\n")
    sentences = [[(seed + 7 * s + 5 * i * i) % words for i in range(n)] for s, n in enumerate(LENGTHS)]
    golden = dict(made_by=f"{MADE_BY}, seed {seed}", sentences=sentences, spans=SPANS, heads={})
    for kind, loss_of in (("span", span_loss), ("crf", crf_loss)):
        model.zero_grad()
        states = [states_of(model, [CLS] + [w + len(SPECIALS) for w in s] + [SEP]) for s in sentences]
        golden["states"] = [rounded(x) for x in torch.cat(states).detach().reshape(-1).tolist()]
        heads = {k: wave(k, shape).requires_grad_() for k, shape in head_shapes(kind, config["hidden_size"]).items()}
        loss = loss_of(torch.cat([x[1:-1] for x in states]), heads, LENGTHS)
        loss.backward()
        gradients = {k: digest(p.grad) for k, p in list(model.named_parameters()) + list(heads.items())}
        golden["heads"][kind] = dict(loss=rounded(loss.item(), 12), gradients=gradients)
    with open(f"{folder}/golden.json", "w") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")


def tweets(path, count):
    """Sentences of the file: lists of words."""
    with open(path, encoding="utf-8") as f:
        blocks = f.read().split("IMGID:")[1:count + 1]
    return [[line.split("\t")[0] for line in block.split("\n")[1:] if "\t" in line] for block in blocks]


def chosen(sentence, token, k, hidden):
    """Column of the k-th value kept of a token: a multiplicative hash."""
    return (((sentence << 16 ^ token << 6 ^ k) * 2654435761 & MASK) >> 8) % hidden


def real(folder, to, made_by):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokens, rms, first, picked = [], [], [], []
    for s, words in enumerate(tweets("../shared/data/twitter-gmner/dev.txt", 20)):
        # A word without pieces becomes [UNK]: the project's rule.
        pieces = [tokenizer(w, add_special_tokens=False)["input_ids"] or [tokenizer.unk_token_id] for w in words]
        ids = [tokenizer.cls_token_id] + sum(pieces, []) + [tokenizer.sep_token_id]
        with torch.no_grad():
            x = states_of(model, ids)
        n, hidden = x.shape
        tokens.append(n)
        rms.append(x.double().pow(2).mean().sqrt().item())
        first.append(x[0])
        picked += [[x[t, chosen(s, t, k, hidden)].item() for k in range(64)] for t in range(n)]
    tensors = {"tokens": torch.tensor(tokens, dtype=torch.float32), "rms": torch.tensor(rms),
               "first": torch.stack(first), "chosen": torch.tensor(picked)}
    save_file(tensors, to, metadata={"made_by": f"{made_by}, float32"})


if __name__ == "__main__":
    if sys.argv[1:] == ["small"]:
        for folder_name, options in SMALL.items():
            small(folder_name, **options)
    elif sys.argv[1:] == ["minilm"]:
        real("weights/minilm", "tests/golden/bert_minilm.safetensors", MADE_BY)
    else:
        sys.exit(__doc__)
