#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints a table of how transformers loads models whose widths do not divide by a scheme's group. For each kind of model, width and scheme the script
makes a small model with random weights, quantises it with `organ quantize`, loads the result with transformers on the CPU in FP32 and compares the
mean negative log-likelihood (nats a token) with that of `organ perplexity` over the same windows. Activations stay in FP32, with --activations off in organ.

"loads" in the last column means: transformers reports no missing, unexpected or mismatched tensor, and the two values differ by less than TOLERANCE.
transformers rounds the product of code and scale of packed experts to BF16, the type of the scales; the script therefore also writes their scales
as FP32 (same values, no other change) and compares that file. "refused" means that organ wrote no model and ended with 2 or 3; "noted" that transformers
rejects the model or computes other values, and that organ printed a note. The script ends with 1 in all other cases.
Needs torch, transformers, compressed-tensors and accelerate. Run from the root of the repository:

    python3 bench/compare_widths.py [--organ PROGRAM] [--schemes A,B] [--models A,B]
"""
import argparse
import collections
import contextlib
import io
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile

import compare_loading
import compressed_tensors
import safetensors.torch
import torch
import transformers

CONTEXT, TOKENS, TOLERANCE = 128, 1024, 2e-6
REFUSED = 2, 3  # exit codes: an option or a model that cannot be combined with the scheme
TEXT = "fixtures/tiny-qwen2/heldout.txt"
CALIBRATION = "fixtures/tiny-qwen2/calibration.txt"
SCHEMES = ["fp8-block128", "fp8-tensor", "fp8-channel", "int8-channel", "int8-group128", "int8-group64", "int8-group32", "int4-group128",
           "int4-group64", "int4-group32", "int3-group32", "int2-group32", "mixed"]
COMMON = dict(vocab_size=2048, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, head_dim=32,
              tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=10000.0))
EXPERTS = dict(num_experts=6, num_local_experts=6, num_experts_per_tok=2)


def dense(family, hidden, width):
    return family, dict(hidden_size=hidden, intermediate_size=width)


def mixture(family, hidden, width, **more):
    return family, dict(hidden_size=hidden, intermediate_size=width, moe_intermediate_size=width, **EXPERTS, **more)


def shared(hidden, width, of_shared):
    return mixture("Qwen2Moe", hidden, width, shared_expert_intermediate_size=of_shared, num_attention_heads=hidden // 32,
                   num_key_value_heads=1)


def glm(hidden, width):
    return mixture("Glm4Moe", hidden, width, n_routed_experts=6, n_shared_experts=1, n_group=1, topk_group=1, first_k_dense_replace=1,
                   norm_topk_prob=True)


MODELS = {
    "llama 128/256": dense("Llama", 128, 256),
    "llama 128/160": dense("Llama", 128, 160),
    "llama 128/257": dense("Llama", 128, 257),
    "llama 96/100": dense("Llama", 96, 100),
    "qwen3 80/72": dense("Qwen3", 80, 72),
    "qwen3-moe 128/128": mixture("Qwen3Moe", 128, 128),
    "qwen3-moe 128/96": mixture("Qwen3Moe", 128, 96),
    "qwen3-moe 128/48": mixture("Qwen3Moe", 128, 48),
    "qwen3-moe 80/96": mixture("Qwen3Moe", 80, 96),
    "qwen3-moe 80/72": mixture("Qwen3Moe", 80, 72),
    "mixtral 96/72": mixture("Mixtral", 96, 72),
    "qwen2-moe 128/48+64": shared(128, 48, 64),
    "qwen2-moe 128/64+40": shared(128, 64, 40),
    "glm4-moe 96/48": glm(96, 48),
}


def make_model(directory, family, special):
    config = getattr(transformers, family + "Config")(**{**COMMON, **special})
    torch.manual_seed(7)
    model = getattr(transformers, family + "ForCausalLM")(config).float()
    for name, value in model.named_parameters():
        with torch.no_grad():
            if "norm" in name or value.dim() == 1:
                value.add_(0.1 * torch.randn_like(value))
            else:
                value.copy_(torch.randn_like(value) * (1.0 if "embed" in name else 1.3) / math.sqrt(value.shape[-1]))
    model.to(torch.bfloat16).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(f"fixtures/tiny-qwen2/{name}", directory)


def scored_here(organ, directory):
    done = subprocess.run([organ, "perplexity", directory, "--text", TEXT, "--context", str(CONTEXT), "--max-tokens", str(TOKENS), "--activations", "off",
                           "--json", "--quiet"],
                          check=True, stdout=subprocess.PIPE)
    return math.log(json.loads(done.stdout)["models"][0]["figures"]["perplexity"])


def scored_there(directory):
    """Returns the score of transformers, and its messages about tensors of the file and of the model."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model, found = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    if not any(hasattr(module, "quantization_scheme") for module in model.modules()):
        model.float()  # transformers dequantises fp8-block128 to BF16 on a CPU, also where FP32 is asked for
    with open(TEXT, encoding="utf-8") as file:
        ids = transformers.AutoTokenizer.from_pretrained(directory)(file.read(), add_special_tokens=False)["input_ids"][:TOKENS]
    for module in model.modules():
        if hasattr(module, "quantization_scheme"):
            module.quantization_scheme.input_activations = None
    nats = math.log(compare_loading.perplexity_there(model, ids, CONTEXT))
    return nats, "; ".join(f"{what}: {sorted(map(str, names))[0]} and {len(names) - 1} more" for what, names in found.items() if names)


def widen_scales(directory):
    (path,) = pathlib.Path(directory).glob("*.safetensors")
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: t.float() if name.endswith("weight_scale") else t for name, t in tensors.items()}, path, {"format": "pt"})
    for index in pathlib.Path(directory).glob("*.index.json"):
        index.unlink()


def quantise(organ, model, scheme, directory):
    """Returns the report, what became of the tensors and whether organ printed a note; without a report the failed process."""
    spread = ["--method", "gptq", "--allocate", "global", "--budget", "4.5bpw", "--allocate-tokens", "512", "--calibration", CALIBRATION,
              "--samples", "16", "--context", "128"]
    shutil.rmtree(directory, ignore_errors=True)
    done = subprocess.run([organ, "quantize", model, "-o", directory, "--scheme", scheme, *(spread if scheme == "mixed" else []), "--json"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        return None, done, False
    report = json.loads(done.stdout)
    schemes = collections.Counter(tensor.get("scheme", scheme) for tensor in report["tensors"])
    did = [f"{count} {name}" for name, count in schemes.items()] + [f"{len(report['left_alone'])} plain"] * bool(report["left_alone"])
    return report, ", ".join(did), any(line.startswith(("warning: ", "note: ")) for line in done.stderr.splitlines())


def compare(organ, name, model, scheme, directory):
    report, did, noted = quantise(organ, model, scheme, directory)
    if not report:
        good = did.returncode in REFUSED
        print(f"| {name} | {scheme} | refused | | | {'refused' if good else 'WRONG ' + did.stderr.strip()} |", flush=True)
        return good
    here = scored_here(organ, directory)
    try:
        there, strays = scored_there(directory)
        rounded = ""
        if abs(there - here) > TOLERANCE and not strays and not scheme.startswith("fp8"):
            rounded = f", rounding {there - here:+.1e}"
            widen_scales(directory)
            there, strays = scored_there(directory)
    except Exception:  # anything that the libraries raise for a file that they reject
        print(f"| {name} | {scheme} | {did} | {here:.6f} | not loaded | {'noted' if noted else 'WRONG'} |", flush=True)
        return noted
    good = abs(there - here) < TOLERANCE and not strays
    verdict = "loads" if good else "noted" if noted else "WRONG " + strays
    print(f"| {name} | {scheme} | {did} | {here:.6f} | {there:.6f} | {verdict} {there - here:+.1e}{rounded} |", flush=True)
    return good or noted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--schemes", default=",".join(SCHEMES))
    parser.add_argument("--models", default=",".join(MODELS))
    asked = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, compressed-tensors {compressed_tensors.__version__}\n")
    print("| model, hidden/expert width | scheme | organ did | organ, nats | transformers | difference |\n|---|---|---|--:|--:|---|")
    good = []
    with tempfile.TemporaryDirectory() as here:
        for name in asked.models.split(","):
            make_model(f"{here}/model", *MODELS[name])
            good += [compare(asked.organ, name, f"{here}/model", scheme, f"{here}/made") for scheme in asked.schemes.split(",")]
            shutil.rmtree(f"{here}/model")
    print(f"\n{sum(good)} of {len(good)} good")
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
