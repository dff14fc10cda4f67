#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the scripts of the suites with a program that copies each document of JSON that it prints or writes, and validates all of them by the schemas of
# `organ schema`. Needs python3-jsonschema; PYTHON=PROGRAM names another Python. `ninja test-schemas` calls it; it ends with the line "N passed, N failed".
# DOCUMENTS=FOLDER keeps the documents.
set -uo pipefail
cd "$(dirname "$0")/../../.." || exit 1
python=${PYTHON:-python3}
"$python" -c 'import jsonschema.validators; jsonschema.validators.Draft202012Validator' 2>/dev/null ||
    { echo "skipped: needs python3-jsonschema 4" && exit 77; }
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
export DOCUMENTS=${DOCUMENTS:-$scratch/documents}
mkdir -p "$DOCUMENTS" || exit 1
tests/run_tests.sh documents || exit
status=0
"$python" tests/report/schema/validate.py build/organ "$DOCUMENTS" || status=1
# The example reads one report of each schema.
if "$python" -c 'import pandas' 2>/dev/null; then
    mapfile -t reports < <(jq -r 'objects | select(.schema // "" | IN("organ.prune/1", "organ.quantize/1", "organ.measure/1", "organ.lora_merge/1")) | .schema + " " + input_filename' \
        "$DOCUMENTS"/*.json 2>/dev/null | sort -u -k 1,1 | cut -d ' ' -f 2)
    if "$python" docs/examples/tensor_table.py "${reports[@]}" -o "$scratch/tensors.csv" >"$scratch/table" && (($(wc -l <"$scratch/tensors.csv") > 10)); then
        echo "1 passed, 0 failed"
    else
        echo "FAILED docs/examples/tensor_table.py" && cat "$scratch/table" && echo "0 passed, 1 failed" && status=1
    fi
else
    echo "left out: docs/examples/tensor_table.py needs pandas"
fi
exit $status
