/* SPDX-License-Identifier: MIT
 * The part of a sweep that a test runs. The environment variable EFFORT, which tests/run_tests.sh sets for each tree,
 * is `all` (the tree complete), `some` (the native tree) or `few` (under sanitizers, on an emulated CPU, in
 * test-quick); unset, it is `some`. CONTRIBUTING.md has the table. */
#ifndef ORGAN_TESTS_EFFORT_H
#define ORGAN_TESTS_EFFORT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns true if EFFORT is `effort`. */
static inline bool effort_is(const char *effort)
{
    const char *const now = getenv("EFFORT");
    return strcmp(now && *now ? now : "some", effort) == 0;
}

/* Returns `whole`, or `few` if EFFORT is few; the first call that returns `few` prints a line about it. */
static inline size_t sampled(size_t whole, size_t few)
{
    static int printed;
    if (!effort_is("few"))
        return whole;
    if (!__atomic_exchange_n(&printed, 1, __ATOMIC_RELAXED))
        puts("EFFORT=few: samples of what the native tree sweeps whole");
    return few;
}

/* Returns `whole` if EFFORT is all; else the same as sampled(some, few). */
static inline size_t sampled_unless_all(size_t whole, size_t some, size_t few)
{
    return effort_is("all") ? whole : sampled(some, few);
}

/* Returns true if an emulator runs this program: tests/run_tests.sh sets EMULATOR, which is empty on a real CPU. An
 * emulated program cannot start itself as another process. */
static inline bool is_emulated(void)
{
    const char *const emulator = getenv("EMULATOR");
    return emulator && *emulator;
}

#endif
