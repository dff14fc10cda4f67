#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the perplexity of converted models in three programs: organ on safetensors and on the GGUF file that it made of them, transformers, and
llama.cpp on that file.

    python3 bench/compare_convert.py [NAME...]

NAME is a row of fixtures/convert.tsv; all by default. Needs torch, transformers, gguf and llama-cpp-python. All programs read the same ids in one
window and compute in FP32: llama.cpp with keys and values in F32, without flash attention and without repacked weights. A file whose tokenizer
llama.cpp does not load gets `vocab_size` and no tokenizer. Prints one line for each model: perplexities, and the largest difference in percent."""

import ctypes
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import llama_cpp as llama
import numpy as np
import torch
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent
ORGAN = ROOT / "build/organ"
QUIET = llama.llama_log_callback(lambda *_: None)
TEXT = "It was the best of times, it was the worst of times, it was an age."


def organ(*words):
    done = subprocess.run([ORGAN, *map(str, words), "--json", "--quiet"], capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip()[-160:])
    return json.loads(done.stdout)


def perplexity_of(logits, ids):
    log = torch.log_softmax(torch.as_tensor(logits, dtype=torch.float64), -1)
    return math.exp(-float(log[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].mean()))


def without_tokenizer(path, target, vocabulary):
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key.startswith("tokenizer.") or key in ("general.architecture", f"{architecture}.vocab_size"):
            continue
        kind = field.types[0]
        writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.add_vocab_size(vocabulary)
    writer.add_string("tokenizer.ggml.model", "none")
    for t in reader.tensors:
        writer.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def block_sparse(path):
    """Returns the tokens of the chosen blocks of a file of MiniMax M3, 0 for other files, and the number of its dense layers."""
    fields = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items() if key.startswith("minimax-m3.")}
    size, chosen = (fields.get(f"minimax-m3.attention.indexer.{key}", 0) for key in ("block_size", "top_k"))
    return size * chosen, fields.get("minimax-m3.leading_dense_block_count", 0)


def llama_logits(path, ids):
    model_params = llama.llama_model_default_params()
    model_params.use_extra_bufts = False
    model = llama.llama_model_load_from_file(str(path).encode(), model_params)
    if not model:
        return None
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 512
    params.type_k = params.type_v = params.flash_attn_type = 0  # F32, F32, disabled
    sparse, dense = block_sparse(path)
    if sparse and not dense:
        params.flash_attn_type = 1  # without it llama.cpp attends to all blocks; with it keys of dense layers are F16
    context = llama.llama_init_from_model(model, params)
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for k, token in enumerate(ids):
        batch.token[k], batch.pos[k], batch.n_seq_id[k], batch.logits[k] = token, k, 1, 1
        batch.seq_id[k][0] = 0
    assert llama.llama_decode(context, batch) == 0
    size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    logits = np.ctypeslib.as_array(llama.llama_get_logits(context), (len(ids), size)).copy()
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return logits


def settings_of(name):
    rows = [row.split("\t") for row in (ROOT / "fixtures/convert.tsv").read_text().splitlines()]
    found = next((row[6] for row in rows if row[0] == name), "-")
    return {} if found == "-" else json.loads(found)


def row_of(name, scratch):
    source, made = scratch / name, scratch / f"{name}.gguf"
    if name.startswith("tiny-"):
        source = ROOT / "fixtures" / name
    else:
        subprocess.run([ROOT / "build/checks/arch_model", name, source], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps({**config, **settings_of(name)}))
    organ("convert", source, "-o", made, "--to", "gguf", "--dtype", "f32", "--mmproj", "none")
    text = scratch / "text"
    text.write_text((ROOT / "fixtures/tiny-qwen2/heldout.txt").read_text()[:1200] if name.startswith("tiny-") else TEXT)
    ids = organ("tokenize", source, "--text", text, "--ids")["ids"]
    figures = {}
    for label, model in (("organ", source), ("organ GGUF", made)):
        found = organ("perplexity", model, "--text", text, "--context", str(len(ids)))
        figures[label] = found["models"][0]["figures"]["perplexity"] if "models" in found else found["figures"]["perplexity"]
    hf = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        figures["transformers"] = perplexity_of(hf(torch.tensor([ids]), use_cache=False).logits[0], ids)
    logits = llama_logits(made, ids)
    if logits is None:
        bare = scratch / f"{name}-bare.gguf"
        without_tokenizer(made, bare, hf.config.get_text_config().vocab_size)
        logits = llama_logits(bare, ids)
    figures["llama.cpp"] = perplexity_of(logits, ids) if logits is not None else math.nan
    return figures


def main():
    llama.llama_log_set(QUIET, ctypes.c_void_p(0))
    rows = (ROOT / "fixtures/convert.tsv").read_text().splitlines()
    names = sys.argv[1:] or list(dict.fromkeys(row.split("\t")[0] for row in rows if not row.startswith("#")))
    print("| model | organ | organ GGUF | transformers | llama.cpp | largest difference, % |\n|---|--:|--:|--:|--:|--:|")
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                found = row_of(name, Path(scratch))
            except (RuntimeError, ValueError, AssertionError, KeyError, OSError) as fault:
                print(f"| {name} | {type(fault).__name__}: {str(fault)[:120]} |", flush=True)
                continue
        values = list(found.values())
        spread = 100 * (max(values) / min(values) - 1) if all(map(math.isfinite, values)) else math.nan
        print(f"| {name} | " + " | ".join(f"{v:.4f}" for v in values) + f" | {spread:.4f} |", flush=True)


if __name__ == "__main__":
    main()
