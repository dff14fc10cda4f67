/* SPDX-License-Identifier: MIT */

#include "formats/base/files.h"
#include "formats/base/rows.h"
#include "formats/base/results.h"
#include "formats/base/plain_numbers.h"
#include "formats/model/recognise.h"
#include "orchestrator/machine/rename_output.h"
#include "orchestrator/report/text/report_text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

json_t *organ_json_row_at(const json_t *rows, size_t k)
{
    json_t *const row = json_array_get(rows, k);
    organ_json_spool_visit(row);
    return row;
}

/* ---- printing ---- */

static int to_file(const char *bytes, size_t size, void *out) { return fwrite(bytes, 1, size, out) == size ? 0 : -1; }

int organ_real_digits(double value)
{
    int digits = 15;
    for (char text[40]; digits < 17; digits++) {
        organ_snprintf(text, sizeof text, "%.*g", digits, value);
        if (organ_strtod(text, NULL) == value)
            break;
    }
    return digits;
}

static bool print_scalar(const json_t *value, FILE *out)
{
    const size_t digits = json_is_real(value) ? (size_t)organ_real_digits(json_real_value(value)) : 0;
    return json_dump_callback(value, to_file, out, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits)) == 0;
}

static bool has_only_numbers(const json_t *array)
{
    for (size_t k = 0; k < json_array_size(array); k++)
        if (!json_is_number(organ_json_row_at(array, k)))
            return false;
    return true;
}

static void new_line(FILE *out, int indent)
{
    if (indent >= 0)
        fprintf(out, "\n%*s", indent, "");
}

static bool print_value(const json_t *value, FILE *out, int indent);

/* `indent` < 0: the whole document is on one line. An array of numbers is always on one line, with blanks after its
 * commas. Returns false if out of memory. */
static bool print_array(const json_t *array, FILE *out, int indent)
{
    const bool flat = indent < 0 || has_only_numbers(array);
    const int inner = flat ? -1 : indent + 2;
    bool complete = true;
    fputc('[', out);
    for (size_t k = 0; k < json_array_size(array) && complete; k++) {
        const char *const comma = flat && indent >= 0 ? ", " : ",";
        fputs(k == 0 ? "" : comma, out);
        new_line(out, inner);
        complete = print_value(organ_json_row_at(array, k), out, inner);
    }
    new_line(out, flat ? -1 : indent);
    fputc(']', out);
    return complete;
}

/* `inner` < 0: the key stays on the same line. Returns false if out of memory. */
static bool print_key(const char *key, bool first, FILE *out, int inner)
{
    fputs(first ? "" : ",", out);
    new_line(out, inner);
    ORGAN_OWNED_JSON json_t *const name = json_string(key);
    const bool complete = name && print_scalar(name, out);
    fputs(inner < 0 ? ":" : ": ", out);
    return complete;
}

/* The members are created and released one at a time, because all together would need much memory. `indent`, at
 * least 0, is that of the line on which the object begins. Returns false if out of memory. */
static bool print_rows(const organ_long_member *rows, FILE *out, int indent)
{
    bool complete = true;
    fputc('{', out);
    for (size_t k = 0; k < rows->count && complete; k++) {
        json_t *const row = rows->row(rows->context, k);
        complete = row && print_key(rows->name(rows->context, k), k == 0, out, indent + 2) &&
                   print_value(row, out, indent + 2);
        json_decref(row);
        organ_rows_passed(); /* frees the memory of arrays in files that rows->row has read */
    }
    new_line(out, rows->count ? indent : -1);
    fputc('}', out);
    return complete;
}

/* `indent` < 0: the whole document is on one line. print_rows prints the value of the member rows->key (`rows` NULL:
 * none). Returns false if out of memory. */
static bool print_members(const json_t *object, const organ_long_member *rows, FILE *out, int indent)
{
    const int inner = indent < 0 ? -1 : indent + 2;
    const char *key;
    json_t *member;
    bool complete = true, first = true;
    fputc('{', out);
    json_object_foreach((json_t *)object, key, member)
    {
        organ_json_spool_visit(member);
        const bool is_long = rows && strcmp(key, rows->key) == 0;
        complete = print_key(key, first, out, inner) && complete;
        complete = (is_long ? print_rows(rows, out, inner) : print_value(member, out, inner)) && complete;
        first = false;
    }
    new_line(out, first ? -1 : indent);
    fputc('}', out);
    return complete;
}

/* `indent` is that of the line that the value is on (< 0: the document is on one line). Returns false if out of
 * memory. */
static bool print_value(const json_t *value, FILE *out, int indent)
{
    if (json_is_array(value))
        return print_array(value, out, indent);
    return json_is_object(value) ? print_members(value, /*rows=*/NULL, out, indent) : print_scalar(value, out);
}

/* Write errors are left in the error flag of `out`; a document that is incomplete without one lacks memory. */
static organ_status end_document(bool complete, FILE *out, organ_error *error)
{
    fputc('\n', out);
    return complete || ferror(out) ? ORGAN_OK
                                   : organ_fail(error, ORGAN_IO, "a JSON document could not be written: no memory");
}

static organ_status print_document(const json_t *document, FILE *out, int indent, organ_error *error)
{
    if (organ_memory_work_check("a report", error) != ORGAN_OK)
        return error->status;
    return end_document(print_value(document, out, indent), out, error);
}

organ_status organ_document_print(const json_t *document, FILE *out, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return print_document(document, out, /*indent=*/0, error);
}

organ_status organ_document_line(const json_t *document, FILE *out, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return print_document(document, out, /*indent=*/-1, error);
}

json_t *organ_document_string(const char *s)
{
    ORGAN_OWNED char *const visible = s ? organ_text_made_visible(s) : NULL;
    if (!s)
        organ_memory_count_refusal();
    if (visible)
        organ_text_hide_secrets(visible);
    return visible ? json_string(visible) : NULL;
}

/* ---- files ---- */

#define MAX_DRAFTS 100 /* temporary names that open_draft tries */

typedef struct draft {
    const char *path;
    organ_replace_policy way; /* which file of that path the draft may replace */
    bool run_last;            /* the draft is a document whose last member is "run" */
    char *temporary;          /* path of the temporary file */
    int fd;                   /* of the temporary file; -1: not open */
} draft;

/* Returns .NUMBER.NAME in the folder of `path`, whose last part is NAME; the caller frees it. NULL if out of memory. */
static char *draft_name(const char *path, long number)
{
    const char *const slash = strrchr(path, '/');
    const int directory = slash ? (int)(slash + 1 - path) : 0;
    return organ_format("%.*s.%ld.%s", directory, path, number, path + directory);
}

/* Removes the draft only if its writer has ended (a running writer holds its lock) and the file is empty or begins
 * like a report of organ. */
static void remove_abandoned_draft(int folder, const char *name)
{
    struct stat info, named;
    organ_error ignored = {0};
    const int fd = organ_open_at(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd >= 0 && organ_lock_at_once(fd, LOCK_EX) == 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
        fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_ino == info.st_ino &&
        (info.st_size == 0 || organ_is_report_start_at(folder, name, &ignored)))
        unlinkat(folder, name, 0);
    if (fd >= 0)
        close(fd);
}

void organ_document_drop_drafts(const char *path)
{
    const char *const slash = strrchr(path, '/'), *const name = slash ? slash + 1 : path;
    ORGAN_OWNED char *const directory = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup(".");
    DIR *const entries = directory ? organ_open_folder(directory) : NULL;
    for (const struct dirent *entry; entries && (entry = readdir(entries));) {
        /* names of draft_name: a dot, digits, a dot, `name` */
        const size_t digits = entry->d_name[0] == '.' ? strspn(entry->d_name + 1, "0123456789") : 0;
        if (digits && entry->d_name[1 + digits] == '.' && strcmp(entry->d_name + digits + 2, name) == 0)
            remove_abandoned_draft(dirfd(entries), entry->d_name);
    }
    if (entries)
        closedir(entries);
}

/* Returns false if another process takes the draft for abandoned: it holds the lock, or has removed the name
 * already. Returns true if the file system has no locks. */
static bool is_locked_draft(int fd)
{
    struct stat info;
    return organ_lock_at_once(fd, LOCK_EX) == 0 ? fstat(fd, &info) == 0 && info.st_nlink > 0 : errno != EWOULDBLOCK;
}

/* The draft is locked so that other processes do not remove it. After ORGAN_IO it needs no close_draft. */
static organ_status open_draft(draft *d, organ_error *error)
{
    const char *const path = d->path;
    int reason = EEXIST;
    d->fd = -1;
    organ_document_drop_drafts(path);
    for (long k = 0; k < MAX_DRAFTS && d->fd < 0 && reason == EEXIST; k++) {
        free(d->temporary);
        if (!(d->temporary = draft_name(path, (long)getpid() + k)))
            return organ_fail(error, ORGAN_IO, "%s: no memory", path);
        d->fd = organ_open(d->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
        reason = errno;
        if (d->fd >= 0 && !is_locked_draft(d->fd)) {
            close(d->fd);
            d->fd = -1;
            reason = EEXIST;
        }
    }
    if (d->fd >= 0)
        return ORGAN_OK;
    free(d->temporary);
    return organ_fail_errno(error, reason, "%s: cannot be written", path);
}

/* Removes the draft instead of renaming it if `status` is an error, or if closing or renaming fails. If another file
 * took the name meanwhile, keeps the draft and names it in the message. Returns `status` or the new error. A second
 * descriptor holds the lock until the draft is renamed. */
static organ_status close_draft(draft *d, organ_status status, organ_error *error)
{
    int fault = 0;
    const int held = fcntl(d->fd, F_DUPFD_CLOEXEC, 3);
    if (close(d->fd) && errno != EINTR && status == ORGAN_OK)
        status = organ_fail_errno(error, errno, "%s: cannot be written", d->path);
    ORGAN_OWNED char *const command = status ? NULL : organ_rename_command(d->temporary, d->path, /*note=*/NULL);
    if (status == ORGAN_OK && !command)
        status = organ_fail_errno(error, ENOMEM, "%s", d->path);
    const organ_rename_result naming =
        status ? ORGAN_RENAME_FAILED : organ_rename_output(d->temporary, d->path, d->way, /*like=*/NULL, &fault, error);
    if (status == ORGAN_OK && naming == ORGAN_RENAME_EXISTS)
        organ_rename_fail(d->temporary, d->path, command, naming, fault, error);
    else if (status == ORGAN_OK && naming == ORGAN_RENAME_FAILED)
        organ_fail_errno(error, fault, "%s: cannot be renamed into place", d->path);
    if (naming == ORGAN_RENAME_FAILED || naming == ORGAN_RENAMED_REPLACING)
        organ_remove_file(d->temporary);
    if (held >= 0)
        close(held);
    free(d->temporary);
    return status ? status : error->status;
}

#define HELD 16 /* last bytes that a stream keeps until its end: at least the longest organ_seal_end */

typedef struct draft_stream {
    int fd, fault;                      /* fault: errno of the first piece that failed; 0: none */
    XXH3_state_t *state;                /* digest of all written bytes */
    char held[HELD];                    /* the last bytes, which are not written yet */
    char head[sizeof ORGAN_PAGE_START]; /* the first bytes, followed by zeros */
    size_t held_count, head_count;
} draft_stream;

static void put_bytes(draft_stream *s, const char *bytes, size_t count)
{
    if (s->fault || count == 0)
        return;
    XXH3_64bits_update(s->state, bytes, count);
    if (organ_write_all(s->fd, bytes, count))
        s->fault = errno;
}

/* Holds back the last HELD bytes: writes `leaving` bytes of those that were held, and of the new bytes all but the last
 * HELD at once. Copies the first bytes to s->head. Continues if a signal interrupts a write, which stdio alone does
 * not. After an error it returns 0, which sets the error flag of the stream. */
static ssize_t write_piece(void *cookie, const char *bytes, size_t count)
{
    draft_stream *const s = cookie;
    const size_t head_room = sizeof s->head - 1 - s->head_count, to_head = count < head_room ? count : head_room;
    const size_t at_once = count > HELD ? count - HELD : 0, staying = count < HELD ? HELD - count : 0;
    const size_t leaving = s->held_count > staying ? s->held_count - staying : 0;
    memcpy(s->head + s->head_count, bytes, to_head);
    s->head_count += to_head;
    put_bytes(s, s->held, leaving);
    put_bytes(s, bytes, at_once);
    memmove(s->held, s->held + leaving, s->held_count - leaving);
    memcpy(s->held + s->held_count - leaving, bytes + at_once, count - at_once);
    s->held_count += count - at_once - leaving;
    return s->fault ? 0 : (ssize_t)count;
}

static bool can_be_sealed(const draft_stream *s, organ_seal_form form)
{
    const char *const end = organ_seal_end(form);
    const size_t length = strlen(end);
    return s->held_count >= length && memcmp(s->held + s->held_count - length, end, length) == 0;
}

/* Returns ORGAN_SEAL_FORMS for what is not sealed: a text that is no report, or a document that does not begin with
 * a schema of organ or is the manifest of an organ directory, which programs may edit. */
static organ_seal_form seal_form(const draft *d, const draft_stream *s)
{
    static const char schema[] = "{\n  \"schema\": \"organ.", manifest[] = "manifest/";
    organ_seal_form form = ORGAN_SEAL_FORMS;
    if (strncmp(s->head, schema, sizeof schema - 1) == 0 &&
        strncmp(s->head + sizeof schema - 1, manifest, sizeof manifest - 1) != 0)
        form = d->run_last && can_be_sealed(s, ORGAN_SEAL_RUN) ? ORGAN_SEAL_RUN : ORGAN_SEAL_DOCUMENT;
    else if (organ_ends_with(d->path, ".jsonl"))
        form = ORGAN_SEAL_LINE;
    else if (organ_ends_with(d->path, ".yaml"))
        form = ORGAN_SEAL_YAML;
    else if (strncmp(s->head, "---\n", 4) == 0) /* a model card, which begins with YAML, is no report */
        form = ORGAN_SEAL_FORMS;
    else if (organ_ends_with(d->path, ".md") || organ_ends_with(d->path, ".svg") ||
             strcmp(s->head, ORGAN_PAGE_START) == 0)
        form = ORGAN_SEAL_COMMENT;
    return form < ORGAN_SEAL_FORMS && can_be_sealed(s, form) ? form : ORGAN_SEAL_FORMS;
}

/* Writes the held bytes. The text of a seal ends with organ_seal_end, so it replaces these last bytes. */
static void end_stream(const draft *d, draft_stream *s)
{
    char seal[ORGAN_SEAL_BYTES];
    const organ_seal_form form = seal_form(d, s);
    const bool sealed = form < ORGAN_SEAL_FORMS;
    put_bytes(s, s->held, s->held_count - (sealed ? strlen(organ_seal_end(form)) : 0));
    if (sealed)
        put_bytes(s, seal, organ_seal_text(form, (uint64_t)XXH3_64bits_digest(s->state), seal));
}

/* Also returns ORGAN_IO on a write error that stdio notices only when the stream is closed. */
static organ_status print_into(draft *d, organ_printer *print, const void *context, organ_error *error)
{
    char buffer[16 << 10];
    draft_stream s = {.fd = d->fd, .state = XXH3_createState()};
    FILE *const out = s.state ? fopencookie(&s, "w", (cookie_io_functions_t){.write = write_piece}) : NULL;
    if (!out) {
        XXH3_freeState(s.state);
        return organ_fail(error, ORGAN_IO, "%s: no memory", d->path);
    }
    XXH3_64bits_reset(s.state);
    setvbuf(out, buffer, _IOFBF, sizeof buffer);
    print(context, out, error);
    const bool lost = fclose(out) != 0;
    end_stream(d, &s);
    XXH3_freeState(s.state);
    if (s.fault)
        return organ_fail_errno(error, s.fault, "%s: cannot be written", d->path);
    return lost && !error->status ? organ_fail(error, ORGAN_IO, "%s: no memory", d->path) : error->status;
}

static organ_status write_draft(draft *d, organ_printer *print, const void *context, organ_error *error)
{
    if (organ_memory_work_check(d->path, error) != ORGAN_OK || open_draft(d, error) != ORGAN_OK)
        return error->status;
    if (print_into(d, print, context, error) == ORGAN_OK && organ_sync_file(d->fd))
        organ_fail_errno(error, errno, "%s: cannot be written", d->path);
    return close_draft(d, error->status, error);
}

organ_status organ_printed_write(const char *path, organ_printer *print, const void *context, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return write_draft(&(draft){.path = path, .way = ORGAN_REPLACE_REPORTS}, print, context, error);
}

static bool has_run_last(const json_t *document)
{
    const char *key, *last = "";
    json_t *value;
    json_object_foreach((json_t *)document, key, value) last = key;
    return strcmp(last, "run") == 0;
}

static organ_status print_json(const void *document, FILE *out, organ_error *error)
{
    return organ_document_print(document, out, error);
}

organ_status organ_document_write(const char *path, const json_t *document, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    draft d = {.path = path, .way = ORGAN_REPLACE_REPORTS, .run_last = has_run_last(document)};
    return write_draft(&d, print_json, document, error);
}

organ_status organ_document_replace(const char *path, const json_t *document, organ_error *error)
{
    draft d = {.path = path, .way = ORGAN_REPLACE_CACHES, .run_last = has_run_last(document)};
    return write_draft(&d, print_json, document, error);
}

typedef struct long_document {
    const json_t *document;
    const organ_long_member *rows;
} long_document;

/* Returns ORGAN_IO also if an allocation was refused while the document was built (organ_memory_work_check). */
static organ_status print_long(const void *context, FILE *out, organ_error *error)
{
    const long_document *const d = context;
    if (organ_memory_work_check("a report", error) != ORGAN_OK)
        return error->status;
    return end_document(print_members(d->document, d->rows, out, 0), out, error);
}

organ_status organ_document_write_long(const char *path, const json_t *document, const organ_long_member *rows,
                                       organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    draft d = {.path = path, .way = ORGAN_REPLACE_REPORTS, .run_last = has_run_last(document)};
    return write_draft(&d, print_long, &(long_document){document, rows}, error);
}

static organ_status print_text(const void *text, FILE *out, organ_error *error)
{
    fputs(text, out);
    return error->status;
}

organ_status organ_text_write(const char *path, const char *text, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    return organ_printed_write(path, print_text, text, error);
}

/* ---- reading documents ---- */

double organ_json_amount(const json_t *value)
{
    if (json_is_array(value))
        return (double)json_array_size(value);
    return json_is_true(value) ? 1 : json_number_value(value);
}

bool organ_json_has_something(const json_t *value)
{
    if (json_is_string(value))
        return json_string_length(value) > 0;
    return json_is_object(value) ? json_object_size(value) > 0 : organ_json_amount(value) != 0;
}

/* Finds the first element that has a value at `path` other than null, false, 0 and empty ones. The recursion is as
 * deep as a constant path. */
static const json_t *first_at(const json_t *array, const char *path)
{
    for (size_t k = 0; k < json_array_size(array); k++) {
        const json_t *const value = organ_json_at(organ_json_row_at(array, k), path);
        if (organ_json_has_something(value))
            return value;
    }
    return NULL;
}

static const json_t *element_called(const json_t *array, const char *name)
{
    const char *key;
    json_t *value;
    for (size_t k = 0; k < json_array_size(array); k++)
        json_object_foreach(organ_json_row_at(array, k), key, value)
        {
            if (json_is_string(value) && strcmp(json_string_value(value), name) == 0)
                return json_array_get(array, k);
        }
    return NULL;
}

const json_t *organ_json_at(const json_t *at, const char *path)
{
    organ_json_spool_visit(at);
    while (at && *path) {
        char key[128];
        const size_t length = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)length, path);
        path += length + (path[length] == '.');
        if (!json_is_array(at))
            at = json_object_get(at, key);
        else if (strcmp(key, "*") == 0)
            return first_at(at, path);
        else
            at = *key == '@' ? element_called(at, key + 1) : organ_json_row_at(at, strtoul(key, NULL, 10));
    }
    return at;
}

const char *organ_json_text(const json_t *json, const char *path)
{
    const char *const text = json_string_value(organ_json_at(json, path));
    return text ? text : "";
}

unsigned long long organ_json_count(const json_t *json, const char *path)
{
    const json_int_t count = json_integer_value(organ_json_at(json, path));
    return count > 0 ? (unsigned long long)count : 0;
}

void organ_json_add_count(json_int_t *sum, const json_t *json, const char *path)
{
    if (__builtin_add_overflow(*sum, (json_int_t)organ_json_count(json, path), sum))
        *sum = LLONG_MAX;
}

double organ_json_real(const json_t *json, const char *path) { return json_number_value(organ_json_at(json, path)); }

double organ_json_number(const json_t *json, const char *path)
{
    const json_t *const value = organ_json_at(json, path);
    return json_is_number(value) ? json_number_value(value) : NAN;
}
