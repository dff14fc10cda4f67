#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ merge: output, exit codes, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

ends 0 help merge
matches help/help_merge ../out

# ---- results ----
ends 0 merge tiny-qwen2 --quiet
matches merge/merge ../out
ends 0 merge tiny-qwen2 --json --quiet --html page.html
cp ../out saved.json
matches merge/merge_json ../out
jq 'del(.run)' ../out >../whole
judge "the page has no table" grep -q "</table>" page.html
ends 0 merge tiny-qwen2 --json --threads 3 --memory 16M
judge "threads or memory change the document" cmp -s <(jq 'del(.run)' ../out) ../whole
ends 0 report saved.json -o saved.html
ORGAN_ISA=scalar ends 0 merge tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --json
judge "the values of packed weights are not those of the model" \
    test "$(jq .totals.values ../out)" = "$("$organ" merge tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf --json --quiet | jq .totals.values)"

# ---- refusals ----
refused 2 "MODEL" merge
refused 2 "unknown option '--jsn'; did you mean '--json'" merge tiny-qwen2 --jsn
refused 4 "nowhere" merge nowhere
mkdir bare && echo '{}' >bare/config.json
refused 3 "bare" merge bare
finish
