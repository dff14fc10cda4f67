/* SPDX-License-Identifier: MIT
 * Power cuts: builds a directory as a disk may contain it after the first records of a log (tests/faults/power_log.h).
 * Contents are safe after the fsync of their file, names after that of their folder; of later changes any name and any
 * sector may have survived. */
#ifndef POWER_H
#define POWER_H

#include <stddef.h>
#include <stdint.h>

enum { POWER_WAYS = 6 }; /* chosen by seed % POWER_WAYS in survives() */

typedef struct power power;

/* Records the content of the directory before the run. */
power *power_of(const char *directory);
void power_load(power *p, const char *log);
size_t power_records(const power *p);

/* Builds the disk after the first `count` records in the empty directory. */
void power_build(const power *p, size_t count, uint64_t seed, const char *directory);

#endif
