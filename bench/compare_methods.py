#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares Method A and Method B of `organ lora extract` and prints the table of docs/verbs/lora.md.

The table has the distance of each projection of a quantised base from a tuned model: without an adapter, with the
adapter made against the plain base (A), and with the one made against the quantised base (B). The script makes
the tuned model: each projection plus a seeded product of rank 8 with 10 % of its norm and noise with 1 % of it.
Needs numpy. Run from the root of the repository:

    python3 bench/compare_methods.py [MODEL] [RANK] [ORGAN]"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np

SCHEMES = {"FP8 base": "fp8-block128", "INT4 base": "int4-group32"}


def widen(words):
    return (words.astype(np.uint32) << 16).view(np.float32)


def narrow(values):
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def change(rng, w):
    rows, cols = w.shape
    low = rng.standard_normal((rows, 8)) @ rng.standard_normal((8, cols))
    noise = rng.standard_normal((rows, cols))
    norm = np.linalg.norm(w)
    return w + 0.1 * norm * low / np.linalg.norm(low) + 0.01 * norm * noise / np.linalg.norm(noise)


def tune(model, out):
    """Writes a copy of the model with changed BF16 projections."""
    rng = np.random.default_rng(1)
    shutil.copytree(model, out)
    for name in sorted(n for n in os.listdir(out) if n.endswith(".safetensors")):
        with open(os.path.join(out, name), "r+b") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            for tensor, entry in sorted(header.items()):
                if not tensor.endswith("_proj.weight"):
                    continue
                assert entry["dtype"] == "BF16", f"{tensor} is {entry['dtype']}: this makes tuned models of BF16 ones"
                begin, end = entry["data_offsets"]
                file.seek(8 + length + begin)
                w = widen(np.frombuffer(file.read(end - begin), np.uint16)).reshape(entry["shape"])
                file.seek(8 + length + begin)
                file.write(narrow(change(rng, w)).tobytes())


def main():
    model = sys.argv[1] if len(sys.argv) > 1 else "fixtures/tiny-qwen2"
    rank = sys.argv[2] if len(sys.argv) > 2 else "32"
    program = sys.argv[3] if len(sys.argv) > 3 else "build/organ"
    here = tempfile.mkdtemp()

    def organ(*words):
        run = subprocess.run([program, *words, "--quiet"], stdout=subprocess.PIPE, check=False)
        assert run.returncode < 2, words  # 1: an autopsy with findings
        return run.stdout

    def errors(copy):
        """Returns the relative errors of the weights of each projection."""
        found = {}
        for t in json.loads(organ("autopsy", copy, f"{here}/tuned", "--json"))["tensors"]:
            if t["role"].endswith("_proj"):
                found.setdefault(t["role"], []).append(t["against_other"]["relative_error"])
        return found

    try:
        tune(model, f"{here}/tuned")
        organ("lora", "extract", "--base", model, "--tuned", f"{here}/tuned", "-o", f"{here}/A", "--rank", rank)
        columns = {}
        for base, scheme in SCHEMES.items():
            q = f"{here}/{scheme}"
            organ("quantize", model, "-o", q, "--scheme", scheme)
            organ("lora", "extract", "--base", q, "--tuned", f"{here}/tuned", "-o", f"{q}-B", "--rank", rank)
            organ("lora", "merge", "--base", q, "--adapter", f"{here}/A", "-o", f"{q}-A-merged", "--dtype", "f32")
            organ("lora", "merge", "--base", q, "--adapter", f"{q}-B", "-o", f"{q}-B-merged", "--dtype", "f32")
            columns[base] = errors(q)
            columns["+ A, " + scheme] = errors(f"{q}-A-merged")
            columns["+ B, " + scheme] = errors(f"{q}-B-merged")
        names = list(columns)
        print("| projection | " + " | ".join(n.split(",")[0] for n in names) + " |")
        print("|---|" + "--:|" * len(names))
        closer = modules = 0
        for role in columns[names[0]]:
            print(f"| {role} | " + " | ".join(f"{100 * np.sqrt(np.mean(np.square(columns[n][role]))):.2f} %" for n in names) + " |")
            for k in range(0, len(names), 3):
                closer += sum(b < a for a, b in zip(columns[names[k + 1]][role], columns[names[k + 2]][role]))
                modules += len(columns[names[k]][role])
        print(f"\nB is closer than A in {closer} of {modules} modules; rank {rank}.")
    finally:
        shutil.rmtree(here)


if __name__ == "__main__":
    main()
