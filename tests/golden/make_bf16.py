#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/models/bf16: what the UNet of unet_sd1 and the text encoder of clip_modern compute with matrices rounded to
bf16, in double precision. Vectors and the positions' table stay as they are, as in core/models/params.h. Run after
make_models.py."""
import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import diffusers, torch, transformers
from safetensors.torch import load_file, save_file

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "models")


def rounded(model):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and "position_embedding" not in name:
                p.copy_(p.bfloat16().double())
    return model.eval().requires_grad_(False)


def main():
    out = {}
    io = load_file(os.path.join(ROOT, "unet_sd1", "io.safetensors"))
    unet = diffusers.UNet2DConditionModel.from_pretrained(os.path.join(ROOT, "unet_sd1", "unet"), torch_dtype=torch.float64)
    x, ehs = (io["0." + k].double().requires_grad_() for k in ("x", "ehs"))
    y = rounded(unet)(x, io["0.t"], ehs).sample
    dx, dehs = torch.autograd.grad((y * io["0.w"].double()).sum(), (x, ehs))
    out.update({"0." + k: v for k, v in dict(x=x, ehs=ehs, y=y, dx=dx, dehs=dehs).items()})
    out.update({k: io[k] for k in ("0.t", "0.w")})
    io = load_file(os.path.join(ROOT, "clip_modern", "io.safetensors"))
    clip = transformers.CLIPTextModel.from_pretrained(os.path.join(ROOT, "clip_modern", "text_encoder"), dtype=torch.float64)
    result = rounded(clip)(input_ids=io["ids"].long())
    out.update(ids=io["ids"], last_hidden_state=result.last_hidden_state, pooler_output=result.pooler_output)
    keep = {k: v.detach().to(torch.int32 if v.dtype in (torch.int32, torch.int64) else torch.float32).contiguous()
            for k, v in out.items()}
    os.makedirs(os.path.join(ROOT, "bf16"), exist_ok=True)
    save_file(keep, os.path.join(ROOT, "bf16", "io.safetensors"), metadata={
        "format": "pt", "torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__})
    for name, of in (("0.y", "unet_sd1"), ("last_hidden_state", "clip_modern")):
        plain = load_file(os.path.join(ROOT, of, "io.safetensors"))[name]
        print(f"{name}: rounding moves it by {(keep[name] - plain).abs().max() / plain.abs().max():.1e}")


if __name__ == "__main__":
    main()
