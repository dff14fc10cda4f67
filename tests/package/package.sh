#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the Debian packages from a copy of this tree without a finding of lintian, installs them into a separate root, runs debian/tests there and removes
# the packages. `ninja test-package` calls it; needs root, a mirror of Debian packages, and the packages of debian/control, and names what is
# missing. Takes minutes. ROOT=DIRECTORY names a root made by debootstrap before, which is copied. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/package/root.sh
need dpkg-buildpackage dpkg-dev
need dh debhelper
need lintian lintian
need autopkgtest autopkgtest
need_root
dpkg-checkbuilddeps debian/control || exit 1

# ---- build ----
mkdir -p "$scratch/organ" && git ls-files -co --exclude-standard -z | tar -c --null -T - | tar -x -C "$scratch/organ" || exit 1
if (cd "$scratch/organ" && dpkg-buildpackage -us -uc) >"$scratch/log" 2>&1; then good; else bad "dpkg-buildpackage" "$scratch/log"; fi
cd "$scratch" || exit 1
version=$(dpkg-parsechangelog -l organ/debian/changelog -S Version)
if [[ $version == "$(sed -n 's/^#define ORGAN_VERSION "\(.*\)"$/\1/p' organ/orchestrator/version.h)" ]]; then good; else
    bad "debian/changelog has the version $version"
fi
for package in organ organ-mpi liborgan5 liborgan-dev; do
    if compgen -G "${package}_${version}_*.deb" >/dev/null; then good; else bad "there is no package $package"; fi
done
lintian --allow-root --fail-on error,warning,info --info ./*.changes >"$scratch/lint" 2>&1
if [[ $? == 0 && ! -s $scratch/lint ]]; then good; else bad "lintian" "$scratch/lint"; fi
dpkg-deb -c organ_"${version}"_*.deb >"$scratch/files"
for page in organ organ-prune; do
    if grep -q " ./usr/share/man/man1/$page.1.gz$" "$scratch/files"; then good; else bad "there is no page $page"; fi
done

# ---- install, try, remove ----
# organ reads /proc/meminfo, which autopkgtest does not mount.
trap 'umount -q "$root/proc"; rm -rf --one-file-system "$scratch"' EXIT
mount -t proc proc "$root/proc" || exit 1
autopkgtest --apt-upgrade ./*.deb organ/ -- chroot "$root" >"$scratch/log" 2>&1
status=$?
for name in first-command library; do
    if grep -qE "^$name +PASS$" "$scratch/log"; then good; else bad "autopkgtest $name" "$scratch/log"; fi
done
if ((status == 0)); then good; else bad "autopkgtest ended with $status" <(tail -n 20 "$scratch/log"); fi
cp ./*.deb "$root/tmp"
if chroot "$root" sh -c 'apt-get install -y --no-install-recommends /tmp/*.deb' >"$scratch/log" 2>&1; then good; else bad "apt-get install" "$scratch/log"; fi
if [[ $(chroot "$root" organ --version | head -n 1) == "organ $version" ]]; then good; else bad "the installed program is another one"; fi
if [[ $(chroot "$root" readlink -f "/usr/lib/$(dpkg-architecture -q DEB_HOST_MULTIARCH)/liborgan.so") == */liborgan.so."$version" ]]; then good; else
    bad "liborgan.so is not $version"
fi
if [[ -s $root/lib/systemd/system/organ.service ]]; then good; else bad "there is no unit"; fi
if chroot "$root" apt-get purge -y organ organ-mpi liborgan5 liborgan-dev >"$scratch/log" 2>&1; then good; else bad "apt-get purge" "$scratch/log"; fi
if find "$root/usr" "$root/etc" "$root/lib" "$root/var/lib" \( -name '*organ*' -o -path '*/organ/*' \) -not -path '*/dpkg/*' -not -path '*/apt/*' | grep .; then
    bad "something is left"
else good; fi
finish
