#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/adapters/: one adapter of the tiny model (make_tiny.py) in every dialect, and what diffusers draws with it.

    mixed.safetensors        diffusers and peft: UNet and text encoder, ranks and alphas of their own for every layer
    old.safetensors          the same as diffusers wrote it in 2023: no alphas, so they are in the weights (powers of two here)
    oldest.safetensors       the attention layers alone, as attention processors
    kohya.safetensors        the same as mixed; linear layers as 1x1 convolutions and the other way round now and then (diffusers refuses that)
    comfyui.safetensors      the same; bfloat16 where that loses nothing
    peft/unet, peft/text_encoder   the same as PeftModel saves it
    second.safetensors       another adapter of the UNet alone, kohya's names, one rank, no alphas
    xl.safetensors           an adapter of the tiny SDXL (make_pipelines.py): UNet and both text encoders, sd-scripts' names; one rank, one alpha
    io.safetensors           hidden states and latents with them, computed in double; some fused weights

Weights are rounded to f16 before anything is computed. The oracle is diffusers' load_lora_weights, set_adapters and fuse_lora; the
script also adds alpha / rank * B A to the weights itself and demands the same pictures, for mixed alphas are not read from kohya's
names by diffusers 0.42.
"""
import json, os, shutil, sys, warnings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import diffusers, peft, torch
import transformers.integrations.peft
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

import make_lora_keys, make_pipelines
from make_models import Draws, plain, settle
from make_tiny import CFG, NEGATIVE, PROMPTS, SIZE, parts

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
del make_pipelines.CLIPTextModel.text_model  # put there for clip skip; its presence tells diffusers how layers are named
transformers.integrations.peft.check_peft_version = lambda **_: None  # it asks for a peft newer than there is; 0.21 does
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "data", "adapters")
UNET = ["conv_in", "time_embedding.linear_1", "down_blocks.0.downsamplers.0.conv", "down_blocks.1.resnets.0.conv1",
        "down_blocks.1.resnets.0.conv_shortcut", "down_blocks.1.resnets.0.time_emb_proj", "down_blocks.0.attentions.0.proj_in",
        "up_blocks.1.attentions.1.proj_out", "up_blocks.0.upsamplers.0.conv", "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
        "mid_block.attentions.0.transformer_blocks.0.ff.net.2"]
UNET += [f"{b}.attentions.0.transformer_blocks.0.{a}.{x}" for b in ("mid_block", "down_blocks.1", "up_blocks.0") for a in ("attn1", "attn2")
         for x in ("to_q", "to_k", "to_v", "to_out.0")]
TEXT = [f"encoder.layers.{i}.{x}" for i in (0, 1) for x in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj",
                                                           "mlp.fc1", "mlp.fc2")]
RANKS, FACTORS = [4, 2, 4, 3, 1], [1.0, 0.5, 2.0, 0.25, 1.0, 4.0, 1.0]


UNET_XL = [f"{b}.attentions.0.transformer_blocks.{i}.{a}.{x}" for b, i in (("mid_block", 1), ("down_blocks.1", 0), ("up_blocks.0", 1))
           for a in ("attn1", "attn2") for x in ("to_q", "to_k", "to_v", "to_out.0")]
UNET_XL += ["conv_in", "conv_out", "time_embedding.linear_2", "add_embedding.linear_1", "down_blocks.0.downsamplers.0.conv", "down_blocks.1.resnets.0.conv1",
            "down_blocks.1.resnets.0.conv_shortcut", "down_blocks.1.resnets.0.time_emb_proj", "up_blocks.0.upsamplers.0.conv", "up_blocks.1.resnets.1.conv2",
            "down_blocks.1.attentions.0.proj_in", "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"]


def pipeline(dtype=torch.float64):
    pipe = StableDiffusionPipeline(**parts(dtype), safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def module_of(pipe, component, name):
    return dict(getattr(pipe, component).named_modules())[name]


def make(pipe, names, draw, ranks, factors, size):
    """(component, name) to (down, up, alpha)"""
    out = {}
    for i, (component, name) in enumerate(names):
        w = module_of(pipe, component, name).weight
        rank = ranks[i % len(ranks)]
        down = torch.randn(rank, *w.shape[1:], generator=draw.gen) / w[0].numel() ** 0.5
        up = torch.randn(w.shape[0], rank, *[1] * (w.ndim - 2), generator=draw.gen) * size / rank ** 0.5
        out[component, name] = (down.half(), up.half(), rank * factors[i % len(factors)])
    return out


def full(component, name):
    """As in checkpoints."""
    return f"text_model.{name}" if component == "text_encoder" else name


def diffusers_state(adapter):
    return {f"{c}.{full(c, n)}.lora_{x}.weight": t for (c, n), (a, b, _) in adapter.items() for x, t in (("A", a), ("B", b))}


def config_of(adapter, component):
    ours = {n: (len(a), alpha) for (c, n), (a, _, alpha) in adapter.items() if c == component}
    return peft.LoraConfig(r=4, lora_alpha=4, target_modules=list(ours), rank_pattern={n: r for n, (r, _) in ours.items() if r != 4},
                           alpha_pattern={n: a for n, (_, a) in ours.items() if a != 4}, init_lora_weights=False)


def save_mixed(adapter, path):
    layers = {c: {f"{full(c, n)}.lora_{x}.weight": t for (d, n), (a, b, _) in adapter.items() if d == c for x, t in (("A", a), ("B", b))}
              for c in ("unet", "text_encoder")}
    folder = os.path.dirname(path)
    keep = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "peft_type", "use_rslora", "use_dora")
    meta = {}
    for c in layers:
        meta[c] = {k: v for k, v in config_of(adapter, c).to_dict().items() if k in keep}
        meta[c]["target_modules"] = sorted(meta[c]["target_modules"])
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers["unet"], text_encoder_lora_layers=layers["text_encoder"],
                                              unet_lora_adapter_metadata=meta["unet"], text_encoder_lora_adapter_metadata=meta["text_encoder"],
                                              weight_name=os.path.basename(path))


def save(tensors, name, metadata=None):
    path = os.path.join(ROOT, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    save_file({k: t.contiguous() for k, t in tensors.items()}, path, metadata or {"format": "pt"})


def save_old(adapter):
    ends = {"unet": (".lora.down.weight", ".lora.up.weight"), "text_encoder": (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight")}
    out, oldest = {}, {}
    for (c, n), (a, b, alpha) in adapter.items():
        up = (b.double() * (alpha / len(a)))
        assert (up.half().double() == up).all(), "a power of two"
        for end, t in zip(ends[c], (a, up.half())):
            out[f"{c}.{full(c, n)}{end}"] = t
        last = n.removesuffix(".0").rsplit(".", 1)[-1]
        if last.startswith("to_"):
            stem = n.removesuffix(".0").rsplit(".", 1)[0]
            oldest[f"unet.{stem}.processor.{last}_lora.down.weight"], oldest[f"unet.{stem}.processor.{last}_lora.up.weight"] = a, up.half()
    save(out, "old.safetensors")
    save(oldest, "oldest.safetensors")


def save_kohya(adapter, name, alphas):
    out = {}
    for i, ((c, n), (a, b, alpha)) in enumerate(adapter.items()):
        stem = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[c] + full(c, n).replace(".", "_")
        if alphas and i % 5 == 1 and a.ndim == 2:
            a, b = a[:, :, None, None], b[:, :, None, None]
        elif alphas and i % 3 == 1 and a.ndim == 4 and a.shape[2] == 1:
            a, b = a[:, :, 0, 0], b[:, :, 0, 0]
        out[f"{stem}.lora_down.weight"], out[f"{stem}.lora_up.weight"] = a, b
        if alphas and alpha != len(a):
            out[f"{stem}.alpha"] = torch.tensor(alpha).half()
        elif alphas and i % 2:
            out[f"{stem}.alpha"] = torch.tensor(0.0)  # stands for the rank, as does its absence
    save(out, name, {"ss_network_module": "networks.lora", "ss_network_dim": "Dynamic"})


def save_comfyui(adapter, original):
    out = {}
    for (c, n), (a, b, alpha) in adapter.items():
        stem = f"diffusion_model.{original[n]}" if c == "unet" else f"text_encoders.clip_l.transformer.{full(c, n)}"
        lossless = (b.bfloat16().half() == b).all()
        out[f"{stem}.lora_A.weight"], out[f"{stem}.lora_B.weight"] = a, b.bfloat16() if lossless else b
        out[f"{stem}.alpha"] = torch.tensor(alpha)
    save(out, "comfyui.safetensors")


def save_peft(adapter):
    for c in ("unet", "text_encoder"):
        folder = os.path.join("peft", c)
        save({f"base_model.model.{n}.lora_{x}.weight": t for (d, n), (a, b, _) in adapter.items() if d == c for x, t in (("A", a), ("B", b))},
             os.path.join(folder, "adapter_model.safetensors"))
        keep = ("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_rslora", "use_dora", "lora_bias", "bias")
        config = {k: v for k, v in config_of(adapter, c).to_dict().items() if k in keep}
        config["target_modules"] = sorted(config["target_modules"])
        with open(os.path.join(ROOT, folder, "adapter_config.json"), "w") as f:
            json.dump(config, f, indent=1)
            f.write("\n")


def add(pipe, adapter, strength):
    """The formula itself."""
    with torch.no_grad():
        for (c, n), (a, b, alpha) in adapter.items():
            w = module_of(pipe, c, n).weight
            w += strength * alpha / len(a) * (b.double().flatten(1) @ a.double().flatten(1)).view_as(w)
    return pipe


def draw_with(pipe, x):
    ids = pipe.tokenizer(PROMPTS, padding="max_length", max_length=16, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        return dict(hidden=pipe.text_encoder(ids)[0],
                    latents=pipe(PROMPTS, negative_prompt=[NEGATIVE] * 2, guidance_scale=CFG, num_inference_steps=4, height=SIZE, width=SIZE,
                                 latents=x.clone(), output_type="latent").images)


def close(a, b, what, limit=1e-9):
    error = max((a[k] - b[k]).abs().max().item() / b[k].abs().max().item() for k in b)
    print(f"{what}: {error:.1e}")
    assert error < limit, what


def draw_xl(pipe):
    """As make_pipelines.py's run zeros."""
    _, steps, guidance, _ = make_pipelines.RUNS["xl"]["zeros"]
    shape = (4, make_pipelines.HEIGHT // 2, make_pipelines.WIDTH // 2)
    noise = torch.cat([make_pipelines.attune.noise(shape, seed, make_pipelines.attune.LATENT, 0) for seed in make_pipelines.SEEDS]).double()
    config = {**pipe.scheduler.config, "clip_sample": False}
    config.pop("_use_default_values", None)
    pipe.scheduler = make_pipelines.SAMPLERS["euler"].from_config(config)
    return dict(latents=pipe(make_pipelines.PROMPTS, num_inference_steps=steps, guidance_scale=guidance, height=make_pipelines.HEIGHT, width=make_pipelines.WIDTH,
                             latents=noise, output_type="latent").images)


def full_xl(component, name):
    return f"text_model.{name}" if component == "text_encoder" else name


def make_xl(draw, out):
    pipe = make_pipelines.pipeline("xl", torch.float64)
    names = [("unet", n) for n in UNET_XL] + [("text_encoder", n) for n in TEXT] + [("text_encoder_2", f"text_model.{n}") for n in TEXT]
    adapter = make(pipe, names, draw, [2], [0.5], 0.3)
    make_lora_keys.FAMILIES["tiny"] = dict(unet=dict(pipe.unet.config), text=[])
    original, state = make_lora_keys.original_unet_names("tiny"), {}
    for (c, n), (a, b, alpha) in adapter.items():
        stem = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}[c]
        stem += (original[n] if c == "unet" else full_xl(c, n)).replace(".", "_")
        state[f"{stem}.lora_down.weight"], state[f"{stem}.lora_up.weight"], state[f"{stem}.alpha"] = a, b, torch.tensor(alpha)
    save(state, "xl.safetensors", {"ss_network_module": "networks.lora", "ss_base_model_version": "sdxl_base_v1-0"})
    plain_run = draw_xl(pipe)
    pipe.load_lora_weights(ROOT, weight_name="xl.safetensors")
    by_diffusers = draw_xl(pipe)
    close(by_diffusers, draw_xl(add(make_pipelines.pipeline("xl", torch.float64), adapter, 1.0)), "xl: diffusers and the formula")
    print(f"xl: moves latents by {(by_diffusers['latents'] - plain_run['latents']).abs().max():.2f}")
    out["xl.latents"] = by_diffusers["latents"]


def loaded(files, scales):
    pipe = pipeline()
    for i, name in enumerate(files):
        pipe.load_lora_weights(ROOT, weight_name=name, adapter_name=f"a{i}")
    pipe.set_adapters([f"a{i}" for i in range(len(files))], scales)
    return pipe


def main():
    torch.set_num_threads(1)
    shutil.rmtree(ROOT, ignore_errors=True)
    os.makedirs(ROOT)
    pipe = pipeline()
    draw = Draws("adapters", torch.float64)
    mixed = make(pipe, [("unet", n) for n in UNET] + [("text_encoder", n) for n in TEXT], draw, RANKS, FACTORS, 0.25)
    second = make(pipe, [("unet", n) for n in UNET if "attn" in n or "conv1" in n], draw, [3], [1.0], 0.25)
    make_lora_keys.FAMILIES["tiny"] = dict(unet=dict(pipe.unet.config), text=[])
    original = make_lora_keys.original_unet_names("tiny")
    save_mixed(mixed, os.path.join(ROOT, "mixed.safetensors"))
    save_old(mixed), save_kohya(mixed, "kohya.safetensors", True), save_kohya(second, "second.safetensors", False)
    save_comfyui(mixed, original), save_peft(mixed)
    x = draw.normal(2, 4, SIZE // 2, SIZE // 2)
    out = {"x": x, **{f"plain.{k}": v for k, v in draw_with(pipe, x).items()}}
    for what, files, scales, adapters in (("mixed", ["mixed.safetensors"], [1.0], [mixed]),
                                          ("both", ["mixed.safetensors", "second.safetensors"], [0.75, -0.5], [mixed, second])):
        by_diffusers, by_formula = draw_with(loaded(files, scales), x), pipeline()
        for adapter, scale in zip(adapters, scales):
            add(by_formula, adapter, scale)
        close(by_diffusers, draw_with(by_formula, x), f"{what}: diffusers and the formula")
        out.update({f"{what}.{k}": v for k, v in by_diffusers.items()})
        print(f"{what}: moves latents by {(by_diffusers['latents'] - out['plain.latents']).abs().max():.2f}, hidden by "
              f"{(by_diffusers['hidden'] - out['plain.hidden']).abs().max():.2f}")
    close(draw_with(loaded(["old.safetensors"], [1.0]), x), {k: out[f"mixed.{k}"] for k in ("hidden", "latents")}, "old as diffusers reads it")
    attention = {k: v for k, v in mixed.items() if ".to_" in k[1]}
    out.update({f"oldest.{k}": v for k, v in draw_with(loaded(["oldest.safetensors"], [1.0]), x).items()})
    close(draw_with(add(pipeline(), attention, 1.0), x), {k: out[f"oldest.{k}"] for k in ("hidden", "latents")}, "oldest and the formula")
    fused = loaded(["mixed.safetensors", "second.safetensors"], [0.75, -0.5])
    fused.fuse_lora(adapter_names=["a0", "a1"])
    fused.unload_lora_weights()
    for c, n in list(mixed)[::6]:
        out[f"fused.{c}.{n}.weight"] = module_of(fused, c, n).weight
    make_xl(draw, out)
    save_file({k: plain(v) for k, v in out.items()}, os.path.join(ROOT, "io.safetensors"),
              {"made_by": "tests/golden/make_adapters.py", "diffusers": diffusers.__version__, "peft": peft.__version__})
    size = 0
    for d, _, files in os.walk(ROOT):
        for name in files:
            path = os.path.join(d, name)
            os.chmod(path, 0o644)
            if name.endswith(".safetensors"):
                settle(path)
            size += os.path.getsize(path)
    print(size, "bytes")


if __name__ == "__main__":
    main()
