#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adapters to and fro between attune, diffusers and peft: written by one, read by the other, pictures compared.

    python3 tools/check-adapters.py build/attune datasets/emoji/model

An adapter of the UNet and the text encoder, with ranks and alphas of their own for every layer, is made with peft and saved by
diffusers. attune draws with it, converts it into every dialect, draws with each, and merges it into the model; diffusers draws the
same pictures with its own reader, from the merged folder, and from weights to which alpha / rank * up down was added here, for what
diffusers does not read. PeftModel loads what attune wrote for it, and both what attune trained, of UNet and text encoder. Exit
status 1 if a picture is off. Needs what check-diffusers.py needs. Tried with torch 2.15, diffusers 0.42, transformers 5.24, peft 0.21.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import peft
import torch
import transformers
import transformers.integrations.peft
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("check_diffusers", os.path.join(HERE, "check-diffusers.py"))
pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pictures)
transformers.integrations.peft.check_peft_version = lambda **_: None  # it asks for a newer peft than it needs here
PROMPT, SCALE, SIDE = "red apple", 0.7, 64
LEAST_PSNR = 60.0


def pipeline(folder):
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.float()
    pipe.set_progress_bar_config(disable=True)
    pipe.config_of_schedule = pipe.scheduler.config
    return pipe


def make(pipe, folder):
    """Saves the adapter; (component, name) to (down, up, alpha)."""
    torch.manual_seed(7)
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    out, configs, layers = {}, {}, {}
    for component in ("unet", "text_encoder"):
        model = getattr(pipe, component)
        names = [n for n, m in model.named_modules() if isinstance(m, kinds) and ("attn" in n or "conv" in n or "mlp" in n)]
        ranks = {n: (4, 2, 8, 3)[i % 4] for i, n in enumerate(names)}
        alphas = {n: ranks[n] * (1, 0.5, 2)[i % 3] for i, n in enumerate(names)}
        configs[component] = peft.LoraConfig(r=4, lora_alpha=4, target_modules=names, init_lora_weights=False,
                                             rank_pattern=ranks, alpha_pattern=alphas).to_dict()
        layers[component] = {}
        for n in names:
            w = dict(model.named_modules())[n].weight
            down = torch.randn(ranks[n], *w.shape[1:]) / w[0].numel() ** 0.5
            up = torch.randn(w.shape[0], ranks[n], *[1] * (w.ndim - 2)) * 0.02 / ranks[n] ** 0.5
            layers[component][f"{n}.lora_A.weight"], layers[component][f"{n}.lora_B.weight"] = down, up
            out[component, n] = (down, up, alphas[n])
    keep = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules")
    short = {c: {k: sorted(v) if k == "target_modules" else v for k, v in config.items() if k in keep} for c, config in configs.items()}
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=layers["unet"], text_encoder_lora_layers=layers["text_encoder"],
        unet_lora_adapter_metadata=short["unet"], text_encoder_lora_adapter_metadata=short["text_encoder"])
    return out


def add(pipe, adapter, scale):
    with torch.no_grad():
        for (component, name), (down, up, alpha) in adapter.items():
            w = dict(getattr(pipe, component).named_modules())[name].weight
            delta = up.double().flatten(1) @ down.double().flatten(1)
            w.copy_((w.double() + scale * alpha / len(down) * delta.view_as(w)).float())
    return pipe


def sample(attune, model, out, loras):
    command = [attune, "sample", "-m", model, "-p", PROMPT, "--seed", "5", "--steps", "12", "--device", "cpu", "-q", "-o", out]
    for lora in loras:
        command += ["--lora", lora]
    subprocess.run(command, check=True)
    image = Image.open(out)
    return np.asarray(image.convert("RGB"), np.float64), json.loads(image.info["attune"])


def drawn(pipe, note):
    with torch.inference_mode():
        return np.floor(pictures.draw(pipe, note) + 0.5)


def psnr(a, b):
    return 10 * np.log10(255**2 / max(((a - b) ** 2).mean(), 1e-12))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attune", help="the program")
    parser.add_argument("model", help="folder in the layout of diffusers, of SD 1.x or 2.x")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    failures = []

    def verdict(what, a, b, least=LEAST_PSNR):
        value = psnr(a, b)
        print(f"{what}: PSNR {'equal' if value > 150 else f'{value:.1f} dB'}, {np.abs(a - b).max():.0f} of 255 at most")
        if not value >= least:
            failures.append(what)

    with tempfile.TemporaryDirectory() as root:
        path = lambda name: os.path.join(root, name)
        run = lambda *words: subprocess.run([args.attune, *words], check=True, stderr=subprocess.DEVNULL)
        adapter = make(pipeline(args.model), path("made"))
        plain, note = sample(args.attune, args.model, path("plain.png"), [])
        ours, _ = sample(args.attune, args.model, path("made.png"), [f"{path('made')}:{SCALE}"])
        print(f"without and with the adapter: PSNR {psnr(plain, ours):.1f} dB")
        pipe = pipeline(args.model)
        pipe.load_lora_weights(path("made"))
        pipe.set_adapters(pipe.get_active_adapters(), [SCALE])
        theirs = drawn(pipe, note)
        verdict("diffusers' file, drawn by attune and by diffusers", ours, theirs)
        verdict("the formula, and diffusers", drawn(add(pipeline(args.model), adapter, SCALE), note), theirs)
        for dialect in ("diffusers", "diffusers-old", "kohya", "comfyui", "peft"):
            out = path(dialect) if dialect == "peft" else path(dialect + ".safetensors")
            run("lora", "convert", path("made"), out, "--to", dialect, "-m", args.model)
            files = [os.path.join(out, c) for c in ("unet", "text_encoder")] if dialect == "peft" else [out]
            verdict(f"{dialect}, converted and drawn by attune", sample(args.attune, args.model, path(f"{dialect}.png"),
                                                                      [f"{f}:{SCALE}" for f in files])[0], theirs)
            if dialect in ("diffusers", "diffusers-old"):
                pipe = pipeline(args.model)
                pipe.load_lora_weights(out)
                pipe.set_adapters(pipe.get_active_adapters(), [SCALE])
                verdict(f"{dialect}, converted by attune and drawn by diffusers", drawn(pipe, note), theirs)
        pipe = pipeline(args.model)
        pipe.unet = peft.PeftModel.from_pretrained(pipe.unet, path("peft/unet")).merge_and_unload()
        pipe.text_encoder = peft.PeftModel.from_pretrained(pipe.text_encoder, path("peft/text_encoder")).merge_and_unload()
        whole, _ = sample(args.attune, args.model, path("whole.png"), [path("made")])
        verdict("peft, converted by attune and loaded by PeftModel", drawn(pipe, note), whole)
        run("lora", "merge", f"{path('made')}:{SCALE}", "-m", args.model, "-o", path("merged"), "--dtype", "f32")
        verdict("merged by attune, drawn by diffusers", drawn(pipeline(path("merged")), note), theirs)
        pipe = pipeline(args.model)
        pipe.load_lora_weights(path("made"))
        pipe.fuse_lora(lora_scale=SCALE)
        pipe.unload_lora_weights()
        merged = pipeline(path("merged"))
        worst = max((a - b).abs().max().item() for part in ("unet", "text_encoder")
                    for a, b in zip(getattr(pipe, part).parameters(), getattr(merged, part).parameters()))
        print(f"merged by attune and fused by diffusers: weights differ by {worst:.1e} at most")
        if not worst < 1e-6:
            failures.append("fused weights")
        # What attune trains, of UNet and text encoder: drawn by it, by diffusers, and, through every dialect, by it again.
        run("train", "base", "-m", args.model, "-o", path("trained"), "--rank", "4", "--text-encoder", "--lr", "1e-2", "--text-lr", "1e-2",
            "--steps", "8", "--batch", "2", "--names", "8", "--views", "1", "--size", str(SIDE), "--device", "cpu", "-q")
        ours, note = sample(args.attune, args.model, path("trained.png"), [path("trained")])
        print(f"without and with what attune trained: PSNR {psnr(plain, ours):.1f} dB")
        pipe = pipeline(args.model)
        pipe.load_lora_weights(path("trained"))
        parts = {c for c in ("unet", "text_encoder") if getattr(pipe, c).peft_config}
        if parts != {"unet", "text_encoder"}:
            failures.append(f"trained: diffusers loads {parts}")
        theirs = drawn(pipe, note)
        verdict("trained by attune, drawn by attune and by diffusers", ours, theirs)
        for dialect in ("diffusers-old", "kohya", "comfyui", "peft"):
            out = path("t-" + dialect) if dialect == "peft" else path(f"t-{dialect}.safetensors")
            run("lora", "convert", path("trained"), out, "--to", dialect, "-m", args.model)
            files = [os.path.join(out, c) for c in ("unet", "text_encoder")] if dialect == "peft" else [out]
            verdict(f"trained by attune, as {dialect}", sample(args.attune, args.model, path(f"t-{dialect}.png"), files)[0], theirs)
        pipe = pipeline(args.model)
        pipe.unet = peft.PeftModel.from_pretrained(pipe.unet, path("t-peft/unet")).merge_and_unload()
        pipe.text_encoder = peft.PeftModel.from_pretrained(pipe.text_encoder, path("t-peft/text_encoder")).merge_and_unload()
        verdict("trained by attune, loaded by PeftModel", drawn(pipe, note), ours)
    print("all as it should be" if not failures else f"OFF: {failures}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
