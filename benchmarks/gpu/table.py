"""Ratios of the peers to gmner, out of the lines that bench_kernels, steps.py and peers.py have written.

usage: table.py FILE      a ratio above 1 means that gmner was faster
"""
import json
import sys
from collections import defaultdict

WAYS = ("eager", "graph", "compile", "flash", "cudnn", "efficient")


def main(path):
    own, peers, steps = {}, defaultdict(dict), defaultdict(dict)
    for row in map(json.loads, open(path)):
        if "pieces_per_s" in row:
            steps[row["model"], row["precision"]][row["by"]] = row["pieces_per_s"]
            continue
        case = (row["model"], row["batch"], row["precision"], row["op"], row["pass"])
        if row["by"] == "gmner":
            own[case] = row["us"]
        else:
            peers[case][row["by"]] = row["us"]
    for shape in dict.fromkeys(case[:3] for case in own):
        print(f"\n{' '.join(shape):30} gmner us   " + "".join(f"{way + ' /':>12}" for way in WAYS))
        for case in (case for case in own if case[:3] == shape):
            ratios = (f"{peers[case][way] / own[case]:12.2f}" if way in peers[case] else f"{'-':>12}" for way in WAYS)
            print(f"{case[3]:16}{case[4]:10}{own[case]:13.2f}   " + "".join(ratios))
    print(f"\n{'training, pieces/s':22}{'gmner':>12}{'eager':>12}{'compile':>12}{'/ eager':>10}{'/ compile':>10}")
    for (model, precision), by in steps.items():
        ours, eager, compiled = (by.get(name) for name in ("gmner", "steps-eager", "steps-compile"))
        numbers = "".join(f"{n:12.0f}" if n else f"{'-':>12}" for n in (ours, eager, compiled))
        print(f"{model + ' ' + precision:22}{numbers}" + "".join(f"{ours / n:10.2f}" if ours and n else f"{'-':>10}" for n in (eager, compiled)))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
