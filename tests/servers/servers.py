#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Opens outputs of organ in real servers and compares what they compute with what organ predicts: `ninja test-servers`.

  SERVERS="vllm peft" OUTPUTS="int4-.*" MODELS="llama" servers.py

SERVERS names rows of servers.tsv (default: all), OUTPUTS is a pattern of outputs, MODELS names models of make_models.py; MISSING=yes leaves out what
docs/opens.tsv has. RULES=yes opens nothing, and only compares the rows of the table with `organ inspect --for`. The rows of docs/opens.tsv are replaced as
they are measured; those of outputs that forms.tsv no longer has go. For each output of forms.tsv and each model, the mean negative log-likelihood of a
text is compared with that of `organ perplexity`, by the bounds of bounds.tsv. The verdict is one of:

  opens                     the server computes what organ predicts
  opens, reference kernel   the server reads the weights right, and kernels of vllm_kernels.py multiply them
  differs                   the server loads the output and computes another figure
  refuses                   the server ends with a message
  not run                   its build for CPUs cannot run it
  not written               organ writes no such output of the model

A cell fails if docs/opens.tsv has another verdict for it, or has none and the output does not open; also if `organ inspect --for` says otherwise. A server
whose packages cannot be had is skipped. Ends with the line "N passed, N failed".
"""
import datetime
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import outputs
import venvs

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs/opens.tsv"
HEAD = "output\tmodel\tserver\tversion\tverdict\tfigure\tdate\tnote\n"
# Messages of vLLM that name no fault of an output, but a kernel which its build for CPUs lacks.
NO_KERNEL = re.compile(r"Failed to find a kernel|No compressed-tensors compatible scheme|Marlin FP4 not available|Marlin does not support|MoE backend"
                       r"|static_scaled_fp8_quant|narrow\(\) cannot be applied|'CPU' backend|triton|requires (?:AMX|x86)|_C' object has no attribute", re.I)
OPEN = ("opens", "opens, reference kernel")


class Server:
    """A process of open_*.py, which begins with the first request."""

    def __init__(self, name, row, place):
        self.name, self.row, self.log, self.errors, self.process = name, row, place / f"{name}.log", place / f"{name}.err", None

    def begin(self):
        environment = dict(os.environ, HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", PYTHONDONTWRITEBYTECODE="1", MISTRALRS_CPU_KV_F32="1", TOKENIZERS_PARALLELISM="false")
        self.process = subprocess.Popen([venvs.python_of(self.name), ROOT / "tests/servers" / self.row.program], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=open(self.errors, "w"), text=True, env=environment)

    def ask(self, request):
        if not self.process:
            self.begin()
        self.process.stdin.write(json.dumps(dict(request, log=str(self.log))) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer else {"error": "the server's process ended"}

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def bound_of(server, form, model):
    """Returns the bound of the first row of bounds.tsv that matches, and whether organ predicts rounded inputs ("on" or "off")."""
    for name, pattern, activations, bound, _ in venvs.rows_of("bounds.tsv"):
        if name == server and re.fullmatch(pattern, f"{form} {model}"):
            return float(bound), activations
    raise SystemExit(f"bounds.tsv has no row for {form} {model} in {server}")


def core(message):
    """Returns the part of a server's message that names the cause, without paths of this machine."""
    message = re.sub(r"(?:/[\w.+~-]+){2,}/?", "PATH", message)
    message = re.sub(r"\s+0: <.*", "", message)
    message = re.sub(r"^RuntimeError: (?=\w+Error: )", "", message)
    message = re.sub(r" at line \d+ column \d+", "", message)
    message = re.sub(r"\s+", " ", message).replace("\t", " ").strip()
    return message if len(message) <= 200 else message[:197] + "..."


def judged(server, maker, form, model, output):
    """Returns verdict, figure and note of a server for an output."""
    tokens = server.row.tokens
    bound, activations = bound_of(server.name, form.name, model)
    request = {"path": str(output.path), "ids": maker.ids[:tokens], "words": maker.words[:tokens]}
    if output.base:
        request.update(path=str(output.base), base=str(output.base), adapter=str(output.path))
    if form.kind == "gguf":
        request["tokenizer"] = str(maker.plain(model, "base"))
    answer = server.ask(request)
    reason = core(answer.get("error", ""))
    if "error" in answer and server.name == "vllm" and NO_KERNEL.search(answer["error"]):
        answer = server.ask(dict(request, kernels="reference"))
        if "error" in answer:
            return "not run", "", f"vLLM's build for CPUs: {reason}"
    elif "error" in answer:
        return ("not run" if "only supported on CUDA" in reason else "refuses"), "", reason
    predicted = maker.nll(output.merged, tokens, activations)
    difference = answer["nll"] - predicted
    note = answer.get("note", "") if not reason else f"{answer.get('note', '')}; without it: {reason}"
    if not abs(difference) <= bound:
        other = maker.nll(output.merged, tokens, "off" if activations == "on" else "on")
        near = abs(answer["nll"] - other) <= bound and other != predicted
        return "differs", f"{difference:+.5f}", ("as organ predicts with --activations " + ("off" if activations == "on" else "on")) if near else note
    return OPEN[bool(reason)], f"{difference:+.5f}", note


def told(server, output):
    """Returns the verdict of `organ inspect --for` on an output, or "" if it has none for the server."""
    if not server.row.called or output.base:
        return ""
    document = json.loads(outputs.organ("inspect", output.path, "--for", server.row.called, "--json", "-q"))
    return document["readers"][0]["verdict"]


def contradicts(told, verdict):
    """Returns whether organ says that a program opens what it did not open, or the reverse. "not run" says nothing."""
    return told not in ("", "not run") and not verdict.startswith("not ") and (told == "opens") != (verdict in OPEN)


def ruled(server, maker, form, model, old):
    """Returns the row of the table as it is, and whether `organ inspect --for` contradicts it."""
    try:
        said = told(server, maker.make(form, model))
    except outputs.Unmade:
        said = ""
    return old, f"organ inspect --for {server.row.called} says: {said}" if contradicts(said, old[4]) else ""


def cell_of(server, maker, form, model):
    """Returns the row of the table for one output, and what is wrong with it: a disagreement with `organ inspect --for`, or nothing."""
    wrong = ""
    try:
        output = maker.make(form, model)
        verdict, figure, note = judged(server, maker, form, model, output)
        said = told(server, output)
        if contradicts(said, verdict):
            wrong = f"organ inspect --for {server.row.called} says: {said}"
    except outputs.Unmade as reason:
        verdict, figure, note = "not written", "", core(str(reason).removeprefix("error: "))
    return (form.name, model, server.name, server.row.version, verdict, figure, datetime.date.today().isoformat(), note), wrong


def forms_of(name):
    forms = [outputs.Form(row[0], row[1], row[2].split(","), row[3], row[4]) for row in venvs.rows_of("forms.tsv")]
    chosen = os.environ.get("OUTPUTS") or ".*"
    return [form for form in forms if name in form.servers and re.fullmatch(chosen, form.name)]


def table():
    if not TABLE.exists():
        return {}
    rows = [tuple(line.rstrip("\n").split("\t")) for line in open(TABLE)][1:]
    return {row[:3]: row for row in rows}


def update_table(cell):
    """Replaces one row of docs/opens.tsv. Several drivers may do so at the same time."""
    with open(venvs.PLACE / "table.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_table({**table(), cell[:3]: cell})


def write_table(rows):
    orders = [form[0] for form in venvs.rows_of("forms.tsv")], list(venvs.servers())
    models = ["llama", "qwen2", "gemma3", "qwen3_moe", "lfm2"]
    rows = {key: row for key, row in rows.items() if key[0] in orders[0] and key[2] in orders[1]}
    order = sorted(rows.values(), key=lambda row: (orders[1].index(row[2]), orders[0].index(row[0]), models.index(row[1])))
    whole = TABLE.with_suffix(".new")
    whole.write_text(HEAD + "".join("\t".join(row) + "\n" for row in order))
    whole.rename(TABLE)


def tried(name, maker, before):
    """Tries all outputs in a server. Returns the numbers of good and bad cells."""
    row = venvs.servers()[name]
    server = Server(name, row, venvs.PLACE / "work")
    count, good, bad, start = 0, 0, 0, time.time()
    for form in forms_of(name):
        for model in maker.models if form.models == "*" else form.models.split(","):
            if os.environ.get("MODELS") and model not in os.environ["MODELS"].split():
                continue
            if os.environ.get("MISSING") and (form.name, model, name) in before:
                continue
            old = before.get((form.name, model, name))
            if os.environ.get("RULES"):
                if not old:
                    continue
                cell, wrong = ruled(server, maker, form, model, old)
            else:
                cell, wrong = cell_of(server, maker, form, model)
                update_table(cell)
            count += 1
            if not wrong and (old[4] != cell[4] if old else cell[4] not in OPEN):
                wrong = f"docs/opens.tsv says {old[4]}" if old else "docs/opens.tsv does not have it"
            good, bad = (good, bad + 1) if wrong else (good + 1, bad)
            print(("FAILED " if wrong else "") + " | ".join(cell) + (f" | {wrong}" if wrong else ""), flush=True)
    server.close()
    print(f"{name}: {count} outputs in {time.time() - start:.0f} s", flush=True)
    return good, bad


def made_models():
    """Returns the folder of the models, which it makes unless they are there."""
    folder, part = venvs.PLACE / "work/models", venvs.PLACE / f"work/models.{os.getpid()}"
    if not folder.exists():
        venvs.made("transformers")
        part.mkdir(parents=True)
        with open(part / "log", "w") as log:
            venvs.run(log, venvs.python_of("transformers"), ROOT / "tests/servers/make_models.py", part / "made")
        (part / "made").rename(folder)
        shutil.rmtree(part)
    return folder


def main():
    chosen = os.environ.get("SERVERS", "").split() or list(venvs.servers())
    unknown = [name for name in chosen if name not in venvs.servers()]
    if unknown:
        sys.exit(f"tests/servers/servers.tsv has no server '{unknown[0]}'")
    good = bad = 0
    for name in chosen:
        try:
            venvs.made(name)
            models = made_models()
        except venvs.Missing as reason:
            print(f"skipped: {name}: {reason}", flush=True)
            continue
        with tempfile.TemporaryDirectory(dir=venvs.PLACE / "work") as place:
            passed, failed = tried(name, outputs.Maker(models, place), table())
        good, bad = good + passed, bad + failed
    print(f"{good} passed, {bad} failed")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
