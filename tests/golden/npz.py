#!/usr/bin/env python3
"""Makes tests/golden/images/*.npz: files of regions as the authors of the GMNER sets publish them, written by numpy.

Run by hand from the repository root, with numpy:

    python3 tests/golden/npz.py

Boxes and features are computed, the same here and in tests/image/npz_test.c: box i of K is [i, 2 i, i + 10, 2 i + 5],
feature [i, d] is i + d / 8, the score of i is (7 i % K) / K.
"""
import numpy as np

OUT = "tests/golden/images/"
K, D = 6, 8


def arrays(dtype):
    i = np.arange(K)
    return {
        "bounding_boxes": np.stack([i, 2 * i, i + 10, 2 * i + 5], 1).astype(dtype),
        "box_features": (i[:, None] + np.arange(D)[None] / 8).astype(dtype),
        "scores": (7 * i % K / K).astype(dtype),
        "num_boxes": np.array(K), "image_w": np.array(100), "image_h": np.array([80]),
        "objects": np.array(["a", "bb", "ccc", "d", "e", "f"]), "info": np.array({"x": 1}, dtype=object),
    }


np.savez(OUT + "stored.npz", **arrays(np.float32))
np.savez_compressed(OUT + "deflated.npz", **arrays(np.float64))
fortran = arrays(np.float32)
fortran["bounding_boxes"] = np.asfortranarray(fortran["bounding_boxes"].astype(np.int64))
fortran["box_features"] = np.asfortranarray(fortran["box_features"])
fortran["num_boxes"] = np.array([4], np.int16)
del fortran["scores"], fortran["image_w"], fortran["image_h"]
np.savez(OUT + "fortran.npz", **fortran)
