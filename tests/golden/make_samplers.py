#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/samplers.json: whole runs of diffusers' schedulers with a fake model, over configs and step counts."""
import itertools, json, math, os, sys, warnings
import diffusers, torch
from diffusers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, LCMScheduler)

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SPACINGS, TYPES = ["leading", "trailing", "linspace"], ["epsilon", "v_prediction", "sample"]
START = [0.9, -1.4, 0.2]
index = 0  # of the step under way


def noise(shape, **_):
    return torch.tensor([[math.sin(1.3 * index + j) for j in range(3)]], dtype=torch.float32)


for scheduler in (DDPMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, LCMScheduler):
    sys.modules[scheduler.__module__].randn_tensor = noise


def num(x):
    return float(f"{float(x):.9g}")


def run(cls, config, steps):
    """The first scale, all timesteps, and x after every step."""
    global index
    s = cls(**config)
    s.set_timesteps(steps)
    scale = float(s.init_noise_sigma)
    x = torch.tensor([START], dtype=torch.float32) * scale
    path = []
    for index, t in enumerate(s.timesteps):
        y = 0.3 * s.scale_model_input(x, t) + 0.1 * math.sin(float(t))
        x = s.step(y, t, x, return_dict=False)[0]
        path.append([num(v) for v in x[0]])
    return {"class": cls.__name__, "config": config, "steps": steps, "scale": num(scale), "t": [num(t) for t in s.timesteps],
            "x": path}


def main():
    runs = []
    for spacing, kind, steps in itertools.product(SPACINGS, TYPES, [1, 4, 25]):
        c = dict(SD, timestep_spacing=spacing, prediction_type=kind, steps_offset=1)
        runs.append(run(EulerDiscreteScheduler, c, steps))
        runs.append(run(DPMSolverMultistepScheduler, c, steps))
        if kind != "sample":
            runs.append(run(EulerAncestralDiscreteScheduler, c, steps))
        if steps > 1:
            runs.append(run(EulerDiscreteScheduler, dict(c, use_karras_sigmas=True), steps))
            runs.append(run(DPMSolverMultistepScheduler, dict(c, use_karras_sigmas=True), steps))
        runs.append(run(DDPMScheduler, dict(c, clip_sample=False), steps))
        runs.append(run(DDIMScheduler, dict(c, clip_sample=False), steps))
    for cls in (EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DPMSolverMultistepScheduler, DDPMScheduler, LCMScheduler):
        runs.append(run(cls, {}, 7))  # the class's own defaults
    for cls in (EulerDiscreteScheduler, DPMSolverMultistepScheduler):
        for steps in (5, 20):
            runs.append(run(cls, dict(SD, final_sigmas_type="sigma_min"), steps))
        runs.append(run(cls, dict(SD, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing"), 6))
    # DPMSolverMultistepScheduler fails here: of its timesteps two are equal.
    runs.append(run(EulerDiscreteScheduler, dict(beta_schedule="squaredcos_cap_v2", use_karras_sigmas=True), 6))
    runs.append(run(DDPMScheduler, dict(SD, variance_type="fixed_large"), 6))
    runs.append(run(DDPMScheduler, dict(SD, clip_sample=True, clip_sample_range=0.5), 6))
    for kind, steps in itertools.product(TYPES, [1, 2, 4, 8, 50]):
        runs.append(run(LCMScheduler, dict(SD, prediction_type=kind), steps))
    runs.append(run(LCMScheduler, dict(SD, original_inference_steps=100, timestep_scaling=5.0, clip_sample=True), 3))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "samplers.json")
    head = {"made_by": "tests/golden/make_samplers.py",
            "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "diffusers": diffusers.__version__},
            "model": "y = 0.3 scaled(x) + 0.1 sin(t); noise j of step i is sin(1.3 i + j); x starts at scale times " + str(START)}
    with open(path, "w") as f:
        f.write(json.dumps(head)[:-1] + ',\n"runs": [\n' + ",\n".join(json.dumps(r, separators=(",", ":")) for r in runs) + "]}\n")


if __name__ == "__main__":
    main()
