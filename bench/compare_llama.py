#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shows where the scores of `organ perplexity` and of llama.cpp for a quantised GGUF model differ.

For each scheme the script quantises a model of floats with `organ quantize`, converts the result back to F32 with
`organ dequantize`, and prints the mean negative log-likelihood (nats per token) of the same tokens three times:
from organ, from llama.cpp for the quantised file, and from llama.cpp for the F32 file, which contains exactly the
values that the quantised file stores. For quantised weights llama.cpp first rounds the activations to 8 bits
(blocks of Q8_0 or Q8_K); for F32 weights it does not. The cache of keys and values is F32 and flash attention is
off, unless the last column says otherwise. Needs llama-cpp-python and numpy. MODEL.gguf must contain a tokenizer.
Run from the root of the repository:

    python3 bench/compare_llama.py MODEL.gguf TEXT [SCHEME...]"""
import json
import math
import subprocess
import sys
import tempfile

import llama_cpp as llama
import numpy

CONTEXT, TOKENS = 256, 4096
SCHEMES = ["q4_0", "q5_0", "q8_0", "q4_k", "q6_k"]
ORGAN = "build/organ"


def organ(*words):
    return json.loads(subprocess.run([ORGAN, *words, "--json", "--quiet"], check=True, stdout=subprocess.PIPE).stdout)


def scored_here(path, text):
    found = organ("perplexity", path, "--text", text, "--context", str(CONTEXT), "--max-tokens", str(TOKENS))
    return math.log(found["models"][0]["figures"]["perplexity"])


def tokens_of(path, text, count=TOKENS):
    """Returns the first tokens that `organ perplexity` scores: BOS once, before the text."""
    ids = subprocess.run([ORGAN, "tokenize", path, "--text", text, "--ids", "--special", "--quiet"], check=True, stdout=subprocess.PIPE).stdout.split()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    vocabulary = llama.llama_model_get_vocab(model)
    first = [llama.llama_vocab_bos(vocabulary)] if llama.llama_vocab_get_add_bos(vocabulary) else []
    llama.llama_model_free(model)
    return (first + [int(word) for word in ids])[:count]


def scored_there(path, tokens, cache=0, context_size=CONTEXT):
    """Returns llama.cpp's score. cache: the ggml type of keys and values, 0 for F32, 1 for F16."""
    options = llama.llama_model_default_params()
    options.use_extra_bufts = False  # 0.3.36 crashes on narrow Q8_0 matrices with the repacked weights for AMX
    model = llama.llama_model_load_from_file(path.encode(), options)
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = context_size
    params.n_threads = params.n_threads_batch = 1
    params.type_k = params.type_v = cache
    params.flash_attn_type = 0
    context = llama.llama_init_from_model(model, params)
    batch = llama.llama_batch_init(context_size, 0, 1)
    width = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    lost = scored = 0
    for first in range(0, len(tokens), context_size):
        window = tokens[first:first + context_size]
        batch.n_tokens = len(window)
        for t, token in enumerate(window):
            batch.token[t], batch.pos[t], batch.n_seq_id[t], batch.seq_id[t][0], batch.logits[t] = token, t, 1, 0, True
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        if llama.llama_decode(context, batch) != 0:
            sys.exit("llama_decode failed")
        logits = numpy.ctypeslib.as_array(llama.llama_get_logits(context), (len(window), width)).astype(numpy.float64)
        for row, token in zip(logits, window[1:]):
            most = row.max()
            lost += math.log(numpy.exp(row - most).sum()) + most - row[token]
            scored += 1
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return lost / scored


def begin():
    """Silences llama.cpp and starts it."""
    llama.llama_log_set(silent, None)
    llama.llama_backend_init()


def scored(path, text, context, count):
    """Returns llama.cpp's score of the first tokens of the text, for bench/peer_run.py."""
    begin()
    return scored_there(path, tokens_of(path, text, count), 0, context)


@llama.llama_log_callback
def silent(level, words, data):
    pass


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    source, text = sys.argv[1:3]
    begin()
    tokens = tokens_of(source, text)
    print("| stored as | organ | llama.cpp | llama.cpp, values as F32 | llama.cpp, values as F32, cache F16 |\n|---|--:|--:|--:|--:|")
    plain = scored_here(source, text)
    print(f"| as given | {plain:.6f} | {scored_there(source, tokens):.6f} | | |", flush=True)
    with tempfile.TemporaryDirectory() as here:
        for scheme in sys.argv[3:] or SCHEMES:
            organ("quantize", source, "-o", f"{here}/{scheme}.gguf", "--scheme", scheme)
            organ("dequantize", f"{here}/{scheme}.gguf", "-o", f"{here}/{scheme}-f32.gguf", "--dtype", "f32")
            figures = [scored_here(f"{here}/{scheme}.gguf", text), scored_there(f"{here}/{scheme}.gguf", tokens),
                       scored_there(f"{here}/{scheme}-f32.gguf", tokens), scored_there(f"{here}/{scheme}-f32.gguf", tokens, 1)]
            print(f"| {scheme} | " + " | ".join(f"{figure:.6f}" for figure in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
