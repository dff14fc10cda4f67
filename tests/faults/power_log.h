/* SPDX-License-Identifier: MIT
 * The log of a run's changes to files in their order: a file of records, each followed by its names and bytes. */
#ifndef POWER_LOG_H
#define POWER_LOG_H

#include "tests/faults/calls.h"

#include <stdint.h>

enum power_act {
    POWER_MAKE,   /* creates node, an empty file, as names[0] of folders[0] */
    POWER_FOLDER, /* creates node, a folder */
    POWER_LINK,   /* adds a name */
    POWER_REMOVE, /* removes names[0] of folders[0], which was node */
    POWER_RENAME, /* renames node: from names[0] of folders[0] to names[1] of folders[1] */
    POWER_TRADE,  /* exchanges two names: node was names[0], other names[1] */
    POWER_WRITE,  /* writes bytes at offset */
    POWER_SIZE,   /* sets the size of node to offset */
    POWER_SYNC,   /* synchronises node, a file or a folder */
    POWER_ALL     /* synchronises everything */
};

typedef struct power_record {
    uint32_t act, names[2]; /* bytes of each name */
    uint32_t bytes;         /* bytes of data after the names */
    uint64_t node, other, folders[2], offset;
} power_record;

/* Starts recording into the file; NULL records nothing. */
void power_begin(const char *path);
/* Makes a call and records its effect. */
long power_make(const call *c);

#endif
