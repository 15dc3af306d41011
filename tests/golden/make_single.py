#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/single/*.json.gz: how the original repositories (one file for the whole model) and diffusers (a folder) name the same weights.

Each file holds, for one model, the configs of diffusers and, by component, rows of [name in diffusers, shape, name in the file, first row there,
transposed]; `shapes` has the shapes in the file, `ignored` those of tensors that belong to no component. The tiny ones are as small as heads of 64 channels and norms of 32 groups let them be; the others
are SD 1.5, SD 2.1 and SDXL base in full size, without values.

The names are mapped by what stands here and checked against diffusers: its from_single_file converters must turn a file of random values, named so,
back into the very same tensors.
"""
import gzip, json, os, re, warnings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler, UNet2DConditionModel
from diffusers.loaders import single_file_utils as theirs
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

warnings.filterwarnings("ignore")
OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "single")


def unet(channels, cross, context, heads, layers=2, depth=1, **more):
    n = len(channels)
    return dict(block_out_channels=channels, layers_per_block=layers, cross_attention_dim=context, attention_head_dim=heads, transformer_layers_per_block=depth,
                down_block_types=["CrossAttnDownBlock2D" if c else "DownBlock2D" for c in cross], in_channels=4, out_channels=4,
                up_block_types=["CrossAttnUpBlock2D" if c else "UpBlock2D" for c in reversed(cross)], **more)


def vae(channels, layers, pixels, scale):
    n = len(channels)
    return dict(block_out_channels=channels, layers_per_block=layers, latent_channels=4, sample_size=pixels, scaling_factor=scale,
                down_block_types=["DownEncoderBlock2D"] * n, up_block_types=["UpDecoderBlock2D"] * n)


def text(width, layers, act, vocab=49408, positions=77, projection=None, mlp=None):
    return dict(vocab_size=vocab, hidden_size=width, intermediate_size=mlp or 4 * width, num_hidden_layers=layers, num_attention_heads=width // 64, hidden_act=act,
                max_position_embeddings=positions, bos_token_id=0, eos_token_id=2, pad_token_id=1, projection_dim=projection or width)


def xl(input_dim, time_dim):
    return dict(addition_embed_type="text_time", addition_time_embed_dim=time_dim, projection_class_embeddings_input_dim=input_dim, use_linear_projection=True)


SMALL = dict(vocab=837, positions=16, mlp=64)
MODELS = {  # family, and a config by component
    "tiny_sd1": ("sd1", dict(unet=unet([32, 64], [True, False], 64, 8, layers=1, sample_size=256), vae=vae([32, 64], 1, 512, 0.18215), text_encoder=text(64, 2, "quick_gelu", **SMALL))),
    "tiny_sd2": ("sd2", dict(unet=unet([64, 128], [True, True], 64, [1, 2], layers=1, sample_size=256, use_linear_projection=True), vae=vae([32, 64], 1, 512, 0.18215),
                             text_encoder=text(64, 2, "gelu", **SMALL))),
    "tiny_sdxl": ("sdxl", dict(unet=unet([64, 128], [False, True], 192, [1, 2], layers=1, depth=[1, 2], sample_size=512, **xl(64 + 48, 8)), vae=vae([32, 64], 1, 1024, 0.13025),
                               text_encoder=text(64, 2, "quick_gelu", **SMALL), text_encoder_2=text(128, 2, "gelu", projection=64, **SMALL))),
    "sd1": ("sd1", dict(unet=unet([320, 640, 1280, 1280], [True] * 3 + [False], 768, 8, sample_size=64), vae=vae([128, 256, 512, 512], 2, 512, 0.18215), text_encoder=text(768, 12, "quick_gelu"))),
    "sd2": ("sd2", dict(unet=unet([320, 640, 1280, 1280], [True] * 3 + [False], 1024, [5, 10, 20, 20], sample_size=64, use_linear_projection=True), vae=vae([128, 256, 512, 512], 2, 512, 0.18215),
                        text_encoder=text(1024, 23, "gelu"))),
    "sdxl": ("sdxl", dict(unet=unet([320, 640, 1280], [False, True, True], 2048, [5, 10, 20], depth=[1, 2, 10], sample_size=128, **xl(2816, 256)), vae=vae([128, 256, 512, 512], 2, 1024, 0.13025),
                          text_encoder=text(768, 12, "quick_gelu"), text_encoder_2=text(1280, 32, "gelu", projection=1280))),
}


def replaced(name, pairs):
    for new, old in pairs:
        if name.startswith(new):
            return old + name[len(new):]
    return None


RESNET = [("norm1.", "in_layers.0."), ("conv1.", "in_layers.2."), ("time_emb_proj.", "emb_layers.1."), ("norm2.", "out_layers.0."), ("conv2.", "out_layers.3."), ("conv_shortcut.", "skip_connection.")]


def unet_name(name, config):
    per = config["layers_per_block"] + 1
    fixed = replaced(name, [("time_embedding.linear_1.", "time_embed.0."), ("time_embedding.linear_2.", "time_embed.2."), ("add_embedding.linear_1.", "label_emb.0.0."),
                            ("add_embedding.linear_2.", "label_emb.0.2."), ("conv_in.", "input_blocks.0.0."), ("conv_norm_out.", "out.0."), ("conv_out.", "out.2."),
                            ("mid_block.attentions.0.", "middle_block.1.")])
    if fixed:
        return fixed
    if m := re.fullmatch(r"mid_block\.resnets\.(\d)\.(.*)", name):
        return f"middle_block.{2 * int(m[1])}." + replaced(m[2], RESNET)
    m = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
    level, index = int(m[2]), int(m[4])
    if m[3] == "downsamplers":
        return f"input_blocks.{(level + 1) * per}.0.op." + m[5].removeprefix("conv.")
    if m[3] == "upsamplers":
        attention = config["up_block_types"][level].startswith("Cross")
        return f"output_blocks.{level * per + per - 1}.{2 if attention else 1}." + m[5]
    block = f"input_blocks.{1 + level * per + index}" if m[1] == "down" else f"output_blocks.{level * per + index}"
    return f"{block}.0." + replaced(m[5], RESNET) if m[3] == "resnets" else f"{block}.1." + m[5]


def vae_name(name, config):
    last = len(config["block_out_channels"]) - 1
    name = name.replace("conv_norm_out.", "norm_out.").replace("conv_shortcut.", "nin_shortcut.")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{last - int(m[1])}.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)
    if ".attentions." in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm.", "norm.").replace("to_out.0.", "proj_out.")
        name = re.sub(r"\.to_([qkv])\.", r".\1.", name)
    return name


def open_clip_name(name):
    """Name, first part of three, transposed."""
    fixed = replaced(name, [("text_model.final_layer_norm.", "ln_final."), ("text_model.embeddings.token_embedding.", "token_embedding.")])
    if fixed:
        return fixed, 0, False
    if name == "text_model.embeddings.position_embedding.weight":
        return "positional_embedding", 0, False
    if name == "text_projection.weight":
        return "text_projection", 0, True
    m = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.*)", name)
    block, rest = f"transformer.resblocks.{m[1]}.", m[2]
    if q := re.fullmatch(r"self_attn\.([qkv])_proj\.(\w+)", rest):
        return block + "attn.in_proj_" + q[2], "qkv".index(q[1]), False
    return block + replaced(rest, [("layer_norm1.", "ln_1."), ("layer_norm2.", "ln_2."), ("mlp.fc1.", "mlp.c_fc."), ("mlp.fc2.", "mlp.c_proj."), ("self_attn.out_proj.", "attn.out_proj.")]), 0, False


def rows_of(family, component, config, tensors):
    """[name, shape, name in the file, first row, transposed], and shapes in the file."""
    rows, shapes = [], {}
    for name, t in tensors.items():
        shape, first, transposed = list(t.shape), 0, False
        if component == "unet":
            old = "model.diffusion_model." + unet_name(name, config)
        elif component == "vae":
            old = "first_stage_model." + vae_name(name, config)
        elif component == "text_encoder" and family != "sd2":
            old = {"sd1": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}[family] + name
        else:
            short, part, transposed = open_clip_name(name)
            old = {"sd2": "cond_stage_model.model.", "sdxl": "conditioner.embedders.1.model."}[family] + short
            first = part * shape[0]
        in_file = shape[::-1] if transposed else list(shape)
        if ".attn.in_proj_" in old:
            in_file[0] *= 3
        if component == "vae" and re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight", old):
            in_file = shape + [1, 1]
        rows.append([name, shape, old, first, transposed])
        shapes[old] = in_file
    return rows, shapes


def build(component, config):
    if component == "unet":
        return UNet2DConditionModel(**config)
    if component == "vae":
        return AutoencoderKL(**config)
    return (CLIPTextModelWithProjection if component == "text_encoder_2" else CLIPTextModel)(CLIPTextConfig(**config))


def state(component, model):
    tensors = {k: v for k, v in model.state_dict().items() if "position_ids" not in k}
    if component == "text_encoder" and not any(k.startswith("text_model.") for k in tensors):
        tensors = {"text_model." + k: v for k, v in tensors.items()}
    return tensors


def original(rows, shapes, tensors):
    """The tensors as the file holds them."""
    out = {}
    for name, shape, old, first, transposed in rows:
        t = tensors[name]
        whole = out.setdefault(old, torch.zeros(shapes[old]))
        if transposed:
            whole.copy_(t.T)
        elif whole.shape[0] != shape[0]:
            whole[first:first + shape[0]] = t
        else:
            whole.copy_(t.reshape(whole.shape))
    return out


def convert(family, component, config, model, file):
    if component == "unet":
        return theirs.convert_ldm_unet_checkpoint(dict(file), config)
    if component == "vae":
        return theirs.convert_ldm_vae_checkpoint(dict(file), config)
    if component == "text_encoder" and family != "sd2":
        return theirs.convert_ldm_clip_checkpoint(dict(file))
    prefix = "cond_stage_model.model." if family == "sd2" else "conditioner.embedders.1.model."
    file = dict(file)
    return theirs.convert_open_clip_checkpoint(model, file, prefix)


def check(family, name, components, models, rows, file):
    for component, config in components.items():
        want, have = state(component, models[component]), convert(family, component, config, models[component], file)
        assert set(have) == set(want), (name, component, set(have) ^ set(want))
        for key, t in want.items():
            assert torch.equal(have[key], t), (name, component, key)
    print(f"{name}: {sum(map(len, rows.values()))} weights, {len(file)} tensors in the file; diffusers maps them back")


def ignored(family, components):
    """Tensors of the file that no model reads: buffers, averages, and of SD 2.x the last layer of the text encoder."""
    out = {"betas": [1000], "alphas_cumprod": [1000], "model_ema.decay": [], "model_ema.diffusion_modeltime_embed0bias": [4]}
    width, layers = components["text_encoder"]["hidden_size"], components["text_encoder"]["num_hidden_layers"]
    positions = components["text_encoder"]["max_position_embeddings"]
    if family == "sd1":
        out["cond_stage_model.transformer.text_model.embeddings.position_ids"] = [1, positions]
    if family == "sd2":
        mlp, block = components["text_encoder"]["intermediate_size"], f"cond_stage_model.model.transformer.resblocks.{layers}."
        out |= {"cond_stage_model.model.logit_scale": [], "cond_stage_model.model.text_projection": [width, width], block + "attn.in_proj_weight": [3 * width, width],
                block + "attn.in_proj_bias": [3 * width], block + "attn.out_proj.weight": [width, width], block + "attn.out_proj.bias": [width],
                block + "mlp.c_fc.weight": [mlp, width], block + "mlp.c_fc.bias": [mlp], block + "mlp.c_proj.weight": [width, mlp], block + "mlp.c_proj.bias": [width]}
        out |= {f"{block}ln_{i}.{end}": [width] for i in (1, 2) for end in ("weight", "bias")}
    if family == "sdxl":
        out |= {"conditioner.embedders.0.transformer.text_model.embeddings.position_ids": [1, positions], "conditioner.embedders.1.model.logit_scale": [],
                "denoiser.sigmas": [1000]}
    return out


HOSTED = dict(clip_sample=False, set_alpha_to_one=False)  # in the files of all three models, whatever the class
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, steps_offset=1)
SCHEDULERS = {"sd1": PNDMScheduler(**SCHEDULE, set_alpha_to_one=False, skip_prk_steps=True), "sd2": DDIMScheduler(**SCHEDULE, set_alpha_to_one=False, clip_sample=False),
              "sdxl": EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading")}


def main():
    torch.manual_seed(7)
    os.makedirs(OUT, exist_ok=True)
    for name, (family, components) in MODELS.items():
        full = not name.startswith("tiny")
        with torch.device("meta" if full else "cpu"):
            models = {c: build(c, config) for c, config in components.items()}
        rows, shapes = {}, {}
        for c, config in components.items():
            rows[c], s = rows_of(family, c, config, state(c, models[c]))
            shapes.update(s)
        if not full:
            file = {}
            for c in components:
                file.update(original(rows[c], {k: shapes[k] for k in shapes}, state(c, models[c])))
            check(family, name, components, models, rows, file)
        else:
            print(f"{name}: {sum(map(len, rows.values()))} weights, {len(shapes)} tensors in the file")
        configs = {c: json.loads(m.config.to_json_string()) if c.startswith("text") else dict(m.config) for c, m in models.items()}
        for c in configs:
            if c.startswith("text"):
                configs[c]["architectures"] = [type(models[c]).__name__]
        configs["scheduler"] = dict(SCHEDULERS[family].config) | {"_class_name": type(SCHEDULERS[family]).__name__} | HOSTED
        configs = {c: {k: v for k, v in config.items() if k != "_use_default_values"} for c, config in configs.items()}
        data = json.dumps(dict(family=family, configs=configs, shapes=shapes, ignored=ignored(family, components), weights=rows), separators=(",", ":"), default=list)
        with open(os.path.join(OUT, name + ".json.gz"), "wb") as f:
            f.write(gzip.compress(data.encode(), 9, mtime=0))
        print(f"  {len(data)} bytes, packed {os.path.getsize(os.path.join(OUT, name + '.json.gz'))}")


if __name__ == "__main__":
    main()
