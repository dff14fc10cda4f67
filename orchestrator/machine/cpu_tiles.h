/* SPDX-License-Identifier: MIT
 * The tile registers of AMX, which Linux gives to a process only if it asks. */
#ifndef ORGAN_CPU_TILES_H
#define ORGAN_CPU_TILES_H

#include <stdbool.h>
#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Whether they are granted, however often it is asked: then each thread that uses them takes 8 KiB more. By arch_prctl
 * with what asm/prctl.h of 5.16 calls ARCH_REQ_XCOMP_PERM, for XTILEDATA. */
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
