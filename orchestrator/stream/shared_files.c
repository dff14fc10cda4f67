/* SPDX-License-Identifier: MIT
 * Open files of an output, and the pieces of their pages. One lock guards both; it is not held during reading and
 * writing. */
#include "orchestrator/stream/shared_files.h"

#include "formats/base/files.h"
#include "formats/base/owned.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define PAGE ORGAN_DIRECT_ALIGNMENT
enum { KEPT = 32 }; /* files that stay open although no thread uses them */

typedef struct shared_open {
    organ_direct_file file; /* first member: callers have a pointer to it */
    size_t f;               /* number of the file */
    size_t users;           /* threads that use it */
    struct shared_open *next;
} shared_open;

/* Some bytes of the page were written. */
typedef struct shared_page {
    char bytes[PAGE];         /* first member: aligned for direct I/O */
    uint64_t have[PAGE / 64]; /* bits of the bytes that are set */
    size_t missing;           /* number of the others */
    size_t f;
    uint64_t number; /* offset / PAGE */
    struct shared_page *next;
} shared_page;

struct organ_shared_files {
    char *const *paths;
    char *collects; /* for each file: 'p' its pieces are collected, 'w' they are written; 0: not opened yet */
    pthread_mutex_t lock;
    shared_open *open; /* the last used first */
    shared_page *pages, *spare;
};

organ_status organ_shared_files_create(char *const *paths, size_t count, organ_shared_files **result,
                                       organ_error *error)
{
    organ_shared_files *const files = *result = calloc(1, sizeof *files);
    char *const collects = calloc(count + 1, 1);
    if (!files || !collects) {
        free(files);
        free(collects);
        *result = NULL;
        return organ_fail_errno(error, ENOMEM, "cannot allocate the list of the output's files");
    }
    *files = (organ_shared_files){.paths = paths, .collects = collects};
    pthread_mutex_init(&files->lock, NULL);
    return ORGAN_OK;
}

static void free_pages(shared_page *pages)
{
    for (shared_page *next; pages; pages = next) {
        next = pages->next;
        free(pages);
    }
}

void organ_shared_files_destroy(organ_shared_files *files)
{
    if (!files)
        return;
    for (shared_open *o = files->open, *next; o; o = next) {
        next = o->next;
        organ_direct_close(&o->file);
        free(o);
    }
    free_pages(files->pages);
    free_pages(files->spare);
    pthread_mutex_destroy(&files->lock);
    free(files->collects);
    free(files);
}

/* ---- open files ---- */

/* Keeps KEPT files. The caller holds the lock. */
static void close_idle(organ_shared_files *files)
{
    size_t idle = 0;
    for (shared_open **at = &files->open; *at;) {
        shared_open *const o = *at;
        if (o->users || idle++ < KEPT) {
            at = &o->next;
            continue;
        }
        *at = o->next;
        organ_direct_close(&o->file);
        free(o);
    }
}

/* The file becomes the first of the list. Returns NULL if it is not open. The caller holds the lock. */
static shared_open *find_open(organ_shared_files *files, size_t f)
{
    for (shared_open **at = &files->open; *at; at = &(*at)->next) {
        shared_open *const o = *at;
        if (o->f != f)
            continue;
        *at = o->next;
        o->next = files->open;
        files->open = o;
        return o;
    }
    return NULL;
}

/* files->collects is set at the first opening and then kept, because all pieces of a page must be collected or none.
 * The caller holds the lock. */
static shared_open *open_file(organ_shared_files *files, size_t f, organ_error *error)
{
    shared_open *const o = calloc(1, sizeof *o);
    if (!o) {
        organ_fail_errno(error, ENOMEM, "%s: cannot be opened for writing", files->paths[f]);
        return NULL;
    }
    if (organ_direct_open(files->paths[f], 0666, &o->file, error) != ORGAN_OK) {
        free(o);
        return NULL;
    }
    if (!files->collects[f])
        files->collects[f] = o->file.direct >= 0 ? 'p' : 'w';
    o->f = f;
    o->next = files->open;
    return files->open = o;
}

organ_status organ_shared_files_hold(organ_shared_files *files, size_t f, organ_direct_file **file, organ_error *error)
{
    ORGAN_LOCKED(&files->lock);
    shared_open *o = find_open(files, f);
    if (!o)
        o = open_file(files, f, error);
    if (o) {
        o->users++;
        *file = &o->file;
    }
    return error->status;
}

void organ_shared_files_drop(organ_shared_files *files, organ_direct_file *file)
{
    ORGAN_LOCKED(&files->lock);
    ((shared_open *)(void *)file)->users--;
    close_idle(files);
}

/* ---- pages ---- */

/* Returns the list's end if the page has no pieces. The caller holds the lock. */
static shared_page **find_page(organ_shared_files *files, size_t f, uint64_t number)
{
    shared_page **at = &files->pages;
    while (*at && ((*at)->f != f || (*at)->number != number))
        at = &(*at)->next;
    return at;
}

/* The bytes are all in one page. Sets *full to the page if it has all its bytes now; the caller then owns it. */
static organ_status add_piece(organ_shared_files *files, size_t f, const char *data, size_t bytes, uint64_t offset,
                              shared_page **full, organ_error *error)
{
    const size_t begin = (size_t)(offset % PAGE);
    *full = NULL;
    ORGAN_LOCKED(&files->lock);
    shared_page **const at = find_page(files, f, offset / PAGE);
    if (!*at) {
        shared_page *const page = files->spare ? files->spare : aligned_alloc(PAGE, 2 * PAGE);
        _Static_assert(sizeof *page <= 2 * PAGE, "a page and what belongs to it");
        if (page) {
            files->spare = files->spare ? files->spare->next : NULL;
            memset(page->have, 0, sizeof page->have);
            page->missing = PAGE;
            page->f = f;
            page->number = offset / PAGE;
            page->next = NULL;
        } else
            organ_fail_errno(error, ENOMEM, "%s: cannot allocate a page", files->paths[f]);
        *at = page;
    }
    shared_page *const page = *at;
    for (size_t k = begin; page && k < begin + bytes; k++) {
        page->missing -= !(page->have[k / 64] >> k % 64 & 1);
        page->have[k / 64] |= UINT64_C(1) << k % 64;
    }
    if (page)
        memcpy(page->bytes + begin, data, bytes);
    if (page && page->missing == 0) {
        *at = page->next;
        *full = page;
    }
    return error->status;
}

static organ_status write_piece(organ_shared_files *files, organ_direct_file *file, const char *data, size_t bytes,
                                uint64_t offset, organ_error *error)
{
    shared_page *full;
    if (bytes == 0 ||
        add_piece(files, ((shared_open *)(void *)file)->f, data, bytes, offset, &full, error) != ORGAN_OK || !full)
        return error->status;
    organ_direct_write(file, full->bytes, PAGE, full->number * PAGE, error);
    ORGAN_LOCKED(&files->lock);
    full->next = files->spare;
    files->spare = full;
    return error->status;
}

static bool is_inside(uint64_t page, uint64_t unit, uint64_t unit_bytes)
{
    return page >= unit && page + PAGE <= unit + unit_bytes;
}

static organ_status write_to(organ_shared_files *files, organ_direct_file *file, const char *data, size_t bytes,
                             uint64_t offset, uint64_t unit, uint64_t unit_bytes, organ_error *error)
{
    const uint64_t first = offset / PAGE * PAGE, last = (offset + bytes) / PAGE * PAGE; /* pages of the two ends */
    size_t head = first < offset && is_inside(first, unit, unit_bytes) ? (size_t)(first + PAGE - offset) : 0;
    head = head < bytes ? head : bytes;
    if (write_piece(files, file, data, head, offset, error) != ORGAN_OK)
        return error->status;
    const size_t tail = head < bytes && is_inside(last, unit, unit_bytes) ? (size_t)(offset + bytes - last) : 0;
    if (head + tail < bytes)
        organ_direct_write(file, data + head, bytes - head - tail, offset + head, error);
    return error->status ? error->status
                         : write_piece(files, file, data + bytes - tail, tail, offset + bytes - tail, error);
}

organ_status organ_shared_files_write(organ_shared_files *files, size_t f, const void *data, size_t bytes,
                                      uint64_t offset, uint64_t unit, uint64_t unit_bytes, organ_error *error)
{
    organ_direct_file *file;
    if (bytes == 0 || organ_shared_files_hold(files, f, &file, error) != ORGAN_OK)
        return error->status;
    if (files->collects[f] == 'p')
        write_to(files, file, data, bytes, offset, unit, unit_bytes, error);
    else if (organ_direct_write(file, data, bytes, offset, error) == ORGAN_OK)
        organ_direct_begin_sync(file, offset, bytes);
    organ_shared_files_drop(files, file);
    return error->status;
}

/* The caller owns the page. Returns NULL if there is none. */
static shared_page *take_page(organ_shared_files *files, size_t f, uint64_t unit, uint64_t unit_bytes)
{
    ORGAN_LOCKED(&files->lock);
    shared_page **at = &files->pages;
    while (*at && ((*at)->f != f || !is_inside((*at)->number * PAGE, unit, unit_bytes)))
        at = &(*at)->next;
    shared_page *const page = *at;
    if (page)
        *at = page->next;
    return page;
}

static organ_status write_runs(organ_direct_file *file, const shared_page *page, organ_error *error)
{
    for (size_t from = 0, to; from < PAGE && !error->status; from = to) {
        const bool set = page->have[from / 64] >> from % 64 & 1;
        for (to = from + 1; to < PAGE && (page->have[to / 64] >> to % 64 & 1) == set;)
            to++;
        if (set && to - from < PAGE)
            organ_direct_write(file, page->bytes + from, to - from, page->number * PAGE + from, error);
    }
    return error->status;
}

organ_status organ_shared_files_settle(organ_shared_files *files, size_t f, uint64_t unit, uint64_t unit_bytes,
                                       organ_error *error)
{
    for (shared_page *page; !error->status && (page = take_page(files, f, unit, unit_bytes));) {
        organ_direct_file *file;
        if (organ_shared_files_hold(files, f, &file, error) == ORGAN_OK) {
            write_runs(file, page, error);
            organ_shared_files_drop(files, file);
        }
        free(page);
    }
    return error->status;
}

static void lay_pieces(organ_shared_files *files, size_t f, char *data, size_t bytes, uint64_t offset)
{
    ORGAN_LOCKED(&files->lock);
    for (const shared_page *page = files->pages; page; page = page->next)
        for (size_t k = 0; k < PAGE && page->f == f; k++) {
            const uint64_t at = page->number * PAGE + k;
            if (at >= offset && at < offset + bytes && (page->have[k / 64] >> k % 64 & 1))
                data[at - offset] = page->bytes[k];
        }
}

organ_status organ_shared_files_read(organ_shared_files *files, size_t f, void *data, size_t bytes, uint64_t offset,
                                     organ_error *error)
{
    organ_direct_file *file;
    if (organ_shared_files_hold(files, f, &file, error) != ORGAN_OK)
        return error->status;
    if (organ_input_read(file->fd, file->path, data, bytes, offset, error) == ORGAN_OK)
        lay_pieces(files, f, data, bytes, offset);
    organ_shared_files_drop(files, file);
    return error->status;
}
