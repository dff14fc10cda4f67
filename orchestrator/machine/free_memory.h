/* SPDX-License-Identifier: MIT
 * The memory that a process can use without taking it from others: what the machine has free, within the limits of the
 * process's control groups. */
#ifndef ORGAN_MACHINE_FREE_MEMORY_H
#define ORGAN_MACHINE_FREE_MEMORY_H

#include <organ/base.h>
#include <stdint.h>

/* The free memory, and what limits it. */
typedef struct organ_free_memory {
    uint64_t bytes;
    char group[256]; /* path of the control group that leaves the fewest bytes; "": the machine has the fewest */
} organ_free_memory;

/* Reads MemAvailable of the machine, and for the memory control groups of this process (version 1 and 2) and all groups
 * above them what their limits leave. Page cache that the kernel can drop counts as free. *found is the least of these
 * amounts. `root` is put before the paths of all files: "" for this machine, or a directory with recorded copies of
 * them. Returns ORGAN_IO if the file with MemAvailable cannot be read, or if a group's limit cannot. */
organ_status organ_free_memory_read(const char *root, organ_free_memory *found, organ_error *error);

#endif
