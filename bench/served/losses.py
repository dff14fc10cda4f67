#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the loss of quantised models as transformers serves them, with rounded inputs of the matrices, with that of `organ evaluate`.

    python3 bench/served/losses.py DONOR MODEL... --text FILE [--context 512] [--tokens 8192] [--weights] [--scores FILE] [--most 2]

transformers loads the donor and each model, computes in FP32 on the CPU and scores the windows of `organ evaluate`; compressed-tensors rounds the
inputs. A row has the KL divergence from the donor in nats per token by transformers and by organ, organ's difference in %, and both perplexities;
with --weights also the KL divergences without rounded inputs. Ends with 1 if a difference is above --most %, or if transformers rounds no inputs
of a model whose configuration asks for it. A rounded input turns last digits into whole codes, so KLs also vary by chance: of int8-channel,
transformers' own KL is .0306 with the attention sdpa and .0298 with eager for 1,536 tokens of SmolLM2, and .1139 and .0945 (organ: .0954) for 2,555
tokens of Gemma 3 270M, most of whose loss is in a few tokens. Needs torch 2.13, transformers 5.17 and compressed-tensors 0.19."""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import warnings

os.environ.update(TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
warnings.filterwarnings("ignore")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, CompressedTensorsConfig

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import peer_run

ROWS = 64  # tokens whose probabilities are compared at once
DEFAULTS = {"--context": 512, "--tokens": 8192, "--threads": 2}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("donor", type=pathlib.Path)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--text", required=True)
    for name, value in DEFAULTS.items():
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--scores", type=pathlib.Path, help="keep transformers' scores in this file")
    parser.add_argument("--attention", help="eager or sdpa: their last digits differ, so their KLs show how much a KL varies by chance")
    parser.add_argument("--weights", action="store_true")
    parser.add_argument("--most", type=float, default=2.0, help="the largest difference in %%")
    return parser.parse_args()


def configuration(folder):
    return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config", {})


class Served:
    """A model in transformers and the sums of its losses, with rounded inputs and without."""

    def __init__(self, folder, attention):
        # dequantize: the matrices are decoded at once; those of nvfp4 become BF16. Inputs are rounded all the same.
        quantised = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if configuration(folder) else {}
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention, **quantised).float().eval()
        self.rounding = [module for module in self.model.modules() if getattr(getattr(module, "quantization_scheme", None), "input_activations", None)]
        groups = configuration(folder).get("config_groups", {}).values()
        self.forgotten = not self.rounding and any(group.get("input_activations") for group in groups)
        self.sums = {True: [0.0, 0.0], False: [0.0, 0.0]}

    def logits(self, window, rounded=True):
        for module in self.rounding:
            module.quantization_enabled = rounded
        with torch.no_grad():
            return self.model(input_ids=window, use_cache=False).logits[0, :-1]

    def add(self, window, donor_logits, rounded=True):
        logits = self.logits(window, rounded)
        for first in range(0, len(logits), ROWS):
            own = torch.log_softmax(logits[first:first + ROWS].double(), -1)
            other = torch.log_softmax(donor_logits[first:first + ROWS].double(), -1)
            self.sums[rounded][0] += (other.exp() * (other - own)).sum().item()
            self.sums[rounded][1] -= own.gather(1, window[0, 1:][first:first + ROWS, None]).sum().item()


def by_transformers(options, models):
    """Returns the number of scored tokens, and the donor's and the models' scores: (KL, perplexity, KL of the weights, whether inputs stay unrounded).
    Those in the file --scores are not computed again."""
    kept = json.loads(options.scores.read_text(encoding="utf-8")) if options.scores and options.scores.exists() else {}
    how = [options.text, options.context, options.tokens, options.weights, options.attention]
    key_of = {folder: json.dumps([str(folder), *how]) for folder in [options.donor, *models]}
    missing = [folder for folder, key in key_of.items() if key not in kept]
    if missing:
        kept["scored"], found = compute_scores(options, [folder for folder in missing if folder != options.donor])
        kept.update((key_of[folder], scores) for folder, scores in found.items())
    if options.scores:
        options.scores.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    return kept["scored"], [kept[key] for key in key_of.values()]


def compute_scores(options, models):
    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(options.donor)
    windows = [torch.tensor([ids]) for ids in peer_run.scored_windows(tokenizer, options.text, options.context, options.tokens)]
    scored = sum(window.shape[1] - 1 for window in windows)
    found, donor_logits = {}, []
    for folder in [options.donor, *models]:
        one = Served(folder, options.attention)
        for number, window in enumerate(windows):
            if folder == options.donor:
                donor_logits.append(one.logits(window).clone())
            one.add(window, donor_logits[number])
            if options.weights:
                one.add(window, donor_logits[number], rounded=False)
        found[folder] = (one.sums[True][0] / scored, math.exp(one.sums[True][1] / scored), one.sums[False][0] / scored, one.forgotten)
        print(f"{folder}: KL {found[folder][0]:.6f}", file=sys.stderr, flush=True)
    return scored, found


def by_organ(options, models, activations="on"):
    """Returns the number of scored tokens, and (KL, perplexity) of donor and models."""
    words = [options.organ, "evaluate", options.donor, *models, "--text", options.text, "--context", options.context, "--max-tokens", options.tokens,
             "--threads", options.threads, "--activations", activations, "--json", "--quiet"]
    words += [part for model in models for part in ("--experiment", f"{model.name}={model}")]
    report = json.loads(subprocess.run(list(map(str, words)), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout)
    return report["experiment"]["tokens_scored"], [
        (model["comparison"]["kl_divergence"] if model["comparison"] else 0.0, model["figures"]["perplexity"]) for model in report["models"]]


def main():
    options = arguments()
    scored, theirs = by_transformers(options, options.models)
    own_scored, own = by_organ(options, options.models)
    if own_scored != scored:
        sys.exit(f"organ scores {own_scored} tokens, transformers {scored}")
    weights = by_organ(options, options.models, "off")[1] if options.weights else own
    extra = ["KL of the weights, transformers", "organ"] if options.weights else []
    print("| " + " | ".join(["model", "KL, transformers", "KL, organ", "difference, %", "perplexity, transformers", "organ", *extra]) + " |")
    print("|---" + "|--:" * (5 + len(extra)) + "|")
    wrong = 0
    rows = zip([options.donor, *options.models], theirs, own, weights, strict=True)
    for folder, (their_kl, their_perplexity, their_weights, forgotten), (kl, perplexity), (weights_kl, _) in rows:
        difference = 100 * (kl / their_kl - 1) if their_kl > 0 else 0.0
        wrong += forgotten or not abs(difference) <= options.most
        cells = [folder.name + " (inputs not rounded by transformers)" * forgotten, f"{their_kl:.6f}", f"{kl:.6f}", f"{difference:+.3f}",
                 f"{their_perplexity:.4f}", f"{perplexity:.4f}", *([f"{their_weights:.6f}", f"{weights_kl:.6f}"] if options.weights else [])]
        print("| " + " | ".join(cells) + " |", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
