#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that transformers with compressed-tensors opens what `organ quantize` writes and computes the same with it.

For each scheme the script prints three perplexities of the held-out text over windows of 256 tokens in FP32: that
of `organ perplexity`, that of transformers with unquantised activations (as organ computes with --activations off), and that of
transformers with the activations quantised that the configuration names (8 bits a token, for fp8-* and
int8-channel). It ends with 1 if the first two differ by more than one in a thousand, if a tensor of the file has
no place in the model or the file lacks a tensor of the model, or if transformers cannot open the file.
Before that a fresh process opens the output by README's call, and runs it. compressed-tensors before 0.20 does not read the layout of 3 bits that organ writes. Needs torch, transformers,
compressed-tensors and accelerate. Run from the root of the repository:

    python3 bench/compare_loading.py [MODEL] [ORGAN] [SCHEME...]"""
import json
import math
import subprocess
import sys
import tempfile

import compressed_tensors
import torch
import transformers

CONTEXT, TOKENS = 256, 10240
HELDOUT = "fixtures/tiny-qwen2/heldout.txt"
SCHEMES = ["fp8-tensor", "fp8-channel", "int8-channel", "int8-group32", "int8-group64", "int4-group32", "int4-group64", "int3-group32",
           "int2-group32", "mixed", "nvfp4", "mxfp4"]


def perplexity_here(organ, directory):
    done = subprocess.run([organ, "perplexity", directory, "--text", HELDOUT, "--context", str(CONTEXT), "--max-tokens", str(TOKENS), "--activations", "off",
                           "--json", "--quiet"],
                          check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["models"][0]["figures"]["perplexity"]


def perplexity_there(model, ids, context=CONTEXT):
    lost = scored = 0
    with torch.no_grad():
        for first in range(0, len(ids), context):
            window = torch.tensor([ids[first:first + context]])
            logits = model(window).logits[0, :-1].double()
            lost += torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum").item()
            scored += window.shape[1] - 1
    return math.exp(lost / scored)


def opened_there(directory):
    """Returns the perplexity with and without quantised activations, and the tensors that only the file or only the
    model has."""
    model, found = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    with open(HELDOUT, encoding="utf-8") as file:
        ids = transformers.AutoTokenizer.from_pretrained(directory)(file.read(), add_special_tokens=False)["input_ids"][:TOKENS]
    served = perplexity_there(model, ids)
    for module in model.modules():
        if hasattr(module, "quantization_scheme"):
            module.quantization_scheme.input_activations = None
    strays = [f"{what}: {', '.join(sorted(names)[:3])}" for what, names in found.items() if names]
    return served, perplexity_there(model, ids), "; ".join(strays)


# README's call and no other, in a process of its own: what another call leaves behind could help it.
CALL = """import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
with torch.no_grad():
    sys.exit(not model(torch.tensor([[5, 7, 9]])).logits.isfinite().all())"""


def opens_alone(directory):
    done = subprocess.run([sys.executable, "-c", CALL, directory], capture_output=True, text=True)
    if done.returncode:
        print(f"README's call fails for the next row: {' '.join(done.stderr.strip().split())[-200:]}", flush=True)
    return done.returncode == 0


def compare(organ, model, scheme, directory):
    divided = ["--method", "gptq", "--allocate", "global", "--budget", "3.5bpw", "--calibration", f"{model}/calibration.txt", "--samples", "64",
               "--context", str(CONTEXT)]  # several config groups, of 2, 3, 4 and 8 bits
    subprocess.run([organ, "quantize", model, "-o", directory, "--scheme", scheme, *(divided if scheme == "mixed" else []), "--force", "--quiet"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not opens_alone(directory):
        return False
    here = perplexity_here(organ, directory)
    try:
        served, there, strays = opened_there(directory)
    except Exception as error:  # any exception of the libraries for a file that they reject
        print(f"| {scheme} | {here:.4f} | not opened: {type(error).__name__}: {' '.join(str(error).split())[:200]} | | |", flush=True)
        return False
    print(f"| {scheme} | {here:.4f} | {there:.4f} | {there / here - 1:+.1e} | {served:.4f} | {strays}", flush=True)
    return abs(there / here - 1) <= 1e-3 and not strays


def fp4(organ, model, scheme, directory):
    """compressed-tensors computes FP4 in the type of the stored scales: no figures in FP32."""
    subprocess.run([organ, "quantize", model, "-o", directory, "--scheme", scheme, "--force", "--quiet"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    opens = opens_alone(directory)
    print(f"| {scheme} | {perplexity_here(organ, directory):.4f} | {'opened in BF16' if opens else 'not opened'} | | |", flush=True)
    return opens


def main():
    model, organ = (sys.argv[1:] + ["fixtures/tiny-qwen2", "build/organ"][len(sys.argv) - 1:])[:2]
    transformers.logging.set_verbosity_error()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, compressed-tensors {compressed_tensors.__version__}\n")
    print("| scheme | organ | transformers | relative difference | with its activations |\n|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as here:
        held = [(fp4 if "fp4" in scheme else compare)(organ, model, scheme, f"{here}/model") for scheme in sys.argv[3:] or SCHEMES]
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
