/* SPDX-License-Identifier: MIT
 * What sweeps over everything takes minutes on an emulated processor, and much of it does under sanitizers: tests/run_tests.sh sets
 * EMULATED or SANITIZED there, and the tests that ask here take samples, after a line that says so. Natively a sweep is whole, but for what
 * takes so long that `ninja test-whole` alone does it, which sets WHOLE. */
#ifndef ORGAN_TESTS_EMULATED_H
#define ORGAN_TESTS_EMULATED_H
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* `whole`, or `sample` on an emulated processor. */
static inline size_t sample_if_emulated(size_t whole, size_t sample)
{
    static int told;
    if (!getenv("EMULATED"))
        return whole;
    if (!__atomic_exchange_n(&told, 1, __ATOMIC_RELAXED))
        puts("emulated: samples of what is swept whole on a real processor");
    return sample;
}

/* `whole`, or `sample` on an emulated processor and under sanitizers. */
static inline size_t sample_if_slow(size_t whole, size_t sample)
{
    static int told;
    if (!getenv("SANITIZED"))
        return sample_if_emulated(whole, sample);
    if (!__atomic_exchange_n(&told, 1, __ATOMIC_RELAXED))
        puts("sanitized: samples of what is swept whole without");
    return sample;
}

/* `whole` in `ninja test-whole` alone; else `sample`, or `few` on an emulated processor and under sanitizers. */
static inline size_t sample_unless_whole(size_t whole, size_t sample, size_t few)
{
    return sample_if_slow(getenv("WHOLE") ? whole : sample, few);
}

#endif
