# SPDX-License-Identifier: MIT
"""Uses the installed module `organ`: wheel_use.py FIXTURES SCRATCH. Prints a line "ok WHAT" for each check; the first failure ends it."""

import json
import os
import shutil
import stat
import subprocess
import sys

import organ

fixtures, scratch = sys.argv[1:]
model = os.path.join(fixtures, "tiny-qwen2")


def check(what, holds):
    assert holds, what
    print("ok", what)


def fails(what, kind, code, words, *arguments, **options):
    """Checks that the run raises `kind` with this code, and that its message contains `words`. Returns the exception."""
    try:
        organ.run(*arguments, **options)
    except organ.OrganError as error:
        check(f"{what}: {type(error).__name__} {error.code} {error}", type(error) is kind and error.code == code and words in str(error))
        return error
    raise AssertionError(f"{what}: no exception")


events = []
document = organ.run("measure", model, threads=1, progress=events.append)
check("a document", document["schema"] == "organ.measure/1" and document["models"][0]["tensors"] == 50)
check("events of progress", [events[0]["event"], events[-1]["event"]] == ["begin", "end"] and any(e["event"] == "advance" for e in events))
with open(os.path.join(scratch, "measure.json"), "w", encoding="utf-8") as file:
    json.dump(organ.run("measure", model, header=["A: 1", "B: 2"], html=None, quiet=False), file)

out = os.path.join(scratch, "pruned")
document = organ.run("prune", model, output=out, sparsity=30, method="magnitude", targets="*.mlp.*")
check("prune writes a model", document["schema"] == "organ.prune/1" and os.path.exists(os.path.join(out, "config.json")))
fails("an output that exists", organ.UsageError, 2, "exists", "prune", model, output=out)
document = organ.run("prune", model, output=out, sparsity=30, method="magnitude", force=True, dry_run=True)
check("options with _ and without a value", document["dry_run"] is True)
clean = organ.run("lora sanitize", os.path.join(fixtures, "tiny-lora"), output=os.path.join(scratch, "clean"))
check("a verb of two words", clean["schema"].startswith("organ.lora"))

pair = (model, out)
other = [shutil.copytree(one, os.path.join(scratch, f"other{k}")) for k, one in enumerate(pair)]
document = organ.run("orthogonality", pair=[pair, other], top_k=None)
check("an option of two values, given twice", document["schema"] == "organ.noise_pairs/1")
check("the same as a flat list", organ.run("orthogonality", pair=[*pair, *other])["schema"] == "organ.noise_pairs/1")
fails("an option of two values, given once", organ.UsageError, 2, "--pair is given once", "orthogonality", pair=pair)
named = os.path.join(os.fsencode(scratch), b"caf\xe9")
os.symlink(model, named)
document = organ.run("inspect", named)
check("a path as bytes, not UTF-8", document["schema"] == "organ.inspect/1")
organ.run("inspect", os.fsencode(model), html=os.path.join(os.fsencode(scratch), b"p\xe9ge"), memory=None)
check("an option as bytes", os.path.exists(os.path.join(os.fsencode(scratch), b"p\xe9ge")))
check("None leaves out an argument", organ.run("autopsy", model, None)["schema"] == "organ.autopsy/1")
for what, arguments, options in [("None before an argument", (None, model), {}), ("a set", (model,), {"header": {"A: 1"}}), ("a generator", (model,), {"header": (h for h in "A")}),
                                 ("a dict", ({},), {}), ("True as an argument", (True,), {}), ("None in a pair", (), {"pair": [(model, None)]}),
                                 ("one value of two", (), {"pair": [(model,)]}), ("three values of two", (), {"pair": [model, out, model]}),
                                 ("two values of one", (model,), {"header": [("A: 1", "B: 2")]})]:
    try:
        organ.run("autopsy", *arguments, **options)
    except TypeError as error:
        check(f"{what}: {error}", any(words in str(error) for words in ("is no text, path or number", "for each use")))
    else:
        raise AssertionError(f"{what}: no exception")

fails("a wrong option", organ.UsageError, 2, "frobnicate", "measure", model, frobnicate=1)
fails("a verb without documents", organ.UsageError, 2, "--json", "help", "prune")
fails("a missing model", organ.SystemFault, 4, "nothing", "measure", os.path.join(scratch, "nothing"))
fails("a name that begins with a dash", organ.SystemFault, 4, "-nothing", "measure", "-nothing", cwd=scratch)
with open(os.path.join(scratch, "bad.safetensors"), "wb") as file:
    file.write(b"\x10\0\0\0\0\0\0\0{not json at all")
fails("a malformed model", organ.ModelError, 3, "bad.safetensors", "inspect", os.path.join(scratch, "bad.safetensors"))
error = fails("an adapter with faults", organ.Findings, 1, "tiny-lora", "lora sanitize", os.path.join(fixtures, "tiny-lora"), check=True)
check("a run with findings has its document", error.document["schema"] == clean["schema"])

# A program that waits for SIGINT stands for a long run.
package = os.path.join(scratch, "package")
shutil.copytree(os.path.dirname(organ.__file__), os.path.join(package, "organ"))
slow = os.path.join(package, "organ", "bin", "organ")
with open(slow, "w", encoding="utf-8") as file:
    file.write(f"""#!{sys.executable}
import signal, sys
def end(number, frame):
    print("interrupted", file=sys.stderr)
    sys.exit(130)
signal.signal(signal.SIGINT, end)
print('{{"event": "begin", "what": "waiting", "bytes": 1, "tensors": 1}}', file=sys.stderr, flush=True)
while True:
    signal.pause()
""")
os.chmod(slow, os.stat(slow).st_mode | stat.S_IXUSR)
code = """
import sys
sys.path.insert(0, sys.argv[1])
import organ
def stop(event):
    raise KeyError("stop")
try:
    organ.run("measure", "model", progress=stop)
except KeyError:
    print("raised again")
"""
done = subprocess.run([sys.executable, "-c", code, package], stdout=subprocess.PIPE, check=True, encoding="utf-8")
check("an exception in progress interrupts the run and is raised again", done.stdout == "raised again\n")
