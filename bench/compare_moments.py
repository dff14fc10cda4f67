#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Judges merges along a text: layer by layer least squares, against linear, ties, dare and RegMean, by the KL divergence to the donors.

    python3 bench/compare_moments.py [--organ FILE] [--windows N] [--judged N] BASE DONOR=TEXT,HELD DONOR=TEXT,HELD...

DONOR is a tune of BASE (bench/train_tunes.py), TEXT its calibration text, HELD the text on which it is judged. The figure of a merge is
the KL divergence from a donor to the merge on the donor's HELD, in nats per token, and the mean over the donors.

RegMean (arXiv 2212.09849) minimises sum_k |X_k W - X_k W_k|^2 for each matrix, X_k the inputs in donor k of its text. RegMean++
(arXiv 2508.03121) takes the inputs X_m,k of the same text in the merged model. FeatCal (arXiv 2605.13030) minimises
sum_k |X_m,k W - X_k W_k|^2 + ridge |W - W_mean|^2. Other tensors are the mean of the donors. Rivals are made by `organ merge`.
Needs torch and transformers."""
import argparse
import copy
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers

NORMS = "input_layernorm", "post_attention_layernorm"
STAGES = [["input_layernorm"], ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"],
          ["post_attention_layernorm"], ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]]


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def tokens_of(path, tokenizer):
    return tokenizer(pathlib.Path(path).read_text(encoding="utf8"), return_tensors="pt", verbose=False).input_ids[0]


def windows(ids, length, count):
    count = min(count, ids.numel() // length)
    starts = [w * (ids.numel() - length) // max(1, count - 1) for w in range(count)]
    return torch.stack([ids[start:start + length] for start in starts])


def mean_of(models):
    merged = copy.deepcopy(models[0])
    for parameter, parts in zip(merged.parameters(), zip(*[model.parameters() for model in models])):
        parameter.copy_(torch.stack(parts).mean(0))
    return merged


class Enough(Exception):
    pass


def run_layer(model, number, states, names=(), stop=False):
    """Runs the states of all windows through a layer; returns its outputs and the inputs of the named matrices and norms, a
    norm's without its weight, a matrix's with a constant 1 if it has a bias. `stop`: ends at the last of the names, without outputs."""
    layer, inputs = model.model.layers[number], {name: [] for name in names}

    def see(name):
        def hook(module, args):
            x = args[0].reshape(-1, args[0].shape[-1])
            if name in NORMS:
                x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)
            elif module.bias is not None:
                x = torch.cat([x, torch.ones(len(x), 1)], 1)
            inputs[name].append(x.clone())
            if stop and name == names[-1]:
                raise Enough
        return hook
    hooks = [layer.get_submodule(name).register_forward_pre_hook(see(name)) for name in names]
    out = []
    places = torch.arange(states.shape[1])[None]
    for part in states.split(8):
        turns = model.model.rotary_emb(part, places)
        try:
            result = layer(part, attention_mask=None, position_ids=places, position_embeddings=turns)
            out.append(result[0] if isinstance(result, tuple) else result)
        except Enough:
            pass
    for hook in hooks:
        hook.remove()
    return torch.cat(out) if out else None, {name: torch.cat(parts) for name, parts in inputs.items()}


def whole(module):
    """The weights of a matrix with its bias as the last column."""
    weight = module.weight.double()
    return weight if module.bias is None else torch.cat([weight, module.bias.double()[:, None]], 1)


def fit_matrix(merged, donors, seen, outputs, target):
    """Replaces the weights of `merged`. `seen` has the inputs of each donor's text in the merged model, `outputs` those in the donor
    where its outputs are the aim, else the same."""
    mean, h, right = whole(merged), 0, 0
    for donor, x, y in zip(donors, seen, outputs):
        part = (x.T @ x).double() / len(x)
        if target.diagonal != 1.0:
            part = target.diagonal * part + (1 - target.diagonal) * torch.diag(part.diagonal())
        h = h + part
        right = right + whole(donor) @ (part if y is x else (y.T @ x).double() / len(x))
    damping = target.ridge * h.diagonal().mean()
    h = h + damping * torch.eye(h.shape[0], dtype=h.dtype)
    result = torch.linalg.solve(h, (right + damping * mean).T).T.float()
    merged.weight.copy_(result[:, :merged.weight.shape[1]])
    if merged.bias is not None:
        merged.bias.copy_(result[:, -1])


def fit_norm(merged, donors, seen, outputs, target):
    """A norm's weight is a diagonal matrix: one least-squares problem for each channel."""
    h = sum(x.double().pow(2).mean(0) for x in seen)
    right = sum(donor.weight * (x.double() * y).mean(0) for donor, x, y in zip(donors, seen, outputs))
    damping = target.ridge * h.mean()
    merged.weight.copy_((right + damping * merged.weight) / (h + damping))


def fit_embedding(merged, models, texts, prior):
    """The inputs of an embedding are unit vectors: their moments are the numbers of the tokens. The mean counts as `prior` tokens."""
    mean = merged.model.embed_tokens.weight
    counts = [torch.bincount(text, minlength=len(mean)).double()[:, None] for text in texts]
    right = sum(count * model.model.embed_tokens.weight for model, count in zip(models, counts)) + prior * mean
    mean.copy_(right / (sum(counts) + prior))


class Target:
    """Which inputs and outputs a merge fits."""

    def __init__(self, propagate=True, outputs=False, stages=True, ridge=1e-3, diagonal=1.0, norms=False, embedding=0.0):
        self.propagate, self.outputs, self.stages, self.norms, self.embedding = propagate, outputs, stages, norms, embedding
        self.ridge, self.diagonal = ridge, diagonal


def moments(models, whole_texts, texts, target):
    merged = mean_of(models)
    if target.embedding:
        fit_embedding(merged, models, whole_texts, target.embedding)
    own = [model.model.embed_tokens(text) for model, text in zip(models, texts)]
    ours = [merged.model.embed_tokens(text) for text in texts]
    fitted = [name for stage in STAGES for name in stage if target.norms or name not in NORMS]
    for number, layer in enumerate(merged.model.layers):
        runs = [run_layer(model, number, states, fitted) for model, states in zip(models, own)] \
            if target.outputs or not target.propagate else []
        for stage in STAGES if target.stages and target.propagate else [fitted]:
            stage = [name for name in stage if name in fitted]
            if not stage:
                continue
            seen = [run_layer(merged, number, states, stage, stop=True)[1] for states in ours] if target.propagate else \
                [inputs for _, inputs in runs]
            for name in stage:
                inputs = [each[name] for each in seen]
                outputs = [each[name] for _, each in runs] if target.outputs else inputs
                fit = fit_norm if name in NORMS else fit_matrix
                fit(layer.get_submodule(name), [model.model.layers[number].get_submodule(name) for model in models], inputs, outputs,
                    target)
        own = [states for states, _ in runs]
        ours = [run_layer(merged, number, states)[0] for states in ours] if target.propagate else ours
    return merged


def as_stored(model):
    for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16().float())
    return model


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


MERGES = [("RegMean++ embedding", dict(embedding=1.0)), ("RegMean", dict(propagate=False)),
          ("FeatCal 1e-2 embedding", dict(outputs=True, ridge=1e-2, embedding=1.0)),
          ("FeatCal 1e-1 embedding", dict(outputs=True, ridge=1e-1, embedding=1.0)),
          ("RegMean embedding", dict(propagate=False, embedding=1.0)),
          ("RegMean++ prior 10", dict(embedding=10.0)),
          ("RegMean++", dict()),
          ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("donors", nargs="+")
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--judged", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rivals", default="linear,ties,dare_linear", help="methods of organ merge")
    parser.add_argument("--no-moments", action="store_true")
    parser.add_argument("--only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    names, texts, held = zip(*[(d.split("=")[0], *d.split("=")[1].split(",")) for d in args.donors])
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.base)
    models = [load(name) for name in names]
    judge = Judge(models, [windows(tokens_of(text, tokenizer), args.length, args.judged) for text in held])

    def show(what, model):
        figures = judge(as_stored(model))
        print(f"{what:40}", *[f"{figure:.4f}" for figure in figures], f"mean {sum(figures) / len(figures):.4f}", flush=True)
    show("base", load(args.base))
    whole_texts = [tokens_of(text, tokenizer) for text in texts]
    calibration = [windows(ids, args.length, args.windows) for ids in whole_texts]
    for label, options in [] if args.no_moments else MERGES:
        if not args.only or args.only in label:
            show(label, moments(models, whole_texts, calibration, Target(**options)))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        for label, options in rivals(args.rivals.split(",") if args.rivals else [], names, args.base):
            out = pathlib.Path(scratch) / "out"
            subprocess.run([args.organ, "merge", *options, "-o", str(out), "--quiet"], check=True, stdout=subprocess.DEVNULL)
            show(label, load(out))
            shutil.rmtree(out)


if __name__ == "__main__":
    sys.exit(main())
