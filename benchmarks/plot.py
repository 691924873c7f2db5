"""A picture of what benchmarks/compare measured: a panel a task, a bar a contestant with its median, lowest and highest run.

usage: plot.py RESULTS.json OUT.png     needs matplotlib
"""
import json
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TITLES = {"training": "training, pieces/s", "batched": "prediction in batches, sentences/s", "single": "prediction one by one, sentences/s"}


def main(source, target):
    result = json.load(open(source))
    tasks = {task: bars(result["contestants"], task) for task in TITLES}
    tasks = {task: rows for task, rows in tasks.items() if rows}
    heights = [len(rows) + 1 for rows in tasks.values()]
    figure, axes = plt.subplots(len(tasks), 1, figsize=(9, 0.32 * sum(heights) + 1), height_ratios=heights, squeeze=False, layout="constrained")
    for axis, (task, rows) in zip(axes[:, 0], tasks.items()):
        names, runs = zip(*rows)
        middle = [statistics.median(r) for r in runs]
        spread = [[m - min(r) for m, r in zip(middle, runs)], [max(r) - m for m, r in zip(middle, runs)]]
        axis.barh(names, middle, xerr=spread, color=["#1f6f8b" if n.startswith("gmner") else "#b8b8b8" for n in names], error_kw={"lw": 1})
        for y, m in enumerate(middle):
            axis.text(m + spread[1][y], y, f" {m:.0f}", va="center", fontsize=8)
        axis.set_title(TITLES[task], loc="left", fontsize=10)
        axis.tick_params(labelsize=8)
        axis.margins(x=0.1)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{result['machine']['processor']}, {result['options']['threads']} threads", fontsize=9)
    figure.savefig(target, dpi=120)


def bars(contestants, task):
    rows = [(c["name"].removesuffix(" " + task).removesuffix(" prediction"), [r["figures"][task]["rate"] for r in c["runs"]]) for c in contestants if task in c["tasks"]]
    return sorted((row for row in rows if row[1]), key=lambda row: statistics.median(row[1]))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
