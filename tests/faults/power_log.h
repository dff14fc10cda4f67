/* SPDX-License-Identifier: MIT
 * What a run has done to files, in the order in which it was done: a file of records, each followed by its names and
 * bytes. */
#ifndef POWER_LOG_H
#define POWER_LOG_H

#include "tests/faults/calls.h"

#include <stdint.h>

enum power_act {
    POWER_MAKE,   /* node, an empty file, is names[0] of folders[0] */
    POWER_FOLDER, /* the same of a folder */
    POWER_LINK,   /* one more name */
    POWER_REMOVE, /* names[0] of folders[0] goes, which was of node */
    POWER_RENAME, /* node: from names[0] of folders[0] to names[1] of folders[1] */
    POWER_TRADE,  /* the two names are exchanged: node was names[0], other names[1] */
    POWER_WRITE,  /* bytes at offset */
    POWER_SIZE,   /* offset is the size of node */
    POWER_SYNC,   /* node, a file or a folder, is on the disk */
    POWER_ALL     /* everything is */
};

typedef struct power_record {
    uint32_t act, names[2]; /* bytes of each name */
    uint32_t bytes;         /* that follow the names */
    uint64_t node, other, folders[2], offset;
} power_record;

/* Begins to write into the file; NULL: nothing is noted. */
void power_begin(const char *path);
/* Makes a call, and notes what it has done. */
long power_make(const call *c);

#endif
