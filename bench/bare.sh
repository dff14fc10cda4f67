#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs `ninja bench-scaling` on a bare Debian (from 12) or Ubuntu (from 24.04) by one command: bench/bare.sh [DIR]. Installs the packages of a build and jq
# with apt-get, as root or with sudo, builds organ and the benchmark, and runs it with its models in DIR (default: /dev/shm if it has 8 GB free, else
# build/bench/data). Prints the paths of the table and the chart.
set -euo pipefail
cd "$(dirname "$0")/.."
root=()
((EUID == 0)) || root=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update
"${root[@]}" apt-get install -y --no-install-recommends \
    gcc libc6-dev ninja-build libhwloc-dev libsleef-dev libjansson-dev libxxhash-dev libzstd-dev libcurl4-openssl-dev \
    libpcre2-dev libutf8proc-dev libmd-dev libmicrohttpd-dev libyaml-dev jq
directory=${1:-}
if [[ -z $directory && $(df --output=avail -B1 /dev/shm 2>/dev/null | tail -n 1) -ge 8000000000 ]]; then
    directory=$(mktemp -d /dev/shm/organ-scaling.XXXXXX)
    trap 'rm -rf "$directory"' EXIT
fi
BENCH_DIR=$directory ninja bench-scaling
