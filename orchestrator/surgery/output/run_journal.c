/* SPDX-License-Identifier: MIT
 * Reads and writes the journals of a run and of its ranks, and decides whether an unfinished output is kept. */
#include "orchestrator/surgery/output/run_journal.h"

#include "formats/base/file_calls.h"
#include "formats/base/json_dump.h"
#include <organ/base.h>
#include "formats/base/path.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/cache/cache.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define READ_STEP ((size_t)1 << 20) /* bytes that organ_run_digest reads at once: workers call it at the same time */

static json_t *file_row(const char *name, uint64_t bytes, struct timespec modified)
{
    return ORGAN_OBJECT(SET_TEXT("file", name), SET_COUNT("bytes", bytes),
                        SET_COUNT("modified_ns", modified.tv_sec * 1000000000 + modified.tv_nsec));
}

json_t *organ_run_files(const organ_model *model, const char *config)
{
    json_t *const rows = json_array();
    struct stat info;
    bool complete = rows != NULL;
    for (size_t f = 0; f < model->file_count && complete; f++) {
        const organ_model_file *const file = &model->files[f];
        complete = json_array_append_new(rows, file_row(file->name, file->size, file->modified)) == 0;
    }
    if (complete && config && stat(config, &info) == 0)
        complete =
            json_array_append_new(rows, file_row(organ_path_name(config), (uint64_t)info.st_size, info.st_mtim)) == 0;
    if (complete)
        return rows;
    json_decref(rows);
    return NULL;
}

/* The file of `rank` is removed at the end. If the process is killed in between, some lines occur twice, which is
 * harmless. */
static organ_status merge_rank_journal(const organ_publish *publish, organ_run_journal *journal, size_t rank,
                                       organ_error *error)
{
    char name[64];
    organ_journal other = {.fd = -1};
    json_t *lines = NULL, *line;
    size_t k;
    snprintf(name, sizeof name, ORGAN_JOURNAL_OF_RANK, rank);
    char *const path = organ_publish_path(publish, name);
    if (!path)
        return organ_fail_memory(error, publish->final);
    organ_journal_open(path, &other, &lines, error);
    json_array_foreach(lines, k, line) if (!error->status) organ_journal_append(&journal->journal, line, error);
    if (!error->status && json_array_extend(journal->lines, lines))
        organ_fail_memory(error, journal->path);
    if (!error->status && organ_remove_file(path))
        organ_fail_errno(error, errno, "%s: cannot be removed", path);
    organ_journal_close(&other);
    json_decref(lines);
    free(path);
    return error->status;
}

/* `name` is a path relative to the output. Returns false after the last journal. */
static bool next_of_rank(DIR *directory, char name[64], size_t *rank)
{
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        char found[sizeof entry->d_name + sizeof ORGAN_JOURNAL_FOLDER];
        snprintf(found, sizeof found, ORGAN_JOURNAL_FOLDER "/%s", entry->d_name);
        if (sscanf(found, ORGAN_JOURNAL_OF_RANK, rank) != 1 || *rank == 0 || *rank >= ORGAN_MAX_RANKS)
            continue;
        snprintf(name, 64, ORGAN_JOURNAL_OF_RANK, *rank);
        if (strcmp(name, found) == 0)
            return true;
    }
    return false;
}

/* A run whose main journal has no first line cannot be continued, so nothing is appended to it. */
static organ_status gather_journals(const organ_publish *publish, organ_run_journal *journal, const char *folder,
                                    organ_error *error)
{
    DIR *const directory = json_array_size(journal->lines) > 0 ? organ_open_folder(folder) : NULL;
    char name[64];
    size_t rank;
    while (!error->status && next_of_rank(directory, name, &rank))
        merge_rank_journal(publish, journal, rank, error);
    if (directory)
        closedir(directory);
    return error->status;
}

/* Returns true if the folder cannot be read, too. Rank 0 needs this because its count `done` lacks the units of
 * ranks that were lost before they sent their journals. */
static bool others_have_lines(const organ_publish *publish)
{
    if (publish->writers < 2)
        return false;
    char *const folder = organ_publish_path(publish, ORGAN_JOURNAL_FOLDER);
    DIR *const directory = folder ? organ_open_folder(folder) : NULL;
    char name[64];
    size_t rank;
    bool have = !directory;
    while (!have && next_of_rank(directory, name, &rank)) {
        struct stat info;
        have = fstatat(dirfd(directory), strrchr(name, '/') + 1, &info, 0) != 0 || info.st_size > 0;
    }
    if (directory)
        closedir(directory);
    free(folder);
    return have;
}

/* Journals of other ranks are appended only if the main journal has lines. */
organ_status organ_run_journal_open(const organ_publish *publish, organ_run_journal *journal, organ_error *error)
{
    *journal = (organ_run_journal){.journal = {.fd = -1}, .path = organ_publish_path(publish, ORGAN_JOURNAL_NAME)};
    char *const folder = organ_publish_path(publish, ORGAN_JOURNAL_FOLDER);
    if (!folder || !journal->path)
        organ_fail_memory(error, publish->final);
    else if (organ_make_folder(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be created", folder);
    else if (organ_journal_open(journal->path, &journal->journal, &journal->lines, error) == ORGAN_OK)
        gather_journals(publish, journal, folder, error);
    free(folder);
    return error->status;
}

static organ_status open_own(const organ_publish *publish, organ_run_journal *journal, size_t rank, organ_error *error)
{
    char name[64];
    json_t *nothing = NULL;
    snprintf(name, sizeof name, ORGAN_JOURNAL_OF_RANK, rank);
    *journal = (organ_run_journal){.journal = {.fd = -1}, .path = organ_publish_path(publish, name)};
    if (!journal->path)
        return organ_fail_memory(error, publish->final);
    organ_journal_open(journal->path, &journal->journal, &nothing, error);
    json_decref(nothing);
    return error->status;
}

/* Rank 0 sends its lines as one JSON text. */
organ_status organ_run_journal_share(const organ_publish *publish, organ_run_journal *journal, organ_ranks *ranks,
                                     organ_error *error)
{
    organ_gathered all = {0};
    json_error_t fault;
    bool no_memory = false;
    const bool first = organ_ranks_first(ranks);
    if (!ranks)
        return error->status;
    char *const lines = first && !error->status ? organ_json_dump(journal->lines, JSON_COMPACT) : NULL;
    if (first && !lines && !error->status)
        organ_fail_memory(error, journal->path);
    organ_ranks_gather(ranks, "starting the journal", lines, lines ? strlen(lines) : 0, &all, error);
    free(lines);
    if (!first && !error->status && open_own(publish, journal, organ_ranks_rank(ranks), error) == ORGAN_OK &&
        !(journal->lines = organ_json_load(all.of[0], all.bytes[0], 0, &fault, &no_memory)))
        organ_fail_memory(error, journal->path);
    organ_gathered_release(&all);
    return organ_ranks_agree(ranks, "opening the journals", error);
}

void organ_run_journal_close(organ_run_journal *journal)
{
    if (journal->path)
        organ_journal_close(&journal->journal);
    json_decref(journal->lines);
    free(journal->path);
    journal->path = NULL;
    journal->lines = NULL;
}

static organ_status check_same_run(organ_run_journal *journal, json_t *now, const char *output, organ_error *error)
{
    organ_cache_difference d;
    if (!organ_cache_differs(json_array_get(journal->lines, 0), now, &d))
        return error->status;
    journal->refused = true;
    return organ_fail(error, ORGAN_USAGE,
                      "%s: the unfinished run cannot be continued: its %s was %s and is now %s; --force starts over",
                      output, d.key, d.was, d.is);
}

organ_status organ_run_journal_begin(organ_run_journal *journal, json_t *head, const char *output, organ_error *error)
{
    if (!head)
        return organ_fail_memory(error, journal->path);
    if (json_array_size(journal->lines) > 0)
        check_same_run(journal, head, output, error);
    else if (organ_journal_clear(&journal->journal, error) == ORGAN_OK)
        organ_journal_append(&journal->journal, head, error);
    json_decref(head);
    return error->status;
}

organ_status organ_run_journal_add(const organ_run_journal *journal, json_t *line, organ_error *error)
{
    if (!line)
        return organ_fail_memory(error, journal->path);
    organ_journal_append(&journal->journal, line, error);
    json_decref(line);
    return error->status;
}

organ_status organ_run_digest(organ_run_read *read, const void *context, uint64_t offset, uint64_t bytes,
                              const organ_progress *progress, char digits[17], organ_error *error)
{
    XXH3_state_t *const state = XXH3_createState();
    char *const buffer = malloc(READ_STEP);
    if (!state || !buffer)
        organ_fail_errno(error, ENOMEM, "cannot allocate a buffer of %zu bytes", READ_STEP);
    else
        XXH3_64bits_reset(state);
    for (uint64_t at = 0; at < bytes && !error->status; at += READ_STEP) {
        const size_t some = bytes - at < READ_STEP ? (size_t)(bytes - at) : READ_STEP;
        if (read(context, buffer, some, offset + at, error) == ORGAN_OK)
            XXH3_64bits_update(state, buffer, some);
        organ_progress_advance(progress, some, NULL, NULL);
    }
    if (!error->status)
        snprintf(digits, 17, "%016llx", (unsigned long long)XXH3_64bits_digest(state));
    free(buffer);
    XXH3_freeState(state);
    return error->status;
}

/* The way to continue is appended to the message unless check_same_run has set it. */
void organ_run_finish(organ_publish *publish, const organ_run_journal *journal, size_t done, size_t all,
                      organ_error *error)
{
    if (publish->stage != ORGAN_OUTPUT_GROWING)
        return; /* the output is already complete or published */
    const bool can_go_on = error->status == ORGAN_INTERRUPTED || error->status == ORGAN_IO;
    if (!(publish->resumed ? error->status != ORGAN_BAD_INPUT
                           : can_go_on && (done > 0 || journal->keep_if_interrupted || others_have_lines(publish)))) {
        organ_publish_abandon(publish);
        return;
    }
    if (journal->refused && publish->whole)
        organ_publish_keep(publish, ORGAN_JOURNAL_NAME, error);
    if (journal->refused)
        return; /* the message of check_same_run names the next step */
    const organ_error cause = *error;
    error->status = ORGAN_OK;
    organ_fail(error, cause.status, "%.700s (%zu of %zu tensors are done; %s continues, or remove %.200s)",
               cause.message, done, all, journal->resumed_by ? journal->resumed_by : "--resume", publish->partial);
    error->errnum = cause.errnum; /* callers can still recognise a full disk (ENOSPC) */
}
