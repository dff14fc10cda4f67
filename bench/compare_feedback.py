#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `organ lora merge` with and without --feedback on a change that is finer than BF16.

The script makes an adapter of rank 8 for each projection: the singular vectors of the gradient of the loss on the
first tokens of the text, scaled to SIZE times the norm of the projection, as a short fine-tuning gives it. It merges
the adapter as F32, as BF16 and as BF16 with --feedback, and prints for both BF16 merges what the report says of the
change, and the KL divergence from the F32 merge on other tokens of the text, with the divergence of the base. Needs
torch, transformers and safetensors. With --random, the singular vectors are random instead.
Run from the root of the repository:

    python3 bench/compare_feedback.py [--random] [MODEL] [TEXT] [SIZE...]"""
import argparse
import json
import os
import subprocess
import tempfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--random", action="store_true", help="make a random adapter, which does not come from a gradient")
parser.add_argument("model", nargs="?", default="fixtures/tiny-qwen2", help="(default: %(default)s)")
parser.add_argument("text", nargs="?", default="fixtures/tiny-qwen2/heldout.txt", help="(default: %(default)s)")
parser.add_argument("sizes", nargs="*", type=float, default=[1e-4, 3e-4, 1e-3, 3e-3, 1e-2], help="(default: %(default)s)")
arguments = parser.parse_args()

os.environ.update(TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1")

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

RANK, TOKENS = 8, 384


def load(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def log_probabilities(directory, ids):
    with torch.no_grad():
        return torch.log_softmax(load(directory)(ids).logits[0].double(), -1)


def divergence(exact, other):
    return float((exact.exp() * (exact - other)).sum(-1).mean())


def gradients(model, ids):
    model(ids, labels=ids).loss.backward()
    found = {}
    for name, weight in model.named_parameters():
        if name.endswith("_proj.weight"):
            change = torch.randn_like(weight) if arguments.random else weight.grad
            u, s, v = torch.svd_lowrank(change, q=RANK, niter=4)
            found[name] = -u * s / s.norm() * weight.detach().norm(), v.T
    return found


def write_adapter(directory, factors, size):
    os.makedirs(directory, exist_ok=True)
    tensors = {}
    for name, (b, a) in factors.items():
        module = "base_model.model." + name.removesuffix(".weight")
        tensors[module + ".lora_A.weight"] = a.contiguous()
        tensors[module + ".lora_B.weight"] = (size * b).contiguous()
    save_file(tensors, f"{directory}/adapter_model.safetensors")
    with open(f"{directory}/adapter_config.json", "w", encoding="utf-8") as file:
        json.dump({"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": sorted({n.split(".")[-2] for n in factors})}, file)


def main():
    model, text = arguments.model, arguments.text
    with open(text, encoding="utf-8") as file:
        ids = AutoTokenizer.from_pretrained(model)(file.read()[:40000], return_tensors="pt").input_ids[:, :2 * TOKENS]
    torch.manual_seed(0)
    factors = gradients(load(model), ids[:, :TOKENS])
    print("| size | KL of the base | merge | change kept | its norm | error | KL |\n|--:|--:|---|--:|--:|--:|--:|")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as here:
            write_adapter(f"{here}/adapter", factors, size)
            exact = None
            for name, options in {"F32": ["--dtype", "f32"], "BF16": [], "BF16 --feedback": ["--feedback"]}.items():
                out = f"{here}/{name.replace(' ', '')}"
                done = subprocess.run(["build/organ", "lora", "merge", "--base", model, "--adapter", f"{here}/adapter", "-o", out, "--json", "--quiet", *options],
                                      check=True, capture_output=True)
                found = log_probabilities(out, ids[:, TOKENS:])
                if exact is None:
                    exact, base = found, divergence(found, log_probabilities(model, ids[:, TOKENS:]))
                    continue
                totals = json.loads(done.stdout)["totals"]
                print(f"| {size:g} | {base:.2e} | {name} | {totals['arrived']:.2%} | {totals['applied_ratio']:.3f} | {totals['rounding_error']:.3f} | "
                      f"{divergence(exact, found):.2e} |", flush=True)


if __name__ == "__main__":
    main()
