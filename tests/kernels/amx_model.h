/* SPDX-License-Identifier: MIT
 * A model of AMX in plain C: eight tile registers of 16 rows of 64 bytes, and TDPBF16PS as Intel's manual defines it.
 * With it the code over tiles.h runs on CPUs without AMX. */
#include "kernels/simd/scalar.h"
#include <float.h>

#define TILE_BARRIER                 (void)0
#define TILE_ZERO(tile)              memset(model_tiles[tile], 0, sizeof model_tiles[tile])
#define TILE_LOAD(tile, from, bytes) model_move(model_tiles[tile], 64, from, bytes)
#define TILE_DOT(sums, a, b)         model_dot(sums, a, b)
#define TILE_STORE(tile, to, bytes)  model_move(to, bytes, model_tiles[tile], 64)

static unsigned char model_tiles[8][16 * 64];

static void model_move(void *to, size_t to_bytes, const void *from, size_t from_bytes)
{
    for (size_t row = 0; row < 16; row++)
        memcpy((unsigned char *)to + row * to_bytes, (const unsigned char *)from + row * from_bytes, 64);
}

/* Flushes subnormal operands and results to zero. */
static float model_flush(float value) { return fabsf(value) < FLT_MIN ? copysignf(0, value) : value; }

static float model_widen(const unsigned char *word)
{
    const uint32_t bits = (uint32_t)word[0] << 16 | (uint32_t)word[1] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return model_flush(value);
}

/* Multiplies each row of a with each column of b: even and odd products are summed separately, then added, then added
 * to the old sum. */
static void model_dot(int sums, int a, int b)
{
    for (size_t row = 0; row < 16; row++)
        for (size_t column = 0; column < 16; column++) {
            float parts[2] = {0, 0}, before;
            for (size_t pair = 0; pair < 16; pair++)
                for (size_t of = 0; of < 2; of++)
                    parts[of] =
                        model_flush(fmaf(model_widen(model_tiles[a] + row * 64 + pair * 4 + of * 2),
                                         model_widen(model_tiles[b] + pair * 64 + column * 4 + of * 2), parts[of]));
            unsigned char *const at = model_tiles[sums] + row * 64 + column * 4;
            memcpy(&before, at, sizeof before);
            before = model_flush(model_flush(before) + model_flush(parts[0] + parts[1]));
            memcpy(at, &before, sizeof before);
        }
}

INLINE void tiles_begin(void) { memset(model_tiles, 0xff, sizeof model_tiles); }
INLINE void tiles_end(void) {}

#include "kernels/simd/tiles.h"
