#!/usr/bin/env python3
"""What the scanner and the operators promise, on sources of a few lines: python3 tests/mutation/operators_test.py"""
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from operators import mutants_of  # noqa: E402
from scan import Source  # noqa: E402

KERNEL = """/* if (a < b) return; */
#define WIDE(a) \\
    ((a) < 4)
enum { THREADS = 128 };
template <class T> static __global__ void __launch_bounds__(THREADS) add_rows(const T *x, float *y, int n, bool add)
{
    __shared__ float row[THREADS];
    const int i = (int)threadIdx.x / 32; /* i < n */
    if (i >= n) return;
    row[i] = gm_load<T>(x + i) * -1.0f;
    __syncthreads();
    for (int k = 0; k < min(n, 4); k += 32) y[k] = add ? y[k] + row[k] : row[k];
}
"""
LAUNCHER = """static gm_status add_forward(const gm_add *a, gm_device *dev)
{
    if (a->n > 8) return gm_fail(dev->err, GM_ERR_SHAPE, "%d > 8", a->n + 1);
    GM_TRY(gm_scratch(dev, 4 * bytes, "add", &share));
    return GM_LAUNCH(dev, add_rows<float>, gm_blocks(a->n, 32), THREADS, 0, a->x);
}
"""


def changes(text, operator):
    return [m.change for m in mutants_of(Source("kernels/add/add_cuda.cu", text), "add_cuda") if m.operator == operator]


class Scanner(unittest.TestCase):
    def test_finds_functions_and_where_they_run(self):
        found = [(f.name, f.is_device) for f in Source("k.cu", KERNEL + LAUNCHER).functions]
        self.assertEqual(found, [("add_rows", True), ("add_forward", False)])

    def test_names_a_bracket_that_is_not_closed(self):
        with self.assertRaisesRegex(ValueError, "k.cu:2: '\\(' is not closed"):
            Source("k.cu", "int x;\nint f(")

    def test_counts_lines_past_comments_and_directives(self):
        self.assertEqual([t.line for t in Source("k.cu", KERNEL).tokens if t.text == "if"], [9])


class Operators(unittest.TestCase):
    def test_leaves_comments_templates_and_messages_alone(self):
        self.assertEqual(changes(KERNEL, "compare"), [">= -> >", "< -> <="])
        self.assertEqual(changes(LAUNCHER, "compare"), ["> -> >="])
        self.assertEqual(changes(LAUNCHER, "arithmetic"), ["* -> /"])

    def test_breaks_what_it_names(self):
        for operator, expected in (
            ("barrier", ["__syncthreads() -> (void)0"]),
            ("guard", ["if (i >= n) return -> (void)0"]),
            ("divide", ["/ -> *", "/ -> %"]),
            ("limit", ["min(n, 4) -> (n)", "min(n, 4) -> (4)"]),
            ("stride", ["32 -> 2 * (32)"]),
            ("add", ["add -> false", "add -> true"]),
            ("ternary", ["y[k] + row[k] : row[k] -> row[k] : y[k] + row[k]"]),
            ("store", ["row[i] = gm_load<T>(x + i) * -1.0f -> (void)0", "y[k] = add ? y[k] + row[k] : row[k] -> (void)0"]),
        ):
            self.assertEqual(changes(KERNEL, operator), expected)

    def test_breaks_launches_and_scratch(self):
        self.assertEqual(changes(LAUNCHER, "geometry"),
                         ["gm_blocks(a->n, 32) -> ((gm_blocks(a->n, 32)) + 1) / 2", "THREADS -> ((THREADS) + 1) / 2"])
        self.assertEqual(changes(LAUNCHER, "scratch"), ["4 * bytes -> (4 * bytes) / 2"])

    def test_a_mutant_keeps_all_lines_but_its_own(self):
        for m in mutants_of(Source("k.cu", KERNEL), "k"):
            before, after = KERNEL.split("\n"), m.apply(KERNEL).split("\n")
            self.assertEqual(len(before), len(after), m)
            self.assertEqual([i + 1 for i, pair in enumerate(zip(before, after)) if pair[0] != pair[1]], [m.line], m)


class Ids(unittest.TestCase):
    def ids(self, text):
        found = [m.id for m in mutants_of(Source("kernels/add/add_cuda.cu", text), "add_cuda")]
        self.assertEqual(len(found), len(set(found)))
        return found

    def test_outlive_edits_elsewhere(self):
        edited = KERNEL.replace("    __shared__", "    n = *n_rows; /* more */\n\n    __shared__")
        self.assertLessEqual(set(self.ids(KERNEL)), set(self.ids(LAUNCHER + edited)))

    def test_tell_equal_lines_apart(self):
        twice = KERNEL.replace("    __syncthreads();\n", "    __syncthreads();\n    __syncthreads();\n")
        self.assertEqual(len(set(self.ids(twice)) - set(self.ids(KERNEL))), 1)


if __name__ == "__main__":
    unittest.main()
