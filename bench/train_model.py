#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Trains the model of bench/compare_recipes.py whose rows are whole blocks of 256: Llama, 8 heads of 64, rows of 512 and 1,536.

A model of this size cannot be trained from nothing in an hour of two cores. The script starts from a published one of 576 x 1,536
(SmolLM2-135M-Instruct) and cuts it:
  - The layers whose output has the greatest cosine with their input are removed (ShortGPT, arXiv 2403.03853).
  - One orthogonal map for all layers reduces the residual stream to the 512 directions of the largest variance (SliceGPT,
    arXiv 2401.15024, with one rotation instead of one per block), in the basis nearest to the axes of 512 of the old channels
    (Procrustes), so that channels with large activations stay channels. Norm weights are folded into the matrices first.
  - Of each layer's heads the one with the least output is removed; keys and values are repeated, one pair per head.
Then it trains all weights on TEXT: the loss is the mean of the KL divergence from the published model and of the cross entropy.
The result is a directory in BF16, with the tokenizer of the source. Needs torch and transformers.

    python3 bench/train_model.py [--layers N] [--width N] [--heads N] [--steps N] [--held TEXT] SOURCE TEXT OUT"""
import argparse
import json
import math
import pathlib
import shutil
import time

import torch
import transformers

WINDOW, PEAK, WARM = 512, 3e-4, 20  # tokens of a step, the learning rate, steps until it is reached
WATCHED = 24  # windows that decide what is cut


def windows(tokenizer, text, most=None):
    ids = tokenizer(pathlib.Path(text).read_text(encoding="utf8"), return_tensors="pt", verbose=False).input_ids[0]
    count = ids.numel() // WINDOW
    return ids[:count * WINDOW].reshape(count, WINDOW)[:most]


def perplexity(model, rows):
    with torch.no_grad():
        losses = [model(row[None], labels=row[None]).loss.item() for row in rows]
    return math.exp(sum(losses) / len(losses))


def fold_norms(model):
    """Moves the weights of all norms into the matrices that read them. The embedding that the head shares is copied."""
    readers = []
    for layer in model.model.layers:
        readers.append((layer.input_layernorm, [layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj]))
        readers.append((layer.post_attention_layernorm, [layer.mlp.gate_proj, layer.mlp.up_proj]))
    for norm, matrices in readers:
        for matrix in matrices:
            matrix.weight.mul_(norm.weight)
        norm.weight.fill_(1.0)


def watch(model, rows):
    """Returns the second moment of the normalised residual stream, each layer's cosine of input and output, and the energy of
    each layer's heads."""
    width, count = model.config.hidden_size, len(model.model.layers)
    moment = torch.zeros(width, width, dtype=torch.float64)
    cosines = [0.0] * count
    energy = torch.zeros(count, model.config.num_attention_heads, dtype=torch.float64)

    def see_state(state):
        flat = torch.nn.functional.normalize(state.reshape(-1, width).double(), dim=1)[1:]
        moment.add_(flat.T @ flat)

    def see_heads(layer):
        def hook(module, inputs):
            parts = inputs[0].reshape(-1, energy.shape[1], model.config.head_dim)
            for head in range(energy.shape[1]):
                columns = module.weight[:, head * model.config.head_dim:(head + 1) * model.config.head_dim]
                energy[layer, head] += (parts[:, head] @ columns.T).pow(2).sum().item()
        return hook
    hooks = [layer.self_attn.o_proj.register_forward_pre_hook(see_heads(k)) for k, layer in enumerate(model.model.layers)]
    hooks += [layer.post_attention_layernorm.register_forward_pre_hook(lambda module, inputs: see_state(inputs[0]))
              for layer in model.model.layers]
    for row in rows:
        states = model.model(row[None], output_hidden_states=True).hidden_states
        for k in range(count):
            see_state(states[k])
            if k + 1 < count:  # the last state has passed the final norm
                cosines[k] += torch.nn.functional.cosine_similarity(states[k][0, 1:], states[k + 1][0, 1:]).mean().item() / len(rows)
    for hook in hooks:
        hook.remove()
    return moment, cosines, energy


def narrow_basis(moment, width):
    """Returns orthonormal columns that span the eigenvectors of the largest eigenvalues, turned towards the axes nearest to this space."""
    vectors = torch.linalg.eigh(moment).eigenvectors[:, -width:]
    kept = vectors.pow(2).sum(1).topk(width).indices.sort().values
    left, _, right = torch.linalg.svd(vectors.T @ torch.eye(moment.shape[0], dtype=moment.dtype)[:, kept])
    return (vectors @ (left @ right)).float()


def cut_layer(old, new, basis, heads, config):
    size, group = config.head_dim, config.num_attention_heads // config.num_key_value_heads
    q, k, v = (getattr(old.self_attn, name + "_proj").weight @ basis for name in "qkv")

    def rows_of(matrix, picked):
        return torch.cat([matrix[head * size:(head + 1) * size] for head in picked])
    new.self_attn.q_proj.weight.copy_(rows_of(q, heads))
    new.self_attn.k_proj.weight.copy_(rows_of(k, [head // group for head in heads]))
    new.self_attn.v_proj.weight.copy_(rows_of(v, [head // group for head in heads]))
    new.self_attn.o_proj.weight.copy_(rows_of((basis.T @ old.self_attn.o_proj.weight).T, heads).T)
    new.mlp.gate_proj.weight.copy_(old.mlp.gate_proj.weight @ basis)
    new.mlp.up_proj.weight.copy_(old.mlp.up_proj.weight @ basis)
    new.mlp.down_proj.weight.copy_(basis.T @ old.mlp.down_proj.weight)


def cut(donor, rows, layers, width, heads):
    """Returns the smaller model. Its norms' weights restore the scale that the mean over fewer channels changes."""
    fold_norms(donor)
    moment, cosines, energy = watch(donor, rows)
    gone = sorted(range(1, len(cosines) - 1), key=lambda k: -cosines[k])[:len(cosines) - layers]
    kept = [k for k in range(len(cosines)) if k not in gone]
    print("removed layers:", *sorted(gone))
    basis = narrow_basis(moment, width)
    settings = donor.config.to_dict() | dict(hidden_size=width, num_attention_heads=heads, num_key_value_heads=heads, num_hidden_layers=layers,
                                             tie_word_embeddings=True, dtype="float32")
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))
    scale = math.sqrt(donor.config.hidden_size / width)
    for new, k in zip(model.model.layers, kept):
        cut_layer(donor.model.layers[k], new, basis, energy[k].topk(heads).indices.sort().values.tolist(), donor.config)
        new.input_layernorm.weight.fill_(scale)
        new.post_attention_layernorm.weight.fill_(scale)
    # The head is the embedding, so the final norm cannot be folded into it: its weight becomes the nearest diagonal.
    model.model.embed_tokens.weight.copy_(donor.model.embed_tokens.weight @ basis)
    turned = basis.T @ torch.diag(donor.model.norm.weight) @ basis
    model.model.norm.weight.copy_(turned.diagonal() * scale)
    return model


def rate(step, steps):
    return min(1.0, (step + 1) / WARM) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(model, donor, rows, steps):
    shuffle = torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.95), weight_decay=0.01)
    order, begin = [], time.process_time()
    for step in range(steps):
        order = order or torch.randperm(len(rows), generator=shuffle).tolist()
        batch = rows[[order.pop()]]
        for group in optimiser.param_groups:
            group["lr"] = PEAK * rate(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = donor(batch).logits[:, :-1].float().log_softmax(-1)
            got = model(batch).logits[:, :-1].float().log_softmax(-1)
        entropy = torch.nn.functional.nll_loss(got.flatten(0, 1), batch[:, 1:].flatten())
        divergence = torch.nn.functional.kl_div(got.flatten(0, 1), wanted.flatten(0, 1), log_target=True, reduction="batchmean")
        optimiser.zero_grad()
        (0.5 * entropy + 0.5 * divergence).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 10 == 0 or step == steps - 1:
            print(f"step {step}: cross entropy {entropy.item():.3f}, KL {divergence.item():.3f}, "
                  f"{time.process_time() - begin:.0f} s of processor", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--steps", type=int, default=260, help="windows of 512 tokens; calib.txt has 254")
    parser.add_argument("--held")
    for name in "source", "text", "out":
        parser.add_argument(name)
    options = parser.parse_args()
    torch.manual_seed(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.source)
    rows = windows(tokenizer, options.text)
    held = windows(tokenizer, options.held, 16) if options.held else []
    donor = transformers.LlamaForCausalLM.from_pretrained(options.source, dtype=torch.float32).eval()
    if len(held):
        print(f"perplexity of the source: {perplexity(donor, held):.2f}")
    with torch.no_grad():
        model = cut(donor, rows[:: max(1, len(rows) // WATCHED)], options.layers, options.width, options.heads)
    if len(held):
        print(f"perplexity when cut: {perplexity(model, held):.2f}", flush=True)
    train(model, donor, rows, options.steps)
    if len(held):
        print(f"perplexity when trained: {perplexity(model.eval(), held):.2f}")
    model.to(torch.bfloat16).save_pretrained(options.out)
    for name in "tokenizer.json", "tokenizer_config.json", "generation_config.json":
        shutil.copy(pathlib.Path(options.source) / name, options.out)
    settings = pathlib.Path(options.out) / "config.json"
    print(json.dumps({key: json.loads(settings.read_text())[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers")}))


if __name__ == "__main__":
    main()
