#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Widens a Llama model in BF16 by channels and heads of zeros, so that its rows are whole blocks of 256. The model computes what it did.

Types of GGUF with blocks of 256 cannot store most matrices of SmolLM2-135M, whose rows have 576 weights. The wider model has rows of 768: each
block of 256 has 192 channels of the model and 64 that are always 0. An importance matrix gives these columns the weight 0. Weights of norms are
multiplied by sqrt(576 / 768), because the mean square is over more channels. Attention gets groups of heads until their number is a whole block.
Only for models without biases and with tied embeddings. Needs numpy.

    python3 bench/padded/pad_model.py SOURCE OUT"""
import json
import pathlib
import shutil
import struct
import sys

import numpy as np

BLOCK = 256


def read(path):
    """Returns the tensors of a safetensors file by name; BF16 as bits."""
    data = path.read_bytes()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "BF16":
            sys.exit(f"{path}: {name} is {entry['dtype']}, not BF16")
        start, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data, np.uint16, (end - start) // 2, 8 + size + start).reshape(entry["shape"])
    return tensors


def read_all(folder):
    return {name: values for path in sorted(folder.glob("*.safetensors")) for name, values in read(path).items()}


def write(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, values in tensors.items():
        header[name] = dict(dtype="BF16" if values.dtype == np.uint16 else "F32", shape=values.shape, data_offsets=[at, at + values.nbytes])
        at += values.nbytes
    words = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(words)) + words)
        for values in tensors.values():
            out.write(values.tobytes())


def spread(count):
    """Returns the places of `count` channels among whole blocks of which each has equally many, and the number of all places."""
    blocks = -(-count // BLOCK)
    each = count // blocks
    if count % blocks or each % 32:
        sys.exit(f"{count} channels cannot be divided among {blocks} blocks in groups of 32")
    return np.arange(count) // each * BLOCK + np.arange(count) % each, blocks * BLOCK


def placed(values, axis, places, size):
    shape = list(values.shape)
    shape[axis] = size
    out = np.zeros(shape, values.dtype)
    out[(slice(None),) * axis + (places,)] = values
    return out


def widened(name, values, channels, hidden, heads):
    """Returns the tensor with more channels and heads; `heads`: rows that q, k and v get, by their first letter."""
    part = name.split(".")[-2]
    if part.endswith("norm"):
        factor = np.sqrt(len(channels) / hidden)
        return placed(((values.astype(np.uint32) << 16).view(np.float32) * factor).astype(np.float32), 0, channels, hidden)
    if part in ("q_proj", "k_proj", "v_proj"):
        return placed(placed(values, 1, channels, hidden), 0, np.arange(values.shape[0]), heads[part[0]])
    if part == "o_proj":
        return placed(placed(values, 1, np.arange(values.shape[1]), heads["q"]), 0, channels, hidden)
    if part == "down_proj":
        return placed(values, 0, channels, hidden)
    if part in ("gate_proj", "up_proj", "embed_tokens"):
        return placed(values, 1, channels, hidden)
    sys.exit(f"{name} is not a tensor of a Llama model without biases and with tied embeddings")


def main():
    source, out = map(pathlib.Path, sys.argv[1:])
    config = json.loads((source / "config.json").read_text(encoding="utf8"))
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    group = config["num_attention_heads"] // config["num_key_value_heads"]
    keys = config["num_key_value_heads"]
    while keys * group * size % BLOCK:
        keys += 1
    channels, hidden = spread(config["hidden_size"])
    rows = {"q": keys * group * size, "k": keys * size, "v": keys * size}
    tensors = {name: widened(name, values, channels, hidden, rows) for name, values in read_all(source).items()}
    out.mkdir()
    write(out / "model.safetensors", tensors)
    config.update(hidden_size=hidden, num_attention_heads=keys * group, num_key_value_heads=keys, head_dim=size)
    (out / "config.json").write_text(json.dumps(config, indent=2), encoding="utf8")
    for name in "tokenizer.json", "tokenizer_config.json", "generation_config.json":
        if (source / name).exists():
            shutil.copy(source / name, out)
    print(f"{len(channels)} channels in {hidden}, {keys * group} heads")


if __name__ == "__main__":
    main()
