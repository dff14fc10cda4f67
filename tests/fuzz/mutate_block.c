/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/mutate.h"

enum { WORD = 8 };

/* Turns a word of 8 bytes into a pointer into the block, aligned or not. */
static void set_pointer(fuzz_input *in, size_t at)
{
    const size_t place = fuzz_roll(in, in->size), step = fuzz_roll(in, 2) ? WORD : 1;
    fuzz_set_number(in, at, WORD, fuzz_number_at(in, 0, WORD) + place / step * step);
}

static void set_odd(fuzz_input *in, size_t at)
{
    const size_t half = fuzz_roll(in, 2) ? WORD : WORD / 2, place = at + (half < WORD ? half * fuzz_roll(in, 2) : 0);
    fuzz_set_number(in, place, half, fuzz_odd_number(in, fuzz_number_at(in, place, half)));
}

static void set_small(fuzz_input *in, size_t at)
{
    fuzz_set_number(in, at + WORD / 2 * fuzz_roll(in, 2), WORD / 2, fuzz_roll(in, 20));
}

static void set_as_another(fuzz_input *in, size_t at)
{
    fuzz_set_number(in, at, WORD, fuzz_number_at(in, WORD * fuzz_roll(in, in->size / WORD), WORD));
}

static void (*const changes[])(fuzz_input *, size_t at) = {set_pointer, set_odd, set_small, set_as_another};

size_t fuzz_mutate_block(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    fuzz_input in = fuzz_input_of(data, size, room, seed);
    if (fuzz_roll(&in, 4) == 0 || size < 2 * WORD)
        return fuzz_mutate_bytes(data, size, room, seed);
    for (size_t steps = 1 + fuzz_roll(&in, 3); steps > 0; steps--)
        changes[fuzz_roll(&in, sizeof changes / sizeof *changes)](&in, WORD * fuzz_roll(&in, size / WORD));
    return in.size;
}
