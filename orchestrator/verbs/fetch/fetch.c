/* SPDX-License-Identifier: MIT
 * Downloads a model: selects the files of a commit, checks the space, downloads one file after another, and completes
 * the entry of the cache. */
#include "orchestrator/verbs/fetch/fetch.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- one file: continues what an earlier run has received ---- */

/* Creates all missing folders above the file `path`. */
static organ_status fetch_folders(const char *path, organ_error *error)
{
    char folder[4096];
    if (strlen(path) >= sizeof folder)
        return organ_fail(error, ORGAN_USAGE, "%s: the path is too long", path);
    strcpy(folder, path);
    for (char *slash = folder; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            return organ_fail_errno(error, errno, "%s", folder);
        *slash = '/';
    }
    return ORGAN_OK;
}

/* The hub lists SHA-256 for LFS files, git's blob SHA-1 for others. */
static void begin_digest(const organ_hub_file *file, organ_digest *digest)
{
    char head[40];
    organ_digest_begin(digest, !file->lfs);
    if (!file->lfs) /* git's name of a blob is the digest of "blob SIZE", a NUL and the content */
        organ_digest_add(digest, head, (size_t)snprintf(head, sizeof head, "blob %" PRIu64, file->bytes) + 1);
}

/* Adds the first `bytes` bytes of the file to the digest. */
static organ_status add_received(const organ_fetch_file *f, int fd, uint64_t bytes, organ_digest *digest,
                                 organ_error *error)
{
    for (uint64_t at = 0; at < bytes;) {
        const size_t part = (size_t)organ_min(bytes - at, ORGAN_FETCH_BUFFER);
        const ssize_t got = organ_pread_full(fd, f->buffer, part, (off_t)at);
        if (got != (ssize_t)part)
            return organ_fail_errno(error, got < 0 ? errno : EIO, "%s: cannot be read", f->part);
        organ_digest_add(digest, f->buffer, part);
        at += part;
    }
    return ORGAN_OK;
}

/* A file with another size or digest is an error, because a download never overwrites files. */
static organ_status compare_present(const organ_fetch_file *f, bool *same, organ_error *error)
{
    struct stat about;
    organ_digest digest;
    char text[ORGAN_DIGEST_TEXT];
    *same = false;
    const int fd = organ_open(f->path, O_RDONLY, 0);
    if (fd < 0)
        return organ_fail_errno(error, errno, "%s", f->path);
    if (fstat(fd, &about) != 0)
        organ_fail_errno(error, errno, "%s", f->path);
    begin_digest(f->file, &digest);
    if (!error->status && S_ISREG(about.st_mode) && (uint64_t)about.st_size == f->file->bytes &&
        add_received(f, fd, f->file->bytes, &digest, error) == ORGAN_OK) {
        organ_digest_end(&digest, text);
        *same = strcmp(text, f->file->digest) == 0;
    }
    close(fd);
    if (!error->status && !*same)
        return organ_fail(error, ORGAN_USAGE, "%s: exists, but its content differs from %s on the server: remove it",
                          f->path, f->file->path);
    return error->status;
}

static organ_status receive_rest(const organ_fetch_file *f, int fd, uint64_t from, organ_digest *digest,
                                 organ_error *error)
{
    organ_http_file *source = NULL;
    if (f->file->bytes == from)
        return ORGAN_OK;
    if (organ_http_open(f->http, f->file->path, &source, NULL, error) != ORGAN_OK)
        return error->status;
    if (organ_http_size(source) != f->file->bytes)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the server has %" PRIu64 " bytes, but its list states %" PRIu64,
                   f->file->path, organ_http_size(source), f->file->bytes);
    for (uint64_t at = from; !error->status && at < f->file->bytes;) {
        const size_t part = (size_t)organ_min(f->file->bytes - at, ORGAN_FETCH_BUFFER);
        if (organ_http_read(source, f->buffer, part, at, error) != ORGAN_OK)
            break;
        organ_digest_add(digest, f->buffer, part);
        if (organ_write_all(fd, f->buffer, part) != 0)
            organ_fail_errno(error, errno, "%s: cannot be written", f->part);
        at += part;
        organ_progress_advance(f->progress, part, at == f->file->bytes ? f->file->path : NULL, NULL);
    }
    organ_http_close(source);
    return error->status;
}

/* An earlier run has received the first `from` bytes. They may be of another commit, so another digest is an error
 * only if `from` is 0; otherwise the caller downloads the file again. */
static organ_status receive_file(const organ_fetch_file *f, int fd, uint64_t from, bool *same, organ_error *error)
{
    organ_digest digest;
    char text[ORGAN_DIGEST_TEXT];
    if (organ_resize_file(fd, (off_t)from) != 0 || lseek(fd, (off_t)from, SEEK_SET) < 0)
        return organ_fail_errno(error, errno, "%s", f->part);
    begin_digest(f->file, &digest);
    if (add_received(f, fd, from, &digest, error) != ORGAN_OK || receive_rest(f, fd, from, &digest, error) != ORGAN_OK)
        return error->status;
    organ_digest_end(&digest, text);
    *same = strcmp(text, f->file->digest) == 0;
    if (!*same && from == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the received bytes have the digest %s, but the list states %s",
                          f->file->path, text, f->file->digest);
    return ORGAN_OK;
}

static organ_status finish_file(const organ_fetch_file *f, int fd, organ_error *error)
{
    if (organ_sync_file(fd) != 0)
        return organ_fail_errno(error, errno, "%s: cannot be written", f->part);
    if (rename(f->part, f->path) != 0)
        return organ_fail_errno(error, errno, "%s: cannot be renamed to %s", f->part, f->path);
    return ORGAN_OK;
}

/* f->part is open and locked as `fd`. If the digest is wrong and the file has bytes of an earlier run, all bytes are
 * downloaded again. A file with a wrong size or digest is removed. */
static organ_status fill_part(const organ_fetch_file *f, int fd, organ_fetched *how, organ_error *error)
{
    struct stat about;
    bool same = false;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
        return organ_fail(error, ORGAN_USAGE, "%s: is not a regular file", f->part);
    const uint64_t from = (uint64_t)about.st_size <= f->file->bytes ? (uint64_t)about.st_size : 0;
    *how = from ? ORGAN_FETCH_CONTINUED : ORGAN_FETCH_NEW;
    if (receive_file(f, fd, from, &same, error) == ORGAN_OK && !same) {
        *how = ORGAN_FETCH_NEW;
        receive_file(f, fd, 0, &same, error);
    }
    if (error->status == ORGAN_BAD_INPUT)
        unlink(f->part);
    return error->status ? error->status : finish_file(f, fd, error);
}

/* The lock on the temporary file prevents two processes from downloading it at the same time. */
static organ_status fetch_one(const organ_fetch_file *f, organ_fetched *how, organ_error *error)
{
    struct stat about;
    bool same;
    if (lstat(f->path, &about) == 0) {
        *how = ORGAN_FETCH_PRESENT;
        return compare_present(f, &same, error);
    }
    if (fetch_folders(f->part, error) != ORGAN_OK)
        return error->status;
    const int fd = organ_open_locked(f->part, O_RDWR | O_CREAT | O_NOFOLLOW, 0666);
    if (fd < 0)
        return errno == EWOULDBLOCK ? organ_fail(error, ORGAN_IO, "%s: another process downloads this file", f->part)
                                    : organ_fail_errno(error, errno, "%s", f->part);
    if (lstat(f->path, &about) == 0) { /* another process has completed it before this one had the lock */
        *how = ORGAN_FETCH_PRESENT;
        if (compare_present(f, &same, error) == ORGAN_OK)
            unlink(f->part);
    } else
        fill_part(f, fd, how, error);
    close(fd);
    return error->status;
}

typedef struct fetch_row {
    const organ_hub_file *file;
    const char *path, *part; /* the final path, and that of the temporary file */
    const char *link;        /* path of the link in the cache's snapshot that points to `path`; NULL if -o was given */
    uint64_t there;          /* bytes of the file that were already downloaded when this run began */
    organ_fetched how;       /* how the file was obtained; set by fetch_files */
} fetch_row;

typedef struct fetch_job {
    const organ_fetch_options *options;
    const organ_progress *progress;
    organ_model_access access; /* access to the hub, with the token */
    organ_hub_name name;       /* parts of options->model */
    organ_hub_files found;     /* all files of the commit */
    const char *folder;        /* destination: the folder of -o, or the model's entry in the cache */
    fetch_row *rows;           /* the selected files */
    size_t count;              /* number of selected files */
    uint64_t bytes;            /* bytes of all selected files */
    uint64_t left;             /* of `bytes`: those that were not downloaded when this run began */
    double started;            /* time of the start (organ_seconds_now) */
    organ_arena arena;         /* owns paths and names */
} fetch_job;

static bool matches_any(const char *path, const char *const *globs, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (fnmatch(globs[k], path, 0) == 0)
            return true;
    return false;
}

static bool is_selected(const fetch_job *job, const char *path)
{
    const organ_fetch_options *const o = job->options;
    if (job->name.file && strcmp(job->name.file, path) != 0)
        return false;
    return (o->include_count == 0 || matches_any(path, o->include, o->include_count)) &&
           !matches_any(path, o->exclude, o->exclude_count);
}

/* Repositories of models have files of git and of macOS anywhere, and the folder of evaluation results, if `top`, in
 * the repository's own folder. */
static bool is_usual_hidden_name(const char *name, size_t length, bool folder, bool top)
{
    static const char *const files[] = {".gitattributes", ".gitignore", ".gitkeep", ".DS_Store", NULL};
    static const char results[] = ".eval_results";
    if (folder)
        return top && length == strlen(results) && strncmp(name, results, length) == 0;
    return organ_is_one_of(name, files);
}

/* Programs read hidden files unasked: a shell or git that starts in a folder with .git/config runs commands that
 * this file names. */
static organ_status check_hidden(const fetch_job *job, const char *path, organ_error *error)
{
    for (const char *name = path; name;) {
        const char *const slash = strchr(name, '/');
        const size_t length = slash ? (size_t)(slash - name) : strlen(name);
        if (*name == '.' && !is_usual_hidden_name(name, length, slash != NULL, name == path))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: the list has the hidden file %s, which organ does not write: to fetch the others, "
                              "add `exclude` '%s'",
                              job->options->model, path, path);
        name = slash ? slash + 1 : NULL;
    }
    return ORGAN_OK;
}

static uint64_t existing_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
}

/* The sum of the sizes in the list must be below 2^63 bytes, which exceeds any file system. */
static organ_status place_row(fetch_job *job, fetch_row *row, organ_error *error)
{
    organ_arena *const arena = &job->arena;
    const bool cache = !job->options->output;
    char *path = cache ? organ_format("%s/blobs/%s", job->folder, row->file->digest)
                       : organ_format("%s/%s", job->folder, row->file->path);
    char *part = organ_format("%s%s", path ? path : "", cache ? ".incomplete" : ".part");
    char *link = organ_format("%s/snapshots/%s/%s", job->folder, job->found.commit, row->file->path);
    if (path && part && link) {
        row->path = organ_arena_copy(arena, path, strlen(path));
        row->part = organ_arena_copy(arena, part, strlen(part));
        row->link = cache ? organ_arena_copy(arena, link, strlen(link)) : NULL;
    }
    ORGAN_FREE_ARRAYS(path, part, link);
    if (!row->path || !row->part || (cache && !row->link))
        return organ_fail_memory(error, job->options->model);
    const uint64_t whole = existing_bytes(row->path), begun = whole ? whole : existing_bytes(row->part);
    row->there = begun < row->file->bytes ? begun : row->file->bytes;
    if (row->file->bytes > INT64_MAX - job->bytes)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the sizes of the files in the list add up to 2^63 bytes or more",
                          job->options->model);
    job->bytes += row->file->bytes;
    job->left += row->file->bytes - row->there;
    return ORGAN_OK;
}

static organ_status select_files(fetch_job *job, organ_error *error)
{
    job->rows = calloc(job->found.count + 1, sizeof *job->rows);
    if (!job->rows)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->found.count && !error->status; k++)
        if (is_selected(job, job->found.files[k].path)) {
            job->rows[job->count].file = &job->found.files[k];
            if (check_hidden(job, job->found.files[k].path, error) == ORGAN_OK)
                place_row(job, &job->rows[job->count++], error);
        }
    if (job->count == 0 && !error->status)
        organ_fail(error, ORGAN_USAGE, "%s: none of the %zu files of commit %s is selected", job->options->model,
                   job->found.count, job->found.commit);
    return error->status;
}

/* The folder may not exist yet: then the nearest existing folder above it is examined. */
static organ_status check_space(const fetch_job *job, organ_error *error)
{
    struct statvfs disk;
    char *folder = strdup(job->folder);
    while (folder && statvfs(folder, &disk) != 0) {
        char *const slash = strrchr(folder, '/');
        if (errno != ENOENT || strcmp(folder, "/") == 0 || strcmp(folder, ".") == 0) {
            organ_fail_errno(error, errno, "%s", job->folder);
            break;
        }
        if (slash)
            slash[slash == folder] = '\0'; /* the folder above "/new" is "/" */
        else
            strcpy(folder, ".");
    }
    if (!folder)
        return organ_fail_memory(error, job->folder);
    free(folder);
    const uint64_t free_bytes = error->status ? 0 : (uint64_t)disk.f_bavail * disk.f_frsize;
    if (!error->status && free_bytes < job->left)
        return organ_fail(error, ORGAN_IO, "%s: %" PRIu64 " bytes are left to download, but only %" PRIu64 " are free",
                          job->folder, job->left, free_bytes);
    return error->status;
}

/* ---- the cache ---- */

/* The link is snapshots/COMMIT/FILE -> ../../blobs/DIGEST, with one ".." more for each folder in FILE. */
static organ_status link_blob(const fetch_row *row, organ_error *error)
{
    char target[2048] = "../../";
    size_t length = strlen(target);
    for (const char *c = row->file->path; *c && length + 100 < sizeof target; c++)
        if (*c == '/')
            length += (size_t)snprintf(target + length, sizeof target - length, "../");
    snprintf(target + length, sizeof target - length, "blobs/%s", row->file->digest);
    if (fetch_folders(row->link, error) != ORGAN_OK)
        return error->status;
    if (unlink(row->link) != 0 && errno != ENOENT)
        return organ_fail_errno(error, errno, "%s", row->link);
    if (symlink(target, row->link) != 0)
        return organ_fail_errno(error, errno, "%s", row->link);
    return ORGAN_OK;
}

/* After a failure the reason is in errno, and the file may exist: the caller removes it. */
static bool write_draft(const char *made, const char *text)
{
    const int fd = organ_open(made, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0666);
    const bool written = fd >= 0 && organ_write_all(fd, text, strlen(text)) == 0 && organ_sync_file(fd) == 0;
    const int reason = errno;
    if (fd >= 0)
        close(fd);
    errno = reason;
    return written;
}

/* The text is written to a temporary file, which is renamed once its bytes are on the disk, so that the file at
 * `path` is complete at all times. */
static organ_status write_small(const char *path, const char *text, organ_error *error)
{
    ORGAN_OWNED char *const made = organ_format("%s.tmp", path);
    if (!made)
        return organ_fail_memory(error, path);
    if (fetch_folders(path, error) == ORGAN_OK && (!write_draft(made, text) || rename(made, path) != 0)) {
        organ_fail_errno(error, errno, "%s", path);
        unlink(made);
    }
    return error->status;
}

/* refs/REVISION has the commit, unless the revision is that commit. CACHEDIR.TAG makes backup programs skip the
 * cache. */
static organ_status finish_cache(const fetch_job *job, organ_error *error)
{
    const char *const revision = job->name.revision ? job->name.revision : "main";
    ORGAN_OWNED char *const ref = organ_format("%s/refs/%s", job->folder, revision);
    ORGAN_OWNED char *const tag =
        organ_format("%.*sCACHEDIR.TAG", (int)(organ_path_name(job->folder) - job->folder), job->folder);
    struct stat about;
    if (!ref || !tag)
        organ_fail_memory(error, job->folder);
    else if (strcmp(revision, job->found.commit) != 0)
        write_small(ref, job->found.commit, error);
    if (!error->status && lstat(tag, &about) != 0)
        write_small(tag, "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of models.\n", error);
    return error->status;
}

/* ---- the run ---- */

static organ_status fetch_files(fetch_job *job, organ_error *error)
{
    organ_http *http = NULL;
    ORGAN_OWNED void *const scratch = malloc(ORGAN_FETCH_BUFFER);
    if (!scratch)
        return organ_fail_memory(error, job->options->model);
    if (organ_http_create(job->found.url, &job->access, &http, error) == ORGAN_OK)
        organ_http_take_paths(http);
    organ_progress_begin(job->progress, "fetching", job->left, job->count);
    for (size_t k = 0; k < job->count && !error->status; k++) {
        fetch_row *const row = &job->rows[k];
        const organ_fetch_file one = {row->file, row->path, row->part, http, job->progress, scratch};
        if (fetch_one(&one, &row->how, error) == ORGAN_OK && row->link)
            link_blob(row, error);
    }
    organ_progress_end(job->progress);
    organ_http_destroy(http);
    return error->status || job->options->output ? error->status : finish_cache(job, error);
}

static json_t *row_json(const void *context, size_t k)
{
    static const char *const words[] = {
        [ORGAN_FETCH_NEW] = "fetched", [ORGAN_FETCH_CONTINUED] = "continued", [ORGAN_FETCH_PRESENT] = "present"};
    const fetch_job *const job = context;
    const fetch_row *const row = &job->rows[k];
    const uint64_t remaining = row->file->bytes - row->there;
    return ORGAN_OBJECT(SET_BYTES("file", row->file->path), SET_COUNT("bytes", row->file->bytes),
                        SET_TEXT("digest", row->file->digest), SET_TEXT("kind", row->file->lfs ? "sha256" : "git"),
                        SET_COUNT("left", job->options->dry_run ? remaining : 0),
                        SET_TEXT("state", job->options->dry_run ? "to fetch" : words[row->how]));
}

static json_t *document(const fetch_job *job)
{
    return ORGAN_OBJECT(
        SET_HEAD("organ.fetch/1", "fetch/1"), SET_TEXT("model", job->name.id),
        SET_BYTES("revision", job->name.revision ? job->name.revision : "main"), SET_TEXT("commit", job->found.commit),
        SET_FLAG("dry_run", job->options->dry_run), SET_FLAG("cache", !job->options->output),
        SET("files", organ_json_rows(job->count, row_json, job)),
        SET("totals", ORGAN_OBJECT(SET_COUNT("files", job->count), SET_COUNT("bytes", job->bytes),
                                   SET_COUNT("left", job->options->dry_run ? job->left : 0))),
        SET("run",
            ORGAN_OBJECT(SET_BYTES("folder", job->folder), SET_COUNT("fetched", job->options->dry_run ? 0 : job->left),
                         SET_REAL("seconds", organ_rounded_seconds(organ_seconds_now() - job->started)))));
}

static organ_status find_folder(fetch_job *job, organ_error *error)
{
    const char *const root = job->options->output ? NULL : organ_hub_root(&job->arena);
    if (!job->options->output && !root)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: neither HOME nor HF_HOME is set, so the folder of the cache is unknown",
                          job->options->model);
    job->folder = root ? organ_path_join(&job->arena, root, job->name.folder)
                       : organ_arena_copy(&job->arena, job->options->output, organ_path_length(job->options->output));
    return job->folder ? ORGAN_OK : organ_fail_memory(error, job->options->model);
}

static organ_status run_fetch(fetch_job *job, json_t **report, organ_error *error)
{
    const organ_fetch_options *const o = job->options;
    if (organ_hub_name_parse(o->model, &job->arena, &job->name, error) || find_folder(job, error) ||
        organ_hub_set_token(o->token_file, &job->arena, &job->access, error) ||
        organ_hub_list_files(o->model, &job->name, &job->access, &job->arena, &job->found, error) ||
        select_files(job, error) || check_space(job, error) || (!o->dry_run && fetch_files(job, error)))
        return error->status;
    *report = document(job);
    return *report ? ORGAN_OK : organ_fail_memory(error, o->model);
}

organ_status organ_fetch(const organ_fetch_options *options, const organ_progress *progress, json_t **report,
                         organ_error *error)
{
    fetch_job job = {.options = options, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    job.access = options->access ? *options->access : (organ_model_access){0};
    run_fetch(&job, report, error);
    free(job.rows);
    organ_arena_release(&job.arena);
    return organ_report_end(&work, options->model, error);
}
