/* SPDX-License-Identifier: MIT
 * The instructions on tile registers that tiles.h needs, by AMX. Needs AMX-TILE and AMX-BF16, and permission from
 * the operating system. */
#include <immintrin.h>

/* A tile load does not declare to the compiler that it reads memory. Without this barrier the compiler may move
 * stores past it. */
#define TILE_BARRIER                 __asm__ volatile("" ::: "memory")
#define TILE_ZERO(tile)              _tile_zero(tile)
#define TILE_LOAD(tile, from, bytes) _tile_loadd(tile, from, bytes)
#define TILE_DOT(sums, a, b)         _tile_dpbf16ps(sums, a, b)
#define TILE_STORE(tile, to, bytes)  _tile_stored(tile, to, bytes)

/* The operand of LDTILECFG: palette 1, and for each tile the bytes of a row and the number of rows. */
typedef struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;
_Static_assert(sizeof(tile_shapes) == 64, "the layout is Intel's");

/* Configures tile registers 0 to 7 with 16 rows of 64 bytes each. */
INLINE void tiles_begin(void)
{
    static const tile_shapes shapes = {
        .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&shapes);
}

/* Releases the tile registers. */
INLINE void tiles_end(void) { _tile_release(); }

#include "kernels/simd/tiles.h"
