#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Merges models with `organ merge` in twelve ways, opens each result with transformers and llama.cpp, and compares perplexities.

    python3 bench/compare_merges.py [--only "slerp;union"] [--chunks N] [--context N] BASE TUNE TUNE OTHER TEXT LLAMA

The tunes are those of BASE, a model with tied embeddings; of OTHER, a second architecture, the script makes a tune by noise. It also
makes an adapter (organ lora extract), a tune with added tokens, and a tune with a head of its own. Each result is loaded by transformers,
converted by `organ convert` to a GGUF file of F32 and scored by llama-perplexity, which is in the directory LLAMA, and scored by
`organ perplexity --style llama.cpp`. All three tokenise the text themselves and score the second half of each chunk.
A row has perplexities of transformers, llama.cpp and organ, and the largest relative difference between two of them. Exit status 1: a
result does not open, has logits that are not finite, or a difference above 0.001. Needs torch, transformers, numpy, safetensors."""
import argparse
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers

import compare_mergekit

ALLOWED = 0.001


def weighted(*names, **parameters):
    return [{"model": name, "parameters": parameters} for name in names]


def slice_of(first, last, *names):
    return {"sources": [{"model": name, "layer_range": [first, last]} for name in names]}


# Recipes of the models that make_inputs makes, given the number of layers of the base, and options of the command.
MERGES = {
    "linear": (lambda n: {"merge_method": "linear", "models": weighted("one", "two", weight=1)}, []),
    "slerp": (lambda n: {"merge_method": "slerp", "base_model": "one", "models": [{"model": "one"}, {"model": "two"}],
                            "parameters": {"t": 0.4}}, []),
    "ties": (lambda n: {"merge_method": "ties", "base_model": "base", "models": weighted("one", "two", weight=0.7, density=0.5)}, []),
    "dare_ties": (lambda n: {"merge_method": "dare_ties", "base_model": "base",
                                "models": weighted("one", "two", weight=0.5, density=0.6)}, []),
    "model_stock": (lambda n: {"merge_method": "model_stock", "base_model": "base", "models": [{"model": "one"}, {"model": "two"}]}, []),
    "upscale": (lambda n: {"merge_method": "passthrough", "slices": [slice_of(0, 2 * n // 3, "one"), slice_of(n // 2, n, "two")]}, []),
    "slices": (lambda n: {"merge_method": "slerp", "base_model": "one",
                             "slices": [slice_of(0, n // 2, "one", "two"), slice_of(n // 2, n, "one", "two")],
                             "parameters": {"t": [{"filter": "mlp", "value": [0, 1]}, {"value": 0.5}]}}, []),
    "union": (lambda n: {"merge_method": "linear", "models": weighted("one", "grown", weight=0.5), "base_model": "one",
                            "tokenizer": {"source": "union"}}, []),
    "adapter": (lambda n: {"merge_method": "linear", "models": weighted("base+adapter", "two", weight=0.5)}, []),
    "untie": (lambda n: {"merge_method": "linear", "models": weighted("one", "untied", weight=0.5)}, ["--untie"]),
    "other, task_arithmetic": (lambda n: {"merge_method": "task_arithmetic", "base_model": "other",
                                             "models": weighted("noisy", weight=0.5)}, []),
    "other, nuslerp": (lambda n: {"merge_method": "nuslerp", "models": weighted("other", "noisy", weight=0.5)}, []),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("base", "one", "two", "other", "text", "llama"):
        parser.add_argument(name, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--only", default=";".join(MERGES), help="names of merges, separated by ';'")
    parser.add_argument("--organ", type=lambda path: pathlib.Path(path).resolve(), default="build/organ")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} ends with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def load(directory):
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def make_grown(tune, out):
    """A tune with three added tokens, whose rows differ from all others."""
    model, tokenizer = load(tune), transformers.AutoTokenizer.from_pretrained(tune)
    tokenizer.add_tokens(["<one>", "<two>", "<three>"])
    before = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(max(before, len(tokenizer)), mean_resizing=False)
    model.get_input_embeddings().weight.data[before:] = 0.02 * torch.randn(max(before, len(tokenizer)) - before, model.config.hidden_size)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def make_untied(tune, out):
    """A tune with a head that is the embedding with noise of 1 % of its deviation."""
    model = load(tune)
    embedding = model.get_input_embeddings().weight.data
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(embedding + 0.01 * embedding.std() * torch.randn(embedding.shape))
    model.to(torch.bfloat16).save_pretrained(out)
    for file in tune.glob("*tokenizer*"):
        shutil.copy(file, out)


def make_inputs(options, names, scratch):
    """The models that the merges of these names need, at scratch/NAME; returns the number of layers of the base."""
    torch.manual_seed(1)
    for name in ("base", "one", "two", "other"):
        (scratch / name).symlink_to(getattr(options, name))
    if "adapter" in names:
        run(options.organ, "lora", "extract", "--base", scratch / "base", "--tuned", scratch / "one", "-o", scratch / "adapter", "--rank", "8",
            "--quiet")
    if "union" in names:
        make_grown(options.two, scratch / "grown")
    if "untie" in names:
        make_untied(options.two, scratch / "untied")
    if any(name.startswith("other") for name in names):
        compare_mergekit.make_tune(options.other, scratch / "noisy", 1)
    config = json.loads((options.base / "config.json").read_text())
    return config.get("text_config", config)["num_hidden_layers"]


def scored_by_transformers(options, directory):
    """Perplexity over the second halves of the chunks, whose first token llama-perplexity replaces by BOS if the model has one."""
    model, tokenizer = load(directory), transformers.AutoTokenizer.from_pretrained(directory)
    ids = tokenizer(options.text.read_text(encoding="utf8"), verbose=False).input_ids
    starts = ids[0] if ids[0] == tokenizer.bos_token_id else None
    lost, count, middle = 0.0, 0, options.context // 2
    for chunk in range(options.chunks):
        row = ids[chunk * options.context:(chunk + 1) * options.context]
        row[0] = row[0] if starts is None else starts
        with torch.no_grad():
            logits = model(torch.tensor([row])).logits[0]
        if not torch.isfinite(logits).all():
            raise RuntimeError("logits are not finite")
        likelihoods = torch.log_softmax(logits[middle:-1].double(), -1)
        lost -= likelihoods.gather(1, torch.tensor(row[middle + 1:])[:, None]).sum().item()
        count += len(row) - middle - 1
    return math.exp(lost / count)


def scored_by_llama(options, directory):
    file = directory.parent / "merged.gguf"
    run(options.organ, "convert", directory, "-o", file, "--to", "gguf", "--dtype", "f32", "--quiet", "--force")
    words = [options.llama / "llama-perplexity", "-m", file, "-f", options.text, "-c", options.context, "-b", options.context, "--chunks",
             options.chunks, "-t", options.threads, "-fa", "off", "-ctk", "f32", "-ctv", "f32"]
    for _ in range(20):
        found = re.search(rf"\[{options.chunks}\]([0-9]+\.[0-9]+)", run(*words))
        if found:  # else the program has ended before it wrote the last figure
            break
    for made in directory.parent.glob("merged.*"):
        made.unlink()
    if not found:
        raise RuntimeError(f"llama-perplexity prints no figure of {options.chunks} chunks")
    return float(found.group(1))


def scored_by_organ(options, directory):
    words = [options.organ, "perplexity", directory, "--text", options.text, "--style", "llama.cpp", "-c", str(options.context),
             "--max-tokens", str(options.chunks * options.context), "--json", "--quiet"]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE)
    return json.loads(said.stdout)["models"][0]["figures"]["perplexity"]


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    names, failed = options.only.split(";"), []
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="compare-merges."))
    try:
        layers = make_inputs(options, names, scratch)
        print("merge", "transformers", "llama.cpp", "organ", "difference", sep="\t")
        for name in names:
            recipe, words = MERGES[name]
            (scratch / "recipe.yaml").write_text(json.dumps(recipe(layers)))  # JSON is YAML; names of models are relative to the folder
            subprocess.run([options.organ, "merge", "recipe.yaml", "-o", "merged", "--quiet", "--force", *words], cwd=scratch, check=True,
                           stdout=subprocess.DEVNULL)
            scores = [score(options, scratch / "merged") for score in (scored_by_transformers, scored_by_llama, scored_by_organ)]
            difference = max(scores) / min(scores) - 1
            print(name, *(f"{score:.4f}" for score in scores), f"{difference:.1e}", sep="\t", flush=True)
            if not difference <= ALLOWED:
                failed.append(name)
    finally:
        shutil.rmtree(scratch)
    print("failed:", "; ".join(failed) or "none")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
