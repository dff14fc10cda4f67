# SPDX-License-Identifier: MIT
"""Opens outputs in transformers: directories, and GGUF files, which it dequantises. Computes in FP32, but in BF16 what transformers decodes to that type only:
quantised experts, and FP4 and FP8 codes with scales for 16 or 32 weights."""
import json
import os

import torch
from transformers import AutoModelForCausalLM

import worker


def decodes_to_bf16(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    scheme = json.dumps(config.get("quantization_config", {}))
    return bool(config.get("quantization_config")) and ("moe" in config["model_type"] or any(name in scheme for name in ("nvfp4", "mxfp4", "mxfp8")))


def loaded(request):
    path = request["path"]
    if path.endswith(".gguf"):
        return AutoModelForCausalLM.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32)
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16 if decodes_to_bf16(path) else torch.float32)


def score(request):
    torch.set_num_threads(1)
    model = loaded(request).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([request["ids"]]), use_cache=False).logits[0].float().numpy()
    return worker.mean_nll(logits, request["ids"])


if __name__ == "__main__":
    worker.serve(score)
