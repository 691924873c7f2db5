"""Writes a projector of pictures for llama.cpp's server, with random weights: random_projector.py FILE [WIDTH].

It makes a server of a text model accept pictures, 49 tokens each; what the model makes of them is noise. WIDTH is that of
the model's embeddings: 576 for SmolLM2-135M. The same file each time. The format is GGUF 3; the names are those of LLaVA's
projectors.
"""
import random
import struct
import sys

IMAGE, PATCH, WIDTH, FEED, BLOCKS, HEADS = 98, 14, 64, 128, 2, 2
TO = int(sys.argv[2]) if len(sys.argv) > 2 else 576
U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9

keys = [
    ("general.architecture", STRING, "clip"),
    ("clip.has_vision_encoder", BOOL, True),
    ("clip.projector_type", STRING, "mlp"),
    ("clip.use_gelu", BOOL, True),
    ("clip.vision.image_size", U32, IMAGE),
    ("clip.vision.patch_size", U32, PATCH),
    ("clip.vision.embedding_length", U32, WIDTH),
    ("clip.vision.feed_forward_length", U32, FEED),
    ("clip.vision.projection_dim", U32, TO),
    ("clip.vision.block_count", U32, BLOCKS),
    ("clip.vision.attention.head_count", U32, HEADS),
    ("clip.vision.attention.layer_norm_epsilon", F32, 1e-5),
    ("clip.vision.image_mean", ARRAY, [0.5, 0.5, 0.5]),
    ("clip.vision.image_std", ARRAY, [0.5, 0.5, 0.5]),
]


def shapes():
    """Names and sizes, the fastest dimension first."""
    yield "v.class_embd", [WIDTH]
    yield "v.patch_embd.weight", [PATCH, PATCH, 3, WIDTH]
    yield "v.position_embd.weight", [WIDTH, (IMAGE // PATCH) ** 2 + 1]
    for name in ["v.pre_ln", "v.post_ln"] + [f"v.blk.{b}.ln{n}" for b in range(BLOCKS) for n in (1, 2)]:
        yield name + ".weight", [WIDTH]
        yield name + ".bias", [WIDTH]
    for b in range(BLOCKS):
        for name, rows, columns in [("attn_q", WIDTH, WIDTH), ("attn_k", WIDTH, WIDTH), ("attn_v", WIDTH, WIDTH),
                                    ("attn_out", WIDTH, WIDTH), ("ffn_up", WIDTH, FEED), ("ffn_down", FEED, WIDTH)]:
            yield f"v.blk.{b}.{name}.weight", [rows, columns]
            yield f"v.blk.{b}.{name}.bias", [columns]
    for name, rows in [("mm.0", WIDTH), ("mm.2", TO)]:
        yield name + ".weight", [rows, TO]
        yield name + ".bias", [TO]


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def value(kind, v):
    if kind == STRING:
        return text(v)
    if kind == ARRAY:
        return struct.pack("<IQ", F32, len(v)) + struct.pack(f"<{len(v)}f", *v)
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?"}[kind], v)


def padded(data):
    return data + bytes(-len(data) % 32)


draw = random.Random(7).random
tensors, data = [], b""
for name, sizes in shapes():
    count = 1
    for size in sizes:
        count *= size
    is_scale = "ln" in name and name.endswith(".weight") or "_ln.weight" in name
    values = [1.0] * count if is_scale else [0.1 * draw() - 0.05 for _ in range(count)]
    tensors.append(text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, 0, len(data)))
    data += padded(struct.pack(f"<{count}f", *values))
head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
head += b"".join(text(name) + struct.pack("<I", kind) + value(kind, v) for name, kind, v in keys)
with open(sys.argv[1], "wb") as f:
    f.write(padded(head + b"".join(tensors)) + data)
