"""AUROC of every way to read uncertainty from predictions: what docs/uncertainty.md lists.

usage: python uncertainty.py GOLD.jsonl PREDICTIONS.jsonl...

A predicted span is wrong when no gold entity has its words; of the right ones, a type is wrong when it is not the gold one's. Printed
for span and type: 1 - score (max-softmax), entropy of the mean, expected entropy, mutual information, and two combinations by
logistic regression: 1 - score with the entropy, and with the mutual information. They are fitted on one half of the records and
scored on the other, and the other way round, and the two figures averaged; a record's half is a bit of its id's FNV-1a.
"""
import json
import math
import sys


def auroc(u, wrong):
    """P(u of a wrong one > u of a right one), ties count half."""
    pairs = sorted(zip(u, wrong))
    below = total = 0
    i = 0
    while i < len(pairs):
        j = i
        while j < len(pairs) and pairs[j][0] == pairs[i][0]:
            j += 1
        w = sum(p[1] for p in pairs[i:j])
        total += w * (below + (j - i - w) / 2)
        below += j - i - w
        i = j
    n = sum(wrong)
    return total / (n * (len(wrong) - n)) if 0 < n < len(wrong) else math.nan


def solve(a, b):
    n = len(b)
    a = [row + [x] for row, x in zip(a, b)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(a[r][i]))
        a[i], a[pivot] = a[pivot], a[i]
        for r in range(n):
            if r != i:
                f = a[r][i] / a[i][i]
                a[r] = [x - f * y for x, y in zip(a[r], a[i])]
    return [a[i][n] / a[i][i] for i in range(n)]


def logistic(rows, y):
    """Newton's method with a weak prior on all weights."""
    n = len(rows[0])
    w = [0.0] * n
    for _ in range(50):
        g, h = [x for x in w], [[float(i == j) for j in range(n)] for i in range(n)]
        for x, t in zip(rows, y):
            p = 1 / (1 + math.exp(-sum(a * b for a, b in zip(w, x))))
            for i in range(n):
                g[i] += (p - t) * x[i]
                for j in range(n):
                    h[i][j] += p * (1 - p) * x[i] * x[j]
        step = solve(h, g)
        w = [a - s for a, s in zip(w, step)]
        if max(map(abs, step)) < 1e-8:
            break
    return w


def combined(columns, wrong, half):
    rows = list(zip(*([math.log(max(x, 1e-6)) for x in c] for c in columns)))
    means = [sum(c) / len(c) for c in zip(*rows)]
    deviations = [math.sqrt(sum((x - m) ** 2 for x in c) / len(c)) or 1.0 for c, m in zip(zip(*rows), means)]
    rows = [[(x - m) / d for x, m, d in zip(r, means, deviations)] + [1.0] for r in rows]
    figures = []
    for fit in (0, 1):
        w = logistic(*zip(*((r, t) for r, t, h in zip(rows, wrong, half) if h == fit)))
        rest = [(sum(a * b for a, b in zip(w, r)), t) for r, t, h in zip(rows, wrong, half) if h != fit]
        figures.append(auroc(*zip(*rest)))
    return sum(figures) / 2


def half_of(record):
    h = 2166136261
    for c in record.encode():
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    return h >> 16 & 1


def read(path):
    return {r["id"]: r for r in map(json.loads, open(path, encoding="utf-8"))}


def main():
    gold = read(sys.argv[1])
    print("| file | part | wrong of | 1 - score | entropy | expected | information | + entropy | + information |\n|---" * 1 + "|---" * 8 + "|")
    for path in sys.argv[2:]:
        found = [(r["id"], e, {(g["start"], g["end"]): g["type"] for g in gold[r["id"]]["entities"]}.get((e["start"], e["end"])))
                 for r in read(path).values() for e in r["entities"]]
        for part, some in (("span", found), ("type", [f for f in found if f[2] is not None])):
            wrong = [int(t is None if part == "span" else t != e["type"]) for _, e, t in some]
            score = [1 - e["score"] for _, e, _ in some]
            u = [e["uncertainty"][part] for _, e, _ in some]
            expected = [e["uncertainty"][part + "_expected"] for _, e, _ in some]
            information = [a - b for a, b in zip(u, expected)]
            half = [half_of(i) for i, _, _ in some]
            figures = [auroc(x, wrong) for x in (score, u, expected, information)]
            figures += [combined([score, u], wrong, half), combined([score, information], wrong, half)]
            print(f"| {path} | {part} | {sum(wrong)} of {len(wrong)} | " + " | ".join(f"{x:.4f}" for x in figures) + " |")


if __name__ == "__main__":
    main()
