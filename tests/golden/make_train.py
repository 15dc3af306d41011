#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/train/: adapters of UNet and text encoders in training, as peft and torch train them.

    sd/, xl/          adapters of the tiny SD 1.x (make_tiny.py) and SDXL (make_pipelines.py), saved by diffusers: rank 2; alpha 6,
                      of text encoders 1; both halves random
    io.safetensors    for each, in double: the denoising loss of two pictures, its gradient for every half, and the losses of three
                      AdamW steps with a rate of their own for the text encoders; the Diffusion-DPO loss of two pairs, its gradient, and
                      the errors of policy and reference, which is the model with all adapters off, in the text encoders too

Prompts are encoded by diffusers' encode_prompt, through which the gradient goes.
"""
import os, shutil, sys, warnings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import diffusers, peft, torch, transformers
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file

import make_pipelines, make_tiny
from make_models import Draws, plain, settle

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "train")
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]
CONFIGS = {"unet": dict(r=2, lora_alpha=6, target_modules=["to_k", "to_out.0"]), "text_encoder": dict(r=2, lora_alpha=1, target_modules=TEXT_TARGETS)}
CONFIGS["text_encoder_2"] = CONFIGS["text_encoder"]
PROMPTS = ["a red kite", "two blue cups"]
SIZES = [[24, 16, 0, 0, 16, 16], [100, 50, 9, 0, 16, 16]]
BETA, LR, TEXT_LR, STEPS = 100, 5e-3, 2e-3, 3


def pipeline(name, dtype):
    return make_tiny.pipeline(dtype) if name == "sd" else make_pipelines.pipeline("xl", dtype)


def adapt(pipe, draw):
    """Component and key in the file to parameter."""
    out = {}
    for component, config in CONFIGS.items():
        model = getattr(pipe, component, None)
        if model is None:
            continue
        model.requires_grad_(False)
        peft.inject_adapter_in_model(peft.LoraConfig(**config, init_lora_weights=False), model)
        found = {n.replace(".default.", "."): p for n, p in model.to(draw.dtype).named_parameters() if ".lora_" in n}
        for key, p in sorted(found.items()):
            with torch.no_grad():
                scale = 0.2 if "lora_B" in key else p.shape[1] ** -0.5
                p.copy_((torch.randn(p.shape, generator=draw.gen) * scale).half()).requires_grad_(True)
            out[component, key] = p
    return out


def switch(pipe, on):
    for component in CONFIGS:
        for module in getattr(pipe, component).modules() if hasattr(pipe, component) else ():
            if isinstance(module, BaseTunerLayer):
                module.enable_adapters(on)


def save(pipe, params, name):
    layers, folder = {}, os.path.join(ROOT, name)
    for (component, key), p in params.items():
        layers.setdefault(component, {})[key] = p.detach().half().contiguous()
    meta = {f"{c}_lora_adapter_metadata": CONFIGS[c] for c in layers}
    cls = StableDiffusionPipeline if name == "sd" else StableDiffusionXLPipeline
    cls.save_lora_weights(folder, **{f"{c}_lora_layers": v for c, v in layers.items()}, **meta)
    settle(os.path.join(folder, "pytorch_lora_weights.safetensors"))
    os.chmod(os.path.join(folder, "pytorch_lora_weights.safetensors"), 0o644)


def predict(pipe, name, io, items):
    """The UNet on the first so many items: prompts and sizes go by pairs."""
    x, t = io["x"][:items], io["t"][:items]
    copies = items // len(PROMPTS)
    if name == "sd":
        hidden, _ = pipe.encode_prompt(PROMPTS, "cpu", 1, False)
        added = None
    else:
        hidden, _, pooled, _ = pipe.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
        added = dict(text_embeds=pooled.repeat(copies, 1), time_ids=torch.tensor(SIZES, dtype=x.dtype).repeat(copies, 1))
    y = pipe.unet(x, t, hidden.repeat(copies, 1, 1), added_cond_kwargs=added).sample
    return ((y - io["target"][:items]) ** 2).mean([1, 2, 3])


def gradients(loss, params, prefix):
    """SDXL does not read the last layer of its first text encoder: nothing is there for that."""
    grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    return {f"{prefix}.{c}.{k}": g for (c, k), g in zip(params, grads) if g is not None}


def preferences(pipe, name, io, params):
    switch(pipe, False)
    with torch.no_grad():
        r = predict(pipe, name, io, 4)
    switch(pipe, True)
    m = predict(pipe, name, io, 4)
    (mw, ml), (rw, rl) = m.chunk(2), r.chunk(2)
    loss = -torch.nn.functional.logsigmoid(-0.5 * BETA * ((mw - ml) - (rw - rl))).mean()
    return dict(m=m, r=r, loss=loss, **gradients(loss, params, "dpo"))


def three_steps(pipe, name, io, params):
    texts = [p for (c, _), p in params.items() if c != "unet"]
    unet = [p for (c, _), p in params.items() if c == "unet"]
    adamw = torch.optim.AdamW([dict(params=unet), dict(params=texts, lr=TEXT_LR)], lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    losses = []
    for _ in range(STEPS + 1):
        adamw.zero_grad()
        loss = predict(pipe, name, io, 2).mean()
        loss.backward()
        losses.append(loss.detach())
        adamw.step()
    return torch.stack(losses)


def case(name, dtype):
    pipe, draw = pipeline(name, dtype), Draws(f"train {name}", dtype)
    params = adapt(pipe, draw)
    if dtype == torch.float64:
        save(pipe, params, name)
    t = draw.ints(1000, 2).repeat(2)
    io = dict(x=draw.normal(4, 4, 8, 8), t=t, target=draw.normal(2, 4, 8, 8).repeat(2, 1, 1, 1))
    out = dict(io, **gradients(predict(pipe, name, io, 2).mean(), params, "grad"), **preferences(pipe, name, io, params))
    out["losses"] = three_steps(pipe, name, io, params)
    return {f"{name}.{k}": v.detach() for k, v in out.items()}


def main():
    torch.set_num_threads(1)
    shutil.rmtree(ROOT, ignore_errors=True)
    os.makedirs(ROOT)
    out = {}
    for name in ("sd", "xl"):
        exact, single = case(name, torch.float64), case(name, torch.float32)
        noise = {k: ((single[k].double() - v).abs().max() / v.abs().max()).item() for k, v in exact.items() if v.is_floating_point()}
        print(f"{name}: losses {exact[name + '.losses'].tolist()}, noise of f32 {max(noise.values()):.1e} at most, in {max(noise, key=noise.get)}")
        out.update(exact)
    versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers, peft)}
    path = os.path.join(ROOT, "io.safetensors")
    save_file({k: plain(v) for k, v in out.items()}, path, {"made_by": "tests/golden/make_train.py", **versions})
    settle(path)
    os.chmod(path, 0o644)
    print(sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(ROOT) for f in files), "bytes")


if __name__ == "__main__":
    main()
