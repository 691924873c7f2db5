"""The peer of `gmner train`: the same model, recipe and data in PyTorch, batches sorted by length (its best).

usage: python train_text.py RECORDS_TRAIN RECORDS_DEV WEIGHTS [--steps N] [--epochs E] [--threads 2] [--seed 1] [--random]
                           [--bf16] [--cheap-dropout] [--json]

Reads records as `gmner import` writes them. With --steps prints tokens/s (real pieces, [CLS] and [SEP] included; padding not
counted), with --json as an object that also holds peak RSS and the time from the start to the first step; without it trains
--epochs whole epochs and prints MNER F1 on the dev records after each. Needs torch and transformers.
"""
import argparse
import json
import random
import time

import torch
from transformers import BertModel, BertTokenizer

import process

WIDTHS, HIDDEN = 8, 256


def read(path, tokenizer, labels, max_len=128):
    samples = []
    for line in open(path, encoding="utf-8"):
        record = json.loads(line)
        ids, first = [tokenizer.cls_token_id], []
        for word in record["tokens"]:
            pieces = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word)) or [tokenizer.unk_token_id]
            if len(ids) + len(pieces) >= max_len:
                break
            first.append(len(ids))
            ids += pieces
        gold = {(e["start"], e["end"], labels.index(e["type"])) for e in record["entities"]}
        samples.append((ids + [tokenizer.sep_token_id], first, gold))
    return samples


class SpanModel(torch.nn.Module):
    def __init__(self, weights, types, attention):
        super().__init__()
        self.encoder = BertModel.from_pretrained(weights, add_pooling_layer=False, attn_implementation=attention)
        width = self.encoder.config.hidden_size
        self.start = torch.nn.Linear(width, HIDDEN, bias=False)
        self.end = torch.nn.Linear(width, HIDDEN, bias=False)
        self.width = torch.nn.Embedding(WIDTHS, HIDDEN)
        self.bias = torch.nn.Parameter(torch.zeros(HIDDEN))
        self.out = torch.nn.Linear(HIDDEN, types + 1)
        self.dropout = torch.nn.Dropout(0.1)
        for matrix in (self.start.weight, self.end.weight, self.width.weight, self.out.weight):
            torch.nn.init.normal_(matrix, std=0.02)
        torch.nn.init.zeros_(self.out.bias)

    def forward(self, ids, mask, first, words):
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        h = torch.gather(states, 1, first.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        start, end = self.start(h), self.end(h)
        n = first.shape[1]
        logits = []
        for w in range(min(WIDTHS, n)):
            hidden = torch.relu(start[:, : n - w] + end[:, w:] + self.width.weight[w] + self.bias)
            part = self.out(self.dropout(hidden))
            logits.append(torch.nn.functional.pad(part, (0, 0, 0, w)))
        return torch.stack(logits, 2)  # [batch, words, widths, classes]


def make_dropout_cheap():
    """Masks are slices of one large random tensor instead of fresh numbers: what a user who profiles PyTorch would do."""
    pool = {}

    def dropout(x, p=0.5, training=True, inplace=False):
        if not training or p == 0.0:
            return x
        if (p, x.dtype) not in pool:
            pool[p, x.dtype] = (torch.rand(1 << 24) >= p).to(x.dtype) / (1 - p)
        masks, n = pool[p, x.dtype], x.numel()
        if n >= masks.numel():
            return x * (torch.rand_like(x) >= p) / (1 - p)
        at = random.randrange(masks.numel() - n)
        return x * masks[at : at + n].view(x.shape)

    torch.nn.functional.dropout = dropout


def collate(batch):
    longest, words = max(len(s[0]) for s in batch), max(max(len(s[1]) for s in batch), 1)
    ids, mask = torch.zeros(len(batch), longest, dtype=torch.long), torch.zeros(len(batch), longest, dtype=torch.long)
    first, label = torch.zeros(len(batch), words, dtype=torch.long), torch.full((len(batch), words, min(WIDTHS, words)), -100)
    for b, (pieces, starts, gold) in enumerate(batch):
        ids[b, : len(pieces)] = torch.tensor(pieces)
        mask[b, : len(pieces)] = 1
        first[b, : len(starts)] = torch.tensor(starts)
        for w in range(label.shape[2]):
            label[b, : max(len(starts) - w, 0), w] = 0
        for i, j, t in gold:
            if j < len(starts) and j - i < label.shape[2]:
                label[b, i, j - i] = t + 1
    return ids, mask, first, label, sum(len(s[1]) for s in batch)


def batches(samples, size, sort, rng):
    order = list(range(len(samples)))
    rng.shuffle(order)
    if sort:  # pools of 50 batches, sorted by length, batches in random order
        pools = [sorted(order[i : i + 50 * size], key=lambda k: len(samples[k][0])) for i in range(0, len(order), 50 * size)]
        groups = [pool[i : i + size] for pool in pools for i in range(0, len(pool), size)]
        rng.shuffle(groups)
    else:
        groups = [order[i : i + size] for i in range(0, len(order), size)]
    return [[samples[k] for k in group] for group in groups]


def decode(probability, n):
    best, kept = [], []
    score, label = probability.max(-1)
    for i in range(n):
        for w in range(min(probability.shape[1], n - i)):
            if label[i, w] > 0:
                best.append((-score[i, w].item(), w, i, label[i, w].item() - 1))
    for _, w, i, t in sorted(best):
        if all(i + w < a or b < i for a, b, _ in kept):
            kept.append((i, i + w, t))
    return set(kept)


def evaluate(model, samples):
    model.eval()
    tp = predicted = gold = 0
    with torch.no_grad():
        for at in range(0, len(samples), 64):
            part = samples[at : at + 64]
            ids, mask, first, _, words = collate(part)
            probability = model(ids, mask, first, words).softmax(-1)
            for b, sample in enumerate(part):
                found = decode(probability[b], len(sample[1]))
                tp, predicted, gold = tp + len(found & sample[2]), predicted + len(found), gold + len(sample[2])
    model.train()
    p, r = tp / max(predicted, 1), tp / max(gold, 1)
    return 2 * p * r / max(p + r, 1e-9), gold


def main():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("train"), cli.add_argument("dev"), cli.add_argument("weights")
    cli.add_argument("--steps", type=int, default=0), cli.add_argument("--epochs", type=int, default=8)
    cli.add_argument("--threads", type=int, default=2), cli.add_argument("--seed", type=int, default=1)
    cli.add_argument("--random", action="store_true", help="random batches instead of sorted ones")
    cli.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    cli.add_argument("--cheap-dropout", action="store_true", help="masks from a pool of random numbers; eager attention")
    cli.add_argument("--json", action="store_true", help="print an object instead of a sentence")
    o = cli.parse_args()
    if o.cheap_dropout:
        make_dropout_cheap()
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    rng, labels = random.Random(o.seed), ["PER", "LOC", "ORG", "OTHER"]
    tokenizer = BertTokenizer.from_pretrained(o.weights)
    train, dev = read(o.train, tokenizer, labels), read(o.dev, tokenizer, labels)
    model = SpanModel(o.weights, len(labels), "eager" if o.cheap_dropout else "sdpa")
    model.train()
    decays = lambda name: not ("bias" in name or "LayerNorm" in name)
    groups = [{"params": [p for n, p in model.named_parameters() if n.startswith("encoder.") == encoder and decays(n) == decay],
               "lr": 1e-4 if encoder else 1e-3, "weight_decay": 0.01 if decay else 0.0} for encoder in (True, False) for decay in (True, False)]
    optimiser = torch.optim.AdamW(groups)
    total = o.epochs * ((len(train) + 31) // 32)
    warm = int(0.1 * total)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: s / warm if s < warm else max(0.0, (total - s) / (total - warm)))
    done, tokens, began, start = 0, 0, None, None
    for epoch in range(o.epochs):
        for batch in batches(train, 32, not o.random, rng):
            ids, mask, first, label, words = collate(batch)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=o.bf16):
                logits = model(ids, mask, first, words).float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 2), label.flatten(), ignore_index=-100, reduction="sum") / words
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step(), schedule.step(), optimiser.zero_grad()
            done += 1
            if done == 1:
                start = process.age()
            if done == 5:  # behind the warm-up of allocators and caches
                began, tokens = time.perf_counter(), 0
            tokens += int(mask.sum())
            if o.steps and done == o.steps:
                rate = tokens / (time.perf_counter() - began)
                if o.json:
                    print(json.dumps({"rate": rate, "peak_mib": process.peak_mib(), "start_s": start, "loss": loss.item()}))
                else:
                    print(f"{rate:.0f} tokens/s over {done - 5} steps, {o.threads} threads, loss {loss.item():.4f}")
                return
        f1, gold = evaluate(model, dev)
        print(f"epoch {epoch + 1}: MNER F1 {f1:.4f}, gold count {gold}, loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    main()
