#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the models that `ninja test-servers` gives to servers. Needs transformers and torch.

  make_models.py OUT

Writes OUT/llama, OUT/qwen2, OUT/gemma3, OUT/qwen3_moe and OUT/lfm2 in BF16 by transformers, with the tokenizer of fixtures/tiny-qwen2, and OUT/ADAPTED-lora,
an adapter of peft for the models in ADAPTED. All values are normal deviates from a seed, scaled so that every block changes the hidden states by about their own
size and the logits have a standard deviation of about 2: rounded weights then change the mean log-likelihood visibly. The sizes suit the kernels of all
servers: heads of 64, rows in multiples of 128, but 576 in llama on purpose, whose k and v have 192 rows.
"""
import json
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures/tiny-qwen2"
COMMON = dict(vocab_size=2048, max_position_embeddings=2048, dtype="bfloat16", bos_token_id=0, eos_token_id=0, pad_token_id=0)
MODELS = {
    "llama": transformers.LlamaConfig(hidden_size=576, intermediate_size=768, num_hidden_layers=2, num_attention_heads=9, num_key_value_heads=3, head_dim=64,
                                      rope_theta=10000.0, tie_word_embeddings=False, **COMMON),
    "qwen2": transformers.Qwen2Config(hidden_size=512, intermediate_size=1024, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2,
                                      rope_theta=1000000.0, tie_word_embeddings=False, use_sliding_window=False, **COMMON),
    "gemma3": transformers.Gemma3TextConfig(hidden_size=256, intermediate_size=512, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
                                            head_dim=64, query_pre_attn_scalar=64, sliding_window=32, **COMMON),
    "qwen3_moe": transformers.Qwen3MoeConfig(hidden_size=256, intermediate_size=512, moe_intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
                                             num_key_value_heads=2, head_dim=64, num_experts=8, num_experts_per_tok=2, norm_topk_prob=True,
                                             rope_theta=1000000.0, tie_word_embeddings=False, **COMMON),
    "lfm2": transformers.Lfm2Config(hidden_size=256, intermediate_size=512, block_auto_adjust_ff_dim=False, num_hidden_layers=4, num_attention_heads=4,
                                    num_key_value_heads=2, layer_types=["conv", "full_attention", "conv", "full_attention"],
                                    conv_dim=256, block_dim=256, **COMMON),
}
ADAPTED = ("llama", "qwen2")
LOGITS = 2.0


def scaled(name, shape, model, seed):
    """Returns the values of a parameter."""
    draws = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if "norm" in name:
        # Gemma 3 adds 1 to these, and multiplies the embeddings by 16, which norms of 9 after each block outweigh.
        mean = 1.0 if model != "gemma3" else 8.0 if "post_" in name else 0.0
        return mean + 0.2 * draws
    if name.endswith(".bias"):
        return 0.3 * draws
    if name.startswith(("lm_head", "model.embed_tokens")):
        return draws * LOGITS / shape[-1] ** 0.5
    if name.endswith("gate.weight"):
        return draws * 2.0 / shape[-1] ** 0.5
    if "experts" in name:
        return draws * 0.5 / shape[-1] ** 0.5
    gain = 1.5 if name.endswith(("down_proj", "down_proj.weight", "o_proj.weight", "w2.weight", "out_proj.weight")) else 1.0
    return draws * gain / shape[-1] ** 0.5


def make(name, config, folder):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        for seed, (key, parameter) in enumerate(model.named_parameters()):
            parameter.copy_(scaled(key, tuple(parameter.shape), name, seed))
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(FIXTURE / file, folder)


def make_adapter(folder, out):
    """Writes an adapter with a rank of 8, of 4 on down_proj, for every projection of the model in `folder`."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    factors = {}
    for seed, (name, module) in enumerate(model.named_modules()):
        if not name.endswith("_proj"):
            continue
        rank = 4 if name.endswith("down_proj") else 8
        draws = torch.Generator().manual_seed(1000 + seed)
        rows, columns = module.weight.shape
        factors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, columns, generator=draws) / columns**0.5
        factors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(rows, rank, generator=draws) * 0.1
    out.mkdir()
    save_file(factors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    targets = sorted({key.split(".")[-3] for key in factors})
    settings = dict(peft_type="LORA", task_type="CAUSAL_LM", r=8, lora_alpha=16, rank_pattern={"down_proj": 4}, target_modules=targets,
                    base_model_name_or_path=folder.name, bias="none", lora_dropout=0.0, fan_in_fan_out=False, inference_mode=True)
    (out / "adapter_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, config in MODELS.items():
        make(name, config, out / name)
    for name in ADAPTED:
        make_adapter(out / name, out / f"{name}-lora")


if __name__ == "__main__":
    main()
