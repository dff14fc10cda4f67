# SPDX-License-Identifier: MIT
"""Makes outputs of organ for the driver of `ninja test-servers`, and asks organ what a server computes with them."""
import collections
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ORGAN = os.environ.get("ORGAN") or str(ROOT / "build/organ")
FIXTURE = ROOT / "fixtures/tiny-qwen2"
# A row of forms.tsv. `kind` is model (a directory), gguf or adapter.
Form = collections.namedtuple("Form", "name kind servers models commands")
# What a server gets: `path` of a model or file, or an adapter at `path` for the model at `base`. `merged` is the model that organ scores.
Output = collections.namedtuple("Output", "path base merged")


class Unmade(Exception):
    """organ makes no such output."""


def organ(*words):
    done = subprocess.run([ORGAN, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        errors = [line for line in done.stderr.split("\n") if line.startswith("error: ")]
        raise Unmade((errors or [done.stderr.strip() or f"organ {words[0]} ends with {done.returncode}"])[0])
    return done.stdout


def remove(path):
    """Removes an output, with what organ writes beside it."""
    path = Path(path)
    for entry in path.parent.glob(path.name.removesuffix(".gguf") + "*"):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


class Maker:
    """Outputs in the folder `place`, of the models of make_models.py in the folder `models`."""

    def __init__(self, models, place):
        self.place = Path(place)
        self.models = {path.name: path for path in sorted(models.iterdir()) if not path.name.endswith("-lora")}
        self.text, self.ids, self.words = self.write_text()

    def write_text(self):
        """Writes a text of whole words, each of them one token, so that any beginning of it has the first of these tokens."""
        vocabulary = json.loads((FIXTURE / "tokenizer.json").read_text())["model"]["vocab"]
        words = sorted(word for word in vocabulary if re.fullmatch("\u0120[a-z]{2,}", word))
        random.Random(1).shuffle(words)
        words = words[:256]
        text = self.place / "text.txt"
        text.write_text("".join(word.replace("\u0120", " ") for word in words))
        ids = [vocabulary[word] for word in words]
        found = [int(word) for word in organ("tokenize", FIXTURE, "--text", text, "--ids").split()]
        if found != ids:
            raise SystemExit("organ tokenize finds other ids in the text than one for each word")
        return text, ids, [word.replace("\u0120", " ") for word in words]

    def plain(self, model, kind):
        """Returns the model as a GGUF file in BF16, or as the directory that organ makes of this file."""
        gguf, base = self.place / f"{model}-plain.gguf", self.place / f"{model}-base"
        if not gguf.exists():
            organ("convert", self.models[model], "-o", gguf, "--to", "gguf", "-q", "--force")
        if kind == "base" and not base.exists():
            organ("convert", gguf, "-o", base, "--to", "safetensors", "-q", "--force")
        return gguf if kind == "gguf" else base

    def make(self, form, model):
        """Runs the commands of the form, and returns its output."""
        out = self.place / ("output.gguf" if form.kind == "gguf" else "output")
        step = self.place / "step"
        for path in (out, step):
            remove(path)
        beside = "BESIDE" in form.commands
        names = {"OUT": out, "BESIDE": out, "STEP.gguf": self.place / "step.gguf", "STEP": step, "MODEL": self.models[model],
                 "ADAPTER": self.models[model].with_name(f"{model}-lora")}
        calibrated = ["--calibration", FIXTURE / "calibration.txt", "--samples", "8", "--context", "128"]
        for command in form.commands.split(" && "):
            words = []
            for word in command.split():
                words += calibrated if word == "CALIBRATED" else [self.plain(model, "gguf") if word == "GGUF" else names.get(word, word)]
            organ(*words, "-q", "--force")
        if form.kind != "adapter":
            return Output(out, None, out)
        base = out if beside else self.plain(model, "gguf" if "GGUF" in form.commands else "base")
        adapter = self.place / "output-adapter" if beside else out
        merged = self.place / ("step-merged.gguf" if base.suffix == ".gguf" else "step-merged")
        organ("lora", "merge", "--base", base, "--adapter", adapter, "-o", merged, "-q", "--force")
        return Output(adapter / "adapter_model.gguf" if base.suffix == ".gguf" else adapter, base, merged)

    def nll(self, path, tokens, activations):
        """Returns the mean of -ln p of the tokens after the first, by organ."""
        document = organ("perplexity", path, "--text", self.text, "-c", tokens, "--max-tokens", tokens, "--activations", activations, "--json", "-q")
        return json.loads(document)["models"][0]["figures"]["nll"]
