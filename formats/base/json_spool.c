/* SPDX-License-Identifier: MIT */
#include "formats/base/json_spool.h"

#include "formats/base/paged_rows.h"
#include "formats/base/unnamed_file.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

enum {
    IN_HEAP = 16384, /* the spool serves requests only while the heap has at least this many pieces (usually less than 2
                        MB) */
    GRAIN = 16,      /* the size of a piece is a multiple of this number of bytes */
    LARGEST = 4096,  /* bytes of a piece with its header; larger ones (tables of arrays, long strings) go to the heap */
    PAGE = 4096,
    /* Number of visits to a different page after which all pages are returned to the system. Each visit may make the
       system map 16 pages (fault around). */
    VISITS = 64,
    MAPS = 20 /* largest number of mappings, together nearly FIRST_MAP << 20 bytes */
};
/* Bytes of the first mapping; each further mapping is twice as large as the previous one. */
#define FIRST_MAP ((size_t)64 << 20)
#define STEP      ((size_t)4 << 20) /* bytes by which the file grows at a time */

typedef struct json_spool_piece {
    struct json_spool_piece *next; /* the next free piece of the same size */
} json_spool_piece;

/* `lock` protects the members that are not atomic. */
static struct {
    atomic_long heap;      /* number of pieces in the heap */
    atomic_uint visits;    /* number of visits since pages were last returned */
    atomic_uintptr_t page; /* most recently visited page */
    pthread_mutex_t lock;
    int fd;                 /* the unnamed file; -1 before the first mapping */
    char *maps[MAPS];       /* addresses of the mappings, which are only added */
    _Atomic unsigned count; /* number of mappings */
    size_t used, granted;   /* in the last mapping: bytes allocated, and bytes for which the file has disk space */
    off_t file;             /* file offset at which the last mapping begins */
    json_spool_piece *free[LARGEST / GRAIN + 1]; /* free pieces by size in grains */
} spool = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static size_t map_bytes(unsigned k) { return FIRST_MAP << k; }

/* A write to a page without disk space raises SIGBUS. */
static bool grow_file(void)
{
    const bool grown = organ_unnamed_file_extend(spool.fd, spool.file + (off_t)spool.granted, STEP);
    spool.granted += grown ? STEP : 0;
    return grown;
}

static bool map_more(void)
{
    const unsigned k = spool.count;
    if (k == MAPS || (spool.fd < 0 && (spool.fd = organ_unnamed_file()) < 0))
        return false;
    const off_t at = k ? spool.file + (off_t)map_bytes(k - 1) : 0;
    if (k == 0)
        malloc_trim(0); /* return memory freed by earlier work to the system */
    char *const map = mmap(NULL, map_bytes(k), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, spool.fd, at);
    if (map == MAP_FAILED) {
        organ_unnamed_files_fail(errno);
        return false;
    }
    madvise(map, map_bytes(k), MADV_DONTFORK);
    /* without this, the system also maps the pages that it reads ahead, many at a time */
    madvise(map, map_bytes(k), MADV_RANDOM);
    madvise(map, map_bytes(k), MADV_NOHUGEPAGE);
    spool.maps[k] = map;
    spool.file = at;
    spool.used = spool.granted = 0;
    atomic_store(&spool.count, k + 1);
    return true;
}

/* One call of grow_file suffices, because bytes < STEP. The caller holds the lock. */
static void *allocate_in_spool(size_t bytes)
{
    if ((!spool.count || spool.used + bytes > map_bytes(spool.count - 1)) && !map_more())
        return NULL;
    if (spool.used + bytes > spool.granted && !grow_file())
        return NULL;
    char *const memory = spool.maps[spool.count - 1] + spool.used;
    spool.used += bytes;
    return memory;
}

static size_t grains_for(size_t bytes) { return bytes ? (bytes + GRAIN - 1) / GRAIN : 1; }

/* The GRAIN bytes before a piece store its size in grains. The caller holds the lock. */
static void *allocate_locked(size_t bytes)
{
    const size_t size = grains_for(bytes);
    json_spool_piece *const old = spool.free[size];
    if (old) {
        spool.free[size] = old->next;
        return old;
    }
    const char *folder;
    char *const fresh = organ_unnamed_files_fault(&folder) ? NULL : allocate_in_spool((size + 1) * GRAIN);
    if (fresh)
        *(size_t *)(void *)fresh = size;
    return fresh ? fresh + GRAIN : NULL;
}

/* Pieces that the spool cannot take are counted in spool.heap, unless the process may not create unnamed files. */
void *organ_json_spool_take(size_t bytes)
{
    if (!organ_unnamed_files_used())
        return NULL;
    void *memory = NULL;
    if (bytes <= LARGEST - GRAIN && atomic_load_explicit(&spool.heap, memory_order_relaxed) >= IN_HEAP) {
        pthread_mutex_lock(&spool.lock);
        memory = allocate_locked(bytes);
        pthread_mutex_unlock(&spool.lock);
    }
    if (memory)
        organ_json_spool_visit(memory);
    else
        atomic_fetch_add_explicit(&spool.heap, 1, memory_order_relaxed);
    return memory;
}

/* This needs no lock: mappings are only added. */
static bool json_spool_is_own(const char *memory)
{
    for (unsigned k = 0; k < atomic_load_explicit(&spool.count, memory_order_acquire); k++)
        if ((uintptr_t)memory - (uintptr_t)spool.maps[k] < map_bytes(k))
            return true;
    return false;
}

bool organ_json_spool_give_back(void *memory)
{
    if (!memory || !json_spool_is_own(memory)) {
        if (memory && organ_unnamed_files_used())
            atomic_fetch_sub_explicit(&spool.heap, 1, memory_order_relaxed);
        return false;
    }
    json_spool_piece *const old = memory;
    const size_t size = *(const size_t *)(const void *)((const char *)memory - GRAIN);
    pthread_mutex_lock(&spool.lock);
    old->next = spool.free[size];
    spool.free[size] = old;
    pthread_mutex_unlock(&spool.lock);
    organ_json_spool_visit(memory);
    return true;
}

void organ_json_spool_visit(const void *memory)
{
    const uintptr_t page = (uintptr_t)memory / PAGE;
    if (!atomic_load_explicit(&spool.count, memory_order_relaxed) ||
        atomic_load_explicit(&spool.page, memory_order_relaxed) == page)
        return;
    atomic_store_explicit(&spool.page, page, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&spool.visits, 1, memory_order_relaxed) < VISITS)
        return;
    atomic_store_explicit(&spool.visits, 0, memory_order_relaxed);
    organ_rows_rest();
    pthread_mutex_lock(&spool.lock);
    for (unsigned k = 0; k < spool.count; k++)
        madvise(spool.maps[k], k + 1 < spool.count ? map_bytes(k) : spool.granted, MADV_DONTNEED);
    pthread_mutex_unlock(&spool.lock);
}

/* organ_json_spool_visit, which is called for each element, drops pages at intervals. */
void organ_json_release_rows(json_t *rows)
{
    for (size_t k = json_array_size(rows); rows && rows->refcount == 1 && k-- > 0;) {
        organ_json_spool_visit(json_array_get(rows, k));
        json_array_remove(rows, k);
    }
    json_decref(rows);
}
