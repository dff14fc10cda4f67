# SPDX-License-Identifier: MIT
"""Times the forward pass of organ (exact, in FP32, and by --compute split and bf16 where the CPU has them) against PyTorch's on the CPU, in
FP32 and in BF16, and against llama.cpp's in BF16, on the same random model of the shapes of Qwen2.5-0.5B, alternating in one run. Needs
torch, transformers, gguf, llama-cpp-python and `ninja build/bench/forward`. A program that is not installed is left out.

    python bench/compare_forward.py DIR [ROUNDS]      DIR takes the model (1 GB), made on the first run
"""
import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time

SMOKE = bool(os.environ.get("BENCH_SMOKE"))  # a tiny model, to try the script
CONTEXT, WINDOWS = (32, 2) if SMOKE else (512, 4)
SIZES = dict(vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2) if SMOKE else \
    dict(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2)
VOCABULARY = SIZES["vocab_size"]
COLUMNS = "tokens_per_second", "tokens_per_processor_second", "peak_rss_mib"
UNAVAILABLE = 77  # the status of build/bench/forward if the CPU lacks the instructions


def make_model(path):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM
    torch.manual_seed(1)
    config = Qwen2Config(**SIZES, max_position_embeddings=32768, rope_theta=1e6, tie_word_embeddings=True)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(path)


def has_llama():
    return importlib.util.find_spec("llama_cpp") and importlib.util.find_spec("gguf")


def make_models(path):
    """Makes what is missing. A model gets its name when it is complete, so that an interrupted run leaves none."""
    if not os.path.exists(path):
        shutil.rmtree(path + ".partial", ignore_errors=True)
        make_model(path + ".partial")
        os.rename(path + ".partial", path)
    if has_llama() and not os.path.exists(path + ".gguf"):
        make_gguf(path + ".gguf.partial", path)
        os.rename(path + ".gguf.partial", path + ".gguf")


def make_gguf(path, model):
    """Writes the same weights as a GGUF file: matrices in BF16, the rest in FP32, no vocabulary."""
    import gguf
    import numpy
    import torch
    from safetensors.torch import load_file
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, SIZES["num_hidden_layers"])
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(SIZES["num_hidden_layers"])
    writer.add_context_length(32768)
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(VOCABULARY)
    for name, tensor in load_file(os.path.join(model, "model.safetensors")).items():
        name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if tensor.dim() == 1:
            writer.add_tensor(name, tensor.float().numpy())
        else:
            rows = tensor.view(torch.int16).numpy().view(numpy.uint8)
            writer.add_tensor(name, rows, raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run_llama(path, threads):
    """Returns the logits of every position and their log-likelihood, one window at a time."""
    import llama_cpp as llama
    import numpy
    silent = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(silent, None)
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = CONTEXT
    params.n_threads = params.n_threads_batch = threads
    context = llama.llama_init_from_model(model, params)
    batch = llama.llama_batch_init(CONTEXT, 0, 1)
    tokens = numpy.random.default_rng(2).integers(0, VOCABULARY, (WINDOWS, CONTEXT))

    def decode(window):
        batch.n_tokens = len(window)
        for t, token in enumerate(window):
            batch.token[t], batch.pos[t], batch.n_seq_id[t], batch.seq_id[t][0], batch.logits[t] = int(token), t, 1, 0, True
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        if llama.llama_decode(context, batch) != 0:
            sys.exit("llama_decode failed")
        llama.llama_synchronize(context)
        return numpy.ctypeslib.as_array(llama.llama_get_logits(context), (len(window), VOCABULARY))

    decode(tokens[0, :32])
    start, cpu = time.monotonic(), time.process_time()
    for window in tokens:
        for logits, token in zip(decode(window), window[1:]):
            most = logits.max()
            numpy.log(numpy.exp(logits - most).sum()) + most - logits[token]
    report(time.monotonic() - start, time.process_time() - cpu)


def report(wall, cpu):
    print(WINDOWS * CONTEXT / wall, WINDOWS * CONTEXT / cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def run_torch(path, threads, dtype):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
    tokens = torch.randint(0, VOCABULARY, (WINDOWS, CONTEXT), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        model(tokens[:1, :32])
        start, cpu = time.monotonic(), time.process_time()
        for window in tokens:
            logits = model(window[None]).logits[0, :-1]
            torch.nn.functional.cross_entropy(logits.float(), window[1:])
    report(time.monotonic() - start, time.process_time() - cpu)


def main():
    path, threads = sys.argv[1], len(os.sched_getaffinity(0))
    if len(sys.argv) > 3:
        one = sys.argv[3]
        if one == "models":
            make_models(path)
        elif one == "llama.cpp":
            run_llama(path + ".gguf", threads)
        else:
            run_torch(path, threads, one)
        return
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    # In a separate process, because Linux passes the peak memory of a process on to the programs that it starts.
    subprocess.run([sys.executable, __file__, path, "1", "models"], check=True)
    peers = ["float32", "bfloat16", *(["llama.cpp"] if has_llama() else [])]
    computes = {"organ": "exact", "organ split": "split", "organ bf16": "bf16"}
    figures = {name: [] for name in [*computes, *peers]}
    for _ in range(rounds):
        for name, compute in computes.items():
            command = ["build/bench/forward", path, str(CONTEXT), str(WINDOWS), str(threads), compute]
            out = subprocess.run(command, capture_output=True, text=True)
            print(name + ":", (out.stdout or out.stderr).strip())
            if out.returncode == 0:
                row = json.loads(out.stdout)
                figures[name].append([row[key] for key in COLUMNS])
            elif out.returncode != UNAVAILABLE:
                sys.exit("build/bench/forward ended with %d" % out.returncode)
        for peer in peers:
            out = subprocess.run([sys.executable, __file__, path, "1", peer], stdout=subprocess.PIPE, text=True, check=True)
            figures[peer].append([float(x) for x in out.stdout.split()])
            print("%s: %.1f tokens/s, %.1f a second of processor time, RSS %d MiB" % (peer, *figures[peer][-1]))
    print("medians: tokens/s, tokens a second of processor time, RSS in MiB")
    for name, rows in figures.items():
        print(name, [round(statistics.median(column), 1) for column in zip(*rows)])


if __name__ == "__main__":
    main()
