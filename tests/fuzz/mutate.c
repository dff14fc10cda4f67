/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/mutate.h"

#include <stdlib.h>
#include <string.h>

fuzz_input fuzz_input_of(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    return (fuzz_input){.data = data,
                        .size = size,
                        .room = room,
                        .state = 0x9E3779B97F4A7C15u ^ (uint64_t)(seed + 1) * 0xD1342543DE82EF95u};
}

size_t fuzz_roll(fuzz_input *in, size_t below)
{
    in->state ^= in->state >> 12;
    in->state ^= in->state << 25;
    in->state ^= in->state >> 27;
    return below ? (size_t)((in->state * 0x2545F4914F6CDD1Du) >> 33) % below : 0;
}

bool fuzz_splice(fuzz_input *in, size_t at, size_t cut, const void *piece, size_t length)
{
    if (at > in->size)
        at = in->size;
    if (cut > in->size - at)
        cut = in->size - at;
    if (in->size - cut + length > in->room)
        return false;
    uint8_t *const copy = malloc(length + 1);
    if (!copy)
        return false;
    if (length)
        memcpy(copy, piece, length);
    memmove(in->data + at + length, in->data + at + cut, in->size - at - cut);
    memcpy(in->data + at, copy, length);
    in->size = in->size - cut + length;
    free(copy);
    return true;
}

uint64_t fuzz_number_at(const fuzz_input *in, size_t at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t k = 0; k < bytes && at + k < in->size; k++)
        value |= (uint64_t)in->data[at + k] << 8 * k;
    return value;
}

void fuzz_set_number(fuzz_input *in, size_t at, size_t bytes, uint64_t value)
{
    for (size_t k = 0; k < bytes && at + k < in->size; k++)
        in->data[at + k] = (uint8_t)(value >> 8 * k);
}

uint64_t fuzz_odd_number(fuzz_input *in, uint64_t value)
{
    const uint64_t power = (uint64_t)1 << fuzz_roll(in, 64);
    const uint64_t choices[] = {power,
                                power - 1,
                                power + 1,
                                -power,
                                0 - (uint64_t)fuzz_roll(in, 40),
                                fuzz_roll(in, 40),
                                value + 1,
                                value - 1,
                                value + power,
                                value * 2,
                                value / 2,
                                value ^ power};
    return choices[fuzz_roll(in, sizeof choices / sizeof *choices)];
}

/* Texts that often break parsers. */
static const char *const pieces[] = {"{",
                                     "}",
                                     "[",
                                     "]",
                                     ",",
                                     ":",
                                     "\"",
                                     "\\",
                                     "\\u0000",
                                     "\\ud800",
                                     "-1",
                                     "0",
                                     "1e3",
                                     "1.5",
                                     "null",
                                     "true",
                                     "{}",
                                     "[]",
                                     "\"\"",
                                     "9223372036854775807",
                                     "9223372036854775808",
                                     "18446744073709551615",
                                     "18446744073709551616",
                                     "4294967296",
                                     "../",
                                     "\xff",
                                     "\xed\xa0\x80",
                                     " ",
                                     "\n",
                                     "\r\n",
                                     "NaN",
                                     "-Infinity",
                                     "layers.3.",
                                     "experts.5.",
                                     "\xff\xff\xff\xff",
                                     "\xff\xff\xff\xff\xff\xff\xff\x7f",
                                     "\x09",
                                     "\x08",
                                     "blk.7.ffn_down.3",
                                     FUZZ_BETWEEN,
                                     "<script>",
                                     "&",
                                     "'",
                                     "%00",
                                     "%2e"};

size_t fuzz_mutate_bytes(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    fuzz_input in = fuzz_input_of(data, size, room, seed);
    for (size_t steps = 1 + fuzz_roll(&in, 4); steps > 0; steps--) {
        const size_t at = fuzz_roll(&in, in.size + 1), from = fuzz_roll(&in, in.size + 1);
        const char *const piece = pieces[fuzz_roll(&in, sizeof pieces / sizeof *pieces)];
        const uint8_t byte = (uint8_t)fuzz_roll(&in, 256);
        const size_t cut = fuzz_roll(&in, 24), copied = fuzz_roll(&in, in.size - from + 1);
        const struct {
            const void *piece;
            size_t cut, length;
        } steps_of[] = {{&byte, 1, 1}, {&byte, cut, 0}, {piece, cut, strlen(piece)}, {in.data + from, cut, copied}};
        const size_t k = fuzz_roll(&in, sizeof steps_of / sizeof *steps_of);
        fuzz_splice(&in, at, steps_of[k].cut, steps_of[k].piece, steps_of[k].length);
    }
    return in.size;
}
