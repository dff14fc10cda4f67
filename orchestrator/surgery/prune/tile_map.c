/* SPDX-License-Identifier: MIT
 * Maps the killed weights of a tensor. Ranks: each rank counts some row ranges of the tensor, and the counts of all
 * ranks are added. */
#include "orchestrator/surgery/prune/tile_map.h"

#include "orchestrator/surgery/prune/compared.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { MIN_SIDE = 16, MIN_TILES = 256, MAX_TILES = 4096 }; /* limits of choose_side */

/* A map that is being made. The pass over the weights has tiles of its own, one row high: each is the part of a row
 * that one tile of the map covers. So bands are small whatever the size of the map's tiles. */
typedef struct mapping {
    const organ_engine *engine;
    const organ_tensor *tensor;
    uint64_t matrices, matrix_rows, matrix_cols; /* number of matrices of the tensor, and the shape of each */
    uint64_t side;                               /* side of a tile of the map, in weights */
    uint64_t rows, cols;                         /* rows and columns of tiles, over all matrices */
    uint64_t *killed;                            /* number of killed weights in each tile, rows x cols */
} mapping;

/* Returns x / by, rounded up. */
static uint64_t divide_rounding_up(uint64_t x, uint64_t by) { return (x + by - 1) / by; }

/* Sets the side of a tile, and the resulting numbers of rows and columns of tiles. */
static void set_side(mapping *m, uint64_t side)
{
    m->side = side;
    m->rows = m->matrices * divide_rounding_up(m->matrix_rows, side);
    m->cols = divide_rounding_up(m->matrix_cols, side);
}

/* Chooses the side of the map's tiles. Starts with `block`; halves it while there are fewer than MIN_TILES tiles and
 * the half is an integer of at least MIN_SIDE, then doubles it while there are more than MAX_TILES tiles. */
static void choose_side(mapping *m, uint64_t block)
{
    for (set_side(m, block); m->rows * m->cols < MIN_TILES && m->side % 2 == 0 && m->side / 2 >= MIN_SIDE;)
        set_side(m, m->side / 2);
    /* A tile never spans two matrices: with more than MAX_TILES matrices, doubling ends at one tile per matrix. */
    while (m->rows * m->cols > MAX_TILES && (m->side < m->matrix_rows || m->side < m->matrix_cols))
        set_side(m, m->side * 2);
}

/* Sets *mean to the mean percentage of killed weights over all rows. Returns the row of a tensor of rank 2 or more with
 * the percentage that differs most from *mean; NULL if there is no such tensor. */
static const organ_tally *farthest_from_mean(const organ_tally *rows, size_t count, double *mean)
{
    const organ_tally *found = NULL;
    double max = -1, sum = 0;
    for (size_t k = 0; k < count; k++)
        sum += organ_percent(rows[k].killed, rows[k].tensor->elements);
    *mean = count ? sum / (double)count : 0.0;
    for (size_t k = 0; k < count; k++) {
        const double difference = fabs(organ_percent(rows[k].killed, rows[k].tensor->elements) - *mean);
        if (rows[k].tensor->rank >= 2 && rows[k].tensor->elements && difference > max) {
            max = difference;
            found = &rows[k];
        }
    }
    return found;
}

/* Implements organ_pass.work: sets *result, a uint64_t, to the number of killed weights in the part of a row that is in
 * one tile of the map. */
static void count_tile(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const mapping *const m = context;
    organ_audit_counts counts = {0};
    (void)scratch;
    if (m->tensor->dtype == ORGAN_F32)
        m->engine->kernels->audit_32(tile->data, tile->other, tile->cols, &counts);
    else
        m->engine->kernels->audit_16(tile->data, tile->other, tile->cols, &counts);
    *(uint64_t *)result = counts.killed;
}

/* Implements organ_pass.retire: adds the killed weights of a band, which has whole rows of m->cols parts each, to the
 * tiles of the map. `first` is the band's first row in the tensor, counted over all matrices. */
static organ_status tile_map_retire_band(void *context, const organ_band *band, organ_error *error)
{
    mapping *const m = context;
    const uint64_t *const killed = band->results, per_matrix = m->rows / m->matrices;
    const uint64_t first = (band->offset - m->tensor->offset) / (m->tensor->bytes / (m->matrices * m->matrix_rows));
    (void)error;
    for (size_t t = 0; t < band->tiles; t++) {
        const uint64_t row = first + t / m->cols, matrix = row / m->matrix_rows, inside = row % m->matrix_rows;
        m->killed[(matrix * per_matrix + inside / m->side) * m->cols + t % m->cols] += killed[t];
    }
    return ORGAN_OK;
}

/* Returns the map as described in tile_map.h. `percent`: percentage of killed weights of the tensor; `mean`: mean of
 * this percentage over all targets. NULL if memory runs out. */
static json_t *map_json(const mapping *m, double percent, double mean)
{
    return ORGAN_OBJECT(SET_TEXT("tensor", m->tensor->name), SET_REAL("percent", percent),
                        SET_REAL("mean", organ_millionth(mean)), SET_COUNT("matrices", m->matrices),
                        SET_COUNT("matrix_rows", m->matrix_rows), SET_COUNT("matrix_cols", m->matrix_cols),
                        SET_COUNT("tile", m->side), SET_COUNT("rows", m->rows), SET_COUNT("cols", m->cols),
                        SET("killed", organ_counts_json(m->rows * m->cols, m->killed)));
}

/* Adds the killed weights in this rank's share of the row ranges to m->killed. */
static organ_status map_share(mapping *m, const organ_model *donor, const organ_model *copy,
                              const organ_compared *pairs, organ_error *error)
{
    const organ_pass pass = {.model = donor,
                             .other = copy,
                             .items = pairs->items,
                             .item_count = pairs->cuts.count,
                             .tile_rows = 1,
                             .tile_cols = m->side,
                             .result_bytes = sizeof(uint64_t),
                             .context = m,
                             .work = count_tile,
                             .retire = tile_map_retire_band};
    return organ_pass_run(&pass, m->engine, error);
}

/* Sets m->killed: each rank counts the killed weights in its share of the row ranges, then the counts of all ranks are
 * added. */
static organ_status map_tensor(mapping *m, const organ_model *donor, const organ_model *copy, organ_error *error)
{
    const organ_tensor *const other = organ_model_find(copy, m->tensor->name);
    organ_compared pairs = {0};
    if (organ_compared_make(&m->tensor, &other, 1, m->engine->ranks, &pairs, error) == ORGAN_OK)
        map_share(m, donor, copy, &pairs, error);
    organ_compared_release(&pairs);
    return organ_ranks_add(m->engine->ranks, "mapping tiles", m->killed, m->rows * m->cols, error);
}

/* Chooses the tensor to map, counts its killed weights in tiles, and returns the map in *map. */
organ_status organ_tile_map(const organ_model *donor, const organ_model *copy, const organ_tally *rows, size_t count,
                            size_t block, const organ_engine *engine, json_t **map, organ_error *error)
{
    double mean;
    const organ_tally *const row = farthest_from_mean(rows, count, &mean);
    *map = NULL;
    if (!row)
        return ORGAN_OK;
    const organ_matrices matrices = organ_tensor_matrices(row->tensor);
    mapping m = {.engine = engine,
                 .tensor = row->tensor,
                 .matrices = matrices.count,
                 .matrix_rows = matrices.rows,
                 .matrix_cols = matrices.cols};
    choose_side(&m, block);
    m.killed = calloc(m.rows * m.cols, sizeof *m.killed);
    if (!m.killed)
        organ_fail_errno(error, ENOMEM, "%s", donor->path);
    else if (map_tensor(&m, donor, copy, error) == ORGAN_OK &&
             !(*map = map_json(&m, organ_percent(row->killed, row->tensor->elements), mean)))
        organ_fail_errno(error, ENOMEM, "%s", donor->path);
    free(m.killed);
    return error->status;
}

/* Returns a --memory, in bytes, that suffices to map the tensor. */
uint64_t organ_tile_map_memory(const organ_tensor *tensor, size_t workers)
{
    /* Scratch of the workers; two bands of one row, each in both models; for each band a counter per part of the row;
     * and the constant part of a pass. */
    const uint64_t cols = organ_tensor_matrices(tensor).cols, row = cols * organ_dtype_describe(tensor->dtype)->bytes;
    return workers * 4096 + 4 * row + 2 * sizeof(uint64_t) * divide_rounding_up(cols, MIN_SIDE) + (160 << 10);
}
