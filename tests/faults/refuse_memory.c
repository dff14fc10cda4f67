/* SPDX-License-Identifier: MIT
 * A library for LD_PRELOAD (tests/faults/preload.h) that refuses one allocation of the program or a library, or (kind
 * 1) that one and all later ones. It counts allocations from the start of main to its end, including anonymous
 * mappings. Frees never fail. */
#include "tests/faults/preload.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

const unsigned preload_lasting = 2;

/* ---- the wrapped functions ---- */

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
} below;
/* dlsym allocates before it has found calloc. */
static char early[4096];
static size_t early_used;

static void *early_calloc(size_t bytes)
{
    const size_t at = early_used;
    early_used += (bytes + 15) & ~(size_t)15;
    if (early_used > sizeof early)
        abort();
    return early + at;
}

/* ---- allocations that are refused ---- */

static bool only_libraries; /* set by ORGAN_FAULT_LIBRARIES */
static _Thread_local bool in_library;

/* Ends the run with PRELOAD_CRASHED if a library crashes; any other crash ends it by its signal. */
static void judge_crash(int number)
{
    if (in_library)
        _exit(PRELOAD_CRASHED);
    signal(number, SIG_DFL);
    raise(number); /* arrives when this handler has returned */
}

void preload_begin(void)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT};
    only_libraries = getenv("ORGAN_FAULT_LIBRARIES") != NULL;
    for (size_t k = 0; only_libraries && k < sizeof crashes / sizeof *crashes; k++)
        signal(crashes[k], judge_crash);
}

static bool enter_library(void)
{
    const bool before = only_libraries ? in_library : preload_inside(true);
    in_library = true;
    return before;
}

static void leave_library(bool before)
{
    in_library = only_libraries && before;
    if (!only_libraries)
        preload_inside(before);
}

/* Returns true if this allocation is refused. In libraries only single ones are: the program has checked that there is
 * memory, and hwloc can search endlessly if it gets none at all. */
static bool refused(void) { return (!only_libraries || in_library) && preload_event(only_libraries ? 1 : 3) >= 0; }

#define GIVE(type, name, call)                                                                                         \
    do {                                                                                                               \
        if (refused()) {                                                                                               \
            errno = ENOMEM;                                                                                            \
            return NULL;                                                                                               \
        }                                                                                                              \
        if (!below.name)                                                                                               \
            below.name = (type)preload_find(#name);                                                                    \
        return below.name call;                                                                                        \
    } while (0)

void *malloc(size_t size) { GIVE(void *(*)(size_t), malloc, (size)); }
void *realloc(void *old, size_t size) { GIVE(void *(*)(void *, size_t), realloc, (old, size)); }

void *calloc(size_t members, size_t size)
{
    static _Thread_local bool finding;
    if (finding)
        return early_calloc(members * size);
    if (!below.calloc) {
        finding = true;
        below.calloc = (void *(*)(size_t, size_t))preload_find("calloc");
        finding = false;
    }
    GIVE(void *(*)(size_t, size_t), calloc, (members, size));
}

void *reallocarray(void *old, size_t members, size_t size)
{
    if (size && members > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, members * size);
}

void *memalign(size_t alignment, size_t size) { GIVE(void *(*)(size_t, size_t), memalign, (alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *const made = memalign(alignment, size);
    if (made)
        *memory = made;
    return made ? 0 : ENOMEM;
}

/* AddressSanitizer calls this for the stack of a new thread, and ends the program if it fails. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    static int (*ask)(pthread_t, pthread_attr_t *);
    const bool was = preload_inside(true);
    if (!ask)
        ask = (int (*)(pthread_t, pthread_attr_t *))preload_find("pthread_getattr_np");
    const int fault = ask(thread, attributes);
    preload_inside(was);
    return fault;
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if ((flags & MAP_ANONYMOUS) && refused()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (!below.mmap)
        below.mmap = (void *(*)(void *, size_t, int, int, int, off_t))preload_find("mmap");
    return below.mmap(address, bytes, protection, flags, fd, offset);
}

/* ---- hwloc ---- */

/* hwloc crashes if some of its allocations are refused, also when a topology is released that lacks an object. The
 * program checks for memory before it makes a topology (machine/topology.c). Sweeps over whole verbs do not refuse
 * allocations of hwloc; with ORGAN_FAULT_LIBRARIES a sweep refuses these and no others. */
/* clang-format off */
#define WITHIN(type, name, parameters, arguments) \
    type name parameters; \
    type name parameters \
    { \
        const bool before = enter_library(); \
        type const result = ((type(*) parameters)preload_find(#name))arguments; \
        leave_library(before); \
        return result; \
    }
/* clang-format on */
WITHIN(int, hwloc_topology_init, (void **topology), (topology))
WITHIN(int, hwloc_topology_set_synthetic, (void *topology, const char *description), (topology, description))
WITHIN(int, hwloc_topology_set_xmlbuffer, (void *topology, const char *text, int bytes), (topology, text, bytes))
WITHIN(int, hwloc_topology_load, (void *topology), (topology))
WITHIN(int, hwloc_topology_restrict, (void *topology, const void *set, unsigned long flags), (topology, set, flags))
WITHIN(int, hwloc_get_cpubind, (void *topology, void *set, int flags), (topology, set, flags))
WITHIN(int, hwloc_set_cpubind, (void *topology, const void *set, int flags), (topology, set, flags))

void hwloc_topology_destroy(void *topology);
void hwloc_topology_destroy(void *topology)
{
    const bool before = enter_library();
    ((void (*)(void *))preload_find("hwloc_topology_destroy"))(topology);
    leave_library(before);
}
