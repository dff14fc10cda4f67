#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tests/real/references.json: what transformers and llama.cpp make of the models of bench/published.sh.

Both programs read the GGUF files of STORE themselves; no file of organ takes part. For each model:
  tokens      the ids of the texts of tests/real/texts.json by llama.cpp
  held        number and SHA-256 of the ids (decimal, one per line) of held.txt by llama.cpp, with BOS if the model asks for it
  generated   the 12 ids that follow PROMPT by greedy decoding with transformers in FP32
  hf          perplexity of the first 1024 tokens of held.txt in windows of 512 by transformers in FP32: every token but the first of a window
  llama.cpp   perplexity of the first 2048 tokens in windows of 512 by llama.cpp: the second half of each window. llama.cpp
              rounds activations to 8 bits if weights are quantised
transformers must find the same ids for gemma3. For smollm2 it does not, because its reader of GGUF leaves out that each
digit is a piece of its own; and it always reads special tokens in a text. Needs torch, transformers, gguf, numpy and llama-cpp-python. Run from the root of the repository:

    python3 tests/real/references.py STORE"""
import ctypes
import hashlib
import json
import math
import re
import sys

import llama_cpp as llama
import numpy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

WINDOW = 512
PROMPT = "The Debian project is"


def digest(ids):
    return {"count": len(ids), "sha256": hashlib.sha256("".join(f"{i}\n" for i in ids).encode()).hexdigest()}


class Llama:
    """A GGUF file opened by llama.cpp with one thread and a cache of FP32."""

    def __init__(self, path):
        self.model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
        self.vocabulary = llama.llama_model_get_vocab(self.model)
        params = llama.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = WINDOW
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = 0
        params.flash_attn_type = 0
        self.context = llama.llama_init_from_model(self.model, params)

    def ids(self, text, special):
        data = text.encode()
        room = (llama.llama_token * (len(data) + 8))()
        count = llama.llama_tokenize(self.vocabulary, data, len(data), room, len(room), special, False)
        assert count >= 0
        return list(room[:count])

    def logits(self, window):
        batch = llama.llama_batch_init(WINDOW, 0, 1)
        batch.n_tokens = len(window)
        for k, token in enumerate(window):
            batch.token[k], batch.pos[k], batch.n_seq_id[k], batch.logits[k] = token, k, 1, 1
            batch.seq_id[k][0] = 0
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        assert llama.llama_decode(self.context, batch) == 0
        width = llama.llama_vocab_n_tokens(self.vocabulary)
        rows = numpy.ctypeslib.as_array(llama.llama_get_logits(self.context), (len(window), width)).astype(numpy.float64)
        llama.llama_batch_free(batch)
        return rows


def losses(rows, window, first):
    """Returns the negative log-likelihoods of the tokens from `first` on, given logits of each position."""
    rows = rows[first - 1:len(window) - 1]
    top = rows.max(axis=1)
    logs = top + numpy.log(numpy.exp(rows - top[:, None]).sum(axis=1))
    return logs - rows[numpy.arange(len(rows)), window[first:]]


def by_llama(path, ids):
    model = Llama(path)
    starts = llama.llama_vocab_get_add_bos(model.vocabulary)
    first = [llama.llama_vocab_bos(model.vocabulary)] if starts else []
    parts = []
    for at in range(0, 2048, WINDOW):
        window = first + ids[at + len(first):at + WINDOW] if first else ids[at:at + WINDOW]
        parts.append(losses(model.logits(window), window, WINDOW // 2))
    return math.exp(numpy.concatenate(parts).mean())


def describe(store, name, texts, held):
    tokenizer = AutoTokenizer.from_pretrained(store, gguf_file=f"{name}.gguf")
    peer = Llama(f"{store}/{name}.gguf")
    tokens = [peer.ids(text, False) for text in texts]
    ids = peer.ids(held, True)
    if name == "gemma3":
        for text, expected in zip(texts, tokens):
            assert "<" in text or tokenizer(text, add_special_tokens=False)["input_ids"] == expected, text
        assert tokenizer(held)["input_ids"] == ids
    model = AutoModelForCausalLM.from_pretrained(store, gguf_file=f"{name}.gguf", dtype=torch.float32).eval()
    parts = []
    with torch.no_grad():
        for at in range(0, 1024, WINDOW):
            window = ids[at:at + WINDOW]
            rows = model(torch.tensor([window])).logits[0].double().numpy()
            parts.append(losses(rows, window, 1))
        prompt = tokenizer(PROMPT)["input_ids"]
        made = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0][len(prompt):].tolist()
    return {"tokens": tokens, "held": digest(ids), "prompt": PROMPT, "generated": made,
            "hf": math.exp(numpy.concatenate(parts).mean()), "llama.cpp": by_llama(f"{store}/{name}.gguf", ids)}


def main(store):
    quiet = llama.llama_log_callback(lambda level, words, data: None)
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    torch.set_num_threads(1)
    with open("tests/real/texts.json", encoding="utf8") as file:
        texts = json.load(file)
    with open(f"{store}/held.txt", encoding="utf8", newline="") as file:
        held = file.read()
    made = {name: describe(store, name, texts, held) for name in ("smollm2", "gemma3")}
    with open("tests/real/references.json", "w", encoding="utf8") as file:
        # One line for each list of ids.
        text = json.dumps(made, indent=1)
        file.write(re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
