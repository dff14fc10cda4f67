/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/journal.h"

#include "formats/base/file_calls.h"
#include "formats/base/json_dump.h"
#include <organ/base.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
        json_t *line =
            organ_json_load(text + whole, (size_t)(end - text) - whole, JSON_REJECT_DUPLICATES, &fault, no_memory);
        const bool taken = json_is_object(line);
        *no_memory = (taken && json_array_append(lines, line)) || *no_memory;
        json_decref(line);
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
    char *text = read_journal(journal->fd, &size);
    if (!text || !*lines) {
        const int reason = text ? ENOMEM : errno;
        free(text);
        return organ_fail_errno(error, reason, "%s: cannot be read", path);
    }
    bool no_memory = false;
    const size_t whole = parse_lines(text, size, *lines, &no_memory);
    free(text);
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
        return errno == EWOULDBLOCK ? organ_fail(error, ORGAN_USAGE, "%s: %s", path, busy)
                                    : organ_fail_errno(error, errno, "%s: cannot be opened", path);
    return read_journal_lines(journal, lines, error);
}

/* The line is written without a buffer, so that all lines before it stay complete if the run is killed. */
organ_status organ_journal_append(const organ_journal *journal, const json_t *line, organ_error *error)
{
    char *text = organ_memory_work_check(journal->path, error) == ORGAN_OK ? organ_json_dump(line, JSON_COMPACT) : NULL;
    if (!text)
        return organ_fail_errno(error, ENOMEM, "%s: cannot write a line", journal->path);
    const size_t length = strlen(text);
    text[length] = '\n'; /* the line break replaces the NUL: with a single write a killed run leaves the line complete
                            or cut, never mixed with another */
    if (organ_write_all(journal->fd, text, length + 1))
        organ_fail_errno(error, errno, "%s: cannot be written", journal->path);
    free(text);
    return error->status;
}

organ_status organ_journal_clear(const organ_journal *journal, organ_error *error)
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
