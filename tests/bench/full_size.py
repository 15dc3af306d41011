#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The denoisers of Stable Diffusion 1.5 and SDXL at their full size, with random weights, on the CPU: attune against
PyTorch (diffusers' UNet, peft's LoRA).

    python3 tests/bench/full_size.py --attune build/attune
    python3 tests/bench/full_size.py --attune build/attune --model sdxl --task forward
    python3 tests/bench/full_size.py --attune build/attune --model sdxl --size 512 --task dpo
    python3 tests/bench/full_size.py --attune build/attune --threads 1 --processor

A folder of configs is made (weights need no file). Tasks: `forward` is one run of the denoiser on one latent; `dpo` is
one step of Diffusion-DPO on one pair: the reference's errors without gradient and with the adapter off, the policy's
forward and backward pass, clipping, AdamW; LoRA of rank 8 on to_q, to_k, to_v, to_out.0. Latents and text states are
noise. Each side runs in a process of its own, in turn, --rounds times; a process first runs once unmeasured.

Printed are medians of seconds and peaks of resident memory (ru_maxrss of the process, both sides alike: it includes the
interpreter and libraries of PyTorch). attune keeps frozen matrices in --weights; PyTorch computes in f32, contiguous
and channels last. --processor prints processor seconds instead of wall-clock time, which a busy machine disturbs less;
with one thread nothing spins. Needs torch, diffusers, peft; SDXL takes 11 GB on PyTorch's side, and much more for a
step of training: --size.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
BETA, RANK, LR = 2000.0, 8, 1e-6

UNETS = {
    "sd15": {
        "sample_size": 64, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768,
        "attention_head_dim": 8, "layers_per_block": 2,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    },
    "sdxl": {
        "sample_size": 128, "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20], "layers_per_block": 2, "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "down_block_types": ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
        "up_block_types": ["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
    },
}
VAE = {
    "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 2,
    "block_out_channels": [128, 256, 512, 512], "norm_num_groups": 32, "act_fn": "silu", "sample_size": 512,
    "scaling_factor": 0.18215, "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
SCHEDULE = {
    "_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000, "prediction_type": "epsilon", "steps_offset": 1,
}


def text_config(width, layers, heads, act, projection):
    name = "CLIPTextModelWithProjection" if projection else "CLIPTextModel"
    return {"architectures": [name], "model_type": "clip_text_model", "hidden_size": width, "hidden_act": act,
            "intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "max_position_embeddings": 77, "vocab_size": 49408, "layer_norm_eps": 1e-5, "projection_dim": width,
            "eos_token_id": 2}


def make_folder(model, out):
    """A model folder in the layout of diffusers, without weights; the tokenizer is the embedded model's."""
    xl = model == "sdxl"
    unet = dict(UNETS[model], _class_name="UNet2DConditionModel", in_channels=4, out_channels=4, act_fn="silu")
    parts = {"unet": ("diffusers", unet), "vae": ("diffusers", VAE), "scheduler": ("diffusers", SCHEDULE),
             "text_encoder": ("transformers", text_config(768, 12, 12, "quick_gelu", False))}
    if xl:
        parts["text_encoder_2"] = ("transformers", text_config(1280, 32, 20, "gelu", True))
    index = {"_class_name": "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline"}
    for name, (library, config) in parts.items():
        os.makedirs(f"{out}/{name}")
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        pathlib.Path(out, name, file).write_text(json.dumps(config), encoding="utf-8")
        index[name] = [library, config["_class_name"] if library == "diffusers" else config["architectures"][0]]
    for name in ["tokenizer", "tokenizer_2"][: 1 + xl]:
        shutil.copytree(ROOT / "datasets/emoji/model/tokenizer", f"{out}/{name}")
        path = pathlib.Path(out, name, "tokenizer_config.json")
        config = dict(json.loads(path.read_text(encoding="utf-8")), model_max_length=77)
        path.write_text(json.dumps(config), encoding="utf-8")
        index[name] = ["transformers", "CLIPTokenizer"]
    pathlib.Path(out, "model_index.json").write_text(json.dumps(index), encoding="utf-8")


# --- PyTorch, in a process of its own ---------------------------------------------------------------------------------


class Torch:
    def __init__(self, a):
        import torch
        from diffusers import UNet2DConditionModel

        torch.set_num_threads(a.threads)
        torch.set_flush_denormal(True)
        torch.manual_seed(0)
        self.torch, self.a = torch, a
        config = UNETS[a.model]
        with torch.device("meta"):
            unet = UNet2DConditionModel(in_channels=4, out_channels=4, **config)
        self.unet = unet.to_empty(device="cpu").requires_grad_(False)
        with torch.no_grad():
            for p in self.unet.parameters():
                p.normal_(std=0.02)
        self.format = torch.channels_last if a.channels_last else torch.contiguous_format
        self.unet.to(memory_format=self.format)
        if a.task == "dpo":
            from peft import LoraConfig

            self.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
            self.lora = [p for p in self.unet.parameters() if p.requires_grad]
            self.optimizer = torch.optim.AdamW(self.lora, lr=LR, weight_decay=0.01)
        n, side = 2 if a.task == "dpo" else 1, a.size // 8
        self.x = torch.randn(n, 4, side, side).contiguous(memory_format=self.format)
        self.target = torch.randn(n, 4, side, side)
        self.t = torch.full((n,), 500)
        self.states = torch.randn(n, 77, config["cross_attention_dim"])
        self.added = None
        if "addition_embed_type" in config:
            size = float(8 * side)
            self.added = {"text_embeds": torch.randn(n, 1280),
                          "time_ids": torch.tensor([[size, size, 0, 0, size, size]] * n)}

    def denoise(self):
        return self.unet(self.x, self.t, encoder_hidden_states=self.states, added_cond_kwargs=self.added,
                         return_dict=False)[0]

    def errors(self):
        return (self.denoise() - self.target).square().mean((1, 2, 3))

    def forward(self):
        with self.torch.no_grad():
            return self.denoise()

    def dpo(self):
        torch = self.torch
        self.unet.disable_adapters()
        with torch.no_grad():
            reference = self.errors()
        self.unet.enable_adapters()
        win, lose = self.errors() - reference
        loss = -torch.nn.functional.logsigmoid(-BETA / 2 * (win - lose))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.lora, 1.0)
        self.optimizer.step()


def job(a):
    side = Torch(a)
    run = side.dpo if a.task == "dpo" else side.forward
    clock = time.process_time if a.processor else time.perf_counter
    run()
    seconds = []
    for _ in range(a.runs):
        start = clock()
        run()
        seconds.append(clock() - start)
    print(json.dumps({"seconds": seconds}))


# --- what measures ----------------------------------------------------------------------------------------------------


def run_process(command):
    """What it printed, and its peak of resident memory in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} failed with status {process.returncode}; its message stands above")
    return json.loads(out), usage.ru_maxrss / 1024


def attune(a, task, folder):
    name = "dpo" if task == "dpo" else "denoiser"
    command = [a.attune, "bench", "model", "-m", folder, "--untrained", "--task", name, "--batch", "1", "--runs",
               str(a.runs), "--size", str(a.size), "--weights", a.weights, "--device", "cpu", "--threads",
               str(a.threads), "--json"]
    result, peak = run_process(command)
    return result["tasks"][0]["processor_seconds" if a.processor else "seconds"], peak


def pytorch(a, task, channels_last):
    command = [sys.executable, __file__, "--job", "--model", a.model, "--task", task, "--threads", str(a.threads),
               "--runs", str(a.runs), "--size", str(a.size)]
    command += ["--channels-last"] * channels_last + ["--processor"] * a.processor
    result, peak = run_process(command)
    return statistics.median(result["seconds"]), peak


def measure(a, task, folder):
    sides = {f"attune, {a.weights} weights": lambda: attune(a, task, folder),
             "PyTorch": lambda: pytorch(a, task, False),
             "PyTorch, channels last": lambda: pytorch(a, task, True)}
    results = {name: [] for name in sides}
    for _ in range(a.rounds):
        for name, run in sides.items():
            results[name].append(run())
    rows = [(name, statistics.median(s for s, _ in r), max(p for _, p in r)) for name, r in results.items()]
    unit = "processor seconds" if a.processor else "seconds"
    print(f"\n| {a.model} at {a.size}, {task} | {unit} | peak resident MiB |\n|---|---|---|")
    for name, seconds, peak in rows:
        spread = f" ({min(s for s, _ in results[name]):.2f} to {max(s for s, _ in results[name]):.2f})"
        print(f"| {name} | {seconds:.2f}{spread if a.rounds > 1 else ''} | {peak:.0f} |")
    fastest, smallest = min(s for _, s, _ in rows[1:]), min(p for _, _, p in rows[1:])
    print(f"\nattune takes {rows[0][1] / fastest:.2f} of the time of the fastest and {rows[0][2] / smallest:.2f} of "
          "the memory of the smallest.", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--attune", default="build/attune")
    p.add_argument("--model", choices=list(UNETS), default="sd15")
    p.add_argument("--task", choices=["forward", "dpo"], action="append", help="default: both")
    p.add_argument("--weights", default="f16", help="of attune: f32, f16 or bf16 (default: f16)")
    p.add_argument("--size", type=int, help="pixels of a side (default: 512, and 1024 of SDXL)")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--runs", type=int, default=3, help="measured in a process (default: 3)")
    p.add_argument("--processor", action="store_true", help="processor seconds instead of wall-clock time")
    p.add_argument("--folder", help="where to make the folder of configs, to keep it (default: a temporary one)")
    p.add_argument("--job", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--channels-last", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    a.size = a.size or 8 * UNETS[a.model]["sample_size"]
    if a.job:
        a.task = a.task[0]
        return job(a)
    if not os.access(a.attune, os.X_OK):
        sys.exit(f"--attune {a.attune}: there is no such program")
    print(f"{platform.machine()}, {a.threads} thread{'s' * (a.threads > 1)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = a.folder or f"{scratch}/{a.model}"
        make_folder(a.model, folder)
        for task in a.task or ["forward", "dpo"]:
            measure(a, task, folder)
    return None


if __name__ == "__main__":
    main()
