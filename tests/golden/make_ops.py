#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/ops.safetensors: ops with their gradients by PyTorch and diffusers, computed in double, stored in float.

A case is the tensors case/in0.., case/y, case/dy (a random weight of the loss <dy, y>) and case/d0.. (the gradients).
Images are (N,H,W,C) and convolution weights (O,KH,KW,I), as in attune; PyTorch gets its own layouts.
"""
import os

import diffusers
import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.embeddings import get_timestep_embedding
from safetensors.numpy import save_file

torch.manual_seed(5)
tensors = {}


def to32(x):
    return x.detach().to(torch.float32).contiguous().numpy()


def rnd(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).double()  # float values, so that both sides see the same


def case(name, f, inputs, constant=()):
    inputs = [x.clone().requires_grad_(x.is_floating_point() and i not in constant) for i, x in enumerate(inputs)]
    y = f(*inputs)
    for i, x in enumerate(inputs):
        tensors[f"{name}/in{i}"] = to32(x) if x.is_floating_point() else x.to(torch.int32).numpy()
    tensors[f"{name}/y"] = to32(y)
    if not y.requires_grad:
        return
    dy = torch.randn(y.shape).double()
    tensors[f"{name}/dy"] = to32(dy)
    wanted = [i for i, x in enumerate(inputs) if x.requires_grad]
    for i, d in zip(wanted, torch.autograd.grad((y * dy).sum(), [inputs[i] for i in wanted])):
        tensors[f"{name}/d{i}"] = to32(d)


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def conv(stride, pad):  # pad: left, right, top, bottom
    return lambda x, w: nhwc(F.conv2d(F.pad(nchw(x), pad), nchw(w), stride=stride))


def attention(heads, causal):
    def split(x):
        return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)

    def f(q, k, v):
        y = F.scaled_dot_product_attention(split(q), split(k), split(v), is_causal=causal)
        return y.transpose(1, 2).reshape(q.shape)

    return f


def group_norm(groups, eps, silu):
    def f(x, gamma, beta):
        y = nhwc(F.group_norm(nchw(x), groups, gamma, beta, eps))
        return F.silu(y) if silu else y

    return f


def geglu(x):
    module = GEGLU(4, 4)
    module.proj = torch.nn.Identity()
    return module(x)


def masked_error(y, t, mask):
    m = mask[..., None]
    return ((y - t) ** 2 * m).mean((1, 2, 3)) / mask.mean((1, 2))


def gaussian_sample(moments, noise):
    d = DiagonalGaussianDistribution(nchw(moments))
    return nhwc(d.mean + d.std * nchw(noise))


def adamw():
    w = torch.nn.Parameter(rnd(37))
    tensors["adamw/w0"] = to32(w)
    opt = torch.optim.AdamW([w], lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    for t in range(1, 4):
        w.grad = rnd(37)
        tensors[f"adamw/g{t}"] = to32(w.grad)
        opt.step()
        tensors[f"adamw/w{t}"] = to32(w)
    s = opt.state[w]
    tensors["adamw/moments"] = to32(torch.stack([s["exp_avg"], s["exp_avg_sq"]]))


case("matmul_linear", F.linear, [rnd(2, 5, 7), rnd(6, 7)])
case("matmul_plain", lambda a, b: a @ b, [rnd(9, 4), rnd(4, 11)])
case("matmul_ta", lambda a, b: 0.5 * a.T @ b, [rnd(5, 4), rnd(5, 3)])
case("conv_s1", conv(1, (1, 1, 1, 1)), [rnd(2, 5, 6, 3), rnd(4, 3, 3, 3)])
case("conv_s2", conv(2, (1, 1, 1, 1)), [rnd(2, 7, 6, 3), rnd(4, 3, 3, 3)])
case("conv_s2_corner", conv(2, (0, 1, 0, 1)), [rnd(1, 6, 8, 3), rnd(5, 3, 3, 3)])
case("conv_1x1", conv(1, (0, 0, 0, 0)), [rnd(2, 3, 4, 5), rnd(6, 1, 1, 5)])
case("attention_cross", attention(2, False), [rnd(2, 5, 8), rnd(2, 7, 8), rnd(2, 7, 8)])
case("attention_causal", attention(3, True), [rnd(2, 6, 12), rnd(2, 6, 12), rnd(2, 6, 12)])
case("group_norm", group_norm(4, 1e-5, False), [rnd(2, 3, 5, 8), rnd(8), rnd(8)])
case("group_norm_silu", group_norm(2, 1e-6, True), [rnd(2, 3, 5, 8), rnd(8), rnd(8)])
case("layer_norm", lambda x, g, b: F.layer_norm(x, (12,), g, b, 1e-5), [rnd(3, 5, 12), rnd(12), rnd(12)])
case("silu", F.silu, [rnd(3, 41, scale=3)])
case("gelu", F.gelu, [rnd(3, 41, scale=2)])
case("quick_gelu", lambda x: x * torch.sigmoid(1.702 * x), [rnd(3, 41, scale=3)])
case("geglu", geglu, [rnd(3, 5, 14)])
case("upsample_2x", lambda x: nhwc(F.interpolate(nchw(x), scale_factor=2.0, mode="nearest")), [rnd(2, 3, 4, 3)])
case("upsample_odd", lambda x: nhwc(F.interpolate(nchw(x), size=(7, 9), mode="nearest")), [rnd(1, 3, 5, 2)])
case("embed", lambda table, ids: F.embedding(ids, table), [rnd(7, 5), torch.randint(0, 7, (2, 6))])
t = torch.tensor([0.0, 1.0, 17.0, 250.0, 999.0]).double()
case("sinusoid", lambda t: get_timestep_embedding(t, 16, flip_sin_to_cos=True, downscale_freq_shift=0), [t], {0})
case("sinusoid_plain", lambda t: get_timestep_embedding(t, 10, flip_sin_to_cos=False, downscale_freq_shift=1), [t], {0})
case("sq_err", lambda y, t: ((y - t) ** 2).mean((1, 2, 3)), [rnd(3, 4, 5, 2), rnd(3, 4, 5, 2)], {1})
case("sq_err_mask", masked_error, [rnd(2, 4, 5, 3), rnd(2, 4, 5, 3), (rnd(2, 4, 5) > 0).double()], {1, 2})
case("abs_err", lambda y, t: (y - t).abs().mean((1, 2, 3)), [rnd(3, 4, 5, 2), rnd(3, 4, 5, 2)], {1})
moments = rnd(2, 3, 4, 6)
moments[0, 1, 2, 4] = -40.0  # below the clamp: no gradient
case("gaussian_sample", gaussian_sample, [moments, rnd(2, 3, 4, 3)], {1})
case("gaussian_kl", lambda m: DiagonalGaussianDistribution(nchw(m)).kl(), [rnd(2, 3, 4, 6)])
case("bias_sample", lambda x, b: x + b[:, None, None, :], [rnd(2, 3, 4, 5), rnd(2, 5)])
case("concat", lambda a, b: torch.cat([a, b], -1), [rnd(2, 3, 4), rnd(2, 3, 5)])
case("slice", lambda x: x[..., 2:5], [rnd(2, 3, 7)])
case("diff_h", lambda x: torch.diff(x, dim=1), [rnd(2, 4, 5, 3)])
case("diff_w", lambda x: torch.diff(x, dim=2), [rnd(2, 4, 5, 3)])
case("pick", lambda x, i: x[torch.arange(3), i], [rnd(3, 6, 4), torch.tensor([5, 0, 3])])
case("scale_rows", lambda x, s: x * s[:, None, None], [rnd(3, 4, 5), rnd(3)])
case("sum_sample", lambda x: x.sum((1, 2)), [rnd(2, 3, 4, 5)], {0})  # an adjoint: no gradient
adamw()
case("relu", F.relu, [rnd(3, 41, scale=3)])
case("tanh", torch.tanh, [rnd(3, 41, scale=2)])

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "ops.safetensors")
versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "numpy": np.__version__}
save_file(tensors, path, metadata={"made_by": "tests/golden/make_ops.py", **versions})
print(len(tensors), "tensors,", os.path.getsize(path), "bytes")
