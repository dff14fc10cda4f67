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
"$python" tests/report/schema/validate.py build/organ "$DOCUMENTS"
