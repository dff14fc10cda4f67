#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SparseGPT and ALPS beside the same of others: the fixture at 50 % (or SPARSITY), calibrated on 64 windows of 256 tokens spread over the same
text, the same seven projections. SparseGPT of llm-compressor has blocks of 128 columns and dampening 0.01. ALPS has no maintained program: its
formula in numpy on one layer's moments is a test's oracle (fixtures/make_admm_golden.py). `organ evaluate` scores all on the same held-out text.
Prints times (of the processor and of the clock, loading and saving included), peak memory and the table of perplexities. Needs torch,
transformers, datasets and llmcompressor. Run from the root of the repository:

    python3 bench/compare_sparsegpt.py [MODEL] [ORGAN] [SPARSITY]
"""
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
