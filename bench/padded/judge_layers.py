#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares organ's types of GGUF with llama.cpp's by the KL divergence of a model of which a few layers are quantised, all others unchanged.

Both quantise the same matrices with the same importance matrix (`organ quantize --imatrix`, ggml_quantize_chunk of libggml-base). The decoded values,
in BF16, replace those of the model, and `organ evaluate` scores both models. Prints for each type the KL divergences, their ratio, and the ratio
of the squared errors weighted by the imatrix, mean and largest over the matrices. Needs numpy, gguf, and llama-cpp-python or a path to
libggml-base.so; a model with rows of whole blocks of 256 (bench/padded/pad_model.py).

    python3 bench/padded/judge_layers.py --imatrix X.imatrix.gguf --text held.txt [--layers 6,12,18,24] [--types IQ2_XS,IQ1_S] X-BF16.gguf"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import compare_gguf  # noqa: E402


def chosen(options):
    """Returns the matrices of the layers with rows of whole blocks and an entry in the imatrix: values, and the weights of their columns."""
    sums = {t.name: np.array(t.data) for t in gguf.GGUFReader(options.imatrix).tensors}
    begins = tuple(f"blk.{layer}." for layer in options.layers.split(","))
    found = {}
    for tensor in gguf.GGUFReader(options.model).tensors:
        if tensor.name.startswith(begins) and tensor.name + ".in_sum2" in sums and len(tensor.shape) == 2 and tensor.shape[0] % 256 == 0:
            if tensor.tensor_type != gguf.GGMLQuantizationType.BF16:
                sys.exit(f"{options.model}: {tensor.name} is {tensor.tensor_type.name}, not BF16")
            weights = (sums[tensor.name + ".in_sum2"] / sums[tensor.name + ".counts"]).reshape(-1).astype(np.float32)
            found[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32), weights
    return found


def replaced(model, path, matrices):
    """Copies the model with other values of some matrices, rounded to BF16."""
    shutil.copy(model, path)
    places = {t.name: int(t.data_offset) for t in gguf.GGUFReader(model).tensors}
    with open(path, "r+b") as out:
        for name, values in matrices.items():
            bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
            out.seek(places[name])
            out.write(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes())


def divergences(options, models):
    command = [options.organ, "evaluate", options.model, *models, "--text", options.text, "--context", options.context, "--max-tokens", options.tokens]
    report = json.loads(subprocess.run([*command, "--threads", "1", "--json", "--quiet"], check=True, stdout=subprocess.PIPE).stdout)
    return [model["comparison"]["kl_divergence"] for model in report["models"][1:]]


def row(options, folder, library, tensors, kind):
    source, imatrix = os.path.join(folder, "layers.gguf"), os.path.join(folder, "imatrix.gguf")
    compare_gguf.write(source, {name: values for name, (values, _) in tensors.items()}, None)
    compare_gguf.write_imatrix(imatrix, {name: weights for name, (_, weights) in tensors.items()})
    made = compare_gguf.by_organ(options.organ, source, kind, imatrix)[0]
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(made).tensors}
    tensors = {name: both for name, both in tensors.items() if types[name] == kind}  # others, such as routers, stay
    ours = {name: values for name, values in compare_gguf.read(library, made).items() if name in tensors}
    theirs = {name: compare_gguf.by_ggml(library, gguf.GGMLQuantizationType[kind], values, weights)[0]
              for name, (values, weights) in tensors.items()}
    ratios = [compare_gguf.lost(values, ours[name], weights) / compare_gguf.lost(values, theirs[name], weights)
              for name, (values, weights) in tensors.items()]
    models = [os.path.join(folder, name) for name in ("ours.gguf", "theirs.gguf")]
    for model, matrices in zip(models, (ours, theirs)):
        replaced(options.model, model, matrices)
    own, their = divergences(options, models)
    print(f"| {kind} | {len(tensors)} | {own:.4f} | {their:.4f} | {own / their:.3f} | {np.mean(ratios):.3f} | {max(ratios):.3f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--imatrix", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--layers", default="6,12,18,24")
    parser.add_argument("--types", default="IQ2_XS,IQ2_XXS,IQ1_M,IQ1_S")
    parser.add_argument("--context", default="512")
    parser.add_argument("--tokens", default="2048")
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--ggml", help="path of libggml-base.so; default: that of llama-cpp-python")
    options = parser.parse_args()
    options.organ = os.path.abspath(options.organ)
    tensors, library = chosen(options), compare_gguf.ggml(options.ggml)
    print("| type | matrices | KL | llama.cpp's | ratio | weighted error, ratio | largest |\n|---|--:|--:|--:|--:|--:|--:|")
    for kind in options.types.split(","):
        with tempfile.TemporaryDirectory() as folder:
            row(options, folder, library, tensors, kind)


if __name__ == "__main__":
    main()
