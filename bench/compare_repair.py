#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares codes with their adapter (`organ quantize --repair-rank`) with other codes, and loads the pair in peft and llama.cpp.

For each width the first table has the bytes and the KL divergence from MODEL of codes by GPTQ without and with the adapter, and of wider
codes. `organ lora merge` joins the pair, and organ computes the divergences on the text HELD. Then
  - peft loads the base (compressed-tensors) with its adapter, by the call of the report in a fresh process, in BF16 (once more with
    int3-group128, which may have several groups of encodings): the largest difference of its
    logits from those of organ's merged model in BF16, relative to the largest change that the adapter makes;
  - llama-perplexity loads a Q4_0 base with --lora: its KL divergence beside organ's of the merged model, and both without the adapter.
    llama.cpp rounds activations to 8 bits, so its figures are a little higher.
The script ends with 1 if peft's logits differ by more than 25 % (roundings to BF16; without the adapter it is 100 %), or llama.cpp's divergence of the pair by more than a tenth.
Needs torch, transformers, peft, compressed-tensors; without --llama (or LLAMA), the directory of llama.cpp's programs, the last rows are left
out. Run from the root of the repository:

    python3 bench/compare_repair.py MODEL CALIBRATION HELD [--rank 16] [--select 0-9] [--llama DIR]"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("calibration")
parser.add_argument("held")
parser.add_argument("--rank", default="16")
parser.add_argument("--samples", default="32")
parser.add_argument("--context", default="256")
parser.add_argument("--tokens", default="8192", help="tokens that are scored")
parser.add_argument("--select", help="only these matrices")
parser.add_argument("--organ", default="build/organ")
parser.add_argument("--llama", type=pathlib.Path, default=os.environ.get("LLAMA"))
o = parser.parse_args()

WIDTHS = {"int3-group32": "int4-group32", "int2-group32": "int3-group32"}  # a code, and one that is a bit wider
# llama-perplexity prints in a thread and does not wait for it at its end: this runs its main function and then gives the thread a second.
PERPLEXITY = """import ctypes, sys, time
words = [word.encode() for word in sys.argv[1:]]
ctypes.CDLL(sys.argv[1])._Z16llama_perplexityiPPc(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None))
time.sleep(1)"""


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)} ends with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout + done.stderr


def quantise(out, scheme, repairs=False):
    run(o.organ, "quantize", o.model, "-o", out, "--scheme", scheme, "--method", "gptq", "--calibration", o.calibration, "--samples", o.samples,
        "--context", o.context, "--quiet", *(["--select", o.select] if o.select else []), *(["--repair-rank", o.rank] if repairs else []))


def merge(base, adapter, out):
    run(o.organ, "lora", "merge", "--base", base, "--adapter", adapter, "-o", out, "--dtype", "f32", "--quiet")


def divergence(donor, model, *style):
    done = subprocess.run([o.organ, "perplexity", donor, "--compare", model, "--text", o.held, "--context", o.context, "--max-tokens", o.tokens, "--json",
                           "--quiet", *style], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["models"][1]["comparison"]
    return found["kl_divergence"], found["kl_divergence_error"]


def size(*places):
    return sum(file.stat().st_size for place in places for file in ([place] if place.is_file() else place.glob("*.safetensors")))


def widths(here):
    print("| codes | bytes | KL divergence |\n|---|--:|--:|", flush=True)
    rows = {}

    def row(name, places, model):
        kl, error = divergence(o.model, model)
        print(f"| {name} | {size(*places)} | {kl:.5f} +- {error:.5f} |", flush=True)

    for scheme, wider in WIDTHS.items():
        for name in (scheme, wider):
            if name not in rows:
                rows[name] = here / name
                quantise(rows[name], name)
                row(name, [rows[name]], rows[name])
        pair = here / f"{scheme}-pair"
        quantise(pair, scheme, True)
        merge(pair, f"{pair}-adapter", here / f"{scheme}-merged")
        row(f"{scheme} + rank {o.rank}", [pair, here / f"{scheme}-pair-adapter"], here / f"{scheme}-merged")


def logits(model):
    import torch
    with torch.no_grad():
        return model(input_ids=torch.tensor([[(7 * k + 3) % 1000 for k in range(64)]])).logits[0].double()


# The call of docs/verbs/quantize.md and no other, in a process of its own: what another call leaves behind could help it.
PAIR = """import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
FORWARD
model = PeftModel.from_pretrained(model, sys.argv[1] + "-adapter")
with torch.no_grad():
    torch.save(model.eval()(input_ids=torch.tensor([[(7 * k + 3) % 1000 for k in range(64)]])).logits[0].double(), sys.argv[2])"""


def by_peft(here, pair, merged):
    """The call that the report of the pair states: with several groups of encodings a forward pass comes first."""
    import torch
    from transformers import AutoModelForCausalLM
    with open(pair / "organ" / "quantize.json") as file:
        forward = json.load(file)["repair"]["forward_first"]
    run(sys.executable, "-c", PAIR.replace("FORWARD", "model(torch.tensor([[0]]))" if forward else ""), pair, here / "both.pt")
    both = torch.load(here / "both.pt")
    alone, aim = (logits(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)) for folder in (pair, merged))
    far = float((both - aim).abs().max() / (both - alone).abs().max())
    print(f"peft{', after a forward pass' if forward else ''}: logits differ by {far:.1e} of the adapter's change")
    return far < 0.25


def groups_by_peft(here):
    """Rows that 128 does not divide get smaller groups: several groups of encodings."""
    pair = here / "groups-pair"
    quantise(pair, "int3-group128", True)
    merge(pair, f"{pair}-adapter", here / "groups-merged")
    return by_peft(here, pair, here / "groups-merged")


def by_llama(here):
    pair, donor, merged, saved = (here / name for name in ("pair.gguf", "donor.gguf", "merged.gguf", "logits"))
    run(o.organ, "convert", o.model, "--to", "gguf", "-o", donor, "--quiet")
    quantise(pair, "q4_0", True)
    merge(pair, here / "pair-adapter/adapter_model.gguf", merged)
    command = [sys.executable, "-c", PERPLEXITY, o.llama / "libllama-perplexity-impl.so", "-f", o.held, "-c", o.context, "-b", o.context, "-t", "1",
               "--chunks", int(o.tokens) // int(o.context), "--kl-divergence-base", saved]
    run(*command, "-m", donor)
    near = []
    for name, model, words in (("alone", pair, []), ("with its adapter", merged, ["--lora", here / "pair-adapter/adapter_model.gguf"])):
        said = re.search(r"Mean +KLD: +(\S+) ± +(\S+)", run(*command, "-m", pair, *words, "--kl-divergence"))
        own = divergence(donor, model, "--style", "llama.cpp")
        print(f"q4_0 {name}: KL {said[1]} +- {said[2]} by llama.cpp, {own[0]:.6f} +- {own[1]:.6f} by organ", flush=True)
        near.append(abs(float(said[1]) / own[0] - 1) < 0.1)
    return all(near)


with tempfile.TemporaryDirectory() as folder:
    widths(pathlib.Path(folder))
    here = pathlib.Path(folder)
    good = by_peft(here, here / "int3-group32-pair", here / "int3-group32-merged")
    good = groups_by_peft(here) and good
    if o.llama:
        good = by_llama(pathlib.Path(folder)) and good
sys.exit(0 if good else 1)
