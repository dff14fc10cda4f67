/* SPDX-License-Identifier: MIT
 * What the parts of a run over units share: unit_run.c makes units and takes over those of an earlier run, unit_share.c
 * deals them to ranks. */
#ifndef ORGAN_UNIT_RUN_PARTS_H
#define ORGAN_UNIT_RUN_PARTS_H

#include "orchestrator/surgery/output/unit_run.h"

#include <pthread.h>
#include <stdio.h>

/* Bytes of a piece that were put together. */
typedef struct organ_unit_extent {
    uint64_t at, bytes, xxh3;
} organ_unit_extent;

typedef struct organ_unit_extents {
    organ_unit_extent *list;
    size_t count, room;
} organ_unit_extents;

struct organ_unit_log {
    pthread_mutex_t lock;
    organ_unit_extents *of_piece;
    size_t *unit_of; /* of each piece */
    bool *elsewhere; /* units that another rank makes: they count as done meanwhile */
    FILE *told;      /* among ranks: the lines of the units that this one has made, */
    char *text;      /* as a text, */
    size_t length;   /* of so many bytes */
};

uint64_t organ_unit_bytes(const organ_unit_run *run, size_t unit); /* in the output */

/* The line of a unit whose bytes are in the output: takes over its results. */
void organ_unit_recall(organ_unit_run *run, size_t unit, const json_t *line);

#endif
