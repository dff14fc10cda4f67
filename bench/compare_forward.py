# SPDX-License-Identifier: MIT
"""Times the forward pass of organ (FP32 arithmetic) against PyTorch's on the CPU, in FP32 and in BF16, on the same random model of the
shapes of Qwen2.5-0.5B, alternating in one run. Needs torch, transformers and `ninja build/bench/forward`.

    python bench/compare_forward.py DIR [ROUNDS]      DIR takes the model (1 GB), made on the first run
"""
import os
import re
import resource
import statistics
import subprocess
import sys
import time

CONTEXT, WINDOWS = 512, 4


def make_model(path):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM
    torch.manual_seed(1)
    config = Qwen2Config(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
                         num_key_value_heads=2, max_position_embeddings=32768, rope_theta=1e6, tie_word_embeddings=True)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(path)


def run_torch(path, threads, dtype):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
    tokens = torch.randint(0, 151936, (WINDOWS, CONTEXT), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        model(tokens[:1, :32])
        start, cpu = time.monotonic(), time.process_time()
        for window in tokens:
            logits = model(window[None]).logits[0, :-1]
            torch.nn.functional.cross_entropy(logits.float(), window[1:])
        wall, cpu = time.monotonic() - start, time.process_time() - cpu
    print(WINDOWS * CONTEXT / wall, WINDOWS * CONTEXT / cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main():
    path, threads = sys.argv[1], len(os.sched_getaffinity(0))
    if len(sys.argv) > 3:
        run_torch(path, threads, sys.argv[3])
        return
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    if not os.path.exists(path):
        make_model(path)
    figures = {"organ": [], "float32": [], "bfloat16": []}
    for _ in range(rounds):
        out = subprocess.run(["build/bench/forward", path, str(CONTEXT), str(WINDOWS), str(threads)], capture_output=True, text=True, check=True)
        print(out.stdout.strip())
        figures["organ"].append(
            [float(x) for x in re.findall(r"[0-9.]+", out.stdout)[-3:]])
        for dtype in ("float32", "bfloat16"):
            out = subprocess.run([sys.executable, __file__, path, "1", dtype], capture_output=True, text=True, check=True)
            figures[dtype].append([float(x) for x in out.stdout.split()])
            print("torch %s: %.1f tokens/s, %.1f a second of processor time, RSS %d MiB" % (dtype, *figures[dtype][-1]))
    print("medians: tokens/s, tokens a second of processor time, RSS in MiB")
    for name, rows in figures.items():
        print(name, [round(statistics.median(column), 1) for column in zip(*rows)])


if __name__ == "__main__":
    main()
