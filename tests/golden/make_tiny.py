#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/tiny/: a complete text-to-image model with random weights, pairs and pictures to train it with, and what
diffusers draws with it.

    tests/data/tiny/model/        a diffusers folder: tokenizer of data/clip_small, 2 text layers, UNet (8,16), autoencoder (8,16)
    tests/data/tiny/pairs/        six preference pairs of 32x32 PNGs
    tests/data/tiny/pictures/     the same pictures as an imagefolder
    tests/data/tiny/io.safetensors  initial noise, hidden states, final latents and pictures of DDIM runs, all of them computed in double

`make_tiny.py check FOLDER` loads a folder that attune wrote with diffusers and draws once: it fails where diffusers does.
"""
import os, shutil, sys, warnings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import diffusers, torch, transformers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from make_models import SCHEDULE, Draws, plain, randomise, settle

warnings.filterwarnings("ignore")
diffusers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "data", "tiny")
TOKENIZER = os.path.join(HERE, "data", "clip_small")
PROMPTS, NEGATIVE = ["a red kite", "two blue cups"], "a dull cat"
SIZE, CFG = 32, 4.0  # of the pictures; guidance
RUNS = {"four": (4, 0.0), "seven": (7, 0.0), "plain": (4, 0.0)}  # steps and eta; "plain" goes without guidance


def parts(dtype):
    """The model in this precision, with weights rounded to f16."""
    draw = Draws("tiny", dtype)
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER, model_max_length=16)
    size = len(tokenizer)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                                        max_position_embeddings=16, hidden_act="quick_gelu", bos_token_id=tokenizer.bos_token_id,
                                        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, projection_dim=16))
    unet = UNet2DConditionModel(sample_size=SIZE // 2, in_channels=4, out_channels=4, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4,
                                attention_head_dim=2, cross_attention_dim=16, down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                                up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"])
    vae = AutoencoderKL(in_channels=3, out_channels=3, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=SIZE,
                        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, scaling_factor=0.6)
    randomise(text, draw), randomise(unet, draw, 0.8), randomise(vae, draw)
    scheduler = DDIMScheduler(**SCHEDULE, prediction_type="v_prediction")
    return dict(tokenizer=tokenizer, text_encoder=text.to(dtype), unet=unet.to(dtype), vae=vae.to(dtype), scheduler=scheduler)


def pipeline(dtype):
    return StableDiffusionPipeline(**parts(dtype), safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def save_model(folder):
    pipe = pipeline(torch.float32)
    for part in (pipe.text_encoder, pipe.unet, pipe.vae):
        part.half()
    pipe.save_pretrained(folder, safe_serialization=True)
    # The slow tokenizer's two files are what this model is read from.
    for name in os.listdir(TOKENIZER):
        if os.path.isfile(os.path.join(TOKENIZER, name)):
            shutil.copy(os.path.join(TOKENIZER, name), os.path.join(folder, "tokenizer", name))
    import json
    path = os.path.join(folder, "tokenizer", "tokenizer_config.json")
    config = json.load(open(path)) | {"model_max_length": 16}
    open(path, "w").write(json.dumps(config, indent=2) + "\n")
    extra = os.path.join(folder, "tokenizer", "tokenizer.json")
    if os.path.exists(extra):
        os.remove(extra)
    for d, _, files in os.walk(folder):
        for name in files:
            if name.endswith(".safetensors"):
                settle(os.path.join(d, name))


def runs(dtype):
    pipe, out = pipeline(dtype), {}
    draw = Draws("tiny runs", dtype)
    hidden = lambda texts: pipe.text_encoder(pipe.tokenizer(texts, padding="max_length", max_length=16, truncation=True, return_tensors="pt").input_ids)[0]
    out["hidden"] = hidden(PROMPTS + [NEGATIVE])
    out["x"] = draw.normal(2, 4, SIZE // 2, SIZE // 2)
    pipe.set_progress_bar_config(disable=True)
    for name, (steps, eta) in RUNS.items():
        guided = name != "plain"
        how = dict(prompt=PROMPTS, negative_prompt=[NEGATIVE] * 2 if guided else None, guidance_scale=CFG if guided else 1.0, num_inference_steps=steps, eta=eta,
                   height=SIZE, width=SIZE, latents=out["x"].clone())
        out[f"{name}.latents"] = pipe(**how, output_type="latent").images
        out[f"{name}.pixels"] = pipe(**how, output_type="pt").images
    posterior = pipe.vae.encode(out["four.pixels"] * 2 - 1).latent_dist
    out["moments"] = torch.cat([posterior.mean, posterior.logvar], 1)
    return out


COLOURS = dict(red=(200, 40, 40), blue=(50, 70, 200), green=(40, 160, 70))


def picture(colour, kind, centred):
    """A shape on a light ground; the losers' shapes lie off the middle."""
    image = Image.new("RGB", (SIZE, SIZE), (235, 235, 225))
    for y in range(SIZE):
        for x in range(SIZE):
            dx, dy = x - (16 if centred else 9), y - (16 if centred else 21)
            inside = dx * dx + dy * dy < 90 if kind == "ball" else max(abs(dx), abs(dy)) < 9
            if inside:
                image.putpixel((x, y), tuple(min(255, c + 2 * (dx + dy)) for c in COLOURS[colour]))
    return image


def save_pairs(root):
    pairs, captions = [], []
    for colour in COLOURS:
        for kind in ("ball", "box"):
            prompt = f"a {colour} {kind}"
            names = []
            for side in ("good", "poor"):
                name = f"{colour}-{kind}-{side}.png"
                picture(colour, kind, side == "good").save(os.path.join(root, "pictures", name), optimize=True)
                captions.append(f'{{"file_name": "{name}", "text": "{prompt}"}}')
                names.append("../pictures/" + name)
            pairs.append(f'{{"prompt": "{prompt}", "win": "{names[0]}", "lose": "{names[1]}"}}')
    open(os.path.join(root, "pairs", "pairs.jsonl"), "w").write("\n".join(pairs) + "\n")
    open(os.path.join(root, "pictures", "metadata.jsonl"), "w").write("\n".join(captions) + "\n")


def check(folder):
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    images = pipe(PROMPTS, num_inference_steps=4, output_type="pt").images
    assert torch.isfinite(images).all()
    print(f"{folder}: loads and draws, scaling factor {pipe.vae.config.scaling_factor}, mean {images.mean():.4f}, deviation {images.std():.4f}")


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "check":
        return check(sys.argv[2])
    torch.set_num_threads(1)
    shutil.rmtree(ROOT, ignore_errors=True)
    for folder in ("pairs", "pictures"):
        os.makedirs(os.path.join(ROOT, folder))
    save_model(os.path.join(ROOT, "model"))
    save_pairs(ROOT)
    exact, single = runs(torch.float64), runs(torch.float32)
    for key, value in exact.items():
        print(f"{key:16} {tuple(value.shape)} largest {value.abs().max():.3f}, noise of f32 {(single[key].double() - value).abs().max() / value.abs().max():.1e}")
    versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers)}
    save_file({k: plain(v) for k, v in exact.items()}, os.path.join(ROOT, "io.safetensors"), {"made_by": "tests/golden/make_tiny.py", **versions})
    settle(os.path.join(ROOT, "io.safetensors"))


if __name__ == "__main__":
    main()
