"""Whole training steps of gmner with random weights at the sizes of MiniLM and BERT-base, for comparison with peers.py.

usage: steps.py --program build/gmner --json FILE --folder FOLDER [--device cuda] [--models minilm,base] [--precisions fp32,bf16] [--steps 200]

Writes an encoder and sentences into FOLDER (train.conll serves the peers too), trains one epoch each and appends the median of the
second half of the pieces a second that metrics.jsonl holds: the first steps make plans and record graphs.
"""
import argparse
import importlib.machinery
import importlib.util
import json
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENCODERS = {"minilm": (6, 384, 12, 1536), "base": (12, 768, 12, 3072), "tiny": (1, 64, 2, 128)}  # as in kernels.c
SENTENCES = 32


def report_tool():
    """tools/cuda-report, which knows how an encoder with random weights and sentences like tweets are written."""
    loader = importlib.machinery.SourceFileLoader("cuda_report", str(ROOT / "tools" / "cuda-report"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("cuda_report", loader))
    loader.exec_module(module)
    return module


def main():
    options = parse()
    folder, tool = Path(options.folder), report_tool()
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(2)
    tool.write_sentences(folder / "train.conll", options.steps * SENTENCES, draw)
    tool.write_sentences(folder / "dev.conll", 1, draw)
    failed = 0
    for model in options.models.split(","):
        layers, hidden, heads, ffn = ENCODERS[model]
        tool.ENCODER = dict(tool.ENCODER, layers=layers, hidden=hidden, heads=heads, ffn=ffn)
        tool.write_encoder(folder / model)
        for precision in options.precisions.split(","):
            failed += not run(options, folder, model, precision)
    return 1 if failed else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("program", None), ("json", None), ("folder", None), ("device", "cuda"), ("models", "minilm,base"), ("precisions", "fp32,bf16")):
        parser.add_argument(f"--{name}", default=default, required=default is None)
    parser.add_argument("--steps", type=int, default=200)
    return parser.parse_args()


def run(options, folder, model, precision):
    config, out = folder / "config.json", folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    config.write_text(json.dumps({
        "data": {"root": str(folder), "train": "train.conll", "dev": "dev.conll", "format": "conll"}, "encoder": str(folder / model), "precision": precision,
        "train": {"batch": SENTENCES, "epochs": 1, "log_every": max(1, options.steps // 20), "save_every": 1000000}}))
    log = folder / f"{model}-{precision}.log"
    with open(log, "w") as file:
        code = subprocess.run([options.program, "train", "--config", config, "--out", out, "--device", options.device], stdout=file, stderr=subprocess.STDOUT).returncode
    if code != 0:
        print(f"steps: {model} in {precision} ended with {code}: {log}\n{log.read_text()[-500:]}", file=sys.stderr)
        return False
    rates = [row["tokens_per_s"] for row in map(json.loads, open(out / "metrics.jsonl")) if row["event"] == "step"]
    shutil.rmtree(out)
    rate = statistics.median(rates[len(rates) // 2:])
    with open(options.json, "a") as file:
        file.write(json.dumps({"by": "gmner", "model": model, "precision": precision, "pieces_per_s": rate}) + "\n")
    print(f"{model} {precision}: {rate:.0f} pieces/s")
    return True


if __name__ == "__main__":
    sys.exit(main())
