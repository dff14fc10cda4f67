/* SPDX-License-Identifier: MIT */
#include "formats/base/paged_rows.h"

#include "formats/base/unnamed_file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* At most MAX_ARRAYS arrays are in files at a time. Each thread calls organ_rows_rest once in PASSES calls of
 * organ_rows_passed. */
enum { MAX_ARRAYS = 64, PASSES = 1024 };
#define MIN_BYTES ((size_t)1 << 20) /* smaller arrays are allocated on the heap */

typedef struct array {
    char *map;    /* address of the mapping; NULL if this entry of paged.arrays is free */
    size_t bytes; /* size of the mapping */
} array;

/* `lock` protects `arrays`. */
static struct {
    pthread_mutex_t lock;
    _Atomic unsigned count; /* entries arrays[count] and later were never used */
    array arrays[MAX_ARRAYS];
} paged = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The file exists until the mapping is released. */
static char *map_file(size_t bytes)
{
    const int fd = organ_unnamed_file();
    char *map = MAP_FAILED;
    if (fd >= 0 && organ_unnamed_file_extend(fd, 0, bytes))
        map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (fd >= 0)
        close(fd);
    if (map == MAP_FAILED)
        return NULL;
    madvise(map, bytes, MADV_DONTFORK);
    madvise(map, bytes, MADV_NOHUGEPAGE);
    return map;
}

static bool paged_rows_enter(char *map, size_t bytes)
{
    unsigned k = 0;
    pthread_mutex_lock(&paged.lock);
    while (k < MAX_ARRAYS && paged.arrays[k].map)
        k++;
    if (k < MAX_ARRAYS) {
        paged.arrays[k] = (array){map, bytes};
        if (k >= paged.count)
            atomic_store(&paged.count, k + 1);
    }
    pthread_mutex_unlock(&paged.lock);
    return k < MAX_ARRAYS;
}

static void *map_if_large(size_t bytes)
{
    char *const map = bytes >= MIN_BYTES ? map_file(bytes) : NULL;
    if (!map || paged_rows_enter(map, bytes))
        return map;
    munmap(map, bytes);
    return NULL;
}

void *organ_rows_take(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *const map = map_if_large(bytes);
    return map ? map : calloc(count, size);
}

/* organ_rows_rest follows each step: otherwise all pages of both arrays would be in memory at once. */
static void move_rows(char *to, const char *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += MIN_BYTES) {
        memcpy(to + at, from + at, bytes - at < MIN_BYTES ? bytes - at : MIN_BYTES);
        organ_rows_rest();
    }
}

void *organ_rows_to_file(void *rows, size_t bytes)
{
    void *const map = rows ? map_if_large(bytes) : NULL;
    if (!map)
        return rows;
    move_rows(map, rows, bytes);
    free(rows);
    return map;
}

void *organ_rows_grow(void *rows, size_t bytes, size_t capacity)
{
    void *const grown = organ_rows_take(capacity, 1);
    if (!grown)
        return NULL;
    move_rows(grown, rows, bytes);
    organ_rows_free(rows);
    return grown;
}

void organ_rows_free(void *rows)
{
    size_t bytes = 0;
    pthread_mutex_lock(&paged.lock);
    for (unsigned k = 0; rows && k < paged.count; k++)
        if (paged.arrays[k].map == rows) {
            bytes = paged.arrays[k].bytes;
            paged.arrays[k] = (array){NULL, 0};
        }
    pthread_mutex_unlock(&paged.lock);
    if (bytes)
        munmap(rows, bytes);
    else
        free(rows);
}

void organ_rows_rest(void)
{
    if (!atomic_load_explicit(&paged.count, memory_order_relaxed))
        return;
    pthread_mutex_lock(&paged.lock);
    for (unsigned k = 0; k < paged.count; k++)
        if (paged.arrays[k].map)
            madvise(paged.arrays[k].map, paged.arrays[k].bytes, MADV_DONTNEED);
    pthread_mutex_unlock(&paged.lock);
}

void organ_rows_passed(void)
{
    static _Thread_local unsigned passed;
    if (++passed % PASSES == 0)
        organ_rows_rest();
}
