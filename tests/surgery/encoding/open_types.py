#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Opens outputs of organ with transformers and peft, and prints a table.

  tests/surgery/encoding/open_types.py [TYPE...]    all types of fixtures/make_types.py, or these

TYPE may be a folder of fixtures/architectures, too; then build/checks/arch_model makes the model, and the column towers
says whether each output has all tensors of its parts for images and sound, byte for byte.

For each type it makes a small model and a tuned one, then tries
  quantize   int4-group32 and fp8-channel: the output opens without missing tensors, and its logits are those of the
             output of `organ dequantize` (4-bit: relative error below 0.05, since transformers computes in BF16 parts;
             FP8: below 0.5, since it rounds inputs)
  lora       extract --rank 8: peft loads all factors, and its logits are those of `organ lora merge`
  layers     --drop of layer 0 and of layer 1: the logits are those of the model in which these layers do nothing
The verdict is "right", "refused" with organ's message, or what is wrong. Needs torch, transformers 5.24, peft 0.21,
compressed-tensors and safetensors, and build/organ.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "fixtures"))
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import make_types  # noqa: E402
import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.disable_progress_bar()
IDS = torch.randint(3, 250, (1, 24), generator=torch.Generator().manual_seed(0))


def organ(*arguments):
    """Returns the exit status, the last error, and the warnings in a word."""
    done = subprocess.run([os.path.join(ROOT, "build", "organ"), *arguments], capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    warned = " WARNED" if "organ has not compared" in done.stderr else ""
    warned += " WARNED that transformers does not open it" if "does not open" in done.stdout + done.stderr else ""
    warned += " WARNED that peft ignores experts" if "that peft ignores" in done.stdout else ""
    return done.returncode, (lines or [""])[-1][:160], warned


def class_for(folder):
    with open(os.path.join(folder, "config.json")) as file:
        return AutoModelForImageTextToText if "vision_config" in json.load(file) else AutoModelForCausalLM


def load(folder):
    model, info = class_for(folder).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                       output_loading_info=True)
    lost = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"])
    return model.eval(), f"lost {lost[:2]}" if lost else ""


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits[0].double()


def differ(one, other):
    return float((one - other).norm() / other.norm())


def verdict(lost, error, limit):
    return lost or (f"right ({error:.2g})" if error < limit else f"WRONG: logits differ by {error:.2g}")


def quantised(at, scheme, limit):
    status, message, warned = organ("quantize", at("model"), "-o", at(scheme), "-s", scheme)
    if status:
        return "refused: " + message
    organ("dequantize", at(scheme), "-o", at(scheme + "-plain"), "--dtype", "f32")
    if "not open it" in warned:
        return warned.strip()
    model, lost = load(at(scheme))
    return verdict(lost, differ(logits(model), logits(load(at(scheme + "-plain"))[0])), limit) + warned


def adapter(at):
    import peft
    status, message, warned = organ("lora", "extract", "--base", at("model"), "--tuned", at("tuned"), "-o", at("adapter"),
                                    "--rank", "8")
    if status:
        return "refused: " + message
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = peft.PeftModel.from_pretrained(load(at("model"))[0], at("adapter"))
    lost = [str(w.message)[:80] for w in caught if "adapter keys" in str(w.message)]
    factors = [p for name, p in model.named_parameters() if "lora_B" in name]
    empty = sum(not bool(p.any()) for p in factors)
    organ("lora", "merge", "--base", at("model"), "--adapter", at("adapter"), "-o", at("merged"), "--dtype", "f32")
    lost = lost[0] if lost else f"{empty} of {len(factors)} factors are empty" if empty else ""
    return verdict(lost, differ(logits(model), logits(load(at("merged"))[0])), 1e-3) + warned


def layers_of(model):
    inner = getattr(model, model.base_model_prefix)
    inner = getattr(inner, "language_model", inner)
    return next(getattr(inner, name) for name in ("layers", "h", "blocks") if hasattr(inner, name))


def shortened(at, layer):
    status, message, warned = organ("layers", at("model"), "-o", at(f"without{layer}"), "--drop", f"{layer},")
    if status:
        return "refused: " + message

    def skip(module, arguments, keywords, output):
        state = arguments[0] if arguments else keywords["hidden_states"]
        return (state,) + tuple(output[1:]) if isinstance(output, tuple) else state
    whole = load(at("model"))[0]
    layers_of(whole)[layer].register_forward_hook(skip, with_kwargs=True)
    model, lost = load(at(f"without{layer}"))
    return verdict(lost, differ(logits(model), logits(whole)), 1e-4) + warned


def tried(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:  # the loader's, which is the result
        return f"WRONG: {type(error).__name__} {str(error).splitlines()[0][:100]}"


def tensors_of(folder):
    found = {}
    for path in glob.glob(os.path.join(folder, "*.safetensors")):
        with safe_open(path, "pt") as file:
            found.update((name, file.get_tensor(name)) for name in file.keys())
    return found


def write_models(at, model_type):
    """Writes a model, and one whose text part is tuned."""
    if model_type in make_types.SPECIAL:
        model = make_types.model_of(model_type)
        model.save_pretrained(at("model"))
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.add_(torch.randn(tensor.shape) * 0.02)
        model.save_pretrained(at("tuned"))
        return
    subprocess.run([os.path.join(ROOT, "build", "checks", "arch_model"), model_type, at("model")], check=True, cwd=ROOT,
                   stdout=subprocess.DEVNULL)
    shutil.copytree(at("model"), at("tuned"))
    noise = torch.Generator().manual_seed(1)
    save_file({name: tensor if TOWERS.search(name) or tensor.ndim < 2 else
               tensor + torch.randn(tensor.shape, generator=noise) * 0.02
               for name, tensor in tensors_of(at("model")).items()}, at("tuned") + "/model.safetensors", {"format": "pt"})


TOWERS = re.compile(r"(^|\.)(visual|vision_\w+|audio_\w+|embed_(vision|audio)|multi_modal_projector|vit_large_projector|"
                    r"patch_merge_mlp)\.")


def towers(at):
    """Returns whether all outputs have the towers of the model, byte for byte."""
    kept = {name: tensor for name, tensor in tensors_of(at("model")).items() if TOWERS.search(name)}
    folders = [name for name in ("int4-group32", "fp8-channel", "merged", "without0", "without1") if os.path.isdir(at(name))]
    for name in folders:
        found = tensors_of(at(name))
        for key, tensor in kept.items():
            if key not in found or found[key].dtype != tensor.dtype or not torch.equal(found[key], tensor):
                return f"WRONG: {name} changed {key}"
    return f"{len(kept)} tensors kept in {len(folders)} outputs" if kept else "-"


def main():
    torch.set_num_threads(1)
    print("type\tint4-group32\tfp8-channel\tlora extract\tlayers 0\tlayers 1\ttowers")
    for model_type in sys.argv[1:] or make_types.SPECIAL:
        with tempfile.TemporaryDirectory() as folder:
            def at(name):
                return os.path.join(folder, name)
            write_models(at, model_type)
            print(model_type, tried(quantised, at, "int4-group32", 0.05), tried(quantised, at, "fp8-channel", 0.5),
                  tried(adapter, at), tried(shortened, at, 0), tried(shortened, at, 1), tried(towers, at), sep="\t",
                  flush=True)


if __name__ == "__main__":
    main()
