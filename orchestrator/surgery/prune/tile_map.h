/* SPDX-License-Identifier: MIT
 * Maps where weights were killed in one tensor. Counts from the bytes of donor and copy, so that audits and all methods
 * of pruning give the same map. */
#ifndef ORGAN_TILE_MAP_H
#define ORGAN_TILE_MAP_H

#include "orchestrator/stream/pass.h"
#include "orchestrator/surgery/facts/facts.h"

/* Maps the tensor among `rows` (`count` targets with their counts) whose percentage of killed weights differs most from
 * the mean over the rows; of several such tensors, the first:
 *
 *     {"tensor", "percent", "mean", "matrices", "matrix_rows", "matrix_cols", "tile", "rows", "cols",
 *      "killed": [rows x cols]}
 *
 * Tiles are `tile` x `tile` weights, clipped at the edges of each matrix; the matrices of a stack of experts follow one
 * below the other. `tile` is `block`, halved while there are fewer than 256 tiles and doubled while there are more than
 * 4,096. The caller releases *map, which is NULL, without an error, if no row is a matrix. Returns errors of
 * organ_pass_run. */
organ_status organ_tile_map(const organ_model *donor, const organ_model *copy, const organ_tally *rows, size_t count,
                            size_t block, const organ_engine *engine, json_t **map, organ_error *error);

/* Returns the bytes of --memory that suffice to map the tensor with this number of workers. */
uint64_t organ_tile_map_memory(const organ_tensor *tensor, size_t workers);

#endif
