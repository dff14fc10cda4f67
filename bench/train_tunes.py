#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tunes a model on a text: every projection, norm, bias and the embedding change.

    python3 bench/train_tunes.py [--steps N] [--rate R] [--window N] [--type float32] BASE TEXT OUT

A step is one window of consecutive tokens of TEXT, in an order that the seed fixes; AdamW without decay, the rate falls as a cosine.
OUT is a directory in BF16, or the other type, with the tokenizer of BASE. Needs torch and transformers."""
import argparse
import math
import pathlib
import shutil

import torch
import transformers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--type", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.base)
    ids = tokenizer(args.text.read_text(encoding="utf8"), return_tensors="pt", verbose=False).input_ids[0]
    count = ids.numel() // args.window
    rows = ids[:count * args.window].reshape(count, args.window)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.95), weight_decay=0.0)
    model.train()
    for step in range(args.steps):
        rate = args.rate * min((step + 1) / 10, (1 + math.cos(math.pi * step / args.steps)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        row = rows[order[step % count]][None]
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(row, labels=row).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 10 == 0 or step + 1 == args.steps:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    model.to(getattr(torch, args.type)).save_pretrained(args.out)
    for name in "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt":
        if (pathlib.Path(args.base) / name).exists():
            shutil.copy(pathlib.Path(args.base) / name, args.out)


if __name__ == "__main__":
    main()
