#!/bin/sh
# SPDX-License-Identifier: MIT
# Links a program that runs without the packages of its libraries: link_static.sh OUT FLAG... OBJECT... Every library of packaging/libraries.tsv that is
# linked must be there as a static one, except SLEEF, which packaging/sleef.c replaces.
set -eu
out=$1
shift
libraries=
for name in $(awk -F '\t' '!/^#/ && $2 == "linked" && $1 != "m" && $1 != "sleef" { print $1 }' packaging/libraries.tsv); do
    # shellcheck disable=SC2086 # CC may be a command with words: "ccache gcc"
    if ! [ -f "$(${CC:-cc} -print-file-name="lib$name.a")" ]; then
        echo "organ-static: lib$name.a is missing" >&2
        exit 1
    fi
    libraries="$libraries -l:lib$name.a"
done
# shellcheck disable=SC2086
exec ${CC:-cc} -pthread -static-pie -Wl,--wrap=dlopen,--wrap=dlerror ${CFLAGS:-} "$@" -Wl,--start-group $libraries -Wl,--end-group -lm ${LDFLAGS:-} -o "$out"
