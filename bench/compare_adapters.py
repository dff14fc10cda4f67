#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that peft applies the adapters of `organ lora extract`, for each test model of fixtures/architectures.

For each type, the script changes the matrices of linear layers of the test model by random matrices of rank 1 and
extracts the change with --rank 2. peft loads the base with the adapter and merges it, organ merges it too, and
transformers opens the tuned model. A row of the table has
  - matrices: number of changed matrices of the model in transformers;
  - peft: number of these whose change peft lacks or applies wrongly (more than 2 % of the change is missing);
  - logits: the largest difference of the logits of base + adapter from those of the tuned model, relative to the
    largest difference of the tuned model from the base;
  - merge: number of matrices of which organ's merge and peft's merge differ by more than 2 % of the change;
  - organ says: warnings of organ that a part of the change is not in the adapter, or that peft ignores it.
With --full, also all norms, biases, embeddings and heads change, and extract stores them with --save-full.
The script ends with 1 if a change is lost without such a warning.
Needs torch, transformers, peft, safetensors. Run from the root of the repository after `ninja build/checks/arch_model`:

    python3 bench/compare_adapters.py [--full] [TYPE...]"""
import argparse
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--full", action="store_true", help="change all tensors and extract them with --save-full")
parser.add_argument("types", nargs="*", metavar="TYPE", help="names of folders in fixtures/architectures (default: all)")
arguments = parser.parse_args()

os.environ.update(TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1")

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

ORGAN = os.environ.get("ORGAN", "build/organ")
MISSING = 0.02


def run(*command):
    return subprocess.run(command, capture_output=True, text=True)


def load(directory):
    kind = AutoModelForImageTextToText if hasattr(AutoConfig.from_pretrained(directory), "vision_config") else AutoModelForCausalLM
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return kind.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()


def weights_of(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def logits_of(model):
    ids = torch.tensor([[(7 * k + 3) % 250 for k in range(24)]])
    with torch.no_grad():
        try:
            return model(input_ids=ids).logits[0].double()
        except AttributeError:  # Llama 4 with images: transformers 5.24 fails without one
            return None


def files_of(directory):
    return sorted(name for name in os.listdir(directory) if name.endswith(".safetensors"))


def tune(base, tuned, full):
    """Writes a copy of the model with changed matrices; with `full`, all tensors change. Returns the changed names."""
    shutil.copytree(base, tuned)
    listed = run(ORGAN, "lora", "extract", "--base", base, "--tuned", tuned, "-o", tuned + "-none", "--rank", "2", "--dry-run", "--json", "-q")
    report = json.loads(listed.stdout)
    modules = {row["module"] + end for row in report["modules"] for end in ("", ".weight")}
    generator = torch.Generator().manual_seed(5)
    changed = []
    for name in files_of(tuned):
        tensors = load_file(f"{tuned}/{name}")
        for key, value in tensors.items():
            stack = value.dim() == 3 and value.is_floating_point() and re.search(r"experts\.(gate_up_proj|down_proj|gate_proj|up_proj)|moe\.(input|output)_linear|experts\.mlp\.[vw]", key)
            if (key in modules and value.is_floating_point()) or stack:
                rows, cols = value.shape[-2:]
                low = torch.randn(*value.shape[:-2], rows, 1, generator=generator) @ torch.randn(*value.shape[:-2], 1, cols, generator=generator)
            elif full and value.is_floating_point():
                low = torch.randn(value.shape, generator=generator)
            else:
                continue
            size = value.float().norm() or 1
            tensors[key] = (value.float() + 0.1 * size * low / low.norm()).to(value.dtype)
            changed.append(key)
        save_file(tensors, f"{tuned}/{name}", {"format": "pt"})
    return changed


def wrong(made, goal, base):
    """Returns the names of parameters that changed and do not have their change in `made`."""
    return [name for name in goal if name in base and (goal[name].shape != made[name].shape or
            not (made[name] - goal[name]).norm() <= MISSING * max((goal[name] - base[name]).norm(), 1e-6 * base[name].norm()))]


def peft_of(base, adapter):
    """Returns weights and logits of base + adapter, merged by peft and not merged, and the warnings of peft."""
    with warnings.catch_warnings(record=True) as said, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(load(base), adapter)
        logits = logits_of(model)
        merged = model.merge_and_unload()
    texts = [str(w.message) for w in said if "adapter" in str(w.message) or "target" in str(w.message)]
    return weights_of(merged), logits, texts


def short(text, limit=150):
    return " ".join(str(text).split())[:limit].replace("|", "/")


def compare(kind, here, full):
    base, tuned, adapter, merged = (f"{here}/{name}" for name in ("base", "tuned", "adapter", "merged"))
    made = run("build/checks/arch_model", kind, base)
    if made.returncode:
        return "not made: " + short(made.stderr), False
    for extra in ("model.tsv",):
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{base}/{extra}")
    tune(base, tuned, full)
    done = run(ORGAN, "lora", "extract", "--base", base, "--tuned", tuned, "-o", adapter, "--rank", "2", "--dtype", "f32", "-q", "--json",
               *(["--save-full"] if full else []))
    if done.returncode:
        return "extract: " + short(done.stderr), False
    said = json.loads(done.stdout)["warnings"]
    try:
        first = load(base)
    except Exception as error:
        return f"transformers does not open it: {type(error).__name__}: " + short(error, 80), None
    before, logits = weights_of(first), logits_of(first)
    second = load(tuned)
    goal, aim = weights_of(second), logits_of(second)
    count = sum(not torch.equal(goal[name], before[name]) for name in goal if goal[name].shape == before[name].shape)
    warned = "; ".join(short(line, 90) for line in said if "peft ignores" in line or "not in the adapter" in line or "merge_and_unload" in line)
    by_peft, lost, far = None, ["all"], float("nan")
    try:
        by_peft, out, texts = peft_of(base, adapter)
        lost = wrong(by_peft, goal, before)
        far = float((out - aim).abs().max() / (aim - logits).abs().max()) if out is not None else 0
        detail = f"{len(lost)}" + (f" ({lost[0]})" if lost else "")
    except Exception as error:
        detail = f"{type(error).__name__}: " + short(error)
    done = run(ORGAN, "lora", "merge", "--base", base, "--adapter", adapter, "-o", merged, "-q")
    if done.returncode:
        alike, unlike = "refused: " + short(done.stderr), ["all"]
    else:
        by_organ = weights_of(load(merged))
        unlike = wrong(by_organ, by_peft or goal, before)
        alike = f"{len(unlike)}" + (f" ({unlike[0]})" if unlike else "")
    right = not lost and not unlike and far < 0.05
    return f"{count} | {detail} | {far:.1e} | {alike} | {warned}", right or (None if warned else False)


def main():
    full = arguments.full
    kinds = arguments.types or sorted(
        name for name in os.listdir("fixtures/architectures") if os.path.exists(f"fixtures/architectures/{name}/model.tsv"))
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    import peft
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}\n")
    print("| type | matrices | peft | logits | merge | organ says |\n|---|--:|---|--:|---|---|")
    bad = whole = 0
    for kind in kinds:
        with tempfile.TemporaryDirectory() as here:
            try:
                text, right = compare(kind, here, full)
            except Exception as error:
                text, right = f"failed: {type(error).__name__}: " + short(error), False
        bad += right is False
        whole += right is True
        print(f"| {kind} | {text}{' | WRONG' if right is False else ' |'}", flush=True)
    print(f"\n{whole} of {len(kinds)} whole in peft, {bad} wrong, {len(kinds) - whole - bad} limited (organ warns, or transformers does not open the type)")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
