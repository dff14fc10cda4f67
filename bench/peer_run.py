#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs one job of another program for bench/compare_peers.py, each in a process of its own, so that its processor time
and memory can be measured.

    peer_run.py start PROGRAM                                    imports what the jobs of PROGRAM import, and ends
    peer_run.py versions PROGRAM                                 prints the versions of its packages as JSON
    peer_run.py compress RECIPE MODEL TEXT SAMPLES CONTEXT OUT [TYPE]   llm-compressor; TYPE (bfloat16): how it computes
    peer_run.py round BITS GROUP MODEL TEXT SAMPLES CONTEXT OUT [STEPS]   AutoRound, FP32; STEPS: 200, its default
    peer_run.py gptqmodel BITS GROUP MODEL TEXT SAMPLES CONTEXT OUT       GPTQModel, FP32
    peer_run.py merge BASE ADAPTER OUT                           peft
    peer_run.py tune MODEL TEXT STEPS CONTEXT OUT                trains all projections with PyTorch
    peer_run.py score MODEL TEXT CONTEXT TOKENS                  perplexity by transformers, as JSON; X.gguf: by llama.cpp

Needs torch, transformers and the package of the job: llmcompressor and datasets, auto-round, gptqmodel,
peft, or llama-cpp-python."""
import json
import math
import pathlib
import sys
from importlib import metadata

PRESETS = {"fp8": "FP8_DYNAMIC", "fp8-static": "FP8", "w8a8": "W8A8", "w4a8": "W4A8"}  # schemes of compressed-tensors
WORKERS = "2"  # the least with which GPTQModel starts
SMOOTHING = 0.8  # the strength in llm-compressor's example for INT8
PACKAGES = {"llm-compressor": ["llmcompressor", "compressed-tensors"], "GPTQModel": ["gptqmodel"], "AutoRound": ["auto-round"], "mergekit": ["mergekit"], "peft": ["peft"]}


def versions(program):
    print(json.dumps({name: metadata.version(name) for name in [*PACKAGES[program], "transformers", "torch"]}))


def start(program):
    if program == "llm-compressor":
        import datasets
        import llmcompressor
        from llmcompressor.modifiers.gptq import GPTQModifier
    elif program == "GPTQModel":
        import os
        os.environ["GPTQMODEL_CPU_WORKERS"] = WORKERS
        import gptqmodel
    elif program == "AutoRound":
        import auto_round
    else:
        import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer


def recipe_of(name):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    targets = ["re:.*_proj$"]
    method, _, form = name.partition("_")
    if method in ("nearest", "gptq", "gptq4", "gptq3", "gptq2", "awq", "smooth", "smooth-gptq"):
        if form in PRESETS:
            codes = GPTQModifier if method.endswith("gptq") else QuantizationModifier
            smoothing = [SmoothQuantModifier(smoothing_strength=SMOOTHING)] if method.startswith("smooth") else []
            return smoothing + [codes(targets=targets, scheme=PRESETS[form])]
        weights = QuantizationArgs(num_bits=int(method[4:] or 4) if method.startswith("gptq") else 4, type="int", symmetric=True, strategy="group", group_size=int(form))
        if method.startswith("gptq"):
            weights.actorder = "static"
        groups = {"group_0": QuantizationScheme(targets=targets, weights=weights)}
        if method.startswith("gptq"):
            return GPTQModifier(config_groups=groups, block_size=128, dampening_frac=0.01)
        return ([AWQModifier()] if method == "awq" else []) + [QuantizationModifier(config_groups=groups)]
    structure, share = (form, 0.5) if ":" in form else ("0:0", float(form) / 100)
    if method == "wanda":
        return WandaPruningModifier(sparsity=share, mask_structure=structure, targets=targets)
    return SparseGPTModifier(sparsity=share, mask_structure=structure, block_size=128, dampening_frac=0.01, targets=targets)


def token_ids(tokenizer, text):
    with open(text, encoding="utf-8") as file:
        return tokenizer(file.read(), add_special_tokens=False)["input_ids"]


def bos_of(tokenizer):
    """Returns the token that the tokenizer puts before a text, as a list."""
    return [token for token in tokenizer("")["input_ids"][:1] if token == tokenizer.bos_token_id]


def windows_of(tokenizer, text, samples, context):
    """Returns the windows that organ spreads over the text; BOS, if the tokenizer adds it, replaces their first tokens."""
    ids, bos = token_ids(tokenizer, text), bos_of(tokenizer)
    step = (len(ids) - context) / (samples - 1)
    return [(bos + ids[int(k * step) + len(bos):])[:context] for k in range(samples)]


def compress(name, model, text, samples, context, out, dtype="bfloat16"):
    from datasets import Dataset
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    samples, context = int(samples), int(context)
    tokenizer = AutoTokenizer.from_pretrained(model)
    windows = windows_of(tokenizer, text, samples, context)
    dense = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    recipe = recipe_of(name)
    calibration = {} if name.startswith("nearest") and name != "nearest_fp8-static" else {
        "dataset": Dataset.from_dict({"input_ids": windows, "attention_mask": [[1] * context] * samples}),
        "max_seq_length": context, "num_calibration_samples": samples}
    oneshot(model=dense, recipe=recipe, **calibration)
    if dtype != "bfloat16":
        for name, values in dense.named_parameters():  # BF16 in the source, and no job changes them
            if "_proj." not in name:
                values.data = values.data.bfloat16()
    dense.save_pretrained(out, **({"save_compressed": True} if name.startswith(("nearest", "gptq", "awq", "smooth")) else {}))
    tokenizer.save_pretrained(out)


def round_weights(bits, group, model, text, samples, context, out, steps="200"):
    """A CPU may lack BF16: FP32. Two windows are a batch: its default 8 take four times the processor time."""
    import torch
    from auto_round import AutoRound
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    samples, context = int(samples), int(context)
    tokenizer = AutoTokenizer.from_pretrained(model)
    windows = [torch.tensor([window]) for window in windows_of(tokenizer, text, samples, context)]
    dense = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    AutoRound(dense, tokenizer, scheme=f"W{bits}A16", group_size=int(group), iters=int(steps), dataset=windows, seqlen=context, nsamples=samples, batch_size=2, amp=False,
              device_map="cpu").quantize_and_save(out, format="auto_round")
    for folder in pathlib.Path(out).glob("*-w*g*"):  # it names a folder in OUT after the model
        for file in folder.iterdir():
            file.rename(folder.parent / file.name)
        folder.rmdir()


def gptqmodel(bits, group, model, text, samples, context, out):
    import os
    os.environ["GPTQMODEL_CPU_WORKERS"] = WORKERS
    model, text, out = (os.path.abspath(path) for path in (model, text, out))
    os.chdir(os.path.dirname(out))  # for its logs
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model)
    windows = [{"input_ids": window, "attention_mask": [1] * len(window)} for window in windows_of(tokenizer, text, int(samples), int(context))]
    dense = GPTQModel.load(model, QuantizeConfig(bits=int(bits), group_size=int(group), device="cpu"), dtype=torch.float32, backend=BACKEND.TORCH)
    dense.quantize(windows, batch_size=1, tokenizer=tokenizer, backend=BACKEND.TORCH)
    dense.save(out)


def merge(base, adapter, out):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype="bfloat16"), adapter)
    model.merge_and_unload().save_pretrained(out)
    AutoTokenizer.from_pretrained(base).save_pretrained(out)


def tune(model, text, steps, context, out):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    steps, context = int(steps), int(context)
    tokenizer = AutoTokenizer.from_pretrained(model)
    windows = windows_of(tokenizer, text, steps, context)
    tuned = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    for name, values in tuned.named_parameters():
        values.requires_grad_(name.endswith("_proj.weight"))
    optimizer = torch.optim.AdamW([v for v in tuned.parameters() if v.requires_grad], lr=1e-4, weight_decay=0)
    for window in windows:
        ids = torch.tensor([window])
        tuned(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def score(model, text, context, tokens):
    """Scores each token of a window but its first, as `organ perplexity` does."""
    context, tokens = int(context), int(tokens)
    if model.endswith(".gguf"):
        import compare_llama
        nll = compare_llama.scored(model, text, context, tokens)
    else:
        nll = scored_by_transformers(model, text, context, tokens)
    print(json.dumps({"perplexity": math.exp(nll)}))


def scored_windows(tokenizer, text, context, tokens):
    """Returns the windows of `organ evaluate --style hf`."""
    ids = bos_of(tokenizer) + token_ids(tokenizer, text)[:tokens]
    return [ids[first:first + context] for first in range(0, len(ids) - 1, context)]


def scored_by_transformers(model, text, context, tokens):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    scorer = AutoModelForCausalLM.from_pretrained(model, dtype="float32").eval()
    lost = scored = 0
    with torch.no_grad():
        for ids in scored_windows(AutoTokenizer.from_pretrained(model), text, context, tokens):
            window = torch.tensor([ids])
            logits = scorer(input_ids=window).logits[0, :-1].double()
            lost += torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum").item()
            scored += window.shape[1] - 1
    return lost / scored


if __name__ == "__main__":
    {"start": start, "versions": versions, "compress": compress, "round": round_weights, "gptqmodel": gptqmodel, "merge": merge, "tune": tune, "score": score}[sys.argv[1]](*sys.argv[2:])
