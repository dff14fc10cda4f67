#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shows whether llm-compressor's SmoothQuantModifier keeps the function of a model: the logits before and after, nothing quantised.

    python3 bench/served/smoothing.py [--strength 0.8] [TYPE=same|moved...] [DIR=same|moved...]

TYPE is a folder of fixtures/architectures, whose model has random weights; DIR is a model's directory. By default the script takes types whose
norms are followed as in Llama, and types in which llm-compressor scales a norm without all of its readers. A row has the norm of the difference
of the logits in FP32 divided by that of the logits before. same: it must be at most 1e-5, moved: at least 1e-2; the script ends with 1 otherwise.
tests/surgery/folds has the same test for `organ quantize --smooth`, with all types. Needs llmcompressor 0.14.0.1, datasets, torch, transformers
5.17 and, for types, build/checks/arch_model."""
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


def folder_of(name, scratch):
    if os.path.isdir(name):
        return name
    subprocess.run([ROOT / "build/checks/arch_model", name, scratch / name], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return scratch / name


def difference(folder, strength):
    """Returns the relative difference of the logits after the smoothing on random tokens."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.randint(3, model.config.get_text_config().vocab_size, (WINDOWS, LENGTH), generator=torch.Generator().manual_seed(1))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), pad_token="a")  # oneshot wants one
    with torch.no_grad():
        before = model(input_ids=ids).logits.double()
        oneshot(model=model, tokenizer=tokenizer, recipe=[SmoothQuantModifier(smoothing_strength=strength)], max_seq_length=LENGTH,
                dataset=Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": [[1] * LENGTH] * WINDOWS}), num_calibration_samples=WINDOWS)
        after = model(input_ids=ids).logits.double()
    return float((after - before).norm() / before.norm())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--strength", type=float, default=0.8)
    options = parser.parse_args()
    print("| model | difference of the logits | expected |")
    print("|---|--:|---|")
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, _, expected in (word.rpartition("=") for word in options.models):
            moved = difference(folder_of(name, pathlib.Path(scratch)), options.strength)
            wrong += not (moved <= SAME if expected == "same" else moved >= MOVED)
            print(f"| {os.path.basename(name)} | {moved:.1e} | {expected} |", flush=True)
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
