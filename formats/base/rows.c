/* SPDX-License-Identifier: MIT */
#include "formats/base/rows.h"
#include "formats/base/files.h"
#include "formats/base/owned.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <xxhash.h>

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

/* The file exists until the mapping is released. Arrays are mostly read in order, so that the system may read ahead (no
 * MADV_RANDOM, which map_more sets). */
static char *map_file(size_t bytes)
{
    ORGAN_OWNED_FILE const int fd = organ_unnamed_file();
    if (fd < 0 || !organ_unnamed_file_extend(fd, 0, bytes))
        return NULL;
    char *const map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (map == MAP_FAILED) {
        organ_unnamed_files_fail(errno);
        return NULL;
    }
    madvise(map, bytes, MADV_DONTFORK);
    madvise(map, bytes, MADV_NOHUGEPAGE); /* a huge page would be in memory for one row in use */
    return map;
}

/* Returns false if the list is full. */
static bool paged_rows_enter(char *map, size_t bytes)
{
    unsigned k = 0;
    ORGAN_LOCKED(&paged.lock);
    while (k < MAX_ARRAYS && paged.arrays[k].map)
        k++;
    if (k < MAX_ARRAYS) {
        paged.arrays[k] = (array){map, bytes};
        if (k >= paged.count)
            atomic_store(&paged.count, k + 1);
    }
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
    ORGAN_LOCKED(&paged.lock);
    for (unsigned k = 0; k < paged.count; k++)
        if (paged.arrays[k].map)
            madvise(paged.arrays[k].map, paged.arrays[k].bytes, MADV_DONTNEED);
}

void organ_rows_passed(void)
{
    static _Thread_local unsigned passed;
    if (++passed % PASSES == 0)
        organ_rows_rest();
}

enum {
    IN_HEAP = 16384, /* the spool serves requests only while the heap has at least this many pieces (usually less than 2
                        MB) */
    GRAIN = 16,      /* the size of a piece is a multiple of this number of bytes */
    LARGEST = 4096,  /* bytes of a piece with its header; larger ones (tables of arrays, long strings) go to the heap */
    PART = 65536,    /* bytes that a visit may make the system map (fault around) */
    VISITS = 64,     /* visits of different parts after which a thread returns all pages to the system */
    SEEN = 256,      /* visited parts that a thread remembers */
    MAPS = 20        /* largest number of mappings, together nearly FIRST_MAP << 20 bytes */
};
/* Bytes of the first mapping; each further mapping is twice as large as the previous one. */
#define FIRST_MAP ((size_t)4 << 20)

typedef struct json_spool_piece {
    struct json_spool_piece *next; /* the next free piece of the same size */
} json_spool_piece;

/* `lock` protects the members that are not atomic. */
static struct {
    atomic_long heap; /* number of pieces in the heap */
    pthread_mutex_t lock;
    char *maps[MAPS];                            /* addresses of the mappings, which are only added */
    _Atomic unsigned count;                      /* number of mappings */
    bool ended;                                  /* a mapping was refused: no further one is requested */
    size_t used;                                 /* bytes of the last mapping that are allocated */
    json_spool_piece *free[LARGEST / GRAIN + 1]; /* free pieces by size in grains */
} spool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t map_bytes(unsigned k) { return FIRST_MAP << k; }

/* Adds the next mapping. Returns false if it is refused, or an earlier one was. */
static bool map_more(void)
{
    const unsigned k = spool.count;
    if (spool.ended)
        return false;
    if (k == 0)
        malloc_trim(0); /* return memory freed by earlier work to the system */
    char *const map = k < MAPS ? map_if_large(map_bytes(k)) : NULL;
    spool.ended = !map;
    if (!map)
        return false;
    /* without this, the system also maps the pages that it reads ahead, many at a time */
    madvise(map, map_bytes(k), MADV_RANDOM);
    spool.maps[k] = map;
    spool.used = 0;
    atomic_store(&spool.count, k + 1);
    return true;
}

static size_t grains_for(size_t bytes) { return bytes ? (bytes + GRAIN - 1) / GRAIN : 1; }

/* The GRAIN bytes before a piece store its size in grains. The caller holds the lock. */
static void *allocate_locked(size_t bytes)
{
    const size_t size = grains_for(bytes), all = (size + 1) * GRAIN;
    json_spool_piece *const old = spool.free[size];
    if (old) {
        spool.free[size] = old->next;
        return old;
    }
    if ((!spool.count || spool.used + all > map_bytes(spool.count - 1)) && !map_more())
        return NULL;
    char *const fresh = spool.maps[spool.count - 1] + spool.used;
    spool.used += all;
    *(size_t *)(void *)fresh = size;
    return fresh + GRAIN;
}

/* Pieces that the spool cannot take are counted in spool.heap, unless the process may not create unnamed files. */
void *organ_json_spool_take(size_t bytes)
{
    if (!organ_unnamed_files_used())
        return NULL;
    void *memory = NULL;
    if (bytes <= LARGEST - GRAIN && atomic_load_explicit(&spool.heap, memory_order_relaxed) >= IN_HEAP) {
        ORGAN_LOCKED(&spool.lock);
        memory = allocate_locked(bytes);
    }
    if (memory)
        organ_json_spool_visit(memory);
    else
        atomic_fetch_add_explicit(&spool.heap, 1, memory_order_relaxed);
    return memory;
}

/* This needs no lock: mappings are only added. For an address below a mapping the difference wraps around and is too
 * large. */
static bool json_spool_is_own(const void *memory)
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
    static _Thread_local struct {
        uintptr_t seen[SEEN]; /* parts by the lowest bits of their numbers */
        unsigned count;       /* a part can count repeatedly */
    } visited;                /* since this thread returned the pages last */
    const uintptr_t part = (uintptr_t)memory / PART;
    if (visited.seen[part % SEEN] == part || !json_spool_is_own(memory))
        return;
    visited.seen[part % SEEN] = part;
    if (++visited.count < VISITS)
        return;
    memset(&visited, 0, sizeof visited);
    organ_rows_rest();
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

/* The search ends, because at least half of the slots are free; a table without slots is not allowed. */
static organ_name_slot *slot_of_name(const organ_name_table *table, const char *name, uint64_t hash)
{
    for (size_t at = hash & (table->capacity - 1);; at = (at + 1) & (table->capacity - 1)) {
        organ_name_slot *slot = &table->slots[at];
        if (!slot->name || (slot->hash == hash && strcmp(slot->name, name) == 0))
            return slot;
    }
}

/* The first growth draws a random seed, so that a file cannot contain names chosen to collide. */
static bool grow_table(organ_name_table *table)
{
    organ_name_table larger = {
        .capacity = table->capacity ? table->capacity * 2 : 64, .count = table->count, .seed = table->seed};
    if (!table->capacity && getrandom(&larger.seed, sizeof larger.seed, GRND_NONBLOCK) < 0)
        larger.seed = (uintptr_t)table;
    larger.slots = organ_rows_take(larger.capacity, sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t k = 0; k < table->capacity; k++)
        if (table->slots[k].name)
            *slot_of_name(&larger, table->slots[k].name, table->slots[k].hash) = table->slots[k];
    organ_rows_free(table->slots);
    *table = larger;
    return true;
}

size_t *organ_name_table_put(organ_name_table *table, const char *name, size_t value)
{
    if (!table->capacity && !grow_table(table))
        return NULL;
    const uint64_t hash = XXH3_64bits_withSeed(name, strlen(name), table->seed);
    organ_name_slot *slot = slot_of_name(table, name, hash);
    if (slot->name)
        return &slot->value;
    if (table->count >= table->capacity / 2) {
        if (!grow_table(table))
            return NULL;
        slot = slot_of_name(table, name, hash);
    }
    *slot = (organ_name_slot){hash, name, value};
    table->count++;
    return &slot->value;
}

const size_t *organ_name_table_find(const organ_name_table *table, const char *name)
{
    if (!table->capacity)
        return NULL;
    const organ_name_slot *slot = slot_of_name(table, name, XXH3_64bits_withSeed(name, strlen(name), table->seed));
    return slot->name ? &slot->value : NULL;
}

void organ_name_table_release(organ_name_table *table)
{
    organ_rows_free(table->slots);
    *table = (organ_name_table){0};
}
