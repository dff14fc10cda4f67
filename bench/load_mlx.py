#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `organ quantize --format mlx` and the FP4 schemes of compressed-tensors with the programs that own them.

  load_mlx.py errors MODEL...   squared errors, each summed over all quantised matrices, over those of mlx.core.quantize
                                (numbers decoded as scale x code + bias in FP32) or of compressed-tensors' nearest
                                rounding with minmax scales and one global scale per fused matrices
  load_mlx.py logits MODEL...   relative difference of the logits that mlx-lm computes with the output and with its
                                dequantised copy

MODEL is a directory of safetensors. `errors` needs numpy, mlx (CPU) and, for nvfp4-ct and mxfp4-ct, torch and
compressed-tensors; `logits` needs mlx-lm. Both need the built program (ORGAN, or build/organ). Prints a table; ends
with 1 if a ratio of errors is above 1 or a difference of logits above 1e-4: mlx sums the products of codes and of values
in different orders.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import mlx.core as mx

HERE = os.path.dirname(os.path.abspath(__file__))
ORGAN = os.environ.get("ORGAN") or os.path.join(HERE, "..", "build", "organ")
AFFINE = [f"int{bits}-group{group}" for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
MODES = ["mxfp4", "mxfp8", "nvfp4"]


def quantised(model, scheme, folder, format="mlx"):
    shutil.rmtree(folder, ignore_errors=True)
    words = [ORGAN, "quantize", model, "-o", folder, "-s", scheme, "-q"]
    subprocess.run(words + (["--format", format] if format else []), check=True, stdout=subprocess.DEVNULL)


def tensors(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            found.update(mx.load(os.path.join(folder, name)))
    return found


def decoded(codes, scales, biases, settings):
    """Returns FP32 values; mlx decodes to the type of the scales, so affine ones are widened first."""
    if settings["mode"] == "affine":
        scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
    return mx.dequantize(codes, scales, biases, group_size=settings["group_size"], bits=settings["bits"],
                         mode=settings["mode"], dtype=mx.float32)


def settings_of(config, path):
    own = config["quantization"].get(path)
    return own if isinstance(own, dict) else config["quantization"]


def squares(a, b):
    difference = a - b
    return float(mx.sum(difference * difference))


def ratio(model, scheme, work):
    """Returns the sum of squared errors of organ over that of mlx, and the greatest ratio of a matrix."""
    quantised(model, scheme, work)
    with open(work + "/config.json") as file:
        config = json.load(file)
    before, after = tensors(model), tensors(work)
    ours = theirs = worst = 0.0
    for name in after:
        if not name.endswith(".scales"):
            continue
        module = name[:-len(".scales")]
        settings = settings_of(config, module)
        weight = before[module + ".weight"]
        plain = weight.astype(mx.float32)
        own = squares(plain, decoded(after[module + ".weight"], after[name], after.get(module + ".biases"), settings))
        parts = mx.quantize(weight, group_size=settings["group_size"], bits=settings["bits"], mode=settings["mode"])
        other = squares(plain, decoded(parts[0], parts[1], parts[2] if len(parts) > 2 else None, settings))
        ours, theirs, worst = ours + own, theirs + other, max(worst, own / other if other else 1)
        mx.clear_cache()
    return ours / theirs, worst


FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def of_compressed_tensors(weights, preset):
    """Returns the squared error of nearest rounding of weights that share a global scale."""
    from compressed_tensors.quantization import preset_name_to_scheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
    args = preset_name_to_scheme(preset, ["Linear"]).weights
    shared = None
    if preset == "NVFP4A16":
        shared = generate_gparam(min(w.min() for w in weights), max(w.max() for w in weights))
    sum_of = 0.0
    for weight in weights:
        groups = weight.unflatten(-1, (-1, args.group_size))
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args, global_scale=shared)
        codes = quantize(weight, scale, zero, args, global_scale=shared)
        back = dequantize(codes, scale, zero, args, global_scale=shared)
        sum_of += float(((weight - back).double() ** 2).sum())
    return sum_of


def ratio_of_compressed_tensors(model, scheme, work):
    import torch
    from safetensors import safe_open
    quantised(model, scheme, work, None)
    shutil.rmtree(work + "-plain", ignore_errors=True)
    subprocess.run([ORGAN, "dequantize", work, "-o", work + "-plain", "--dtype", "f32", "-q"], check=True,
                   stdout=subprocess.DEVNULL)
    def opened(folder):
        found = {}
        for name in sorted(os.listdir(folder)):
            if name.endswith(".safetensors"):
                file = safe_open(os.path.join(folder, name), "pt")
                found.update({key: file for key in file.keys()})
        return found
    before, after = opened(model), opened(work + "-plain")
    packed = [name for name in opened(work) if name.endswith(".weight_packed")]
    sets = {}
    for name in packed:
        module = name[:-len(".weight_packed")]
        parent, last = module.rsplit(".", 1)
        key = next((f"{parent} {s}" for s in FUSED if last in s), module)
        sets.setdefault(key, []).append(module + ".weight")
    ours = theirs = worst = 0.0
    for names in sets.values():
        weights = [before[name].get_tensor(name).float() for name in names]
        own = sum(float(((w - after[n].get_tensor(n)).double() ** 2).sum()) for w, n in zip(weights, names))
        other = of_compressed_tensors(weights, "NVFP4A16" if scheme == "nvfp4" else "MXFP4A16")
        ours, theirs, worst = ours + own, theirs + other, max(worst, own / other if other else 1)
    return ours / theirs, worst


def print_errors(model, work):
    wrong = 0
    for scheme in AFFINE + MODES:
        total, worst = ratio(model, scheme, work)
        print(f"|{os.path.basename(model)}|{scheme}|mlx|{total:.3f}|{worst:.3f}|", flush=True)
        wrong += total > 1
    for scheme in ("nvfp4", "mxfp4"):
        total, worst = ratio_of_compressed_tensors(model, scheme, work)
        print(f"|{os.path.basename(model)}|{scheme}|compressed-tensors|{total:.3f}|{worst:.3f}|", flush=True)
        wrong += total > 1
    return wrong


def logits_of(folder):
    from pathlib import Path
    from mlx_lm.utils import load_model
    model, config = load_model(Path(folder))
    text = config.get("text_config", config)
    ids = mx.random.randint(3, text["vocab_size"], (1, 24), key=mx.random.key(1))
    return model(ids).astype(mx.float32)


def write_f32(model, folder):
    """Copies a model with all weights in FP32, so that scales, dequantised values and activations have no other type."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors*", "organ"))
    mx.save_safetensors(folder + "/model.safetensors", {k: v.astype(mx.float32) for k, v in tensors(model).items()})


def print_logits(model, work):
    wrong = 0
    plain = work + "-f32"
    write_f32(model, plain)
    for scheme in AFFINE[::4] + MODES:
        try:
            quantised(plain, scheme, work)
        except subprocess.CalledProcessError as error:
            print(f"|{os.path.basename(model)}|{scheme}|refused ({error.returncode})|", flush=True)
            continue
        shutil.rmtree(work + "-plain", ignore_errors=True)
        subprocess.run([ORGAN, "dequantize", work, "-o", work + "-plain", "--dtype", "f32", "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        a, b = logits_of(work), logits_of(work + "-plain")
        difference = float(mx.linalg.norm(a - b) / mx.linalg.norm(b))
        print(f"|{os.path.basename(model)}|{scheme}|{difference:.1e}|", flush=True)
        wrong += not difference <= 1e-4
    return wrong


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("errors", "logits"):
        sys.exit(__doc__)
    run, titles = {"errors": (print_errors, "|model|scheme|against|all|worst matrix|\n|---|---|---|--:|--:|"),
                   "logits": (print_logits, "|model|scheme|difference|\n|---|---|--:|")}[sys.argv[1]]
    print(titles, flush=True)
    with tempfile.TemporaryDirectory() as work:
        return sum(run(model.rstrip("/"), work + "/quantised") for model in sys.argv[2:]) > 0


if __name__ == "__main__":
    sys.exit(main())
