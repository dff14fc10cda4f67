#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the logits of converted models: transformers on a safetensors model, llama.cpp on the GGUF file that `organ convert --dtype f32` makes of it,
and transformers on the safetensors model that `organ convert` makes of that file.

    python3 bench/compare_logits.py [--write] [NAME...]
    python3 bench/compare_logits.py --pooling [MODEL]

NAME is a folder of fixtures/architectures; all by default. Prints a row for each: its name, architecture in GGUF, relative error of llama.cpp's logits,
relative error after the way back, and the warnings of the conversion or why there is no error. The relative error is the Frobenius norm of the difference divided
by that of transformers' logits, over all tokens of the fixture. "-": the model is not converted, or llama.cpp has no such architecture; the remark says
why. --write replaces the rows of fixtures/logits.tsv. Exits with 1 if an error is above 1e-3 and no warning of `organ convert` names the setting that
is lost or that llama.cpp does not apply. --pooling compares vectors of texts instead: transformers' hidden states pooled as sentence-transformers does (mean,
cls, last token), and llama.cpp on the file of the same model (fixtures/tiny-qwen2) with such a 1_Pooling/config.json. A model whose settings GGUF does not express is converted with those of fixtures/convert.tsv.

Needs torch, transformers 5.24, gguf and llama-cpp-python 0.3.36. All programs compute in FP32; llama.cpp has keys and values in F32, no flash attention
and no repacked weights. llama.cpp may end the process of a model that it refuses, so each model has its own process."""

import ctypes
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = os.environ["GGML_NO_BACKTRACE"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "fixtures"), str(ROOT / "bench")]

import compare_convert as converted
import gguf
import make_arch
import numpy as np
import torch
import transformers

TABLE = ROOT / "fixtures/logits.tsv"
MOST = 1e-3  # the largest relative error
TEXTS = ["a quiet harbour", "The ships left before dawn, and nobody counted them.", "x"]
POOLING = {"mean_tokens": lambda states: states.mean(0), "cls_token": lambda states: states[0], "lasttoken": lambda states: states[-1]}
HEADER = "# made by bench/compare_logits.py --write: name, architecture in GGUF, relative error of llama.cpp's logits, and after the way back, remark"


faults = []


class Refused(Exception):
    pass


@converted.llama.llama_log_callback
def keep_errors(level, words, data):
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        faults.append(words.decode(errors="replace").strip())


def organ(*words):
    done = subprocess.run([ROOT / "build/organ", *map(str, words)], capture_output=True, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        raise Refused(next((line for line in said.splitlines() if line.startswith("error: ")), said[-200:]))
    return [line.removeprefix("warning: ").strip() for line in said.splitlines() if line.startswith("warning: ")]


def convert(name, scratch, settings):
    """Returns the model, its GGUF file, and the notes of the conversion."""
    source, made = scratch / name, scratch / f"{name}.gguf"
    if not source.exists():
        subprocess.run([ROOT / "build/checks/arch_model", name, source], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    if settings:
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps({**config, **settings}))
    return source, made, organ("convert", source, "-o", made, "--to", "gguf", "--dtype", "f32", "--mmproj", "none")


def transformers_logits(name, folder, tokens, text=False):
    """text: the folder has the text model alone, as conversions to safetensors write it."""
    kind = transformers.AutoModelForCausalLM if text and name.split("-")[0] in make_arch.NESTED else make_arch.class_of(name)
    transformers.logging.disable_progress_bar()
    model, loaded = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation=make_arch.IMPLEMENTATIONS.get(name, "eager"),
                                         output_loading_info=True)
    # an unused tensor of the file is named by some classes only; a missing one gets random values
    missing = [key for key in loaded["missing_keys"] if not key.endswith("inv_freq")]
    with torch.no_grad():
        logits = model.eval()(torch.tensor([tokens]), use_cache=False).logits[0]
    return logits.double().numpy(), f"transformers misses {sorted(missing)[0]}" if missing else ""


def llama_logits(name, made, tokens, vocabulary):
    found = converted.llama_logits(made, tokens)
    if found is None:  # the tokenizer of a fixture may have no merges, which llama.cpp refuses
        faults.clear()
        bare = made.with_name(f"{name}-bare.gguf")
        converted.without_tokenizer(made, bare, vocabulary)
        found = converted.llama_logits(bare, tokens)
    if found is None:
        raise Refused("llama.cpp: " + next((line for line in faults if "error loading" in line), "cannot load the file"))
    return found.astype(np.float64)


def error_of(found, reference):
    width = min(found.shape[1], reference.shape[1])  # tables may have rows without a token
    return float(np.linalg.norm(found[:, :width] - reference[:, :width]) / np.linalg.norm(reference))


def tokens_of(name):
    rows = (ROOT / "fixtures/architectures" / name / "model.tsv").read_text().splitlines()
    return [int(row.split("\t")[1]) for row in rows if row.startswith("token\t")]


def row_of(name, scratch):
    row = [name, "-", "-", "-", ""]
    tokens = tokens_of(name)
    try:
        source, made, notes = convert(name, scratch, None)
    except Refused as first:
        settings = converted.settings_of(name)
        if not settings:
            row[4] = str(first)
            return row
        source, made, notes = convert(name, scratch, settings)
    row[1] = converted.gguf.GGUFReader(made).fields["general.architecture"].contents()
    row[4] = "; ".join(notes)
    if json.loads(made.with_name(made.stem + ".convert.json").read_text()).get("by_name"):
        row[4] = "llama.cpp has no such architecture"
        return row
    sparse, dense = converted.block_sparse(made)
    if sparse and dense:  # llama_logits attends to all blocks
        tokens = tokens[:sparse]
    reference, missing = transformers_logits(name, source, tokens)
    if missing:
        raise RuntimeError(f"{name}: {missing}")
    yield_row(row, 2, lambda: error_of(llama_logits(name, made, tokens, reference.shape[1]), reference))
    back = scratch / "back"
    try:
        organ("convert", made, "-o", back, "--to", "safetensors")
    except Refused as fault:
        row[4] = "; ".join(filter(None, [row[4], str(fault)]))
        return row
    logits, missing = transformers_logits(name, back, tokens, True)
    row[3] = f"{error_of(logits, reference):.1e}"
    row[4] = "; ".join(filter(None, [row[4], missing]))
    return row


def yield_row(row, column, measure):
    try:
        row[column] = f"{measure():.1e}"
    except Refused as fault:
        row[4] = "; ".join(filter(None, [row[4], str(fault)]))


def run(name, pipe):
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            row = row_of(name, Path(scratch))
        except Exception as fault:  # each model gets a row
            row = [name, "-", "-", "-", f"{type(fault).__name__}: {str(fault).splitlines()[0][:160] if str(fault) else ''}"]
        pipe.send([cell.replace(str(scratch) + "/", "").replace("\t", " ") for cell in row])


def row_in_own_process(name):
    end, other = multiprocessing.Pipe(False)
    process = multiprocessing.get_context("fork").Process(target=run, args=(name, other))
    process.start()
    other.close()
    try:
        row = end.recv()
    except EOFError:
        row = [name, "-", "-", "-", "llama.cpp ended the process"]
    process.join()
    return row


def is_wrong(row):
    lost = " lost: " in row[4]
    explained = lost or "llama.cpp computes" in row[4]
    return (row[2] != "-" and float(row[2]) > MOST and not explained) or (row[3] != "-" and float(row[3]) > MOST and not lost)


# ---- vectors of texts ----


def with_pooling(model, kind, scratch):
    """Returns a copy of the model with this pooling as a GGUF file."""
    copy, made = scratch / kind, scratch / f"{kind}.gguf"
    shutil.copytree(model, copy)
    width = json.loads((copy / "config.json").read_text())["hidden_size"]
    (copy / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": width, **{f"pooling_mode_{name}": name == kind for name in POOLING}}
    (copy / "1_Pooling/config.json").write_text(json.dumps(pooling))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    (copy / "modules.json").write_text(
        json.dumps([{"idx": k, "name": str(k), "path": path, "type": f"sentence_transformers.models.{what}"} for k, (path, what) in enumerate(modules)]))
    organ("convert", copy, "-o", made, "--to", "gguf", "--dtype", "f32")
    return made


def pooling_of(path):
    fields = gguf.GGUFReader(path).fields
    return next((int(field.parts[-1][0]) for name, field in fields.items() if name.endswith(".pooling_type")), None)


def compare_pooling(source):
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    model = transformers.AutoModel.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy() for text in TEXTS]
    wrong = False
    with tempfile.TemporaryDirectory() as scratch:
        for kind, pool in POOLING.items():
            made = with_pooling(source, kind, Path(scratch))
            program = converted.llama.Llama(str(made), embedding=True, n_ctx=256, n_batch=256, verbose=False)
            found = np.array([np.array(program.embed(text, normalize=False)) for text in TEXTS])
            expected = np.array([pool(state) for state in states])
            error = np.linalg.norm(found - expected) / np.linalg.norm(expected) if found.shape == expected.shape else np.inf
            wrong |= not error <= MOST
            print(f"{kind}\tpooling_type {pooling_of(made)}\t{error:.1e}", flush=True)
    return wrong


def main():
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, LlamaForCausalLM  # read once, before the processes are forked
    assert AutoModelForCausalLM and AutoModelForImageTextToText and LlamaForCausalLM
    converted.llama.llama_log_set(keep_errors, ctypes.c_void_p(0))
    if "--pooling" in sys.argv:
        return compare_pooling(Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "fixtures/tiny-qwen2")
    write = "--write" in sys.argv
    known = {row.split("\t")[0]: row for row in TABLE.read_text().splitlines() if not row.startswith("#")} if TABLE.exists() else {}
    names = [name for name in sys.argv[1:] if name != "--write"]
    names = names or sorted(path.parent.name for path in (ROOT / "fixtures/architectures").glob("*/model.tsv"))
    wrong = []
    for name in names:
        row = row_in_own_process(name)
        known[name] = "\t".join(row)
        if is_wrong(row):
            wrong.append(name)
        print(known[name], flush=True)
    if write:
        TABLE.write_text("\n".join([HEADER, *(known[name] for name in sorted(known))]) + "\n")
    print(f"{len(names) - len(wrong)} right, wrong: {' '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
