#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SparseGPT of organ beside that of llm-compressor: the fixture at 50 %, calibrated on 64 windows of 256 tokens spread over the same text,
blocks of 128 columns, dampening 0.01, the same seven projections. `organ evaluate` scores both on the same held-out text. Prints the table of
perplexities, times (of the processor and of the clock, loading and saving included) and peak memory. Needs torch, transformers, datasets and
llmcompressor. Run from the root of the repository:

    python3 bench/compare_sparsegpt.py [MODEL] [ORGAN]
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

WINDOWS, CONTEXT = 64, 256


def compress(model, text, out):
    """llm-compressor's way, in a process of its own."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.pruning import SparseGPTModifier
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with open(text, encoding="utf-8") as file:
        ids = AutoTokenizer.from_pretrained(model)(file.read(), add_special_tokens=False)["input_ids"]
    step = (len(ids) - CONTEXT) / (WINDOWS - 1)
    windows = [ids[int(k * step):int(k * step) + CONTEXT] for k in range(WINDOWS)]
    dense = AutoModelForCausalLM.from_pretrained(model, dtype="bfloat16")
    recipe = SparseGPTModifier(sparsity=0.5, mask_structure="0:0", block_size=128, dampening_frac=0.01, targets=["re:.*_proj$"])
    oneshot(model=dense, dataset=Dataset.from_dict({"input_ids": windows, "attention_mask": [[1] * CONTEXT] * WINDOWS}), recipe=recipe,
            max_seq_length=CONTEXT, num_calibration_samples=WINDOWS)
    dense.save_pretrained(out)
    AutoTokenizer.from_pretrained(model).save_pretrained(out)


def timed(what, command, quiet):
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    print(f"{what}: {usage.ru_utime + usage.ru_stime:.1f} s of the processor, {time.monotonic() - start:.1f} s of the clock, "
          f"peak {usage.ru_maxrss / 1024:.0f} MiB")


def main():
    model = sys.argv[1] if len(sys.argv) > 1 else "fixtures/tiny-qwen2"
    organ = sys.argv[2] if len(sys.argv) > 2 else "build/organ"
    if model == "--compress":
        compress(*sys.argv[2:])
        return
    text, here = f"{model}/calibration.txt", tempfile.mkdtemp()
    try:
        with open(f"{here}/log", "w", encoding="utf-8") as log:
            timed("organ", [organ, "prune", model, "-o", f"{here}/organ", "--method", "sparsegpt", "--sparsity", "50", "--calibration", text,
                            "--samples", str(WINDOWS), "--context", str(CONTEXT)], log)
            timed("llm-compressor", [sys.executable, __file__, "--compress", model, text, f"{here}/llm-compressor"], log)
        subprocess.run([organ, "evaluate", model, f"{here}/organ", f"{here}/llm-compressor", "--text", f"{model}/heldout.txt", "--context",
                        str(CONTEXT), "--quiet", "--experiment", "organ=organ", "--experiment", "llm-compressor=llm-compressor"], check=True)
    finally:
        shutil.rmtree(here)


if __name__ == "__main__":
    main()
