#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/models/: small models with random weights in diffusers folders, and what diffusers, transformers and peft compute with them.

Every number is computed in double precision and stored as f32; the same computation in f32 gives the noise that a correct
float implementation has to be allowed (data/models/noise.json, worst relative error of each tensor). Weights are rounded to
f16 before anything is computed, so a reader that loads the f16 file has exactly the same weights. See README.md beside this file.
"""
import json, math, os, shutil, sys, warnings, zlib

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import diffusers, peft, safetensors, torch, transformers
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

warnings.filterwarnings("ignore")
diffusers.utils.logging.disable_progress_bar()
diffusers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "models")
LIMIT = 4_500_000
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000,
                clip_sample=False, set_alpha_to_one=False, steps_offset=1)


class Draws:
    """Random numbers of one case: drawn in f32, so that they are the same whatever the precision of the computation."""

    def __init__(self, name, dtype):
        self.gen, self.dtype = torch.Generator().manual_seed(zlib.crc32(name.encode())), dtype

    def normal(self, *shape, scale=1.0):
        return (torch.randn(*shape, generator=self.gen) * scale).to(self.dtype)

    def ints(self, high, *shape):
        return torch.randint(0, high, shape, generator=self.gen)


def randomise(model, draw, gain=1.0):
    """Weights of variance gain^2 / fan-in, norm weights around 1, biases that matter; then rounded to f16."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=draw.gen)
            if "embedding.weight" in name:
                value = 0.5 * noise
            elif p.ndim >= 2:
                value = noise * gain / math.sqrt(p[0].numel())
            else:
                value = 1 + 0.2 * noise if name.endswith("weight") else 0.1 * noise
            p.copy_(value.half())
    return model.eval().requires_grad_(False)


def store(model, folder, dtype):
    """Saves as f16 (in the double precision run only) and returns the model in the run's precision."""
    if dtype == torch.float64:
        path = os.path.join(ROOT, folder)
        model.half().save_pretrained(path, safe_serialization=True)
    return model.to(dtype)


# ---- UNet

UNETS = {
    # SD 1.x: attention_head_dim is really the number of heads; convolutions around the transformer.
    "unet_sd1": dict(in_channels=4, out_channels=4, block_out_channels=[16, 16, 24], layers_per_block=2, norm_num_groups=8, attention_head_dim=8,
                     cross_attention_dim=16, down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
                     up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"], flip_sin_to_cos=True, freq_shift=0),
    # SD 2.x: linear projections, heads by level, a single level with attention.
    "unet_sd2": dict(in_channels=4, out_channels=4, block_out_channels=[8, 16, 16], layers_per_block=1, norm_num_groups=4, attention_head_dim=[2, 4, 4],
                     cross_attention_dim=24, use_linear_projection=True, down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
                     up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]),
    # SDXL: several transformer layers by level, sizes and pooled text added to the time embedding.
    "unet_sdxl": dict(in_channels=4, out_channels=4, block_out_channels=[8, 16, 16], layers_per_block=2, norm_num_groups=4, attention_head_dim=[1, 2, 4],
                      cross_attention_dim=20, use_linear_projection=True, transformer_layers_per_block=[1, 1, 2],
                      down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                      up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                      addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 12),
    # Like a micro model: two levels, one layer a block; other values of the sinusoid's fields.
    "unet_micro": dict(in_channels=4, out_channels=4, block_out_channels=[16, 24], layers_per_block=1, norm_num_groups=8, attention_head_dim=4,
                       cross_attention_dim=32, down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                       up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]),
    # LCM: the guidance scale's embedding joins the time embedding.
    "unet_lcm": dict(in_channels=4, out_channels=4, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
                     cross_attention_dim=16, time_cond_proj_dim=12, flip_sin_to_cos=False, freq_shift=1,
                     down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"]),
}
# batch, height, width, tokens, timesteps of each run
RUNS = {
    "unet_sd1": [(2, 13, 11, 7, [981, 1]), (1, 8, 8, 77, [500])],
    "unet_sd2": [(3, 8, 10, 77, [0, 333, 999])],
    "unet_sdxl": [(2, 8, 12, 7, [999, 17])],
    "unet_micro": [(2, 8, 8, 14, [7, 640])],
    "unet_lcm": [(2, 9, 6, 77, [259, 999])],
}


def unet_inputs(config, run, draw):
    batch, height, width, tokens, t = run
    io = dict(x=draw.normal(batch, 4, height, width), t=torch.tensor(t), ehs=draw.normal(batch, tokens, config["cross_attention_dim"]))
    if config.get("time_cond_proj_dim"):
        io["timestep_cond"] = draw.normal(batch, config["time_cond_proj_dim"])
    if config.get("addition_embed_type"):
        io["text_embeds"] = draw.normal(batch, 12)
        io["time_ids"] = torch.tensor([[1024, 1024, 0, 0, 1024, 1024], [768, 512, 16, 0, 640, 1024]][:batch], dtype=draw.dtype)
    return io


def unet_call(unet, io):
    added = {k: io[k] for k in ("text_embeds", "time_ids") if k in io}
    return unet(io["x"], io["t"], io["ehs"], timestep_cond=io.get("timestep_cond"), added_cond_kwargs=added or None).sample


def case_unet(name, dtype):
    draw = Draws(name, dtype)
    unet = store(randomise(UNet2DConditionModel(**UNETS[name]), draw, 0.8), f"{name}/unet", dtype)
    out = {}
    for i, run in enumerate(RUNS[name]):
        io = unet_inputs(UNETS[name], run, draw)
        io["x"].requires_grad_(True), io["ehs"].requires_grad_(True)
        io["y"] = unet_call(unet, io)
        io["w"] = draw.normal(*io["y"].shape)
        io["dx"], io["dehs"] = torch.autograd.grad((io["w"] * io["y"]).sum(), [io["x"], io["ehs"]])
        out.update({f"{i}.{k}": v for k, v in io.items()})
    return out


# ---- Diffusion-DPO

DPO = {
    "dpo_sd1": dict(UNETS["unet_sd1"], block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4, attention_head_dim=4, cross_attention_dim=12,
                    down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"]),
    "dpo_micro": dict(UNETS["unet_micro"], block_out_channels=[8, 12], norm_num_groups=4, attention_head_dim=2, cross_attention_dim=12),
}
PAIRS, BETA, TARGETS = 3, 2000.0, ["to_q", "to_k", "to_v", "to_out.0"]
# Convolutions of three and of one tap, of stride 2, and a linear layer that acts on the time.
CONVS = ["conv_in", "conv1", "conv_shortcut", "downsamplers.0.conv", "proj_in", "time_emb_proj"]


def dpo_data(draw, config, size):
    """Winners first, then losers; one noise, one timestep and one prompt a pair."""
    x0, noise = draw.normal(2 * PAIRS, 4, *size), draw.normal(PAIRS, 4, *size)
    t, ehs = draw.ints(1000, PAIRS), draw.normal(PAIRS, 7, config["cross_attention_dim"])
    alpha = DDIMScheduler(**SCHEDULE).alphas_cumprod.to(draw.dtype)[t].repeat(2)[:, None, None, None]
    noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise.repeat(2, 1, 1, 1)
    return dict(x0=x0, noise=noise, t=t, ehs=ehs, noisy=noisy)


def dpo_forward(unet, io):
    return unet(io["noisy"], io["t"].repeat(2), io["ehs"].repeat(2, 1, 1)).sample


def dpo_loss(y, y_ref, io):
    """Wallace et al. 2023, in the form of the authors' code: mean squares, beta / 2, the mean after the logarithm."""
    target = io["noise"].repeat(2, 1, 1, 1)
    m, r = ((y - target) ** 2).mean([1, 2, 3]), ((y_ref - target) ** 2).mean([1, 2, 3])
    (mw, ml), (rw, rl) = m.chunk(2), r.chunk(2)
    z = -0.5 * BETA * ((mw - ml) - (rw - rl))
    return -torch.nn.functional.logsigmoid(z).mean(), dict(m=m, r=r, z=z, accuracy=(z > 0).to(y.dtype).mean())


def case_dpo(name, dtype):
    """Every weight trains; the reference is a model of slightly different weights."""
    draw, config = Draws(name, dtype), DPO[name]
    unet = randomise(UNet2DConditionModel(**config), draw, 0.8)
    with torch.no_grad():  # beta multiplies the rounding errors of the output by a thousand: keep it small
        unet.conv_out.weight.copy_((0.1 * unet.conv_out.weight).half())
    ref = UNet2DConditionModel(**config).eval().requires_grad_(False)
    with torch.no_grad():
        for p, q in zip(ref.parameters(), unet.parameters()):
            p.copy_((q + 4e-3 * torch.randn(q.shape, generator=draw.gen)).half())
    unet, ref = store(unet, f"{name}/unet", dtype), store(ref, f"{name}/reference", dtype)
    io = dpo_data(draw, config, (8, 6))
    io["y"], io["y_ref"] = dpo_forward(unet.requires_grad_(True), io), dpo_forward(ref, io)
    io["loss"], terms = dpo_loss(io["y"], io["y_ref"], io)
    io["loss"].backward()
    io.update(terms)
    io.update({f"grad.{n}": p.grad for n, p in unet.named_parameters()})
    if dtype == torch.float64:
        DDIMScheduler(**SCHEDULE).save_pretrained(os.path.join(ROOT, name, "scheduler"))
    return io


def save_adapter(unet, config, folder):
    layers = {k: v.float() for k, v in peft.get_peft_model_state_dict(unet, adapter_name="default").items()}
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers, unet_lora_adapter_metadata=config)


def lora_parameters(unet):
    """PEFT's file keys, without the adapter's name, in alphabetical order."""
    found = {"unet." + n.replace(".default.", "."): p for n, p in unet.named_parameters() if ".lora_" in n}
    return dict(sorted(found.items()))


def case_lora(name, dtype):
    """Only LoRA matrices train (on the model of dpo_NAME); the reference is the model with the adapter off. Then ten steps."""
    base = "dpo_" + name.split("_")[1]
    draw, config = Draws(name, dtype), DPO[base]
    unet = UNet2DConditionModel.from_pretrained(os.path.join(ROOT, base, "unet")).eval().requires_grad_(False)
    targets = CONVS if name.endswith("_conv") else TARGETS
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    unet.add_adapter(lora)
    params = lora_parameters(unet.to(dtype))
    with torch.no_grad():
        for key, p in params.items():
            scale = 0.02 if "lora_B" in key else p[0].numel() ** -0.5
            p.copy_(torch.randn(p.shape, generator=draw.gen) * scale).requires_grad_(True)
    if dtype == torch.float64:
        save_adapter(unet, dict(r=4, lora_alpha=8, target_modules=targets), os.path.join(ROOT, name))
    io = dpo_data(draw, config, (8, 6))
    unet.disable_adapters()
    with torch.no_grad():
        io["y_ref"] = dpo_forward(unet, io)
    unet.enable_adapters()
    loss_of = lambda: dpo_loss(dpo_forward(unet, io), io["y_ref"], io)
    start = {k: p.detach().clone() for k, p in params.items()}
    with torch.no_grad():
        for key, p in params.items():
            p.mul_(0 if "lora_B" in key else 1)
        assert abs(loss_of()[0].item() - math.log(2)) < 1e-6, "with B = 0 the loss is ln 2"
        for key, p in params.items():
            p.copy_(start[key])
    io["y"] = dpo_forward(unet, io)
    io["loss"], terms = dpo_loss(io["y"], io["y_ref"], io)
    io.update(terms)
    io.update({f"grad.{k}": g for k, g in zip(params, torch.autograd.grad(io["loss"], list(params.values())))})
    assert all(io[f"grad.{k}"].abs().max() > 0 for k in params)
    optimiser = torch.optim.AdamW(params.values(), lr=1e-3, weight_decay=1e-2, betas=(0.9, 0.999), eps=1e-8)
    losses, norms = [], []
    for _ in range(10):
        optimiser.zero_grad()
        loss = loss_of()[0]
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(params.values(), 1.0))
        optimiser.step()
        losses.append(loss.detach())
    io["losses"], io["grad_norms"] = torch.stack(losses), torch.stack(norms)
    io.update({f"after.{k}": p.detach() for k, p in params.items()})
    return io


# ---- CLIP text encoder

CLIPS = {
    # eos_token_id 2 stands in old files and means: the first place of the largest id. Old files also hold the prefix and position_ids.
    "clip_legacy": (CLIPTextModel, dict(vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                                        max_position_embeddings=14, hidden_act="quick_gelu", bos_token_id=0, eos_token_id=2, pad_token_id=1, projection_dim=32)),
    # As today's transformers saves it: no prefix; the pooled place is the first eos.
    "clip_modern": (CLIPTextModel, dict(vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
                                        max_position_embeddings=14, hidden_act="gelu", bos_token_id=57, eos_token_id=58, pad_token_id=0, projection_dim=32)),
    "clip_projection": (CLIPTextModelWithProjection, dict(vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                                                          max_position_embeddings=14, hidden_act="gelu", bos_token_id=57, eos_token_id=58, pad_token_id=0,
                                                          projection_dim=20, layer_norm_eps=1e-4)),
}


def clip_ids(config, draw):
    """Four sequences: eos at places 1, 5 and 13, and one where eos comes twice; padding after it."""
    legacy = config["eos_token_id"] == 2
    eos = 59 if legacy else config["eos_token_id"]
    ids = 3 + draw.ints(50, 4, 14)
    ids[:, 0] = config["bos_token_id"]
    for row, place in enumerate([1, 5, 13, 7]):
        ids[row, place:] = config["pad_token_id"]
        ids[row, place] = eos
    ids[3, 7:] = eos
    if not legacy:
        ids[1, 3] = 59  # larger than eos, before it: only the legacy rule would stop here
    return ids


def case_clip(name, dtype):
    draw, (cls, fields) = Draws(name, dtype), CLIPS[name]
    model = store(randomise(cls(CLIPTextConfig(**fields)), draw), f"{name}/text_encoder", dtype)
    if name == "clip_legacy" and dtype == torch.float64:
        path = os.path.join(ROOT, name, "text_encoder", "model.safetensors")
        tensors = {"text_model." + k.removeprefix("text_model."): v for k, v in load_file(path).items()}
        tensors["text_model.embeddings.position_ids"] = torch.arange(14)[None]
        save_file(tensors, path, {"format": "pt"})
    text = model.text_model if hasattr(model, "text_projection") else model
    table, query = text.embeddings.token_embedding.weight.requires_grad_(True), text.encoder.layers[0].self_attn.q_proj.weight.requires_grad_(True)
    io = dict(ids=clip_ids(fields, draw))
    out = model(io["ids"], output_hidden_states=True)
    io["last_hidden_state"], io["hidden_2"] = out.last_hidden_state, out.hidden_states[-2]
    io["hidden_2_normed"] = text.final_layer_norm(io["hidden_2"])
    io["w"] = draw.normal(*out.last_hidden_state.shape)
    if name == "clip_projection":
        io["text_embeds"] = out.text_embeds
    else:
        io["pooler_output"] = out.pooler_output
    grads = torch.autograd.grad((io["w"] * out.last_hidden_state).sum(), [table, query])
    prefix = "" if name == "clip_modern" else "text_model."
    io[f"grad.{prefix}embeddings.token_embedding.weight"], io[f"grad.{prefix}encoder.layers.0.self_attn.q_proj.weight"] = grads
    return io


# ---- Autoencoder

VAES = {
    "vae_sd": dict(in_channels=3, out_channels=3, block_out_channels=[8, 16, 16], layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=40,
                   down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3, scaling_factor=0.18215),
    "vae_plain": dict(in_channels=3, out_channels=3, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4, latent_channels=3, sample_size=16,
                      down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, scaling_factor=0.5, shift_factor=0.1,
                      mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False),
}


TINY_VAES = {
    # As taesd, but narrow.
    "vae_tiny": dict(encoder_block_out_channels=[4] * 4, decoder_block_out_channels=[4] * 4, num_encoder_blocks=[1, 3, 3, 3], num_decoder_blocks=[3, 3, 3, 1],
                     latent_channels=4, scaling_factor=1.0),
    # Another width, number of blocks and of stages on each side, and a scale.
    "vae_tiny_odd": dict(encoder_block_out_channels=[5] * 3, decoder_block_out_channels=[7] * 3, num_encoder_blocks=[0, 1, 2], num_decoder_blocks=[2, 0, 1],
                         latent_channels=3, scaling_factor=0.7, latent_magnitude=2, latent_shift=0.25),
}


def case_tiny(name, dtype):
    """Latents beyond the clamp's range are among z. All weights' gradients for the smaller one."""
    draw, odd = Draws(name, dtype), name == "vae_tiny_odd"
    vae = store(randomise(AutoencoderTiny(**TINY_VAES[name]), draw, 0.7 if odd else 1.0), f"{name}/vae", dtype)
    io = dict(x=draw.normal(1, 3, *((20, 28) if odd else (40, 24))))
    io["latents"] = vae.encode(io["x"]).latents
    io["z"] = draw.normal(*io["latents"].shape, scale=3).requires_grad_(True)
    io["y"] = vae.decode(io["z"]).sample
    io["w"], io["u"] = draw.normal(*io["y"].shape), draw.normal(*io["latents"].shape)
    weights = {n: p.requires_grad_(True) for n, p in vae.named_parameters()} if odd else {}
    x = io["x"].clone().requires_grad_(True)
    io["y"] = vae.decode(io["z"]).sample
    loss = (io["w"] * io["y"]).sum() + (io["u"] * vae.encode(x).latents).sum()
    grads = torch.autograd.grad(loss, [x, io["z"], *weights.values()])
    io["dx"], io["dz"] = grads[:2]
    io.update({f"grad.{n}": g for n, g in zip(weights, grads[2:])})
    return io


# Tile in pixels -> pictures. Edge tiles of all sizes: as large as the overlap, smaller, larger.
TILED = {16: [(40, 28), (36, 12)], 32: [(44, 36)]}


def case_tiled(name, dtype):
    """Of vae_sd, by diffusers' own tiles: encode and decode of enable_tiling."""
    draw = Draws(name, dtype)
    vae = AutoencoderKL.from_pretrained(os.path.join(ROOT, "vae_sd", "vae")).to(dtype)
    vae.enable_tiling()
    io = {}
    for tile, sizes in TILED.items():
        vae.tile_sample_min_size, vae.tile_latent_min_size = tile, tile // 4
        for h, w in sizes:
            x, z = draw.normal(1, 3, h, w), draw.normal(1, 4, h // 4, w // 4)
            dist = vae.encode(x).latent_dist
            io.update({f"{tile}.{h}.{k}": v for k, v in dict(x=x, z=z, mean=dist.mean, logvar=dist.logvar, y=vae.decode(z).sample).items()})
    return io


def case_vae(name, dtype):
    draw, config = Draws(name, dtype), VAES[name]
    vae = store(randomise(AutoencoderKL(**config), draw), f"{name}/vae", dtype)
    size = (40, 24) if name == "vae_sd" else (14, 10)
    io = dict(x=draw.normal(2, 3, *size))
    posterior = vae.encode(io["x"]).latent_dist
    io["mean"], io["logvar"] = posterior.mean, posterior.logvar
    io["noise"] = draw.normal(*io["mean"].shape)
    io["sample"] = io["mean"] + torch.exp(0.5 * io["logvar"]) * io["noise"]
    io["z"] = draw.normal(*io["mean"].shape).requires_grad_(True)
    weights = {} if name == "vae_sd" else {n: p.requires_grad_(True) for n, p in vae.named_parameters() if n.startswith("decoder")}
    io["y"] = vae.decode(io["z"]).sample
    io["w"] = draw.normal(*io["y"].shape)
    grads = torch.autograd.grad((io["w"] * io["y"]).sum(), [io["z"], *weights.values()])
    io["dz"] = grads[0]
    io.update({f"grad.{n}": g for n, g in zip(weights, grads[1:])})
    return io


# ---- Sampling

PIPES = {"ddim_epsilon": ("epsilon", 0.0), "ddim_v": ("v_prediction", 0.0), "ddim_eta": ("epsilon", 0.5)}


def case_ddim(name, dtype):
    """Ten DDIM steps with guidance 5 on the UNet of unet_sd1; latents.I is what stands after step I."""
    kind, eta = PIPES[name]
    draw, scheduler = Draws(name, dtype), DDIMScheduler(**SCHEDULE, prediction_type=kind)
    unet = UNet2DConditionModel.from_pretrained(os.path.join(ROOT, "unet_sd1", "unet")).eval().requires_grad_(False).to(dtype)
    if dtype == torch.float64:
        scheduler.save_pretrained(os.path.join(ROOT, name, "scheduler"))
    io = dict(x=draw.normal(2, 4, 9, 7), cond=draw.normal(2, 7, 16), uncond=draw.normal(1, 7, 16).repeat(2, 1, 1))
    scheduler.set_timesteps(10)
    io["t"], x = scheduler.timesteps.clone(), io["x"]
    noises = draw.normal(10, *x.shape) if eta else None
    if eta:
        io.update({f"noise.{i}": z for i, z in enumerate(noises)})
    for i, t in enumerate(scheduler.timesteps):
        y = unet(torch.cat([x, x]), t, torch.cat([io["uncond"], io["cond"]])).sample
        guided = y[:2] + 5.0 * (y[2:] - y[:2])
        x = scheduler.step(guided, t, x, eta=eta, variance_noise=noises[i] if eta else None).prev_sample
        io[f"latents.{i}"] = x
    return io


# ---- All of them

def relative(a, b):
    return ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-30)).item()


def worst_noise(single, exact):
    """Of every tensor; of gradients and of final weights only the worst."""
    out = {}
    for key, value in exact.items():
        if value.is_floating_point():
            group = key.split(".")[0] if key.startswith(("grad.", "after.")) else key
            out[group] = max(out.get(group, 0.0), float(f"{relative(single[key], value):.1e}"))
    return {group: error for group, error in out.items() if error}


def plain(tensor):
    tensor = tensor.detach()
    return (tensor.to(torch.int32) if not tensor.is_floating_point() else tensor.float()).contiguous()


def settle(path):
    """Rewrites a safetensors header with its metadata in order: the library's own order changes from run to run."""
    with open(path, "rb") as f:
        data = f.read()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + data[end:])


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    only, log = sys.argv[1:], os.path.join(ROOT, "noise.json")
    lora = ["lora_sd1", "lora_micro", "lora_sd1_conv"]
    cases = [(case_unet, UNETS), (case_dpo, DPO), (case_lora, lora), (case_clip, CLIPS), (case_vae, VAES), (case_tiny, TINY_VAES), (case_tiled, ["vae_tiled"]), (case_ddim, PIPES)]
    versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers, peft, safetensors)}
    versions["python"], noise = sys.version.split()[0], {}
    if only:
        noise = json.load(open(log))["noise_of_f32"]
    else:
        shutil.rmtree(ROOT, ignore_errors=True)
    for make, names in cases:
        for name in names:
            if only and name not in only:
                continue
            os.makedirs(os.path.join(ROOT, name), exist_ok=True)
            exact, single = make(name, torch.float64), make(name, torch.float32)
            noise[name] = worst_noise(single, exact)
            text = {"made_by": "tests/golden/make_models.py", **{k: str(v) for k, v in versions.items()}}
            save_file({k: plain(v) for k, v in exact.items()}, os.path.join(ROOT, name, "io.safetensors"), text)
            worst = max(noise[name], key=noise[name].get)
            print(f"{name:16} worst noise of f32 {noise[name][worst]:.1e} in {worst}" + (f"  loss {exact['loss']:.4f} z {exact['z'].tolist()}" if "z" in exact and "loss" in exact else ""))
            if "losses" in exact:
                print(" " * 16, "losses", [round(v, 4) for v in exact["losses"].tolist()], "norms", [round(v, 3) for v in exact["grad_norms"].tolist()])
    with open(log, "w") as f:
        json.dump({"made_by": "tests/golden/make_models.py", "versions": versions, "noise_of_f32": noise}, f, indent=1)
        f.write("\n")
    paths = [os.path.join(d, n) for d, _, files in os.walk(ROOT) for n in files]
    for path in paths:
        if path.endswith(".safetensors"):
            settle(path)
    size = sum(os.path.getsize(path) for path in paths)
    print(f"{size} bytes in {ROOT}")
    assert size < LIMIT, "the goldens must stay below 4.5 MB"


if __name__ == "__main__":
    main()
