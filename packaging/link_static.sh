#!/bin/sh
# SPDX-License-Identifier: MIT
# Links a program that runs without the packages of its libraries: link_static.sh static|wheel OUT FLAG... OBJECT... Every library of
# packaging/libraries.tsv that is linked must be there as a static one. Debian 12 has all but SLEEF's: SLEEF_STATIC=FILE is that, made of SLEEF 3.5.1 by
#   cmake -B b -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTS=OFF -DBUILD_DFT=OFF -DBUILD_QUAD=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON && cmake --build b --target sleef
# `static` needs it. Without it, `wheel` links the C library and SLEEF dynamically, SLEEF from the directory of the program.
set -eu
kind=$1 out=$2
shift 2
# shellcheck disable=SC2086 # CC may be a command with words: "ccache gcc"
there() { [ -f "$(${CC:-cc} -print-file-name="lib$1.a")" ]; }
libraries='' mode='-static-pie -Wl,--wrap=dlopen,--wrap=dlerror'
for name in $(awk -F '\t' '!/^#/ && $2 == "linked" && $1 != "m" { print $1 }' packaging/libraries.tsv); do
    if [ "$name" = sleef ] && [ -n "${SLEEF_STATIC:-}" ]; then
        libraries="$libraries $SLEEF_STATIC"
    elif there "$name"; then
        libraries="$libraries -l:lib$name.a"
    elif [ "$kind $name" = "wheel sleef" ]; then
        libraries="$libraries -lsleef" mode='-pie -Wl,-rpath,$ORIGIN'
    else
        echo "organ-$kind: lib$name.a is missing$([ "$name" != sleef ] || echo ': SLEEF_STATIC=FILE names it, and the head of packaging/link_static.sh says how it is made')" >&2
        exit 1
    fi
done
# shellcheck disable=SC2086
exec ${CC:-cc} -pthread $mode ${CFLAGS:-} "$@" -Wl,--start-group $libraries -Wl,--end-group -lm ${LDFLAGS:-} -o "$out"
