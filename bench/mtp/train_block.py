#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the model of bench/mtp/measure_block.sh: a small published Llama with a trained block for multi-token prediction (MTP).

OUT is a GLM-4 MoE model, whose block organ, transformers and llama.cpp run. Its layers and head compute what those of SOURCE do: GLM-4's
rotary embedding covers all channels of a head, and the one layer with experts is an exact split of the last dense one. A third of its
intermediate channels is the shared expert, two routed experts have a third each, a router of zeros gives both the same weight, and
routed_scaling_factor makes that weight 1. The block has the same structure, because llama.cpp runs no dense block of GLM-4.

The block predicts token i + 2 from the embedding of token i + 1 and the state of token i. It begins as a copy of the last layer. Its
projection begins as the ridge regression of that layer's input for token i + 1 on the block's two normed inputs; then the whole block is
trained, and nothing else. The loss is the KL divergence from SOURCE's own distribution of token i + 2, over the tokens that TEXT has and
--others tokens drawn at each step, which stand for all others. SOURCE computes its states once.

With --held the script prints the acceptance on that text: the mean of sum(min(p, q)), of p(argmax q), and the share of equal argmax.
It ends with the largest differences of the logits of SOURCE, and of the block, from those that transformers computes from OUT.
Needs torch and transformers. On two cores of an AMD EPYC with AVX-512 BF16 it takes less than half an hour.

    python3 bench/mtp/train_block.py [--steps N] [--windows N] [--held TEXT] SOURCE TEXT OUT"""
import argparse
import json
import math
import pathlib
import shutil
import time

import safetensors.torch
import torch
import transformers
from transformers.cache_utils import MtpCache
from transformers.modeling_layers import MtpModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm

WINDOW, BATCH, PEAK, WARM = 512, 2, 6e-4, 20  # tokens, windows of a step, the learning rate, steps until it is reached
PARTS = 3  # of the split layer: the shared expert and two routed ones


class Block(torch.nn.Module):
    """The dense form of the block, for training."""
    def __init__(self, model):
        super().__init__()
        config = model.config
        self.enorm, self.hnorm, self.norm = (LlamaRMSNorm(config.hidden_size, config.rms_norm_eps) for _ in range(3))
        self.eh_proj = torch.nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.layer = LlamaDecoderLayer(config, 0)
        self.layer.load_state_dict(model.model.layers[-1].state_dict())
        self.norm.load_state_dict(model.model.norm.state_dict())

    def join(self, embeddings, states):
        return torch.cat([self.enorm(embeddings), self.hnorm(states)], -1)

    def forward(self, embeddings, states, rotary):
        x = self.eh_proj(self.join(embeddings, states))
        positions = torch.arange(x.shape[1])[None]
        outside = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)[None, None]
        out = self.layer(x, attention_mask=outside.to(x.dtype), position_embeddings=rotary(x, positions), position_ids=positions)
        return self.norm(out[0] if isinstance(out, tuple) else out)


def windows(tokenizer, text, most=None):
    ids = tokenizer(pathlib.Path(text).read_text(encoding="utf8"), return_tensors="pt", verbose=False).input_ids[0]
    length = min(WINDOW, ids.numel())
    count = ids.numel() // length
    return ids[:count * length].reshape(count, length)[:most]


def trunk(model, rows):
    """Returns the normed states of the trunk and the inputs of its last layer."""
    inputs = []
    hook = model.model.layers[-1].register_forward_pre_hook(lambda module, args: inputs.append(args[0].float()))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        states = model.model(rows, use_cache=False).last_hidden_state.float()
    hook.remove()
    return states, inputs[0]


def prepare(model, block, rows):
    """Returns the states of all windows. Solves the first projection."""
    width = model.config.hidden_size
    moment, cross = torch.zeros(2 * width, 2 * width), torch.zeros(2 * width, width)
    kept = []
    for first in range(0, len(rows), BATCH):
        batch = rows[first:first + BATCH]
        states, inputs = trunk(model, batch)
        with torch.no_grad():
            joined = block.join(model.model.embed_tokens(batch[:, 2:]), states[:, 1:-1]).flatten(0, 1)
            moment += joined.T @ joined
            cross += joined.T @ inputs[:, 2:].flatten(0, 1)
        kept.append(states)
    moment += 1e-3 * moment.diagonal().mean() * torch.eye(2 * width)
    block.eh_proj.weight.data = torch.linalg.solve(moment, cross).T.contiguous()
    return torch.cat(kept)


def acceptance(model, block, rows):
    figures = torch.zeros(3, dtype=torch.float64)
    for row in rows:
        states, _ = trunk(model, row[None])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            drafts = block(model.model.embed_tokens(row[None, 1:]), states[:, :-1], model.model.rotary_emb)[0]
            p, q = (model.lm_head(some).float().softmax(-1) for some in (states[0, 1:], drafts))
        chosen = q.argmax(-1)
        figures += torch.stack([torch.minimum(p, q).sum(-1).mean(), p.gather(1, chosen[:, None]).mean(),
                                (p.argmax(-1) == chosen).float().mean()]).double()
    return "acceptance {}: sum of min(p, q) {:.4f}, p of the draft {:.4f}, same top {:.4f}".format("{}", *(figures / len(rows)).tolist())


def rate(step, steps):
    return min(1.0, (step + 1) / WARM) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(model, block, rows, states, options):
    head, vocabulary = model.lm_head.weight.detach(), model.config.vocab_size
    seen = torch.bincount(rows.flatten(), minlength=vocabulary) > 0
    usual, rare = seen.nonzero()[:, 0], (~seen).nonzero()[:, 0]
    drawn = min(options.others, len(rare))
    # A drawn token stands for len(rare) / drawn of them.
    weight = torch.cat([torch.zeros(len(usual)), torch.full((drawn,), math.log(len(rare) / drawn) if drawn else 0.0)])
    shuffle = torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(block.parameters(), lr=PEAK, betas=(0.9, 0.95), weight_decay=0.01)
    order, begin = [], time.process_time()
    for step in range(options.steps):
        if len(order) < min(BATCH, len(rows)):
            order = torch.randperm(len(rows), generator=shuffle).tolist()
        picked, order = order[:BATCH], order[BATCH:]
        candidates = torch.cat([usual, rare[torch.randint(len(rare), (drawn,), generator=shuffle)]]) if drawn else usual
        for group in optimiser.param_groups:
            group["lr"] = PEAK * rate(step, options.steps)
        with torch.autocast("cpu", torch.bfloat16):
            part = head[candidates].bfloat16()
            with torch.no_grad():
                wanted = ((states[picked, 1:].bfloat16() @ part.T).float() + weight).flatten(0, 1).log_softmax(-1)
            drafts = block(model.model.embed_tokens(rows[picked, 1:]), states[picked, :-1], model.model.rotary_emb)
            got = ((drafts.bfloat16() @ part.T).float() + weight).flatten(0, 1).log_softmax(-1)
        loss = torch.nn.functional.kl_div(got, wanted, log_target=True, reduction="batchmean")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(block.parameters(), 1.0)
        optimiser.step()
        if step % 20 == 0 or step == options.steps - 1:
            print(f"step {step}: KL {loss.item():.3f}, {time.process_time() - begin:.0f} s of processor", flush=True)


def split_experts(tensors, prefix):
    """Replaces a dense feed-forward by its exact split into a shared expert and routed ones."""
    dense = {name: tensors.pop(f"{prefix}{name}_proj.weight") for name in ("gate", "up", "down")}
    size = dense["gate"].shape[0] // PARTS
    for part in range(PARTS):
        expert = prefix + (f"experts.{part - 1}." if part else "shared_experts.")
        for name, whole in dense.items():
            piece = whole[:, part * size:(part + 1) * size] if name == "down" else whole[part * size:(part + 1) * size]
            tensors[f"{expert}{name}_proj.weight"] = piece.contiguous()
    tensors[prefix + "gate.weight"] = torch.zeros(PARTS - 1, dense["gate"].shape[1], dtype=torch.bfloat16)
    tensors[prefix + "gate.e_score_correction_bias"] = torch.zeros(PARTS - 1)


def write(model, block, source, out):
    old, count = model.config, model.config.num_hidden_layers
    tensors = {name: tensor.bfloat16() for name, tensor in model.state_dict().items() if name != "lm_head.weight" or not old.tie_word_embeddings}
    own = f"model.layers.{count}."
    for name, tensor in block.state_dict().items():
        tensors[own + {"norm.weight": "shared_head.norm.weight"}.get(name, name.removeprefix("layer."))] = tensor.bfloat16()
    for layer in count - 1, count:
        split_experts(tensors, f"model.layers.{layer}.mlp.")
    theta = getattr(old, "rope_theta", None) or old.rope_parameters["rope_theta"]
    config = {"architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe", "dtype": "bfloat16", "attention_bias": False, "attention_dropout": 0.0,
              "use_qk_norm": False, "use_cache": True, "hidden_act": old.hidden_act, "hidden_size": old.hidden_size, "head_dim": old.head_dim,
              "num_attention_heads": old.num_attention_heads, "num_key_value_heads": old.num_key_value_heads, "num_hidden_layers": count,
              "num_nextn_predict_layers": 1, "first_k_dense_replace": count - 1, "intermediate_size": old.intermediate_size,
              "moe_intermediate_size": old.intermediate_size // PARTS, "n_shared_experts": 1, "n_routed_experts": PARTS - 1,
              "num_experts_per_tok": PARTS - 1, "n_group": 1, "topk_group": 1, "norm_topk_prob": True, "routed_scaling_factor": float(PARTS - 1),
              "rms_norm_eps": old.rms_norm_eps, "rope_theta": theta, "partial_rotary_factor": 1.0,
              "rope_parameters": {"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": 1.0},
              "max_position_embeddings": old.max_position_embeddings, "vocab_size": old.vocab_size, "tie_word_embeddings": old.tie_word_embeddings,
              "bos_token_id": old.bos_token_id, "eos_token_id": old.eos_token_id, "pad_token_id": old.pad_token_id, "initializer_range": 0.02}
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / "model.safetensors", metadata={"format": "pt"})
    for name in "tokenizer.json", "tokenizer_config.json", "generation_config.json":
        if (source / name).exists():
            shutil.copy(source / name, out)


def check(model, block, out, row):
    """Prints how far the logits of SOURCE and of the trained block are from those that transformers computes from OUT."""
    loaded = transformers.Glm4MoeForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    loaded._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{loaded.config.num_hidden_layers}\."]  # transformers knows the depths of GLM-4.5 only
    theirs = MtpModel.from_pretrained(loaded).eval().float()
    block = block.bfloat16().float()  # what OUT has
    with torch.no_grad():
        states = model.model(row, use_cache=False).last_hidden_state
        trunk_gap = (loaded(row).logits - model.lm_head(states)).abs().max().item()
        ours = model.lm_head(block(model.model.embed_tokens(row[:, 1:]), states[:, :-1], model.model.rotary_emb))
        positions = torch.arange(1, row.shape[1])[None]
        cache = MtpCache(config=loaded.config.get_mtp_config())
        drafts = theirs.forward_layer(0, states[:, :-1], positions, cache, input_ids=row[:, 1:])
        block_gap = (theirs._project_to_logits(drafts) - ours).abs().max().item()
    print(f"largest difference of logits: model {trunk_gap:.2g}, block {block_gap:.2g}; of {ours.abs().max().item():.3g}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=450, help=f"steps of {BATCH} windows of {WINDOW} tokens")
    parser.add_argument("--windows", type=int, help="use only the first N windows of TEXT")
    parser.add_argument("--others", type=int, default=1024, help="tokens drawn at each step from those that TEXT lacks")
    parser.add_argument("--held")
    for name in "source", "text", "out":
        parser.add_argument(name, type=pathlib.Path)
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists")
    torch.manual_seed(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.source)
    rows = windows(tokenizer, options.text, options.windows)
    held = windows(tokenizer, options.held, 16) if options.held else []
    model = transformers.LlamaForCausalLM.from_pretrained(options.source, dtype=torch.float32, attn_implementation="eager").eval()
    block = Block(model)
    states = prepare(model, block, rows)
    print(f"{rows.numel()} tokens: states after {time.process_time():.0f} s of processor", flush=True)
    if len(held):
        print(acceptance(model, block, held).format("before training"), flush=True)
    train(model, block, rows, states, options)
    if len(held):
        print(acceptance(model, block, held).format("when trained"))
    write(model, block, options.source, options.out)
    check(model, block, options.out, rows[:1, :64])
    print(f"{time.process_time():.0f} s of processor")


if __name__ == "__main__":
    main()
