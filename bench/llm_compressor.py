# SPDX-License-Identifier: MIT
"""Contains the parts that the comparisons with llm-compressor share: the windows, its run in a separate process, the
times, the table of perplexities."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

WINDOWS, CONTEXT = 64, 256
CALIBRATED = ["--samples", str(WINDOWS), "--context", str(CONTEXT)]


def compress(model, text, out, recipe, **saving):
    """Runs llm-compressor with the recipe on windows spread over the text as organ spreads them."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with open(text, encoding="utf-8") as file:
        ids = tokenizer(file.read(), add_special_tokens=False)["input_ids"]
    step = (len(ids) - CONTEXT) / (WINDOWS - 1)
    windows = [ids[int(k * step):int(k * step) + CONTEXT] for k in range(WINDOWS)]
    dense = AutoModelForCausalLM.from_pretrained(model, dtype="bfloat16")
    oneshot(model=dense, dataset=Dataset.from_dict({"input_ids": windows, "attention_mask": [[1] * CONTEXT] * WINDOWS}), recipe=recipe,
            max_seq_length=CONTEXT, num_calibration_samples=WINDOWS)
    dense.save_pretrained(out, **saving)
    tokenizer.save_pretrained(out)


def timed(what, command, log):
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=log, stderr=log)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        log.flush()
        with open(log.name, encoding="utf-8") as file:
            sys.exit(f"{what} failed:\n{file.read()[-3000:]}")
    print(f"{what}: {usage.ru_utime + usage.ru_stime:.1f} s of the processor, {time.monotonic() - start:.1f} s of the clock, "
          f"peak {usage.ru_maxrss / 1024:.0f} MiB", flush=True)


def compare(model, organ, heldout, runs):
    """Prints one table of scores. runs: {name: arguments that end with the output's directory}."""
    here = tempfile.mkdtemp()
    try:
        with open(f"{here}/log", "w", encoding="utf-8") as log:
            for name, command in runs.items():
                timed(name, [*command, f"{here}/{name}"], log)
        experiments = [part for name in runs for part in ("--experiment", f"{name}={name}")]
        subprocess.run([organ, "evaluate", model, *(f"{here}/{name}" for name in runs), "--text", heldout, "--context", str(CONTEXT), "--quiet",
                        *experiments], check=True)
    finally:
        shutil.rmtree(here)
