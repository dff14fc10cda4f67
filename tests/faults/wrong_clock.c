/* SPDX-License-Identifier: MIT
 * LD_PRELOAD library: the clock of the day is wrong. Its first reading in a process is CLOCK_START, in seconds since
 * 1970; each further one differs by CLOCK_STEP seconds, which may be 0 (the clock stands) or negative (it steps back).
 * Times of files come from the kernel and stay right, as does the monotonic clock. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

typedef int clock_call(clockid_t, struct timespec *);

static time_t reading(void)
{
    static atomic_long readings;
    const char *const start = getenv("CLOCK_START"), *const step = getenv("CLOCK_STEP");
    return (time_t)((start ? atol(start) : 0) + (step ? atol(step) : 0) * atomic_fetch_add(&readings, 1));
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    if (id != CLOCK_REALTIME)
        return ((clock_call *)dlsym(RTLD_NEXT, "clock_gettime"))(id, now);
    *now = (struct timespec){.tv_sec = reading()};
    return 0;
}

time_t time(time_t *now)
{
    const time_t read = reading();
    if (now)
        *now = read;
    return read;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    *now = (struct timeval){.tv_sec = reading()};
    return 0;
}
