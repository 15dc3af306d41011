#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models written by attune, read by diffusers: single files, folders, merged adapters, of SD 1.x, SD 2.x and SDXL.

    python3 tools/check-files.py build/attune

diffusers makes a tiny model of each family (tests/golden/data/single) and three adapters of it, in f32, f16 and bf16, with
ranks and alphas of their own, for linear layers, convolutions of 3x3 and all text encoders. attune makes a single file of the
model, and a folder of that file: `from_single_file` and `from_pretrained` must load the very same weights, and draw what
attune draws. attune merges the adapters with three strengths into a single file: its weights are compared with those that
diffusers fuses (`set_adapters`, `fuse_lora`), its picture with that of attune and of diffusers with the adapters beside the
weights. Exit status 1 if something is off. Needs what check-diffusers.py needs, and peft. Tried with torch 2.15, diffusers
0.42, transformers 5.24, peft 0.21.
"""

import argparse
import gzip
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
import transformers.integrations.peft
from diffusers import (AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler, StableDiffusionPipeline,
                       StableDiffusionXLPipeline, UNet2DConditionModel)
from diffusers.utils import logging
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "tests", "golden", "data")
spec = importlib.util.spec_from_file_location("check_diffusers", os.path.join(HERE, "check-diffusers.py"))
pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pictures)
transformers.integrations.peft.check_peft_version = lambda **_: None  # it asks for a newer peft than it needs here
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
STRENGTHS = {"a": (0.7, torch.float32), "b": (-0.5, torch.float16), "c": (0.4, torch.bfloat16)}
LEAST_PSNR = 50.0  # of pictures of weights at random, which are noisier than pictures of a trained model
failures = []


def verdict(what, ok, measured):
    print(f"  {what}: {measured}{'' if ok else '  <- OFF'}")
    if not ok:
        failures.append(what)


def make(name, folder):
    """A pipeline with weights at random, saved."""
    with gzip.open(os.path.join(GOLDEN, "single", f"tiny_{name}.json.gz")) as f:
        configs = json.load(f)["configs"]
    torch.manual_seed(3)
    parts = dict(unet=UNet2DConditionModel.from_config(configs["unet"]), vae=AutoencoderKL.from_config(configs["vae"]))
    for part in ("text_encoder", "text_encoder_2"):
        if part in configs:
            kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            config = dict(configs[part])
            config.pop("architectures"), config.pop("model_type", None)
            parts[part] = kind(CLIPTextConfig(**config))
    with torch.no_grad():
        for model in parts.values():
            for p in model.parameters():
                p.copy_(p * 1.5 if p.ndim > 1 else p + 0.05 * torch.randn_like(p))
    tokenizer = lambda pad: CLIPTokenizer.from_pretrained(os.path.join(GOLDEN, "clip_small"), pad_token=pad, model_max_length=16)
    kind = {"PNDMScheduler": PNDMScheduler, "DDIMScheduler": DDIMScheduler, "EulerDiscreteScheduler": EulerDiscreteScheduler}
    parts["scheduler"] = kind[configs["scheduler"]["_class_name"]].from_config(configs["scheduler"])
    parts["tokenizer"] = tokenizer("!" if name == "sd2" else "<|endoftext|>")
    if name == "sdxl":
        pipe = StableDiffusionXLPipeline(tokenizer_2=tokenizer("!"), add_watermarker=False, **parts)
    else:
        pipe = StableDiffusionPipeline(safety_checker=None, feature_extractor=None, requires_safety_checker=False, **parts)
    pipe.save_pretrained(folder)
    return type(pipe)


def load(kind, path, folder):
    pipe = kind.from_pretrained(path) if os.path.isdir(path) else kind.from_single_file(path, config=folder)
    for part in PARTS:
        if hasattr(pipe, part):
            getattr(pipe, part).float()
    pipe.set_progress_bar_config(disable=True)
    pipe.config_of_schedule = pipe.scheduler.config
    pictures.set_text_model(pipe, False)
    return pipe


def apart(one, other):
    """The largest difference of two weights; infinite if one has a weight that the other lacks."""
    worst = 0
    for part in PARTS:
        if hasattr(one, part):
            a, b = getattr(one, part).state_dict(), getattr(other, part).state_dict()
            worst = max(worst, float("inf") if a.keys() != b.keys() else 0, *((a[k].float() - b[k].float()).abs().max().item() for k in a))
    return worst


def make_adapters(pipe, root):
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    for i, (name, (_, dtype)) in enumerate(STRENGTHS.items()):
        torch.manual_seed(10 + i)
        layers, metadata = {}, {}
        for part in [p for p in PARTS if p != "vae" and hasattr(pipe, p)]:
            model = getattr(pipe, part)
            names = [n for n, m in model.named_modules() if isinstance(m, kinds) and n.startswith(("down", "mid", "up", "encoder", "text_model"))
                     and "time_emb" not in n]
            ranks = {n: (4, 2, 8, 3)[(i + k) % 4] for k, n in enumerate(names)}
            alphas = {n: ranks[n] * (1, 0.5, 2)[(i + k) % 3] for k, n in enumerate(names)}
            metadata[f"{part}_lora_adapter_metadata"] = dict(r=4, lora_alpha=4, rank_pattern=ranks, alpha_pattern=alphas, target_modules=names)
            weights = layers[f"{part}_lora_layers"] = {}
            for n in names:
                w = model.get_submodule(n).weight
                weights[f"{n}.lora_A.weight"] = (torch.randn(ranks[n], *w.shape[1:]) / w[0].numel() ** 0.5).to(dtype)
                weights[f"{n}.lora_B.weight"] = (torch.randn(w.shape[0], ranks[n], *[1] * (w.ndim - 2)) * 0.05).to(dtype)
        type(pipe).save_lora_weights(os.path.join(root, name), **layers, **metadata)


def check(attune, name, root):
    path = lambda *words: os.path.join(root, name, *words)
    vocabulary = ["--tokenizer", os.path.join(GOLDEN, "clip_small")]
    run = lambda *words: subprocess.run([attune, *words], check=True, stderr=subprocess.DEVNULL)
    kind = make(name, path("folder"))

    def sample(model, *loras):
        given = vocabulary if model.endswith(".safetensors") else []
        run("sample", "-m", model, *given, "-p", "a red kite", "--negative", "dull", "--seed", "5", "--steps", "4", "--cfg", "3", "--sampler", "ddim",
            "--width", "32", "--height", "32", "--device", "cpu", *[w for l in loras for w in ("--lora", l)], "-o", path("out.png"), "--force")
        image = Image.open(path("out.png"))
        return np.asarray(image.convert("RGB"), np.float64), json.loads(image.info["attune"])

    def same_picture(what, pipe, note, want):
        pictures.set_text_model(pipe, True)
        with torch.inference_mode():
            got = np.floor(pictures.draw(pipe, note) + 0.5)
        pictures.set_text_model(pipe, False)
        off = ((got - want) ** 2).mean()
        psnr = 10 * np.log10(255**2 / off) if off else float("inf")
        verdict(what, psnr >= LEAST_PSNR, "equal" if not off else f"PSNR {psnr:.1f} dB, {np.abs(got - want).max():.0f} of 255 at most")

    base = load(kind, path("folder"), path("folder"))
    make_adapters(base, path())
    run("convert", "-m", path("folder"), "-o", path("one.safetensors"))
    run("convert", "-m", path("one.safetensors"), *vocabulary, "-o", path("back"))
    one, back = load(kind, path("one.safetensors"), path("folder")), load(kind, path("back"), path("folder"))
    for what, pipe in (("a file, read by from_single_file", one), ("a folder of that file", back)):
        verdict(f"{what}: weights apart by", apart(base, pipe) == 0, apart(base, pipe))
    run("convert", "-m", path("folder"), "-o", path("half.safetensors"), "--dtype", "f16")
    half = kind.from_single_file(path("half.safetensors"), config=path("folder"), torch_dtype=torch.float16)
    halves = kind.from_pretrained(path("folder"), torch_dtype=torch.float16)
    verdict("the same in f16, against torch's rounding: weights apart by", apart(halves, half) == 0, apart(halves, half))
    want, note = sample(path("folder"))
    verdict("drawn by attune from the file", np.array_equal(want, sample(path("one.safetensors"))[0]), "equal to the folder's picture")
    same_picture("drawn by diffusers from the file", one, note, want)

    loras = [f"{path(n)}:{s}" for n, (s, _) in STRENGTHS.items()]
    run("lora", "merge", *loras, "-m", path("one.safetensors"), *vocabulary, "-o", path("merged.safetensors"))
    merged = load(kind, path("merged.safetensors"), path("folder"))
    for n in STRENGTHS:
        base.load_lora_weights(path(n), adapter_name=n)
    base.set_adapters(list(STRENGTHS), [s for s, _ in STRENGTHS.values()])
    plain, (beside, note) = want, sample(path("folder"), *loras)
    print(f"  with and without the adapters: {np.abs(plain - beside).mean():.1f} of 255 apart")
    same_picture("three adapters beside the weights, by attune and by diffusers", base, note, beside)
    base.fuse_lora(adapter_names=list(STRENGTHS))
    base.unload_lora_weights()
    worst = apart(base, merged)
    verdict("merged by attune into one file, fused by diffusers: weights apart by", worst < 1e-6, f"{worst:.1e}")
    same_picture("the merged file, drawn by diffusers, and the adapters beside the weights, by attune", merged, note, beside)
    for n in STRENGTHS:
        run("lora", "convert", path(n), path(f"{n}-kohya.safetensors"), "--to", "kohya", "-m", path("folder"))
    run("lora", "merge", *[f"{path(n)}-kohya.safetensors:{s}" for n, (s, _) in STRENGTHS.items()], "-m", path("folder"), "-o", path("kohya"))
    worst = apart(merged, load(kind, path("kohya"), path("folder")))
    verdict("the same adapters from kohya's files, merged into a folder: weights apart by", worst == 0, worst)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attune", help="the program")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as root:
        for name in ("sd1", "sd2", "sdxl"):
            print(name)
            check(os.path.abspath(args.attune), name, root)
    print("all as it should be" if not failures else f"OFF: {failures}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
