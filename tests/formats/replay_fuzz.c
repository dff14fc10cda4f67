/* SPDX-License-Identifier: MIT
 * Replays the inputs in fixtures/fuzz_safetensors, then mutations of them, always the same, for as long as a test may take. Ends with the
 * line "N passed, N failed"; an input that breaks the program breaks this one. */
#include "tests/formats/fuzz_safetensors.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUTS = 256, LARGEST = 8192, MUTATIONS = 100000 };

typedef struct input {
    uint8_t bytes[LARGEST];
    size_t size;
} input;

static input inputs[INPUTS];

static int visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static size_t load(const char *directory)
{
    struct dirent **names;
    const int count = scandir(directory, &names, visible, alphasort);
    size_t loaded = 0;
    for (int k = 0; k < count; k++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", directory, names[k]->d_name);
        free(names[k]);
        FILE *file = loaded < INPUTS ? fopen(path, "rb") : NULL;
        if (!file)
            continue;
        inputs[loaded].size = fread(inputs[loaded].bytes, 1, LARGEST, file);
        fclose(file);
        loaded++;
    }
    if (count >= 0)
        free(names);
    return loaded;
}

/* xorshift64*: the same numbers everywhere. */
static uint32_t roll(uint32_t below)
{
    static uint64_t state = 0x9E3779B97F4A7C15u;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545F4914F6CDD1Du) >> 33) % below;
}

/* What parsers trip over. */
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
                                     "\"shape\":",
                                     "\"dtype\":\"F4\",",
                                     "\"__metadata__\":{},",
                                     "../",
                                     "\xff",
                                     "\xed\xa0\x80",
                                     " ",
                                     "\n",
                                     "NaN",
                                     "-Infinity",
                                     "layers.3.",
                                     "experts.5.",
                                     "\xff\xff\xff\xff",
                                     "\xff\xff\xff\xff\xff\xff\xff\x7f",
                                     "\x09",
                                     "\x08",
                                     "blk.7.ffn_down.3"};

/* Replaces `cut` bytes at `at` by a piece. */
static void splice(input *in, size_t at, size_t cut, const uint8_t *piece, size_t length)
{
    if (at > in->size)
        at = in->size;
    if (cut > in->size - at)
        cut = in->size - at;
    if (in->size - cut + length > LARGEST)
        return;
    memmove(in->bytes + at + length, in->bytes + at + cut, in->size - at - cut);
    memcpy(in->bytes + at, piece, length);
    in->size = in->size - cut + length;
}

static void mutate(input *in, size_t count)
{
    for (uint32_t steps = 1 + roll(4); steps > 0; steps--) {
        const size_t at = roll((uint32_t)in->size + 1);
        const input *other = &inputs[roll((uint32_t)count)];
        const char *piece = pieces[roll(sizeof pieces / sizeof *pieces)];
        const size_t from = roll((uint32_t)other->size + 1);
        const uint8_t byte = (uint8_t)roll(256);
        switch (roll(4)) {
        case 0:
            splice(in, at, 1, &byte, 1);
            break;
        case 1:
            splice(in, at, roll(24), &byte, 0);
            break;
        case 2:
            splice(in, at, roll(20), (const uint8_t *)piece, strlen(piece));
            break;
        default:
            splice(in, at, roll(40), other->bytes + from, roll((uint32_t)(other->size - from) + 1));
        }
    }
}

int main(void)
{
    const size_t count = load("fixtures/fuzz_safetensors");
    static input in;
    for (size_t k = 0; k < count; k++)
        LLVMFuzzerTestOneInput(inputs[k].bytes, inputs[k].size);
    for (int k = 0; count > 0 && k < MUTATIONS; k++) {
        in = inputs[roll((uint32_t)count)];
        mutate(&in, count);
        LLVMFuzzerTestOneInput(in.bytes, in.size);
    }
    printf("%zu passed, %d failed\n", count, count == 0);
    return count == 0;
}
