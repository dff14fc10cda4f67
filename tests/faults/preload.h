/* SPDX-License-Identifier: MIT
 * Common part of the LD_PRELOAD libraries that make one event of a program fail. main runs repeatedly, each time in a
 * child, and events are identified by the calls that lead to them.
 *
 * ORGAN_FAULT_MAP=FILE: writes 64-bit words into FILE, the number of events and for each a digest of the calls that led
 * to it, with its possible faults in the lowest 16 bits
 * ORGAN_FAULT_AT=N: the event after N others fails; events are counted from the start of main to its end
 * ORGAN_FAULT_KIND=K: the kind of the fault, a bit of those in the map, from 0 on
 * ORGAN_FAULT_SHOW=1: prints the calls that led to the failing event
 * ORGAN_FAULT_SERVE=1: reads these from standard input instead (serve()) */
#ifndef PRELOAD_H
#define PRELOAD_H

#include <stdbool.h>
#include <stdint.h>

/* Bit of the map: the event removes something, which stays if it fails. */
#define PRELOAD_REMOVES 0x8000u

/* Exit code of a run that a library ended by a crash, because its allocation was refused (refuse_memory.c). */
enum { PRELOAD_CRASHED = 88 };

/* Bits of the kinds that last: after such an event has failed, all later events with the bit fail. */
extern const unsigned preload_lasting;

/* Called in each child before main begins. */
void preload_begin(void);

/* Returns how the present event fails, a number from 0 on, or -1. `kinds` are the bits of its possible faults. */
int preload_event(unsigned kinds);

/* Returns true if main runs and the call is not made by a library itself. */
bool preload_counts(void);
/* Sets whether the events of this thread are the library's own; returns the old value. */
bool preload_inside(bool inside);
/* Returns the directory of a main that serve() started, or NULL. */
const char *preload_directory(void);

void *preload_find(const char *name);

#endif
