#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Judges `organ merge --method moments` against linear, ties, dare_linear and RegMean, by the KL divergence to the donors.

    python3 bench/compare_moments.py [--organ FILE] [--samples N] [--context N] [--judged N] BASE DONOR=TEXT,HELD DONOR=TEXT,HELD...

DONOR is a tune of BASE (bench/train_tunes.py), TEXT its calibration text, HELD the text on which it is judged. The figure of a merge is
the KL divergence from a donor to the merge on windows of the donor's HELD, in nats per token, and the mean over the donors.

RegMean (arXiv 2212.09849) minimises sum_k |X_k W - X_k W_k|^2 for each matrix with its bias, X_k the inputs in donor k of its text,
without propagation; it is computed here, the other merges by organ. Needs torch and transformers."""
import argparse
import copy
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers

MATRICES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
MOMENTS = {"moments": [], "moments ridge 0.1": ["--set", "ridge=0.1"], "moments ridge 0.001": ["--set", "ridge=0.001"],
           "moments without drift": ["--set", "drift=false"]}


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def tokens_of(path, tokenizer):
    return tokenizer(pathlib.Path(path).read_text(encoding="utf8"), return_tensors="pt", verbose=False).input_ids[0]


def windows(ids, length, count):
    count = min(count, ids.numel() // length)
    starts = [w * (ids.numel() - length) // max(1, count - 1) for w in range(count)]
    return torch.stack([ids[start:start + length] for start in starts])


class Moments:
    """The second moments of the inputs of a model's matrices, with a constant 1 for each matrix with a bias."""

    def __init__(self, model, texts):
        self.sums, self.tokens = {}, texts.numel()
        hooks = [layer.get_submodule(name).register_forward_pre_hook(self.see(number, name))
                 for number, layer in enumerate(model.model.layers) for name in MATRICES]
        for row in texts:
            model.model(row[None])
        for hook in hooks:
            hook.remove()

    def see(self, number, name):
        def hook(module, args):
            x = args[0].reshape(-1, args[0].shape[-1])
            if module.bias is not None:
                x = torch.cat([x, torch.ones(len(x), 1)], 1)
            self.sums[number, name] = self.sums.get((number, name), 0) + (x.T @ x).double()
        return hook


def whole(module):
    """The weights of a matrix with its bias as the last column."""
    weight = module.weight.double()
    return weight if module.bias is None else torch.cat([weight, module.bias.double()[:, None]], 1)


def regmean(models, texts, ridge, diagonal):
    """`diagonal`: the factor of the entries off the diagonal of the moments."""
    merged, found = copy.deepcopy(models[0]), [Moments(model, text) for model, text in zip(models, texts)]
    for parameter, parts in zip(merged.parameters(), zip(*[model.parameters() for model in models])):
        parameter.copy_(torch.stack(parts).mean(0))
    for place in found[0].sums:
        modules = [model.model.layers[place[0]].get_submodule(place[1]) for model in [merged, *models]]
        parts = [each.sums[place] / each.tokens for each in found]
        parts = [diagonal * part + (1 - diagonal) * torch.diag(part.diagonal()) for part in parts]
        right = sum(whole(module) @ part for module, part in zip(modules[1:], parts))
        h = sum(parts)
        damping = ridge * h.diagonal().mean()
        h = h + damping * torch.eye(len(h), dtype=h.dtype)
        result = torch.linalg.solve(h, (right + damping * whole(modules[0])).T).T.float()
        modules[0].weight.copy_(result[:, :modules[0].weight.shape[1]])
        if modules[0].bias is not None:
            modules[0].bias.copy_(result[:, -1])
    for parameter in merged.parameters():
        parameter.copy_(parameter.bfloat16().float())
    return merged


class Judge:
    def __init__(self, models, texts):
        self.texts = texts
        self.logs = [[self.log(model, row) for row in text] for model, text in zip(models, texts)]

    @staticmethod
    def log(model, row):
        return torch.log_softmax(model(row[None]).logits[0], -1)

    def __call__(self, model):
        figures = []
        for text, logs in zip(self.texts, self.logs):
            parts = [torch.nn.functional.kl_div(self.log(model, row), log, reduction="sum", log_target=True).item() / len(row)
                     for row, log in zip(text, logs)]
            figures.append(sum(parts) / len(parts))
        return figures


def rivals(methods, donors, base):
    """The label and the options of 11 merges by each method: weights of the first of two donors, else densities."""
    for method in methods:
        for step in range(11):
            share = step / 10
            if method == "linear":
                yield f"linear {share}", ["--method", method, "--weight", f"{1 - share},{share}", *donors]
            else:
                density = max(0.05, share)
                weight = "1" if method == "ties" else str(1 / len(donors))
                yield f"{method} {density}", ["--method", method, "--base", base, "--weight", weight, "--density", f"{density}", *donors]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("donors", nargs="+")
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--judged", type=int, default=16, help="windows of each HELD")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", default="moments,regmean,linear,ties,dare_linear")
    parser.add_argument("--variants", default=",".join(MOMENTS), help="of moments")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    names, texts, held = zip(*[(d.split("=")[0], *d.split("=")[1].split(",")) for d in args.donors])
    methods = args.methods.split(",")
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.base)
    models = [load(name) for name in names]
    judge = Judge(models, [windows(tokens_of(text, tokenizer), args.context, args.judged) for text in held])

    def show(what, model):
        figures = judge(model)
        print(what, *[f"{figure:.4f}" for figure in figures], f"{sum(figures) / len(figures):.4f}", sep="\t", flush=True)
    print("merge", *[pathlib.Path(name).name for name in names], "mean", sep="\t")
    show("base", load(args.base))
    if "regmean" in methods:
        calibration = [windows(tokens_of(text, tokenizer), args.context, args.samples) for text in texts]
        for diagonal in 1.0, 0.9:
            show(f"regmean diagonal {diagonal}", regmean(models, calibration, 1e-3, diagonal))
    runs = list(rivals([method for method in methods if method not in ("moments", "regmean")], names, args.base))
    if "moments" in methods:
        windowed = ["--samples", str(args.samples), "--context", str(args.context), *[f"--calibration={text}" for text in texts]]
        runs = [(label, ["--method", "moments", *MOMENTS[label], *windowed, *names]) for label in args.variants.split(",")] + runs
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        for label, options in runs:
            out = pathlib.Path(scratch) / "out"
            subprocess.run([args.organ, "merge", *options, "-o", str(out), "--quiet"], check=True, stdout=subprocess.DEVNULL)
            show(label, load(out))
            shutil.rmtree(out)


if __name__ == "__main__":
    sys.exit(main())
