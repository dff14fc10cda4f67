#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks what a release depends on, without making one: one version and date in all files, the packages of CONTRIBUTING.md, the commands of the workflow, the
# targets of the container, errors of packaging/release.sh. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
version=$(sed -n 's/^#define ORGAN_VERSION "\(.*\)"$/\1/p' orchestrator/version.h)
released=$(sed -n 's/^#define ORGAN_RELEASED "\(.*\)".*/\1/p' orchestrator/version.h)

# ---- version and date ----
judge "CITATION.cff has another version than $version" grep -qx "version: $version" CITATION.cff
judge "organ/version.h has version '$version' of '$released'" grep -qE '^[0-9]+\.[0-9]+\.[0-9]+ 20[0-9-]{8}$' <<<"$version $released"
judge "CHANGELOG.md begins with another version" test "$(grep '^## [0-9]' CHANGELOG.md | head -n 1)" = "## $version - $released"
judge "the program is of another version" test "$("${ORGAN:-build/organ}" version | head -n 1)" = "organ $version"
if [[ -d debian ]]; then
    judge "debian/changelog begins with another version" test "$(sed -n '1s/^organ (\(.*\)) unstable;.*/\1/p' debian/changelog)" = "$version"
    judge "debian/changelog begins with another date" test "$(date -u -d "$(sed -n 's/^ -- .*>  //p' debian/changelog | head -n 1)" +%F)" = "$released"
fi

# ---- packages and commands ----
.ci/block release CONTRIBUTING.md >"$scratch/command"
sed -E 's/([^ ]+)\{,:arm64\}/\1 \1:arm64/g' "$scratch/command" | tr -s ' ' '\n' | grep -E '^lib.*-dev|^zlib1g-dev' | grep -vE '^lib(c6|openmpi)-dev$' | sort >"$scratch/packages"
same "the command for releases installs other libraries" "$scratch/packages" \
    <(awk -F '\t' '!/^#/ && $3 ~ /-dev$/ && $3 !~ /^libc6/ { print $3; print $3 ":arm64" }' packaging/libraries.tsv | sort -u)
judge "the command for releases makes no release" test "$(tail -n 1 "$scratch/command")" = "ninja release"
grep -oE '\.ci/block [a-z]+ [A-Z]+\.md' .github/workflows/ci.yml >"$scratch/blocks"
same "the workflow runs other commands" "$scratch/blocks" <(printf '.ci/block %s\n' "run README.md" "tests README.md" "release CONTRIBUTING.md")
while read -r block name page; do
    judge "$page has no command $name" bash -n -c "$($block "$name" "$page")"
done <"$scratch/blocks"
if .ci/block nothing README.md >"$scratch/log" 2>&1; then bad "a missing block is accepted"; else good; fi

# ---- container ----
entry() { awk -v stage="$1" '/^FROM / { name = $4 == "" ? "last" : $4 } name == stage && /^ENTRYPOINT / { print $2 $3 }' packaging/Containerfile; }
judge "the target cli does not run organ" test "$(entry cli)" = '["organ"]'
judge "the last target does not run the server" test "$(entry last)" = '["organ","serve",'

# ---- errors of packaging/release.sh ----
mkdir -p "$scratch/tree/orchestrator" "$scratch/tree/build/release" && cp -r packaging CHANGELOG.md "$scratch/tree"
# refuses WORDS VARIABLE=VALUE: the script fails with a message that contains the words, and leaves an earlier release.
refuses() {
    if env "$2" "$scratch/tree/packaging/release.sh" >"$scratch/log" 2>&1; then bad "$1: no error"; else good; fi
    judge "$1: another message" grep -qF "release: $1" "$scratch/log"
    judge "$1: the earlier release is gone" test -d "$scratch/tree/build/release"
}
cp orchestrator/version.h "$scratch/tree/orchestrator"
refuses "ARCHES has 'mips': it takes x86_64 and aarch64" ARCHES=mips
sed 's/"[0-9.]*"$/"99.0.0"/' orchestrator/version.h >"$scratch/tree/orchestrator/version.h"
refuses "CHANGELOG.md has no section '## 99.0.0 - $released'" ARCHES=x86_64
finish
