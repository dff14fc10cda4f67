#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Quantises weights and inputs of a model with organ and with llm-compressor on the same text and compares the losses.

    python3 bench/served/compressor.py DONOR --calibration FILE --text FILE --work DIR [--samples 32] [--context 512] [--tokens 20480]
                                        [--jobs "W8A8,FP8 static"] [--judge] [--organ build/organ]

llm-compressor computes in FP32, which CPUs do faster than BF16. `organ evaluate` scores all outputs with rounded inputs; with --judge, transformers
does so too, as bench/served/losses.py. A row has the KL divergence from the donor in nats per token of both outputs, and organ's divided by
llm-compressor's, which should be at most the last figure. Outputs stay in DIR and are made once. Ends with 1 if a quotient is above its bar. A job
that llm-compressor refuses has the row "refused". Needs llmcompressor 0.14.0.1, datasets, and what losses.py needs."""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys

import losses
import peer_run

# Work, the most that organ's KL may be of llm-compressor's, llm-compressor's recipe (peer_run.py), organ's options
JOBS = """
    W8A8 | 1.02 | nearest_w8a8 | -s int8-channel
    W8A8 smoothed | 0.9 | smooth_w8a8 | -s int8-channel --smooth auto CALIBRATED
    W8A8 GPTQ | 0.9 | gptq_w8a8 | -s int8-channel --method gptq CALIBRATED
    W8A8 smoothed GPTQ | 0.9 | smooth-gptq_w8a8 | -s int8-channel --smooth auto --method gptq CALIBRATED
    FP8 dynamic | 1.02 | nearest_fp8 | -s fp8-channel
    FP8 static | 1 | nearest_fp8-static | -s fp8-tensor --activation-type fp8 --activation-scale static CALIBRATED
    W4A8 | 1.02 | nearest_w4a8 | -s int4-group128 --activation-type int8
    W4A8 GPTQ | 0.9 | gptq_w4a8 | -s int4-group128 --activation-type int8 --method gptq CALIBRATED"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("donor", type=pathlib.Path)
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    for name, value in {**losses.DEFAULTS, "--tokens": 20480, "--samples": 32}.items():
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--jobs", default="", help="names separated by commas; default: all")
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--organ", default="build/organ")
    return parser.parse_args()


def made(out, command):
    """Returns whether the output is there, which the command makes if it is missing."""
    part = out.with_name(out.name + ".part")
    if not out.exists():
        shutil.rmtree(part, ignore_errors=True)
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        with open(out.with_name(out.name + ".log"), "w", encoding="utf-8") as log:
            done = subprocess.run([str(word).replace("OUT", str(part)) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                  env=environment, check=False)
        if done.returncode == 0:
            part.rename(out)
    return out.exists()


def outputs_of(options, recipe, words):
    """Returns the outputs of llm-compressor and organ, or None where there is none."""
    calibrated = ["--calibration", options.calibration, "--samples", options.samples, "--context", options.context]
    organ_words = [part for word in words.split() for part in (calibrated if word == "CALIBRATED" else [word])]
    peer = [sys.executable, peer_run.__file__, "compress", recipe, options.donor, options.calibration, options.samples,
            options.context, "OUT", "float32"]
    pairs = [(options.work / f"lc-{recipe}", peer),
             (options.work / f"organ-{recipe}", [options.organ, "quantize", options.donor, "-o", "OUT", "--threads", options.threads, "--quiet", *organ_words])]
    return [out if made(out, command) else None for out, command in pairs]


def row_of(work, bar, pair, scores):
    """Returns the cells of a row, and whether it is good."""
    if None in pair:
        who = "llm-compressor" if pair[0] is None else "organ"
        return [work, f"refused by {who}", "", "", bar], pair[0] is None
    theirs, own = (scores[out] for out in pair)
    quotients = [a / b for a, b in zip(own, theirs, strict=True)]
    return [work, *(", ".join(f"{kl:.5f}" for kl in kls) for kls in (theirs, own)), ", ".join(f"{q:.3f}" for q in quotients), bar], \
        all(q <= float(bar) for q in quotients)


def main():
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    jobs = [[part.strip() for part in line.split("|")] for line in JOBS.strip().splitlines()]
    jobs = [job for job in jobs if not options.jobs or job[0] in options.jobs.split(",")]
    pairs = [outputs_of(options, recipe, words) for _, _, recipe, words in jobs]
    models = [out for pair in pairs for out in pair if out and None not in pair]
    scores = {out: [kl] for out, (kl, _) in zip(models, losses.by_organ(options, models)[1][1:], strict=True)} if models else {}
    if options.judge and models:
        options.weights, options.attention, options.scores = False, None, options.work / "transformers.json"
        for out, (kl, *_) in zip(models, losses.by_transformers(options, models)[1][1:], strict=True):
            scores[out].append(kl)
    print("| work | KL, llm-compressor | KL, organ | organ / llm-compressor | at most |")
    print("|---|--:|--:|--:|--:|")
    rows = [row_of(work, bar, pair, scores) for (work, bar, _, _), pair in zip(jobs, pairs, strict=True)]
    for cells, _ in rows:
        print("| " + " | ".join(cells) + " |")
    return not all(good for _, good in rows)


if __name__ == "__main__":
    sys.exit(main())
