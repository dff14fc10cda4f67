#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `organ quantize` for GGUF models with llama.cpp's own quantisers (ggml_quantize_chunk in libggml-base).

For each type, of all matrices: the ratio of organ's squared error to llama.cpp's (mean, median and largest), weighted by
the imatrix with --imatrix or --text, else unweighted; then million values a second of the processor and their ratio to
organ's own q4_k, organ's with reading and writing. Rows are joined to whole blocks of 256. ggml dequantises types that
the package gguf does not (Q1_0). Types that the package does not know (Q2_0 in 0.19; llama.cpp's gguf-py has it) are left
out with a message. Needs numpy, gguf, and llama-cpp-python or a path to libggml-base.so. Run from the root of the repository:

    python3 bench/compare_gguf.py
    python3 bench/compare_gguf.py --model fixtures/tiny-llama --text fixtures/tiny-qwen2/calibration.txt
    python3 bench/compare_gguf.py --model X.gguf --imatrix X.imatrix.gguf --types Q2_K,Q3_K,IQ4_XS"""
import argparse
import ctypes
import glob
import math
import os
import resource
import subprocess
import tempfile
import time

import gguf
import numpy as np

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_XXS", "IQ3_S", "IQ2_S",
         "IQ2_XS", "IQ2_XXS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "IQ1_S", "IQ1_M", "Q2_0", "Q1_0"]
COLS, ROWS = 4096, 4096


class Traits(ctypes.Structure):
    """ggml_type_traits of ggml.h."""
    _fields_ = [("type_name", ctypes.c_char_p), ("blck_size", ctypes.c_int64), ("blck_size_interleave", ctypes.c_int64),
                ("type_size", ctypes.c_size_t), ("is_quantized", ctypes.c_bool),
                ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64))]


def ggml(path):
    if not path:
        import llama_cpp

        path = glob.glob(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so*"))[0]
    library = ctypes.CDLL(path)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                                            ctypes.c_void_p]
    library.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
    return library


def is_known(kind):
    if kind not in gguf.GGMLQuantizationType.__members__:
        print("%s is left out: the package gguf does not know it" % kind)
    return kind in gguf.GGMLQuantizationType.__members__


def dequantize(library, blocks, kind):
    """Returns the values of rows of blocks, by the package gguf if it has the type, else by ggml."""
    try:
        return gguf.quants.dequantize(blocks, kind)
    except NotImplementedError:
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = np.ascontiguousarray(blocks)
        values = np.zeros((blocks.shape[0], blocks.shape[1] // size * elements), np.float32)
        library.ggml_get_type_traits(int(kind)).contents.to_float(blocks.ctypes.data, values.ctypes.data, values.size)
        return values


def by_ggml(library, kind, values, weights):
    """Returns the dequantised blocks, and seconds of processor time."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.zeros(values.size // elements * size, np.uint8)
    start = time.process_time()
    library.ggml_quantize_chunk(int(kind), values.ctypes.data, blocks.ctypes.data, 0, *values.shape, weights.ctypes.data if weights is not None else None)
    seconds = time.process_time() - start
    return dequantize(library, blocks.reshape(values.shape[0], -1), kind), seconds


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


def write_imatrix(path, weights):
    write(path, {name + end: row for name, means in weights.items()
                 for end, row in ((".in_sum2", means.reshape(1, -1)), (".counts", np.ones((1, 1), np.float32)))}, "imatrix")


def by_organ(organ, source, kind, imatrix):
    """Returns the path of the result, and seconds of processor time."""
    out = source + "." + kind + ".gguf"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([organ, "quantize", source, "-o", out, "--scheme", kind.lower(), "--quiet", "--force", "--threads", "1"] +
                   (["--imatrix", imatrix] if imatrix else []), check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return out, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read(library, path):
    """Returns matrices by name. llama.cpp multiplies X.weight by the tensor X.scale, if there is one."""
    tensors = {t.name: dequantize(library, t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}
    return {name: values * tensors.get(name.removesuffix("weight") + "scale", np.float32(1)) for name, values in tensors.items()
            if not name.endswith(".scale")}


def matrices(model, imatrix):
    """Returns the matrices that have an entry in the imatrix, with whole blocks of 256 per row, and the weights of their columns."""
    sums = {t.name: np.array(t.data) for t in gguf.GGUFReader(imatrix).tensors}
    found = {}
    for path in sorted(glob.glob(model)):
        for tensor in gguf.GGUFReader(path).tensors:
            if tensor.name + ".in_sum2" not in sums or len(tensor.shape) != 2:
                continue
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            joined = 256 // math.gcd(256, values.shape[1])
            rows = values.shape[0] // joined
            if rows == 0:
                continue
            weights = (sums[tensor.name + ".in_sum2"] / sums[tensor.name + ".counts"]).reshape(-1)
            found[tensor.name] = (np.ascontiguousarray(values[:rows * joined].reshape(rows, -1)),
                                  np.tile(weights / weights.mean(), joined).astype(np.float32))
    return found


def make_inputs(folder, o):
    """Returns the pattern of the model's GGUF files and the path of its imatrix: a directory is converted, a text makes an imatrix."""
    model, imatrix = o.model, o.imatrix or "fixtures/imatrix/tiny-qwen2.gguf"
    if os.path.isdir(model):
        model = os.path.join(folder, "model.gguf")
        subprocess.run([o.organ, "convert", o.model, "--to", "gguf", "-o", model, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    if o.text:
        imatrix = os.path.join(folder, "made.imatrix.gguf")
        subprocess.run([o.organ, "imatrix", sorted(glob.glob(model))[0], "--calibration", o.text, "-o", imatrix, "--quiet"] +
                       (["--chunks", str(o.chunks)] if o.chunks else []), check=True, stdout=subprocess.DEVNULL)
    return model, imatrix


def lost(values, meant, weights):
    return (weights * (values.astype(np.float64) - meant)**2).sum()


def losses(folder, organ, library, tensors, types, weigh):
    source, imatrix = os.path.join(folder, "joined.gguf"), os.path.join(folder, "imatrix.gguf")
    write(source, {name: values for name, (values, _) in tensors.items()}, None)
    write_imatrix(imatrix, {name: weights for name, (_, weights) in tensors.items()})
    print("%d matrices, squared error%s, organ's over llama.cpp's\ntype       mean  median  largest  in" %
          (len(tensors), " weighted by the imatrix" if weigh else ""))
    for kind in types:
        ours = read(library, by_organ(organ, source, kind, imatrix if weigh else None)[0])
        ratios = {}
        for name, (values, weights) in tensors.items():
            theirs = by_ggml(library, gguf.GGMLQuantizationType[kind], values, weights if weigh else None)[0]
            each = weights.astype(np.float64) if weigh else 1.0
            ratios[name] = lost(values, ours[name], each) / lost(values, theirs, each)
        worst = max(ratios, key=ratios.get)
        print("%-7s  %.4f  %.4f  %.4f   %s" % (kind, np.mean(list(ratios.values())), np.median(list(ratios.values())), ratios[worst], worst), flush=True)


def times(folder, organ, library, types, megabytes, weigh):
    rng = np.random.default_rng(1)
    count = max(1, megabytes * (1 << 20) // (2 * ROWS * COLS))
    bits = (rng.standard_normal((ROWS, COLS)).astype(np.float32) * 0.02).view(np.uint32) >> 16
    source, imatrix = os.path.join(folder, "large.gguf"), os.path.join(folder, "large-imatrix.gguf")
    names = ["blk.%d.ffn_up.weight" % k for k in range(count)]
    write(source, {name: bits.astype(np.uint16) for name in names}, None)
    weights = np.exp(rng.standard_normal(COLS)).astype(np.float32) if weigh else None
    if weigh:
        write_imatrix(imatrix, {name: weights for name in names})
    values = (bits << 16).view(np.float32)[:128].copy()
    print("\n%d MB of BF16, one thread, million values a second of the processor; time over that of organ's Q4_K\n"
          "type     organ  llama.cpp  time  llama.cpp's time" % (count * 2 * ROWS * COLS >> 20))
    fastest = None
    for kind in ["Q4_K"] + types:
        path, seconds = by_organ(organ, source, kind, imatrix if weigh else None)
        os.remove(path)
        ours = count * ROWS * COLS / seconds / 1e6
        theirs = values.size / by_ggml(library, gguf.GGMLQuantizationType[kind], values, weights)[1] / 1e6
        fastest = fastest or ours
        print("%-7s  %5.0f  %9.1f  %4.2f  %4.2f" % (kind, ours, theirs, fastest / ours, fastest / theirs), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fixtures/tiny-qwen2-gguf/*BF16*.gguf", help="GGUF files, a pattern, or a directory of safetensors")
    parser.add_argument("--imatrix", help="its importance matrix; default: that of the fixture, for the names only")
    parser.add_argument("--text", help="a text with which organ imatrix makes the importance matrix")
    parser.add_argument("--chunks", type=int, help="number of chunks of the text; default: all")
    parser.add_argument("--types", default=",".join(TYPES), help="default: %(default)s")
    parser.add_argument("--megabytes", type=int, default=256, help="size of the model of which times are measured; 0: no times")
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--ggml", help="path of libggml-base.so; default: that of llama-cpp-python")
    o = parser.parse_args()
    o.organ = os.path.abspath(o.organ)
    types, library, weigh = [kind for kind in o.types.split(",") if is_known(kind)], ggml(o.ggml), o.imatrix is not None or o.text is not None
    with tempfile.TemporaryDirectory() as folder:
        losses(folder, o.organ, library, matrices(*make_inputs(folder, o)), types, weigh)
        if o.megabytes:
            times(folder, o.organ, library, types, o.megabytes, weigh)


if __name__ == "__main__":
    main()
