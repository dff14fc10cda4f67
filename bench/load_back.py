# SPDX-License-Identifier: MIT
"""Loads models that organ has converted to GGUF and back to safetensors in transformers, and demands every tensor under its name.

    load_back.py [TYPE...]                from the root after `ninja tools`; TYPE is a folder of fixtures/architectures, else all

Makes each model, converts it to GGUF and back, and opens the result by its class. A name that transformers lacks would leave a weight at random
values, with a warning at most. Prints a row for each model: loads, refused (organ does not convert it), no class (transformers lacks the type or
does not open the model itself), or WRONG with the names; ends with 1 if one is WRONG. Needs torch and transformers 5."""
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers

transformers.utils.logging.set_verbosity_error()
ROOT = pathlib.Path(__file__).resolve().parent.parent
# Tensors that a class creates from the config, and blocks that a class ignores on purpose.
COMPUTED = ("inv_freq", "original_inv_freq", "slope_rate", "query_decay", "key_decay", "diagonal_decay")


def run(*args):
    return subprocess.run([str(a) for a in args], cwd=ROOT, capture_output=True, text=True)


def class_of(config):
    for name in config.architectures or []:
        if hasattr(transformers, name):
            return getattr(transformers, name)
    return transformers.AutoModelForCausalLM


def load(folder):
    try:
        config = transformers.AutoConfig.from_pretrained(folder)
        found = class_of(config)
    except (ValueError, KeyError) as error:
        return "no class", str(error).split("\n")[0][:120]
    if not hasattr(found, "from_pretrained"):
        return "no class", str(found)
    _, info = found.from_pretrained(folder, output_loading_info=True)
    wrong = [f"{kind} {name}" for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in sorted(map(str, info[kind]))
             if not name.endswith(COMPUTED)]
    return ("WRONG", ", ".join(wrong[:8])) if wrong else ("loads", "")


def row(name, area):
    model, gguf, back = (area / x for x in ("model", "x.gguf", "back"))
    made = run("build/checks/arch_model", name, model)
    if made.returncode:
        return "WRONG", "the model cannot be made: " + made.stdout[-200:]
    for step in (("convert", model, "-o", gguf, "--to", "gguf", "--dtype", "f32"), ("convert", gguf, "-o", back, "--to", "safetensors")):
        done = run("build/organ", *step, "--quiet")
        if done.returncode:
            return "refused", next((line for line in done.stderr.split("\n") if line.startswith("error")), "")[:120]
    refused = {}
    for folder in (back, model):
        try:
            result = load(folder)
        except Exception as error:  # a class refuses a config in ways of its own
            refused[folder] = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
            continue
        return result if folder == back else ("WRONG", refused[back])
    return "no class", "nor does it open the model itself: " + refused[model]


names = sys.argv[1:] or sorted(path.name for path in (ROOT / "fixtures/architectures").iterdir() if path.is_dir())
wrong = 0
for name in names:
    with tempfile.TemporaryDirectory() as area:
        result, why = row(name, pathlib.Path(area))
    wrong += result == "WRONG"
    print(f"{result:8} {name}{': ' if why else ''}{why}", flush=True)
print(f"{len(names)} models, {wrong} wrong")
sys.exit(wrong > 0)
