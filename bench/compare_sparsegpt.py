#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares SparseGPT and ALPS of organ with SparseGPT of llm-compressor at 50 % (or SPARSITY), and prints times (CPU
and wall, with loading and saving), peak memory and the table of perplexities.

All prune the same seven projections, calibrated on 64 windows of 256 tokens that are spread over the same text.
llm-compressor uses blocks of 128 columns and dampening 0.01. No maintained program has ALPS; a test compares
organ's with the formula in numpy on one layer's moments (fixtures/make_admm_golden.py). `organ evaluate` scores
all models on the same held-out text. Needs torch, transformers, datasets and llmcompressor. Run from the root of
the repository:

    python3 bench/compare_sparsegpt.py [MODEL] [ORGAN] [SPARSITY]"""
import sys

from llm_compressor import CALIBRATED, compare, compress


def main():
    if sys.argv[1:2] == ["--compress"]:
        from llmcompressor.modifiers.pruning import SparseGPTModifier
        model, text, sparsity, out = sys.argv[2:]
        compress(model, text, out, SparseGPTModifier(sparsity=float(sparsity) / 100, mask_structure="0:0", block_size=128, dampening_frac=0.01,
                                                     targets=["re:.*_proj$"]))
        return
    model, organ, sparsity = (sys.argv[1:] + ["fixtures/tiny-qwen2", "build/organ", "50"][len(sys.argv) - 1:])[:3]
    text = f"{model}/calibration.txt"
    prune = [organ, "prune", model, "--sparsity", sparsity, "--calibration", text, *CALIBRATED]
    compare(model, organ, "fixtures/tiny-qwen2/heldout.txt", {
        **{name: [*prune, "--method", name, "-o"] for name in ("sparsegpt", "alps", "physarum-v2", "physarum-v3")},
        "llm-compressor-sparsegpt": [sys.executable, __file__, "--compress", model, text, sparsity]})


if __name__ == "__main__":
    main()
