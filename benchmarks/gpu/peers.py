"""The peers of the kernels and of whole training steps, in PyTorch: the same shapes, the same work, the same units.

usage: peers.py --json FILE [--models minilm,base] [--batches tweets,long] [--precisions fp32,bf16] [--seconds 200]
                [--sentences CONLL] [--device cuda|cpu] [--once]

Appends a line of JSON a measurement, as bench_kernels does: "by" says how it was run: eager (calls as they come), graph (the same
recorded and replayed as a CUDA graph), compile (torch.compile, replayed as well), flash, cudnn and efficient (attention by that
kernel), steps-eager and steps-compile (whole training steps, pieces a second, of the sentences in a CoNLL file). What cannot be run is
named on standard error and left out; after --seconds no further compilation begins. --once and --device cpu try the script out.
"""
import argparse
import json
import random
import statistics
import sys
import time

import torch
import torch._functorch.config
import torch.nn.functional as F

MODELS = {"minilm": (6, 384, 12, 1536, 30522), "base": (12, 768, 12, 3072, 30522), "tiny": (1, 64, 2, 128, 300)}  # as in kernels.c
BATCHES = {"tweets": [(13, 17, 19, 22, 24, 27, 29, 33)[i % 8] for i in range(32)], "long": [128] * 64, "few": [6, 6]}
WIDTHS, SPAN_HIDDEN, CLASSES, TAGS, SENTENCES = 8, 256, 5, 9, 32
CALLS, ROUNDS = 16, 5


def main():
    options = parse()
    torch.manual_seed(1)
    torch._functorch.config.donated_buffer = False  # a backward pass is run more than once
    bench = Bench(options)
    for model in options.models.split(","):
        for precision in options.precisions.split(","):
            if options.sentences:
                bench.steps(model, precision, read_lengths(options.sentences))
    for model in options.models.split(","):
        for precision in options.precisions.split(","):
            for batch in filter(None, options.batches.split(",")):
                Operations(bench, model, batch, precision).run()
    if bench.left_out:
        print(f"peers: out of time after {options.seconds:.0f} s, not compiled: {', '.join(bench.left_out)}", file=sys.stderr)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True)
    parser.add_argument("--models", default="minilm,base")
    parser.add_argument("--batches", default="tweets,long")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--sentences")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--once", action="store_true")
    return parser.parse_args()


class Bench:
    """Clock, deadline and output."""

    def __init__(self, options):
        self.options, self.device, self.start = options, options.device, time.monotonic()
        self.stream = torch.cuda.Stream() if self.device == "cuda" else None
        self.file, self.left_out = open(options.json, "a"), []

    def late(self, what):
        """Notes what is left out because of that."""
        is_late = time.monotonic() - self.start > self.options.seconds
        if is_late:
            self.left_out.append(what)
        return is_late

    def write(self, **row):
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def time_of(self, run):
        """Seconds a call of run: median of five rounds of some 20 ms each."""
        def some(times):
            self.wait()
            begin = time.perf_counter()
            for _ in range(times):
                run()
            self.wait()
            return (time.perf_counter() - begin) / times

        if self.options.once:
            return some(1)
        some(3)
        few = some(3)
        times = max(1, int(0.02 / (few + 1e-7)))
        return statistics.median(some(times) for _ in range(ROUNDS))

    def recorded(self, run):
        """A graph of CALLS calls; plain calls on a CPU."""
        if self.device != "cuda":
            return run, 1
        for _ in range(3):
            run()
        self.wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            for _ in range(CALLS):
                run()
        return graph.replay, CALLS

    def try_out(self, what, action):
        try:
            return action()
        except Exception as error:  # a kernel that this version or GPU lacks is no reason to stop
            print(f"peers: {what}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", file=sys.stderr)
            return None

    # ---- whole steps ----

    def steps(self, model, precision, sentences):
        for how in ("eager", "compile"):
            if how == "compile" and self.late(f"steps of {model} {precision}"):
                continue
            rate = self.try_out(f"steps {how} {model} {precision}", lambda: self.pieces_per_second(model, precision, how, sentences))
            if rate:
                self.write(by=f"steps-{how}", model=model, precision=precision, pieces_per_s=rate)

    def pieces_per_second(self, name, precision, how, sentences):
        """Batches of SENTENCES, sorted by length within ten batches (little padding: its best), padded to a multiple of 16."""
        batches = make_batches(sentences, MODELS[name][4], self.device)
        model = SpanModel(*MODELS[name]).to(self.device)
        step = torch.compile(model, dynamic=True) if how == "compile" else model  # one for all lengths
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01, fused=self.device == "cuda")

        def train(batch):
            with torch.autocast(self.device, torch.bfloat16, enabled=precision == "bf16"):
                loss = step(*batch["inputs"])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            optimiser.step()

        for batch in batches:  # every shape once: compilation and plans
            train(batch)
        self.wait()
        pieces, begin = 0, time.perf_counter()
        while pieces == 0 or (time.perf_counter() - begin < 4.0 and not self.options.once):
            for batch in batches:
                train(batch)
                pieces += batch["pieces"]
            self.wait()
        return pieces / (time.perf_counter() - begin)


def read_lengths(path):
    """Pieces of each word of each sentence: a stem that the vocabulary holds and a piece for each letter behind its number."""
    sentences, words = [], []
    for line in open(path):
        word = line.split("\t")[0].strip()
        if word:
            words.append(1 + word.count("x") + word.count("y"))
        elif words:
            sentences.append(words)
            words = []
    return sentences


def make_batches(sentences, vocabulary, device):
    draw = random.Random(1)
    order = sorted(sentences[:10 * SENTENCES], key=sum)
    groups = [order[i:i + SENTENCES] for i in range(0, len(order), SENTENCES)]
    batches = []
    for group in groups:
        lengths = [sum(words) + 2 for words in group]
        longest, most = -(-max(lengths) // 16) * 16, max(len(words) for words in group)
        most = -(-most // 8) * 8
        ids = [[draw.randrange(vocabulary) for _ in range(length)] + [0] * (longest - length) for length in lengths]
        first = [[1 + sum(words[:i]) for i in range(len(words))] + [0] * (most - len(words)) for words in group]
        label = [[[(1 if draw.random() < 0.05 else 0) if i + w < len(words) else -100 for w in range(WIDTHS)] for i in range(most)] for words in group]
        mask = torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]
        inputs = [torch.tensor(ids), mask[:, None, None, :], torch.tensor(first), torch.tensor(label)]
        batches.append({"inputs": [t.to(device) for t in inputs], "pieces": sum(lengths)})
    draw.shuffle(batches)
    return batches


class Layer(torch.nn.Module):
    def __init__(self, hidden, heads, ffn):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = torch.nn.Linear(hidden, 3 * hidden), torch.nn.Linear(hidden, hidden)
        self.up, self.down = torch.nn.Linear(hidden, ffn), torch.nn.Linear(ffn, hidden)
        self.norm1, self.norm2 = torch.nn.LayerNorm(hidden, 1e-12), torch.nn.LayerNorm(hidden, 1e-12)

    def forward(self, x, mask):
        rows, length, hidden = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=0.1 if self.training else 0.0)
        x = self.norm1(x + F.dropout(self.out(a.transpose(1, 2).reshape(rows, length, hidden)), 0.1, self.training))
        return self.norm2(x + F.dropout(self.down(F.gelu(self.up(x))), 0.1, self.training))


class SpanModel(torch.nn.Module):
    """BERT with the span head and its loss; words beyond a sentence are labelled -100."""

    def __init__(self, layers, hidden, heads, ffn, vocabulary):
        super().__init__()
        self.word, self.place = torch.nn.Embedding(vocabulary, hidden), torch.nn.Embedding(512, hidden)
        self.kind = torch.nn.Parameter(torch.zeros(hidden))
        self.norm = torch.nn.LayerNorm(hidden, 1e-12)
        self.layers = torch.nn.ModuleList(Layer(hidden, heads, ffn) for _ in range(layers))
        self.ends = torch.nn.Linear(hidden, 2 * SPAN_HIDDEN, bias=False)
        self.width = torch.nn.Embedding(WIDTHS, SPAN_HIDDEN)
        self.bias = torch.nn.Parameter(torch.zeros(SPAN_HIDDEN))
        self.out = torch.nn.Linear(SPAN_HIDDEN, CLASSES)

    def forward(self, ids, mask, first, label):
        places = torch.arange(ids.shape[1], device=ids.device)
        x = F.dropout(self.norm(self.word(ids) + self.place(places) + self.kind), 0.1, self.training)
        for layer in self.layers:
            x = layer(x, mask)
        h = torch.gather(x, 1, first.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        logits = span_logits(self.ends(h), self.width.weight, self.bias, self.out.weight, self.out.bias)
        return F.cross_entropy(logits.float().view(-1, CLASSES), label.view(-1), ignore_index=-100)


def span_logits(projected, width, bias, out, out_bias):
    """[batch, words, 2 hidden] -> [batch, words, WIDTHS, classes]."""
    start, end = projected.chunk(2, -1)
    words = start.shape[1]
    ends = torch.stack([F.pad(end[:, w:], (0, 0, 0, min(w, words))) for w in range(WIDTHS)], 2)
    hidden = F.dropout(F.relu(start.unsqueeze(2) + ends + width + bias), 0.1)
    return F.linear(hidden, out, out_bias)


def crf_loss(emit, trans, start, end, tag, mask):
    """Padded, a step a word: [batch, words, tags]."""
    batch = torch.arange(emit.shape[0], device=emit.device)
    alpha = start + emit[:, 0].float()
    gold = start[tag[:, 0]] + emit[batch, 0, tag[:, 0]].float()
    for t in range(1, emit.shape[1]):
        on = mask[:, t]
        moved = torch.logsumexp(alpha.unsqueeze(2) + trans, 1) + emit[:, t].float()
        alpha = torch.where(on.unsqueeze(1), moved, alpha)
        gold = gold + torch.where(on, trans[tag[:, t - 1], tag[:, t]] + emit[batch, t, tag[:, t]].float(), torch.zeros_like(gold))
    last = tag[batch, mask.sum(1) - 1]
    return (torch.logsumexp(alpha + end, 1) - gold - end[last]).sum()


class Operations:
    """The operations of kernels.c at one shape and precision."""

    def __init__(self, bench, model, batch, precision):
        self.bench, self.model, self.batch, self.precision = bench, model, batch, precision
        self.layers, self.hidden, self.heads, self.ffn, self.vocabulary = MODELS[model]
        self.lengths = BATCHES[batch]
        self.words = [(length - 2) * 5 // 6 for length in self.lengths]
        self.type = torch.bfloat16 if precision == "bf16" else torch.float32

    def tensor(self, *shape, type=None, grad=True):
        return (0.1 * torch.randn(*shape, device=self.bench.device)).to(type or self.type).requires_grad_(grad)

    def whole(self, *shape, below):
        return torch.randint(0, below, shape, device=self.bench.device)

    def row(self, by, op, which, seconds):
        self.bench.write(by=by, model=self.model, batch=self.batch, precision=self.precision, op=op, **{"pass": which}, us=seconds * 1e6)

    def show(self, op, f, inputs, compiled=True, only=("eager", "graph", "compile"), backward=True):
        """f(*inputs) and its gradient for every input that wants one."""
        for by in only:
            what = f"{op} {self.model} {self.batch} {self.precision}"
            if by == "compile" and (not compiled or self.bench.late(what)):
                continue
            self.bench.try_out(f"{by} {what}", lambda: self.measure(by, op, f, inputs, backward))

    def measure(self, by, op, f, inputs, backward):
        bench = self.bench
        g = torch.compile(f, dynamic=False) if by == "compile" else f
        stream = torch.cuda.stream(bench.stream) if bench.device == "cuda" else torch.autograd.profiler.record_function("cpu")
        with stream:  # a backward pass runs on the stream of its forward pass, which must be the recorded one
            wanted = [t for t in inputs if isinstance(t, torch.Tensor) and t.requires_grad]

            def forward():
                return g(*inputs)

            out = forward()
            passes = {"forward": forward}
            if backward and wanted:
                dout = torch.ones_like(out)
                passes["backward"] = lambda: torch.autograd.grad(out, wanted, dout, retain_graph=True)
            for which, run in passes.items():
                calls = 1
                if by != "eager":
                    run, calls = bench.recorded(run)
                self.row(by, op, which, bench.time_of(run) / calls)
            bench.wait()

    def run(self):
        tokens, hidden = sum(self.lengths), self.hidden
        words = sum(self.words)
        self.embedding(tokens, hidden)
        self.show("residual_norm", lambda x, r, gamma, beta: F.layer_norm(r + F.dropout(x, 0.1), (hidden,), gamma, beta, 1e-12),
                  [self.tensor(tokens, hidden), self.tensor(tokens, hidden), self.tensor(hidden), self.tensor(hidden)])
        for op, wide, out, gelu in (("linear qkv", hidden, 3 * hidden, False), ("linear out", hidden, hidden, False),
                                    ("linear ffn gelu", hidden, self.ffn, True), ("linear ffn down", self.ffn, hidden, False)):
            f = (lambda x, w, b: F.gelu(F.linear(x, w, b))) if gelu else F.linear
            self.show(op, f, [self.tensor(tokens, wide), self.tensor(out, wide), self.tensor(out)], compiled=gelu)
        self.attention()
        index = torch.arange(words, device=self.bench.device)
        self.show("gather", lambda x: F.dropout(x.index_select(0, index), 0.1), [self.tensor(tokens, hidden)], compiled=False)
        self.heads_of_words()
        self.optimiser(hidden)

    def embedding(self, tokens, hidden):
        ids, places = self.whole(tokens, below=self.vocabulary), self.whole(tokens, below=128)
        self.show("embedding", lambda word, place, kind: F.embedding(ids, word) + F.embedding(places, place) + kind,
                  [self.tensor(self.vocabulary, hidden), self.tensor(512, hidden), self.tensor(hidden)], compiled=False)

    def attention(self):
        rows, longest, width = len(self.lengths), max(self.lengths), self.hidden // self.heads
        is_even = min(self.lengths) == longest
        longest = -(-longest // 8) * 8
        qkv = [self.tensor(rows, self.heads, longest, width) for _ in range(3)]
        mask = None
        if not is_even:
            mask = (torch.arange(longest)[None, :] < torch.tensor(self.lengths)[:, None])[:, None, None, :].to(self.bench.device)

        def attend(q, k, v):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=0.1)

        self.show("attention", attend, qkv, compiled=False)
        if self.bench.device != "cuda":
            return
        from torch.nn.attention import SDPBackend, sdpa_kernel
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION), ("efficient", SDPBackend.EFFICIENT_ATTENTION)):
            with sdpa_kernel(backend):
                self.show("attention", attend, qkv, only=(name,))

    def heads_of_words(self):
        rows, most = len(self.words), max(self.words)
        label = self.whole(rows * most * WIDTHS, below=CLASSES)
        self.show("span_logits", lambda *a: F.cross_entropy(span_logits(*a).float().view(-1, CLASSES), label, reduction="sum"),
                  [self.tensor(rows, most, 2 * SPAN_HIDDEN), self.tensor(WIDTHS, SPAN_HIDDEN), self.tensor(SPAN_HIDDEN), self.tensor(CLASSES, SPAN_HIDDEN), self.tensor(CLASSES)])
        tag = self.whole(rows, most, below=TAGS)
        mask = (torch.arange(most)[None, :] < torch.tensor(self.words)[:, None]).to(self.bench.device)
        full = torch.float32
        self.show("crf", lambda *a: crf_loss(*a, tag, mask), [self.tensor(rows, most, TAGS), self.tensor(TAGS, TAGS, type=full),
                  self.tensor(TAGS, type=full), self.tensor(TAGS, type=full)], compiled=False)
        # one call there gives the loss and its gradient
        logits = self.tensor(sum(self.words) * WIDTHS, CLASSES, type=full)
        target = self.whole(logits.shape[0], below=CLASSES)
        self.show("cross_entropy", lambda x: torch.autograd.grad(F.cross_entropy(x, target, reduction="sum"), x)[0], [logits], compiled=False, backward=False)

    def optimiser(self, hidden):
        full = torch.float32
        shapes = [(3 * hidden, hidden), (hidden, hidden), (self.ffn, hidden), (hidden, self.ffn)] * self.layers
        shapes.append((2 + sum(self.lengths) - 2 * len(self.lengths), hidden))  # touched rows
        params = [self.tensor(*shape, type=full) for shape in shapes]
        for p in params:
            p.grad = self.tensor(*p.shape, type=full, grad=False)
        self.show("grad_norm", lambda: torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True), [], only=("eager", "graph"), backward=False)
        fused = {"fused": True, "capturable": True} if self.bench.device == "cuda" else {}
        optimiser = torch.optim.AdamW(params[:-1], lr=1e-5, weight_decay=0.01, **fused)
        self.show("adamw", lambda: optimiser.step(), [], only=("eager", "graph"), backward=False)


if __name__ == "__main__":
    main()
