#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Writes what a release publishes into build/release: for each architecture the static program, the wheel, the Debian packages and the list of components;
# licences of the linked libraries, the section of CHANGELOG.md, digests. `ninja release` calls it; CONTRIBUTING.md lists the packages that it needs and
# takes a cross compiler for. ARCHES="x86_64" selects architectures (default: x86_64 aarch64). SOURCE_DATE_EPOCH is the time in the files (default: the
# last commit's, without git the date in orchestrator/version.h). Two releases of one source on one machine have the same bytes. Before, the script runs
# the native tests to write the messages of the program into tests/messages.tsv for review, unless MESSAGES=no.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
out=$PWD/build/release work=$PWD/build/release-work
version=$(sed -n 's/^#define ORGAN_VERSION "\(.*\)"$/\1/p' orchestrator/version.h)
released=$(sed -n 's/^#define ORGAN_RELEASED "\(.*\)".*/\1/p' orchestrator/version.h)
export LC_ALL=C TZ=UTC
unset CFLAGS CFLAGS_SCALAR CFLAGS_SIMD LDFLAGS DEB_BUILD_OPTIONS DEB_BUILD_PROFILES DESTDIR PREFIX LIBDIR TABLES
fail() { echo "release: $*" >&2 && exit 1; }

has_git() { [[ -e .git ]] && git rev-parse --git-dir >/dev/null 2>&1; }
if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
    if has_git; then SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); else SOURCE_DATE_EPOCH=$(date -d "$released" +%s); fi
fi
export SOURCE_DATE_EPOCH

# Prints the section of this version without its heading.
changes() {
    awk -v heading="## $version - $released" '$0 == heading { found = 1; next } found && /^## / { exit } found' CHANGELOG.md | sed '/./,$!d'
}

# copy_source DIRECTORY: copies the source; all files get the time of the release, since packages keep times before it.
copy_source() {
    mkdir -p "$1"
    if has_git; then git ls-files -co --exclude-standard -z; else find . -path ./build -prune -o -type f -print0; fi | tar -c --null -T - | tar -x -C "$1"
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# make_static ARCH: builds organ-static in $work/ARCH, where the folders of the source are links.
make_static() {
    local tree=$work/$1 folder
    mkdir -p "$tree"
    for folder in packaging include kernels formats orchestrator tests bench docs fixtures; do ln -sfn "$PWD/$folder" "$tree/$folder"; done
    (cd "$tree" && CC=$1-linux-gnu-gcc AR=$1-linux-gnu-ar "${NINJA:-ninja}" -f "$OLDPWD/build.ninja" organ-static)
}

# Prints the licences of organ and of each library in the static programs, as Debian's packages state them.
licences() {
    local component package architecture
    echo "organ $version" && echo && cat LICENSE
    printf '\n%s\n\n' "---- sleef (packaging/sleef.c)" && cat packaging/sleef.LICENSE
    sort -u -k 1,1 "$work/packages" | while read -r component package architecture; do
        [[ -n $package ]] || continue
        printf '\n%s\n\n' "---- $component (package $package)"
        cat "/usr/share/doc/$package/copyright" || fail "no licence of $package:$architecture"
    done
}

# publish_static ARCH: adds the program without symbols, its components and the wheel to $work/out.
publish_static() {
    local program=$work/$1/build/organ-static name=organ-$version-linux-$1
    "$1-linux-gnu-strip" -o "$work/out/$name" "$program"
    packaging/sbom.sh "$program" >"$work/out/$name.spdx.json"
    packaging/sbom.sh --packages "$program" | cut -f 1,6,7 >>"$work/packages"
    licences >"$work/out/organ-$version-licenses.txt"
    STRIP=$1-linux-gnu-strip packaging/wheel/build.py "$program" "$work/out" "$work/out/organ-$version-licenses.txt" >/dev/null
}

# make_packages ARCH: builds the Debian packages from a clean copy. Those of another architecture have no organ-mpi, since Open MPI's compiler builds for this one only.
make_packages() {
    local target=amd64 profiles=
    [[ $1 == x86_64 ]] || target=arm64
    [[ $1 == "$(uname -m)" ]] || profiles=cross,nocheck
    rm -rf "$work/debian-$1"
    copy_source "$work/debian-$1/organ"
    (cd "$work/debian-$1/organ" && dpkg-buildpackage -b -nc -us -uc -a "$target" ${profiles:+"-P$profiles"} >"$work/debian-$1/log" 2>&1) ||
        { tail -n 40 "$work/debian-$1/log" >&2 && fail "dpkg-buildpackage fails for $target"; }
    find "$work/debian-$1" -maxdepth 1 -name '*.deb' -not -name '*-dbgsym_*' -exec cp {} "$work/out" \;
}

# Tests may fail in the environment of a release, such as a root without a network; only their messages are wanted.
write_messages() {
    local log=$work/messages.log
    mkdir -p "$work"
    BLESS=yes tests/run_tests.sh native >"$log" 2>&1 || true
    grep '^tests/messages.tsv: ' "$log" || { tail -n 40 "$log" >&2 && fail "the tests that write tests/messages.tsv do not run; MESSAGES=no leaves them out"; }
}

[[ -n $(changes) ]] || fail "CHANGELOG.md has no section '## $version - $released'"
for arch in ${ARCHES:-x86_64 aarch64}; do
    [[ $arch == x86_64 || $arch == aarch64 ]] || fail "ARCHES has '$arch': it takes x86_64 and aarch64"
    command -v "$arch-linux-gnu-gcc" >/dev/null || fail "$arch-linux-gnu-gcc is missing; CONTRIBUTING.md lists the packages"
done
[[ ${MESSAGES:-} == no ]] || write_messages
rm -rf "$work/out" "$work/packages" "$out"
mkdir -p "$work/out"
for arch in ${ARCHES:-x86_64 aarch64}; do
    make_static "$arch"
    publish_static "$arch"
    make_packages "$arch"
done
changes >"$work/out/CHANGES.md"
(cd "$work/out" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
mv "$work/out" "$out"
(cd "$out" && ls -l)
