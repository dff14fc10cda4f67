#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads reports of organ into a pandas DataFrame with a row for each tensor of each report:

    python3 tensor_table.py OUT/organ/prune.json OUT/organ/quantize.json -o tensors.csv

Needs pandas. `organ schema organ.prune/1` describes the columns of a report."""

import argparse
import json
import sys

import pandas

# The member with the rows of tensors, by the schema of the report; "a.b" is the member b of each element of a.
ROWS = {
    "organ.audit/1": "tensors",
    "organ.autopsy/1": "tensors",
    "organ.dequantize/1": "weights",
    "organ.graft/1": "tensors",
    "organ.inspect/1": "tensors",
    "organ.lora_combine/1": "modules",
    "organ.lora_extract/1": "modules",
    "organ.lora_merge/1": "modules",
    "organ.lora_resize/1": "modules",
    "organ.measure/1": "models.per_tensor",
    "organ.prune/1": "tensors",
    "organ.purify/1": "tensors",
    "organ.quantize/1": "tensors",
}


def rows_of(report):
    """Yields the rows of a report as dictionaries."""
    member, _, inner = ROWS[report["schema"]].partition(".")
    for row in report.get(member, []):
        if inner:
            for tensor in row[inner]:
                yield {"model": row["model"]["name"], **tensor}
        else:
            yield row


def table_of(paths):
    """Returns a DataFrame of all reports with the columns "report", "schema" and those of the rows."""
    tables = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        if report.get("schema") not in ROWS:
            sys.exit(f"{path}: the schema {report.get('schema')} has no rows of tensors")
        table = pandas.json_normalize(list(rows_of(report)))
        table.insert(0, "report", path)
        table.insert(1, "schema", report["schema"])
        called = next((column for column in ("name", "tensor", "module") if column in table), "name")
        tables.append(table.rename(columns={called: "name"}))
    return pandas.concat(tables, ignore_index=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+")
    parser.add_argument("-o", "--output", help="also write the table as CSV")
    options = parser.parse_args()
    table = table_of(options.reports)
    print(table)
    if options.output:
        table.to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
