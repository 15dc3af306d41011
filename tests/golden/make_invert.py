#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/tiny/invert.safetensors: DDIM inversion of two pictures with the tiny model, and pictures from torch's seeds.

    encoded                 latents of PICTURES, the mean of the posterior
    KIND.SPACING.noise      their inversion by diffusers' DDIMInverseScheduler, KIND being what the denoiser's output is taken for
    KIND.SPACING.back       what DDIMScheduler makes of that noise; guided.*: with guidance
    KIND.SPACING.solved     the noise after ROUNDS fixed-point iterations a step, as described at `solve`
    xl.*                    the same of the SDXL of make_pipelines.py, which is told sizes; guided: against zeros
    seeds.SAMPLER.latents   what the pipeline draws from SEEDS, a generator a picture, guidance rescaled (float32; the others in double)
"""
import os, sys
import diffusers, numpy, torch, transformers
from diffusers import DDIMInverseScheduler, DDIMScheduler, DDPMScheduler, EulerAncestralDiscreteScheduler, LCMScheduler
from PIL import Image
from safetensors.torch import save_file

import make_pipelines
from make_models import SCHEDULE, plain, settle
from make_tiny import CFG, NEGATIVE, PROMPTS, ROOT, SIZE, pipeline

PICTURES, CAPTIONS = ["red-ball-good.png", "blue-box-good.png"], ["a red ball", "a blue box"]
STEPS, ROUNDS, SEEDS, RESCALE = 5, 4, [42, 2**32 + 7], 0.7
KINDS = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample"}
CASES = [("epsilon", "leading"), ("v", "leading"), ("v", "trailing"), ("sample", "leading")]
SAMPLERS = {"ddim": (DDIMScheduler, 0.7), "ddpm": (DDPMScheduler, 0), "euler_a": (EulerAncestralDiscreteScheduler, 0), "lcm": (LCMScheduler, 0)}


def told(pipe, cfg):
    """Hidden states and, for SDXL, what else the denoiser is told."""
    if hasattr(pipe, "text_encoder_2"):
        rows = pipe.encode_prompt(CAPTIONS, device="cpu", do_classifier_free_guidance=cfg != 1)
        text, pooled = [torch.cat([a, b]) if cfg != 1 else b for a, b in ((rows[1], rows[0]), (rows[3], rows[2]))]
        sizes = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]], dtype=text.dtype).repeat(len(text), 1)
        return text, dict(text_embeds=pooled, time_ids=sizes)
    ids = lambda texts: pipe.tokenizer(texts, padding="max_length", max_length=16, truncation=True, return_tensors="pt").input_ids
    return pipe.text_encoder(ids(CAPTIONS if cfg == 1 else [NEGATIVE] * 2 + CAPTIONS))[0], None


class Inverter:
    def __init__(self, pipe, kind, spacing, cfg=1.0):
        self.unet, self.cfg = pipe.unet, cfg
        self.text, self.more = told(pipe, cfg)
        config = dict(SCHEDULE, prediction_type=KINDS[kind], timestep_spacing=spacing)
        self.down, self.up = DDIMScheduler(**config), DDIMInverseScheduler(**config)
        self.down.set_timesteps(STEPS), self.up.set_timesteps(STEPS)

    def predict(self, x, t):
        if self.cfg == 1:
            return self.unet(x, t, self.text, added_cond_kwargs=self.more).sample
        y = self.unet(torch.cat([x, x]), t, self.text, added_cond_kwargs=self.more).sample
        return y[:2] + self.cfg * (y[2:] - y[:2])

    def plain(self, x):
        for t in self.up.timesteps:
            x = self.up.step(self.predict(x, t), t, x).prev_sample
        return x

    def sample(self, x):
        for t in self.down.timesteps:
            x = self.down.step(self.predict(x, t), t, x).prev_sample
        return x

    def solve(self, x):
        """Seeks the x from which the sampling step leads back, each picture for itself: from the best x so far by w times what
        would be right if the prediction stayed, w halved when the result is worse."""
        for t in self.up.timesteps:
            target, x = x, self.up.step(self.predict(x, t), t, x).prev_sample
            # The share of x in the step if the prediction stays, or, where that is the sample, if the noise stays.
            share = self.down.step(torch.zeros(1).double(), t, torch.ones(1).double()).prev_sample
            if self.down.config.prediction_type == "sample":
                a, before = self.down.alphas_cumprod[t], t - 1000 // STEPS
                share = ((self.down.alphas_cumprod[before] if before >= 0 else self.down.final_alpha_cumprod) / a).sqrt()
            best, gap, least, w = x.clone(), torch.zeros_like(x), [float("inf")] * 2, [1.0] * 2
            for _ in range(ROUNDS):
                miss = target - self.down.step(self.predict(x, t), t, x).prev_sample
                x = x.clone()
                for i in range(2):
                    residual = (miss[i].norm() / target[i].norm()).item()
                    if residual < least[i]:
                        least[i], best[i], gap[i] = residual, x[i], miss[i] / share
                    else:
                        w[i] /= 2
                    x[i] = best[i] + w[i] * gap[i]
        return x


def encode(pipe, dtype):
    pictures = [numpy.asarray(Image.open(os.path.join(ROOT, "pictures", name)).convert("RGB")) for name in PICTURES]
    pixels = torch.from_numpy(numpy.stack(pictures)).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1
    return pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor


def inversions(dtype):
    pipe, out = pipeline(dtype), {}
    out["encoded"] = encode(pipe, dtype)
    error = lambda a: ((a - out["encoded"]).norm() / out["encoded"].norm()).item()
    for kind, spacing in CASES:
        inverter, name = Inverter(pipe, kind, spacing), f"{kind}.{spacing}"
        out[name + ".noise"] = inverter.plain(out["encoded"])
        out[name + ".back"] = inverter.sample(out[name + ".noise"])
        out[name + ".solved"] = inverter.solve(out["encoded"])
        print(f"{name}: error of the round trip {error(out[name + '.back']):.1e}, solved {error(inverter.sample(out[name + '.solved'])):.1e}")
    guided = Inverter(pipe, "v", "leading", CFG)
    out["guided.noise"] = guided.plain(out["encoded"])
    out["guided.back"] = guided.sample(out["guided.noise"])
    return out | sdxl(dtype)


def sdxl(dtype):
    pipe, out = make_pipelines.pipeline("xl", dtype), {}
    out["xl.encoded"] = encode(pipe, dtype)
    for name, kind, cfg in (("epsilon", "epsilon", 1.0), ("v", "v", 1.0), ("guided", "epsilon", CFG)):
        inverter = Inverter(pipe, kind, "leading", cfg)
        out[f"xl.{name}.noise"] = inverter.plain(out["xl.encoded"])
        if cfg == 1:
            out[f"xl.{name}.solved"] = inverter.solve(out["xl.encoded"])
    return out


def seeds():
    pipe, out = pipeline(torch.float32), {}
    pipe.set_progress_bar_config(disable=True)
    # From the file: of a scheduler made in memory another class takes only what was given explicitly.
    config = DDIMScheduler.from_pretrained(os.path.join(ROOT, "model"), subfolder="scheduler").config
    for name, (scheduler, eta) in SAMPLERS.items():
        pipe.scheduler = scheduler.from_config(config)
        out[f"seeds.{name}.latents"] = pipe(prompt=PROMPTS, negative_prompt=[NEGATIVE] * 2, guidance_scale=CFG, guidance_rescale=RESCALE, eta=eta,
                                            num_inference_steps=STEPS, height=SIZE, width=SIZE, output_type="latent",
                                            generator=[torch.Generator().manual_seed(s) for s in SEEDS]).images
    return out


def main():
    torch.set_num_threads(1)
    exact, single = inversions(torch.float64), inversions(torch.float32)
    for key, value in exact.items():
        print(f"{key:24} largest {value.abs().max():.3f}, noise of f32 {(single[key].double() - value).abs().max() / value.abs().max():.1e}")
    exact |= seeds()
    versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers)}
    path = os.path.join(ROOT, "invert.safetensors")
    save_file({k: plain(v) for k, v in exact.items()}, path, {"made_by": "tests/golden/make_invert.py", **versions})
    settle(path)
    os.chmod(path, 0o644)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
