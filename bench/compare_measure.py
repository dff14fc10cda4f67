#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `organ measure` with the same measure in numpy (fixtures/z_oracle.py), alternating on one core, on one
safetensors file of BF16 matrices. Prints CPU seconds and the largest difference of theta and dI/dlog2s. Needs
numpy. Run from the root of the repository:

    python3 bench/compare_measure.py [MEGABYTES] [ORGAN]"""
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "fixtures"))
sys.dont_write_bytecode = True
import numpy as np  # noqa: E402
from z_oracle import indicators, information, read_null, slope  # noqa: E402

COLS, TENSORS = 2048, 4


def make(path, megabytes):
    rng = np.random.default_rng(1)
    rows = (megabytes << 20) // (2 * COLS * TENSORS)
    size = rows * COLS * 2
    header = {f"model.layers.{k}.mlp.up_proj.weight": {"dtype": "BF16", "shape": [rows, COLS], "data_offsets": [k * size, (k + 1) * size]}
              for k in range(TENSORS)}
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _ in range(TENSORS):
            values = (rng.standard_t(5, rows * COLS) * 0.02).astype(np.float32)
            out.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    return rows


def by_numpy(path, rows, null):
    """Returns {name: (theta, slope)} and seconds of CPU time."""
    start, found = time.process_time(), {}
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        for name, tensor in header.items():
            file.seek(8 + length + tensor["data_offsets"][0])
            words = np.fromfile(file, np.uint16, rows * COLS)
            values = (words.astype(np.uint32) << 16).view(np.float32)
            *_, theta = indicators(values.astype(np.float64), null)
            found[name] = (theta, slope(information(values.reshape(rows, COLS))))
    return found, time.process_time() - start


def by_organ(path, organ):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(subprocess.run([organ, "measure", path, "--json", "--quiet", "--threads", "1"], check=True, capture_output=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    tensors = report["models"][0]["per_tensor"]
    return {t["name"]: (t["theta"], t["dI_dlog2s"]) for t in tensors}, seconds


def main():
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    organ = sys.argv[2] if len(sys.argv) > 2 else "build/organ"
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "model.safetensors")
        rows, null = make(path, megabytes), read_null()
        organs = [by_organ(path, organ) for _ in range(3)]
        theirs, numpy_seconds = by_numpy(path, rows, null)
    ours, organ_seconds = min(organs, key=lambda result: result[1])
    off = [max(abs(ours[name][k] - theirs[name][k]) for name in theirs) for k in (0, 1)]
    print(f"{megabytes} MiB of BF16, one core: numpy {numpy_seconds:.2f} s, organ {organ_seconds:.3f} s "
          f"({megabytes * 2**20 / organ_seconds / 1e9:.2f} GB/s with start and report), ratio {numpy_seconds / organ_seconds:.0f}; "
          f"theta differs by at most {off[0]:.1e} degrees, dI/dlog2s by {off[1]:.1e}")


if __name__ == "__main__":
    main()
