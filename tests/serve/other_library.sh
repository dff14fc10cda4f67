#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the server's suites with another libmicrohttpd: MHD is the path of its libmicrohttpd.so.12 or of the folder that contains it (default: the
# system's). Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
library=${MHD:-}
[[ -n $library && -d $library ]] && library=$library/libmicrohttpd.so.12
if [[ -n $library && ! -r $library ]]; then
    echo "MHD=$MHD: there is no libmicrohttpd.so.12"
    exit 1
fi
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
if [[ -n $library ]]; then
    ln -s "$(realpath "$library")" "$scratch/libmicrohttpd.so.12"
    export LD_LIBRARY_PATH=$scratch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
echo "libmicrohttpd: ${library:-that of the system}"
SUITES="serve serve_tls serve_jobs" tests/run_tests.sh native
