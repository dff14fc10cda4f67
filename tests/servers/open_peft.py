# SPDX-License-Identifier: MIT
"""Opens adapters in peft, on the base model in FP32, or as its config.json says if that is quantised."""
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import worker


def score(request):
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(request["base"], dtype=torch.float32)
    model = PeftModel.from_pretrained(model, request["adapter"]).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([request["ids"]]), use_cache=False).logits[0].float().numpy()
    return worker.mean_nll(logits, request["ids"])


if __name__ == "__main__":
    worker.serve(score)
