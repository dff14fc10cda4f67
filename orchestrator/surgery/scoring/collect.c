/* SPDX-License-Identifier: MIT
 * Runs the windows of a scoring through its model for the sums of its inputs alone, without logits, so that an
 * interrupted run can continue. Each rank runs some of the windows and saves its sums in a file of its own after each
 * batch. A continued run begins with the sums of all these files. */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/output.h"
#include "orchestrator/output/model_copy.h"
#include "orchestrator/stream/read_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_BATCH ((size_t)64)                     /* windows after which the sums are saved */
#define STATE_FILE    ORGAN_JOURNAL_FOLDER "/sums-%zu" /* %zu: the rank */
#define STATE_PREFIX  ORGAN_JOURNAL_FOLDER "/sums-"

typedef struct collection {
    organ_scoring *scoring;
    const char *directory; /* of the unfinished output; NULL: nothing is saved */
    unsigned char *done;   /* a flag for each window that an earlier run, of any rank, has added */
    unsigned char *own;    /* a flag for each window in the sums of this rank */
    size_t *todo;          /* windows that this rank adds */
    size_t count, batch;   /* number of these; windows of a batch */
    size_t left;           /* windows that all ranks add */
    uint32_t *tokens;      /* of a batch */
    size_t *begin;         /* of a batch */
} collection;

static void collection_release(collection *c) { ORGAN_FREE_ARRAYS(c->done, c->own, c->todo, c->tokens, c->begin); }

static organ_status collection_allocate(collection *c, organ_error *error)
{
    organ_scoring *const s = c->scoring;
    const size_t windows = s->plan.windows, context = s->protocol.context,
                 width = (size_t)organ_forward_describe(s->models[0].forward)->state;
    c->batch = organ_min(s->batch_tokens / context, LARGEST_BATCH);
    c->done = calloc(windows + 1, 1);
    c->own = calloc(windows + 1, 1);
    c->todo = calloc(windows + 1, sizeof *c->todo);
    c->tokens = calloc(c->batch * context, sizeof *c->tokens);
    c->begin = calloc(c->batch + 1, sizeof *c->begin);
    s->models[0].hidden = malloc(c->batch * context * width * sizeof(float));
    if (!c->done || !c->own || !c->todo || !c->tokens || !c->begin || !s->models[0].hidden)
        organ_fail_memory(error, s->models[0].path);
    for (size_t w = 0; w <= c->batch && !error->status; w++)
        c->begin[w] = w * context;
    return error->status;
}

/* ---- the saved sums ---- */

static organ_status save_sums(const collection *c, organ_error *error)
{
    if (!c->directory)
        return ORGAN_OK;
    ORGAN_OWNED char *const path =
        organ_format("%s/" STATE_FILE, c->directory, organ_ranks_rank(c->scoring->engine.ranks));
    if (!path)
        organ_fail_memory(error, c->directory);
    else
        organ_input_sums_save(c->scoring->sums, path, c->own, c->scoring->plan.windows, error);
    return error->status;
}

static bool is_state(const char *name)
{
    return strncmp(name, STATE_PREFIX, strlen(STATE_PREFIX)) == 0 && !organ_ends_with(name, ".new");
}

/* Files that were joined are removed only after the joined sums are saved. A file whose windows were joined before, by
 * a run that was killed before it removed the file, is left out by organ_input_sums_load, because `own` has its flags.
 */
static organ_status join_file(collection *c, const char *name, size_t *joined, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", c->directory, name);
    bool taken = false;
    if (!path)
        return organ_fail_memory(error, c->directory);
    organ_input_sums_load(c->scoring->sums, path, c->own, c->scoring->plan.windows, &taken, error);
    *joined += taken;
    return error->status;
}

/* Removes the files of saved sums, unfinished ones too, except the one with the name `first`. */
static void remove_others(const collection *c, const organ_file_list *files, const char *first)
{
    for (size_t k = 0; k < files->count; k++) {
        ORGAN_OWNED char *const path = organ_format("%s/%s", c->directory, files->names[k]);
        if (path && strncmp(files->names[k], STATE_PREFIX, strlen(STATE_PREFIX)) == 0 &&
            strcmp(files->names[k], first) != 0)
            organ_remove_file(path);
    }
}

/* Only rank 0 calls it. Its own file comes first, because only that one may have the windows of others. */
static organ_status join_files(collection *c, organ_error *error)
{
    char first[64];
    size_t joined = 0;
    ORGAN_RELEASED_BY(organ_list_release) organ_file_list files = {0};
    snprintf(first, sizeof first, STATE_FILE, (size_t)0);
    if (organ_list_files(c->directory, NULL, 0, &files, error) != ORGAN_OK)
        return error->status;
    for (unsigned turn = 0; turn < 2; turn++)
        for (size_t k = 0; k < files.count && !error->status; k++)
            if (is_state(files.names[k]) && (strcmp(files.names[k], first) == 0) == (turn == 0))
                join_file(c, files.names[k], &joined, error);
    if (!error->status && joined && save_sums(c, error) == ORGAN_OK)
        remove_others(c, &files, first);
    return error->status;
}

/* ---- the run ---- */

/* The windows that no earlier run has added are divided into equal ranges of the ranks. */
static organ_status divide_windows(collection *c, bool resumed, organ_error *error)
{
    organ_scoring *const s = c->scoring;
    organ_ranks *const ranks = s->engine.ranks;
    const size_t rank = organ_ranks_rank(ranks), of = organ_ranks_count(ranks);
    if (!error->status && resumed && c->directory && organ_ranks_first(ranks) && join_files(c, error) == ORGAN_OK)
        memcpy(c->done, c->own, s->plan.windows);
    if (organ_ranks_agree(ranks, "reading the sums of an interrupted run", error) ||
        organ_ranks_broadcast(ranks, 0, c->done, s->plan.windows, error))
        return error->status;
    size_t at = 0;
    for (size_t w = 0; w < s->plan.windows; w++)
        c->left += !c->done[w];
    for (size_t w = 0; w < s->plan.windows; w++)
        if (!c->done[w]) {
            if (at >= c->left * rank / of && at < c->left * (rank + 1) / of)
                c->todo[c->count++] = w;
            at++;
        }
    return error->status;
}

static organ_status run_windows(collection *c, const size_t *windows, size_t count, organ_error *error)
{
    organ_scoring *const s = c->scoring;
    const size_t context = s->protocol.context;
    for (size_t w = 0; w < count; w++)
        memcpy(c->tokens + w * context, s->plan.tokens + s->plan.begin[windows[w]], context * sizeof *c->tokens);
    if (organ_scoring_carry(&s->models[0], &(organ_windows){c->tokens, count, c->begin}, error) != ORGAN_OK)
        return error->status;
    for (size_t w = 0; w < count; w++)
        c->own[windows[w]] = 1;
    if (save_sums(c, error) != ORGAN_OK)
        return error->status;
    for (size_t w = 0; w < count; w++) {
        char name[32];
        snprintf(name, sizeof name, "chunk %zu", windows[w] + 1);
        organ_progress_advance(s->progress, 0, name, NULL);
    }
    return ORGAN_OK;
}

static size_t count_flags(const unsigned char *flags, size_t windows)
{
    size_t count = 0;
    for (size_t w = 0; w < windows; w++)
        count += flags[w];
    return count;
}

organ_status organ_scoring_collect(organ_scoring *scoring, const char *directory, bool resumed, size_t *done,
                                   organ_error *error)
{
    const double started = organ_seconds_now();
    collection c = {.scoring = scoring, .directory = directory};
    collection_allocate(&c, error);
    if (divide_windows(&c, resumed, error) == ORGAN_OK) {
        const size_t batches = (c.count + c.batch - 1) / c.batch;
        *done = count_flags(c.own, scoring->plan.windows);
        organ_progress_begin(scoring->progress, ORGAN_STAGE_CHUNKS, scoring->models[0].bytes * batches, c.left);
        for (size_t at = 0; at < c.count && !error->status; at += c.batch) {
            run_windows(&c, c.todo + at, organ_min(c.batch, c.count - at), error);
            if (!error->status)
                *done = count_flags(c.own, scoring->plan.windows);
        }
        organ_progress_end(scoring->progress);
    }
    organ_input_sums_reduce(scoring->sums, scoring->engine.ranks, error);
    if (!error->status)
        organ_model_unchanged(scoring->models[0].model, error);
    collection_release(&c);
    scoring->seconds = organ_seconds_now() - started;
    return error->status;
}

/* Errors are ignored: files that remain do no harm to the output. */
void organ_scoring_collect_end(const char *directory)
{
    ORGAN_RELEASED_BY(organ_list_release) organ_file_list files = {0};
    if (organ_list_files(directory, NULL, 0, &files, &(organ_error){0}) == ORGAN_OK)
        remove_others(&(collection){.directory = directory}, &files, "");
}
