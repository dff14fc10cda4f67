#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Opens in transformers what each verb of organ writes, and makes the table of names and shapes for a test.

  written_names.py [--only-look] DIRECTORY TYPE...    TYPE is a folder of fixtures/architectures

Runs tests/surgery/write/check_written_names.sh, which has the jobs, for the types, and keeps the outputs in DIRECTORY;
if it exists, its outputs are taken. Then opens each output by the class of its model, and prints the names that are missing, unexpected
or of another shape. If there are none, writes the rows of these types in tests/surgery/write/written_names.tsv: the
tensors in which an output differs from the model of fixtures/architectures, and the jobs that organ refuses. The
other types of the table keep their rows. With --only-look the table stays as it is. Outputs of int4 and fp8 that
transformers does not open (UNOPENED of load_quantized.py) are not judged. Ends with 1 if transformers finds another
name.

In a row "TYPE JOB as OTHER" the names are those of the type OTHER. Other rows have a pattern of names, a shape ("-": the
output has no such tensor), and the numbers that replace # in the pattern, those of one name joined by points. A
pattern "X.*" stands for all names that begin with "X.".

Needs torch, transformers 5.24, compressed-tensors, and the built program and test programs.
"""
import argparse
import glob
import json
import os
import re
import struct
import subprocess
import sys
import warnings

os.environ.update(TRANSFORMERS_VERBOSITY="critical", HF_HUB_OFFLINE="1")
warnings.filterwarnings("ignore")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TABLE = os.path.join(ROOT, "tests", "surgery", "write", "written_names.tsv")
MODELS = os.path.join(ROOT, "fixtures", "architectures")
sys.path[:0] = [os.path.join(ROOT, "fixtures"), os.path.join(ROOT, "bench")]
SCALES = re.compile(r"(.*)_(scale|scale_inv|shape|zero_point)$")
COMPUTED = ("slope_rate", "_decay")  # transformers computes these from config.json


def whole(reference):
    with open(os.path.join(MODELS, reference, "model.tsv")) as file:
        return dict(line.rstrip("\n").split("\t")[1:3] for line in file if line.startswith("tensor"))


def written(folder):
    """Returns names and shapes, those of quantised matrices as without quantisation."""
    found = {}
    for path in glob.glob(folder + "/*.safetensors"):
        with open(path, "rb") as file:
            found.update(json.loads(file.read(struct.unpack("<Q", file.read(8))[0])))
    found.pop("__metadata__", None)
    plain = {}
    for name, entry in found.items():
        scale = SCALES.match(name)
        shape = entry["shape"]
        if scale and (scale[1] in found or scale[1] + "_packed" in found):
            continue
        if name.endswith("_packed"):
            name, shape = name.removesuffix("_packed"), [shape[0], 8 * shape[1]]
        plain[name] = "x".join(map(str, shape)) or "1"
    return plain


def faults(reference, job, folder):
    """Returns what transformers does not find, does not expect or cannot fit."""
    import make_arch
    import torch
    import transformers
    with open(folder + "/config.json") as file:
        architecture = json.load(file)["architectures"][0]
    kind = getattr(transformers, architecture, None) or make_arch.class_of(reference)
    try:
        _, info = kind.from_pretrained(folder, dtype=torch.bfloat16 if job in ("fp8", "int4") else torch.float32,
                                       output_loading_info=True)
    except Exception as error:
        return [f"{type(error).__name__}: {error}".replace("\n", " ")[:300]]
    return [f"{key[:-5]} {name}" for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
            for name in sorted(map(str, info[key])) if not name.endswith(COMPUTED)]


def without_layers(base, changes):
    """Replaces the names of a layer of which no tensor is left by one pattern."""
    for prefix in sorted({found[0] for name in base if (found := re.match(r".*?\.\d+\.", name))}):
        names = [name for name in base if name.startswith(prefix)]
        if all(changes.get(name) == "-" for name in names):
            changes = {name: shape for name, shape in changes.items() if name not in names}
            changes[prefix + "*"] = "-"
    return changes


def patterns(changes):
    """Joins names that differ in numbers and have the same shape."""
    rows = {}
    for name, shape in sorted(changes.items()):
        numbers = []
        pattern = re.sub(r"(?<=\.)\d+(?=\.)", lambda m: numbers.append(m[0]) or "#", name)
        rows.setdefault((pattern, shape), []).append(".".join(numbers))
    return [f"{pattern}\t{shape}\t{' '.join(numbers)}".rstrip() for (pattern, shape), numbers in rows.items()]


def rows_of(reference, job, folder):
    """Returns the rows of an output: as few as possible."""
    found, best = written(folder), None
    for like in (reference, reference.removesuffix("-stacked")):
        base = whole(like)
        changes = {name: found.get(name, "-") for name in base | found if found.get(name) != base.get(name)}
        rows = patterns(without_layers(base, changes))
        if like != reference:
            rows.insert(0, "as\t" + like)
        if best is None or len(rows) < len(best):
            best = rows
    return [f"{reference}\t{job}\t{row}" for row in best]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only-look", action="store_true")
    parser.add_argument("directory")
    parser.add_argument("types", nargs="+")
    options = parser.parse_args()
    if not os.path.exists(options.directory):
        os.makedirs(options.directory)
        environment = dict(os.environ, TYPES=" ".join(options.types), WRITTEN=os.path.abspath(options.directory))
        subprocess.run(["bash", "tests/surgery/write/check_written_names.sh"], cwd=ROOT, stdout=subprocess.DEVNULL,
                       env=environment)
    import torch
    import transformers
    from load_quantized import UNOPENED
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    with open(options.directory + "/found.tsv") as file:
        found = [line.rstrip("\n").split("\t") for line in file]
    jobs = sorted({(row[0], row[1], row[2] == "refused") for row in found})
    rows, wrong = {name: [] for name in options.types}, 0
    for reference, job, refused in jobs:
        folder = f"{options.directory}/{reference}/{job}"
        if refused:
            rows[reference].append(f"{reference}\t{job}\trefused")
            continue
        bad = [] if job in ("fp8", "int4") and reference in UNOPENED else faults(reference, job, folder)
        wrong += bool(bad)
        if bad:
            print(f"{reference} {job}: {'; '.join(bad[:4])}", flush=True)
        rows[reference] += rows_of(reference, job, folder)
    if not wrong and not options.only_look:
        with open(TABLE, "a+") as file:
            file.seek(0)
            others = [line.rstrip("\n") for line in file if not line.startswith("#")]
        lines = sorted([line for line in others if line.split("\t")[0] not in rows] + sum(rows.values(), []),
                       key=lambda line: line.split("\t")[:2])
        with open(TABLE, "w") as file:
            file.write("# type\tjob\tname, \"as\" or \"refused\"\tshape\tnumbers; made by bench/served/written_names.py\n")
            file.writelines(line + "\n" for line in lines)
    print(f"{len(jobs)} outputs, {wrong} wrong")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
