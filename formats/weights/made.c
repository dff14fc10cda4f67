/* SPDX-License-Identifier: MIT */
#include "formats/weights/made.h"

organ_matrices organ_row_place_matrices(const organ_weight *weight)
{
    const organ_matrices m = organ_weight_matrices(weight);
    return weight->rank == 1 ? (organ_matrices){1, m.cols, 1} : m;
}

static uint64_t place_blocks(const organ_row_place *place, const organ_matrices *m)
{
    return place->blocks ? place->blocks : m->rows / place->block;
}

uint64_t organ_row_place_values(const organ_row_place *place, const organ_matrices *m)
{
    const uint64_t cols = place->transposed || place->column_slice ? place->cols : m->cols;
    return place->matrices * place_blocks(place, m) * place->rows * cols;
}

bool organ_row_place_to_gguf(const organ_row_place *place, const organ_matrices *m, uint64_t row, uint64_t *source,
                             uint64_t *column, uint64_t *left)
{
    const uint64_t blocks = place_blocks(place, m), made = place->transposed ? place->cols : place->rows;
    if (row < place->at)
        return false;
    row -= place->at;
    const uint64_t matrix = place->matrices > 1 ? row / place->per_matrix : 0;
    row -= matrix * place->per_matrix;
    const uint64_t block = blocks > 1 ? row / place->per_block : 0;
    row -= block * place->per_block;
    if (matrix >= place->matrices || block >= blocks || row >= made)
        return false;
    *source = (place->matrix + matrix) * m->rows + (place->from + block) * place->block + place->first;
    *left = made - row;
    *column = place->col + row * place->col_step;
    if (place->pairs)
        *source += row % 2 * (place->rows / 2) + row / 2;
    else if (!place->transposed)
        *source += row;
    return true;
}

bool organ_row_place_to_hf(const organ_row_place *place, const organ_matrices *m, uint64_t row, uint64_t *made,
                           uint64_t *column, uint64_t *left)
{
    const uint64_t matrix = row / m->rows, block = row % m->rows / place->block, within = row % m->rows % place->block;
    if (matrix < place->matrix || matrix - place->matrix >= place->matrices || block < place->from ||
        block - place->from >= place_blocks(place, m) || within < place->first || within - place->first >= place->rows)
        return false;
    const uint64_t k = within - place->first, half = place->rows / 2;
    *made = place->at + (matrix - place->matrix) * place->per_matrix + (block - place->from) * place->per_block;
    *left = place->rows - k;
    *column = k;
    if (place->pairs)
        *made += k < half ? 2 * k : 2 * (k - half) + 1;
    else if (!place->transposed)
        *made += k;
    return true;
}
