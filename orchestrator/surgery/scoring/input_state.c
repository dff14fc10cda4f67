/* SPDX-License-Identifier: MIT
 * The file in which an interrupted run keeps its sums: a mark, the number of windows and of entries, a flag for each
 * window, for each entry its sizes, counts and sums, and the XXH3 of all bytes before. Numbers have 64 bits in the
 * order of the machine. */
#include "orchestrator/surgery/scoring/input_sums.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define TAKEN_AT_ONCE ((size_t)1 << 14) /* sums that are read together */

static const char mark[16] = "organ sums/1\n";

/* The first fault is kept in `error`; later calls do nothing. */
typedef struct state_file {
    const char *path;
    int fd;
    off_t at;
    XXH3_state_t *hash;
    bool damaged; /* the file ends too early, or has other sizes */
    organ_error *error;
} state_file;

static void put(state_file *f, const void *bytes, size_t count)
{
    if (f->error->status)
        return;
    if (organ_write_all(f->fd, bytes, count))
        organ_fail_errno(f->error, errno, "%s: cannot be written", f->path);
    XXH3_64bits_update(f->hash, bytes, count);
}

static void put_all(state_file *f, const organ_input_sums *sums, const unsigned char *done, size_t windows)
{
    const uint64_t sizes[2] = {windows, sums->count};
    put(f, mark, sizeof mark);
    put(f, sizes, sizeof sizes);
    put(f, done, windows);
    for (size_t k = 0; k < sums->count; k++) {
        const organ_input_entry *const e = &sums->entries[k];
        const uint64_t of_entry[2] = {e->matrices, e->features};
        put(f, of_entry, sizeof of_entry);
        put(f, e->counts, e->matrices * sizeof *e->counts);
        put(f, e->sums, e->matrices * e->features * sizeof *e->sums);
    }
    const uint64_t digest = XXH3_64bits_digest(f->hash);
    put(f, &digest, sizeof digest);
}

organ_status organ_input_sums_save(const organ_input_sums *sums, const char *path, const unsigned char *done,
                                   size_t windows, organ_error *error)
{
    ORGAN_OWNED char *const draft = organ_format("%s.new", path);
    state_file f = {.path = draft, .fd = -1, .hash = XXH3_createState(), .error = error};
    if (!draft || !f.hash)
        organ_fail_memory(error, path);
    else if ((f.fd = organ_open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0666)) < 0)
        organ_fail_errno(error, errno, "%s: cannot be created", draft);
    if (!error->status) {
        XXH3_64bits_reset(f.hash);
        put_all(&f, sums, done, windows);
    }
    if (f.fd >= 0 && close(f.fd) && !error->status)
        organ_fail_errno(error, errno, "%s: cannot be written", draft);
    if (!error->status && organ_rename_file(draft, path, 0))
        organ_fail_errno(error, errno, "%s: cannot be replaced", path);
    XXH3_freeState(f.hash);
    return error->status;
}

/* Reads the next bytes of the state and adds them to its hash. Returns false at an error, and sets f->damaged if the
 * file is too short. */
static bool take(state_file *f, void *bytes, size_t count)
{
    if (f->error->status || f->damaged)
        return false;
    const ssize_t got = organ_pread_full(f->fd, bytes, count, f->at);
    if (got < 0)
        organ_fail_errno(f->error, errno, "%s: cannot be read", f->path);
    f->damaged = got != (ssize_t)count;
    f->at += (off_t)count;
    if (got == (ssize_t)count)
        XXH3_64bits_update(f->hash, bytes, count);
    return got == (ssize_t)count;
}

/* Returns whether the next numbers, at most 2, are those expected; sets f->damaged if they are others. */
static bool take_numbers(state_file *f, const uint64_t *expected, size_t count)
{
    uint64_t found[2];
    if (take(f, found, count * sizeof *found) && memcmp(found, expected, count * sizeof *found) != 0)
        f->damaged = true;
    return !f->damaged && !f->error->status;
}

/* Adds counts and sums of the file to the entry; without `add` only checks them. */
static void take_entry(state_file *f, organ_input_entry *e, bool add)
{
    const uint64_t sizes[2] = {e->matrices, e->features};
    ORGAN_OWNED uint64_t *const counts = malloc(e->matrices * sizeof *counts);
    ORGAN_OWNED organ_exact_sum *const sums = malloc(TAKEN_AT_ONCE * sizeof *sums);
    if (!counts || !sums)
        organ_fail_memory(f->error, f->path);
    else if (take_numbers(f, sizes, 2) && take(f, counts, e->matrices * sizeof *counts))
        for (size_t m = 0; m < e->matrices && add; m++)
            e->counts[m] += counts[m];
    for (size_t at = 0, n; at < e->matrices * e->features && !f->damaged && !f->error->status; at += n) {
        n = organ_min(e->matrices * e->features - at, TAKEN_AT_ONCE);
        if (take(f, sums, n * sizeof *sums) && add)
            organ_input_entry_add(e, at, sums, n);
    }
}

/* Without `add` the file is only checked. */
static void take_all(state_file *f, organ_input_sums *sums, unsigned char *done, size_t windows, bool add)
{
    char found[sizeof mark];
    const uint64_t sizes[2] = {windows, sums->count};
    f->at = 0;
    XXH3_64bits_reset(f->hash);
    if (take(f, found, sizeof found) && memcmp(found, mark, sizeof mark) != 0)
        f->damaged = true;
    if (take_numbers(f, sizes, 2))
        take(f, done, windows);
    for (size_t k = 0; k < sums->count && !f->damaged && !f->error->status; k++)
        take_entry(f, &sums->entries[k], add);
    const uint64_t digest = XXH3_64bits_digest(f->hash); /* before take_numbers adds the digest of the file to it */
    take_numbers(f, &digest, 1);
}

organ_status organ_input_sums_load(organ_input_sums *sums, const char *path, unsigned char *all, size_t windows,
                                   bool *taken, organ_error *error)
{
    ORGAN_OWNED unsigned char *const done = malloc(windows + 1);
    state_file f = {.path = path, .fd = organ_open(path, O_RDONLY, 0), .hash = XXH3_createState(), .error = error};
    *taken = false;
    if (f.fd < 0)
        organ_fail_errno(error, errno, "%s: cannot be read", path);
    else if (!done || !f.hash)
        organ_fail_memory(error, path);
    else
        take_all(&f, sums, done, windows, /*add=*/false);
    bool again = false;
    for (size_t w = 0; w < windows && !error->status && !f.damaged; w++)
        again |= all[w] && done[w];
    if (!error->status && !f.damaged && !again) {
        take_all(&f, sums, done, windows, /*add=*/true);
        for (size_t w = 0; w < windows; w++)
            all[w] |= done[w];
        *taken = !error->status;
    }
    if (f.fd >= 0)
        close(f.fd);
    XXH3_freeState(f.hash);
    return error->status;
}
