#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model folder of full size with random weights, sharded, so that the whole way of a real model can be walked: index,
mapped files, loading, sampling, memory.

    python3 tests/bench/full_folder.py sdxl /tmp/sdxl
    build/attune plan sample -m /tmp/sdxl -p "a red kite" --size 256
    build/attune sample -m /tmp/sdxl -p "a red kite" --size 256 --steps 1 --cfg 1 -o /tmp/kite.png

Weights are f16, normal with a deviation of half of 1 / sqrt(fan in); norms are ones and zeros. Pictures are noise. sd15
takes 2.1 GB of disk, sdxl 6.9 GB. Needs torch, diffusers, transformers, safetensors.
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import full_size

SHARD = 1 << 30  # bytes


def parts(folder):
    """Component, the base of its files' names, and its module without values."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel,
             "text_encoder_2": CLIPTextModelWithProjection}
    for name, kind in kinds.items():
        path = folder / name / "config.json"
        if not path.exists():
            continue
        config = json.loads(path.read_text(encoding="utf-8"))
        text = name.startswith("text")
        with torch.device("meta"):
            module = kind(CLIPTextConfig(**config)) if text else kind.from_config(config)
        yield name, "model" if text else "diffusion_pytorch_model", module


def draw(name, like):
    import torch

    if like.dim() > 1:
        fan_in = like[0].numel() if "embedding" not in name else like.shape[1]
        return torch.randn(like.shape).mul_(0.5 / fan_in**0.5).half()
    return (torch.ones if name.endswith("weight") else torch.zeros)(like.shape, dtype=torch.float16)


def write(folder, base, module):
    from safetensors.torch import save_file

    shards, size = [[]], 0
    for name, p in module.named_parameters():
        if size + 2 * p.numel() > SHARD and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append((name, p))
        size += 2 * p.numel()
    if len(shards) == 1:
        save_file({n: draw(n, p) for n, p in shards[0]}, folder / f"{base}.safetensors", {"format": "pt"})
        return
    where = {}
    for i, shard in enumerate(shards):
        file = f"{base}-{i + 1:05}-of-{len(shards):05}.safetensors"
        save_file({n: draw(n, p) for n, p in shard}, folder / file, {"format": "pt"})
        where.update({n: file for n, _ in shard})
    index = {"metadata": {"total_size": 2 * sum(p.numel() for p in module.parameters())}, "weight_map": where}
    (folder / f"{base}.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", choices=list(full_size.UNETS))
    p.add_argument("out", type=pathlib.Path, help="a folder that is not there yet")
    a = p.parse_args()
    import torch

    torch.manual_seed(0)
    full_size.make_folder(a.model, a.out)
    for name, base, module in parts(a.out):
        write(a.out / name, base, module)
        print(f"{a.out / name}: {sum(p.numel() for p in module.parameters()) / 1e6:.0f} M parameters")


if __name__ == "__main__":
    main()
