/* SPDX-License-Identifier: MIT
 * Requests the tile registers of AMX, which Linux gives a process only on request. */
#ifndef ORGAN_CPU_TILES_H
#define ORGAN_CPU_TILES_H

#include <stdbool.h>
#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Requests from Linux the permission to use tile registers; returns true if it is granted. Repeated calls are allowed.
 * Each thread that uses tiles then needs 8 KiB more for its saved registers. ASK and TILE_DATA are ARCH_REQ_XCOMP_PERM
 * of asm/prctl.h (Linux 5.16) and the number of the XTILEDATA state component. */
static inline bool organ_ask_for_tiles(void)
{
#if defined(__x86_64__)
    enum { ASK = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
#else
    return false;
#endif
}

#endif
