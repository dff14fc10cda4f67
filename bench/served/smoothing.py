#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shows whether the smoothing of llm-compressor (SmoothQuantModifier) and of organ keeps the function of a model: logits before and after.

    python3 bench/served/smoothing.py [--strength 0.8] [--organ build/organ] [TYPE=same|moved...] [DIR=same|moved...]

TYPE is a folder of fixtures/architectures, whose model has random weights; DIR is a model's directory. Nothing is quantised. By default the script
takes types in which llm-compressor scales all readers of a norm, and types in which it does not. A row has, for llm-compressor and for `organ
quantize --scheme none --smooth`, the norm of the difference of transformers' logits in FP32, divided by that of the logits before. It ends with 1
unless organ's is at most 1e-5, and llm-compressor's at most 1e-5 (same) or at least 1e-2 (moved). Needs llmcompressor 0.14.0.1, datasets, torch,
transformers 5.17 and, for types, build/checks/arch_model."""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

os.environ.update(TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", CUDA_VISIBLE_DEVICES="",
                  LLM_COMPRESSOR_LOG_DISABLED="true", TOKENIZERS_PARALLELISM="false")
warnings.filterwarnings("ignore")
import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODELS = "llama=same qwen3=same qwen3_moe=same gemma2=moved gemma3_text=moved glm4_moe=moved qwen3_5_moe_text=moved".split()
SAME, MOVED = 1e-5, 1e-2
WINDOWS, LENGTH = 4, 24
TEXT = ROOT / "fixtures/tiny-llama/calibration.txt"


def folder_of(name, scratch):
    if os.path.isdir(name):
        return name
    subprocess.run([ROOT / "build/checks/arch_model", name, scratch / name], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return scratch / name


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits.double()


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def smoothed(model, ids, strength):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), pad_token="a")  # oneshot wants one
    oneshot(model=model, tokenizer=tokenizer, recipe=[SmoothQuantModifier(smoothing_strength=strength)], max_seq_length=LENGTH,
            dataset=Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": [[1] * LENGTH] * WINDOWS}), num_calibration_samples=WINDOWS)
    return model


def smoothed_by_organ(folder, out, options):
    subprocess.run([options.organ, "quantize", folder, "-o", out, "--scheme", "none", "--smooth", str(options.strength), "--calibration", TEXT,
                    "--samples", str(WINDOWS), "--context", str(LENGTH), "--force", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return load(out)


def differences(folder, out, options):
    """Returns the relative differences of the logits on random tokens after the smoothing of llm-compressor and of organ."""
    model = load(folder)
    ids = torch.randint(3, model.config.get_text_config().vocab_size, (WINDOWS, LENGTH), generator=torch.Generator().manual_seed(1))
    before = logits_of(model, ids)
    after = logits_of(smoothed(model, ids, options.strength), ids), logits_of(smoothed_by_organ(folder, out, options), ids)
    return [float((logits - before).norm() / before.norm()) for logits in after]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--strength", type=float, default=0.8)
    parser.add_argument("--organ", default="build/organ")
    options = parser.parse_args()
    print("| model | llm-compressor | expected | organ |")
    print("|---|--:|---|--:|")
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        for model, _, expected in (word.rpartition("=") for word in options.models):
            theirs, own = differences(folder_of(model, scratch), scratch / "smoothed", options)
            wrong += not (theirs <= SAME if expected == "same" else theirs >= MOVED) or not own <= SAME
            print(f"| {os.path.basename(model)} | {theirs:.1e} | {expected} | {own:.1e} |", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
