#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Makes the release twice, in two places and with other users' settings, compares every byte, and tries each part in its place: static programs in an empty
# root, wheels in a new virtual environment without a network, Debian packages in a Debian made by debootstrap; parts for aarch64 in qemu. `ninja test-release`
# calls it; needs root and the packages that CONTRIBUTING.md lists for releases, python3-venv, openssl, debootstrap. ARCHES="x86_64" selects architectures,
# ROOT=DIRECTORY names a root made by debootstrap before, RELEASE=DIRECTORY a finished release, so that none is made. Takes half an hour of processor
# for each architecture. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/package/root.sh
arches=${ARCHES:-x86_64 aarch64}
version=$(sed -n 's/^#define ORGAN_VERSION "\(.*\)"$/\1/p' orchestrator/version.h)
released=$(sed -n 's/^#define ORGAN_RELEASED "\(.*\)".*/\1/p' orchestrator/version.h)
need python3 python3
need openssl openssl

# ---- two releases ----
# made PLACE UMASK VARIABLE=VALUE...: makes a release in PLACE/build/release, from the copy there, without git and without a compiler cache.
made() {
    (umask "$2" && cd "$scratch/$1" && env CCACHE_DISABLE=1 MESSAGES=no ARCHES="$arches" "${@:3}" packaging/release.sh) >"$scratch/log" 2>&1
}
if [[ -n ${RELEASE:-} ]]; then
    release=$RELEASE
    echo "two releases: skipped, RELEASE names one"
else
    command -v git >/dev/null || { echo "not run: needs git" && exit 1; }
    git ls-files -co --exclude-standard -z >"$scratch/files" || exit 1
    for place in one elsewhere/and/deeper; do
        mkdir -p "$scratch/$place" && tar -c --null -T "$scratch/files" | tar -x -C "$scratch/$place" || exit 1
    done
    if made one 022 TZ=UTC HOME=/nonexistent; then good; else bad "packaging/release.sh" <(tail -n 40 "$scratch/log"); fi
    if made elsewhere/and/deeper 002 TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 HOME=/ USER=other SOURCE_DATE_EPOCH="$(date -u -d "$released" +%s)"; then good; else
        bad "packaging/release.sh elsewhere" <(tail -n 40 "$scratch/log")
    fi
    release=$scratch/one/build/release
    if diff -r "$release" "$scratch/elsewhere/and/deeper/build/release" >"$scratch/log" 2>&1; then good; else bad "two releases differ" "$scratch/log"; fi
fi
[[ -d $release ]] || finish

# ---- the files ----
{
    printf '%s\n' CHANGES.md SHA256SUMS "organ-$version-licenses.txt"
    for arch in $arches; do
        deb=amd64
        [[ $arch == x86_64 ]] || deb=arm64
        printf '%s\n' "organ-$version-linux-$arch"{,.spdx.json} "organ-$version-py3-none-manylinux2014_$arch.musllinux_1_1_$arch.whl" {organ,liborgan5,liborgan-dev}_"${version}_$deb.deb"
        [[ $arch != "$(uname -m)" ]] || echo "organ-mpi_${version}_$deb.deb"
    done
} | LC_ALL=C sort >"$scratch/names"
# shellcheck disable=SC2012 # names without newlines
same "the release has other files" "$scratch/names" <(ls "$release" | LC_ALL=C sort)
judge "digests" env -C "$release" sha256sum --quiet -c SHA256SUMS
judge "SHA256SUMS leaves out files" test "$(wc -l <"$release/SHA256SUMS")" = "$(($(wc -l <"$scratch/names") - 1))"
judge "CHANGES.md is not the section of the version" grep -q '^### Added$' "$release/CHANGES.md"
judge "CHANGES.md has more than a section" test "$(grep -c '^## ' "$release/CHANGES.md")" = 0
for name in openssl curl glibc sleef; do judge "no licence of $name" grep -q -- "^---- $name (" "$release/organ-$version-licenses.txt"; done

# ---- each architecture ----
# emulator_of ARCH: prints the path of the emulator, nothing on this machine's architecture.
emulator_of() { [[ $1 == "$(uname -m)" ]] || command -v "qemu-$1-static" || echo "no qemu-$1-static"; }
for arch in $arches; do
    here=$arch
    emulator=$(emulator_of "$arch")
    program=$release/organ-$version-linux-$arch
    STATIC=$program EMULATOR=$emulator tests/package/static.sh >"$scratch/log" 2>&1
    status=$?
    passed=$((passed + $(sed -nE '$s/^([0-9]+) passed, .*/\1/p' "$scratch/log")))
    if ((status == 0)); then good; else bad "tests/package/static.sh" "$scratch/log"; fi
    mkdir -p "$scratch/wheel-$arch" && python3 -m zipfile -e "$release"/organ-*"$arch.whl" "$scratch/wheel-$arch"
    judge "the wheel has another program" cmp "$program" "$scratch/wheel-$arch/organ/bin/organ"
    judge "the wheel lacks licences" grep -q -- "^---- openssl (" "$scratch/wheel-$arch/organ-$version.dist-info/LICENSE-libraries"
    deb=amd64
    [[ $arch == x86_64 ]] || deb=arm64
    dpkg-deb -x "$release/organ_${version}_$deb.deb" "$scratch/deb-$arch"
    judge "the package has a program of another version" test "$($emulator "$scratch/deb-$arch/usr/bin/organ" version | head -n 1)" = "organ $version"
    judge "the package has no manual" test -s "$scratch/deb-$arch/usr/share/man/man1/organ-prune.1.gz"
done
here=
[[ " $arches " == *" $(uname -m) "* ]] || finish

# ---- the wheel of this machine ----
if ! python3 -m venv "$scratch/venv" >"$scratch/log" 2>&1; then bad "no virtual environment (python3-venv)" "$scratch/log"; else
    if env -i PATH="$PATH" "$scratch/venv/bin/python" -m pip install --no-index --no-cache-dir "$release"/organ-*"$(uname -m).whl" >"$scratch/log" 2>&1; then good; else
        bad "pip install" "$scratch/log"
    fi
    judge "import organ" "$scratch/venv/bin/python" -I -c 'import organ, sys; sys.exit(organ.run("inspect", sys.argv[1])["organ"] != sys.argv[2])' fixtures/tiny-qwen2 "$version"
    if "$scratch/venv/bin/python" -I tests/package/wheel_use.py "$PWD/fixtures" "$scratch" >"$scratch/log" 2>&1; then good; else bad "the module" "$scratch/log"; fi
fi

# ---- the packages of this machine ----
need_root
cp "$release"/*"_$(dpkg --print-architecture).deb" "$root/tmp"
if chroot "$root" sh -c 'apt-get update && apt-get install -y --no-install-recommends /tmp/*.deb' >"$scratch/log" 2>&1; then good; else bad "apt-get install" "$scratch/log"; fi
cp -r fixtures/tiny-qwen2 "$root/tmp"
if chroot "$root" sh -c 'cd /tmp && organ prune tiny-qwen2 -o pruned --memory 1G --quiet && organ audit tiny-qwen2 pruned --memory 1G' >"$scratch/log" 2>&1; then good; else
    bad "the installed program" "$scratch/log"
fi
finish
