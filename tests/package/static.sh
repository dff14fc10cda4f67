#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests build/organ-static: a file without an interpreter that runs in an empty root, uses the best kernel table of the CPU, writes the bytes of the dynamic
# program, downloads over https, and names unsupported features in its errors. `ninja test-static` builds it first. The part in another root needs root
# (chroot), that of https openssl and python3. STATIC=PROGRAM names another program, next to its PROGRAM.spdx.json, EMULATOR=PATH a static emulator that runs
# it. Names the parts that it skips. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
static=${STATIC:-$PWD/build/organ-static} dynamic=$PWD/build/organ
. tests/kit/counts.sh

# ---- the file ----
readelf -hldW "$static" >"$scratch/elf" 2>&1
for line in 'Type: +DYN ' '^  GNU_RELRO ' '\(FLAGS_1\).*\bNOW PIE\b'; do
    if grep -qE "$line" "$scratch/elf"; then good; else bad "there is no $line"; fi
done
for line in '^  INTERP ' '\(NEEDED\)' ' RWE +0x'; do
    if grep -qE "$line" "$scratch/elf"; then bad "there is $line"; else good; fi
done

# ---- in a root that contains nothing else; without /proc/meminfo the program asks for --memory ----
jail=$scratch/jail
mkdir -p "$jail/out" && cp "$static" "$jail/organ" && cp -r fixtures/tiny-qwen2 "$jail" || exit 1
inside() { chroot "$jail" ${EMULATOR:+/emulator} /organ "$@"; }
[[ -z ${EMULATOR:-} ]] || cp "$EMULATOR" "$jail/emulator" || exit 1
if ((EUID != 0)); then
    echo "an empty root: skipped, chroot needs root"
    inside() { (cd "$jail" && ${EMULATOR:-} ./organ "${@//\/}"); }
fi
[[ -n ${EMULATOR:-} ]] || same "another table than the dynamic program takes" <(inside version | sed -n 2,3p) <("$dynamic" version | sed -n 2,3p)
mkdir "$scratch/out" && cp -r fixtures/tiny-qwen2 "$scratch"
# makes NAME ARGS...: checks that both programs write the same weights.
makes() {
    if (cd "$scratch" && "$dynamic" "${@:2}" -o "$1" --quiet) >"$scratch/log" 2>&1; then good; else bad "the dynamic program: $*" "$scratch/log"; fi
    if inside "${@:2}" -o "$1" --memory 1G --quiet >"$scratch/log" 2>&1; then good; else bad "the static program: $*" "$scratch/log"; fi
    for file in "$scratch/$1"/*.safetensors; do
        if cmp "$file" "$jail/$1/${file##*/}"; then good; else bad "$1: other bytes in ${file##*/}"; fi
    done
}
makes pruned prune tiny-qwen2
makes int4 quantize tiny-qwen2 --scheme int4-group32
makes purified purify tiny-qwen2 --method fft
makes calibrated prune tiny-qwen2 --method sparsegpt --sparsity 50 --select '*.0.self_attn.k_proj.weight' --calibration tiny-qwen2/calibration.txt --samples 2 --context 40
for verb in "perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --context 32 --max-tokens 64 --memory 1G" "measure tiny-qwen2 --memory 1G" "tokenize tiny-qwen2 --text tiny-qwen2/heldout.txt"; do
    # shellcheck disable=SC2086 # lists of words
    (cd "$scratch" && "$dynamic" $verb --json) 2>"$scratch/log" | sed '/^  "run": {$/,$d' >"$scratch/there"
    # shellcheck disable=SC2086
    inside $verb --json 2>"$scratch/log" | sed '/^  "run": {$/,$d' >"$scratch/here"
    if [[ -s $scratch/there ]]; then same "organ $verb" "$scratch/there" "$scratch/here"; else bad "organ $verb prints nothing" "$scratch/log"; fi
done

# ---- features that it lacks, and its components ----
refuses() {
    inside "${@:2}" >"$scratch/log" 2>&1
    if (($? == 4)) && grep -q "$1: this program is linked statically" "$scratch/log"; then good; else bad "organ ${*:2}" "$scratch/log"; fi
}
refuses libmicrohttpd.so.12 serve --root out --listen 127.0.0.1:0
if [[ -n ${STATIC:-} ]]; then cp "$STATIC.spdx.json" "$scratch/sbom"; else packaging/sbom.sh build/organ-static >"$scratch/sbom"; fi
same "the components are not the linked libraries" <(jq -r '.relationships[] | select(.relationshipType == "STATIC_LINK") | .relatedSpdxElement' "$scratch/sbom" | sort) \
    <(awk -F '\t' '!/^#/ && ($2 == "linked" || $6 == "yes") { print "SPDXRef-Package-" $5 }' packaging/libraries.tsv | sort -u)
judge "a library has no Debian package" test "$(jq -r '.packages[] | select(.comment and .name != "sleef") | .externalRefs[0].referenceLocator' "$scratch/sbom" | grep -vc '^pkg:deb/')" = 0
cp "$static" "$scratch/other" && echo /usr/lib/libunknown.a >"$scratch/other.libraries"
if packaging/sbom.sh "$scratch/other" >"$scratch/log" 2>&1; then bad "sbom.sh accepts an unknown library"; else
    judge "sbom.sh does not name an unknown library" grep -q "no row for .*libunknown.a" "$scratch/log"
fi

# ---- https: a server whose certificate is made here, in the root without and with a file of authorities ----
if ! python3 -c 'import ssl' 2>"$scratch/log"; then bad "https: python3 is missing" "$scratch/log"; else
    mkdir -p "$scratch/hub/tiny" && cp -r fixtures/tiny-qwen2 "$scratch/hub/tiny/qwen2"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$scratch/key.pem" -out "$scratch/ca.pem" -days 2 -subj /CN=hub \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>"$scratch/log" || bad "no certificate" "$scratch/log"
    python3 tests/package/https_hub.py "$scratch/hub" "$scratch/ca.pem" "$scratch/key.pem" >"$scratch/port" 2>"$scratch/served" &
    hub=$!
    trap 'kill "$hub"; rm -rf "$scratch"' EXIT
    await test -s "$scratch/port"
    HF_ENDPOINT=https://127.0.0.1:$(<"$scratch/port")
    export HF_ENDPOINT
    unset SSL_CERT_FILE SSL_CERT_DIR
    # untrusted WORDS: the download ends with exit code 4, nothing but a message that contains the words.
    untrusted() {
        inside fetch hf:tiny/qwen2 -o fetched >"$scratch/log" 2>&1
        judge "$1: another exit code" test $? -eq 4
        judge "$1: another message" grep -qF "$1" "$scratch/log"
        judge "$1: something is downloaded" test ! -e "$jail/fetched"
    }
    untrusted "this system has no file of certificate authorities such as /etc/ssl/certs/ca-certificates.crt; install ca-certificates or set SSL_CERT_FILE"
    SSL_CERT_FILE=/nowhere.pem untrusted "SSL_CERT_FILE is '/nowhere.pem': No such file or directory"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -out "$jail/other.pem" -days 2 -subj /CN=other 2>"$scratch/log"
    SSL_CERT_FILE=/other.pem untrusted "SSL certificate problem"
    # fetches WHAT PLACE: the download passes with the authorities in a file at PLACE of the root.
    fetches() {
        mkdir -p "$(dirname "$jail/$1")" && cp "$scratch/ca.pem" "$jail/$1"
        if inside fetch hf:tiny/qwen2 -o fetched >"$scratch/log" 2>&1; then good; else bad "$1: no download" "$scratch/log"; fi
        judge "$1: other files" diff -r "$jail/fetched" fixtures/tiny-qwen2
        rm -rf "${jail:?}/$1"
    }
    for place in etc/ssl/certs/ca-certificates.crt etc/pki/tls/certs/ca-bundle.crt etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem etc/ssl/ca-bundle.pem etc/ssl/cert.pem; do
        fetches $place
        rm -r "$jail/fetched"
    done
    SSL_CERT_FILE=/trusted.pem fetches trusted.pem
    for command in "quantize fetched -o fetched-int4 --scheme int4-group32" "evaluate fetched fetched-int4 --text fetched/heldout.txt --context 32 --max-tokens 64 --json"; do
        # shellcheck disable=SC2086 # a list of words
        if inside $command --memory 1G --quiet >"$scratch/printed" 2>"$scratch/log"; then good; else bad "organ $command" "$scratch/log"; fi
    done
    judge "the loss of the fetched model is no number" test "$(jq '[.. | .perplexity? | numbers] | length >= 2' "$scratch/printed")" = true
    kill "$hub"
    wait "$hub" 2>/dev/null
    trap 'rm -rf "$scratch"' EXIT
fi

# ---- other CPUs ----
emulator=$(command -v qemu-x86_64-static || command -v qemu-x86_64)
if [[ -n ${EMULATOR:-} ]]; then :; elif [[ -n $emulator && $(uname -m) == x86_64 ]]; then
    for cpu in Haswell:avx2 qemu64:scalar; do
        if grep -q "^kernels  ${cpu#*:}, the best" < <($emulator -cpu "${cpu%:*}" "$static" version 2>/dev/null); then good; else bad "${cpu%:*} does not take ${cpu#*:}"; fi
        $emulator -cpu "${cpu%:*}" "$static" prune fixtures/tiny-qwen2 -o "$scratch/${cpu%:*}" --quiet >"$scratch/log" 2>&1
        for file in "$scratch/pruned"/*.safetensors; do
            if cmp "$file" "$scratch/${cpu%:*}/${file##*/}"; then good; else bad "${cpu%:*}: other bytes in ${file##*/}"; fi
        done
    done
else
    echo "emulated CPUs: skipped, qemu-user-static is missing or this is no x86-64"
fi
finish
