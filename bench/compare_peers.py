#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does the same work with organ, llm-compressor, GPTQModel, AutoRound, llama.cpp, mergekit and peft, and writes
docs/compare.tsv, the tables of docs/compare.md and docs/compare.svg.

Each job runs in a process of its own with one thread. The script records its processor time and peak memory, from start
to end, with loading and saving. `organ evaluate` then scores all outputs of a group on the held-out text; for some,
transformers or llama.cpp scores the output too. Jobs that have a line in the table are skipped; delete lines to measure
them again. Outputs stay in --work until the lines of their group are written. Both llama.cpp and organ quantise with the
imatrix of llama-imatrix; without llama.cpp among the programs organ makes it.

    python3 bench/compare_peers.py [--models DIR] [--python PYTHON] [--llama DIR] [--programs organ,mergekit] [--draw]

--models (or ORGAN_PUBLISHED) is the directory of bench/published.sh. --python (or PYTHON) has llmcompressor, mergekit and
llama-cpp-python, or auto-round, or gptqmodel: each program whose packages do not fit the others' can have
a run of its own with --programs. --llama (or LLAMA) is the directory of llama-quantize and llama-imatrix. The script itself needs only
the standard library. --draw writes only the tables. Run from the root of the repository."""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

import draw_compare

COLUMNS = ["group", "work", "program", "bytes", "seconds", "peak", "perplexity", "rise", "kl", "other", "made", "cpu", "date"]
HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = ["organ", "llm-compressor", "GPTQModel", "AutoRound", "llama.cpp", "mergekit", "peft"]
RANK, STEPS = "32", "16"

# Columns: work, program, command. `=` in front of the work: another program scores the output too. `?`: the program may fail.
JOBS = {
    "start": """
        start | organ | ORGAN version
        start | llm-compressor | PEER start llm-compressor
        start | GPTQModel | PEER start GPTQModel
        start | AutoRound | PEER start AutoRound
        start | peft | PEER start peft
        start | mergekit | MERGEKIT-yaml --help
        start | llama.cpp | LLAMA-imatrix --version""",
    "codes": """
        int4-groupSIZE, nearest | organ | ORGAN quantize DONOR -o OUT -s int4-groupSIZE
        int4-groupSIZE, nearest | llm-compressor | PEER compress nearest_SIZE DONOR TEXT WINDOWS OUT
        int4-groupSIZE, AWQ | llm-compressor | PEER compress awq_SIZE DONOR TEXT WINDOWS OUT ?
        int4-group128, GPTQ | organ | ORGAN quantize DONOR -o OUT -s int4-group128 --method gptq CALIBRATED
        int4-group128, GPTQ | llm-compressor | PEER compress gptq_128 DONOR TEXT WINDOWS OUT ?
        fp8, a scale a row | organ | ORGAN quantize DONOR -o OUT -s fp8-channel
        fp8, a scale a row | llm-compressor | PEER compress nearest_fp8 DONOR TEXT WINDOWS OUT
        int8, a scale a row, smoothed | organ | ORGAN quantize DONOR -o OUT -s int8-channel --smooth auto CALIBRATED
        int8, a scale a row, smoothed | llm-compressor | PEER compress smooth_w8a8 DONOR TEXT WINDOWS OUT""",
    "few": """
        int4-groupSIZE, GPTQ | organ | ORGAN quantize DONOR -o OUT -s int4-groupSIZE --method gptq CALIBRATED
        = int4-groupSIZE, GPTQ | llm-compressor | PEER compress gptq4_SIZE DONOR TEXT WINDOWS OUT float32
        = int4-groupSIZE, GPTQ | GPTQModel | PEER gptqmodel 4 SIZE DONOR TEXT WINDOWS OUT
        int4-groupSIZE, AutoRound | AutoRound | PEER round 4 SIZE DONOR TEXT WINDOWS OUT
        int3-groupSIZE, GPTQ | organ | ORGAN quantize DONOR -o OUT -s int3-groupSIZE --method gptq CALIBRATED
        int3-groupSIZE, GPTQ | llm-compressor | PEER compress gptq3_SIZE DONOR TEXT WINDOWS OUT float32
        = int3-groupSIZE, GPTQ | GPTQModel | PEER gptqmodel 3 SIZE DONOR TEXT WINDOWS OUT
        int3-groupSIZE, AutoRound | AutoRound | PEER round 3 SIZE DONOR TEXT WINDOWS OUT
        int2-groupSIZE, GPTQ | organ | ORGAN quantize DONOR -o OUT -s int2-groupSIZE --method gptq CALIBRATED
        int2-groupSIZE, GPTQ | llm-compressor | PEER compress gptq2_SIZE DONOR TEXT WINDOWS OUT float32
        = int2-groupSIZE, GPTQ | GPTQModel | PEER gptqmodel 2 SIZE DONOR TEXT WINDOWS OUT
        int2-groupSIZE, AutoRound | AutoRound | PEER round 2 SIZE DONOR TEXT WINDOWS OUT""",
    "zeros": """
        SparseGPT, 50 % | organ | ORGAN prune DONOR -o OUT --method sparsegpt --sparsity 50 CALIBRATED
        = SparseGPT, 50 % | llm-compressor | PEER compress sparsegpt_50 DONOR TEXT WINDOWS OUT
        Wanda, 50 % | organ | ORGAN prune DONOR -o OUT --method wanda --sparsity 50 CALIBRATED
        Wanda, 50 % | llm-compressor | PEER compress wanda_50 DONOR TEXT WINDOWS OUT
        physarum-v3, 50 % | organ | ORGAN prune DONOR -o OUT --method physarum-v3 --sparsity 50 CALIBRATED
        SparseGPT, 2:4 | organ | ORGAN prune DONOR -o OUT --method sparsegpt --pattern 2:4 CALIBRATED
        SparseGPT, 2:4 | llm-compressor | PEER compress sparsegpt_2:4 DONOR TEXT WINDOWS OUT""",
    "gguf": """
        imatrix | llama.cpp | LLAMA-imatrix -m GGUF -f TEXT -o OUT CHUNKS
        imatrix | organ | ORGAN perplexity GGUF -o OUT --write-imatrix --text TEXT SCORED
        Q4_0 | organ | ORGAN quantize GGUF -o OUT -s q4_0
        Q4_0 | llama.cpp | LLAMA-quantize PURE GGUF OUT Q4_0 1
        Q4_0, imatrix | organ | ORGAN quantize GGUF -o OUT -s q4_0 --imatrix IMATRIX
        = Q4_0, imatrix | llama.cpp | LLAMA-quantize PURE --imatrix IMATRIX GGUF OUT Q4_0 1
        Q4_K | organ | ORGAN quantize GGUF -o OUT -s q4_k
        Q4_K | llama.cpp | LLAMA-quantize PURE GGUF OUT Q4_K 1
        Q4_K, imatrix | organ | ORGAN quantize GGUF -o OUT -s q4_k --imatrix IMATRIX
        Q4_K, imatrix | llama.cpp | LLAMA-quantize PURE --imatrix IMATRIX GGUF OUT Q4_K 1
        Q4_K, GPTQ | organ | ORGAN quantize GGUF -o OUT -s q4_k --method gptq CALIBRATED
        Q4_K_M | llama.cpp | LLAMA-quantize GGUF OUT Q4_K_M 1
        Q4_K_M, imatrix | llama.cpp | LLAMA-quantize --imatrix IMATRIX GGUF OUT Q4_K_M 1
        IQ4_NL, imatrix | llama.cpp | LLAMA-quantize PURE --imatrix IMATRIX GGUF OUT IQ4_NL 1
        Q5_K | organ | ORGAN quantize GGUF -o OUT -s q5_k
        Q5_K | llama.cpp | LLAMA-quantize PURE GGUF OUT Q5_K 1
        Q6_K | organ | ORGAN quantize GGUF -o OUT -s q6_k
        Q6_K | llama.cpp | LLAMA-quantize PURE GGUF OUT Q6_K 1
        Q8_0 | organ | ORGAN quantize GGUF -o OUT -s q8_0
        Q8_0 | llama.cpp | LLAMA-quantize PURE GGUF OUT Q8_0 1""",
    "adapters": """
        extract, rank RANK | organ | ORGAN lora extract --base DONOR --tuned TUNED -o OUT --rank RANK
        extract, rank RANK | mergekit | MERGEKIT-extract-lora --model TUNED --base-model DONOR --out-path OUT --max-rank RANK --no-write-model-card EXCLUDED
        merge | organ | ORGAN lora merge --base DONOR --adapter ADAPTER -o OUT
        = merge | peft | PEER merge DONOR ADAPTER OUT
        merge | mergekit | MERGEKIT-yaml RECIPE OUT --no-write-model-card --lora-merge-cache CACHE""",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, default=pathlib.Path(os.environ.get("ORGAN_PUBLISHED", "~/.cache/organ-published")).expanduser())
    parser.add_argument("--model", default="smollm2.gguf", help="the model: a GGUF file or a directory in DIR")
    parser.add_argument("--calibration", default="calib.txt")
    parser.add_argument("--heldout", default="held.txt")
    parser.add_argument("--organ", default="build/organ")
    parser.add_argument("--python", default=os.environ.get("PYTHON", sys.executable))
    parser.add_argument("--llama", type=pathlib.Path, default=pathlib.Path(os.environ.get("LLAMA", "")))
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--groups", default=",".join(JOBS))
    parser.add_argument("--size", default="64", help="weights in a group of int4")
    parser.add_argument("--samples", default="32")
    parser.add_argument("--context", default="512")
    parser.add_argument("--tokens", default="20480")
    parser.add_argument("--judge-with", default="transformers,llama.cpp", help="other programs that score some outputs")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/compare"))
    parser.add_argument("--lines", type=pathlib.Path, default=pathlib.Path("docs/compare.tsv"))
    parser.add_argument("--page", type=pathlib.Path, default=pathlib.Path("docs/compare.md"))
    parser.add_argument("--draw", action="store_true")
    return parser.parse_args()


def ended(command, log, may_fail=False):
    """Runs the command. Returns (exit code, processor seconds, peak bytes), with its children."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
                   "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    with open(log, "w", encoding="utf-8") as out:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    if status and not may_fail:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{pathlib.Path(log).read_text(errors='replace')[-3000:]}")
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def told(command):
    return subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).stdout


def answer(command):
    return json.loads(told(command))


def last_answer(command):
    """Returns what the last line says; packages may write others before it."""
    return json.loads(told(command).splitlines()[-1])


def jobs_of(group, size):
    """Returns (work, program, command, scored by another program too) of each job."""
    rows = [[part.strip() for part in row.split(" | ")] for row in JOBS[group].strip().splitlines()]
    return [(work.removeprefix("= ").replace("SIZE", size).replace("RANK", RANK), program, line, work.startswith("= ")) for work, program, line in rows]


def key_of(row):
    return row["group"], row["work"], row["program"]


class Comparison:
    def __init__(self, options):
        self.o, self.work = options, options.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.text, self.heldout = options.models / options.calibration, options.models / options.heldout
        self.donor, self.gguf, self.tuned = self.work / "donor", self.work / "donor.gguf", self.work / "tuned"
        self.adapter, self.imatrix = self.work / "adapter", self.work / "imatrix.gguf"

    def organ(self, *words):
        return [self.o.organ, *words, "--threads", "1", "--memory", "512M", "--force", "--quiet"]

    def peer(self, *words):
        return [self.o.python, HERE / "peer_run.py", *words]

    def make(self, path, command):
        """Runs a preparation whose output is not there yet."""
        if not path.exists():
            print("prepares", path, file=sys.stderr, flush=True)
            ended(command, self.work / "log")

    def prepare(self, groups):
        """Makes what the jobs of the groups read."""
        source = self.o.models / self.o.model
        self.make(self.gguf, self.organ(*(["convert", source, "--to", "gguf"] if source.is_dir() else ["dequantize", source]), "-o", self.gguf))
        self.make(self.donor, self.organ("convert", self.gguf, "-o", self.donor, "--to", "safetensors"))
        if "adapters" in groups:
            self.make(self.tuned, self.peer("tune", self.donor, self.text, STEPS, self.o.context, self.tuned))
            self.make(self.adapter, self.organ("lora", "extract", "--base", self.donor, "--tuned", self.tuned, "-o", self.adapter, "--rank", RANK))
            (self.work / "merge.yaml").write_text(f"merge_method: passthrough\ndtype: bfloat16\nmodels:\n  - model: {self.donor.resolve()}+{self.adapter.resolve()}\n")
        if "gguf" in groups and "llama.cpp" in self.o.programs:
            self.make(self.imatrix, [self.o.llama / "llama-imatrix", "-m", self.gguf, "-f", self.text, "-o", self.imatrix, *self.chunks()])
        elif "gguf" in groups:
            made = self.work / "made"
            self.make(made, self.organ("perplexity", self.gguf, "-o", made, "--write-imatrix", "--text", self.text, *self.scored()))
            shutil.copy(made / "imatrix.gguf", self.imatrix)

    def scored(self):
        return ["--context", self.o.context, "--max-tokens", str(int(self.o.samples) * int(self.o.context))]

    def chunks(self):
        return ["-c", self.o.context, "--chunks", self.o.samples, "-t", "1", "-tb", "1", "-ngl", "0"]

    def command(self, line, out):
        """Returns the words of a job."""
        tools = pathlib.Path(self.o.python).parent
        places = {"DONOR": [self.donor], "GGUF": [self.gguf], "TUNED": [self.tuned], "ADAPTER": [self.adapter], "IMATRIX": [self.imatrix], "OUT": [out],
                  "TEXT": [self.text], "WINDOWS": [self.o.samples, self.o.context], "RECIPE": [self.work / "merge.yaml"], "CACHE": [self.work / "cache"], "RANK": [RANK],
                  "CALIBRATED": ["--calibration", self.text, "--samples", self.o.samples, "--context", self.o.context],
                  "SCORED": self.scored(),
                  "CHUNKS": self.chunks(), "PURE": ["--pure", "--token-embedding-type", "q8_0"], "EXCLUDED": ["-e", "embed_tokens", "-e", "lm_head"]}
        words = []
        for word in line.replace("SIZE", self.o.size).split():
            if word.startswith(("MERGEKIT-", "LLAMA-")):
                words.append(tools / word.lower() if word.startswith("M") else self.o.llama / word.lower())
            else:
                words += places.get(word, [word])
        if words[0] == "ORGAN":
            return self.organ(*words[1:]) if words[1] != "version" else [self.o.organ, "version"]
        return self.peer(*words[1:]) if words[0] == "PEER" else words

    def run_group(self, group, known):
        """Runs the jobs of a group that have no line yet and returns their lines."""
        jobs, judged = [], {"codes": self.donor, "few": self.donor, "zeros": self.donor, "gguf": self.gguf, "adapters": self.tuned}.get(group)
        for number, (work, program, line, other) in enumerate(jobs_of(group, self.o.size)):
            job = {"group": group, "work": work, "program": program}
            if program not in self.o.programs.split(",") or key_of(job) in known:
                continue
            out = self.work / f"{group}-{number}{'.gguf' if group == 'gguf' and work != 'imatrix' or line.startswith('LLAMA-imatrix') else ''}"
            job.update(self.run(self.command(line.removesuffix("?"), out), out, line.endswith("?")))
            judge = out if group != "adapters" or not work.startswith("extract") else self.merged(out)
            job.update(made=self.made(program), cpu=cpu_name(), date=datetime.date.today().isoformat())
            jobs.append((job, None if group == "start" or work == "imatrix" or job["bytes"] == "failed" else judge, other))
        self.judge(judged, [(job, out, other) for job, out, other in jobs if out])
        for path in self.work.glob(f"{group}-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        lines = [job for job, _, _ in jobs]
        print("\n".join(table(group, lines)), flush=True)
        return lines

    def made(self, program):
        """Returns the versions of a program and of what it computes with."""
        if program == "organ":
            return "organ " + answer([self.o.organ, "inspect", self.gguf, "--json"])["organ"]
        if program == "llama.cpp":
            said = subprocess.run([self.o.llama / "llama-imatrix", "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
            return "llama.cpp " + re.search(r"version: (.*)", said)[1]
        return ", ".join(f"{name} {version}" for name, version in last_answer(self.peer("versions", program)).items())

    def run(self, command, out, may_fail):
        """Returns the costs of a job. They are kept next to its output, so that an interrupted comparison goes on."""
        note = out.with_name(out.name + ".json")
        if not note.exists():
            print(" ".join(map(str, command)), file=sys.stderr, flush=True)
            shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
            code, seconds, peak = ended(command, self.work / "log", may_fail)
            note.write_text(json.dumps({"seconds": seconds, "peak": peak, "bytes": "failed" if code and not out.exists() else ""}))
        return json.loads(note.read_text())

    def merged(self, adapter):
        """Returns the model that organ makes of an adapter, to score it."""
        out = adapter.with_name(adapter.name + "-merged")
        self.make(out, self.organ("lora", "merge", "--base", self.donor, "--adapter", adapter, "-o", out))
        return out

    def judge(self, donor, jobs):
        if not jobs:
            return
        scored = ["--text", self.heldout, "--context", self.o.context, "--max-tokens", self.o.tokens]
        names = [part for _, out, _ in jobs for part in ("--experiment", f"{out.name}={out}")]
        report = answer([self.o.organ, "evaluate", "--activations", "on", donor, *(out for _, out, _ in jobs), *scored, *names, "--json", "--quiet"])
        for (job, out, other), model in zip(jobs, report["models"][1:], strict=True):
            adapter = out.name.endswith("-merged") and out.with_name(out.name.removesuffix("-merged")) / "adapter_model.safetensors"
            job.update(bytes=adapter.stat().st_size if adapter else model["model"]["bytes"], perplexity=model["figures"]["perplexity"],
                       rise=100 * (model["comparison"]["ratio"] - 1), kl=model["comparison"]["kl_divergence"])
            if other and ("llama.cpp" if out.suffix == ".gguf" else "transformers") in self.o.judge_with:
                job["other"] = last_answer(self.peer("score", out, self.heldout, self.o.context, self.o.tokens))["perplexity"]


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        said = dict(line.split(":", 1) for line in file if ":" in line)
    said = {name.strip(): value.split() for name, value in said.items()}
    sets = [name.upper().replace("_", "-") for name in ("avx512_bf16", "avx512f", "avx2") if name in said.get("flags", [])]
    return ", ".join([" ".join(said.get("model name", [platform.machine()])), *sets[:1]])


def read(lines):
    if not lines.exists():
        return []
    rows = [line.split("\t") for line in lines.read_text(encoding="utf-8").splitlines()]
    return [dict(zip(COLUMNS, row)) for row in rows]


def write(lines, rows, size):
    """Writes the rows in the order of JOBS."""
    order = [(group, work, program) for group in JOBS for work, program, _, _ in jobs_of(group, size)]
    ordered = sorted(rows, key=lambda row: order.index(key_of(row)))
    lines.write_text("".join("\t".join(str(row.get(column, "")) for column in COLUMNS) + "\n" for row in ordered), encoding="utf-8")


def newest(rows):
    """Returns the processor on which the newest row was measured."""
    return max(rows, key=lambda row: row["date"])["cpu"] if rows else ""


def versions(rows):
    """Returns the table of what made the rows."""
    order = {program: k for k, program in enumerate(PROGRAMS)}
    found = sorted({(order[row["program"]], row["made"], row["cpu"], row["date"]) for row in rows}, key=lambda one: (one[0], one[3], one))
    return ["| made with | processor | date |", "|---|---|---|"] + [f"| {made} | {cpu} | {date} |" for _, made, cpu, date in found]


def cells(row, cpu):
    """Returns the cells of a row of the page; a star follows a time that another processor than `cpu` took."""
    def real(name, form):
        return form % float(row[name]) if row.get(name) not in (None, "") else ""
    if row["bytes"] == "failed":
        return [row["work"], row["program"], "failed", "", "", "", ""]
    size = "" if row["bytes"] == "" else "%.1f" % (float(row["bytes"]) / 1e6)
    return [row["work"], row["program"], size, real("rise", "%+.2f"), real("kl", "%.4f"), real("seconds", "%.1f") + ("" if row["cpu"] == cpu else "\\*"),
            "%.0f" % (float(row["peak"]) / 1e6)]


def table(group, rows):
    """Returns the lines of the table of a group."""
    cpu = newest(rows)
    rows = [cells(row, cpu) for row in rows if row["group"] == group]
    if group == "start":
        return ["| program | processor time, s | memory, MB |", "|---|--:|--:|"] + ["| %s | %s | %s |" % (row[1], row[5], row[6]) for row in rows]
    head = ["| work | program | tensors, MB | perplexity, % | KL | processor time, s | memory, MB |", "|---|---|--:|--:|--:|--:|--:|"]
    return head + ["| " + " | ".join(row) + " |" for row in rows]


def judges(rows):
    """Returns the table of outputs that two programs scored."""
    head = ["| output | organ evaluate | other program |", "|---|--:|--:|"]
    return head + ["| %s by %s | %.4f | %.4f (%s) |" % (row["work"], row["program"], float(row["perplexity"]), float(row["other"]),
                                                      "llama.cpp" if row["group"] == "gguf" else "transformers") for row in rows if row.get("other")]


def draw(page, rows):
    text = page.read_text(encoding="utf-8")
    for name, lines in {"versions": versions(rows), **{group: table(group, rows) for group in JOBS}, "judges": judges(rows)}.items():
        first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        text = text[:text.index(first) + len(first)] + re.sub(r" *\| *", "|", "\n".join(lines)) + "\n" + text[text.index(last):]
    page.write_text(text, encoding="utf-8")
    draw_compare.draw(rows, page.with_suffix(".svg"))


def main():
    options = arguments()
    rows = read(options.lines)
    if not options.draw:
        comparison, groups = Comparison(options), options.groups.split(",")
        comparison.prepare(groups)
        for group in groups:
            rows += comparison.run_group(group, set(map(key_of, rows)))
            write(options.lines, rows, options.size)
        rows = read(options.lines)
    draw(options.page, rows)


if __name__ == "__main__":
    main()
