#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares the functions of packaging/sleef.c with libsleef, bit by bit: check_sleef.sh [STEP] takes every STEP-th FP32, 1 all, in
# an hour. With EMULATOR it runs the program of build/neon, with fewer FP32. Ends with the line "N passed, N failed".
cd "$(dirname "$0")/../.." || exit 1
step=4001
[[ ${EFFORT:-some} == all ]] && step=101
[[ -z ${EMULATOR:-} ]] || exec "$EMULATOR" build/neon/build/checks/sleef "${1:-40009}"
exec build/checks/sleef "${1:-$step}"
