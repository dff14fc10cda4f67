#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `organ quantize` for GGUF models with llama-quantize at equal bytes. llama.cpp itself is the judge.

For each recipe of llama-quantize (Q4_K_M, IQ4_XS, ...) the script writes the recipe's file, and with organ `--scheme mixed` of the same
size. "pure" rows compare one type for all matrices but the embeddings (Q6_K), by llama-quantize and by organ with and without GPTQ. All
use one imatrix of llama-imatrix. llama-perplexity then measures the KL divergence from the donor, an F32 file, on the held-out text.
Rows that are in the table are skipped; delete lines to measure them again. `seconds` is processor time; the first organ row of a model
includes the measurements, which --work keeps.

    python3 bench/compare_recipes.py --llama DIR [--trained DIR] [--models smollm2,trained] [--works "Q4_K_M,pure Q3_K"] [--draw]

DIR has llama-quantize, llama-imatrix and llama-perplexity of llama-cpp-python 0.3.36's source package. --published (or
ORGAN_PUBLISHED) is the directory of bench/published.sh; --trained (or TRAINED) the model of bench/train_model.py. The published
models were quantised before: their donors are the dequantised values, and organ must not use the types that the source had.
Writes docs/bits.tsv, docs/bits.svg and the table of docs/quality.md; --draw writes only the latter two. Standard library only."""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import draw_bits

COLUMNS = ["model", "work", "program", "bytes", "bpw", "kl", "kl_error", "rise", "seconds"]
# For each model the types that organ may choose, those of the source left out (None: all), and the works. Recipes that store the source
# in its own types say nothing.
MODELS = {
    "smollm2": ("q2_k,q3_k,q4_0,q4_k,q5_0,q5_1,q5_k,q6_k,iq4_nl,iq4_xs", ["IQ4_XS", "Q3_K_M"]),
    "trained": (None, ["Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K", "pure IQ4_XS", "pure Q3_K", "pure IQ3_S", "pure Q2_K"]),
}

# llama-perplexity prints in a thread and does not wait for it at its end, so that the last lines of a quick run are lost. This runs its
# main function and then gives the thread a second.
PERPLEXITY = """import ctypes, sys, time
words = [word.encode() for word in sys.argv[1:]]
ctypes.CDLL(sys.argv[1])._Z16llama_perplexityiPPc(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None))
time.sleep(1)"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=pathlib.Path, default=pathlib.Path(os.environ.get("ORGAN_PUBLISHED", "~/.cache/organ-published")).expanduser())
    parser.add_argument("--trained", type=pathlib.Path, default=os.environ.get("TRAINED"))
    parser.add_argument("--llama", type=pathlib.Path, default=pathlib.Path(os.environ.get("LLAMA", "")))
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--works", help="only these rows; others than those of MODELS are possible")
    parser.add_argument("--programs", default="llama-quantize,organ,organ-gptq")
    parser.add_argument("--calibration", default="calib.txt")
    parser.add_argument("--held", default="held.txt")
    parser.add_argument("--samples", default="32", help="windows of calibration")
    parser.add_argument("--context", default="512")
    parser.add_argument("--chunks", default="16", help="windows that llama-perplexity scores")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/recipes"))
    parser.add_argument("--lines", type=pathlib.Path, default=pathlib.Path("docs/bits.tsv"))
    parser.add_argument("--page", type=pathlib.Path, default=pathlib.Path("docs/quality.md"))
    parser.add_argument("--keep", action="store_true", help="keep the quantised files")
    parser.add_argument("--draw", action="store_true")
    return parser.parse_args()


def ended(command, log):
    """Runs the command on one thread. Returns its output and its processor seconds."""
    print(" ".join(map(str, command)), file=sys.stderr, flush=True)
    with open(log, "w", encoding="utf-8") as out:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
        _, status, usage = os.wait4(process.pid, 0)
    words = pathlib.Path(log).read_text(encoding="utf-8", errors="replace")
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{words[-3000:]}")
    return words, usage.ru_utime + usage.ru_stime


class Judge:
    """The donor of one model, its imatrix and its logits."""

    def __init__(self, options, name):
        if not shutil.which(options.llama / "llama-perplexity"):
            sys.exit("--llama (or LLAMA) must name the directory of llama-quantize, llama-imatrix and llama-perplexity")
        self.o, self.name, self.work = options, name, options.work / name
        self.log = self.work / f"log-{os.getpid()}"
        self.work.mkdir(parents=True, exist_ok=True)
        self.text, self.held = options.published / options.calibration, options.published / options.held
        self.donor, self.imatrix, self.logits = self.work / "donor.gguf", self.work / "imatrix.gguf", self.work / "logits"
        source = options.published / f"{name}.gguf" if name != "trained" else options.trained
        if not source:
            sys.exit("--trained (or TRAINED) must name the model of bench/train_model.py")
        plain = self.work / "plain.gguf"
        self.make(plain, self.organ("convert", source, "--to", "gguf") if source.is_dir() else self.organ("dequantize", source))
        self.make(self.donor, [options.llama / "llama-quantize", plain], None, ["F32", "1"])
        self.make(self.imatrix, self.llama("imatrix", self.donor, "-f", self.text, "--chunks", options.samples))
        self.make(self.logits, self.scored(self.donor), "--kl-divergence-base")
        found = json.loads(subprocess.run([options.organ, "inspect", self.donor, "--json"], check=True, stdout=subprocess.PIPE).stdout)["model"]
        self.elements, self.header = found["elements"], found["file_bytes"] - found["bytes"]

    def make(self, path, command, option="-o", rest=()):
        """Runs a preparation whose output, named behind the option, is not there yet."""
        if path.exists():
            return
        unfinished = path.with_name("unfinished-" + path.name)
        ended([*command, *([option] if option else []), unfinished, *rest], self.log)
        unfinished.rename(path)

    def organ(self, *words):
        return [self.o.organ, *words, "--threads", "1", "--force", "--quiet"]

    def llama(self, tool, model, *words):
        return [self.o.llama / f"llama-{tool}", "-m", model, *words, "-c", self.o.context, "-b", self.o.context, "-t", "1", "-tb", "1"]

    def scored(self, model):
        return self.llama("perplexity", model, "-f", self.held, "--chunks", self.o.chunks)

    def by_llama(self, work, out):
        pure, _, name = work.rpartition(" ")
        return [self.o.llama / "llama-quantize", *(["--pure", "--token-embedding-type", "q6_k", "--output-tensor-type", "q6_k"] if pure else []),
                "--imatrix", self.imatrix, self.donor, out, name, "1"]

    def by_organ(self, work, out, gptq, size):
        pure, _, name = work.rpartition(" ")
        calibrated = ["--calibration", self.text, "--samples", self.o.samples, "--context", self.o.context]
        scheme = [name.lower(), *(["--method", "gptq", *calibrated] if gptq else [])]
        if not pure:
            types = ["--types", MODELS[self.name][0]] if MODELS[self.name][0] else []
            scheme = ["mixed", "--target-size", str(size), *types, "--allocation", self.work / "measured", *calibrated]
        return self.organ("quantize", self.donor, "-o", out, "--imatrix", self.imatrix, "--scheme", *scheme)

    def judged(self, model):
        """Returns the KL divergence with its standard error, and the ratio of the perplexities."""
        _, *words = self.scored(model)
        words = ended([sys.executable, "-c", PERPLEXITY, self.o.llama / "libllama-perplexity-impl.so", *words, "--kl-divergence",
                       "--kl-divergence-base", self.logits], self.log)[0]
        kl = re.search(r"^Mean +KLD: +(\S+) ± +(\S+)", words, re.MULTILINE)
        ratio = re.search(r"^Mean PPL\(Q\)/PPL\(base\) +: +(\S+)", words, re.MULTILINE)
        if not kl or not ratio:
            sys.exit(f"llama-perplexity prints no KL divergence of {model}:\n{words[-3000:]}")
        return kl.groups(), ratio[1]

    def row(self, work, program, command, out):
        """Writes a file by the command and measures it."""
        seconds = ended(command, self.log)[1]
        kl, ratio = self.judged(out)
        size = out.stat().st_size
        if not self.o.keep:
            out.unlink()
        print(f"{self.name}: {work} by {program}: {size} bytes, KL {kl[0]} +- {kl[1]}", flush=True)
        return dict(model=self.name, work=work, program=program, bytes=str(size), bpw=f"{8 * (size - self.header) / self.elements:.3f}", kl=kl[0],
                    kl_error=kl[1], rise=f"{100 * (float(ratio) - 1):.3f}", seconds=f"{seconds:.1f}")


def key_of(row):
    return row["model"], row["work"], row["program"]


def read(lines):
    if not lines.exists():
        return []
    rows = [line.split("\t") for line in lines.read_text(encoding="utf-8").splitlines()[1:]]
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def write(lines, rows):
    """Writes the rows: models in the order of MODELS, works by the bytes of the first file."""
    sizes = {}
    for row in rows:
        sizes.setdefault((row["model"], row["work"]), int(row["bytes"]))
    names = list(MODELS)
    rows = sorted(rows, key=lambda row: (names.index(row["model"]), row["work"].startswith("pure"), -sizes[row["model"], row["work"]],
                                         row["work"], row["program"]))
    lines.write_text("".join("\t".join(cells) + "\n" for cells in [COLUMNS, *([row[name] for name in COLUMNS] for row in rows)]), encoding="utf-8")


def measure(options, rows, name):
    """Adds the missing rows of one model."""
    judge, known = None, {key_of(row): row for row in rows}
    for work in options.works.split(",") if options.works else MODELS[name][1]:
        programs = ["llama-quantize", "organ"] + (["organ-gptq"] if work.startswith("pure ") else [])
        for program in programs:
            key = (name, work, program)
            if key in known or program not in options.programs.split(","):
                continue
            judge = judge or Judge(options, name)
            out = judge.work / f"{work.replace(' ', '-')}.{program}.gguf"
            size = known.get((name, work, "llama-quantize"), {}).get("bytes")
            command = judge.by_llama(work, out) if program == "llama-quantize" else judge.by_organ(work, out, program == "organ-gptq", size)
            known[key] = judge.row(work, program, command, out)
            rows.append(known[key])
            write(options.lines, rows)


def table(rows):
    """Returns the lines of the page's table: for each recipe and model organ's KL divergence, and its ratio to the recipe's."""
    found = {key_of(row): float(row["kl"]) for row in rows}
    models = [name for name in MODELS if any(row["model"] == name and row["program"] == "organ" for row in rows)]
    works = sorted({row["work"] for row in rows if not row["work"].startswith("pure")}, key=lambda work: (MODELS["trained"][1] + [work]).index(work))
    lines = ["| bytes of | " + " | ".join(draw_bits.TITLES[name] for name in models) + " |", "|---|" + "--:|" * len(models)]
    for work in works:
        pairs = [(found.get((name, work, "organ")), found.get((name, work, "llama-quantize"))) for name in models]
        if any(all(pair) for pair in pairs):
            lines.append(f"| {work} | " + " | ".join(f"{own:.4f} ({own / their:.2f})" if own and their else "" for own, their in pairs) + " |")
    return lines


def draw(options, rows):
    page = options.page.read_text(encoding="utf-8")
    first, last = "<!-- recipes -->\n", "<!-- /recipes -->"
    options.page.write_text(page[:page.index(first) + len(first)] + "\n".join(table(rows)) + "\n" + page[page.index(last):], encoding="utf-8")
    draw_bits.draw(rows, options.lines.with_suffix(".svg"))


def main():
    options = arguments()
    if not options.draw:
        rows = read(options.lines)
        for name in options.models.split(","):
            measure(options, rows, name)
    if options.lines.exists():
        draw(options, read(options.lines))


if __name__ == "__main__":
    main()
