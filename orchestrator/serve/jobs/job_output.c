/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/job_output.h"

#include "formats/base/json_text.h"
#include "orchestrator/report/view/views.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes in a block of the file system: only whole blocks of a log can be released. */
enum { BLOCK = 4096 };

static uint64_t file_size(int fd)
{
    struct stat about;
    return fd >= 0 && fstat(fd, &about) == 0 ? (uint64_t)about.st_size : 0;
}

/* ---- the result ---- */

/* `limit` 0 is no limit. If the file was larger, *cut becomes its largest size so far. A running program continues
 * to write at its own offset, so the removed part becomes a hole, which needs no space on the disk. Returns the size
 * of the file afterwards. */
static uint64_t cut_result(const organ_job_store *store, const char *id, uint64_t limit, uint64_t *cut)
{
    const int fd = organ_job_open(store, id, "result.json", O_WRONLY);
    uint64_t size = file_size(fd);
    if (limit > 0 && size > limit) {
        *cut = size > *cut ? size : *cut;
        size = ftruncate(fd, (off_t)limit) == 0 ? limit : size;
    }
    organ_job_close(fd);
    return size;
}

static bool has_page(const char *schema)
{
    for (size_t k = 0; k < ORGAN_VIEWS; k++)
        if (strcmp(organ_views[k]->schema, schema) == 0)
            return true;
    return false;
}

/* Parses only the member "schema": *page becomes true if reports of this schema have an HTML page and the text is at
 * most ORGAN_JOB_PAGE_BYTES long. Returns false if the text is no JSON object. */
static bool read_members(const organ_json_source *text, bool *page)
{
    organ_error error = {0};
    organ_json_walk walk;
    json_t *schema = NULL;
    organ_json_walk_begin(&walk, text, (organ_json_span){0, text->length}, NULL, &error);
    while (organ_json_walk_next(&walk, &error))
        if (strcmp(json_string_value(walk.name), "schema") == 0 &&
            organ_json_parse(text, walk.value, "schema", &schema, &error) == ORGAN_OK) {
            *page =
                json_is_string(schema) && has_page(json_string_value(schema)) && text->length <= ORGAN_JOB_PAGE_BYTES;
            json_decref(schema);
        }
    return !error.status;
}

static bool read_result(const organ_job_store *store, const char *id, uint64_t size, bool *page)
{
    const int fd = organ_job_open(store, id, "result.json", O_RDONLY);
    char *const bytes = fd >= 0 && size > 0 ? malloc((size_t)size) : NULL;
    size_t got = 0;
    for (ssize_t more = 1; bytes && more > 0 && size > got; got += more > 0 ? (size_t)more : 0)
        more = pread(fd, bytes + got, (size_t)size - got, (off_t)got);
    const bool complete = got > 0 && got == size && read_members(&(organ_json_source){"result.json", bytes, got}, page);
    free(bytes);
    organ_job_close(fd);
    return complete;
}

/* ---- the log ---- */

/* A log keeps a quarter of the limit at its beginning and at its end, in whole blocks. The other half is room to
 * grow before blocks must be released again. */
static uint64_t log_share(uint64_t limit) { return limit / 4 / BLOCK * BLOCK; }

/* Releases the blocks in the middle of a log that occupies more than `limit` bytes. The middle begins at offset
 * log_share. It ends log_share bytes before the end of the log, or at offset `read` if the server has read less.
 * Returns the bytes on the disk that the log occupies. */
static uint64_t hollow_log(const organ_job_store *store, const char *id, uint64_t limit, int64_t read)
{
    struct stat about = {0};
    const int fd = organ_job_open(store, id, "events.jsonl", O_RDWR);
    if (fd < 0 || fstat(fd, &about) != 0)
        about = (struct stat){0};
    /* st_blocks counts units of 512 bytes, without holes. */
    const uint64_t size = (uint64_t)about.st_size, taken = (uint64_t)about.st_blocks * 512, stays = log_share(limit);
    const uint64_t end = (size - stays < (uint64_t)read ? size - stays : (uint64_t)read) / BLOCK * BLOCK;
    const bool large = limit > 0 && size > limit && taken > limit && stays > 0 && end > stays;
    const bool hollowed =
        large && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)stays, (off_t)(end - stays)) == 0;
    organ_job_close(fd);
    return hollowed ? taken - (end - stays) : taken;
}

/* Copies only whole lines of the `bytes` bytes at offset `at`. For at = 0 drops the incomplete line at the end of
 * these bytes, otherwise the one at their beginning. Returns false if they cannot be read or written, or contain no
 * end of a line. */
static bool copy_part(int from, uint64_t at, uint64_t bytes, FILE *to)
{
    char *const part = malloc((size_t)bytes + 1);
    const ssize_t got = part ? pread(from, part, (size_t)bytes, (off_t)at) : -1;
    const char *cut = NULL; /* the end of a line at which the bytes are cut */
    if (got > 0)
        cut = at == 0 ? memrchr(part, '\n', (size_t)got) : memchr(part, '\n', (size_t)got);
    const size_t begin = cut && at > 0 ? (size_t)(cut + 1 - part) : 0,
                 end = cut && at == 0 ? (size_t)(cut + 1 - part) : (size_t)got;
    const bool good = got == (ssize_t)bytes && cut && fwrite(part + begin, 1, end - begin, to) == end - begin;
    free(part);
    return good;
}

/* Replaces a log of more than `limit` bytes (0: no limit) by its beginning, an event that gives the number of
 * omitted bytes, and its end, log_share bytes each. Leaves the log unchanged if that fails. Streams that have the
 * old file open continue to read it. */
static void shorten_log(const organ_job_store *store, const char *id, uint64_t limit)
{
    char *from = NULL, *to = NULL;
    const int log = organ_job_open(store, id, "events.jsonl", O_RDONLY);
    const uint64_t size = file_size(log), stays = log_share(limit);
    if (limit > 0 && stays > 0 && size > limit && asprintf(&from, "%s/%s/events.short", store->path, id) >= 0 &&
        asprintf(&to, "%s/%s/events.jsonl", store->path, id) >= 0) {
        const int made = organ_job_open(store, id, "events.short", O_WRONLY | O_CREAT | O_TRUNC);
        FILE *const out = made < 0 ? NULL : fdopen(made, "w");
        bool good = out && copy_part(log, 0, stays, out);
        good = good &&
               fprintf(out, "{\"event\":\"note\",\"text\":\"%llu bytes of the log are omitted here (--job-output)\"}\n",
                       (unsigned long long)(size - 2 * stays)) > 0;
        good = good && copy_part(log, size - stays, stays, out);
        good = out && fclose(out) == 0 && good;
        if (!good || rename(from, to) != 0)
            unlink(from);
    }
    free(from);
    free(to);
    organ_job_close(log);
}

/* ---- result and log ---- */

uint64_t organ_job_trim(const organ_job_store *store, const char *id, uint64_t limit, int64_t read, uint64_t *cut)
{
    return cut_result(store, id, limit, cut) + hollow_log(store, id, limit, read);
}

uint64_t organ_job_bytes(const organ_job_store *store, const char *id)
{
    static const char *const names[] = {"job.json", "events.jsonl", "result.json"};
    uint64_t bytes = 0;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const int fd = organ_job_open(store, id, names[k], O_RDONLY);
        bytes += file_size(fd);
        organ_job_close(fd);
    }
    return bytes;
}

/* A truncated result counts as no result (found.result), because it is no longer JSON. */
organ_job_findings organ_job_examine(const organ_job_store *store, const char *id, uint64_t limit, uint64_t cut)
{
    organ_job_findings found = {.cut = cut};
    found.size = cut_result(store, id, limit, &found.cut);
    if (found.cut == 0)
        found.result = read_result(store, id, found.size, &found.page);
    found.page = found.page && found.result;
    shorten_log(store, id, limit);
    found.bytes = organ_job_bytes(store, id);
    return found;
}
