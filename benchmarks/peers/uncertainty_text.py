"""The peer of `gmner predict --samples T`: Monte-Carlo dropout in the span head, in PyTorch.

usage: python uncertainty_text.py RECORDS MODEL [--bf16] [--threads 2] [--batch 32] [--samples 10,100] [--rounds 3]

MODEL is a folder that gmner's training wrote (best/). One pass finds the spans whose likeliest class is an entity, as gmner does
(without the embeddings of shapes); then the hidden vectors of these spans are dropped T times, one batch of sentences at a time:
mean probabilities, predictive and expected entropies of span and type. Prints one JSON object: processor seconds of the pass
alone and with samples, and their ratios.
"""
import argparse
import json
import os
import statistics
import time

import predict_text


def main():
    o = parse()
    os.environ.setdefault("OMP_NUM_THREADS", str(o.threads))
    import torch

    torch.set_num_threads(o.threads)
    o.weights, o.sentences = o.model, 1 << 30
    samples = sorted(predict_text.read_samples(o), key=lambda s: len(s[0]))
    batches = [predict_text.collate(samples[i : i + o.batch]) for i in range(0, len(samples), o.batch)]
    lengths = [[len(s[1]) for s in samples[i : i + o.batch]] for i in range(0, len(samples), o.batch)]
    run = make_model(o)
    draws, seconds, spans = [0] + [int(t) for t in o.samples.split(",")], {}, 0
    for n in range(o.rounds + 1):
        for t in draws:
            began, spans = time.process_time(), 0
            with torch.inference_mode():
                for batch, words in zip(batches, lengths):
                    spans += run(batch, words, t)
            if n > 0:
                seconds.setdefault(t, []).append(time.process_time() - began)
    medians = {t: statistics.median(s) for t, s in seconds.items()}
    print(json.dumps({"spans": spans, "cpu_s": medians, "ratio": {t: s / medians[0] for t, s in medians.items() if t}}))


def parse():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("records"), cli.add_argument("model"), cli.add_argument("--bf16", action="store_true")
    cli.add_argument("--samples", default="10,100")
    for name, default in (("batch", 32), ("threads", 2), ("rounds", 3)):
        cli.add_argument(f"--{name}", type=int, default=default)
    return cli.parse_args()


def make_model(o):
    """A function of (batch, words of each sentence, T) that returns how many spans were kept."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    kind = torch.bfloat16 if o.bf16 else torch.float32
    weights = {name: w.to(kind) for name, w in load_file(os.path.join(o.model, "model.safetensors")).items()}
    encoder = BertModel(BertConfig.from_pretrained(o.model), add_pooling_layer=False).eval()
    encoder.load_state_dict({name: w for name, w in weights.items() if name.startswith(("embeddings.", "encoder."))})
    encoder = encoder.to(kind)
    start, end, width, bias = (weights[f"span.{name}"] for name in ("start.weight", "end.weight", "width.weight", "bias"))
    out, out_bias = weights["span.out.weight"], weights["span.out.bias"]

    def run(batch, words, draws):
        ids, mask, first = (torch.from_numpy(batch[name]) for name in ("ids", "mask", "first"))
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        h = torch.gather(states, 1, first.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        n = first.shape[1]
        left, right = h @ start.T, torch.nn.functional.pad(h @ end.T, (0, 0, 0, 7))
        hidden = torch.stack([torch.relu(left + right[:, w : w + n] + width[w] + bias) for w in range(8)], 2)
        best = (hidden @ out.T + out_bias).argmax(-1)
        last = torch.arange(n)[:, None] + torch.arange(8)
        kept = hidden[(best > 0) & (last[None] < torch.tensor(words)[:, None, None])]
        if draws and len(kept):
            sample(kept, draws)
        return len(kept)

    def sample(kept, draws):
        p = torch.softmax((torch.nn.functional.dropout(kept.expand(draws, -1, -1), 0.1) @ out.T + out_bias).float(), -1)
        entity = 1 - p[..., 0]
        types = p[..., 1:] / entity[..., None]
        entropy = torch.special.entr
        of_mean = p.mean(0)
        return (entropy(of_mean[:, 0]) + entropy(1 - of_mean[:, 0]), (entropy(p[..., 0]) + entropy(entity)).mean(0),
                entropy(of_mean[:, 1:] / of_mean[:, 1:].sum(-1, keepdim=True)).sum(-1), (entity * entropy(types).sum(-1)).mean(0))

    return run


if __name__ == "__main__":
    main()
