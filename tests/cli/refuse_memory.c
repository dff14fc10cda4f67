/* SPDX-License-Identifier: MIT
 * A library to be preloaded (LD_PRELOAD): refuses one allocation of the program, wherever it is made, in it or in a library below it.
 *
 *   ORGAN_REFUSE_AT=N     the allocation after N others is refused, it alone; allocations are counted from the beginning of main to its end
 *   ORGAN_REFUSE_MAP=FILE writes into FILE, as 64-bit words, how many there were and then for each a digest of the calls that led to it
 *   ORGAN_REFUSE_SHOW=1   prints the calls that led to the one that is refused
 *   ORGAN_REFUSE_SERVE=1  main begins again and again, each time in a child, so that the program is loaded once: see serve()
 *
 * Mappings of memory without a file count as well. Frees never fail. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_CALLS = 64, MOST_ALLOCATIONS = 1 << 20 };

static atomic_long count;
static atomic_bool counting;
static long refused_at = -1;
static bool shows;
static uint64_t *map; /* map[0] is how many follow */
static _Thread_local bool inside;

/* ---- what is below ---- */

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
} below;
/* dlsym allocates before it can tell where calloc is. */
static char early[4096];
static size_t early_used;

static void *find(const char *name) { return dlsym(RTLD_NEXT, name); }

static void *early_calloc(size_t bytes)
{
    const size_t at = early_used;
    early_used += (bytes + 15) & ~(size_t)15;
    if (early_used > sizeof early)
        abort();
    return early + at;
}

/* ---- who may have memory ---- */

static uint64_t digest_of(void *const *calls, int depth)
{
    uint64_t digest = 14695981039346656037u;
    for (int k = 0; k < depth; k++)
        digest = (digest ^ (uint64_t)(uintptr_t)calls[k]) * 1099511628211u;
    return digest;
}

/* Whether this allocation is the one that is refused. */
static bool refused(void)
{
    if (!atomic_load(&counting) || inside)
        return false;
    const long now = atomic_fetch_add(&count, 1);
    const bool refuse = now == refused_at;
    if (!map && !(refuse && shows))
        return refuse;
    void *calls[MOST_CALLS];
    inside = true;
    const int depth = backtrace(calls, MOST_CALLS);
    if (map && now + 1 < MOST_ALLOCATIONS) {
        map[now + 1] = digest_of(calls, depth);
        map[0] = (uint64_t)(now + 1);
    }
    if (refuse && shows)
        backtrace_symbols_fd(calls, depth, STDERR_FILENO);
    inside = false;
    return refuse;
}

#define GIVE(type, name, call)                                                                                                             \
    do {                                                                                                                                   \
        if (refused()) {                                                                                                                   \
            errno = ENOMEM;                                                                                                                \
            return NULL;                                                                                                                   \
        }                                                                                                                                  \
        if (!below.name)                                                                                                                   \
            below.name = (type)find(#name);                                                                                                \
        return below.name call;                                                                                                            \
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
        below.calloc = (void *(*)(size_t, size_t))find("calloc");
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

/* AddressSanitizer asks where the stack of a new thread lies, and ends the program where that gets no memory. */
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    static int (*ask)(pthread_t, pthread_attr_t *);
    const bool was = inside;
    inside = true;
    if (!ask)
        ask = (int (*)(pthread_t, pthread_attr_t *))find("pthread_getattr_np");
    const int fault = ask(thread, attributes);
    inside = was;
    return fault;
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if ((flags & MAP_ANONYMOUS) && refused()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (!below.mmap)
        below.mmap = (void *(*)(void *, size_t, int, int, int, off_t))find("mmap");
    return below.mmap(address, bytes, protection, flags, fd, offset);
}

/* ---- hwloc and FFTW ---- */

/* They do not survive a refused allocation. The program sees to it that there is memory before it calls these (machine/set_aside.h), so
 * what they allocate is not refused; tests/cli/check_memory_verbs.sh takes the memory away from hwloc in earnest. */
/* clang-format off */
#define UNREFUSED(type, name, parameters, arguments) \
    type name parameters; \
    type name parameters \
    { \
        const bool before = inside; \
        inside = true; \
        type const result = ((type(*) parameters)find(#name))arguments; \
        inside = before; \
        return result; \
    }
/* clang-format on */
UNREFUSED(int, hwloc_topology_init, (void **topology), (topology))
UNREFUSED(int, hwloc_topology_load, (void *topology), (topology))
UNREFUSED(int, hwloc_topology_restrict, (void *topology, const void *set, unsigned long flags), (topology, set, flags))
UNREFUSED(int, hwloc_get_cpubind, (void *topology, void *set, int flags), (topology, set, flags))
UNREFUSED(int, hwloc_set_cpubind, (void *topology, const void *set, int flags), (topology, set, flags))
UNREFUSED(void *, fftw_plan_dft_r2c_1d, (int n, double *from, void *to, unsigned flags), (n, from, to, flags))
UNREFUSED(void *, fftw_plan_dft_c2r_1d, (int n, void *from, double *to, unsigned flags), (n, from, to, flags))

/* ---- from the beginning of main to its end ---- */

static int (*real_main)(int, char **, char **);

static void open_map(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)MOST_ALLOCATIONS * 8))
        abort();
    map = mmap(NULL, (size_t)MOST_ALLOCATIONS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        abort();
}

/* Reads from standard input which allocation is refused, -1 for none, the seconds it may take, and a directory; begins main in a child, in
 * DIRECTORY/work with its output in DIRECTORY/out and DIRECTORY/err, and writes how it ended, as wait() gives it, to standard output. */
static void serve(void)
{
    char line[4352], directory[4096], path[4224];
    unsigned seconds;
    while (fgets(line, sizeof line, stdin) && sscanf(line, "%ld %u %4095[^\n]", &refused_at, &seconds, directory) == 3) {
        int status = 0;
        const pid_t child = fork();
        if (child == 0) {
            snprintf(path, sizeof path, "%s/work", directory);
            if (chdir(path) || !freopen("../out", "w", stdout) || !freopen("../err", "w", stderr) || !freopen("/dev/null", "r", stdin))
                _exit(125);
            alarm(seconds);
            return;
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
            abort();
        printf("%d\n", status);
        fflush(stdout);
    }
    _exit(0);
}

static int counted_main(int argc, char **argv, char **environment)
{
    const char *const at = getenv("ORGAN_REFUSE_AT"), *const path = getenv("ORGAN_REFUSE_MAP");
    void *calls[MOST_CALLS];
    backtrace(calls, MOST_CALLS); /* the first one loads a library */
    refused_at = at ? strtol(at, NULL, 10) : -1;
    shows = getenv("ORGAN_REFUSE_SHOW") != NULL;
    if (path)
        open_map(path);
    if (getenv("ORGAN_REFUSE_SERVE"))
        serve();
    atomic_store(&counting, true);
    const int status = real_main(argc, argv, environment);
    atomic_store(&counting, false);
    return status;
}

int __libc_start_main(int (*main_function)(int, char **, char **), int argc, char **argv, void (*begin)(void), void (*end)(void),
                      void (*loader_end)(void), void *stack);

int __libc_start_main(int (*main_function)(int, char **, char **), int argc, char **argv, void (*begin)(void), void (*end)(void),
                      void (*loader_end)(void), void *stack)
{
    real_main = main_function;
    int (*const start)(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void), void *) = (int (*)(
        int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void), void *))find("__libc_start_main");
    return start(counted_main, argc, argv, begin, end, loader_end, stack);
}
