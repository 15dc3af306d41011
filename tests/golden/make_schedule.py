#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/schedule.json: noise schedules, timesteps, DDIM and inverse DDIM trajectories by diffusers, with a fake model."""
import itertools, json, math, os, sys, warnings
import diffusers, torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

warnings.filterwarnings("ignore")
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
SPACINGS, TYPES = ["leading", "trailing", "linspace"], ["epsilon", "v_prediction", "sample"]
STEPS = [1, 4, 10, 25, 50, 999, 1000]
START = [0.9, -1.4, 0.2]


def num(x):
    return float(f"{x:.8g}")


def finite(values):
    return [num(v) for v in values] if all(math.isfinite(v) for v in values) else None


def run(s, steps, eta=0.0, clipped=False, inverse=False):
    """Count, first, last and a weighted sum of the timesteps; x after the first and the last step (None: not finite)."""
    s.set_timesteps(steps)
    ts = [int(t) for t in s.timesteps]
    out = [len(ts), ts[0], ts[-1], sum((i + 1) * t for i, t in enumerate(ts)) % 1000003]
    x, first = torch.tensor(START, dtype=torch.float64), None
    for i, t in enumerate(ts):
        if t < 0 or t >= s.config.num_train_timesteps:
            return out + [None, None]
        y = 0.3 * x + 0.1 * math.sin(t)
        if inverse:
            x = s.step(y, t, x).prev_sample
        else:
            z = torch.tensor([math.sin(1.3 * i + j) for j in range(3)], dtype=torch.float64)
            x = s.step(y, t, x, eta=eta, use_clipped_model_output=clipped, variance_noise=z if eta else None).prev_sample
        first = finite(x.tolist()) if i == 0 else first
    return out + [first, finite(x.tolist())]


def main():
    runs, inverse, alphas = [], [], []
    for spacing, offset, one, kind, eta, zero in itertools.product(SPACINGS, [0, 1], [True, False], TYPES, [0, 0.7], [False, True]):
        c = dict(SD, timestep_spacing=spacing, steps_offset=offset, set_alpha_to_one=one, prediction_type=kind, rescale_betas_zero_snr=zero)
        for steps in STEPS:
            if steps >= 999 and (eta or not one):
                continue
            runs.append([SPACINGS.index(spacing), offset, int(one), TYPES.index(kind), eta, int(zero), 0, 0, steps] + run(DDIMScheduler(**c), steps, eta))
    for kind, clipped, eta in itertools.product(TYPES, [False, True], [0, 0.7]):
        c = dict(SD, prediction_type=kind, clip_sample=True, clip_sample_range=0.5)
        runs.append([0, 0, 1, TYPES.index(kind), eta, 0, 0.5, int(clipped), 10] + run(DDIMScheduler(**c), 10, eta, clipped))
    for spacing, offset, one, kind, steps in itertools.product(SPACINGS[:2], [0, 1], [True, False], TYPES, [1, 4, 10, 50]):
        c = dict(SD, timestep_spacing=spacing, steps_offset=offset, set_alpha_to_one=one, prediction_type=kind)
        inverse.append([SPACINGS.index(spacing), offset, int(one), TYPES.index(kind), steps] + run(DDIMInverseScheduler(**c), steps, inverse=True))
    for kind, zero, n in itertools.product(["linear", "scaled_linear", "squaredcos_cap_v2"], [False, True], [1000, 37]):
        s = DDIMScheduler(beta_schedule=kind, rescale_betas_zero_snr=zero, num_train_timesteps=n)
        index = sorted({0, 1, 2, n // 3, n // 2 - 1, n // 2, n - 3, n - 2, n - 1})
        alphas.append({"config": {"beta_schedule": kind, "rescale_betas_zero_snr": zero, "num_train_timesteps": n}, "index": index,
                       "alphas": [float(f"{float(s.alphas_cumprod[i]):.9g}") for i in index]})
    s = DDIMScheduler(trained_betas=[0.1, 0.25, 0.5], num_train_timesteps=3)
    alphas.append({"config": {"trained_betas": [0.1, 0.25, 0.5], "num_train_timesteps": 3}, "index": [0, 1, 2], "alphas": [float(a) for a in s.alphas_cumprod]})
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "schedule.json")
    head = {"made_by": "tests/golden/make_schedule.py", "versions": {"python": sys.version.split()[0], "torch": torch.__version__, "diffusers": diffusers.__version__},
            "model": "y = 0.3 x + 0.1 sin(t); noise j of step i is sin(1.3 i + j); x starts at " + str(START),
            "runs_are": "spacing offset alpha_to_one type eta zero_snr clip clipped_eps steps | count first last weighted_sum x_first x_last",
            "inverse_are": "spacing offset alpha_to_one type steps | as above"}
    with open(path, "w") as f:
        f.write(json.dumps(head)[:-1])
        for name, rows in [("alphas", alphas), ("inverse", inverse), ("runs", runs)]:
            f.write(f',\n"{name}": [\n' + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "]")
        f.write("}\n")


if __name__ == "__main__":
    main()
