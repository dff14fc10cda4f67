#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares `organ quantize` for GGUF models with llama-quantize at equal bytes. llama.cpp itself is the judge.

For each recipe of llama-quantize (Q4_K_M, IQ4_XS, ...) the script writes the recipe's file, and with organ `--scheme mixed` of the same
size; "organ-recipe" and "organ-gptq" rows have the recipe's own types, with nearest codes and by GPTQ. "pure" rows compare one type for
all matrices but the embeddings (Q6_K), by llama-quantize and by organ with and without GPTQ. All use one imatrix of llama-imatrix.
llama-perplexity then measures the KL divergence from the donor, an F32 file, on the held-out text. Rows that are in the table are
skipped; delete lines to measure them again. `seconds` is processor time; the first organ row of a model includes the measurements, which
--work keeps.

    python3 bench/compare_recipes.py --llama DIR [--trained DIR] [--models smollm2,trained] [--works "Q4_K_M,pure Q3_K"] [--draw]

DIR (or LLAMA) has llama-quantize, llama-imatrix and llama-perplexity of llama-cpp-python 0.3.36's source package. --published (or
ORGAN_PUBLISHED) is the directory of bench/published.sh; --trained (or TRAINED) the model of bench/train_model.py. Without one of them
the script says which rows it skips. The published models were quantised before: their donors are the dequantised values.
The model tiny-hybrid is that of fixtures, with the texts of tiny-qwen2. Writes docs/bits.tsv, docs/bits.svg and the tables of
docs/quality.md, one of them for recipes below 2.5 bits; --draw writes only the latter two. Standard library only."""
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


LOW = ["IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"]  # recipes below 2.5 bits
LOW_TYPES = ",iq2_xs,iq2_xxs,iq1_m,iq1_s,q2_0,q1_0"  # for the bytes of LOW, besides the types of a list in Plan.options


class Plan:
    """What is measured of a model: windows of calibration, works, those that organ also writes in the recipe's types, organ's options."""

    def __init__(self, samples, works, same_types, *options):
        self.samples, self.works, self.same_types, self.options = samples, works, same_types, options


# organ's options leave out the types of the source; recipes that store the source in its own types say nothing. Of Gemma 63 % are the
# embedding, which every recipe stores as Q8_0, the source's type; there organ does too.
MODELS = {
    "smollm2": Plan("32", ["IQ4_XS", "Q3_K_M"], [], "--types", "q2_k,q3_k,q4_0,q4_k,q5_0,q5_1,q5_k,q6_k,iq4_nl,iq4_xs,iq3_s,iq3_xxs,iq2_s"),
    "gemma3": Plan("16", ["IQ4_XS", "Q3_K_S"], [], "--types", "q2_k,q3_k,q4_0,q4_1,q5_1,q5_k,iq4_nl,iq4_xs,iq3_s,iq3_xxs,iq2_s",
                   "--type-of", "token_embd.weight=q8_0", "--allocate-layers", "3", "--allocate-tokens", "512"),
    "trained": Plan("32", ["Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_L", "Q3_K_M", "IQ3_M", "IQ3_XXS", "Q2_K", "IQ2_M",
                           *LOW, "pure IQ4_XS", "pure Q3_K", "pure IQ3_S", "pure Q2_K"], ["Q3_K_M", *LOW], "--allocate-layers", "4", "--allocate-tokens", "1024"),
    "tiny-hybrid": Plan("32", LOW, LOW, "--allocate-layers", "4", "--allocate-tokens", "1024"),
}
FIXTURE = pathlib.Path("fixtures/tiny-hybrid")
FIXTURE_TEXTS = pathlib.Path("fixtures/tiny-qwen2/calibration.txt"), pathlib.Path("fixtures/tiny-qwen2/heldout.txt")

# llama-perplexity prints in a thread and does not wait for it at its end, so that the last lines of a quick run are lost. This runs its
# main function and then gives the thread a second.
PERPLEXITY = """import ctypes, sys, time
words = [word.encode() for word in sys.argv[1:]]
ctypes.CDLL(sys.argv[1])._Z16llama_perplexityiPPc(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None))
time.sleep(1)"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=pathlib.Path, default=pathlib.Path(os.environ.get("ORGAN_PUBLISHED", "~/.cache/organ-published")).expanduser())
    parser.add_argument("--trained", type=pathlib.Path, default=os.environ.get("TRAINED") or None)
    parser.add_argument("--llama", type=pathlib.Path, default=pathlib.Path(os.environ.get("LLAMA", "")))
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--works", help="only these recipes and types; others than those of MODELS are possible")
    parser.add_argument("--programs", default="llama-quantize,organ,organ-recipe,organ-gptq")
    parser.add_argument("--calibration", default="calib.txt")
    parser.add_argument("--held", default="held.txt")
    parser.add_argument("--samples", help="windows of calibration; default: those of MODELS")
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


def source_of(options, name):
    return {"trained": options.trained, "tiny-hybrid": FIXTURE}.get(name, options.published / f"{name}.gguf")


def lacking(options, name):
    """Returns what the measurement of a model needs and does not have, or nothing."""
    if not shutil.which(options.llama / "llama-perplexity"):
        return "LLAMA=DIRECTORY, in which llama-quantize, llama-imatrix and llama-perplexity are"
    source = source_of(options, name)
    if source and source.exists():
        return None
    return "TRAINED=DIRECTORY, the model of bench/train_model.py" if name == "trained" else "ORGAN_PUBLISHED=DIRECTORY, by bench/published.sh"


class Judge:
    """The donor of one model, its imatrix and its logits."""

    def __init__(self, options, name):
        self.o, self.name, self.work = options, name, options.work / name
        self.log = self.work / f"log-{os.getpid()}"
        self.work.mkdir(parents=True, exist_ok=True)
        self.plan, self.samples = MODELS[name], options.samples or MODELS[name].samples
        self.text, self.held = FIXTURE_TEXTS if name == "tiny-hybrid" else (options.published / options.calibration, options.published / options.held)
        self.donor, self.imatrix, self.logits = self.work / "donor.gguf", self.work / "imatrix.gguf", self.work / "logits"
        source, plain = source_of(options, name), self.work / "plain.gguf"
        self.make(plain, self.organ("convert", source, "--to", "gguf") if source.is_dir() else self.organ("dequantize", source))
        self.make(self.donor, [options.llama / "llama-quantize", plain], None, ["F32", "1"])
        self.make(self.imatrix, self.llama("imatrix", self.donor, "-f", self.text, "--chunks", self.samples, "--no-ppl"))
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
        # Rows of 576 and 640 have no whole blocks of Q6_K: llama-quantize crashes, organ takes Q8_0.
        head = "q6_k" if self.name == "trained" else "q8_0"
        return [self.o.llama / "llama-quantize", *(["--pure", "--token-embedding-type", head, "--output-tensor-type", head] if pure else []),
                "--imatrix", self.imatrix, self.donor, out, "MXFP4_MOE" if name == "MXFP4" else name, "1"]

    def by_organ(self, work, out, program, size):
        pure, _, name = work.rpartition(" ")
        calibrated = ["--calibration", self.text, "--samples", self.samples, "--context", self.o.context]
        scheme = [name if pure else f"recipe:{name}"]
        if program == "organ-gptq":
            scheme += ["--method", "gptq", *calibrated]
        elif program == "organ" and not pure:
            options = [option + LOW_TYPES if work in LOW and "," in option else option for option in self.plan.options]
            scheme = ["mixed", "--target-size", str(size), *options, "--allocation", self.work / "measured", *calibrated]
        return self.organ("quantize", self.donor, "-o", out, "--imatrix", self.imatrix, "--scheme", scheme[0].lower(), *scheme[1:])

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


def missing(options, rows, name):
    """Returns the pairs of work and program of one model that have no row."""
    plan, known = MODELS[name], {key_of(row) for row in rows}
    pairs = [(work, program) for work in (options.works.split(",") if options.works else plan.works)
             for program in ["llama-quantize", "organ"] + (["organ-recipe"] if work in plan.same_types else []) +
             (["organ-gptq"] if work.startswith("pure ") or work in plan.same_types else [])]
    return [pair for pair in pairs if (name, *pair) not in known and pair[1] in options.programs.split(",")]


def measure(options, rows, name):
    """Adds the missing rows of one model."""
    pairs = missing(options, rows, name)
    lack = lacking(options, name) if pairs else None
    if lack:
        print(f"skipped: {len(pairs)} rows of {name}; to measure them: {lack}")
    if lack or not pairs:
        return
    judge = Judge(options, name)
    for work, program in pairs:
        out = judge.work / f"{work.replace(' ', '-')}.{program}.gguf"
        size = next((row["bytes"] for row in rows if key_of(row) == (name, work, "llama-quantize")), None)
        rows.append(judge.row(work, program, judge.by_llama(work, out) if program == "llama-quantize" else judge.by_organ(work, out, program, size), out))
        write(options.lines, rows)


def table(rows):
    """Returns the lines of the page's table: for each recipe and model organ's KL divergence, and its ratio to the recipe's."""
    found = {key_of(row): float(row["kl"]) for row in rows}
    models = [name for name in draw_bits.TITLES if any(row["model"] == name and row["program"] == "organ" for row in rows)]
    works = sorted({row["work"] for row in rows if not row["work"].startswith("pure")} - set(LOW), key=lambda work: (MODELS["trained"].works + [work]).index(work))
    lines = ["| bytes of | " + " | ".join(draw_bits.TITLES[name] for name in models) + " |", "|---|" + "--:|" * len(models)]
    for work in works:
        pairs = [(found.get((name, work, "organ")), found.get((name, work, "llama-quantize"))) for name in models]
        if any(all(pair) for pair in pairs):
            lines.append(f"| {work} | " + " | ".join(f"{own:.4f} ({own / their:.2f})" if own and their else "" for own, their in pairs) + " |")
    return lines


def low_table(rows, model):
    """Returns the lines of a model's table of recipes below 2.5 bits: for each the bits of a weight, then for each program the KL divergence and
    the rise of the perplexity."""
    programs = {"llama-quantize": "llama-quantize", "organ-recipe": "recipe", "organ-gptq": "gptq", "organ": "mixed"}
    found = {key_of(row): row for row in rows}
    lines = ["| bytes of | bits | " + " | ".join(programs.values()) + " |", "|---|" + "--:|" * (1 + len(programs))]
    for work in LOW:
        cells = [found.get((model, work, program)) for program in programs]
        if cells[0] and any(cells[1:]):
            lines.append(f"| {work} | {float(cells[0]['bpw']):.2f} | " +
                         " | ".join(f"{float(row['kl']):.4f}/{float(row['rise']):.1f}" if row else "" for row in cells) + " |")
    return lines


def put(page, name, lines):
    """Returns the page with the lines between <!-- name --> and <!-- /name -->."""
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    return page[:page.index(first) + len(first)] + re.sub(r" *\| *", "|", "\n".join(lines)) + "\n" + page[page.index(last):]


def draw(options, rows):
    page = put(options.page.read_text(encoding="utf-8"), "recipes", table(rows))
    for model in "trained", "tiny-hybrid":
        page = put(page, f"low {model}", low_table(rows, model))
    options.page.write_text(page, encoding="utf-8")
    draw_bits.draw([row for row in rows if row["work"] not in LOW], options.lines.with_suffix(".svg"))


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
