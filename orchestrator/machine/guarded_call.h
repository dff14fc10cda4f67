/* SPDX-License-Identifier: MIT
 * A call into a library that does not check its allocations (hwloc, FFTW). If an allocation fails, such a library
 * writes through a null pointer, calls abort, or runs forever (hwloc 2.9, when it determines the number of CPUs). A
 * guarded call returns an error instead, so that the run ends with a message and removes its temporary files.
 *
 * organ_set_aside detects a lack of memory before such a call. The guard covers the remaining cases: another process
 * allocates the memory in between, or single allocations are limited. */
#ifndef ORGAN_GUARDED_CALL_H
#define ORGAN_GUARDED_CALL_H

#include <stdbool.h>

enum { ORGAN_GUARDED_MILLISECONDS = 60000 }; /* limit of processor time; hwloc and FFTW need less than a second */

/* Calls call(context) and returns true when the call has returned. If the call raises SIGSEGV, SIGBUS or SIGABRT on
 * this thread, or needs more than `milliseconds` (at least 1) of processor time of this thread, sets *broken and
 * returns false. There is no limit on systems without timers of threads (timer_create). The allocations of the
 * interrupted call leak, its locks stay locked, and its objects must not be used again. For this reason
 * organ_guarded_call returns false without the call if *broken is set already. Callers have one flag `broken` for each
 * library.
 *
 * Handlers of these signals and of SIGVTALRM are in place during the call only, for one guarded call of the process at
 * a time; a fault on another thread ends the process as it does without the guard. `call` contains the call into the
 * library and nothing that could hide a fault of organ. */
bool organ_guarded_call(void (*call)(void *context), void *context, unsigned milliseconds, bool *broken);

#endif
