#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fuzzes what reads files, with clang's libFuzzer and sanitizers: 60 seconds, or FUZZ_SECONDS. Begins with the committed inputs and what earlier runs found; an input
# that breaks the program is left in build/fuzz and belongs into fixtures/fuzz_safetensors once the fault is mended.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build/fuzz/corpus
clang=${CLANG:-clang}
sanitizers="-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"
# shellcheck disable=SC2086 # a list of options
if ! echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' | "$clang" $sanitizers -x c - -o build/fuzz/probe 2>&1; then
    echo "libFuzzer is not installed: clang and libclang-rt-dev are needed" >&2
    exit 1
fi
# shellcheck disable=SC2086
"$clang" -std=c11 -D_GNU_SOURCE -I. -O1 -g -pthread $sanitizers formats/*/*.c tests/formats/fuzz_safetensors.c -ljansson -lxxhash -lm -o build/fuzz/safetensors
exec build/fuzz/safetensors -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=1024 -max_len=8192 -dict=tests/formats/fuzz_safetensors.dict \
    -artifact_prefix=build/fuzz/ -print_final_stats=1 build/fuzz/corpus fixtures/fuzz_safetensors
