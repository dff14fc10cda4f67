#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes a text that llama.cpp samples from a model, for models whose training text is not available.

Each piece runs from the beginning of a text to its end token, at temperature 1 without restriction of the tokens.
On such a text a model's perplexity is the exponential of its entropy, and the KL divergence of a copy is that
between the texts that the two models would write. docs/make_quality.sh uses two such texts of stories260K. One
version of llama-cpp-python (0.3.36 was used) writes the same bytes each time. Needs llama-cpp-python:

    python3 bench/draw_text.py MODEL.gguf TOKENS SEED >TEXT"""
import sys

import llama_cpp


def main():
    path, tokens, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    model = llama_cpp.Llama(path, n_ctx=512, n_threads=1, seed=seed, verbose=False)
    drawn = 0
    while drawn < tokens:
        pieces = []
        model.reset()
        for token in model.generate([model.token_bos()], temp=1.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0):
            if token == model.token_eos() or len(pieces) == 500:
                break
            pieces.append(token)
        drawn += len(pieces)
        sys.stdout.buffer.write(model.detokenize(pieces).strip() + b"\n")


if __name__ == "__main__":
    main()
