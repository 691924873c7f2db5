#!/usr/bin/env python3
"""Makes what tests/model/vit_golden_test.c compares with: numbers of CLIP's vision model in Hugging Face `transformers`.

Run by hand from the repository root, with PyPI `torch`, `transformers` and `Pillow` installed:

    python3 tests/golden/vision.py      writes tests/golden/clip/*/ (nothing is needed)

Each folder is one as a user would bring it, with random weights in float16 (the numbers are taken from the rounded weights):
  whole    a CLIPModel, texts and all, with a projection; erf-GELU, mean and std of its own
  vision   a CLIPVisionModel alone, quick GELU
and golden.json:
  images       how many; byte i of all their pixels is (i * 2654435761 mod 2^32 >> 13) mod 256
  states       pooler_output (and `projected`: image_embeds) in float64 of what the folder's image processor makes of them
  gradients    for each parameter [dot, norm], as bert.py's, of the gradient of the sum of states (or of projections, where there
               are some) times 0.3 cos(2 + 1.3 i)
"""
import json
import math
import os

import numpy
import torch
import transformers
from safetensors.torch import save_file

from bert import digest, rounded

MADE_BY = f"tests/golden/vision.py, torch {torch.__version__}, transformers {transformers.__version__}"
IMAGES = 3
SMALL = {
    "whole": dict(seed=11, config=dict(model_type="clip", architectures=["CLIPModel"], projection_dim=12,
                                       text_config=dict(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                                                        max_position_embeddings=6, bos_token_id=0, eos_token_id=1, pad_token_id=2),
                                       vision_config=dict(hidden_act="gelu", image_size=15, patch_size=5, hidden_size=20, num_hidden_layers=3,
                                                          num_attention_heads=1, intermediate_size=28, layer_norm_eps=1e-6)),
                  processor=dict(crop_size=15, size=15, image_mean=[0.4, 0.5, 0.3], image_std=[0.2, 0.3, 0.25], resample=3, do_resize=True,
                                 do_center_crop=True, do_normalize=True)),
    "vision": dict(seed=12, config=dict(model_type="clip_vision_model", architectures=["CLIPVisionModel"], hidden_act="quick_gelu", image_size=24,
                                        patch_size=8, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
                                        projection_dim=512),
                   processor=dict(crop_size=dict(height=24, width=24), size=dict(shortest_edge=24), resample=3, rescale_factor=1 / 255)),
}


def pixels(count):
    i = numpy.arange(count, dtype=numpy.uint64)
    return ((i * 2654435761 & 0xFFFFFFFF) >> 13 & 255).astype(numpy.uint8)


def write(path, value, **how):
    with open(path, "w") as f:
        json.dump(value, f, **how)
        f.write("\n")


def small(name, seed, config, processor):
    folder = f"tests/golden/clip/{name}"
    os.makedirs(folder, exist_ok=True)
    write(f"{folder}/config.json", config, indent=2)
    write(f"{folder}/preprocessor_config.json", dict(processor, image_processor_type="CLIPImageProcessor"), indent=2)
    torch.manual_seed(seed)
    kind = getattr(transformers, config["architectures"][0])
    model = kind(kind.config_class.from_pretrained(folder))
    with torch.no_grad():
        for key, p in model.named_parameters():
            scale = 0.1 if p.dim() <= 1 else 0.7 / math.sqrt(p[0].numel())
            base = 1.0 if "norm" in key and key.endswith("weight") else 0.0
            p.copy_((base + scale * torch.randn(p.shape)).half().float())
    model = model.double().eval()
    save_file({k: p.detach().half().contiguous() for k, p in model.named_parameters()}, f"{folder}/model.safetensors", metadata={"format": "pt"})
    vision = getattr(model, "vision_model", model)
    side = vision.config.image_size
    images = pixels(IMAGES * side * side * 3).reshape(IMAGES, side, side, 3)
    made = transformers.CLIPImageProcessor.from_pretrained(folder)(list(images), return_tensors="pt")["pixel_values"]
    assert made.shape == (IMAGES, 3, side, side)
    states = vision(pixel_values=made.double()).pooler_output
    golden = dict(made_by=f"{MADE_BY}, seed {seed}", images=IMAGES, states=[rounded(x) for x in states.reshape(-1).tolist()])
    if hasattr(model, "visual_projection"):
        states = model.visual_projection(states)
        golden["projected"] = [rounded(x) for x in states.reshape(-1).tolist()]
    flat = states.reshape(-1)
    (flat * 0.3 * torch.cos(2 + 1.3 * torch.arange(flat.numel(), dtype=torch.float64))).sum().backward()
    golden["gradients"] = {k: digest(p.grad) for k, p in model.named_parameters() if p.grad is not None}
    write(f"{folder}/golden.json", golden, separators=(",", ":"))


if __name__ == "__main__":
    for folder_name, options in SMALL.items():
        small(folder_name, **options)
