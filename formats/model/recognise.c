/* SPDX-License-Identifier: MIT */
#include "formats/model/recognise.h"
#include "formats/model/organ_directory.h"
#include "formats/model/recognise_lists.h"

#include "formats/base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 4096
#define MAP_AROUND 330              /* bytes of the archive of a list of tokens around its pickle */
#define LINE_START "{\"tensor\":\"" /* the beginning of a line of prune.jsonl */

typedef struct head {
    char bytes[HEAD_BYTES + 1]; /* followed by a NUL */
    size_t length;
    uint64_t size; /* size of the file */
} head;

/* Version 0.2.0 wrote Markdown reports with these names and first lines into the folder organ/ of an output, and
 * sealed none. */
static const struct {
    const char *name, *title;
} unsealed[] = {{"REPORT.md", "# Surgery report: "},
                {"PURIFY_REPORT.md", "# Purification"},
                {"DEQUANTIZE_REPORT.md", "# Dequantisation"},
                {"QUANTIZE_REPORT.md", "# Quantisation"},
                {"LORA_REPORT.md", "# LoRA extraction"},
                {"LORA_MERGE_REPORT.md", "# LoRA merge"},
                {"LORA_RESIZE_REPORT.md", "# An adapter of another rank"},
                {"LORA_SANITIZE_REPORT.md", "# Check of an adapter"},
                {"LORA_SANITIZE_REPORT.md", "# A sanitised adapter"}};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* With O_NONBLOCK, opening a pipe does not wait for a writer. */
static bool read_head(int at, const char *name, head *h, organ_error *error)
{
    struct stat info;
    const int fd = organ_open_at(at, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0 && organ_is_system_failure(errno))
        organ_fail_errno(error, errno, "%s: cannot be opened", name);
    if (fd < 0)
        return false;
    const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    const ssize_t got = regular ? organ_pread_full(fd, h->bytes, HEAD_BYTES, 0) : -1;
    if (regular && got < 0)
        organ_fail_errno(error, errno, "%s: cannot be read", name);
    close(fd);
    if (got < 0)
        return false;
    h->length = (size_t)got;
    h->bytes[h->length] = '\0';
    h->size = (uint64_t)info.st_size;
    return true;
}

static bool head_starts_with(const head *h, const char *text)
{
    return h->length >= strlen(text) && memcmp(h->bytes, text, strlen(text)) == 0;
}

/* A file has the prefix ".PID." (".4711.") while process PID writes it. */
static const char *name_without_draft_prefix(const char *path)
{
    const char *const name = organ_path_name(path);
    const size_t digits = *name == '.' ? strspn(name + 1, "0123456789") : 0;
    return digits && name[digits + 1] == '.' ? name + digits + 2 : name;
}

static bool has_schema(const head *h)
{
    static const char key[] = "\"schema\"", family[] = "\"organ.";
    const char *p = h->bytes;
    if (h->length == 0 || *p++ != '{')
        return false;
    p += strspn(p, " \n\r\t");
    if (strncmp(p, key, sizeof key - 1) != 0)
        return false;
    p += sizeof key - 1;
    p += strspn(p, " \n\r\t:");
    return strncmp(p, family, sizeof family - 1) == 0;
}

/* Returns the state of the file's seal, which only reports of this program have. */
static organ_seal_state report_seal_at(int at, const char *path, organ_error *error)
{
    ORGAN_OWNED_FILE const int fd = organ_open_at(at, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0 && organ_is_system_failure(errno))
        organ_fail_errno(error, errno, "%s: cannot be opened", path);
    return fd < 0 ? ORGAN_SEAL_MISSING : organ_seal_check(fd, path, error);
}

bool organ_is_report_start_at(int at, const char *path, organ_error *error)
{
    head h;
    if (!read_head(at, path, &h, error))
        return false;
    if (organ_ends_with(path, ".md"))
        return head_starts_with(&h, "# ");
    if (organ_ends_with(path, ".svg"))
        return head_starts_with(&h, "<svg") || head_starts_with(&h, "<?xml");
    if (organ_ends_with(path, ".jsonl"))
        return head_starts_with(&h, LINE_START);
    return head_starts_with(&h, ORGAN_PAGE_START) || has_schema(&h);
}

static bool is_document_start_at(int at, const char *path, organ_error *error)
{
    head h;
    return read_head(at, path, &h, error) && has_schema(&h);
}

bool organ_is_page_start_at(int at, const char *path, organ_error *error)
{
    head h;
    return read_head(at, path, &h, error) && head_starts_with(&h, ORGAN_PAGE_START);
}

/* Returns true if `name` and the file's first bytes are those of a report in the folder organ/ of an output of version
 * 0.2.0, which sealed no report. */
static bool is_unsealed_report_at(int at, const char *path, organ_error *error)
{
    head h;
    if (!read_head(at, path, &h, error))
        return false;
    for (size_t k = 0; k < COUNT(unsealed); k++)
        if (strcmp(path, unsealed[k].name) == 0 && head_starts_with(&h, unsealed[k].title))
            return true;
    if (strcmp(path, "prune.jsonl") == 0)
        return head_starts_with(&h, LINE_START);
    return (organ_ends_with(path, ".html") && head_starts_with(&h, ORGAN_PAGE_START)) ||
           (organ_ends_with(path, ".json") && has_schema(&h));
}

/* The older format of importance matrices begins with the number of entries and the length of the first name, 32 bits
 * each, and the name, that of a tensor of llama.cpp. */
static bool is_old_imatrix(const head *h)
{
    const uint64_t length = h->length > 8 ? organ_little_endian(h->bytes + 4, 4) : 0;
    return length > 7 && length <= h->length - 8 && memcmp(h->bytes + 8 + length - 7, ".weight", 7) == 0;
}

/* A safetensors file begins with the number of bytes of its header (64 bits), then the '{' of the header. */
bool organ_is_weights_at(int at, const char *path, organ_error *error)
{
    const char *const name = name_without_draft_prefix(path);
    head h;
    if (!organ_ends_with(name, ".gguf") && !organ_ends_with(name, ".safetensors") && !organ_ends_with(name, ".dat"))
        return false;
    if (!read_head(at, path, &h, error))
        return false;
    if (organ_ends_with(name, ".gguf"))
        return head_starts_with(&h, "GGUF");
    if (organ_ends_with(name, ".dat"))
        return is_old_imatrix(&h);
    return h.length > 8 && organ_little_endian(h.bytes, 8) <= h.size - 8 && h.bytes[8] == '{';
}

/* A list of tokens is an archive (zip) without compression: 330 bytes around a pickle (verbs/vocabulary/token_map.c).
 * Its first entry has a version, no flags, no method, a fixed date, then CRC and sizes; a pickle begins with a list. */
static bool is_token_map_at(int at, const char *path, organ_error *error)
{
    static const char start[] = "PK\3\4\24\0\0\0\0\0\0\0\x21\x5A", name[] = "\x0c\0\0\0map/data.pkl\x80\2]q\0(";
    enum { START = sizeof start - 1, NAME = sizeof name - 1, LENGTH_AT = START + 4, NAME_AT = LENGTH_AT + 8 };
    head h;
    if (!organ_ends_with(name_without_draft_prefix(path), ".pt") || !read_head(at, path, &h, error))
        return false;
    return h.length >= NAME_AT + NAME && memcmp(h.bytes, start, START) == 0 &&
           memcmp(h.bytes + NAME_AT, name, NAME) == 0 &&
           organ_little_endian(h.bytes + LENGTH_AT, 4) + MAP_AROUND == h.size;
}

#define MAX_ENTRIES ((size_t)1000000) /* files and folders of an output */
#define DEEPEST     32                /* levels of folders below an output */
/* the reason why --force does not replace a file: the end of a message */
#define UNLISTED ", which no report, manifest or index of organ there lists"
#define STEP     ((size_t)1 << 16) /* bytes that are compared at a time */

/* The position of a directory in an output determines which files the directory may contain. ROOT is the output
 * itself. REPORTS is its folder of reports, or the folder of the donor's reports in that folder. PARTS is a folder
 * with tensors or headers of an organ directory. */
typedef enum recognise_place { ROOT, REPORTS, PARTS, ELSEWHERE } recognise_place;

typedef struct recognise_walk {
    const char *root;      /* the output directory */
    const char *like[2];   /* models of which the output may contain copies of files: the caller's input and the input
                              that a report names; NULL for none */
    organ_written written; /* files that organ lists as its own */
    size_t entries;        /* number of files and folders so far */
    dev_t device;          /* device of `root`; an entry on another device is a mount point */
    /* the first file that must not be replaced, and the reason; "" while none was found */
    char foreign_file[PATH_MAX + 128];
    organ_error *error;
} recognise_walk;

/* ---- single entries ---- */

static bool same_bytes(const recognise_walk *w, int a, int b, const char *path)
{
    char x[STEP], y[STEP];
    struct stat of_a, of_b;
    if (fstat(a, &of_a) || fstat(b, &of_b) || !S_ISREG(of_a.st_mode) || !S_ISREG(of_b.st_mode) ||
        of_a.st_size != of_b.st_size)
        return false;
    for (off_t at = 0; at < of_a.st_size;) {
        const ssize_t got_a = organ_pread_full(a, x, STEP, at),
                      got_b = got_a > 0 ? organ_pread_full(b, y, (size_t)got_a, at) : 0;
        if (got_a < 0 || got_b < 0)
            organ_fail_errno(w->error, errno, "%s/%s: cannot be compared with that of the input", w->root, path);
        if (got_a <= 0 || got_b != got_a || memcmp(x, y, (size_t)got_a) != 0)
            return false;
        at += got_a;
    }
    return true;
}

/* Sets an error only for a failure of the system (memory, number of open files), not for a missing file. */
static int open_if_exists(const recognise_walk *w, int at, const char *name)
{
    const int fd = organ_open_at(at, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0 && organ_is_system_failure(errno))
        organ_fail_errno(w->error, errno, "%s: cannot be opened", name);
    return fd;
}

/* An organ directory keeps the files of a model in files/, so files/`path` also counts as the same place, and for a
 * `path` in files/ also the path without that folder. */
static bool has_same_copy(const recognise_walk *w, const char *like, int fd, const char *path)
{
    static const char folder[] = ORGAN_FILES_FOLDER "/";
    const bool inside = strncmp(path, folder, sizeof folder - 1) == 0;
    bool same = false;
    for (int k = 0; k < 3 && !same; k++) {
        char copy[PATH_MAX];
        int length = PATH_MAX; /* no path to compare, as for one that is too long */
        if (k < 2)
            length = snprintf(copy, sizeof copy, "%s/%s%s", like, k ? folder : "", path);
        else if (inside)
            length = snprintf(copy, sizeof copy, "%s/%s", like, path + sizeof folder - 1);
        ORGAN_OWNED_FILE const int copy_file = length < PATH_MAX ? open_if_exists(w, AT_FDCWD, copy) : -1;
        same = copy_file >= 0 && same_bytes(w, fd, copy_file, path);
    }
    return same;
}

static bool refuse_foreign_file(recognise_walk *w, const char *path, const char *why)
{
    snprintf(w->foreign_file, sizeof w->foreign_file, "'%s'%s", path, why);
    return false;
}

/* `path` is relative to the output's root. A file with weights must also begin like one. */
static bool is_listed(recognise_walk *w, int at, const char *name, const char *path, int fd, bool *changed)
{
    const bool weights = organ_ends_with(name, ".gguf") || organ_ends_with(name, ".safetensors");
    return organ_written_has(&w->written, path, fd, changed, w->error) &&
           (!weights || organ_is_weights_at(at, name, w->error));
}

/* Version 0.2.0 wrote reports without a seal into the folder of reports of an output without a record. */
static bool is_report(const recognise_walk *w, int at, const char *name, const char *path, recognise_place where,
                      bool *changed)
{
    if (w->written.recorded && strcmp(path, ORGAN_RECORD) == 0)
        return true;
    const organ_seal_state seal = report_seal_at(at, name, w->error);
    *changed = seal == ORGAN_SEAL_BROKEN;
    return seal == ORGAN_SEAL_WHOLE || (seal == ORGAN_SEAL_MISSING && !w->error->status && where == REPORTS &&
                                        w->written.reported && is_unsealed_report_at(at, name, w->error));
}

static bool may_replace(recognise_walk *w, int at, const char *name, const char *path, recognise_place where)
{
    bool changed = false, ours = where == PARTS && json_object_get(w->written.parts, path);
    if (!ours && (where == ROOT || where == REPORTS))
        ours = is_report(w, at, name, path, where, &changed);
    ORGAN_OWNED_FILE const int fd = ours || w->error->status ? -1 : open_if_exists(w, at, name);
    if (!ours && !w->error->status)
        ours = is_listed(w, at, name, path, fd, &changed);
    for (int k = 0; k < 2 && fd >= 0 && !ours && !w->error->status; k++)
        ours = w->like[k] && has_same_copy(w, w->like[k], fd, path);
    return !w->error->status &&
           (ours || refuse_foreign_file(w, path, changed ? ", which was changed since organ wrote it" : UNLISTED));
}

static recognise_place place_of_folder(const recognise_walk *w, const char *name, recognise_place where)
{
    if (where == REPORTS)
        return strcmp(name, "donor") == 0 ? REPORTS : ELSEWHERE;
    if (where == ROOT && strcmp(name, ORGAN_REPORT_FOLDER) == 0)
        return REPORTS;
    for (organ_group g = 0; g <= ORGAN_GROUP_OTHER && where == ROOT && w->written.organ_directory; g++)
        if (strcmp(name, organ_group_folder(g)) == 0)
            return PARTS;
    return where == ROOT && w->written.organ_directory && strcmp(name, ORGAN_HEADER_FOLDER) == 0 ? PARTS : ELSEWHERE;
}

static bool visit_folder(recognise_walk *w, int fd, const char *folder, recognise_place where, int depth);

/* Returns false if the walk has to end: an error occurred, or the entry is not of organ (w->foreign_file). */
static bool visit_directory_entry(recognise_walk *w, int at, const char *folder, const char *name,
                                  recognise_place where, int depth)
{
    char path[PATH_MAX];
    struct stat info;
    if (fstatat(at, name, &info, AT_SYMLINK_NOFOLLOW)) {
        organ_fail_errno(w->error, errno, "%s/%s%s%s: cannot be examined", w->root, folder, *folder ? "/" : "", name);
        return false;
    }
    if (snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name) >= (int)sizeof path)
        return refuse_foreign_file(w, name, ", whose path is too long");
    if (where == ROOT && strcmp(name, ORGAN_GROWING_MARK) == 0)
        return true; /* organ removes it at the end; after a power cut the removal may be lost */
    if (info.st_dev != w->device)
        return refuse_foreign_file(w, path, ", where another file system is mounted");
    if (S_ISREG(info.st_mode) || S_ISLNK(info.st_mode))
        return may_replace(w, at, name, path, where);
    if (!S_ISDIR(info.st_mode))
        return refuse_foreign_file(w, path, ", which is neither a file nor a directory");
    if (depth == DEEPEST)
        return refuse_foreign_file(w, path, ", which is nested too deep");
    const int fd = organ_open_at(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd >= 0)
        return visit_folder(w, fd, path, place_of_folder(w, name, where), depth + 1);
    organ_fail_errno(w->error, errno, "%s/%s: cannot be listed", w->root, path);
    return false;
}

/* ---- a directory, in the byte order of its names ---- */

typedef struct name_list {
    char **names;
    size_t count, capacity;
} name_list;

static bool add_name(name_list *list, const char *name)
{
    return organ_grow(&list->names, list->count, &list->capacity, sizeof *list->names) &&
           (list->names[list->count] = strdup(name)) && ++list->count;
}

/* Returns false if the walk has to end, as visit_directory_entry does. */
static bool recognise_list_names(recognise_walk *w, DIR *directory, const char *folder, name_list *list)
{
    for (const struct dirent *entry; errno = 0, (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (++w->entries > MAX_ENTRIES) {
            snprintf(w->foreign_file, sizeof w->foreign_file, "more than %zu entries", MAX_ENTRIES);
            return false;
        }
        if (!add_name(list, entry->d_name)) {
            organ_fail_errno(w->error, ENOMEM, "%s: cannot be listed", w->root);
            return false;
        }
    }
    if (errno)
        organ_fail_errno(w->error, errno, "%s/%s: cannot be listed", w->root, folder);
    if (list->count)
        qsort(list->names, list->count, sizeof *list->names, organ_order_texts);
    return !w->error->status;
}

/* Closes `fd`, also after an error. */
static bool visit_folder(recognise_walk *w, int fd, const char *folder, recognise_place where, int depth)
{
    name_list list = {0};
    ORGAN_OWNED_FOLDER DIR *const directory = fdopendir(fd);
    if (!directory) {
        organ_fail_errno(w->error, errno, "%s/%s: cannot be listed", w->root, folder);
        close(fd);
        return false;
    }
    bool go_on = recognise_list_names(w, directory, folder, &list);
    if (go_on && list.count == 0 && depth > (where == PARTS)) /* extract also makes folders of groups without tensors */
        go_on = refuse_foreign_file(w, folder, ", an empty folder, which organ does not make");
    for (size_t k = 0; k < list.count && go_on; k++)
        go_on = visit_directory_entry(w, fd, folder, list.names[k], where, depth);
    for (size_t k = 0; k < list.count; k++)
        free(list.names[k]);
    free(list.names);
    return go_on;
}

/* w->like[0] is the caller's input; the function sets w->like[1] to the input that the output's report names. */
static organ_status walk_output(recognise_walk *w)
{
    struct stat info;
    const int fd = organ_open(w->root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0 || fstat(fd, &info)) {
        organ_fail_errno(w->error, errno, "%s: cannot be listed", w->root);
        if (fd >= 0)
            close(fd);
        return w->error->status;
    }
    w->device = info.st_dev;
    if (organ_written_read(w->root, w->like[0], &w->written, w->error))
        close(fd);
    else {
        w->like[1] = *w->written.donor ? w->written.donor : NULL;
        visit_folder(w, fd, /*folder=*/"", ROOT, /*depth=*/0);
    }
    organ_written_release(&w->written);
    return w->error->status;
}

static organ_status check_directory(const char *path, const char *like, organ_error *error)
{
    ORGAN_OWNED recognise_walk *const w = calloc(1, sizeof *w);
    if (!w)
        return organ_fail_errno(error, ENOMEM, "%s: cannot be listed", path);
    *w = (recognise_walk){.root = path, .like = {like}, .error = error};
    if (walk_output(w) == ORGAN_OK && *w->foreign_file)
        organ_fail(error, ORGAN_USAGE, "%s exists and contains %s: `force` does not replace it", path, w->foreign_file);
    return error->status;
}

organ_status organ_check_replaceable(const char *path, const char *like, organ_error *error)
{
    struct stat info;
    if (lstat(path, &info))
        return errno == ENOENT || errno == ENOTDIR ? ORGAN_OK
                                                   : organ_fail_errno(error, errno, "%s: cannot be examined", path);
    if (S_ISDIR(info.st_mode))
        return check_directory(path, like, error);
    if (S_ISLNK(info.st_mode))
        return organ_fail(error, ORGAN_USAGE, "%s exists and is a symbolic link: `force` does not replace it", path);
    if (!S_ISREG(info.st_mode))
        return organ_fail(error, ORGAN_USAGE,
                          "%s exists and is neither a file nor a directory: `force` does not replace it", path);
    if (info.st_size == 0 || organ_is_weights_at(AT_FDCWD, path, error) || is_token_map_at(AT_FDCWD, path, error) ||
        error->status)
        return error->status;
    const organ_seal_state seal = report_seal_at(AT_FDCWD, path, error);
    if (seal == ORGAN_SEAL_WHOLE || error->status)
        return error->status;
    return organ_fail(error, ORGAN_USAGE,
                      seal == ORGAN_SEAL_BROKEN
                          ? "%s exists and was changed since organ wrote it: `force` does not replace it"
                          : "%s exists and is neither a model nor a report of organ: `force` does not replace it",
                      path);
}

organ_status organ_check_report_place(const char *path, organ_error *error)
{
    struct stat info;
    if (lstat(path, &info))
        return errno == ENOENT || errno == ENOTDIR ? ORGAN_OK
                                                   : organ_fail_errno(error, errno, "%s: cannot be examined", path);
    if (!S_ISREG(info.st_mode))
        return organ_fail(error, ORGAN_USAGE, "%s: exists and is not a file: it is not overwritten", path);
    const organ_seal_state seal = info.st_size == 0 ? ORGAN_SEAL_WHOLE : report_seal_at(AT_FDCWD, path, error);
    if (seal == ORGAN_SEAL_WHOLE || error->status)
        return error->status;
    return organ_fail(error, ORGAN_USAGE,
                      seal == ORGAN_SEAL_BROKEN
                          ? "%s: exists and was changed since organ wrote it: it is not overwritten"
                          : "%s: exists and is not a report of organ: it is not overwritten",
                      path);
}

organ_status organ_check_cache_place(const char *path, organ_error *error)
{
    struct stat info;
    organ_error why = {0};
    const bool regular = lstat(path, &info) == 0 && S_ISREG(info.st_mode);
    if (regular && is_document_start_at(AT_FDCWD, path, &why))
        return ORGAN_OK;
    if (why.status)
        *error = why;
    return why.status ? why.status : organ_check_report_place(path, error);
}
