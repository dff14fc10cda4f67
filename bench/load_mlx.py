#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `organ quantize --format mlx` and the FP4 schemes of compressed-tensors with the programs that own them.

  load_mlx.py errors MODEL...   squared errors, each summed over all quantised matrices, over those of mlx.core.quantize
                                (numbers decoded as scale x code + bias in FP32) or of compressed-tensors' nearest
                                rounding with minmax scales and one global scale per fused matrices
  load_mlx.py logits MODEL...   relative difference of the logits that mlx-lm computes with the output and with its
                                dequantised copy
  load_mlx.py activations TEXT MODEL...   relative difference of the logits that transformers computes with an output of
                                nvfp4 --activations and of those that this program computes from its tensors

MODEL is a directory of safetensors. `errors` needs numpy, mlx (CPU) and, for nvfp4-ct and mxfp4-ct, torch and
compressed-tensors; `logits` needs mlx-lm, `activations` torch, transformers and
compressed-tensors. All need the built program (ORGAN, or build/organ). Prints a table; ends
with 1 if a ratio of errors is above 1 or a difference of logits above 1e-4 (activations: 1e-6): mlx sums the products of codes and of values
in different orders.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

try:
    import mlx.core as mx
except ImportError:
    mx = None # `activations` needs no mlx

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
    """MLX looks up rows of its modes as BF16, to which some models round; here they are FP32, as the weights."""
    from pathlib import Path
    from mlx_lm.utils import load_model
    import mlx.nn as nn
    nn.QuantizedEmbedding.__call__ = lambda self, ids: mx.dequantize(
        self.weight[ids], self.scales[ids], self.biases[ids] if self.get("biases") is not None else None,
        group_size=self.group_size, bits=self.bits, mode=self.mode, dtype=mx.float32)
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


# ---- names ----

MIXTURES = ("gpt_oss", "granitemoe", "lfm2_moe", "minimax_m2", "mistral4") # of these the mixture of layer 1 of mlx-lm's own model

def published(found, type):
    """Joins the numbered experts of fixtures if published files of the type have them joined."""
    parts = {name: name.split(".experts.0.") for name in found if ".experts.0." in name}
    for name, (before, after) in parts.items() if type == "qwen3_5_moe" else ():
        count = sum(other.startswith(before + ".experts.") and other.endswith("." + after) for other in found)
        found[before + ".experts." + after] = mx.stack(
            [found.pop(f"{before}.experts.{e}.{after}") for e in range(count)])
    for name in [name for name in found if name.endswith(".experts.gate_proj.weight")]:
        before = name[:-len("gate_proj.weight")]
        found[before + "gate_up_proj"] = mx.concatenate([found.pop(name), found.pop(before + "up_proj.weight")], axis=1)
        found[before + "down_proj"] = found.pop(before + "down_proj.weight")
    return found


def print_names(model, work):
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes, load_config
    from pathlib import Path
    config = load_config(Path(model))
    text = config.get("text_config", config)
    rope, types = text.get("rope_parameters") or {}, text.get("layer_types") or []
    full = types.index("full_attention") + 1 if "linear_attention" in types else 1
    known = {"num_experts": text.get("num_local_experts"), "num_local_experts": text.get("num_experts"),
             "head_dim": text["hidden_size"] // text["num_attention_heads"], "full_attention_interval": full, **rope}
    for name, value in known.items(): # what the configurations of fixtures leave out
        text.setdefault(name, value)
    kind, arguments = _get_classes(config)
    built = kind(arguments.from_dict(config))
    own = config["model_type"] in MIXTURES
    made = (dict(tree_flatten(built.parameters())) if own else
            built.sanitize(published(tensors(model), config["model_type"])))
    for name in sorted(made):
        if re.search(r"layers[.][2-9]", name) or own and not re.search(r"1[.](mlp|block_sparse_moe|feed_forward)[.]", name):
            continue
        print(os.path.basename(model), name, "x".join(map(str, made[name].shape)), sep="\t")
    return 0


# ---- nvfp4 --activations ----

def rounded_to_e2m1(torch, values):
    """Rounds to the nearest E2M1 number, ties to the even code."""
    levels, middles = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6.]), torch.tensor([.25, .75, 1.25, 1.75, 2.5, 3.5, 5.])
    size = values.abs().clamp(max=6)
    code = torch.bucketize(size, middles)
    tie = (size.unsqueeze(-1) == middles).any(-1)
    return torch.sign(values) * levels[torch.where(tie & (code % 2 == 1), code + 1, code)]


def emulated_linear(torch, tensors, module, bias):
    """Returns a module that computes a linear layer of nvfp4 with quantised inputs from the tensors of the file."""
    packed, scale = tensors[module + ".weight_packed"], tensors[module + ".input_global_scale"]
    codes = torch.stack([packed & 15, packed >> 4], -1).flatten(1).long()
    levels = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6.])
    values = torch.where(codes >= 8, -1., 1.) * levels[codes & 7]
    scales = tensors[module + ".weight_scale"].float() / tensors[module + ".weight_global_scale"]
    weight = (values.unflatten(1, (-1, 16)) * scales.unsqueeze(-1)).flatten(1)

    class Emulated(torch.nn.Module):
        def forward(self, inputs):
            groups = inputs.unflatten(-1, (-1, 16))
            own = (scale * groups.abs().amax(-1) / 6).clamp(max=448).to(torch.float8_e4m3fn).float()
            own = torch.where(own == 0, torch.full_like(own, .125), own) / scale
            inputs = (rounded_to_e2m1(torch, groups / own.unsqueeze(-1)) * own.unsqueeze(-1)).flatten(-2)
            return torch.nn.functional.linear(inputs, weight, bias)
    return Emulated()


def print_activations(model, work):
    import torch
    import transformers
    from safetensors.torch import load_file
    load = transformers.AutoModelForCausalLM.from_pretrained
    torch.manual_seed(1)
    wrong = 0
    for method in ("nearest", "gptq"):
        shutil.rmtree(work, ignore_errors=True)
        subprocess.run([ORGAN, "quantize", model, "-o", work, "-s", "nvfp4", "--activations", "--calibration", TEXT,
                        "--samples", "8", "--context", "64", "--method", method, "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        tensors = {}
        for name in sorted(os.listdir(work)):
            if name.endswith(".safetensors"):
                tensors.update(load_file(os.path.join(work, name)))
        plain, loaded = load(model, dtype=torch.float32), load(work, dtype=torch.bfloat16)
        ids = torch.randint(3, plain.config.vocab_size, (2, 48))
        with torch.no_grad():
            loaded(ids) # unpacks the weights, which are exact in BF16
            torch.nn.Module.float(loaded) # transformers refuses to convert a quantised model itself
            donor, found = plain(ids).logits, loaded(ids).logits
            for packed in [name for name in tensors if name.endswith(".weight_packed")]:
                module = packed[:-len(".weight_packed")]
                parent, last = module.rsplit(".", 1)
                setattr(plain.get_submodule(parent), last,
                        emulated_linear(torch, tensors, module, plain.get_submodule(module).bias))
            expected = plain(ids).logits
        difference = float((found - expected).norm() / expected.norm())
        change = float((expected - donor).norm() / donor.norm())
        print(f"|{os.path.basename(model)}|{method}|{difference:.1e}|{change:.3f}|", flush=True)
        wrong += not difference <= 1e-6
    return wrong


def main():
    global TEXT
    if len(sys.argv) > 3 and sys.argv[1] == "activations":
        TEXT = sys.argv.pop(2)
    if len(sys.argv) < 3 or sys.argv[1] not in ("errors", "logits", "names", "activations"):
        sys.exit(__doc__)
    run, titles = {"errors": (print_errors, "|model|scheme|against|all|worst matrix|\n|---|---|---|--:|--:|"),
                   "logits": (print_logits, "|model|scheme|difference|\n|---|---|--:|"),
                   "names": (print_names, "# made by bench/load_mlx.py names"),
                   "activations": (print_activations, "|model|method|difference|to the unquantised model|\n"
                                   "|---|---|--:|--:|")}[sys.argv[1]]
    print(titles, flush=True)
    with tempfile.TemporaryDirectory() as work:
        return sum(run(model.rstrip("/"), work + "/quantised") for model in sys.argv[2:]) > 0


if __name__ == "__main__":
    sys.exit(main())
