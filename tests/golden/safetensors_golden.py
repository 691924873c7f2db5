"""Makes tests/golden/safetensors/ and tests/fuzz/corpus/safetensors/: python tests/golden/safetensors_golden.py

Made with safetensors 0.8.0 and torch 2.15.0; there is no randomness, so there is no seed.
The name of this file is not safetensors.py, which would hide the library.
<DTYPE>.safetensors and mixed.safetensors are written by the peer library and read by the C test. written.safetensors
is put together here, byte for byte as src/tensor/safetensors.h describes, and read back by the peer library: the C test
expects its writer to make exactly these bytes, so the peer reads what the C writer writes.
"""
import json
import os
import struct

import safetensors
import torch
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "safetensors")
CORPUS = os.path.join(HERE, "..", "fuzz", "corpus", "safetensors")
FLOATS = {  # the largest value and the smallest subnormal that float32 can hold of each
    "F32": (torch.float32, 3.4028234663852886e38, 2.0**-149),
    "F16": (torch.float16, 65504.0, 2.0**-24),
    "BF16": (torch.bfloat16, 3.3895313892515355e38, 2.0**-133),
    "F64": (torch.float64, 3.4028234663852886e38, 2.0**-149),
}
INTEGERS = {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8}


def dtype_files():
    for name, (dtype, largest, smallest) in FLOATS.items():
        x = torch.tensor([[0.0, -0.0, 1.0], [-1.5, largest, smallest]], dtype=dtype)
        save_file({"x": x}, os.path.join(GOLDEN, name + ".safetensors"))
    for name, dtype in INTEGERS.items():
        info = torch.iinfo(dtype)
        x = torch.tensor([[0, 1, 42], [info.min, info.max, 7]], dtype=dtype)
        save_file({"x": x}, os.path.join(GOLDEN, name + ".safetensors"))
    x = torch.tensor([[False, True, True], [False, False, True]])
    save_file({"x": x}, os.path.join(GOLDEN, "BOOL.safetensors"))


def mixed_file():
    tensors = {
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "deep": torch.arange(4, dtype=torch.int16).reshape(1, 2, 1, 1, 2, 1, 1, 1),
        "ünï \"quoted\"\n": torch.tensor([1, 2, 3], dtype=torch.uint8),
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
    }
    # One key of metadata only: the peer writes several in any order.
    save_file(tensors, os.path.join(GOLDEN, "mixed.safetensors"), metadata={"note": "two\nlines"})


def pack(header, data, size=None):
    header = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def written_file():
    path = os.path.join(GOLDEN, "written.safetensors")
    header = ('{"__metadata__":{"format":"pt","kind":"a \\"test\\""},'
              '"small":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},'
              '"weight":{"dtype":"F32","shape":[2,2],"data_offsets":[3,19]},'
              '"steps":{"dtype":"I64","shape":[],"data_offsets":[19,27]},'
              '"none":{"dtype":"F16","shape":[0,5],"data_offsets":[27,27]}}')
    header += " " * (-len(header) % 8)
    with open(path, "wb") as f:
        f.write(pack(header, bytes([1, 2, 255]) + struct.pack("<4fq", 1.0, -0.5, 0.25, 3e38, -(2**62))))
    read = load_file(path)
    assert list(read) and {k: (v.dtype, list(v.shape)) for k, v in read.items()} == {
        "small": (torch.uint8, [3]), "weight": (torch.float32, [2, 2]), "steps": (torch.int64, []),
        "none": (torch.float16, [0, 5])}
    assert read["small"].tolist() == [1, 2, 255] and read["steps"].item() == -(2**62)
    assert torch.equal(read["weight"], torch.tensor([[1.0, -0.5], [0.25, 3e38]]))
    with safetensors.safe_open(path, "pt") as f:
        assert f.metadata() == {"format": "pt", "kind": 'a "test"'}


def corpus():
    entry = '{"dtype":"%s","shape":%s,"data_offsets":[%s]}'
    a = '"a":' + entry % ("F32", "[1,2]", "0,8")
    seeds = {
        "empty": pack("{}", b""),
        "one": pack("{" + a + "}  ", bytes(8)),
        "two-out-of-order": pack('{"b":' + entry % ("F16", "[2]", "8,12") + "," + a + "}", bytes(12)),
        "metadata": pack('{"__metadata__":{"format":"pt","k":"\\u00e9"},' + a + "}", bytes(8)),
        "all-dtypes": pack(json.dumps({t: {"dtype": t, "shape": [], "data_offsets": [o, o + n]} for t, o, n in (
            ("F64", 0, 8), ("I64", 8, 8), ("F32", 16, 4), ("I32", 20, 4), ("F16", 24, 2), ("BF16", 26, 2),
            ("I16", 28, 2), ("I8", 30, 1), ("U8", 31, 1), ("BOOL", 32, 1))}), b"\x00\x01\x7f\x80\x3c" + bytes(28)),
        "zero-size": pack('{"z":' + entry % ("F32", "[0,9]", "0,0") + "," + a + "}", bytes(8)),
        "nan": pack("{" + a + "}", b"\x00\x00\xc0\x7f" + bytes(4)),
        "twice": pack("{" + a + "," + a + "}", bytes(8)),
        "overlap": pack("{" + a + ',"b":' + entry % ("U8", "[4]", "4,8") + "}", bytes(8)),
        "gap": pack("{" + a + ',"b":' + entry % ("U8", "[1]", "9,10") + "}", bytes(10)),
        "behind": pack("{" + a + "}", bytes(9)),
        "cut": pack("{" + a + "}", bytes(7)),
        "huge-shape": pack('{"a":' + entry % ("F32", "[4611686018427387904,4]", "0,8") + "}", bytes(8)),
        "fraction": pack('{"a":' + entry % ("F32", "[2.0]", "0,8") + "}", bytes(8)),
        "escaped-name": pack('{"\\u0061":' + entry % ("F32", "[2]", "0,8") + "," + a + "}", bytes(8)),
        "long-header": pack("{}", b"", 1 << 40),
        "short": b"\x02\x00\x00",
    }
    for name, data in seeds.items():
        with open(os.path.join(CORPUS, name), "wb") as f:
            f.write(data)


os.makedirs(GOLDEN, exist_ok=True)
os.makedirs(CORPUS, exist_ok=True)
dtype_files()
mixed_file()
written_file()
corpus()
print("safetensors", safetensors.__version__, "torch", torch.__version__)
