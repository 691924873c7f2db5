#!/usr/bin/env python3
"""Makes tests/golden/images/: small PNG and JPEG files of every kind, and what Pillow says about them (decode.json) and about
resizing (resize.json).

Run by hand from the repository root, with PyPI `pillow` below 13 installed (13 resizes columns first where that is less
work, which gives a few other bytes; all versions before it resize rows first, as we do):

    python3 tests/golden/images.py

Pictures are computed, the same here and in tests/image/picture.h; a hash is FNV-1a with 64 bits over the bytes of
convert("RGB"). 16-bit grey is the one kind where another rule holds: Pillow's own conversion clips it to white, here
the upper 8 bits are taken.
"""
import json
import platform
import random
import struct
import zlib

import PIL
from PIL import Image, features

OUT = "tests/golden/images/"


def fnv(data):
    h = 14695981039346656037
    for byte in data:
        h = (h ^ byte) * 1099511628211 & 0xFFFFFFFFFFFFFFFF
    return "%016x" % h


def value(x, y, c, seed):
    """Noise, and patches of black and white, where bicubic weights overshoot."""
    h = (x * 374761393 + y * 668265263 + c * 2246822519 + seed * 3266489917) & 0xFFFFFFFF
    h = (h ^ h >> 13) * 1274126177 & 0xFFFFFFFF
    if (x // 5 + y // 3) % 3 == 0:
        return 255 if (x // 5 + c) % 2 else 0
    return h >> 24


def picture(width, height, seed):
    data = bytes(value(x, y, c, seed) for y in range(height) for x in range(width) for c in range(3))
    return Image.frombytes("RGB", (width, height), data)


def smooth(width, height):
    data = bytes(int((x * (3 + c) + y * (5 - c)) * 255 / (8 * max(width, height))) for y in range(height)
                 for x in range(width) for c in range(3))
    return Image.frombytes("RGB", (width, height), data)


def resize_rows():
    rng = random.Random(7)
    sides = [1, 2, 3, 5, 8, 13, 31, 64, 100]
    targets = [1, 2, 3, 7, 16, 32, 33, 64, 96]
    rows = []
    for seed in range(160):
        w, h = rng.choice(sides), rng.choice(sides)
        ow, oh = rng.choice(targets), rng.choice(targets)
        box = [0, 0, w, h]
        if seed % 2:
            x1, y1 = rng.uniform(-2, w - 0.5), rng.uniform(-2, h - 0.5)
            box = [round(v, 3) for v in (x1, y1, rng.uniform(max(x1, 0) + 0.1, w + 2), rng.uniform(max(y1, 0) + 0.1, h + 2))]
        rows.append((w, h, seed, box, ow, oh))
    rows += [(224, 224, 1000, [0, 0, 224, 224], 224, 224), (640, 17, 1001, [0, 0, 640, 17], 224, 224),
             (9, 700, 1002, [0, 0, 9, 700], 32, 32), (300, 200, 1003, [10.5, 20.25, 290.75, 180.5], 224, 224),
             (37, 53, 1004, [0, 0, 37, 53], 336, 336), (1, 1, 1005, [0, 0, 1, 1], 224, 224)]
    for w, h, seed, box, ow, oh in rows:
        x1, y1 = max(int(box[0] // 1), 0), max(int(box[1] // 1), 0)
        x2, y2 = min(int(-(-box[2] // 1)), w), min(int(-(-box[3] // 1)), h)
        made = picture(w, h, seed).crop((x1, y1, x2, y2)).resize((ow, oh), Image.Resampling.BICUBIC)
        yield {"from": [w, h], "seed": seed, "crop": box, "to": [ow, oh], "hash": fnv(made.tobytes())}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, bits, colour, rows, more=b"", interlace=0):
    """What Pillow does not write: few or 16 bits of grey, 16 bits of colour, interlaced."""
    data = b"".join(b"\0" + row for row in rows)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)) + more
            + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))


def own_pngs():
    w, h = 21, 11
    for bits in (1, 2, 4):
        rows = []
        for y in range(h):
            line = "".join(format(value(x, y, 0, bits) >> (8 - bits), "0%db" % bits) for x in range(w))
            line += "0" * (-len(line) % 8)
            rows.append(int(line, 2).to_bytes(len(line) // 8, "big"))
        yield "grey%d.png" % bits, png(w, h, bits, 0, rows), None
    rows = [b"".join(struct.pack(">H", value(x, y, 0, 16) * 256 + value(x, y, 1, 16)) for x in range(w)) for y in range(h)]
    upper = bytes(value(x, y, 0, 16) for y in range(h) for x in range(w) for _ in range(3))
    yield "grey16.png", png(w, h, 16, 0, rows), upper
    rows = [b"".join(struct.pack(">HHH", *(value(x, y, c, 48) * 256 + value(x, y, c, 49) for c in range(3))) for x in range(w))
            for y in range(h)]
    yield "rgb16.png", png(w, h, 16, 2, rows), None
    rows = [bytes(value(x, y, c, 50) for x in range(w) for c in range(2)) for y in range(h)]
    yield "grey_alpha.png", png(w, h, 8, 4, rows), None
    rows = [bytes(value(x, y, 0, 51) for x in range(w)) for y in range(h)]
    yield "grey_transparent.png", png(w, h, 8, 0, rows, chunk(b"tRNS", b"\0\xff")), None
    text = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"tEXt", b"Comment\0nothing") + chunk(b"zTXt", b"Z\0\0" + zlib.compress(b"a" * 5000))
    rows = [bytes(value(x, y, c, 52) for x in range(w) for c in range(3)) for y in range(h)]
    yield "chunks.png", png(w, h, 8, 2, rows, text), None
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [bytes(value(x, y, c, 53) for x in range(x0, w, dx) for c in range(3))
            for x0, y0, dx, dy in passes for y in range(y0, h, dy)]
    yield "interlaced.png", png(w, h, 8, 2, rows, b"", 1), None


def pillow_files():
    rgb = picture(23, 17, 60)
    rgb.save(OUT + "rgb.png")
    rgba = rgb.convert("RGBA")
    rgba.putalpha(picture(23, 17, 61).convert("L"))
    rgba.save(OUT + "rgba.png")
    palette = rgb.quantize(19)
    palette.save(OUT + "palette.png")
    palette.save(OUT + "palette_transparent.png", transparency=3)
    rgb.quantize(3).save(OUT + "palette2.png", bits=2)
    picture(1, 1, 62).save(OUT + "one.png")
    soft = smooth(45, 37)
    soft.save(OUT + "rgb444.jpg", quality=90, subsampling=0)
    soft.save(OUT + "rgb422.jpg", quality=80, subsampling=1)
    soft.save(OUT + "rgb420.jpg", quality=75, subsampling=2)
    rgb.save(OUT + "noise420.jpg", quality=60)
    soft.save(OUT + "progressive.jpg", quality=85, progressive=True)
    soft.save(OUT + "restart.jpg", quality=85, restart_marker_blocks=1)
    soft.convert("L").save(OUT + "grey.jpg", quality=85)
    soft.convert("CMYK").save(OUT + "cmyk.jpg", quality=90)
    inks = Image.merge("CMYK", [picture(19, 9, 63 + i).convert("L") for i in range(4)])
    inks.save(OUT + "cmyk_noise.jpg", quality=95)
    picture(1, 1, 67).save(OUT + "one.jpg")
    soft.save(OUT + "rotated.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0")
    names = ("rgb rgba palette palette_transparent palette2 one", "rgb444 rgb422 rgb420 noise420 progressive restart grey cmyk "
             "cmyk_noise one rotated")
    return [n + ".png" for n in names[0].split()] + [n + ".jpg" for n in names[1].split()]


def main():
    rows = []
    for name, data, upper in own_pngs():
        open(OUT + name, "wb").write(data)
        rows.append((name, upper))
    rows += [(name, None) for name in pillow_files()]
    made_by = {"python": platform.python_version(), "pillow": PIL.__version__, "libjpeg-turbo": features.version("libjpeg_turbo")}
    decode = []
    for name, upper in rows:
        image = Image.open(OUT + name)
        data = image.convert("RGB").tobytes() if upper is None else upper
        decode.append({"file": name, "size": list(image.size), "hash": fnv(data)})
    for path, what in (("decode.json", decode), ("resize.json", list(resize_rows()))):
        lines = ",\n  ".join(json.dumps(row) for row in what)
        open(OUT + path, "w").write('{"made_by": %s,\n "rows": [\n  %s\n ]}\n' % (json.dumps(made_by), lines))


main()
