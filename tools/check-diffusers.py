#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws pictures of `attune sample` again with diffusers, and compares.

    attune sample -m MODEL -p "red heart" --seed 7 -o out
    python3 tools/check-diffusers.py MODEL out/*.png

Everything but the model is read from the pictures: prompt, seed, steps, guidance, adapters. diffusers' own pipeline
draws them: from the seed if a picture was made with `--rng torch`, else from noise that is computed here from the seed
(Philox4x32-10, Box-Muller). Nothing of attune runs. Exit status 1 if a picture is off.
SD 1.x, SD 2.x, SDXL and latent consistency models of both. Guidance below 1 is none to diffusers.
Needs torch, diffusers, transformers, numpy, PIL, and peft for adapters. Tried with torch 2.15, diffusers 0.42.
"""

import argparse
import json
import os
import sys

import numpy as np
import torch
from diffusers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, LCMScheduler, StableDiffusionPipeline,
                       StableDiffusionXLPipeline)
from diffusers.utils import logging
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from safetensors.torch import load_file

SAMPLERS = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler, "euler": EulerDiscreteScheduler,
            "euler_a": EulerAncestralDiscreteScheduler, "dpmpp_2m": DPMSolverMultistepScheduler, "lcm": LCMScheduler}
LATENT, STEP = 1, 2  # streams of core/base/rng.h
# In decibels, over 8-bit values. Measured: 89 or equal; with a latent scale that is 2% off 46 to 48.
LEAST_PSNR = 60.0


def philox(seed, stream, index):
    """Four words for each 64-bit counter of `index`: (n,4)."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    index = index.astype(np.uint64)
    c = [index & low, index >> half, np.full_like(index, stream & 0xFFFFFFFF), np.full_like(index, stream >> 32)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c[0]
        p1 = np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> half) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> half) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, axis=1)


def normal(n, seed, stream, sample):
    """n standard normals, two a counter."""
    r = philox(seed, stream, (np.uint64(sample) << np.uint64(32)) + np.arange((n + 1) // 2, dtype=np.uint64))
    unit = (((r[:, ::2] << np.uint64(32)) | r[:, 1::2]) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2 * np.log(1 - unit[:, 0]))
    angle = 2 * np.pi * unit[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:n]


def noise(shape, seed, stream, sample):
    """attune holds latents as (h,w,C); diffusers wants (1,C,h,w)."""
    c, h, w = shape
    values = normal(c * h * w, seed, stream, sample).astype(np.float32).reshape(h, w, c)
    return torch.from_numpy(values.transpose(2, 0, 1).copy())[None]


def draw(pipe, note):
    """The picture as (h,w,3) in 0 .. 255, not rounded. With torch's noise as a user of diffusers would: by its API alone."""
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    shape = (pipe.unet.config.in_channels, note["height"] // factor, note["width"] // factor)
    seed, calls = int(note["seed"]), iter(range(note["steps"]))
    levels = {"use_karras_sigmas": True} if note["karras"] else {}
    pipe.scheduler = SAMPLERS[note["sampler"]].from_config(pipe.config_of_schedule, **levels)
    how = dict(prompt=note["prompt"], negative_prompt=note.get("negative"), num_inference_steps=note["steps"],
               eta=note["eta"], guidance_scale=note["cfg"], guidance_rescale=note.get("cfg_rescale", 0),
               height=note["height"], width=note["width"], clip_skip=note.get("clip_skip") or None)
    if isinstance(pipe, StableDiffusionXLPipeline):
        how["crops_coords_top_left"] = (note["crop_top"], note["crop_left"])
        if "original_width" in note:
            how["original_size"] = (note["original_height"], note["original_width"])
    tile = note.get("vae_tile", 0)
    pipe.vae.enable_tiling() if tile else pipe.vae.disable_tiling()
    pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size = tile, tile // factor
    if note.get("rng") == "torch":
        how["generator"] = torch.Generator().manual_seed(seed)
        step_noise = randn_tensor
    else:
        how["latents"] = noise(shape, seed, LATENT, 0)
        step_noise = lambda *_, **__: noise(shape, seed, STEP, next(calls))
    if "latents" in note:
        how["latents"] = load_file(note["latents"]["path"])["latents"][note["latents"]["index"]][None]
    sys.modules[type(pipe.scheduler).__module__].randn_tensor = step_noise
    return (pipe(**how, output_type="pt").images[0].permute(1, 2, 0) * 255).numpy()


def set_text_model(pipe, there):
    """Transformers 5 has no text_encoder.text_model any more: diffusers' clip skip looks for it, and its reader of adapters
    takes it for a sign of older names."""
    kind = type(pipe.text_encoder)
    if there and not hasattr(pipe.text_encoder, "text_model"):
        kind.text_model = property(lambda model: model)
    if not there and isinstance(vars(kind).get("text_model"), property):
        del kind.text_model


def load_adapters(pipe, loras):
    names = []
    set_text_model(pipe, False)
    pipe.unload_lora_weights()
    for i, lora in enumerate(loras):
        names.append(f"a{i}")
        pipe.load_lora_weights(lora["path"], adapter_name=names[-1])
    if names:
        pipe.set_adapters(names, [lora["scale"] for lora in loras])
    set_text_model(pipe, True)


def check(pipe, path, least, save):
    image = Image.open(path)
    if "attune" not in image.info:
        print(f"{path}: no settings in it; is it from attune sample?")
        return False
    note = json.loads(image.info["attune"])
    load_adapters(pipe, note["loras"])
    there, here = np.asarray(image.convert("RGB"), np.float64), draw(pipe, note)
    if there.shape != here.shape:
        print(f"{path}: {there.shape} instead of {here.shape}")
        return False
    if save:
        Image.fromarray(np.floor(here + 0.5).astype(np.uint8)).save(f"{path}.diffusers.png")
    off = np.abs(there - np.floor(here + 0.5))
    if not off.any():
        print(f"{path}: equal")
        return True
    psnr = 10 * np.log10(255**2 / (off**2).mean())
    ok = psnr >= least
    print(f"{path}: {'same' if ok else 'DIFFERS'}, {100 * (off > 0).mean():.2f}% of values off, by {off.max():.0f} "
          f"at most, PSNR {psnr:.1f} dB")
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder in the layout of diffusers")
    parser.add_argument("pictures", nargs="+", help="PNGs of attune sample")
    parser.add_argument("--save", action="store_true", help="write what diffusers drew to PICTURE.diffusers.png")
    parser.add_argument("--psnr", type=float, default=LEAST_PSNR, help="least agreement in dB (default: %(default)g)")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with open(os.path.join(args.model, "model_index.json"), encoding="utf-8") as f:
        xl = "XL" in json.load(f)["_class_name"]
    # SD's pipeline draws with latent consistency models too.
    pipe = (StableDiffusionXLPipeline.from_pretrained(args.model, add_watermarker=False, local_files_only=True) if xl else
            StableDiffusionPipeline.from_pretrained(args.model, safety_checker=None, local_files_only=True))
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.float()
    pipe.set_progress_bar_config(disable=True)
    pipe.config_of_schedule = pipe.scheduler.config
    with torch.inference_mode():
        results = [check(pipe, path, args.psnr, args.save) for path in args.pictures]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
