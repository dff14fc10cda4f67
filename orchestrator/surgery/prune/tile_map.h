/* SPDX-License-Identifier: MIT
 * Where in one tensor the killed weights lie: counted anew from the bytes of donor and copy, so that every method of
 * pruning and an audit tell the same. */
#ifndef ORGAN_TILE_MAP_H
#define ORGAN_TILE_MAP_H

#include "orchestrator/stream/pass.h"
#include "orchestrator/surgery/facts/tally.h"

/* Of the matrix among `rows` whose percentage of killed weights is farthest from the mean of all (of several the
 *first):
 *
 *     {"tensor", "percent", "mean", "matrices", "matrix_rows", "matrix_cols", "tile", "rows", "cols", "killed": [rows x
 *     cols]}
 *
 * Tiles are `tile` x `tile` weights, clipped at the edges of each matrix; matrices (experts) lie one below the other.
 * `tile` is `block`,
 * halved while there are fewer than 256 tiles, doubled while there are more than 4,096. *map is NULL, without an error,
 * where no row is a
 * matrix. Errors as of organ_pass_run. */
organ_status organ_tile_map(const organ_model *donor, const organ_model *copy, const organ_tally *rows, size_t count,
                            size_t block, const organ_engine *engine, json_t **map, organ_error *error);

/* Bytes of memory that are enough to map a tensor. */
uint64_t organ_tile_map_memory(const organ_tensor *tensor, size_t workers);

#endif
