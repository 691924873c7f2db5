#!/usr/bin/env python3
"""Makes src/image/region_windows.def: the built-in proposals, from the boxes of Twitter-GMNER's training set.

Run by hand from the repository root, with numpy:

    build/gmner import twitter-gmner --text ../shared/data/twitter-gmner/train.txt \
        --boxes ../shared/data/twitter-gmner/xml > train.jsonl
    python3 tests/golden/region_windows.py train.jsonl > src/image/region_windows.def

Candidates are all windows on a grid of twelfths of the picture's sides. The whole picture comes first; then, one after
another, the window that meets a box of the most entities (IoU at least .5) that no window before it met; of equal ones
the larger, then the first.
"""
import json
import sys

import numpy as np

GRID, COUNT = 12, 96


def iou(a, b):
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    both = np.clip(width, 0, None) * np.clip(height, 0, None)
    area = lambda x: (x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1])
    return both / (area(a)[:, None] + area(b)[None] - both)


def entities(path):
    for line in open(path, encoding="utf-8"):
        record = json.loads(line)
        if not record["size"]:
            continue
        sides = np.array(record["size"] * 2, float)
        for entity in record["entities"]:
            boxes = [np.clip(np.array(box) / sides, 0, 1) for box in entity["boxes"]]
            boxes = [box for box in boxes if box[2] > box[0] and box[3] > box[1]]
            if boxes:
                yield np.array(boxes)


def main():
    corners = [(a, b) for a in range(GRID) for b in range(a + 1, GRID + 1)]
    windows = [(x1, y1, x2, y2) for x1, x2 in corners for y1, y2 in corners]
    windows.sort(key=lambda w: -(w[2] - w[0]) * (w[3] - w[1]))
    scaled = np.array(windows) / GRID
    met = np.array([(iou(boxes, scaled) >= 0.5).any(0) for boxes in entities(sys.argv[1])])
    chosen, left = [windows[0]], ~met[:, 0]
    while len(chosen) < COUNT:
        best = int(met[left].sum(0).argmax())
        chosen.append(windows[best])
        left &= ~met[:, best]
    print("/* GM_WINDOW(x1, y1, x2, y2) in twelfths of the picture's sides, most useful first: made by\n"
          " * tests/golden/region_windows.py from the boxes of Twitter-GMNER's training set. */")
    for window in chosen:
        print("GM_WINDOW(%d, %d, %d, %d)" % window)


main()
