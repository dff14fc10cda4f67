/* SPDX-License-Identifier: MIT
 * Maps where weights were killed in one tensor: the number of killed weights in each of its tiles. The map is computed
 * from the bytes of donor and copy (the pruned model), so audits and all methods of pruning give the same map. */
#ifndef ORGAN_TILE_MAP_H
#define ORGAN_TILE_MAP_H

#include <organ/stream.h>
#include "orchestrator/surgery/facts/facts.h"

/* `rows` are `count` targets with their counts. Maps the target whose percentage of killed weights differs most from
 * the mean over all rows (of several such targets the first). *map is
 *
 *     {"tensor", "percent", "mean", "matrices", "matrix_rows", "matrix_cols", "tile", "rows", "cols",
 *      "killed": [rows x cols]}
 *
 * where "killed" has rows x cols counts, row by row. Tiles are `tile` x `tile` weights, clipped at the edges of each
 * matrix; the rows of tiles of a stack's matrices follow one another. `tile` is `block`, halved while there are fewer
 * than 256 tiles and doubled while there are more than 4,096. The caller releases *map. *map is NULL, without an error,
 * if no target is a matrix. Returns errors of organ_pass_run, and ORGAN_IO if memory runs out. */
organ_status organ_tile_map(const organ_model *donor, const organ_model *copy, const organ_tally *rows, size_t count,
                            size_t block, const organ_engine *engine, json_t **map, organ_error *error);

/* Returns a --memory, in bytes, that suffices to map the tensor with this number of workers. */
uint64_t organ_tile_map_memory(const organ_tensor *tensor, size_t workers);

#endif
