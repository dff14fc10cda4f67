#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Merges models by all methods with mergekit and with organ, and compares tensors, time and memory.

    python3 bench/compare_mergekit.py [--methods "ties,slerp"] [--examples] [--values] [--table FILE] BASE...
    python3 bench/compare_mergekit.py [...] --tunes ONE,TWO BASE
    python3 bench/compare_mergekit.py --methods "linear,ties" --repeat 5 --tunes ONE,TWO BASE

For each BASE, a directory of safetensors, the script makes tunes: every tensor with normal noise of 1 to 5 % of its deviation, in FP32,
so that no two elements of a difference are equal. --tunes names models instead; in BF16 many elements lie on the threshold of a
selecting method, and mergekit's choice among them is arbitrary. Both programs get the same recipe with dtype float32 and out_dtype
bfloat16 (arcee_fusion: float64); in FP32, sums of mergekit over 10 million elements are off by up to 1e-5, which --dtype float64 avoids.
--examples adds six recipes of mergekit's folder examples, with its dtype as out_dtype, other names of models (three tunes), and layers
in proportion.

A row has the number of elements, how many differ, the largest difference in units of the last place of the output's type; without
--values then seconds, processor seconds and peak memory (MiB) of mergekit and of organ, the seconds that reading the models and copying
the result takes (cat, cp, sync; --repeat: medians of alternating runs), and organ's seconds by the longer of these and its processor
seconds / cores. Rows of methods that draw random numbers compare no elements; for arcee_fusion, which samples in mergekit above
1,000,000 elements, larger tensors are left out. Of mixtures mergekit merges the stack of a layer's experts as one tensor, so that there
only methods on single elements compare (linear, task_arithmetic, nearswap, ram, passthrough).
Exit status 1: a smooth method differs by more than one unit, or a selecting one in more than 1 of 10,000 elements. Needs numpy, torch,
safetensors and mergekit 0.1.5 (its program beside the Python that runs this script)."""
import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import safetensors.torch
import torch

SMOOTH, SELECTS, RANDOM = "smooth", "selects", "random"
# method: kind, has a base, parameters of the method, parameters of each tune
METHODS = {
    "linear": (SMOOTH, False, {}, [{"weight": 0.3}, {"weight": 0.9}]),
    "slerp": (SMOOTH, True, {"t": 0.3}, [{}]),
    "nuslerp": (SMOOTH, False, {}, [{"weight": 0.3}, {"weight": 0.9}]),
    "nuslerp by row": (SMOOTH, True, {"nuslerp_flatten": False}, [{"weight": 0.3}, {"weight": 0.9}]),
    "nuslerp by column": (SMOOTH, True, {"nuslerp_flatten": False, "nuslerp_row_wise": True}, [{"weight": 0.3}, {"weight": 0.9}]),
    "multislerp": (SMOOTH, True, {}, [{"weight": 0.3}, {"weight": 0.9}]),
    "karcher": (SMOOTH, False, {}, [{}, {}]),
    "task_arithmetic": (SMOOTH, True, {"lambda": 0.8}, [{"weight": 0.3}, {"weight": 0.9}]),
    "ties": (SELECTS, True, {}, [{"weight": 0.3, "density": 0.4}, {"weight": 0.9, "density": 0.7}]),
    "dare_linear": (RANDOM, True, {}, [{"weight": 0.3, "density": 0.4}, {"weight": 0.9, "density": 0.7}]),
    "dare_ties": (RANDOM, True, {}, [{"weight": 0.3, "density": 0.4}, {"weight": 0.9, "density": 0.7}]),
    "della": (RANDOM, True, {}, [{"weight": 0.3, "density": 0.4}, {"weight": 0.9, "density": 0.7}]),
    "della_linear": (RANDOM, True, {}, [{"weight": 0.3, "density": 0.4}, {"weight": 0.9, "density": 0.7}]),
    "breadcrumbs": (SELECTS, True, {}, [{"weight": 0.3, "density": 0.4, "gamma": 0.05}, {"weight": 0.9, "density": 0.7}]),
    "breadcrumbs_ties": (SELECTS, True, {}, [{"weight": 0.3, "density": 0.4, "gamma": 0.05}, {"weight": 0.9, "density": 0.7}]),
    "model_stock": (SMOOTH, True, {}, [{}, {}]),
    "model_stock by row": (SMOOTH, True, {"filter_wise": True}, [{}, {}]),
    "nearswap": (SMOOTH, True, {"t": 0.0005}, [{}]),
    "sce": (SELECTS, True, {"select_topk": 0.4}, [{}, {}]),
    "arcee_fusion": (SELECTS, True, {}, [{}]),
    "ram": (SELECTS, True, {"epsilon": 0.0003}, [{}, {}]),
    "ramplus_tl": (SELECTS, True, {"epsilon": 0.0003}, [{}, {}]),
    "passthrough": (SMOOTH, False, {}, [{"scale": 0.9}]),
}

# The recipes of mergekit's folder examples: kind, out_dtype, recipe of models "0" (the base) to "3" with L layers.
EXAMPLES = {
    "bio-merge": (SELECTS, "float16", lambda layers: {
        "models": [{"model": "1", "parameters": {"density": 0.5, "weight": 0.5}}, {"model": "2", "parameters": {"density": 0.5, "weight": 0.5}}],
        "merge_method": "ties", "base_model": "0", "parameters": {"normalize": False, "int8_mask": True}}),
    "gradient-slerp": (SMOOTH, "float16", lambda layers: {
        "slices": [{"sources": [{"model": name, "layer_range": [0, layers]} for name in "12"]}],
        "merge_method": "slerp", "base_model": "1",
        "parameters": {"t": [{"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]}, {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]},
                             {"value": 0.5}]}}),
    "linear": (SMOOTH, "float16", lambda layers: {
        "models": [{"model": name, "parameters": {"weight": weight}} for name, weight in (("1", 1.0), ("2", 0.3), ("3", 0.5))],
        "merge_method": "linear"}),
    "orcamini-platy-44layer": (SMOOTH, "float16", lambda layers: {
        "slices": [{"sources": [{"model": "1", "layer_range": [0, layers * 24 // 40]}]},
                   {"sources": [{"model": "2", "layer_range": [layers * 20 // 40, layers]}]}],
        "merge_method": "passthrough"}),
    "ties": (SELECTS, "float16", lambda layers: {
        "models": [{"model": "1", "parameters": {"density": [1, 0.7, 0.1], "weight": 1.0}},
                   {"model": "2", "parameters": {"density": 0.5, "weight": [0, 0.3, 0.7, 1]}},
                   {"model": "3", "parameters": {"density": 0.33, "weight": [{"filter": "mlp", "value": 0.5}, {"value": 0}]}}],
        "merge_method": "ties", "base_model": "0", "parameters": {"normalize": True, "int8_mask": True}}),
    "arcee_fusion": (SELECTS, "bfloat16", lambda layers: {
        "models": [{"model": "1"}, {"model": "2"}], "merge_method": "arcee_fusion", "base_model": "1"}),
}
SAMPLED = 1000000  # elements above which arcee_fusion of mergekit draws a sample


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bases", nargs="+", type=pathlib.Path)
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--mergekit", default=str(pathlib.Path(sys.executable).parent / "mergekit-yaml"))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--examples", action="store_true", help="the recipes of mergekit's folder examples too")
    parser.add_argument("--tunes", type=lambda text: [pathlib.Path(name).resolve() for name in text.split(",")], default=[])
    parser.add_argument("--repeat", type=int, default=1, help="runs of organ and of the copy")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"], help="of mergekit's sums, but for the examples")
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("--values", action="store_true", help="no times: mergekit runs in this process, which is quicker")
    parser.add_argument("--keep", action="store_true", help="keep the models")
    options = parser.parse_args()
    if options.tunes and len(options.tunes) < (3 if options.examples else 2):
        parser.error(f"--tunes names {len(options.tunes)} models")
    return options


def tensors_of(directory):
    found = {}
    for file in sorted(directory.glob("*.safetensors")):
        found.update(safetensors.torch.load_file(file))
    return found


def make_tune(base, out, number):
    """Adds noise to every tensor of `base`; the base itself is `number` 0."""
    out.mkdir()
    for file in base.iterdir():
        if file.suffix != ".safetensors" and not file.name.endswith(".index.json") and file.is_file():
            shutil.copy(file, out)
    config = json.loads((out / "config.json").read_text())
    config["torch_dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config))
    random = torch.Generator().manual_seed(number)
    made = {}
    for name, tensor in tensors_of(base).items():
        values = tensor.float()
        deviation = values.std(unbiased=False).item() if values.numel() > 1 else 0.0
        share = 0.01 + 0.04 * torch.rand(1, generator=random).item()
        noise = torch.randn(values.shape, generator=random) * (deviation or 0.01) * share
        made[name] = values + noise if number else values.contiguous()
    safetensors.torch.save_file(made, out / "model.safetensors", {"format": "pt"})


def renamed(value, models):
    """The recipe with the paths of the models for "0" to "3"."""
    if isinstance(value, dict):
        return {key: str(models[int(inner)]) if key in ("model", "base_model") else renamed(inner, models) for key, inner in value.items()}
    return [renamed(inner, models) for inner in value] if isinstance(value, list) else value


def example_of(name, models):
    kind, out, recipe = EXAMPLES[name]
    config = json.loads((models[0] / "config.json").read_text())
    made = renamed(recipe(config.get("text_config", config)["num_hidden_layers"]), models)
    return kind, made | {"dtype": "float64" if made["merge_method"] == "arcee_fusion" else "float32", "out_dtype": out}


def recipe_of(method, models, dtype="float32"):
    kind, has_base, parameters, each = METHODS[method]
    name = method.split(" by ")[0]
    made = {"merge_method": name, "dtype": "float64" if name == "arcee_fusion" else dtype, "out_dtype": "bfloat16"}
    listed = [{"model": str(model), "parameters": one} if one else {"model": str(model)} for model, one in zip(models[1:], each)]
    if has_base:
        made["base_model"] = str(models[0])
        listed = [{"model": str(models[0])}] + listed if name == "slerp" else listed
    made["models"] = listed
    if parameters:
        made["parameters"] = parameters
    return kind, made


def rows_of(options, models):
    """Name, kind and recipe of each row."""
    rows = [(method, *recipe_of(method, models, options.dtype)) for method in options.methods.split(",") if method]
    return rows + [(f"example {name}", *example_of(name, models)) for name in EXAMPLES if options.examples]


def named(value):
    """The models of a recipe."""
    if isinstance(value, dict):
        return {inner for key, inner in value.items() if key in ("model", "base_model")}.union(*map(named, value.values()))
    return set().union(*map(named, value)) if isinstance(value, list) else set()


def timed(command, environment=None):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(["/usr/bin/time", "-f", "%M", *command], capture_output=True, text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - start, processor, int(done.stderr.split()[-1]) / 1024


def merge_here(recipe, out):
    import mergekit.config
    import mergekit.merge
    import mergekit.options
    import yaml

    config = mergekit.config.MergeConfiguration.model_validate(yaml.safe_load(recipe.read_text()))
    mergekit.merge.run_merge(config, str(out), mergekit.options.MergeOptions(copy_tokenizer=False, quiet=True))



def order(values):
    """Numbers of BF16 values in ascending order, so that neighbours differ by 1."""
    bits = values.contiguous().view(torch.int16).numpy().astype(np.int32)
    return np.where(bits < 0, -(bits & 0x7FFF), bits)


def apart(tensors):
    """mergekit writes the experts of a layer as a stack, gate and up joined; organ keeps the layout of the base."""
    made = {}
    for name, tensor in tensors.items():
        if ".experts.gate_up_proj" in name or name.endswith(".experts.down_proj"):
            stem = name.rsplit(".", 1)[0]
            for expert, matrix in enumerate(tensor):
                parts = {"gate_proj": matrix.chunk(2)[0], "up_proj": matrix.chunk(2)[1]} if "gate_up" in name else {"down_proj": matrix}
                made.update({f"{stem}.{expert}.{part}.weight": values for part, values in parts.items()})
        else:
            made[name] = tensor
    return made


def compare(ours, theirs, most):
    """Of tensors with at most `most` elements."""
    total = differ = worst = 0
    mine, other = tensors_of(ours), apart(tensors_of(theirs))
    if set(mine) != set(other):
        raise SystemExit(f"names differ: {sorted(set(mine) ^ set(other))[:4]}")
    for name, tensor in other.items():
        if tensor.numel() > most:
            continue
        distance = np.abs(order(mine[name]) - order(tensor))
        # mergekit rounds intermediate results to FP32: near 0 that is many units of the output's type
        noise = 2.0**-22 * tensor.float().abs().max().item()
        distance[(mine[name].float() - tensor.float()).abs().numpy() <= noise] = 0
        total += distance.size
        differ += int((distance > 0).sum())
        worst = max(worst, int(distance.max(initial=0)))
    return total, differ, worst


def copied(models, out):
    """Seconds of reading the models and writing the result."""
    copy = out.parent / "copy"
    os.sync()
    start = time.monotonic()
    subprocess.run(["sh", "-c", 'out=$1 copy=$2; shift 2; cat "$@" >/dev/null; cp -r "$out" "$copy"; sync -f "$copy"', "sh", out, copy,
                    *(file for model in models for file in sorted(pathlib.Path(model).glob("*.safetensors")))], check=True)
    seconds = time.monotonic() - start
    shutil.rmtree(copy)
    return seconds


def merged(options, recipe, file, scratch):
    """Merges with both programs; the figures of both, of the copy, and the ratio to it."""
    environment = dict(os.environ, PYTHONHASHSEED="0", HF_HUB_OFFLINE="1")
    ours, theirs = scratch / "ours", scratch / "theirs"
    file.write_text(json.dumps(recipe))  # JSON is YAML
    shutil.rmtree(theirs, ignore_errors=True)
    if options.values:
        merge_here(file, theirs)
    else:
        peer = timed([options.mergekit, str(file), str(theirs), "--no-copy-tokenizer"], environment)
    runs, copies = [], []
    for _ in range(options.repeat):
        shutil.rmtree(ours, ignore_errors=True)
        os.sync()
        runs.append(timed([options.organ, "merge", str(file), "-o", str(ours), "--quiet"]))
        if not options.values:
            copies.append(copied(named(recipe), ours))
    if options.values:
        return []
    mine, copy = [statistics.median(column) for column in zip(*runs)], statistics.median(copies)
    return [*peer, *mine, copy, mine[0] / max(copy, mine[1] / len(os.sched_getaffinity(0)))]


def models_of(options, base, scratch):
    if options.tunes:
        return [base.resolve(), *options.tunes]
    models = [scratch / name for name in ("base", "one", "two", "three")[:4 if options.examples else 3]]
    for number, model in enumerate(models):
        make_tune(base, model, number)
    return models


def main():
    options = arguments()
    failed, rows = [], []
    for base in options.bases:
        scratch = pathlib.Path(tempfile.mkdtemp(prefix="compare-mergekit."))
        models = models_of(options, base, scratch)
        for name, kind, recipe in rows_of(options, models):
            figures = merged(options, recipe, scratch / "recipe.yaml", scratch)
            most = SAMPLED if recipe["merge_method"] == "arcee_fusion" else sys.maxsize
            total, differ, worst = compare(scratch / "ours", scratch / "theirs", most)
            row = [base.name, name, kind, total, differ, worst, *(f"{x:.2f}" for x in figures)]
            print(*row, sep="\t", flush=True)
            rows.append(row)
            if (kind == SMOOTH and worst > 1) or (kind == SELECTS and differ * 10000 > total):
                failed.append(f"{base.name} {name}")
        if not options.keep:
            shutil.rmtree(scratch)
    if options.table:
        head = ["base", "method", "kind", "elements", "differ", "worst"]
        head += [] if options.values else ["mergekit_s", "mergekit_cpu", "mergekit_mib", "organ_s", "organ_cpu", "organ_mib", "copy_s", "ratio"]
        options.table.write_text("".join("\t".join(map(str, row)) + "\n" for row in [head, *rows]))
    print("failed:", "; ".join(failed) or "none")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
