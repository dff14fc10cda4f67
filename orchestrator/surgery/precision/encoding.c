/* SPDX-License-Identifier: MIT
 * The table of encodings. */
#include "orchestrator/surgery/precision/encoding.h"

#include <stdio.h>
#include <string.h>

/* Defines NUMBER_Q4_0 and so on: the numbers of block types in GGUF files. */
#define NUMBER(type, elements, bytes, number) NUMBER_##type = (number),
enum { ORGAN_BLOCK_TYPES(NUMBER) };
#undef NUMBER

/* clang-format off */
/* Rows of the table, in the order of the members: name, grid (bits, values that share a scale, their size), type of
 * codes, type of scales, narrower encoding, GGUF file type. */
#define PACKED(bits, size) {"int" #bits "-group" #size, {bits, ORGAN_SCALE_GROUP, size}, ORGAN_I32, ORGAN_BF16, NULL, 0}
#define BLOCKS(name, bits, type, narrower, file_type)                                                                  \
    {name, {bits, ORGAN_SCALE_GGUF, NUMBER_##type}, ORGAN_##type, ORGAN_DTYPE_COUNT, narrower, file_type}

static const organ_encoding encodings[] = {
    {"fp8-block128", {0, ORGAN_SCALE_BLOCK, 128}, ORGAN_F8_E4M3, ORGAN_F32, NULL, 0},
    {"fp8-tensor", {0, ORGAN_SCALE_TENSOR, 0}, ORGAN_F8_E4M3, ORGAN_BF16, NULL, 0},
    {"fp8-channel", {0, ORGAN_SCALE_CHANNEL, 0}, ORGAN_F8_E4M3, ORGAN_BF16, NULL, 0},
    {"int8-channel", {8, ORGAN_SCALE_CHANNEL, 0}, ORGAN_I8, ORGAN_BF16, NULL, 0},
    PACKED(8, 128), PACKED(8, 64), PACKED(8, 32),
    PACKED(4, 128), PACKED(4, 64), PACKED(4, 32),
    PACKED(3, 128), PACKED(3, 64), PACKED(3, 32),
    PACKED(2, 128), PACKED(2, 64), PACKED(2, 32),
    {"mixed", {8, ORGAN_SCALE_GROUP, 32}, ORGAN_I32, ORGAN_BF16, NULL, 0},
    BLOCKS("q4_0", 4, Q4_0, NULL, 2),
    BLOCKS("q4_1", 4, Q4_1, NULL, 3),
    BLOCKS("q5_0", 5, Q5_0, NULL, 8),
    BLOCKS("q5_1", 5, Q5_1, NULL, 9),
    BLOCKS("q8_0", 8, Q8_0, NULL, 7),
    BLOCKS("q4_k", 4, Q4_K, "q5_0", 14),
    BLOCKS("q5_k", 5, Q5_K, "q5_1", 16),
    BLOCKS("q6_k", 6, Q6_K, "q8_0", 18),
};
/* clang-format on */

const organ_encoding *organ_encoding_named(const char *name)
{
    for (size_t k = 0; k < sizeof encodings / sizeof *encodings; k++)
        if (strcmp(name, encodings[k].name) == 0)
            return &encodings[k];
    return NULL;
}

bool organ_encoding_is_mixed(const organ_encoding *encoding) { return strcmp(encoding->name, "mixed") == 0; }

bool organ_encoding_is_gguf(const organ_encoding *encoding) { return encoding->grid.scale_of == ORGAN_SCALE_GGUF; }

bool organ_encoding_is_packed(const organ_encoding *encoding) { return encoding->codes == ORGAN_I32; }

/* Returns NULL if there is none. Sizes of groups are powers of 2. */
static const organ_encoding *encoding_smaller_group(const organ_grid *grid, uint64_t cols)
{
    char name[32];
    for (size_t size = grid->size / 2; size >= ORGAN_MIN_GROUP; size /= 2)
        if (cols % size == 0) {
            snprintf(name, sizeof name, "int%u-group%zu", grid->bits, size);
            return organ_encoding_named(name);
        }
    return NULL;
}

const organ_encoding *organ_encoding_fitting(const organ_encoding *requested, uint64_t cols)
{
    const organ_scale_of of = requested->grid.scale_of;
    if (of == ORGAN_SCALE_GROUP)
        return cols % requested->grid.size == 0 ? requested : encoding_smaller_group(&requested->grid, cols);
    if (of != ORGAN_SCALE_GGUF || cols % organ_dtype_describe(requested->codes)->elements == 0)
        return requested;
    return requested->narrower ? organ_encoding_fitting(organ_encoding_named(requested->narrower), cols) : NULL;
}
