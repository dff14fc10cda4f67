/* SPDX-License-Identifier: MIT
 * Keeps the scores of a search, in memory and in the file of --scores: the influence of each block, and the divergence
 * of each judged set of blocks. An interrupted search continues with the file; a search for another number of blocks
 * reuses the influences. */
#ifndef ORGAN_LAYERS_KNOWN_SETS_H
#define ORGAN_LAYERS_KNOWN_SETS_H

#include "orchestrator/surgery/cache/cache.h"
#include "orchestrator/ranks/ranks.h"

#define ORGAN_LAYERS_SCORES_SCHEMA "organ.layers_scores/1"

/* The scores of a search. It is empty if all members except `layers` are zero. */
typedef struct organ_layers_known {
    size_t layers, count, capacity; /* layers of the model; stored sets; sets for which there is memory */
    double *influence;              /* influence of each layer; NULL: not measured yet */
    bool *dropped;                  /* flags of the sets, `layers` for each */
    double *divergence;             /* divergence of each set, in nats per token */
} organ_layers_known;

/* Reads the scores from the file `path`; *known stays empty if there is no file or `path` is NULL. `identity` has the
 * digests of the model and the text, and how the text is cut into windows; scores of another identity are rejected.
 * Returns errors of organ_cache_read, and ORGAN_BAD_INPUT for a row that is not a set or not an influence. Release
 * *known in any case. */
organ_status organ_layers_known_read(organ_layers_known *known, size_t layers, const char *path, const json_t *identity,
                                     organ_error *error);
/* Writes influences and judged sets to `path`. All ranks have the same sets, so only rank 0 writes. Returns ORGAN_IO if
 * the file cannot be written. */
organ_status organ_layers_known_write(const organ_layers_known *known, const char *path, const json_t *identity,
                                      organ_ranks *ranks, organ_error *error);
void organ_layers_known_release(organ_layers_known *known);

/* Returns whether the set has a stored divergence, and sets *divergence to it. */
bool organ_layers_known_find(const organ_layers_known *known, const bool *dropped, double *divergence);
/* Stores the divergence of a judged set. Returns false if memory runs out. */
bool organ_layers_known_add(organ_layers_known *known, const bool *dropped, double divergence);
/* Stores a copy of the influences of all blocks. Returns false if memory runs out. */
bool organ_layers_known_influence(organ_layers_known *known, const double *influence);

/* Returns an array of the numbers of the blocks whose flags are set, for a report. NULL if memory runs out. */
json_t *organ_layers_numbers_json(const bool *flags, size_t layers);

#endif
