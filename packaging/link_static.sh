#!/bin/sh
# SPDX-License-Identifier: MIT
# Links a program that runs without the packages of its libraries: link_static.sh OUT FLAG... OBJECT... Every library of packaging/libraries.tsv that is
# linked, or whose sixth column is "yes", must be there as a static one, except SLEEF, which packaging/sleef.c replaces. Lists the static libraries from
# which the linker took something in OUT.libraries, for packaging/sbom.sh.
set -eu
out=$1
shift
libraries=
missing=
while IFS='	' read -r name _ package _ _ static _; do
    if [ "$static" != yes ] || [ "$name" = m ]; then continue; fi
    # shellcheck disable=SC2086 # CC may be a command with words: "ccache gcc"
    [ -f "$(${CC:-cc} -print-file-name="lib$name.a")" ] || missing="$missing lib$name.a ($package)"
    libraries="$libraries -l:lib$name.a"
done <packaging/libraries.tsv
if [ -n "$missing" ]; then
    echo "organ-static: missing are$missing; CONTRIBUTING.md lists the packages" >&2
    exit 1
fi
# The linker warns of functions that load modules at run time; packaging/static.c refuses these, and the C library has those for files and DNS.
status=0
# shellcheck disable=SC2086
${CC:-cc} -pthread -static-pie -Wl,--wrap=dlopen,--wrap=dlsym,--wrap=dlerror,--wrap=__libc_dlopen_mode -Wl,-Map="$out.map" ${CFLAGS:-} "$@" \
    -Wl,--start-group $libraries -Wl,--end-group -lm ${LDFLAGS:-} -o "$out" 2>"$out.log" || status=$?
grep -vE "in statically linked applications requires at runtime|: in function \`" "$out.log" >&2 || true
sed -nE '/^Discarded input sections/q; s,^(/[^(]*/lib[^/(]*\.a)\(.*,\1,p' "$out.map" | sort -u >"$out.libraries"
rm -f "$out.map" "$out.log"
exit "$status"
