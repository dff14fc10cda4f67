#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `organ quantize` for GGUF models with llama.cpp's own quantisers (ggml_quantize_chunk in the libggml-base
of llama-cpp-python).

Prints for each type the ratio of organ's squared error to llama.cpp's over the fixture's projections: unweighted
without an imatrix, weighted with one. Then prints CPU seconds for a larger file; those of organ include reading
and writing. Rows are joined to whole blocks of 256. Needs numpy, gguf, llama-cpp-python. Run from the root of the
repository:

    python3 bench/compare_gguf.py [MEGABYTES] [ORGAN]"""
import ctypes
import glob
import math
import os
import resource
import subprocess
import sys
import tempfile
import time

import gguf
import llama_cpp
import numpy as np

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
COLS, ROWS = 4096, 4096


def ggml():
    library = ctypes.CDLL(glob.glob(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so*"))[0])
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                                            ctypes.c_void_p]
    return library.ggml_quantize_chunk


def by_ggml(quantize, kind, values, weights):
    """Returns the dequantised blocks, and seconds of processor time."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.zeros(values.size // elements * size, np.uint8)
    start = time.process_time()
    quantize(int(kind), values.ctypes.data, blocks.ctypes.data, 0, *values.shape, weights.ctypes.data if weights is not None else None)
    seconds = time.process_time() - start
    return gguf.quants.dequantize(blocks.reshape(values.shape[0], -1), kind), seconds


def write(path, tensors, kind):
    writer = gguf.GGUFWriter(path, "llama")
    if kind:
        writer.add_string("general.type", kind)
    for name, values in tensors.items():
        bits = values.dtype == np.uint16
        writer.add_tensor(name, values, raw_dtype=gguf.GGMLQuantizationType.BF16 if bits else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def by_organ(organ, source, kind, imatrix):
    """Returns tensors by name, and seconds of processor time."""
    out = source + "." + kind + ".gguf"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([organ, "quantize", source, "-o", out, "--scheme", kind.lower(), "--quiet", "--force", "--threads", "1"] +
                   (["--imatrix", imatrix] if imatrix else []), check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return out, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read(path):
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


def fixture():
    """Returns projections with whole blocks of 256 per row, and the weights of their columns."""
    sums = {t.name: np.array(t.data) for t in gguf.GGUFReader("fixtures/imatrix/tiny-qwen2.gguf").tensors}
    found = {}
    for path in sorted(glob.glob("fixtures/tiny-qwen2-gguf/*BF16*.gguf")):
        for tensor in gguf.GGUFReader(path).tensors:
            if tensor.name + ".in_sum2" not in sums:
                continue
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            joined = 256 // math.gcd(256, values.shape[1])
            weights = (sums[tensor.name + ".in_sum2"] / sums[tensor.name + ".counts"]).reshape(-1)
            found[tensor.name] = (np.ascontiguousarray(values.reshape(-1, values.shape[1] * joined)),
                                  np.tile(weights / weights.mean(), joined).astype(np.float32))
    return found


def lost(tensors, meant, weigh):
    over = under = 0.0
    for name, (values, weights) in tensors.items():
        w = weights.astype(np.float64) if weigh else 1.0
        x = values.astype(np.float64)
        over += (w * (x - meant[name]) ** 2).sum()
        under += (w * x * x).sum()
    return math.sqrt(over / under)


def losses(folder, organ, quantize):
    tensors = fixture()
    source, imatrix = os.path.join(folder, "joined"), os.path.join(folder, "imatrix")
    write(source, {name: values for name, (values, _) in tensors.items()}, None)
    write(imatrix, {name + end: row for name, (_, weights) in tensors.items()
                    for end, row in ((".in_sum2", weights.reshape(1, -1)), (".counts", np.ones((1, 1), np.float32)))}, "imatrix")
    print("type   without  ours over llama.cpp's   with an imatrix, weighted  ours over llama.cpp's")
    for kind in TYPES:
        number, row = gguf.GGMLQuantizationType[kind], []
        for weigh in (False, True):
            path, _ = by_organ(organ, source, kind, imatrix if weigh else None)
            ours = lost(tensors, read(path), weigh)
            theirs = {name: by_ggml(quantize, number, values, weights if weigh else None)[0] for name, (values, weights) in tensors.items()}
            row += [ours, ours / lost(tensors, theirs, weigh)]
        print("%-5s  %.5f  %.3f                   %.5f                    %.3f" % (kind, *row), flush=True)


def times(folder, organ, quantize, megabytes):
    rng = np.random.default_rng(1)
    count = max(1, megabytes * (1 << 20) // (2 * ROWS * COLS))
    bits = (rng.standard_normal((ROWS, COLS)).astype(np.float32) * 0.02).view(np.uint32) >> 16
    source, imatrix = os.path.join(folder, "large"), os.path.join(folder, "large-imatrix")
    write(source, {"blk.%d.ffn_up.weight" % k: bits.astype(np.uint16) for k in range(count)}, None)
    weights = np.exp(rng.standard_normal(COLS)).astype(np.float32)
    write(imatrix, {"blk.%d.ffn_up.weight" % k + end: row for k in range(count)
                    for end, row in ((".in_sum2", weights.reshape(1, -1)), (".counts", np.ones((1, 1), np.float32)))}, "imatrix")
    values = (bits << 16).view(np.float32)[:512].copy()
    print("\n%d MB of BF16, one thread: million values a second of the processor, ours with reading and writing, llama.cpp's without" %
          (count * 2 * ROWS * COLS >> 20))
    print("type   ours  llama.cpp   with an imatrix: ours  llama.cpp")
    for kind in TYPES:
        row = []
        for weigh in (None, weights):
            path, seconds = by_organ(organ, source, kind, imatrix if weigh is not None else None)
            os.remove(path)
            row += [count * ROWS * COLS / seconds / 1e6, values.size / by_ggml(quantize, gguf.GGMLQuantizationType[kind], values, weigh)[1] / 1e6]
        print("%-5s  %4.0f  %9.1f   %21.0f  %9.1f" % (kind, *row), flush=True)


def main():
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    organ = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else "build/organ")
    quantize = ggml()
    with tempfile.TemporaryDirectory() as folder:
        losses(folder, organ, quantize)
        times(folder, organ, quantize, megabytes)


main()
