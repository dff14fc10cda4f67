/* SPDX-License-Identifier: MIT
 * The power fails: a directory as a disk may hold it after the first records of a log (tests/faults/power_log.h). Bytes
 * last from the fsync of their file on, names from that of a folder in which they are; of what came later any part may
 * be there, names and sectors each by itself. */
#ifndef POWER_H
#define POWER_H

#include <stddef.h>
#include <stdint.h>

enum { POWER_WAYS = 6 }; /* by seed % POWER_WAYS; see survives() */

typedef struct power power;

/* Reads the directory as it is before the run. */
power *power_of(const char *directory);
void power_load(power *p, const char *log);
size_t power_records(const power *p);

/* Builds the disk after the first `count` records in the empty directory. */
void power_build(const power *p, size_t count, uint64_t seed, const char *directory);

#endif
