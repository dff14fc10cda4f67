#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the wheel: packaging/wheel/build.py PROGRAM DIRECTORY [LICENCES]. LICENCES is a file with those of the linked libraries. PROGRAM is build/organ-static; the wheel contains it, stripped of symbols, and the module
`organ`. Needs Python 3.8 without packages, strip and readelf. Two builds of one program have the same bytes. Prints the path of the wheel."""

import base64
import hashlib
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine of the ELF header


def readelf(option, path):
    return subprocess.run(["readelf", "-W", option, path], check=True, capture_output=True, encoding="utf-8", env={**os.environ, "LC_ALL": "C"}).stdout


def machine_of(program):
    """Returns the architecture of a program that is linked statically."""
    with open(program, "rb") as file:
        header = file.read(20)
    if header[:6] != b"\x7fELF\x02\x01":
        sys.exit(f"{program}: no 64-bit little-endian ELF file")
    machine, = struct.unpack_from("<H", header, 18)
    if machine not in MACHINES:
        sys.exit(f"{program}: wheels exist for {', '.join(MACHINES.values())}, not for ELF machine {machine}")
    if " INTERP " in readelf("-l", program):
        sys.exit(f"{program} loads its libraries from this machine; the wheel takes build/organ-static (ninja wheel)")
    return MACHINES[machine]


def stripped(program):
    """Returns the program without symbols."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = os.path.join(scratch, "organ")
        subprocess.run([os.environ.get("STRIP", "strip"), "-o", copy, program], check=True)
        return content(copy)


def content(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    program, directory = sys.argv[1:3]
    version = re.search(r'^#define ORGAN_VERSION "(.*)"$', content(os.path.join(ROOT, "orchestrator/version.h")).decode(), re.M)[1]
    machine = machine_of(program)
    tag = f"py3-none-manylinux2014_{machine}.musllinux_1_1_{machine}"
    info = f"organ-{version}.dist-info"
    files = {f"organ/{name}": content(os.path.join(HERE, "organ", name)) for name in ("__init__.py", "__main__.py")}
    files["organ/bin/organ"] = stripped(program)
    files[f"{info}/LICENSE"] = content(os.path.join(ROOT, "LICENSE"))
    if len(sys.argv) == 4:
        files[f"{info}/LICENSE-libraries"] = content(sys.argv[3])
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: organ\nVersion: {version}\nSummary: Inspects, prunes, quantises, cuts and evaluates language models as files\n"
        "License: MIT\nRequires-Python: >=3.8\nDescription-Content-Type: text/markdown\n\n"
    ).encode() + content(os.path.join(ROOT, "docs/python.md"))
    files[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: organ\nRoot-Is-Purelib: false\n" + "".join(f"Tag: py3-none-{part}\n" for part in tag[9:].split("."))
    ).encode()
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\norgan = organ.__main__:main\n"
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n" for name, data in sorted(files.items()))
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()

    os.makedirs(directory, exist_ok=True)
    wheel = os.path.join(directory, f"organ-{version}-{tag}.whl")
    with zipfile.ZipFile(wheel + ".part", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items(), key=lambda item: (item[0].startswith(info), item[0])):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if name == "organ/bin/organ" else 0o100644) << 16
            archive.writestr(entry, data)
    os.replace(wheel + ".part", wheel)
    print(wheel)


if __name__ == "__main__":
    main()
