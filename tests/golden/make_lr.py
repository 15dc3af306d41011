#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/lr.json: learning-rate factors by diffusers.optimization.get_scheduler."""
import json, os, warnings
import diffusers, torch
from diffusers.optimization import get_scheduler

warnings.filterwarnings("ignore")
rows = []
for name in ["constant", "constant_with_warmup", "linear", "cosine"]:
    for warmup, total in [(0, 10), (3, 10), (1, 7), (10, 50)]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
        factors = []
        for _ in range(total + 1):
            factors.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        rows.append({"name": name, "warmup": warmup, "total": total, "factors": [float(f"{f:.12g}") for f in factors]})
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "lr.json")
with open(path, "w") as f:
    f.write(json.dumps({"made_by": "tests/golden/make_lr.py", "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__}})[:-1])
    f.write(', "rows": [\n' + ",\n".join(json.dumps(r) for r in rows) + "]}\n")
