/* SPDX-License-Identifier: MIT
 * System calls as the handler of fail_calls.c gets them. */
#ifndef CALLS_H
#define CALLS_H

#include <stdbool.h>

enum { CALLS_PATH = 4352 };

typedef struct call {
    long number, a[6];
} call;

/* Makes the system call, which the handler then does not intercept. Returns the kernel's result, -errno on failure. */
long calls_make(const call *c);
long calls_raw(long number, long a, long b, long c);
long calls_open(const char *path, int flags);

/* Writes the absolute path of a name in the folder of that descriptor; returns false if there is none. */
bool calls_path(long folder, const char *name, char path[CALLS_PATH]);

#endif
