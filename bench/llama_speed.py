#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the tokens per second of models in llama.cpp: a prompt of 256 tokens in one batch, and 128 tokens
generated one at a time.

The models take turns, and the best round of each counts, because other work on the machine can make a round only
slower. A directory (the layouts of tiny-qwen2 and tiny-moe, and models cut from them) is first written as a GGUF
file in BF16. Needs numpy, gguf and llama-cpp-python. Run from the root of the repository:

    python3 bench/llama_speed.py [--rounds N] MODEL...

Prints for each model: its name, the bytes of the GGUF file, tokens per second of the prompt and of the
generation, and the sentence that the model continues; "-" if llama.cpp does not open it."""
import argparse
import os
import pathlib
import sys
import tempfile
import time

import llama_cpp

sys.path.insert(0, "fixtures")
import make_tiny_gguf  # noqa: E402

PROMPT, GENERATED, BEGINNING = 256, 128, "And the LORD said unto"
HELDOUT = "fixtures/tiny-qwen2/heldout.txt"


def as_gguf(model, directory):
    if model.suffix == ".gguf":
        return model
    path = pathlib.Path(directory) / (str(model).strip("/").replace("/", "-") + ".gguf")
    make_tiny_gguf.write(model, path, make_tiny_gguf.T.BF16, make_tiny_gguf.LlamaFileType.MOSTLY_BF16, 0)
    return path


def opened(path):
    try:
        return llama_cpp.Llama(str(path), n_ctx=PROMPT + GENERATED, n_batch=PROMPT, n_threads=len(os.sched_getaffinity(0)), verbose=False)
    except ValueError:
        return None


def speeds(model, ids):
    if not model:
        return 0, 0
    model.reset()
    begin = time.perf_counter()
    model.eval(ids)
    between = time.perf_counter()
    for token in ids[:GENERATED]:
        model.eval([token])
    return PROMPT / (between - begin), GENERATED / (time.perf_counter() - between)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        paths = [as_gguf(model, directory) for model in options.models]
        models = [opened(path) for path in paths]
        ids = models[0].tokenize(open(HELDOUT, "rb").read(8192))[:PROMPT]
        best = [(0, 0)] * len(models)
        for _ in range(options.rounds):
            best = [tuple(map(max, known, speeds(model, ids))) for known, model in zip(best, models)]
        for name, path, model, (prompt, generation) in zip(options.models, paths, models, best):
            if not model:
                print(f"{name}\t{path.stat().st_size}\t-\t-\t-", flush=True)
                continue
            said = model.create_completion(BEGINNING, max_tokens=16, temperature=0)["choices"][0]["text"]
            print(f"{name}\t{path.stat().st_size}\t{prompt:.0f}\t{generation:.0f}\t{(BEGINNING + said)!r}", flush=True)


main()
