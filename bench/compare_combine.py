#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares organ lora combine with peft's add_weighted_adapter: all combination types on twelve sets of adapters.

    python3 bench/compare_combine.py [--organ build/organ] [--seeds 100]

Needs peft, torch and safetensors. Prints a table of the relative distance || X - Y || / || Y || of the products B A of all
modules together, X of organ and Y of peft, both in FP32; "refused" where both refuse the set, "stack" where peft refuses
stacks of experts and Y is that of single experts. For dare, peft gets organ's masks, which organ shows for adapters of ones.
Ends with an error if a type that adds factors is beyond 1e-6 or another one beyond 1e-4.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import peft
import torch
from peft.tuners.lora.model import LoraModel
from safetensors.torch import load_file, save_file

TYPES = ["cat", "svd", "linear", "ties", "ties_svd", "dare_linear", "dare_linear_svd", "dare_ties", "dare_ties_svd",
         "magnitude_prune", "magnitude_prune_svd"]
DENSITY = 0.6


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = torch.nn.Linear(48, 40)
        self.v_proj = torch.nn.Linear(48, 24)
        self.conv = torch.nn.Conv2d(6, 10, 3)
        self.point = torch.nn.Conv2d(6, 10, 1)
        self.experts = torch.nn.ModuleList([torch.nn.Linear(20, 28, bias=False) for _ in range(3)])


class Model(torch.nn.Module):
    config = {"model_type": "custom"}

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(50, 32)
        self.layers = torch.nn.ModuleList([Block() for _ in range(2)])
        self.head = torch.nn.Linear(32, 50, bias=False)

    def forward(self, x):
        return x


def config(**more):
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **more})


# name: configurations of the adapters, weights
SETS = {
    "equal ranks": ([config(), config()], [1, 1]),
    "other alphas": ([config(lora_alpha=3), config(lora_alpha=20)], [0.7, 0.3]),
    "ranks 8 and 3": ([config(r=8), config(r=3)], [0.7, 0.5]),
    "rsLoRA": ([config(use_rslora=True), config(use_rslora=True, lora_alpha=5)], [1, 0.5]),
    "rsLoRA, one": ([config(use_rslora=True), config()], [1, 1]),
    "patterns": ([config(rank_pattern={"v_proj": 2}, alpha_pattern={"v_proj": 5})] * 2, [0.8, 0.4]),
    "other patterns": ([config(rank_pattern={"v_proj": 2}), config(rank_pattern={"layers.1.q_proj": 3})], [1, 1]),
    "embedding, head": ([config(target_modules=["embed", "head"])] * 2, [0.6, 0.7]),
    "convolutions": ([config(target_modules=["conv", "point", "q_proj"])] * 2, [0.6, 0.7]),
    "other targets": ([config(), config(target_modules=["q_proj", "head"])], [0.5, 0.9]),
    "three, one negative": ([config(), config(), config(lora_alpha=2)], [0.9, -0.4, 0.3]),
    "experts": ([config(target_modules=["experts.0", "experts.1", "experts.2"])] * 2, [1, 0.4]),
}


def adapted(configs, seed=0):
    torch.manual_seed(seed)
    model = peft.get_peft_model(Model(), configs[0], adapter_name="a0")
    for k, c in enumerate(configs[1:], 1):
        model.add_adapter(f"a{k}", c)
    for name, value in model.named_parameters():
        if "lora_" in name:
            value.data = torch.randn_like(value) * 0.3
    return model


def layers(model):
    return {n.removeprefix("base_model.model."): m for n, m in model.named_modules() if isinstance(m, peft.tuners.lora.LoraLayer)}


def factors(layer, adapter):
    if adapter in layer.lora_A:
        return layer.lora_A[adapter].weight.data, layer.lora_B[adapter].weight.data
    if adapter in layer.lora_embedding_A:
        return layer.lora_embedding_A[adapter].data, layer.lora_embedding_B[adapter].data
    return None


def product(a, b):
    return b.flatten(1).double() @ a.flatten(1).double()


def organ(args, adapters, out, method, weights, *more):
    words = [args.organ, "lora", "combine", *adapters, "-o", out, "--method", method, "--force", "--quiet", "--weights=" +
             ",".join(map(str, weights)), *more]
    if method not in ("cat", "svd", "linear"):
        words += ["--density", str(DENSITY)]
    return subprocess.run(words, capture_output=True, text=True)


def read(directory):
    """Products of an adapter by module, with its scale."""
    with open(f"{directory}/adapter_config.json") as file:
        c = json.load(file)
    assert not c["rank_pattern"] and not c["use_rslora"]
    tensors = load_file(f"{directory}/adapter_model.safetensors")
    made = {}
    for name, a in tensors.items():
        if "lora_A" in name or "lora_embedding_A" in name:
            b = tensors[name.replace("lora_A", "lora_B").replace("lora_embedding_A", "lora_embedding_B")]
            module = name.removeprefix("base_model.model.").split(".lora_")[0]
            made[module] = (a, b, c["lora_alpha"] / c["r"])
    return made


def ones(directory, to, rank_one):
    """A copy of an adapter whose factors are all 1, of scale 1."""
    tensors = load_file(f"{directory}/adapter_model.safetensors")
    with open(f"{directory}/adapter_config.json") as file:
        c = json.load(file)
    if rank_one:
        tensors = {n: t[:1] if "_A" in n else t[:, :1] for n, t in tensors.items()}
        c.update(r=1, lora_alpha=1, rank_pattern={}, alpha_pattern={}, use_rslora=False)
    else:
        c.update(use_rslora=False, lora_alpha=c["r"], alpha_pattern=c["rank_pattern"])
    os.makedirs(to, exist_ok=True)
    save_file({n: torch.ones_like(t).contiguous() for n, t in tensors.items()}, f"{to}/adapter_model.safetensors")
    with open(f"{to}/adapter_config.json", "w") as file:
        json.dump(c, file)


def masks_of(args, work, paths, whole):
    """masks[k][module] of adapter k: (A, B), or with `whole` those of the change."""
    kinds = [f"{work}/ones{k}" for k in range(len(paths))]
    for path, kind in zip(paths, kinds):
        ones(path, kind, whole)
    found = []
    for k in range(len(paths)):
        weights = [float(j == k) for j in range(len(paths))]
        method = "dare_linear_svd" if whole else "dare_linear"
        done = organ(args, kinds, f"{work}/mask", method, weights, "--seed", "7", *(["--rank", "60000"] if whole else []))
        if done.returncode:
            return None
        made = read(f"{work}/mask")
        if whole:
            found.append({m: product(a, b) * s > 0.5 for m, (a, b, s) in made.items()})
        else:
            found.append({m: (a > 0, b > 0) for m, (a, b, s) in made.items()})
    return found


class Masked:
    """peft draws organ's masks instead of its own."""

    def __init__(self, model, masks, whole, count):
        self.names = {id(layer): name for name, layer in layers(model).items()}
        self.masks, self.whole, self.count, self.queue = masks, whole, count, []

    def __enter__(self):
        self.kept = (LoraModel._generalized_task_arithmetic_weighted_adapter,
                     LoraModel._svd_generalized_task_arithmetic_weighted_adapter, torch.bernoulli)
        plain, svd, _ = self.kept

        def fill(target):
            name = self.names[id(target)]
            own = [k for k in range(self.count) if factors(target, f"a{k}") is not None]
            if self.whole:
                turned = bool(target.lora_embedding_A)
                self.queue = [self.masks[k][name].T if turned else self.masks[k][name] for k in own]
            else:
                self.queue = [self.masks[k][name][side] for side in (0, 1) for k in own]

        def plain_of(this, kind, adapters, weights, target, *rest):
            fill(target)
            return plain(this, kind, adapters, weights, target, *rest)

        def svd_of(this, kind, adapters, weights, rank, target, *rest, **named):
            fill(target)
            return svd(this, kind, adapters, weights, rank, target, *rest, **named)

        def draw(full):
            mask = self.queue.pop(0)
            if not self.whole:  # organ pads to the largest rank of the adapter
                mask = mask[: full.shape[0]] if full.shape[0] < mask.shape[0] else mask
                mask = mask[:, : full.shape[1]]
            return mask.reshape(full.shape).to(full.dtype)

        LoraModel._generalized_task_arithmetic_weighted_adapter = plain_of
        LoraModel._svd_generalized_task_arithmetic_weighted_adapter = svd_of
        torch.bernoulli = draw

    def __exit__(self, *_):
        (LoraModel._generalized_task_arithmetic_weighted_adapter, LoraModel._svd_generalized_task_arithmetic_weighted_adapter,
         torch.bernoulli) = self.kept


def combine_peft(model, kind, weights, masks):
    names = [f"a{k}" for k in range(len(weights))]
    density = None if kind in ("cat", "svd", "linear") else DENSITY
    call = lambda: model.base_model.add_weighted_adapter(names, weights, "joined", combination_type=kind, density=density)  # noqa: E731
    if kind.startswith("dare") and masks:
        with Masked(model, masks, kind.endswith("svd"), len(weights)):
            call()
    else:
        call()
    return {n: product(*factors(layer, "joined")) for n, layer in layers(model).items() if factors(layer, "joined")}


def distance(made, expected):
    miss = sum(((made[n] - p) ** 2).sum().item() for n, p in expected.items())
    assert set(made) == set(expected), set(made) ^ set(expected)
    return math.sqrt(miss / sum((p ** 2).sum().item() for p in expected.values()))


def cell(args, work, configs, weights, kind):
    model = adapted(configs)
    model.save_pretrained(f"{work}/in", save_embedding_layers=False)
    paths = [f"{work}/in/a{k}" for k in range(len(configs))]
    done = organ(args, paths, f"{work}/out", kind, weights, "--seed", "7")
    masks = masks_of(args, work, paths, kind.endswith("svd")) if kind.startswith("dare") and not done.returncode else None
    try:
        expected = combine_peft(model, kind, weights, masks)
    except (ValueError, RuntimeError) as fault:
        if done.returncode != 3:
            raise SystemExit(f"peft refuses {kind}: {fault}; organ: {done.returncode}: {done.stderr}")
        return None
    if done.returncode:
        raise SystemExit(f"organ refuses {kind}: {done.stderr}")
    audit = subprocess.run([args.organ, "audit", "--recipe", f"{work}/out/organ/lora_combine.json", f"{work}/out"], capture_output=True, text=True)
    if audit.returncode:
        raise SystemExit(f"audit of {kind}: {audit.stdout} {audit.stderr}")
    return distance({n: product(a, b) * s for n, (a, b, s) in read(f"{work}/out").items()}, expected)


def seeds(args, work):
    """Share and mean of the values that dare keeps, of ones, over many seeds."""
    model = adapted([config(r=8), config(r=8)])
    model.save_pretrained(f"{work}/in")
    paths = [f"{work}/ones{k}" for k in range(2)]
    for k in range(2):
        ones(f"{work}/in/a{k}", paths[k], False)
    kept = total = 0
    mean = 0.0
    for seed in range(args.seeds):
        done = organ(args, paths, f"{work}/out", "dare_linear", [1, 0], "--seed", str(seed))
        if done.returncode:
            raise SystemExit(done.stderr)
        for a, b, _ in read(f"{work}/out").values():
            for t in (a, b):
                kept += (t != 0).sum().item()
                total += t.numel()
                mean += t.double().sum().item()
    off = (kept / total - DENSITY) / math.sqrt(DENSITY * (1 - DENSITY) / total)
    print(f"dare over {args.seeds} seeds: {kept / total:.5f} of {total} values stay (density {DENSITY}, {off:+.2f} standard "
          f"deviations), their mean is {mean / total:.5f} (1)")
    return abs(off) < 4


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--seeds", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    good = True
    print(f"{'':20}" + "".join(f"{kind.replace('magnitude', 'magn'):>17}" for kind in TYPES))
    with tempfile.TemporaryDirectory() as work:
        for name, (configs, weights) in SETS.items():
            row = []
            for kind in TYPES:
                value = cell(args, work, configs, weights, kind)
                row.append("refused" if value is None else f"{value:.1e}")
                good = good and (value is None or value < (1e-4 if kind.endswith("svd") else 1e-6))
            print(f"{name:20}" + "".join(f"{text:>17}" for text in row), flush=True)
        good = seeds(args, work) and good
    sys.exit(not good)


main()
