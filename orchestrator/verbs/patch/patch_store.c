/* SPDX-License-Identifier: MIT
 * Keeps compressed tensors in the file of choices until the sizes of all are known, and then copies them into the files
 * of the patch. */
#include "orchestrator/verbs/patch/patch_job.h"

#include "formats/base/files.h"
#include "formats/base/rows.h"
#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXTENT ((uint64_t)4 << 20) /* bytes that a frame reserves at once; what it does not use is a hole */
#define CHUNK  ((size_t)1 << 20)   /* bytes that are copied at once */

/* ---- the file ---- */

organ_status organ_patch_store_open(patch_job *job, organ_error *error)
{
    const char *const path = organ_write_choices(job->writing);
    struct stat info;
    if (!path || organ_write_is_whole(job->writing))
        return ORGAN_OK;
    job->store = organ_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0666);
    if (job->store < 0 || fstat(job->store, &info))
        return organ_fail_errno(error, errno, "%s: cannot be written", path);
    job->stored = (uint64_t)info.st_size;
    return ORGAN_OK;
}

void organ_patch_store_close(patch_job *job)
{
    if (job->store >= 0)
        close(job->store);
    job->store = -1;
    for (size_t t = 0; job->frames && t < job->tuned->tensor_count; t++) {
        free(job->frames[t].extents);
        XXH3_freeState(job->frames[t].state);
    }
    organ_rows_free(job->frames);
    job->frames = NULL;
}

/* ---- writing ---- */

static organ_status reserve(patch_job *job, patch_frame *frame, organ_error *error)
{
    const uint64_t at = __atomic_fetch_add(&job->stored, EXTENT, __ATOMIC_RELAXED);
    if (!organ_grow(&frame->extents, frame->count, &frame->room, sizeof *frame->extents))
        return organ_fail_memory(error, job->options->write.output);
    frame->extents[frame->count++] = (patch_extent){.at = at};
    frame->reserved = EXTENT;
    return ORGAN_OK;
}

static organ_status put(patch_job *job, patch_frame *frame, const unsigned char *bytes, size_t count,
                        organ_error *error)
{
    patch_extent *const last = &frame->extents[frame->count - 1];
    for (size_t done = 0; done < count;) {
        const ssize_t n = pwrite(job->store, bytes + done, count - done, (off_t)(last->at + last->bytes));
        if (n < 0 && errno != EINTR)
            return organ_fail_errno(error, errno, "%s: cannot be written", organ_write_choices(job->writing));
        done += n < 0 ? 0 : (size_t)n;
        last->bytes += n < 0 ? 0 : (uint64_t)n;
    }
    frame->reserved -= count;
    return ORGAN_OK;
}

organ_status organ_patch_store_add(void *context, size_t row, const void *bytes, size_t count, organ_error *error)
{
    patch_job *const job = context;
    patch_frame *const frame = &job->frames[row];
    if (!frame->state) {
        if (!(frame->state = XXH3_createState()))
            return organ_fail_memory(error, job->options->write.output);
        XXH3_64bits_reset(frame->state);
    }
    XXH3_64bits_update(frame->state, bytes, count);
    for (size_t at = 0; at < count && !error->status;) {
        if (!frame->reserved && reserve(job, frame, error))
            break;
        const size_t n = count - at < frame->reserved ? count - at : (size_t)frame->reserved;
        if (put(job, frame, (const unsigned char *)bytes + at, n, error) == ORGAN_OK)
            at += n;
    }
    return error->status;
}

static json_t *extent_row(const void *frame, size_t k)
{
    const patch_extent *const e = &((const patch_frame *)frame)->extents[k];
    return json_pack("[I, I]", (json_int_t)e->at, (json_int_t)e->bytes);
}

organ_status organ_patch_store_finish(void *context, size_t row, organ_error *error)
{
    patch_job *const job = context;
    patch_frame *const frame = &job->frames[row];
    const organ_patch_change *const change = &job->pass.changes[row];
    if (frame->state)
        snprintf(frame->xxh3, sizeof frame->xxh3, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(frame->state));
    XXH3_freeState(frame->state);
    frame->state = NULL;
    return organ_write_note(job->writing,
                            ORGAN_OBJECT(SET_TEXT("tensor", change->tuned->name), SET_COUNT("changed", change->changed),
                                         SET_COUNT("packed", change->packed), SET_TEXT("before", change->before),
                                         SET_TEXT("after", change->after), SET_TEXT("checksum", change->checksum),
                                         SET_TEXT("xxh3", frame->xxh3),
                                         SET("extents", organ_json_rows(frame->count, extent_row, frame))),
                            /*keep_if_interrupted=*/true, error);
}

/* ---- reading ---- */

/* Reads up to `count` bytes of the frame; *extent and *at are the place, which moves on. Returns the number of bytes: 0
 * at the end. */
static size_t read_frame(const patch_job *job, const patch_frame *frame, size_t *extent, uint64_t *at, void *to,
                         size_t count, organ_error *error)
{
    while (*extent < frame->count && *at == frame->extents[*extent].bytes) {
        ++*extent;
        *at = 0;
    }
    if (*extent == frame->count)
        return 0;
    const patch_extent *const e = &frame->extents[*extent];
    const size_t n = e->bytes - *at < count ? (size_t)(e->bytes - *at) : count;
    const ssize_t got = organ_pread_full(job->store, to, n, (off_t)(e->at + *at));
    if (got != (ssize_t)n) {
        organ_fail_errno(error, got < 0 ? errno : EIO, "%s: cannot be read", organ_write_choices(job->writing));
        return 0;
    }
    *at += n;
    return n;
}

static organ_status digest_frame(const patch_job *job, patch_frame *frame, organ_error *error)
{
    ORGAN_OWNED unsigned char *const buffer = malloc(CHUNK);
    XXH3_state_t *const state = XXH3_createState();
    uint64_t at = 0;
    if (!buffer || !state)
        organ_fail_memory(error, job->options->write.output);
    else {
        XXH3_64bits_reset(state);
        for (size_t extent = 0, n; (n = read_frame(job, frame, &extent, &at, buffer, CHUNK, error)) > 0;)
            XXH3_64bits_update(state, buffer, n);
        snprintf(frame->xxh3, sizeof frame->xxh3, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(state));
    }
    XXH3_freeState(state);
    return error->status;
}

/* ---- an interrupted run ---- */

static bool take_text(const json_t *line, const char *member, char *to, size_t size)
{
    const char *const text = json_string_value(json_object_get(line, member));
    if (!text || strlen(text) >= size)
        return false;
    strcpy(to, text);
    return true;
}

static bool take_extents(const json_t *list, uint64_t bytes, uint64_t size, patch_frame *frame)
{
    const json_t *pair;
    size_t k;
    uint64_t sum = 0;
    json_array_foreach(list, k, pair)
    {
        json_int_t at, count;
        if (json_unpack((json_t *)(uintptr_t)pair, "[I, I]", &at, &count) || at < 0 || count < 0 ||
            (uint64_t)at > size || (uint64_t)count > size - (uint64_t)at ||
            !organ_grow(&frame->extents, frame->count, &frame->room, sizeof *frame->extents))
            return false;
        frame->extents[frame->count++] = (patch_extent){(uint64_t)at, (uint64_t)count};
        sum += (uint64_t)count;
    }
    return sum == bytes;
}

/* A line is ignored if it is malformed or the stored bytes do not have its digest; the tensor is then compressed again.
 * A complete output has no such bytes, and does not need them. */
static organ_status recall_line(patch_job *job, const json_t *line, organ_error *error)
{
    const char *const name = json_string_value(json_object_get(line, "tensor"));
    const organ_tensor *const tensor = name ? organ_model_find(job->tuned, name) : NULL;
    if (!tensor)
        return ORGAN_OK;
    const size_t t = (size_t)(tensor - job->tuned->tensors);
    organ_patch_change *const change = &job->pass.changes[t];
    patch_frame *const frame = &job->frames[t];
    const bool there = job->store >= 0;
    char expected[17];
    frame->count = 0;
    change->changed = (uint64_t)json_integer_value(json_object_get(line, "changed"));
    change->packed = (uint64_t)json_integer_value(json_object_get(line, "packed"));
    change->done = take_text(line, "before", change->before, sizeof change->before) &&
                   take_text(line, "after", change->after, sizeof change->after) &&
                   take_text(line, "checksum", change->checksum, sizeof change->checksum) &&
                   take_text(line, "xxh3", expected, sizeof expected) &&
                   (!there || take_extents(json_object_get(line, "extents"), change->packed, job->stored, frame));
    if (change->done && there && change->packed) {
        digest_frame(job, frame, error);
        change->done = strcmp(frame->xxh3, expected) == 0;
    }
    if (!change->done)
        frame->count = 0;
    return error->status;
}

organ_status organ_patch_store_recall(patch_job *job, organ_error *error)
{
    const json_t *line;
    size_t k;
    json_array_foreach(organ_write_lines(job->writing), k, line) if (!error->status) recall_line(job, line, error);
    return error->status;
}

/* ---- the patch ---- */

static organ_status copy_frame(const patch_job *job, size_t piece, void *buffer, organ_error *error)
{
    const patch_frame *const frame = &job->frames[job->rows[piece]];
    uint64_t at = 0, done = 0;
    for (size_t extent = 0, n; (n = read_frame(job, frame, &extent, &at, buffer, CHUNK, error)) > 0; done += n)
        if (organ_write_put(job->writing, piece, buffer, n, done, /*scratch=*/NULL, error))
            break;
    return error->status ? error->status : organ_write_finish(job->writing, piece, json_object(), error);
}

organ_status organ_patch_store_copy(void *context, organ_writing *writing, organ_error *error)
{
    const patch_job *const job = context;
    ORGAN_OWNED unsigned char *const buffer = malloc(CHUNK);
    if (!buffer)
        return organ_fail_memory(error, job->options->write.output);
    for (size_t k = 0; k < job->layout.piece_count && !error->status; k++) {
        if (organ_stop_is_requested(job->engine->stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
        if (!organ_write_done(writing, k) && copy_frame(job, k, buffer, error) == ORGAN_OK)
            organ_progress_advance(job->progress, job->pieces[k].cost, job->pieces[k].name, NULL);
    }
    return error->status;
}
