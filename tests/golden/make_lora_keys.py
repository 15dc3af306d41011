#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/lora_keys.json: how each dialect names the adapter of every linear layer and convolution of SD 1.x, SD 2.x and SDXL.

For each model: how many layers, and the SHA-256 of lines "COMPONENT NAME OUT IN KERNEL DIMENSIONS". For each dialect the SHA-256
of lines "KEY COMPONENT NAME HALF", sorted by bytes; and some lines of each, to read. Who writes what:

    diffusers        peft's get_peft_model_state_dict, packed as diffusers' save_lora_weights does
    peft             what PeftModel saves
    kohya-diffusers  diffusers' convert_state_dict_to_kohya
    kohya            of SDXL the layers' original names; sd-scripts calls the text encoder of SD 1.x and 2.x lora_te
    diffusers-old    the inverse of diffusers' convert_unet_state_dict_to_peft and convert_state_dict_to_peft
    comfyui          original names after diffusion_model., checkpoint names of text encoders (comfy/lora.py)

Original names come from diffusers' own reader of single files, convert_ldm_unet_checkpoint: it is given a checkpoint whose names
are made here by building the blocks in the original's order, and has to lead back to every one of the UNet's parameters.

    make_lora_keys.py                    writes the file
    make_lora_keys.py FAMILY DIALECT     prints the lines of one hash, to find out what differs
"""
import hashlib, json, os, sys, warnings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import diffusers, peft, torch, transformers
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers, _maybe_map_sgm_blocks_to_diffusers
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.utils.state_dict_utils import StateDictType, convert_state_dict_to_kohya, convert_state_dict_to_peft, convert_unet_state_dict_to_peft
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

warnings.filterwarnings("ignore")
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "lora_keys.json")
CROSS, UP = ["CrossAttnDownBlock2D"], ["CrossAttnUpBlock2D"]
CLIP_L = dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12, projection_dim=768)
FAMILIES = {
    "SD 1.x": dict(unet=dict(sample_size=64, cross_attention_dim=768, attention_head_dim=8), text=[CLIP_L]),
    "SD 2.x": dict(unet=dict(sample_size=96, cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True),
                   text=[dict(hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=23)]),
    "SDXL": dict(unet=dict(sample_size=128, block_out_channels=[320, 640, 1280], cross_attention_dim=2048, attention_head_dim=[5, 10, 20],
                           transformer_layers_per_block=[1, 2, 10], use_linear_projection=True, addition_embed_type="text_time",
                           addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
                           down_block_types=["DownBlock2D"] + CROSS * 2, up_block_types=UP * 2 + ["UpBlock2D"]),
                 text=[CLIP_L, dict(hidden_size=1280, intermediate_size=5120, num_attention_heads=20, num_hidden_layers=32, projection_dim=1280)]),
}
COMPONENTS = ["unet", "text_encoder", "text_encoder_2"]
DIALECTS = ["diffusers", "diffusers-old", "kohya", "kohya-diffusers", "comfyui", "peft"]


def models(family):
    spec = FAMILIES[family]
    with torch.device("meta"):
        out = {"unet": UNet2DConditionModel(**spec["unet"])}
        for i, config in enumerate(spec["text"]):
            kind = CLIPTextModelWithProjection if i else CLIPTextModel
            out[COMPONENTS[1 + i]] = kind(CLIPTextConfig(**config))
    return out


def canonical(component, name):
    """As in checkpoints: transformers 5 has left "text_model." out of CLIPTextModel."""
    return "text_model." + name if component != "unet" and name.startswith("encoder.") else name


def layers(family):
    """(component, name) to (out, in, kernel, dimensions of the weight)"""
    out = {}
    for component, model in models(family).items():
        for name, module in model.named_modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                w = module.weight.shape
                out[component, canonical(component, name)] = (w[0], w[1], w[2] if len(w) == 4 else 1, len(w))
    return out


def peft_keys(family):
    """What peft saves: (component, name, half) to key without a prefix."""
    out = {}
    for component, model in models(family).items():
        targets = [n for n, m in model.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
        config = peft.LoraConfig(r=4, lora_alpha=4, target_modules=targets)
        with torch.device("meta"):
            wrapped = peft.get_peft_model(model, config)
        for key in peft.get_peft_model_state_dict(wrapped):
            assert key.startswith("base_model.model.") and key.endswith((".lora_A.weight", ".lora_B.weight")), key
            name = key.removeprefix("base_model.model.").rsplit(".lora_", 1)[0]
            out[component, canonical(component, name), "down" if "lora_A" in key else "up"] = key
    return out


def original_unet_names(family):
    """Diffusers' layer name to the original one, as diffusers' reader of single files has it."""
    with torch.device("meta"):
        config = UNet2DConditionModel(**FAMILIES[family]["unet"]).config
    depth = len(config["block_out_channels"])
    per = config["layers_per_block"]
    down = [t.startswith("Cross") for t in config["down_block_types"]]
    up = [t.startswith("Cross") for t in config["up_block_types"]]
    transformers_ = config["transformer_layers_per_block"]
    transformers_ = [transformers_] * depth if isinstance(transformers_, int) else list(transformers_)
    names = ["time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2"]
    if config["addition_embed_type"]:
        names += ["label_emb.0.0", "label_emb.0.2"]

    def resnet(at):
        return [f"{at}.{x}" for x in ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")]

    def transformer(at, n):
        inner = [f"{a}.{x}" for a in ("attn1", "attn2") for x in ("to_q", "to_k", "to_v", "to_out.0")]
        inner += ["ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3"]
        return [f"{at}.{x}" for x in ["norm", "proj_in", "proj_out"] + [f"transformer_blocks.{i}.{x}" for i in range(n) for x in inner]]

    at = 1
    for level in range(depth):
        for _ in range(per):
            names += resnet(f"input_blocks.{at}.0") + (transformer(f"input_blocks.{at}.1", transformers_[level]) if down[level] else [])
            at += 1
        if level + 1 < depth:
            names.append(f"input_blocks.{at}.0.op")
            at += 1
    names += resnet("middle_block.0") + transformer("middle_block.1", transformers_[-1]) + resnet("middle_block.2")
    at = 0
    for i in range(depth):
        level = depth - 1 - i
        for j in range(per + 1):
            names += resnet(f"output_blocks.{at}.0") + (transformer(f"output_blocks.{at}.1", transformers_[level]) if up[i] else [])
            if level > 0 and j == per:
                names.append(f"output_blocks.{at}.{2 if up[i] else 1}.conv")
            at += 1
    checkpoint = {f"model.diffusion_model.{n}.{x}": torch.empty(1, device="meta") for n in names for x in ("weight", "bias")}
    origin = {id(t): k for k, t in checkpoint.items()}
    converted = convert_ldm_unet_checkpoint(dict(checkpoint), dict(config))
    found = {k.removesuffix(".weight"): origin[id(t)].removeprefix("model.diffusion_model.").removesuffix(".weight")
             for k, t in converted.items() if k.endswith(".weight")}
    want = {n for c, n in layers(family) if c == "unet"}
    assert want <= set(found), sorted(want - set(found))[:5]
    return {n: found[n] for n in want}


OLD_UNET = {".lora_A.weight": ".lora.down.weight", ".lora_B.weight": ".lora.up.weight"}
OLD_TEXT = {".lora_A.weight": ".lora_linear_layer.down.weight", ".lora_B.weight": ".lora_linear_layer.up.weight"}


def replace_end(key, ends):
    for a, b in ends.items():
        if key.endswith(a):
            return key.removesuffix(a) + b
    raise ValueError(key)


def dialect_keys(family):
    """dialect to {key: (component, name, half)}"""
    saved, original = peft_keys(family), original_unet_names(family)
    sdxl = "text_encoder_2" in {c for c, _, _ in saved}
    out = {d: {} for d in DIALECTS}
    for (component, name, half), key in saved.items():
        what = (component, name, half)
        full = f"{component}.{name}.lora_{'A' if half == 'down' else 'B'}.weight"
        out["diffusers"][full] = what
        old = replace_end(full, OLD_UNET if component == "unet" or name == "text_projection" else OLD_TEXT)
        back = (convert_unet_state_dict_to_peft if component == "unet" else convert_state_dict_to_peft)
        if component == "unet":
            assert list(back({old: 0})) == [full], old
        else:
            assert list(convert_state_dict_to_peft({old: 0, "x.lora_linear_layer": 0}))[0] == full, old
        out["diffusers-old"][old] = what
        k = convert_state_dict_to_kohya({full: torch.empty(4, 1, device="meta")}, StateDictType.PEFT)
        assert len(k) == (2 if half == "down" else 1)
        for name_ in k:
            out["kohya-diffusers"][name_ if sdxl else name_.replace("lora_te1_", "lora_te_")] = (
                (component, name, "alpha") if name_.endswith(".alpha") else what)
        stem = {"unet": "lora_unet_", "text_encoder": "lora_te1_" if sdxl else "lora_te_", "text_encoder_2": "lora_te2_"}[component]
        inner = original[name] if component == "unet" else name
        own = inner if sdxl else name
        out["kohya"][stem + own.replace(".", "_") + f".lora_{half}.weight"] = what
        out["kohya"][stem + own.replace(".", "_") + ".alpha"] = (component, name, "alpha")
        clip = {"unet": "diffusion_model.", "text_encoder_2": "text_encoders.clip_g.transformer.",
                "text_encoder": f"text_encoders.clip_{'h' if family == 'SD 2.x' else 'l'}.transformer."}[component]
        out["comfyui"][clip + inner + f".lora_{'A' if half == 'down' else 'B'}.weight"] = what
        out["comfyui"][clip + inner + ".alpha"] = (component, name, "alpha")
        out["peft"][key] = what
    if sdxl:  # two components of one file a component: told apart by their folders
        out["peft"] = {k: v for k, v in out["peft"].items() if v[0] == "unet"}
    return out


def check_readers(family, keys):
    """diffusers' reader of kohya's files on the UNet's keys: how many of them it leads back to the layer they are of."""
    with torch.device("meta"):
        config = UNet2DConditionModel(**FAMILIES[family]["unet"]).config
    for dialect in ("kohya", "kohya-diffusers"):
        unet = {k: v for k, v in keys[dialect].items() if v[0] == "unet"}
        state = {k: torch.tensor(4.0) if k.endswith(".alpha") else torch.empty(4, 4, device="meta") for k in unet}
        ids = {id(t): unet[k] for k, t in state.items()}
        mapped = _maybe_map_sgm_blocks_to_diffusers(state, config)
        read, _ = _convert_non_diffusers_lora_to_diffusers(mapped)
        back = convert_unet_state_dict_to_peft({k.removeprefix("unet."): t for k, t in read.items()})
        wrong = [(ids[id(t)][1], k) for k, t in back.items() if k.rsplit(".lora_", 1)[0] != ids[id(t)][1]]
        print(f"{family} {dialect}: diffusers reads {len(back) - len(wrong)} of {len(back)} halves as their layers, not {sorted(set(wrong))[:4]}")


def lines(family):
    spec = layers(family)
    out = {"layers": sorted(f"{c} {n} {' '.join(map(str, s))}" for (c, n), s in spec.items())}
    keys = dialect_keys(family)
    check_readers(family, keys)
    for dialect in DIALECTS:
        out[dialect] = sorted(f"{k} {' '.join(v)}" for k, v in keys[dialect].items())
    return out


def main():
    if len(sys.argv) == 3:
        print("\n".join(lines(sys.argv[1])[sys.argv[2]]))
        return
    result = {"made_with": dict(diffusers=diffusers.__version__, peft=peft.__version__, transformers=transformers.__version__)}
    for family in FAMILIES:
        result[family] = {}
        for what, text in lines(family).items():
            digest = hashlib.sha256("".join(t + "\n" for t in text).encode()).hexdigest()
            step = max(1, len(text) // 6)
            result[family][what] = dict(count=len(text), sha256=digest, some=text[step // 2::step][:6])
            print(f"{family} {what}: {len(text)}")
    with open(OUT, "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    print(os.path.getsize(OUT), "bytes")


if __name__ == "__main__":
    main()
