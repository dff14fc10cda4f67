#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Prints the components of a built organ as an SPDX 2.3 document in JSON: organ, the libraries of packaging/libraries.tsv, their versions on the machine that
# built it, their licences, and how the program uses each. `ninja sbom` writes it to build/organ.spdx.json.
#   packaging/sbom.sh [PROGRAM]        PROGRAM is build/organ by default
# If there is a list PROGRAM.libraries (packaging/link_static.sh writes it for organ-static), the components are the Debian packages of these files.
#   packaging/sbom.sh --packages PROGRAM    prints the packages only: component, version, licence, "STATIC_LINK", "", package, architecture
# SOURCE_DATE_EPOCH sets the time of creation (default: now). Needs jq, pkg-config, readelf and sha256sum, and for a static program dpkg.
set -euo pipefail
cd "$(dirname "$0")/.."
only=false
if [[ ${1:-} == --packages ]]; then only=true && shift; fi
program=${1:-build/organ}
epoch=${SOURCE_DATE_EPOCH-$(date +%s)}
[[ $epoch =~ ^[0-9]{1,11}$ ]] || { echo "packaging/sbom.sh: SOURCE_DATE_EPOCH is '$epoch': it must be seconds since 1970" >&2 && exit 2; }
[[ -f $program ]] || { echo "packaging/sbom.sh: $program is not there: run ninja" >&2 && exit 4; }
release=$(sed -n 's/^#define ORGAN_VERSION "\(.*\)"$/\1/p' orchestrator/version.h)
sonames=$(readelf -dW "$program" | sed -nE 's/.*Shared library: \[(.*)\]/\1/p')

# Prints the version of a library from its pkg-config file; the C library has none, so the C library itself is asked.
version_of() { if [[ $1 == - ]]; then getconf GNU_LIBC_VERSION | cut -d ' ' -f 2; else pkg-config --modversion "$1"; fi; }

# Each row: name, version, licence, relation and file of a component, tab-separated.
components() {
    local name kind licence component configuration file relation
    while IFS=$'\t' read -r name kind _ licence component _ configuration; do
        [[ $name == m ]] && name=c
        file=$(grep -m 1 -E "^lib$name\.so" <<<"$sonames" || true)
        if [[ $kind == loaded ]]; then relation=DEPENDS_ON; elif [[ -n $file ]]; then relation=DYNAMIC_LINK; else relation=STATIC_LINK; fi
        printf '%s\t%s\t%s\t%s\t%s\n' "$component" "$(version_of "$configuration")" "$licence" "$relation" "$file"
    done < <(grep -vP '^#|^[^\t]*\tstatic\t' packaging/libraries.tsv)
}

# The same for a static program, with package and architecture. A library that is no row of the list is an error. packaging/sleef.c is compiled in.
static_components() {
    local file name row package version
    while IFS= read -r file; do
        file=$(realpath "$file") name=${file##*/lib} name=${name%.a}
        case $name in c | m-*) name=m ;; gcc_eh) name=gcc ;; esac
        row=$(awk -F '\t' -v name="$name" '$1 == name { print $5 "\t" $4 }' packaging/libraries.tsv)
        [[ -n $row ]] || { echo "packaging/sbom.sh: packaging/libraries.tsv has no row for $file" >&2 && return 1; }
        package=$(dpkg -S "$file" | sed 's/: .*//') || return 1
        version=$(dpkg-query -W -f '${Version}' "$package")
        [[ $package == *:* ]] || package=$package:$(dpkg-query -W -f '${Architecture}' "$package")
        printf '%s\t%s\t%s\tSTATIC_LINK\t\t%s\t%s\n' "${row%%$'\t'*}" "$version" "${row#*$'\t'}" "${package%:*}" "${package#*:}"
    done <"$program.libraries" | sort -u || return 1
    printf 'sleef\t%s\tBSL-1.0\tSTATIC_LINK\t\t\t\n' "$(sed -n 's/^.*sleefsimddp.c of SLEEF \([0-9.]*[0-9]\).*/\1/p' packaging/sleef.c)"
}

if [[ -f $program.libraries ]]; then rows=$(static_components); else rows=$(components); fi
if $only; then printf '%s\n' "$rows" && exit; fi
distribution=$(sed -nE 's/^(ID|VERSION_ID)="?([^"]*)"?$/\2/p' /etc/os-release | paste -sd ' ')
digest=$(printf '%s %s\n%s' "$release" "$epoch" "$rows" | sha256sum)
jq -n --arg release "$release" --arg created "$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" --arg rows "$rows" --arg system "$distribution" \
    --arg space "${digest:0:8}-${digest:8:4}-8${digest:12:3}-8${digest:15:3}-${digest:18:12}" '
    def package($name; $version; $licence): {name: $name, SPDXID: "SPDXRef-Package-\($name)", versionInfo: $version, downloadLocation: "NOASSERTION",
        filesAnalyzed: false, licenseConcluded: "NOASSERTION", licenseDeclared: $licence, copyrightText: "NOASSERTION"};
    # The address of a Debian package (https://github.com/package-url/purl-spec).
    def address: ($system | split(" ") | sort_by(test("^[0-9]"))) as [$name, $number]
        | "pkg:deb/\($name)/\(.[5])@\(.[1] | @uri)?arch=\(.[6])&distro=\($name)-\($number)";
    [$rows | split("\n")[] | split("\t")] as $libraries
    | {spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT", name: "organ-\($release)",
       documentNamespace: "https://spdx.org/spdxdocs/organ-\($release)-\($space)",
       creationInfo: {created: $created, creators: ["Tool: organ-\($release)"]},
       packages: ([package("organ"; $release; "MIT")]
           + [$libraries[] | package(.[0]; .[1]; .[2])
               + (if .[4] != "" then {packageFileName: .[4]} else {} end)
               + (if (.[5] // "") != "" then {externalRefs: [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: address}]} else {} end)
               + ({DEPENDS_ON: {comment: "Loaded when it is needed."}, STATIC_LINK: {comment: "Linked statically."}}[.[3]] // {})]),
       relationships: ([{spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: "SPDXRef-Package-organ"}]
           + [$libraries[] | {spdxElementId: "SPDXRef-Package-organ", relationshipType: .[3], relatedSpdxElement: "SPDXRef-Package-\(.[0])"}])}'
