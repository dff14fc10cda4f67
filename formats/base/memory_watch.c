/* SPDX-License-Identifier: MIT */

#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"

#include <dlfcn.h>

/* jansson used these functions before they were wrapped. */
static json_malloc_t make_below;
static json_free_t free_below;

/* The first number counts the refusals on this thread so far; the second is that number when the innermost open work
 * began. */
static _Thread_local unsigned long refusals, refusals_before;
static _Thread_local bool working; /* a work is open */

void organ_memory_count_refusal(void) { refusals++; }
unsigned long organ_memory_refusals(void) { return refusals; }

/* Works around a fault of jansson: if it drops a character for lack of memory, it can abort later when it reads the
 * same token again. So after the first refused allocation, small requests are served from this reserve until the
 * parse fails, and larger ones are refused. read_end releases the partial value. */
enum { RESERVE = 4096, PIECE = 512 };
static _Thread_local struct {
    bool on, dry;         /* on: a text is being read; dry: refuse every further allocation until it is read */
    unsigned long before; /* value of `refusals` when the reading began */
    size_t used;          /* bytes handed out of `reserve` */
    _Alignas(16) char reserve[RESERVE];
} reading;

static void *from_reserve(size_t bytes)
{
    const size_t capacity = (bytes + 15) & ~(size_t)15;
    reading.dry = reading.dry || bytes > PIECE || capacity > RESERVE - reading.used;
    if (reading.dry)
        return NULL;
    reading.used += capacity;
    return reading.reserve + reading.used - capacity;
}

static void *watched_malloc(size_t bytes)
{
    if (reading.on && refusals != reading.before)
        return from_reserve(bytes);
    void *const spooled = organ_json_spool_take(bytes), *const memory = spooled ? spooled : make_below(bytes);
    if (memory)
        return memory;
    refusals++;
    return reading.on ? from_reserve(bytes) : NULL;
}

static void watched_free(void *memory)
{
    const uintptr_t at = (uintptr_t)memory, reserve = (uintptr_t)reading.reserve;
    if ((at < reserve || at >= reserve + RESERVE) && !organ_json_spool_give_back(memory))
        free_below(memory);
}

void organ_json_watch(bool on)
{
    json_malloc_t now = NULL;
    json_free_t release = NULL;
    json_get_alloc_funcs(&now, &release);
    if (on && now != watched_malloc) {
        make_below = now;
        free_below = release;
        json_set_alloc_funcs(watched_malloc, watched_free);
    } else if (!on && now == watched_malloc)
        json_set_alloc_funcs(make_below, free_below);
}

static void read_begin(void)
{
    reading.on = true;
    reading.dry = false;
    reading.used = 0;
    reading.before = refusals;
}

static json_t *read_end(json_t *value, const json_error_t *fault, bool *no_memory)
{
    *no_memory = refusals != reading.before || (!value && json_error_code(fault) == json_error_out_of_memory);
    if (*no_memory)
        organ_clear_json(&value);
    reading.on = false;
    return value;
}

json_t *organ_json_load(const char *bytes, size_t length, size_t flags, json_error_t *fault, bool *no_memory)
{
    read_begin();
    return read_end(json_loadb(bytes, length, flags, fault), fault, no_memory);
}

json_t *organ_json_load_fd(int fd, size_t flags, json_error_t *fault, bool *no_memory)
{
    read_begin();
    return read_end(json_loadfd(fd, flags, fault), fault, no_memory);
}

organ_memory_work organ_memory_work_begin(void)
{
    const organ_memory_work work = {.outer = refusals_before, .within = working};
    refusals_before = refusals;
    working = true;
    return work;
}

organ_status organ_memory_work_check(const char *what, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return !working || refusals == refusals_before ? error->status
                                                   : organ_fail(error, ORGAN_IO, "%s: no memory for a document", what);
}

organ_status organ_memory_work_end(const organ_memory_work *work, json_t **document, const char *what,
                                   organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    if (refusals != refusals_before) {
        if (error->status == ORGAN_BAD_INPUT || error->status == ORGAN_CHECK_FAILED || error->status == ORGAN_USAGE)
            *error = (organ_error){0};
        organ_memory_work_check(what, error);
        if (document)
            organ_clear_json(document);
    }
    refusals_before = work->outer;
    working = work->within;
    return error->status;
}

organ_status organ_library_load(const char *file, const char *const *names, size_t count, void *functions,
                                organ_error *error)
{
    void *const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    const char *const why = library ? NULL : dlerror();
    if (!library)
        return organ_fail(error, ORGAN_IO, "%s", why ? why : "no memory for a library");
    for (size_t k = 0; k < count; k++) {
        void *const function = dlsym(library, names[k]);
        if (!function)
            return organ_fail(error, ORGAN_IO, "%s has no %s", file, names[k]);
        memcpy((char *)functions + k * sizeof function, &function, sizeof function);
    }
    return ORGAN_OK;
}

#define BLOCK_BYTES    ((size_t)64 << 10) /* usual size of a block of an arena */
#define FIRST_ELEMENTS ((size_t)64)       /* capacity of a list after its first growth */

struct organ_arena_block {
    struct organ_arena_block *next;
    size_t used, size; /* used and allocated bytes of `bytes` */
    _Alignas(16) char bytes[];
};

/* A request that exceeds a block gets a block of its own. */
void *organ_arena_take(organ_arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    const size_t need = (size + 15) & ~(size_t)15;
    struct organ_arena_block *block = arena->blocks;
    if (!block || block->size - block->used < need) {
        const size_t capacity = need > BLOCK_BYTES ? need : BLOCK_BYTES;
        block = malloc(sizeof *block + capacity);
        if (!block)
            return NULL;
        *block = (struct organ_arena_block){.next = arena->blocks, .size = capacity};
        arena->blocks = block;
    }
    void *taken = block->bytes + block->used;
    block->used += need;
    return taken;
}

char *organ_arena_copy(organ_arena *arena, const char *bytes, size_t length)
{
    char *copy = organ_arena_take(arena, length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

void organ_arena_release(organ_arena *arena)
{
    while (arena->blocks) {
        struct organ_arena_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}

bool organ_grow(void *list, size_t count, size_t *capacity, size_t size)
{
    const size_t requested = *capacity ? 2 * *capacity : FIRST_ELEMENTS;
    size_t bytes;
    void *elements;
    if (count < *capacity)
        return true;
    /* `list` may be an int ** or a pointer to any other pointer, so the pointer is copied without its type */
    memcpy(&elements, list, sizeof elements);
    if (__builtin_mul_overflow(requested, size, &bytes) || !(elements = realloc(elements, bytes)))
        return false;
    memcpy(list, &elements, sizeof elements);
    *capacity = requested;
    return true;
}
