/* SPDX-License-Identifier: MIT
 * Reads and writes the journals of a run and of its ranks, and decides whether an unfinished output is kept. */
#include "orchestrator/output/journal.h"
#include "orchestrator/output/model_copy.h"
#include "orchestrator/output/run_inputs.h"

#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "formats/model/recognise_lists.h"
#include "orchestrator/report/text/report_text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <organ/report.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* Returns NULL with errno if reading fails, so that the caller does not take a failing disk for a shorter journal.
 * The caller frees the content. */
static char *read_journal(int fd, size_t *size)
{
    struct stat info;
    if (fstat(fd, &info))
        return NULL;
    char *const text = malloc((size_t)info.st_size + 1);
    const ssize_t got = text ? organ_pread_full(fd, text, (size_t)info.st_size, 0) : -1;
    const int reason = errno;
    if (got < 0) {
        free(text);
        errno = reason;
        return NULL;
    }
    *size = (size_t)got;
    return text;
}

/* Returns the bytes of the complete lines up to the first that is not a JSON object. Sets *no_memory if an
 * allocation failed: the caller must then not cut off the lines that were not parsed. */
static size_t parse_lines(const char *text, size_t size, json_t *lines, bool *no_memory)
{
    size_t whole = 0;
    json_error_t fault;
    for (const char *end; (end = memchr(text + whole, '\n', size - whole)); whole = (size_t)(end - text) + 1) {
        ORGAN_OWNED_JSON json_t *line =
            organ_json_load(text + whole, (size_t)(end - text) - whole, JSON_REJECT_DUPLICATES, &fault, no_memory);
        const bool taken = json_is_object(line);
        *no_memory = (taken && json_array_append(lines, line)) || *no_memory;
        if (!taken || *no_memory)
            break;
    }
    return whole;
}

/* Cuts off an incomplete last line, which a crash has left, and everything from a line on that is not a JSON object. */
static organ_status read_journal_lines(const organ_journal *journal, json_t **lines, organ_error *error)
{
    const char *const path = journal->path;
    size_t size = 0;
    ORGAN_OWNED char *text = read_journal(journal->fd, &size);
    if (!text || !*lines) {
        const int reason = text ? ENOMEM : errno;
        return organ_fail_errno(error, reason, "%s: cannot be read", path);
    }
    bool no_memory = false;
    const size_t whole = parse_lines(text, size, *lines, &no_memory);
    if (no_memory)
        return organ_fail_errno(error, ENOMEM, "%s: cannot be read", path);
    if (organ_resize_file(journal->fd, (off_t)whole))
        return organ_fail_errno(error, errno, "%s: cannot be truncated after its last complete line", path);
    return ORGAN_OK;
}

organ_status organ_journal_open(const char *path, organ_journal *journal, json_t **lines, organ_error *error)
{
    *journal = (organ_journal){.path = path};
    *lines = json_array();
    journal->fd = organ_open(path, O_RDWR | O_CREAT | O_APPEND, 0666);
    return journal->fd < 0 ? organ_fail_errno(error, errno, "%s: cannot be opened", path)
                           : read_journal_lines(journal, lines, error);
}

/* The lock comes first: the last line of another process may be incomplete now and complete afterwards. */
organ_status organ_journal_open_locked(const char *path, const char *busy, organ_journal *journal, json_t **lines,
                                       organ_error *error)
{
    *journal = (organ_journal){.path = path};
    *lines = json_array();
    journal->fd = organ_open_locked(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, 0666);
    if (journal->fd < 0)
        return errno == EWOULDBLOCK ? organ_fail(error, ORGAN_IO, "%s: %s", path, busy)
                                    : organ_fail_errno(error, errno, "%s: cannot be opened", path);
    return read_journal_lines(journal, lines, error);
}

/* The line is written without a buffer, so that all lines before it stay complete if the run is killed. */
organ_status organ_journal_append(const organ_journal *journal, const json_t *line, organ_error *error)
{
    ORGAN_OWNED char *text =
        organ_memory_work_check(journal->path, error) == ORGAN_OK ? organ_json_dump(line, JSON_COMPACT) : NULL;
    if (!text)
        return organ_fail_errno(error, ENOMEM, "%s: cannot write a line", journal->path);
    const size_t length = strlen(text);
    text[length] = '\n'; /* the line break replaces the NUL: with a single write a killed run leaves the line complete
                            or cut, never mixed with another */
    if (organ_write_all(journal->fd, text, length + 1))
        organ_fail_errno(error, errno, "%s: cannot be written", journal->path);
    return error->status;
}

/* Empties the journal. */
static organ_status journal_clear(const organ_journal *journal, organ_error *error)
{
    if (organ_resize_file(journal->fd, 0))
        return organ_fail_errno(error, errno, "%s: cannot be truncated", journal->path);
    return ORGAN_OK;
}

void organ_journal_close(organ_journal *journal)
{
    if (journal->fd >= 0)
        close(journal->fd);
    journal->fd = -1;
}

#define READ_STEP ((size_t)1 << 20) /* bytes that organ_run_digest reads at once: workers call it at the same time */

/* The file of `rank` is removed at the end. If the process is killed in between, some lines occur twice, which is
 * harmless. */
static organ_status merge_rank_journal(const organ_publish *publish, organ_run_journal *journal, size_t rank,
                                       organ_error *error)
{
    char name[64];
    ORGAN_RELEASED_BY(organ_journal_close) organ_journal other = {.fd = -1};
    json_t *lines = NULL, *line;
    size_t k;
    snprintf(name, sizeof name, ORGAN_JOURNAL_OF_RANK, rank);
    ORGAN_OWNED char *const path = organ_publish_path(publish, name);
    if (!path)
        return organ_fail_memory(error, publish->final);
    organ_journal_open(path, &other, &lines, error);
    json_array_foreach(lines, k, line) if (!error->status) organ_journal_append(&journal->journal, line, error);
    if (!error->status && json_array_extend(journal->lines, lines))
        organ_fail_memory(error, journal->path);
    if (!error->status && organ_remove_file(path))
        organ_fail_errno(error, errno, "%s: cannot be removed", path);
    json_decref(lines);
    return error->status;
}

/* Reads on in the folder up to the next journal of another rank. Sets *rank, and `name` to its path relative to the
 * output. Returns false after the last one. */
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
    ORGAN_OWNED_FOLDER DIR *const directory = json_array_size(journal->lines) > 0 ? organ_open_folder(folder) : NULL;
    char name[64];
    size_t rank;
    while (!error->status && next_of_rank(directory, name, &rank))
        merge_rank_journal(publish, journal, rank, error);
    return error->status;
}

/* Returns true if the folder cannot be read, too. Rank 0 needs this because its count `done` lacks the units of
 * ranks that were lost before they sent their journals. */
static bool others_have_lines(const organ_publish *publish)
{
    if (publish->writers < 2)
        return false;
    ORGAN_OWNED char *const folder = organ_publish_path(publish, ORGAN_JOURNAL_FOLDER);
    ORGAN_OWNED_FOLDER DIR *const directory = folder ? organ_open_folder(folder) : NULL;
    char name[64];
    size_t rank;
    bool have = !directory;
    while (!have && next_of_rank(directory, name, &rank)) {
        struct stat info;
        have = fstatat(dirfd(directory), organ_path_name(name), &info, 0) != 0 || info.st_size > 0;
    }
    return have;
}

/* Journals of other ranks are appended only if the main journal has lines. */
organ_status organ_run_journal_open(const organ_publish *publish, organ_run_journal *journal, organ_error *error)
{
    *journal = (organ_run_journal){.journal = {.fd = -1}, .path = organ_publish_path(publish, ORGAN_JOURNAL_NAME)};
    ORGAN_OWNED char *const folder = organ_publish_path(publish, ORGAN_JOURNAL_FOLDER);
    if (!folder || !journal->path)
        organ_fail_memory(error, publish->final);
    else if (organ_make_folder(folder, 0777) && errno != EEXIST)
        organ_fail_errno(error, errno, "%s: cannot be created", folder);
    else if (organ_journal_open(journal->path, &journal->journal, &journal->lines, error) == ORGAN_OK)
        gather_journals(publish, journal, folder, error);
    return error->status;
}

static organ_status open_own(const organ_publish *publish, organ_run_journal *journal, size_t rank, organ_error *error)
{
    char name[64];
    ORGAN_OWNED_JSON json_t *nothing = NULL;
    snprintf(name, sizeof name, ORGAN_JOURNAL_OF_RANK, rank);
    *journal = (organ_run_journal){.journal = {.fd = -1}, .path = organ_publish_path(publish, name)};
    if (!journal->path)
        return organ_fail_memory(error, publish->final);
    return organ_journal_open(journal->path, &journal->journal, &nothing, error);
}

/* Rank 0 sends its lines as one JSON text. */
organ_status organ_run_journal_share(const organ_publish *publish, organ_run_journal *journal, organ_ranks *ranks,
                                     organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    json_error_t fault;
    bool no_memory = false;
    const bool first = organ_ranks_first(ranks);
    if (!ranks)
        return error->status;
    ORGAN_OWNED char *const lines = first && !error->status ? organ_json_dump(journal->lines, JSON_COMPACT) : NULL;
    if (first && !lines && !error->status)
        organ_fail_memory(error, journal->path);
    organ_ranks_gather(ranks, "starting the journal", lines, lines ? strlen(lines) : 0, &all, error);
    if (!first && !error->status && open_own(publish, journal, organ_ranks_rank(ranks), error) == ORGAN_OK &&
        !(journal->lines = organ_json_load(all.of[0], all.bytes[0], 0, &fault, &no_memory)))
        organ_fail_memory(error, journal->path);
    return organ_ranks_agree(ranks, "opening the journals", error);
}

void organ_run_journal_close(organ_run_journal *journal)
{
    if (journal->path)
        organ_journal_close(&journal->journal);
    json_decref(journal->lines);
    organ_clear(&journal->path);
    journal->lines = NULL;
}

/* Other processes may append to the journal meanwhile, so nothing is cut off. */
static organ_status peek_lines(const char *path, json_t *lines, organ_error *error)
{
    bool no_memory = lines == NULL;
    size_t size = 0;
    ORGAN_OWNED_FILE const int fd = organ_open(path, O_RDONLY, 0);
    ORGAN_OWNED char *const text = fd >= 0 ? read_journal(fd, &size) : NULL;
    if (text && lines)
        parse_lines(text, size, lines, &no_memory);
    else if (fd >= 0 || (errno != ENOENT && errno != ENOTDIR))
        organ_fail_errno(error, errno, "%s: cannot be read", path);
    return no_memory && !error->status ? organ_fail_memory(error, path) : error->status;
}

organ_status organ_run_journal_peek(organ_run_journal *journal, json_t *head, const char *final, organ_error *error)
{
    ORGAN_OWNED char *const partial = organ_publish_partial(final);
    ORGAN_OWNED char *const path = partial ? organ_format("%s/" ORGAN_JOURNAL_NAME, partial) : NULL;
    ORGAN_OWNED_JSON json_t *const lines = json_array();
    organ_error differs = {0};
    if (!head || !path)
        organ_fail_memory(error, final);
    else if (peek_lines(path, lines, error) == ORGAN_OK && json_array_size(lines) &&
             organ_run_heads_compare(json_array_get(lines, 0), head, final, &differs) == ORGAN_OK)
        journal->lines = json_incref(lines);
    json_decref(head);
    return error->status;
}

static organ_status check_same_run(organ_run_journal *journal, const json_t *was, const json_t *now, const char *output,
                                   organ_error *error)
{
    organ_run_heads_compare(was, now, output, error);
    journal->refused = error->status == ORGAN_USAGE;
    return error->status;
}

organ_status organ_run_journal_begin(organ_run_journal *journal, json_t *head, const char *output, organ_error *error)
{
    if (!head)
        return organ_fail_memory(error, journal->path);
    if (json_array_size(journal->lines) > 0)
        check_same_run(journal, json_array_get(journal->lines, 0), head, output, error);
    else if (journal_clear(&journal->journal, error) == ORGAN_OK)
        organ_journal_append(&journal->journal, head, error);
    json_decref(head);
    return error->status;
}

/* Earlier versions recorded the plan in the first line. */
organ_status organ_run_journal_plan(organ_run_journal *journal, json_t *line, const char *output, organ_error *error)
{
    const json_t *was = NULL, *each;
    size_t k;
    if (!line)
        return organ_fail_memory(error, journal->path);
    json_array_foreach(journal->lines, k, each) if (json_object_get(each, "plan")) was = each;
    if (was)
        check_same_run(journal, was, line, output, error);
    else
        organ_journal_append(&journal->journal, line, error);
    json_decref(line);
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
    ORGAN_OWNED char *const buffer = malloc(READ_STEP);
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
    const bool keep = publish->resumed
                          ? error->status != ORGAN_BAD_INPUT
                          : can_go_on && (done > 0 || journal->keep_if_interrupted || others_have_lines(publish));
    if (!keep) {
        organ_publish_abandon(publish);
        return;
    }
    if (journal->refused && publish->whole)
        organ_publish_keep(publish, ORGAN_JOURNAL_NAME, error);
    if (journal->refused)
        return; /* the message of check_same_run names the next step */
    const organ_error cause = *error;
    error->status = ORGAN_OK;
    const char *const by = journal->resumed_by ? journal->resumed_by : "`resume`";
    if (all)
        organ_fail(error, cause.status, "%.700s (%zu of %zu %s are done; %s continues, or remove %.200s)",
                   cause.message, done, all, journal->unit ? journal->unit : "tensors", by, publish->partial);
    else
        organ_fail(error, cause.status, "%.700s (the choices so far are kept; %s continues, or remove %.200s)",
                   cause.message, by, publish->partial);
    error->errnum = cause.errnum; /* callers can still recognise a full disk (ENOSPC) */
}

/* ---- size and digest of the files that a run has written ---- */

#define MAX_DIGESTED ((off_t)64 << 20) /* bytes of the largest file that gets a digest */

static json_t *file_entry(const char *path, organ_error *error)
{
    char digest[17] = "";
    struct stat info;
    const int fd = organ_open(path, O_RDONLY, 0);
    if (fd < 0 || fstat(fd, &info)) {
        organ_fail_errno(error, errno, "%s: cannot be read", path);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    if (info.st_size <= MAX_DIGESTED && !organ_is_weights_at(AT_FDCWD, path, error) && !error->status)
        organ_file_digest(fd, path, digest, error);
    close(fd);
    json_t *const entry =
        error->status ? NULL
                      : ORGAN_OBJECT(SET_COUNT("bytes", info.st_size), SET_IF(*digest, "xxh3", json_string(digest)));
    if (!entry && !error->status)
        organ_fail_memory(error, path);
    return entry;
}

/* The record leaves out this run's report folder. The donor's reports in organ/donor/ are copied files, so the
 * record lists them. */
static bool is_own_report(const char *name)
{
    return strncmp(name, ORGAN_REPORT_FOLDER "/", strlen(ORGAN_REPORT_FOLDER "/")) == 0 &&
           strncmp(name, "organ/donor/", strlen("organ/donor/")) != 0;
}

static organ_status add_file(json_t *files, const char *directory, const char *name, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", directory, name);
    ORGAN_OWNED_JSON json_t *const entry = path ? file_entry(path, error) : NULL;
    ORGAN_OWNED_JSON json_t *const key = entry ? organ_document_string(name) : NULL;
    if ((!key || json_object_set(files, json_string_value(key), entry)) && !error->status)
        organ_fail_memory(error, directory);
    return error->status;
}

json_t *organ_file_record(const char *directory, const char *folder, organ_error *error)
{
    organ_file_list list = {0};
    json_t *const files = json_object();
    ORGAN_OWNED char *const root = organ_format("%s%s%s", directory, *folder ? "/" : "", folder);
    if (!files || !root)
        organ_fail_memory(error, directory);
    else if (access(root, F_OK) == 0)
        organ_list_files(root, NULL, 0, &list, error);
    for (size_t k = 0; k < list.count && !error->status; k++) {
        ORGAN_OWNED char *const name = organ_format("%s%s%s", folder, *folder ? "/" : "", list.names[k]);
        if (!name)
            organ_fail_memory(error, directory);
        else if (!is_own_report(name))
            add_file(files, directory, name, error);
    }
    organ_list_release(&list);
    if (!error->status)
        return files;
    json_decref(files);
    return NULL;
}

organ_status organ_file_record_write(const char *directory, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/" ORGAN_RECORD, directory);
    json_t *const files = path ? organ_file_record(directory, "", error) : NULL;
    ORGAN_OWNED_JSON json_t *const record =
        files ? ORGAN_OBJECT(SET_TEXT("schema", ORGAN_RECORD_SCHEMA), SET("files", files)) : NULL;
    if (record)
        organ_document_write(path, record, error);
    else if (!error->status)
        organ_fail_memory(error, directory);
    return error->status;
}
