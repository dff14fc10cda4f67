#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Validates documents by the JSON Schemas of organ: validate.py ORGAN FOLDER.

Prints each kind of fault once, with the number of documents that have it and one of them, and ends with the line
"N passed, N failed". Documents without a schema of organ are not counted. Needs jsonschema 4."""

import collections
import json
import pathlib
import subprocess
import sys

import jsonschema

# Files for organ alone.
INNER = {"organ.journal/1", "organ.measure-journal/2", "organ.fleet-state/2", "organ.run/1", "organ.job/1"}


def schemas_of(organ):
    def told(*words):
        return json.loads(subprocess.run([organ, "schema", *words, "--json"], capture_output=True, check=True).stdout)

    return {row["name"]: told(row["name"]) for row in told()["schemas"]}


def place(path):
    """Returns the path with [] in place of indices: "tensors[].name"."""
    return "".join("[]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def documents_in(value):
    """Yields a document and those that its members hold: the report of a merge in that of a quantisation."""
    if isinstance(value, dict):
        if str(value.get("schema")).startswith("organ."):
            yield value
        for member in value.values():
            yield from documents_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from documents_in(member)


def main():
    organ, folder = sys.argv[1:]
    schemas = schemas_of(organ)
    validators = {}
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        validators[name] = jsonschema.Draft202012Validator(schema)
    valid, faulty, faults = collections.Counter(), collections.Counter(), {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        try:
            document = json.loads(path.read_bytes())
        except ValueError:  # a document that a test interrupted or cut
            continue
        for part in documents_in(document):
            name = part["schema"]
            if name in INNER:
                continue
            found = {"no schema"} if name not in validators else set()
            for fault in validators[name].iter_errors(part) if name in validators else ():
                found.add(f"{place(fault.absolute_path)}: {fault.message[:200]}")
            (faulty if found else valid)[name] += 1
            for words in found:
                faults.setdefault((name, words), []).append(path.name)
    for (name, words), where in sorted(faults.items()):
        print(f"FAILED {name}: {words} ({len(where)} documents, {where[0]})")
    for name in sorted(schemas):
        print(f"{name:28} {valid[name]:6} valid {faulty[name]:6} not")
    unseen = sorted(set(schemas) - set(valid) - set(faulty) - {"organ.progress/1"})
    if unseen:
        print("left out: no document of", ", ".join(unseen))
    print(f"{sum(valid.values())} passed, {sum(faulty.values())} failed")
    return 1 if faulty or not valid else 0


if __name__ == "__main__":
    sys.exit(main())
