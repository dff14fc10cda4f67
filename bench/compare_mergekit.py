#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the LoRA extraction of organ with that of mergekit at rank 64.

The base has two layers of the shapes of Qwen2.5-0.5B with random weights. The tuned model differs by a change of
rank 8 with 10 % of each projection's norm and by noise with 1 % of it. The script prints time and memory of both,
and how much of the change each adapter lacks (root mean square over the modules). Needs torch, transformers,
safetensors and mergekit. Run from the root of the repository:

    python3 bench/compare_mergekit.py [ORGAN] [MERGEKIT-EXTRACT-LORA]"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

RANK = 64


def make_models(base, tuned):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(1)
    config = Qwen2Config(vocab_size=1024, hidden_size=896, intermediate_size=4864, num_hidden_layers=2, num_attention_heads=14,
                         num_key_value_heads=2, tie_word_embeddings=True)
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(base)
    with torch.no_grad():
        for name, w in model.named_parameters():
            if name.endswith("_proj.weight"):
                low, noise = torch.randn(w.shape[0], 8) @ torch.randn(8, w.shape[1]), torch.randn(w.shape)
                norm = w.float().norm()
                w.copy_(w.float() + 0.1 * norm * low / low.norm() + 0.01 * norm * noise / noise.norm())
    model.save_pretrained(tuned)


def left(base, tuned, adapter):
    """Returns the share of the projections' change that the adapter lacks."""
    import json

    import torch
    from safetensors.torch import load_file

    a, b, factors = load_file(f"{base}/model.safetensors"), load_file(f"{tuned}/model.safetensors"), load_file(f"{adapter}/adapter_model.safetensors")
    with open(f"{adapter}/adapter_config.json", encoding="utf-8") as file:
        config = json.load(file)
    scale, squares, modules = config["lora_alpha"] / config["r"], 0.0, 0
    for key in factors:
        name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight") + ".weight"
        if not key.endswith("_proj.lora_A.weight"):
            continue
        change = b[name].float() - a[name].float()
        made = scale * factors[key.replace("lora_A", "lora_B")].float() @ factors[key].float()
        squares, modules = squares + ((change - made).norm() / change.norm()).item() ** 2, modules + 1
    print(f"{100 * (squares / modules) ** 0.5:.4f} % of the change of {modules} modules")


def apart(*words):
    """Runs this program again in a process of its own, so that the memory of the Python libraries does not count for
    the programs started here."""
    return subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def main():
    if sys.argv[1:2] == ["--make"]:
        return make_models(*sys.argv[2:])
    if sys.argv[1:2] == ["--left"]:
        return left(*sys.argv[2:])
    organ = sys.argv[1] if len(sys.argv) > 1 else "build/organ"
    mergekit = sys.argv[2] if len(sys.argv) > 2 else "mergekit-extract-lora"
    here = tempfile.mkdtemp()
    base, tuned = f"{here}/base", f"{here}/tuned"
    runs = {
        "organ": [organ, "lora", "extract", "--base", base, "--tuned", tuned, "-o", f"{here}/organ", "--rank", str(RANK)],
        "mergekit": [mergekit, "--model", tuned, "--base-model", base, "--out-path", f"{here}/mergekit", "--max-rank", str(RANK),
                     "--no-copy-tokenizer", "--no-write-model-card"],
    }
    try:
        apart("--make", base, tuned)
        for what, command in runs.items():
            with open(f"{here}/log", "w", encoding="utf-8") as log:
                start = time.monotonic()
                process = subprocess.Popen(command, stdout=log, stderr=log)
                _, status, usage = os.wait4(process.pid, 0)
                seconds = time.monotonic() - start
            if status:
                with open(f"{here}/log", encoding="utf-8") as log:
                    sys.exit(log.read()[-2000:])
            print(f"{what}: {usage.ru_utime + usage.ru_stime:.1f} s of the processor, {seconds:.1f} s of the clock, peak "
                  f"{usage.ru_maxrss / 1024:.0f} MiB; leaves " + apart("--left", base, tuned, f"{here}/{what}").strip())
    finally:
        shutil.rmtree(here)


if __name__ == "__main__":
    main()
