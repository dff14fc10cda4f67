#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks that the list of libraries (packaging/libraries.tsv) agrees with build.ninja, the packages of README, CONTRIBUTING.md, debian/, the container and bench/bare.sh,
# organ.pc, and the list of components, which must be a valid SPDX document. Needs a built tree (ninja). Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
organ=${ORGAN:-build/organ}
. tests/kit/counts.sh
# column NUMBER [linked|loaded|static]: without a kind the rows of the dynamic program.
column() { awk -F '\t' -v column="$1" -v kind="${2:-}" '!/^#/ && (kind == "" ? $2 != "static" : $2 == kind) { print $column }' packaging/libraries.tsv; }

# ---- linked libraries ----
sed -n 's/^libs = //p' build.ninja | tr ' ' '\n' | sed 's/^-l//' >"$scratch/libs"
same "build.ninja links something else" "$scratch/libs" <(column 1 linked)
column 1 linked | grep -vxF m | sort >"$scratch/names"
readelf -dW "$organ" | sed -nE 's/.*Shared library: \[lib(.*)\.so.*/\1/p' | grep -vxE 'c|m|gcc_s|asan|ubsan|.*ld-linux.*' | sed 's/^yaml-0$/yaml/' | sort >"$scratch/needed"
same "the program needs other libraries" "$scratch/needed" "$scratch/names"

# ---- packages to install before a build ----
column 3 | grep -v '^libc6' | sort -u >"$scratch/packages"
found() { grep -oE 'lib[a-z0-9-]+-dev' | grep -xFf "$scratch/packages" | sort -u; }
grep -c 'libhwloc-dev' README.md >"$scratch/commands"
for command in run tests; do
    sed -n "/^<!-- $command -->/,/^\`\`\`\$/p" README.md | found >"$scratch/found"
    same "the command '$command' of README.md" "$scratch/found" "$scratch/packages"
done
sed -nE '/apt-get install gcc-aarch64/,/^$/p' CONTRIBUTING.md | sed 's/:arm64//g' | found >"$scratch/found"
same "what ninja neon needs, in CONTRIBUTING.md" "$scratch/found" "$scratch/packages"
for file in debian/control packaging/Containerfile bench/bare.sh; do
    [[ -f $file ]] || continue
    found <"$file" >"$scratch/found"
    same "$file" "$scratch/found" "$scratch/packages"
done

if [[ -f debian/control ]]; then
    sed -n '/^Package: liborgan-dev$/,/^Description:/p' debian/control | found >"$scratch/found"
    same "what liborgan-dev depends on or suggests" "$scratch/found" <(column 3 linked | grep -v '^libc6' | sort -u)
fi

# ---- the list of components ----
packaging/sbom.sh "$organ" >"$scratch/sbom" 2>"$scratch/err" || bad "packaging/sbom.sh fails" "$scratch/err"
holds() { if jq -e "$2" "$scratch/sbom" >/dev/null 2>"$scratch/err"; then good; else bad "$1" "$scratch/err"; fi; }
# The specification's sections 6, 7 and 11 require these members in every document.
holds "the document names its version and licence" '.spdxVersion == "SPDX-2.3" and .dataLicense == "CC0-1.0" and .SPDXID == "SPDXRef-DOCUMENT"'
holds "the document has a name" '.name | type == "string" and length > 0'
holds "the space of names is a URI without a fragment" '.documentNamespace | test("^https://[^#]+-[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$")'
holds "when and by what it was made" '(.creationInfo.created | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"))
    and (.creationInfo.creators | length > 0 and all(test("^(Person|Organization|Tool): .")))'
holds "every package has what it must" '.packages | length > 1 and all(has("name") and has("downloadLocation") and (.SPDXID | test("^SPDXRef-[A-Za-z0-9.-]+$")))'
holds "identifiers are there once" '[.packages[].SPDXID] | length == (unique | length)'
holds "packages whose files are not listed say so" '.packages | all(.filesAnalyzed == false and (has("packageVerificationCode") | not))'
holds "relations are between what is there" '([.packages[].SPDXID] + [.SPDXID]) as $known
    | .relationships | length > 0 and all(.spdxElementId as $a | .relatedSpdxElement as $b | any($known[]; . == $a) and any($known[]; . == $b))'
holds "relations are of known kinds" '.relationships | all(.relationshipType | IN("DESCRIBES", "DYNAMIC_LINK", "STATIC_LINK", "DEPENDS_ON"))'
holds "the document describes the program" 'any(.relationships[]; .relationshipType == "DESCRIBES" and .relatedSpdxElement == "SPDXRef-Package-organ")'
holds "libraries have a version" '.packages | all(.versionInfo | test("^[0-9]"))'
jq -r '.packages[1:][] | [.name, .licenseDeclared] | @tsv' "$scratch/sbom" | sort >"$scratch/found"
paste <(column 5) <(column 4) | sort >"$scratch/wanted"
same "components and licences" "$scratch/found" "$scratch/wanted"
version=$(sed -n 's/^#define ORGAN_VERSION "\(.*\)"$/\1/p' orchestrator/version.h)
holds "the version of organ" ".packages[0] | .name == \"organ\" and .versionInfo == \"$version\" and .licenseDeclared == \"MIT\""
# On Debian the versions are those of the packages.
if command -v dpkg-query >/dev/null; then
    while read -r file package; do
        holds "$package is of another version" "[.packages[] | select(.packageFileName // \"\" | startswith(\"lib$file.so\")) | .versionInfo]
            == [\"$(dpkg-query -W -f '${source:Upstream-Version}\n' "$package:$(dpkg --print-architecture)" | sed 's/[+~].*//' | head -n 1)\"]"
    done <<<"jansson libjansson-dev
pcre2-8 libpcre2-dev
sleef libsleef-dev
hwloc libhwloc-dev"
fi
SOURCE_DATE_EPOCH=86400 packaging/sbom.sh "$organ" >"$scratch/one"
SOURCE_DATE_EPOCH=86400 packaging/sbom.sh "$organ" >"$scratch/two"
same "the same moment gives another document" "$scratch/one" "$scratch/two"
if [[ $(jq -r .creationInfo.created "$scratch/one") == 1970-01-02T00:00:00Z ]]; then good; else bad "SOURCE_DATE_EPOCH is not the time"; fi
SOURCE_DATE_EPOCH=never packaging/sbom.sh "$organ" >/dev/null 2>"$scratch/err"
if (($? == 2)) && grep -q "SOURCE_DATE_EPOCH is 'never'" "$scratch/err"; then good; else bad "SOURCE_DATE_EPOCH=never" "$scratch/err"; fi
packaging/sbom.sh "$scratch/none" >"$scratch/one" 2>"$scratch/err"
if (($? == 4)) && [[ ! -s $scratch/one ]] && grep -q "none is not there" "$scratch/err"; then good; else bad "a program that is not there" "$scratch/err"; fi

finish
