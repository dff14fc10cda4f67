#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares GPTQ of organ with that of llm-compressor, and prints times (CPU and wall, with loading and saving), peak
memory and the table of perplexities.

Both write symmetric codes of BITS bits in groups of 32 columns for the same seven projections, calibrated on 64
windows of 256 tokens that are spread over the same text, with blocks of 128 columns, dampening 0.01 and
activation order with static groups. `organ evaluate` scores all models on the same held-out text. Needs torch,
transformers, datasets and llmcompressor. Run from the root of the repository:

    python3 bench/compare_gptq.py [MODEL] [ORGAN] [BITS]"""
import sys

from llm_compressor import CALIBRATED, compare, compress


def main():
    if sys.argv[1:2] == ["--compress"]:
        from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
        from llmcompressor.modifiers.quantization import GPTQModifier
        model, text, bits, out = sys.argv[2:]
        weights = QuantizationArgs(num_bits=int(bits), type="int", symmetric=True, strategy="group", group_size=32, actorder="static")
        compress(model, text, out, GPTQModifier(config_groups={"group_0": QuantizationScheme(targets=["re:.*_proj$"], weights=weights)},
                                                block_size=128, dampening_frac=0.01), save_compressed=True)
        return
    model, organ, bits = (sys.argv[1:] + ["fixtures/tiny-qwen2", "build/organ", "4"][len(sys.argv) - 1:])[:3]
    text = f"{model}/calibration.txt"
    quantize = [organ, "quantize", model, "--scheme", f"int{bits}-group32"]
    compare(model, organ, "fixtures/tiny-qwen2/heldout.txt", {
        "nearest": [*quantize, "-o"],
        "gptq": [*quantize, "--method", "gptq", "--calibration", text, *CALIBRATED, "-o"],
        "llm-compressor-gptq": [sys.executable, __file__, "--compress", model, text, bits]})


if __name__ == "__main__":
    main()
