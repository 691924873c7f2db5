"""The peers of `gmner predict`: the same encoder and span head in PyTorch, ONNX Runtime and OpenVINO.

usage: python predict_text.py RECORDS WEIGHTS --engine torch|onnxruntime|openvino [--bf16] [--attention sdpa|eager] [--batch 1|32]
                              [--streams 1] [--threads 2] [--sentences 1000] [--export FILE]

Each sentence goes from its pieces to the scores of all its spans; tokenising and decoding are not timed (gmner's own figure holds
its decoding), nor is the first of several rounds, in which every shape is met. With --batch 1 sentences come one after another and
the latencies of their calls are given; larger batches are of sentences sorted by length, the padding being theirs to bear. The
exported model is written to --export first where it is not there yet. Prints one JSON object.
"""
import argparse
import json
import os
import statistics
import time

import process


def main():
    o = parse()
    os.environ.setdefault("OMP_NUM_THREADS", str(o.threads))
    lengths_first = sorted if o.batch > 1 else lambda samples, key: samples
    samples = lengths_first(read_samples(o), key=lambda s: len(s[0]))
    batches = [collate(samples[i : i + o.batch]) for i in range(0, len(samples), o.batch)]
    run = {"torch": torch_engine, "onnxruntime": onnxruntime_engine, "openvino": openvino_engine}[o.engine](o)
    rounds, latencies = [], []
    for n in range(o.rounds + 1):
        began = time.perf_counter()
        times = run(batches)
        if n > 0:
            rounds.append(time.perf_counter() - began)
            latencies += times
    result = {"rate": len(samples) / statistics.median(rounds), "peak_mib": process.peak_mib()}
    if latencies and o.batch == 1:
        result |= {"p50_us": 1e6 * statistics.median(latencies), "p90_us": 1e6 * sorted(latencies)[len(latencies) * 9 // 10]}
    print(json.dumps(result))


def parse():
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("records"), cli.add_argument("weights")
    cli.add_argument("--engine", choices=("torch", "onnxruntime", "openvino"), required=True)
    cli.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa", help="of torch")
    cli.add_argument("--bf16", action="store_true"), cli.add_argument("--export", default="exported.onnx")
    for name, default in (("batch", 32), ("streams", 1), ("threads", 2), ("sentences", 1000), ("rounds", 3)):
        cli.add_argument(f"--{name}", type=int, default=default)
    return cli.parse_args()


def read_samples(o):
    """(pieces, row of each word's first piece) of the first sentences, by transformers' tokenizer."""
    from transformers import BertTokenizer

    tokenizer, samples = BertTokenizer.from_pretrained(o.weights), []
    for line in open(o.records, encoding="utf-8"):
        if len(samples) == o.sentences:
            break
        ids, first = [tokenizer.cls_token_id], []
        for word in json.loads(line)["tokens"]:
            pieces = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word)) or [tokenizer.unk_token_id]
            if len(ids) + len(pieces) >= 128:
                break
            first.append(len(ids))
            ids += pieces
        samples.append((ids + [tokenizer.sep_token_id], first))
    return samples


def collate(part):
    import numpy

    longest, words = max(len(s[0]) for s in part), max(max(len(s[1]) for s in part), 1)
    ids, mask, first = (numpy.zeros((len(part), n), dtype=numpy.int64) for n in (longest, longest, words))
    for b, (pieces, starts) in enumerate(part):
        ids[b, : len(pieces)], mask[b, : len(pieces)], first[b, : len(starts)] = pieces, 1, starts
    return {"ids": ids, "mask": mask, "first": first}


def make_model(o, attention):
    import torch
    from transformers import BertModel

    class SpanModel(torch.nn.Module):
        """The span head without a loop whose length depends on the input, so that it can be exported."""

        def __init__(self):
            super().__init__()
            self.encoder = BertModel.from_pretrained(o.weights, add_pooling_layer=False, attn_implementation=attention)
            width = self.encoder.config.hidden_size
            self.start, self.end = torch.nn.Linear(width, 256, bias=False), torch.nn.Linear(width, 256, bias=False)
            self.width, self.out = torch.nn.Parameter(torch.randn(8, 256) * 0.02), torch.nn.Linear(256, 5)

        def forward(self, ids, mask, first):
            states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            h = torch.gather(states, 1, first.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
            start, end = self.start(h), torch.nn.functional.pad(self.end(h), (0, 0, 0, 7))
            n = first.shape[1]
            return torch.stack([self.out(torch.relu(start + end[:, w : w + n] + self.width[w])) for w in range(8)], 2)

    torch.manual_seed(1)
    return SpanModel().eval()


def in_turn(infer):
    """Runs batches one after another; seconds of each."""

    def run(batches):
        seconds = []
        for batch in batches:
            began = time.perf_counter()
            infer(batch)
            seconds.append(time.perf_counter() - began)
        return seconds

    return run


def torch_engine(o):
    import torch

    torch.set_num_threads(o.threads)
    model = make_model(o, o.attention)
    if o.bf16:
        model = model.to(torch.bfloat16)

    def infer(batch):
        with torch.inference_mode():
            model(**{name: torch.from_numpy(array) for name, array in batch.items()})

    return in_turn(infer)


def exported(o):
    """The model as ONNX, made once."""
    if os.path.exists(o.export):
        return o.export
    import torch

    names = ("ids", "mask", "first")
    example = tuple(torch.ones(2, n, dtype=torch.long) for n in (20, 20, 12))
    axes = {"ids": {0: "batch", 1: "pieces"}, "mask": {0: "batch", 1: "pieces"}, "first": {0: "batch", 1: "words"}}
    with torch.no_grad():
        torch.onnx.export(make_model(o, "eager"), example, o.export + ".part", input_names=list(names), output_names=["scores"], dynamic_axes=axes,
                          opset_version=17, dynamo=False)
    os.replace(o.export + ".part", o.export)
    return o.export


def onnxruntime_engine(o):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = o.threads
    session = onnxruntime.InferenceSession(exported(o), options, providers=["CPUExecutionProvider"])
    return in_turn(lambda batch: session.run(None, batch))


def openvino_engine(o):
    import openvino

    core = openvino.Core()
    hint = "LATENCY" if o.streams == 1 else "THROUGHPUT"
    compiled = core.compile_model(exported(o), "CPU", {"PERFORMANCE_HINT": hint, "NUM_STREAMS": str(o.streams), "INFERENCE_NUM_THREADS": str(o.threads),
                                                       "INFERENCE_PRECISION_HINT": "bf16" if o.bf16 else "f32"})
    if o.streams == 1:
        request = compiled.create_infer_request()
        return in_turn(request.infer)
    queue = openvino.AsyncInferQueue(compiled, o.streams)

    def run(batches):
        for batch in batches:
            queue.start_async(batch)
        queue.wait_all()
        return []

    return run


if __name__ == "__main__":
    main()
