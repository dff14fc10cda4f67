#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GPTQ beside that of llm-compressor: symmetric codes of BITS bits in groups of 32 columns, calibrated on 64 windows of 256 tokens spread over the
same text, blocks of 128 columns, dampening 0.01, activation order with static groups, the same seven projections. `organ evaluate` scores all on
the same held-out text. Prints times (of the processor and of the clock, loading and saving included), peak memory and the table of perplexities.
Needs torch, transformers, datasets and llmcompressor. Run from the root of the repository:

    python3 bench/compare_gptq.py [MODEL] [ORGAN] [BITS]
"""
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
