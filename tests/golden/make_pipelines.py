#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/pipes/: whole pipelines with random weights, and what the pipeline classes of diffusers make of them.

    tests/data/pipes/xl/            a StableDiffusionXLPipeline: two tokenizers and text encoders, UNet, autoencoder
    tests/data/pipes/lcm_xl/        a latent consistency model of it: UNet, scheduler, index
    tests/data/pipes/lcm/           a LatentConsistencyModelPipeline: UNet, scheduler, index
    tests/data/pipes/sd2/           like SD 2.1: UNet, v-prediction, padded with "!", another activation of the text encoder
    tests/data/pipes/sd15/          a schedule like that of SD 1.5, for tests/data/tiny/model
    tests/data/pipes/lora/          an adapter of xl's denoiser; lora_text/: of its text encoders
    tests/data/pipes/io.safetensors texts, latents and pictures, and the gradient of a Diffusion-DPO loss, computed in double

What a folder lacks is that of xl (the test puts it together). Noise is attune's own, from the seeds (tools/check-diffusers.py).
"""
import importlib.util, json, os, shutil, sys, warnings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import diffusers, peft, torch, transformers
from diffusers import (AutoencoderKL, DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, LatentConsistencyModelPipeline, LCMScheduler, PNDMScheduler, StableDiffusionPipeline,
                       StableDiffusionXLPipeline, UNet2DConditionModel)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

import make_tiny
from make_models import SCHEDULE, TARGETS, Draws, lora_parameters, plain, randomise, save_adapter, settle

warnings.filterwarnings("ignore")
diffusers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()
transformers.utils.logging.set_verbosity_error()
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "data", "pipes")
CLIPTextModel.text_model = property(lambda model: model)  # diffusers' clip_skip looks for it; transformers 5 has it no more
spec = importlib.util.spec_from_file_location("check_diffusers", os.path.join(HERE, "..", "..", "tools", "check-diffusers.py"))
attune = importlib.util.module_from_spec(spec)
spec.loader.exec_module(attune)

LONG = "a red kite over two blue cups and a dull cat beside a green box in the wind of a late summer afternoon"
PROMPTS = ["a red kite", "two blue cups"]
SEEDS = [11, 12]
HEIGHT, WIDTH = 24, 16  # of the pictures
SDXL_SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, steps_offset=1,
                     timestep_spacing="leading")
UNET = dict(sample_size=8, in_channels=4, out_channels=4, block_out_channels=[4, 8], layers_per_block=1, norm_num_groups=2,
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"], up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"])
UNET_SDXL = dict(UNET, attention_head_dim=[1, 2], cross_attention_dim=16 + 12, use_linear_projection=True, transformer_layers_per_block=[1, 2],
                 addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 10)
UNETS = {"xl": UNET_SDXL, "lcm_xl": dict(UNET_SDXL, time_cond_proj_dim=16), "lcm": dict(UNET, attention_head_dim=2, cross_attention_dim=16, time_cond_proj_dim=33),
         "sd2": dict(UNET, attention_head_dim=[2, 4], cross_attention_dim=16, use_linear_projection=True)}
SCHEDULES = {"xl": EulerDiscreteScheduler(**SDXL_SCHEDULE), "lcm_xl": LCMScheduler(**SCHEDULE), "lcm": LCMScheduler(**SCHEDULE),
             "sd2": DDIMScheduler(**SCHEDULE, prediction_type="v_prediction"), "sd15": PNDMScheduler(**{k: v for k, v in SCHEDULE.items() if k != "clip_sample"}, skip_prk_steps=True)}
CLASSES = {"xl": StableDiffusionXLPipeline, "lcm_xl": StableDiffusionXLPipeline, "lcm": LatentConsistencyModelPipeline, "sd2": StableDiffusionPipeline,
           "sd15": StableDiffusionPipeline}
SAMPLERS = attune.SAMPLERS
# name: sampler, steps, guidance, what the pipeline is asked for beside that. As in tests/pipeline/pipes.c.
KARRAS = dict(karras=True)
RUNS = {
    "xl": {"zeros": ("euler", 4, 5.0, {}), "empty": ("euler", 3, 5.0, dict(negative_prompt="")), "negative": ("dpmpp_2m", 4, 7.5, dict(negative_prompt="a dull cat")),
           "plain": ("ddim", 3, 1.0, {}), "sizes": ("euler", 2, 5.0, dict(original_size=(100, 50), crops_coords_top_left=(3, 7))),
           "skip": ("ddim", 2, 5.0, dict(clip_skip=1, negative_prompt="a dull cat")), "euler_a": ("euler_a", 3, 5.0, {}), "karras": ("dpmpp_2m", 5, 5.0, KARRAS)},
    "lcm_xl": {"lcm": ("lcm", 3, 7.0, {}), "euler": ("euler", 2, 1.0, {})},
    "lcm": {"lcm": ("lcm", 4, 8.5, {}), "one": ("lcm", 1, 1.0, {})},
    "sd2": {"ddim": ("ddim", 4, 6.0, {}), "euler": ("euler", 3, 6.0, dict(negative_prompt="a dull cat")), "dpmpp_2m": ("dpmpp_2m", 4, 6.0, {}), "ddpm": ("ddpm", 3, 6.0, {})},
    "sd15": {"ddim": ("ddim", 4, 7.5, {}), "eta": ("ddim", 3, 7.5, dict(eta=0.7)), "ddpm": ("ddpm", 3, 7.5, {}), "euler": ("euler", 4, 7.5, {}),
             "euler_karras": ("euler", 4, 7.5, KARRAS), "euler_a": ("euler_a", 4, 7.5, {}), "dpmpp_2m": ("dpmpp_2m", 4, 7.5, {}),
             "dpmpp_2m_karras": ("dpmpp_2m", 4, 7.5, KARRAS), "lcm": ("lcm", 4, 7.5, {}), "skip": ("ddim", 2, 7.5, dict(clip_skip=1, negative_prompt="a dull cat"))},
}


def tokenizer(pad):
    return CLIPTokenizer.from_pretrained(make_tiny.TOKENIZER, model_max_length=16, pad_token=pad)


def text_encoders(dtype):
    draw, tok = Draws("pipes text", dtype), tokenizer("!")
    common = dict(vocab_size=len(tok), num_hidden_layers=3, num_attention_heads=2, max_position_embeddings=16, bos_token_id=tok.bos_token_id,
                  eos_token_id=tok.eos_token_id)
    one = CLIPTextModel(CLIPTextConfig(hidden_size=16, intermediate_size=32, hidden_act="quick_gelu", projection_dim=16, pad_token_id=tok.eos_token_id, **common))
    two = CLIPTextModelWithProjection(CLIPTextConfig(hidden_size=12, intermediate_size=24, hidden_act="gelu", projection_dim=10, pad_token_id=0, **common))
    return randomise(one, draw).to(dtype), randomise(two, draw).to(dtype)


def gelu(encoder):
    """The same weights with the activation of SD 2.x."""
    config = CLIPTextConfig(**{**encoder.config.to_dict(), "hidden_act": "gelu"})
    other = CLIPTextModel(config).to(encoder.dtype).eval().requires_grad_(False)
    other.load_state_dict(encoder.state_dict())
    return other


def parts(name, dtype):
    if name == "sd15":
        return dict(make_tiny.parts(dtype), scheduler=SCHEDULES[name])
    one, two = text_encoders(dtype)
    draw = Draws("pipes vae", dtype)
    vae = AutoencoderKL(in_channels=3, out_channels=3, block_out_channels=[4, 8], layers_per_block=1, norm_num_groups=2, latent_channels=4, sample_size=16,
                        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, scaling_factor=0.13025)
    unet = UNet2DConditionModel(**UNETS[name])
    randomise(vae, draw), randomise(unet, Draws(f"pipes {name}", dtype), 0.8)
    out = dict(unet=unet.to(dtype), vae=vae.to(dtype), scheduler=SCHEDULES[name])
    if "xl" in name:
        return dict(out, tokenizer=tokenizer("<|endoftext|>"), tokenizer_2=tokenizer("!"), text_encoder=one, text_encoder_2=two)
    if name == "sd2":
        return dict(out, tokenizer=tokenizer("!"), text_encoder=gelu(one))
    return dict(out, tokenizer=tokenizer("<|endoftext|>"), text_encoder=one)


def pipeline(name, dtype):
    extra = dict(add_watermarker=False) if "xl" in name else dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe = CLASSES[name](**parts(name, dtype), **extra)
    pipe.set_progress_bar_config(disable=True)
    return pipe


# ---- Folders

KEPT = {"xl": None, "lcm_xl": ["unet", "scheduler"], "lcm": ["unet", "scheduler"], "sd2": ["unet", "scheduler", "text_encoder"], "sd15": ["scheduler"]}


def save_tokenizer(folder, pad):
    """The slow tokenizer's two files, with this padding."""
    shutil.rmtree(folder)
    shutil.copytree(make_tiny.TOKENIZER, folder, ignore=shutil.ignore_patterns("saved"))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = os.path.join(folder, name)
        config = json.load(open(path)) | {"pad_token": pad}
        if name == "tokenizer_config.json":
            config["model_max_length"] = 16
        open(path, "w").write(json.dumps(config, indent=2) + "\n")


def save_model(name):
    pipe, folder = pipeline(name, torch.float32), os.path.join(ROOT, name)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.half()
    pipe.save_pretrained(folder, safe_serialization=True)
    for part in os.listdir(folder):
        if KEPT[name] is not None and part != "model_index.json" and part not in KEPT[name]:
            shutil.rmtree(os.path.join(folder, part))
    path = os.path.join(folder, "scheduler", "scheduler_config.json")
    config = json.load(open(path)) | {"clip_sample": False}  # as in the files of SD, whatever their class
    open(path, "w").write(json.dumps(config, indent=2) + "\n")
    if name == "xl":
        save_tokenizer(os.path.join(folder, "tokenizer"), "<|endoftext|>")
        save_tokenizer(os.path.join(folder, "tokenizer_2"), "!")
    if name == "sd2":
        os.remove(os.path.join(folder, "text_encoder", "model.safetensors"))  # xl's


TEXT_LAYERS = ["fc1", "q_proj", "v_proj"]


def text_matrices(pipe, scale=1.0):
    """LoRA of rank 2 and alpha 3 in both text encoders: its matrices by the names of files (transformers' own loader wants a newer peft)."""
    out = {}
    for component in ("text_encoder", "text_encoder_2"):
        encoder = getattr(pipe, component)
        peft.inject_adapter_in_model(peft.LoraConfig(r=2, lora_alpha=3, target_modules=TEXT_LAYERS, init_lora_weights=False), encoder)
        for module in encoder.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.set_scale("default", scale)
        for name, p in encoder.named_parameters():
            if ".lora_" in name:
                out[f"{component}.text_model.{name.removeprefix('text_model.').replace('.default', '')}"] = p
    return dict(sorted(out.items()))


def save_text_adapter():
    draw, path = Draws("pipes text adapter", torch.float32), os.path.join(ROOT, "lora_text")
    os.makedirs(path)
    values = {k: (torch.randn(p.shape, generator=draw.gen) * (0.3 if "lora_B" in k else p.shape[1] ** -0.5)).half() for k, p in text_matrices(pipeline("xl", torch.float32)).items()}
    about = {f"{c}.{k}": v for c in ("text_encoder", "text_encoder_2") for k, v in dict(r=2, lora_alpha=3, target_modules=TEXT_LAYERS).items()}
    save_file(values, os.path.join(path, "pytorch_lora_weights.safetensors"), {"format": "pt", "lora_adapter_metadata": json.dumps(about)})


def adapted(dtype):
    """Both adapters at once, each with its strength."""
    pipe = pipeline("xl", torch.float32)
    pipe.load_lora_weights(os.path.join(ROOT, "lora"), adapter_name="lora")
    pipe.set_adapters(["lora"], [0.8])
    values = load_file(os.path.join(ROOT, "lora_text", "pytorch_lora_weights.safetensors"))
    with torch.no_grad():
        for name, p in text_matrices(pipe, 0.6).items():
            p.copy_(values[name]).requires_grad_(False)
    for part in (pipe.unet, pipe.text_encoder, pipe.text_encoder_2, pipe.vae):
        part.to(dtype)
    x = torch.cat([attune.noise((4, HEIGHT // 2, WIDTH // 2), seed, attune.LATENT, 0) for seed in SEEDS]).to(dtype)
    hidden, _, pooled, _ = pipe.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    return {"adapted.hidden": hidden, "adapted.pooled": pooled,
            "adapted": pipe(prompt=PROMPTS, num_inference_steps=3, guidance_scale=5.0, height=HEIGHT, width=WIDTH, latents=x, output_type="latent").images}


# ---- What they make

def pictures(name, dtype):
    """Final latents of every run; pixels of the first."""
    pipe, out = pipeline(name, dtype), {}
    shape, config = (4, HEIGHT // 2, WIDTH // 2), {**pipe.scheduler.config, "clip_sample": False}
    config.pop("_use_default_values", None)  # as read from the file, where every value stands
    draws = lambda stream, index: torch.cat([attune.noise(shape, seed, stream, index) for seed in SEEDS]).to(dtype)
    for run, (sampler, steps, guidance, extra) in RUNS[name].items():
        extra, calls = dict(extra), iter(range(steps))
        levels = {"use_karras_sigmas": True} if extra.pop("karras", False) else {}
        pipe.scheduler = SAMPLERS[sampler].from_config(config, **levels)
        sys.modules[type(pipe.scheduler).__module__].randn_tensor = lambda *_, **__: draws(attune.STEP, next(calls))
        if "negative_prompt" in extra:
            extra["negative_prompt"] = [extra["negative_prompt"]] * len(PROMPTS)
        how = dict(prompt=PROMPTS, num_inference_steps=steps, guidance_scale=guidance, height=HEIGHT, width=WIDTH, **extra)
        out[f"{name}.{run}"] = pipe(latents=draws(attune.LATENT, 0), output_type="latent", **how).images
        if len(out) == 1:
            calls = iter(range(steps))
            out[f"{name}.{run}.pixels"] = pipe(latents=draws(attune.LATENT, 0), output_type="pt", **how).images
    return out


def texts(dtype):
    pipe, out = pipeline("xl", dtype), {}
    prompts = [PROMPTS[0], "", LONG, "!!"]
    for skip in (None, 1):
        hidden, _, pooled, _ = pipe.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False, clip_skip=skip)
        out[f"text.{skip or 0}.hidden"], out[f"text.{skip or 0}.pooled"] = hidden, pooled
    for name in ("sd2", "sd15"):
        for skip in (None, 1):
            out[f"text.{name}.{skip or 0}"] = pipeline(name, dtype).encode_prompt(prompts, "cpu", 1, False, clip_skip=skip)[0]
    return out


PAIRS, BETA = 3, 100.0
SIZES = [[24, 16, 0, 0, 16, 16], [100, 50, 9, 0, 16, 16], [16, 64, 0, 24, 16, 16]]


def dpo(dtype):
    """The loss of train_diffusion_dpo_sdxl.py and its gradient for an adapter; winners first."""
    pipe, draw = pipeline("xl", dtype), Draws("pipes dpo", dtype)
    unet = pipe.unet.requires_grad_(False)
    unet.add_adapter(peft.LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS, init_lora_weights=False))
    params = lora_parameters(unet.to(dtype))
    with torch.no_grad():
        for key, p in params.items():
            p.copy_((torch.randn(p.shape, generator=draw.gen) * (0.1 if "lora_B" in key else p.shape[1] ** -0.5)).half()).requires_grad_(True)
    if dtype == torch.float64:
        save_adapter(unet, dict(r=2, lora_alpha=4, target_modules=TARGETS), os.path.join(ROOT, "lora"))
    x0, noise, t = draw.normal(2 * PAIRS, 4, 8, 8), draw.normal(PAIRS, 4, 8, 8).repeat(2, 1, 1, 1), draw.ints(1000, PAIRS).repeat(2)
    a = DDIMScheduler(**SCHEDULE).alphas_cumprod.to(dtype)[t][:, None, None, None]
    x = a.sqrt() * x0 + (1 - a).sqrt() * noise
    hidden, _, pooled, _ = pipe.encode_prompt([*PROMPTS, ""], device="cpu", do_classifier_free_guidance=False)
    added = dict(text_embeds=pooled.repeat(2, 1), time_ids=torch.tensor(SIZES, dtype=dtype).repeat(2, 1))
    error = lambda: ((unet(x, t, hidden.repeat(2, 1, 1), added_cond_kwargs=added).sample - noise) ** 2).mean([1, 2, 3])
    unet.disable_adapters()
    with torch.no_grad():
        r = error()
    unet.enable_adapters()
    m = error()
    (mw, ml), (rw, rl) = m.chunk(2), r.chunk(2)
    loss = -torch.nn.functional.logsigmoid(-0.5 * BETA * ((mw - ml) - (rw - rl))).mean()
    out = dict(x=x, t=t, target=noise, sizes=torch.tensor(SIZES), m=m, r=r, loss=loss)
    out.update({f"grad.{k}": g for k, g in zip(params, torch.autograd.grad(loss, list(params.values())))})
    return {f"dpo.{k}": v for k, v in out.items()}


def everything(dtype):
    out = {**texts(dtype), **dpo(dtype), **adapted(dtype)}
    for name in RUNS:
        out.update(pictures(name, dtype))
    return out


def main():
    torch.set_num_threads(1)
    shutil.rmtree(ROOT, ignore_errors=True)
    for name in SCHEDULES:
        save_model(name)
    save_text_adapter()
    exact, single = everything(torch.float64), everything(torch.float32)
    for key, value in exact.items():
        if value.is_floating_point():
            print(f"{key:70} {str(tuple(value.shape)):18} largest {value.abs().max():8.3f}, noise of f32 "
                  f"{(single[key].double() - value).abs().max() / value.abs().max():.1e}")
    versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers, peft)}
    save_file({k: plain(v) for k, v in exact.items()}, os.path.join(ROOT, "io.safetensors"), {"made_by": "tests/golden/make_pipelines.py", **versions})
    size = 0
    for d, _, files in os.walk(ROOT):
        for file in files:
            path = os.path.join(d, file)
            if file.endswith(".safetensors"):
                settle(path)
            size += os.path.getsize(path)
    print(f"{size} bytes in {ROOT}")


if __name__ == "__main__":
    main()
