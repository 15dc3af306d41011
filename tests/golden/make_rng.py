#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/rng_torch.json: torch.randn on the CPU, several calls of one generator.

Of a tensor with more than 40 values the first and last 20 are kept, and `sum`, the sum of all weighted by (7919 i mod 1013) / 1013.
"""
import json, os
import torch

SIZES = [4, 17, 256, 3, 16, 255, 257, 5, 1, 16384, 1, 12288 + 7, 15]
LISTS = {seed: SIZES for seed in [0, 2**31, 2**32 - 1, 2**32 + 5, 2**53]} | {42: list(range(1, 41)) + [16384]}


def call(generator, n):
    x = torch.randn(n, generator=generator, dtype=torch.float32)
    weights = torch.tensor([7919 * i % 1013 / 1013 for i in range(n)], dtype=torch.float64)
    kept = x if n <= 40 else torch.cat([x[:20], x[-20:]])
    return {"n": n, "x": [float(f"{v:.8g}") for v in kept.tolist()], "sum": float(f"{(x.double() * weights).sum().item():.10g}")}


runs = []
for seed, sizes in LISTS.items():
    generator = torch.Generator().manual_seed(seed)
    runs.append({"seed": seed, "calls": [call(generator, n) for n in sizes]})
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "rng_torch.json")
head = {"made_by": "tests/golden/make_rng.py", "versions": {"torch": torch.__version__}, "processor": torch.backends.cpu.get_cpu_capability()}
with open(path, "w") as f:
    f.write(json.dumps(head)[:-1] + ', "runs": [\n' + ",\n".join(json.dumps(r, separators=(",", ":")) for r in runs) + "]}\n")
