#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One step of Diffusion-DPO with LoRA on the embedded model, on the CPU: attune against PyTorch.

    python3 tests/bench/dpo_step.py --attune build/attune

Both do the same step: 16 pairs, the reference's errors without gradient and with the adapter off, the policy's forward
and backward pass, clipping, AdamW; LoRA of rank 8 on to_q, to_k, to_v, to_out.0; latents and text states computed
before. They run in turn, round by round. PyTorch (diffusers' UNet, peft's LoRA) runs in every way below, with
contiguous and with channels-last memory:

    operators   one process, every operator on all threads
    threads     one process, the batch split over Python threads, gradients summed
    processes   the batch split over processes, gradients summed by torch.distributed (gloo)

Printed are the median of seconds a step, and the peak resident memory (of PyTorch: of processes that only train; of
attune: of the whole `attune train dpo`, which also encodes pictures and texts). Let nothing else run meanwhile.
Needs torch, diffusers, transformers, peft, PIL, numpy.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
BETA, RANK, LR = 2000.0, 8, 5e-4
WAYS = ["operators", "threads", "processes"]


def peak():
    """Bytes resident at most in this process."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


# --- what runs in processes of their own ------------------------------------------------------------------------------


def prepare(a):
    """Latents (pairs,2,C,h,w) and text states (pairs,L,D) of the first pairs, by diffusers, into a file."""
    import numpy as np
    import torch
    from diffusers import AutoencoderKL
    from PIL import Image
    from transformers import CLIPTextModel, CLIPTokenizer

    vae = AutoencoderKL.from_pretrained(a.model, subfolder="vae")
    text = CLIPTextModel.from_pretrained(a.model, subfolder="text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(a.model, subfolder="tokenizer")
    latents, states = [], []
    with open(os.path.join(a.pairs, "pairs.jsonl"), encoding="utf-8") as f, torch.no_grad():
        for row in [json.loads(line) for line in f][: a.batch]:
            paths = [os.path.join(a.pairs, row[side]) for side in ("win", "lose")]
            images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
            x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
            latents.append(vae.encode(x).latent_dist.mean * vae.config.scaling_factor)
            ids = tokenizer(row["prompt"], padding="max_length", max_length=text.config.max_position_embeddings,
                            truncation=True, return_tensors="pt").input_ids
            states.append(text(ids).last_hidden_state[0])
    torch.save({"latents": torch.stack(latents), "states": torch.stack(states)}, a.cache)


class Trainer:
    """A share of the batch: `size` pairs from pair `first` on."""

    def __init__(self, a):
        import torch
        from diffusers import DDIMScheduler, UNet2DConditionModel
        from peft import LoraConfig

        torch.set_num_threads(a.threads if a.way == "operators" else 1)
        torch.set_flush_denormal(True)
        torch.manual_seed(a.rank)
        self.torch, self.a = torch, a
        self.format = torch.channels_last if a.channels_last else torch.contiguous_format
        self.unet = UNet2DConditionModel.from_pretrained(a.model, subfolder="unet", torch_dtype=torch.float32)
        self.unet.requires_grad_(False)
        self.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
        self.unet.to(memory_format=self.format)
        self.lora = [p for p in self.unet.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.lora, lr=LR, weight_decay=0.01)
        scheduler = DDIMScheduler.from_pretrained(a.model, subfolder="scheduler")
        self.alphas, self.kind = scheduler.alphas_cumprod, scheduler.config.prediction_type
        data = torch.load(a.cache)
        share = slice(a.rank * a.batch // a.ranks, (a.rank + 1) * a.batch // a.ranks)
        self.latents, self.states = data["latents"][share], data["states"][share]
        self.pool = None
        if a.way == "threads":
            from concurrent.futures import ThreadPoolExecutor

            self.pool = ThreadPoolExecutor(a.threads)
        if a.ranks > 1:
            torch.distributed.init_process_group("gloo", init_method="file://" + a.meeting, rank=a.rank,
                                                 world_size=a.ranks)

    def batch(self, pairs):
        """x, t, text, target, weight of `pairs`: winners, then losers, which share noise and timestep."""
        torch = self.torch
        z = torch.cat([self.latents[pairs, 0], self.latents[pairs, 1]])
        count = len(z) // 2
        noise = torch.randn(count, *z.shape[1:]).repeat(2, 1, 1, 1)
        t = torch.randint(0, len(self.alphas), (count,)).repeat(2)
        alpha = self.alphas[t].view(-1, 1, 1, 1)
        x = alpha.sqrt() * z + (1 - alpha).sqrt() * noise
        v = self.kind == "v_prediction"
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * z if v else noise
        weight = self.alphas[t] if v else torch.ones(2 * count)
        return x.contiguous(memory_format=self.format), t, self.states[pairs].repeat(2, 1, 1), target, weight

    def errors(self, b):
        x, t, text, target, weight = b
        y = self.unet(x, t, encoder_hidden_states=text, return_dict=False)[0]
        return weight * (y - target).square().mean((1, 2, 3))

    def reference(self, b):
        with self.torch.no_grad():
            return self.errors(b)

    def gradients(self, b, reference):
        """Of the sum of losses over the pairs, divided by the whole batch's size."""
        torch = self.torch
        with torch.enable_grad():
            e = self.errors(b) - reference
            win, lose = e.chunk(2)
            loss = -torch.nn.functional.logsigmoid(-BETA / 2 * (win - lose)).sum() / self.a.batch
            return loss.detach(), torch.autograd.grad(loss, self.lora)

    def step(self):
        torch, a = self.torch, self.a
        count = len(self.latents)
        parts = a.threads if self.pool else 1
        run = self.pool.map if self.pool else map
        batches = [self.batch(slice(i * count // parts, (i + 1) * count // parts)) for i in range(parts)]
        self.unet.disable_adapters()
        references = list(run(self.reference, batches))
        self.unet.enable_adapters()
        results = list(run(self.gradients, batches, references))
        flat = sum(torch.cat([g.reshape(-1) for g in grads]) for _, grads in results)
        if a.ranks > 1:
            torch.distributed.all_reduce(flat)
        offset = 0
        for p in self.lora:
            p.grad = flat[offset : offset + p.numel()].view_as(p)
            offset += p.numel()
        torch.nn.utils.clip_grad_norm_(self.lora, 1.0)
        self.optimizer.step()
        return float(sum(loss for loss, _ in results))


def train(a):
    """Steps as many as each line of stdin says; answers with seconds and losses, and at the end with the peak."""
    trainer = Trainer(a)
    for line in sys.stdin:
        seconds, losses = [], []
        for _ in range(int(line)):
            if a.ranks > 1:
                trainer.torch.distributed.barrier()
            start = time.perf_counter()
            losses.append(trainer.step())
            seconds.append(time.perf_counter() - start)
        print(json.dumps({"seconds": seconds, "losses": losses, "peak": peak()}), flush=True)


# --- what measures ----------------------------------------------------------------------------------------------------


class Torch:
    def __init__(self, a, way, channels_last, scratch):
        self.name = f"PyTorch, {way}" + (", channels last" if channels_last else "")
        ranks = a.threads if way == "processes" else 1
        self.seconds, self.peak, self.losses, self.processes = [], 0, [], []
        for rank in range(ranks):
            command = [sys.executable, __file__, "--attune", a.attune, "--job", "train", "--way", way,
                       "--rank", str(rank), "--ranks", str(ranks), "--meeting", f"{scratch}/meet-{way}-{channels_last}",
                       "--cache", a.cache, "--batch", str(a.batch), "--threads", str(a.threads)]
            command += ["--channels-last"] if channels_last else []
            self.processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def run(self, steps, keep):
        for p in self.processes:
            p.stdin.write(f"{steps}\n")
            p.stdin.flush()
        answers = []
        for p in self.processes:
            line = p.stdout.readline()
            if not line:
                sys.exit(f"{self.name}: a process ended; its message stands above")
            answers.append(json.loads(line))
        self.peak = sum(r["peak"] for r in answers)
        if keep:
            self.seconds += [max(s) for s in zip(*[r["seconds"] for r in answers])]
        self.losses += [sum(s) for s in zip(*[r["losses"] for r in answers])]

    def close(self):
        for p in self.processes:
            p.stdin.close()
            p.wait()


class Attune:
    def __init__(self, a, scratch):
        self.name, self.a, self.scratch = "attune", a, scratch
        self.seconds, self.peak, self.losses, self.runs = [], 0, [], 0

    def run(self, steps, keep):
        """A process a round; its first step is left out."""
        run = f"{self.scratch}/run-{self.runs}"
        self.runs += 1
        command = [self.a.attune, "train", "dpo", "-o", run, "--steps", str(steps + 1), "--batch", str(self.a.batch),
                   "--rank", str(RANK), "--lr", str(LR), "--beta", str(BETA), "--device", "cpu", "--threads",
                   str(self.a.threads), "--quiet"]
        process = subprocess.Popen(command)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit("attune failed; its message stands above")
        with open(f"{run}/metrics.jsonl", encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        self.peak = max(self.peak, usage.ru_maxrss * 1024)
        self.losses += [r["loss"] for r in rows]
        if keep:
            self.seconds += [r["seconds"] for r in rows[1:]]

    def close(self):
        pass


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def version(name):
    from importlib.metadata import version as of

    return f"{name} {of(name)}"


def show(a, ran):
    print(f"{a.threads} threads of {processor()}; {', '.join(version(n) for n in ('torch', 'diffusers', 'peft'))}; "
          f"{subprocess.run([a.attune, '--version'], capture_output=True, text=True, check=True).stdout.strip()}")
    print(f"{a.batch} pairs a step, LoRA of rank {RANK} on {' '.join(TARGETS)}; {a.rounds} rounds of {a.steps} steps\n")
    print(f"{'':34} {'s a step':>9} {'fastest':>9} {'slowest':>9} {'MiB':>7}   first loss")
    for r in ran:
        print(f"{r.name:34} {statistics.median(r.seconds):9.3f} {min(r.seconds):9.3f} {max(r.seconds):9.3f} "
              f"{r.peak / 2**20:7.0f}   {r.losses[0]:.4f}")
    best = min(ran[1:], key=lambda r: statistics.median(r.seconds))
    small = min(ran[1:], key=lambda r: r.peak)
    print(f"\nattune takes {statistics.median(ran[0].seconds) / statistics.median(best.seconds):.2f} of the time of "
          f"{best.name}, and {ran[0].peak / best.peak:.2f} of its memory ({ran[0].peak / small.peak:.2f} of that of "
          f"{small.name})")


def measure(a):
    with tempfile.TemporaryDirectory() as scratch:
        a.cache = f"{scratch}/cache.pt"
        subprocess.run([sys.executable, __file__, "--attune", a.attune, "--job", "prepare", "--cache", a.cache,
                        "--batch", str(a.batch)], check=True)
        ran = [Attune(a, scratch)] + [Torch(a, way, last, scratch) for way in a.ways for last in (False, True)]
        for r in ran[1:]:
            r.run(1, False)  # started, and warm
        for _ in range(a.rounds):
            for r in ran:
                r.run(a.steps, True)
        for r in ran:
            r.close()
        show(a, ran)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--attune", required=True, metavar="PATH", help="the program")
    p.add_argument("--batch", type=int, default=16, help="pairs a step")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=4, help="steps a round")
    p.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="of PyTorch")
    for name, kind in (("--job", str), ("--way", str), ("--cache", str), ("--meeting", str), ("--rank", int),
                       ("--ranks", int)):
        p.add_argument(name, type=kind, help=argparse.SUPPRESS)
    p.add_argument("--channels-last", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    a.attune = os.path.abspath(a.attune)
    a.model, a.pairs = str(ROOT / "datasets/emoji/model"), str(ROOT / "datasets/emoji/pairs")
    {"prepare": prepare, "train": train, None: measure}[a.job](a)


if __name__ == "__main__":
    main()
