# SPDX-License-Identifier: MIT
"""Opens GGUF files in llama.cpp by llama-cpp-python, with keys and values in F32 and without flash attention. llama.cpp multiplies quantised weights by inputs
that it rounds to 8 bits."""
import llama_cpp as llama
import numpy

import worker

F32 = 0


def model_of(path):
    options = llama.llama_model_default_params()
    options.use_extra_bufts = False  # 0.3.36 crashes on narrow Q8_0 matrices with the repacked weights for AMX
    model = llama.llama_model_load_from_file(path.encode(), options)
    if not model:
        raise RuntimeError("llama_model_load_from_file failed")
    return model


def context_of(model, count):
    options = llama.llama_context_default_params()
    options.n_ctx = options.n_batch = options.n_ubatch = count
    options.n_threads = options.n_threads_batch = 1
    options.type_k = options.type_v = F32
    options.flash_attn_type = 0
    return llama.llama_init_from_model(model, options)


def score(request):
    ids = request["ids"]
    model = model_of(request["path"])
    context = context_of(model, len(ids))
    if request.get("adapter"):
        adapter = llama.llama_adapter_lora_init(model, request["adapter"].encode())
        if not adapter:
            raise RuntimeError("llama_adapter_lora_init failed")
        if llama.llama_set_adapters_lora(context, (llama.llama_adapter_lora_p_ctypes * 1)(adapter), 1, (llama.ctypes.c_float * 1)(1.0)):
            raise RuntimeError("llama_set_adapters_lora failed")
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for t, token in enumerate(ids):
        batch.token[t], batch.pos[t], batch.n_seq_id[t], batch.seq_id[t][0], batch.logits[t] = token, t, 1, 0, True
    if llama.llama_decode(context, batch) != 0:
        raise RuntimeError("llama_decode failed")
    width = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    return worker.mean_nll(numpy.ctypeslib.as_array(llama.llama_get_logits(context), (len(ids), width)), ids)


if __name__ == "__main__":
    worker.serve(score)
