#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/guidance.json: classifier-free guidance with diffusers' guidance_rescale."""
import json, os
import diffusers, torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

COUNT = 60
rows = []
wave = lambda a, b: torch.sin(torch.arange(COUNT, dtype=torch.float64) * a + b)
negative, prompt = wave(1.3, 0.2) + 0.3, 0.7 * wave(0.9, 1.0) - 0.1
for scale in [1.5, 7.5, 0.5]:
    for rescale in [0.0, 0.3, 0.7, 1.0]:
        shape = (1, 4, 3, 5)
        y = (negative + scale * (prompt - negative)).reshape(shape)
        y = rescale_noise_cfg(y, prompt.reshape(shape), rescale).reshape(-1)
        rows.append({"scale": scale, "rescale": rescale, "y": [float(f"{v:.8g}") for v in y.tolist()]})
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "guidance.json")
head = {"made_by": "tests/golden/make_guidance.py", "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
        "inputs": "negative i = sin(1.3 i + 0.2) + 0.3, prompt i = 0.7 sin(0.9 i + 1) - 0.1"}
with open(path, "w") as f:
    f.write(json.dumps(head)[:-1] + ', "rows": [\n' + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "]}\n")
