#!/bin/sh
# SPDX-License-Identifier: MIT
# Does the work of `ninja install` after the build: packaging/install.sh "LIBRARIES" HEADER...
# `packaging/install.sh --remove` does that of `ninja uninstall`: it removes the installed files.
# It reads PREFIX (default /usr/local), LIBDIR (PREFIX/lib) and DESTDIR from the environment.
set -eu
prefix=${PREFIX:-/usr/local}
libdir=${LIBDIR:-$prefix/lib}
to=${DESTDIR:-}$prefix
lib=${DESTDIR:-}$libdir
bash=$to/share/bash-completion/completions/organ
zsh=$to/share/zsh/site-functions/_organ
fish=$to/share/fish/vendor_completions.d/organ.fish
unit=$to/lib/systemd/system/organ.service
if [ "$1" = --remove ]; then
    rm -f "$to/bin/organ" "$lib/liborgan.a" "$lib"/liborgan.so* "$lib/pkgconfig/organ.pc" "$bash" "$zsh" "$fish" "$unit"
    rm -f "$to/share/man/man1/organ.1" "$to"/share/man/man1/organ-*.1
    rm -rf "$to/include/organ" "$to/lib/organ"
    exit
fi
libraries=$1
shift
version=$(sed -n 's/^#define ORGAN_VERSION "\(.*\)"$/\1/p' orchestrator/version.h)
name=liborgan.so.5 # the soname in build.ninja

install -D -m 755 build/organ "$to/bin/organ"
install -D -m 644 build/liborgan.a "$lib/liborgan.a"
install -m 755 build/liborgan.so "$lib/liborgan.so.$version"
ln -sf "liborgan.so.$version" "$lib/$name"
ln -sf "$name" "$lib/liborgan.so"
[ ! -f build/liborgan_mpi.so ] || install -D -m 755 build/liborgan_mpi.so "$to/lib/organ/liborgan_mpi.so"
for header; do install -D -m 644 "$header" "$to/$header"; done

# Requires: jansson, since programs get reports as jansson documents. The other libraries are needed only with liborgan.a.
private=$(printf '%s\n' "$libraries" | sed 's/-ljansson //')
install -d "$lib/pkgconfig"
cat >"$lib/pkgconfig/organ.pc" <<END
prefix=$prefix
libdir=$(printf '%s\n' "$libdir" | sed "s,^$prefix/,\${prefix}/,")
includedir=\${prefix}/include

Name: organ
Description: Inspects, prunes, quantises, cuts and evaluates language models as files
Version: $version
Cflags: -I\${includedir}
Requires: jansson
Libs: -L\${libdir} -lorgan
Libs.private: $private -pthread
END
chmod 644 "$lib/pkgconfig/organ.pc"

install -d "$to/share/man/man1"
install -m 644 build/man/*.1 "$to/share/man/man1"
install -D -m 644 build/completion/organ "$bash"
install -D -m 644 build/completion/_organ "$zsh"
install -D -m 644 build/completion/organ.fish "$fish"
install -d "${unit%/*}"
sed "s,/usr/bin/organ,$prefix/bin/organ," packaging/organ.service >"$unit"
chmod 644 "$unit"
