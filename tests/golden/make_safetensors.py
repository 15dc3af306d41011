# SPDX-License-Identifier: Apache-2.0
"""Writes tests/unit/data/python.safetensors and a two-shard set beside it with the Python package, for the C reader;
with `--check FILE` reads what the C writer made (tests/unit/safetensors.c, AT_KEEP) and compares."""
import json
import sys
from pathlib import Path

import safetensors
import torch
from safetensors import safe_open
from safetensors.torch import save_file

DATA = Path(__file__).resolve().parents[1] / "unit" / "data"


def make():
    ramp = torch.arange(6, dtype=torch.float32).reshape(2, 3) - 2.5
    tensors = {
        "f32": ramp,
        "f16": (ramp * 3).half(),
        "bf16": (ramp * 5).bfloat16(),
        "f64": ramp.double() / 4,
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 4),
        "odd.u8": torch.tensor([1, 2, 3], dtype=torch.uint8),
        "ids": torch.tensor([1, -2], dtype=torch.int64),
    }
    versions = f"safetensors {safetensors.__version__}, torch {torch.__version__}"
    save_file(tensors, DATA / "python.safetensors", {"format": "pt", "made_by": versions})
    save_file({"a": ramp, "b": ramp + 1}, DATA / "shard-00001-of-00002.safetensors", {"format": "pt"})
    save_file({"c": ramp + 2}, DATA / "shard-00002-of-00002.safetensors", {"format": "pt"})
    places = {"a": 1, "b": 1, "c": 2}
    index = {
        "metadata": {"total_size": 72},
        "weight_map": {k: f"shard-0000{n}-of-00002.safetensors" for k, n in places.items()},
    }
    (DATA / "shard.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def check(path):
    with safe_open(path, framework="pt") as f:
        assert f.metadata() == {"format": "pt", "note": "\u00e9 \"quoted\"\n"}, f.metadata()
        got = {k: f.get_tensor(k) for k in f.keys()}
    ramp = (torch.arange(20000, dtype=torch.float32) - 10000) / 7
    want = {
        "a.f32": ramp.reshape(2, 10000),
        "b.f16": ramp[:999].half(),
        "c.bf16": ramp.bfloat16(),
        "d.scalar": ramp[0],
        "e.empty": torch.zeros(3, 0, dtype=torch.bfloat16),
        "f.raw": torch.tensor([1, 2, 3], dtype=torch.uint8),
    }
    assert got.keys() == want.keys(), got.keys()
    for k, w in want.items():
        assert got[k].dtype == w.dtype and got[k].shape == w.shape and torch.equal(got[k], w), k
    print("equal", sorted(want))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(sys.argv[2])
    else:
        make()
