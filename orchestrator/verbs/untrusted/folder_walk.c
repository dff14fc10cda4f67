/* SPDX-License-Identifier: MIT
 * Walks the directory of a download, examines its files and makes the report. */
#include "orchestrator/verbs/untrusted/untrusted_parts.h"

#include "formats/base/files.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "formats/model/organ_directory.h"
#include "formats/remote/remote.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <organ/inspect.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Largest text that is read, in bytes. Tokenizers and indexes are the largest texts that loaders read, and smaller than
 * this. */
#define TEXT_BYTES ((size_t)256 << 20)

/* Limits of a walk: levels of nested directories, and total number of entries. */
enum { DEPTH_MAX = 32, ENTRIES_MAX = 100000 };

typedef struct folder_scan {
    organ_findings *findings;
    organ_scanned_folder *scanned;
    const char *path;     /* the path of the download as the user gave it */
    char *root;           /* the same path, absolute and without links; allocated */
    organ_link_base base; /* the directory that links must not leave */
    uint64_t entries;     /* entries visited so far */
    /* the download is an organ directory: the headers stored in it have no tensor data after them */
    bool organ_directory;
} folder_scan;

/* A system call must just have failed with errno. An error that says nothing about the file
 * (organ_is_system_failure) becomes findings->failure, not a finding. */
static void add_call_failure(const folder_scan *t, organ_finding_kind kind, const char *what)
{
    const int number = errno;
    organ_error error = {0};
    if (organ_is_system_failure(number)) {
        organ_fail_errno(&error, number, "%s: %s", t->findings->file, what);
        organ_findings_add_error(t->findings, kind, &error);
    } else
        organ_findings_add(t->findings, kind, "", "%s: %s", what, strerror(number));
}

/* ---- one file ---- */

/* The text is read as a whole, with a NUL after its last byte. */
static void walk_check_text(const folder_scan *t, organ_content content, const char *name, int fd, uint64_t size)
{
    organ_error error = {0};
    if (size > TEXT_BYTES) {
        organ_findings_add(t->findings, ORGAN_FINDING_UNREAD, "",
                           "it has %" PRIu64 " bytes, more than the limit of %zu for a text", size, TEXT_BYTES);
        return;
    }
    ORGAN_OWNED char *const bytes = malloc(size + 1);
    if (!bytes) {
        organ_memory_count_refusal();
        return;
    }
    bytes[size] = 0;
    const organ_json_source text = {t->findings->file, bytes, size};
    if (organ_input_read(fd, text.label, bytes, size, 0, &error) != ORGAN_OK) {
        organ_findings_add_error(t->findings, ORGAN_FINDING_UNREAD, &error);
    } else if (content == ORGAN_CONTENT_JSON) {
        organ_config_check(t->findings, &text);
        if (organ_growth_is_tokenizer(name))
            organ_growth_check(t->findings, name, &text);
    } else if (content == ORGAN_CONTENT_TEMPLATE) {
        organ_template_check(t->findings, "", bytes, size);
    } else {
        organ_yaml_check(t->findings, bytes, size);
    }
}

/* A tensor of an organ directory is a file of bare numbers, whose first bytes can have any value. The folder of
 * copied files (ORGAN_FILES_FOLDER) has none. */
static bool is_bare_tensor(const folder_scan *t)
{
    const char *const file = t->findings->file;
    return t->organ_directory && strchr(file, '/') && organ_ends_with(file, ".bin") &&
           strncmp(file, ORGAN_FILES_FOLDER "/", sizeof ORGAN_FILES_FOLDER) != 0;
}

/* `name` is the name by which loaders find the file. */
static void check_content(const folder_scan *t, const char *name, int fd, uint64_t size)
{
    const organ_content content = organ_content_check(t->findings, name, fd, size, is_bare_tensor(t));
    t->scanned->weights += content == ORGAN_CONTENT_SAFETENSORS || content == ORGAN_CONTENT_GGUF;
    /* a file header that organ extract has stored, without the tensors */
    const bool stored_header =
        t->organ_directory && strncmp(t->findings->file, ORGAN_HEADER_FOLDER "/", sizeof ORGAN_HEADER_FOLDER) == 0;
    if (content == ORGAN_CONTENT_SAFETENSORS && !stored_header)
        organ_weights_check_safetensors(t->findings, fd, size);
    else if (content == ORGAN_CONTENT_GGUF)
        organ_weights_check_gguf(t->findings, fd, size, !stored_header);
    else if (content != ORGAN_CONTENT_OTHER && content != ORGAN_CONTENT_SAFETENSORS)
        walk_check_text(t, content, name, fd, size);
}

/* `name` is the name by which loaders find the file `stored`; it differs for a blob of the Hugging Face cache. With
 * `at` AT_FDCWD, `stored` is a path, which may be a link. */
static void check_file(const folder_scan *t, int at, const char *stored, const char *name)
{
    struct stat info;
    const int fd = organ_open_at(at, stored, O_RDONLY | O_NOCTTY | O_NONBLOCK | (at == AT_FDCWD ? 0 : O_NOFOLLOW), 0);
    if (fd < 0 || fstat(fd, &info) != 0) {
        add_call_failure(t, ORGAN_FINDING_UNREAD, "it cannot be opened");
    } else if (!S_ISREG(info.st_mode)) {
        organ_findings_add(t->findings, ORGAN_FINDING_DEVICE, "", "it is not a file");
    } else {
        t->scanned->files++;
        t->scanned->bytes += (uint64_t)info.st_size;
        check_content(t, name, fd, (uint64_t)info.st_size);
    }
    if (fd >= 0)
        close(fd);
}

/* ---- links ---- */

static bool walk_is_within(const char *path, const char *folder)
{
    const size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* In the Hugging Face cache the files of a snapshot are links to blobs: a blob is checked under `name`, the name of
 * the link; a link to a directory outside the download is a finding. Outside the cache the walk visits the target
 * itself. `text` is the text of the link; `end` and `target` are the results of organ_link_follow. */
static void check_target(folder_scan *t, const char *text, const char *name, organ_link_end end,
                         const organ_link_target *target)
{
    const char *const base = t->base.path;
    if (!t->base.store)
        return;
    if (end == ORGAN_LINK_FILE) {
        check_file(t, target->folder, target->name, name);
        return;
    }
    ORGAN_OWNED char *const whole = organ_format("%s%s%s", base, *target->path ? "/" : "", target->path);
    if (whole && !walk_is_within(whole, t->root))
        organ_findings_add(t->findings, ORGAN_FINDING_LINK, "",
                           "the link to '%.300s' leads to a directory that was not examined", text);
}

/* A link that leads out of the base (folder_scan.base) or nowhere is a finding. `path` is the path of the link
 * within the download. */
static void check_link(folder_scan *t, int at, const char *name, const char *path)
{
    char text[PATH_MAX], nowhere[400];
    organ_link_target target;
    const ssize_t length = readlinkat(at, name, text, sizeof text - 1);
    text[length > 0 ? length : 0] = 0;
    snprintf(nowhere, sizeof nowhere, "the link to '%.300s' leads nowhere", text);
    t->scanned->links++;
    ORGAN_OWNED char *const whole = organ_format("%s/%s", strcmp(t->root, "/") == 0 ? "" : t->root, path);
    if (!whole)
        return;
    /* `whole` + `base` is the path of the link relative to the base */
    const size_t base = strcmp(t->base.path, "/") == 0 ? 0 : strlen(t->base.path);
    const organ_link_end end = organ_link_follow(&t->base, whole + base, &target);
    if (end == ORGAN_LINK_NOWHERE)
        add_call_failure(t, ORGAN_FINDING_LINK, nowhere);
    else if (end == ORGAN_LINK_LEAVES)
        organ_findings_add(t->findings, ORGAN_FINDING_LINK, "", "the link to '%.300s' leaves the %s", text,
                           t->base.store ? "entry of the cache" : "directory");
    else
        check_target(t, text, name, end, &target);
    if (target.folder >= 0)
        close(target.folder);
}

/* ---- directories ---- */

/* The names are sorted and at most ENTRIES_MAX. Closes `fd`; the caller frees the names and the array. */
static char **walk_list_names(const folder_scan *t, int fd, size_t *count)
{
    DIR *const folder = fdopendir(fd);
    char **names = NULL;
    size_t capacity = 0;
    *count = 0;
    if (folder)
        errno = 0; /* readdir leaves it 0 at the end of the directory */
    for (const struct dirent *entry; folder && (entry = readdir(folder)) && *count < ENTRIES_MAX; errno = 0) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *const name = organ_grow(&names, *count, &capacity, sizeof *names) ? strdup(entry->d_name) : NULL;
        if (!name) {
            organ_memory_count_refusal();
            break;
        }
        names[(*count)++] = name;
    }
    if (!folder || errno)
        add_call_failure(t, ORGAN_FINDING_UNREAD, "the directory cannot be read");
    if (folder)
        closedir(folder);
    else
        close(fd);
    if (*count > 0)
        qsort(names, *count, sizeof *names, organ_order_texts);
    return names;
}

/* A model is opened for an index of safetensors, a safetensors file in a folder without index (`indexed` false), a
 * GGUF file, and the first file of a split GGUF. */
static void walk_check_model(const folder_scan *t, const char *folder, const char *name, bool indexed)
{
    static const char end[] = ".safetensors.index.json";
    unsigned part = 1, parts = 1;
    organ_gguf_split_parse(name, &part, &parts);
    const bool index = organ_ends_with(name, end), first = organ_ends_with(name, ".gguf") && part == 1;
    ORGAN_OWNED char *const place = organ_format("%s%s%s", t->path, *folder ? "/" : "", folder);
    ORGAN_OWNED char *const path = organ_format("%s/%s", place ? place : "", name);
    if (place && path && index)
        organ_weights_check_index(t->findings, path, place);
    if (place && path && (index || first || (!indexed && organ_ends_with(name, ".safetensors"))))
        organ_weights_check_model(t->findings, path);
}

/* Safetensors files with an index are checked together as one model, not one by one. */
static void check_models(const folder_scan *t, const char *folder, char *const *names, size_t count)
{
    bool indexed = false;
    for (size_t k = 0; k < count; k++)
        indexed |= organ_ends_with(names[k], ".safetensors.index.json");
    for (size_t k = 0; k < count; k++) {
        ORGAN_OWNED char *const name = organ_format("%s%s%s", folder, *folder ? "/" : "", names[k]);
        t->findings->file = name;
        if (name)
            walk_check_model(t, folder, names[k], indexed);
    }
}

static void walk_folder(folder_scan *t, int fd, const char *folder, unsigned depth);

/* Closes `fd`. A folder that is an entry of the Hugging Face cache becomes the base of all links below it. */
static void walk_place(folder_scan *t, int fd, const char *folder, unsigned depth)
{
    const organ_link_base outer = t->base;
    if (!organ_link_is_store(fd)) {
        walk_folder(t, fd, folder, depth);
        return;
    }
    t->findings->file = *folder ? folder : ".";
    if (organ_link_base_open(&t->base, fd, organ_format("%s%s%s", t->root, *folder ? "/" : "", folder))) {
        walk_folder(t, fd, folder, depth);
    } else {
        add_call_failure(t, ORGAN_FINDING_UNREAD, "the directory cannot be read");
        close(fd);
    }
    organ_link_base_close(&t->base);
    t->base = outer;
}

/* `path` is the path within the download, `depth` the number of directories around the entry. .git and directories
 * below DEPTH_MAX levels are not entered. */
static void walk_entry(folder_scan *t, int at, const char *name, const char *path, unsigned depth)
{
    struct stat info;
    t->findings->file = path;
    organ_names_check(t->findings, name);
    if (fstatat(at, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        add_call_failure(t, ORGAN_FINDING_UNREAD, "it cannot be examined");
    } else if (S_ISREG(info.st_mode)) {
        check_file(t, at, name, name);
    } else if (S_ISLNK(info.st_mode)) {
        check_link(t, at, name, path);
    } else if (!S_ISDIR(info.st_mode)) {
        const char *const other = S_ISSOCK(info.st_mode) ? "a socket" : "a device";
        organ_findings_add(t->findings, ORGAN_FINDING_DEVICE, "", "it is %s",
                           S_ISFIFO(info.st_mode) ? "a pipe" : other);
    } else if (strcmp(name, ".git") == 0) {
        t->scanned->git_directories++;
    } else if (depth >= DEPTH_MAX) {
        organ_findings_add(t->findings, ORGAN_FINDING_UNREAD, "", "directories are nested deeper than %d", DEPTH_MAX);
    } else {
        const int fd = organ_open_at(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd < 0)
            add_call_failure(t, ORGAN_FINDING_UNREAD, "the directory cannot be opened");
        else
            walk_place(t, fd, path, depth + 1);
    }
}

/* Closes `fd`. `folder` is the path within the download, "" for the download itself. No model is opened if the walk
 * has found a bad link or a device so far, because opening a model could follow the link or open the device; and
 * none in an organ directory, which walk_path opens as a whole. */
static void walk_folder(folder_scan *t, int fd, const char *folder, unsigned depth)
{
    size_t count;
    const int own_fd = dup(fd); /* walk_list_names closes fd */
    ORGAN_OWNED char **const names = walk_list_names(t, fd, &count);
    t->scanned->directories++;
    for (size_t k = 0; k < count && own_fd >= 0 && t->entries++ < ENTRIES_MAX; k++) {
        ORGAN_OWNED char *const path = organ_format("%s%s%s", folder, *folder ? "/" : "", names[k]);
        if (path)
            walk_entry(t, own_fd, names[k], path, depth);
    }
    t->findings->file = *folder ? folder : ".";
    if (t->entries > ENTRIES_MAX || count == ENTRIES_MAX || own_fd < 0)
        organ_findings_add(t->findings, ORGAN_FINDING_UNREAD, "",
                           own_fd < 0 ? "it cannot be opened" : "there are more than %d entries", ENTRIES_MAX);
    if (!t->organ_directory && t->findings->counts[ORGAN_FINDING_LINK] + t->findings->counts[ORGAN_FINDING_DEVICE] == 0)
        check_models(t, folder, names, count);
    if (own_fd >= 0)
        close(own_fd);
    for (size_t k = 0; k < count; k++)
        free(names[k]);
}

/* Closes `fd`. */
static void walk_path(folder_scan *t, int fd, bool directory)
{
    const char *const name = organ_path_name(t->path);
    if (directory) {
        t->organ_directory = organ_directory_is(t->path);
        walk_place(t, fd, "", 0);
        t->findings->file = ".";
        if (t->organ_directory)
            organ_weights_check_model(t->findings, t->path);
        return;
    }
    t->findings->file = name;
    close(fd);
    organ_names_check(t->findings, name);
    check_file(t, AT_FDCWD, t->path, t->path);
    if (t->scanned->weights > 0)
        organ_weights_check_model(t->findings, t->path);
}

/* Links must not leave the base: the cache entry if the download is a snapshot in one, else the download itself,
 * which is open as `fd`. Returns false with errno on failure. */
static bool find_base(folder_scan *t, int fd)
{
    organ_link_find_store(t->root, &t->base);
    if (t->base.fd >= 0 || errno)
        return t->base.fd >= 0;
    organ_link_base_close(&t->base);
    return organ_link_base_open(&t->base, fd, strdup(t->root));
}

/* Examines every entry of the directory `path`, or the one file `path`, and adds the findings. Follows a symbolic link
 * only to a file of the Hugging Face cache entry that contains the download. Returns ORGAN_IO if the path itself cannot
 * be opened, ORGAN_BAD_INPUT if it is a device or a pipe. */
static organ_status scan_folder(const char *path, organ_findings *findings, organ_scanned_folder *scanned,
                                organ_error *error)
{
    struct stat info;
    folder_scan t = {.findings = findings, .scanned = scanned, .path = path, .base = {.fd = -1}};
    const int fd = organ_open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
    if (fd < 0 || fstat(fd, &info) != 0) {
        organ_fail_errno(error, errno, "%s: cannot be opened", path);
    } else if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode)) {
        organ_fail(error, ORGAN_BAD_INPUT, "%s: is a device or a pipe, neither a directory nor a file", path);
    } else if (!(t.root = realpath(path, NULL)) || !find_base(&t, fd)) {
        organ_fail_errno(error, errno, "%s: cannot be resolved", path);
    } else {
        walk_path(&t, fd, S_ISDIR(info.st_mode)); /* closes fd */
        organ_link_base_close(&t.base);
        free(t.root);
        return ORGAN_OK;
    }
    organ_link_base_close(&t.base);
    free(t.root);
    if (fd >= 0)
        close(fd);
    return error->status;
}

static json_t *document_of(const organ_untrusted_options *options, const organ_findings *findings,
                           const organ_scanned_folder *scanned)
{
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.untrusted/1"), SET_TEXT("organ", ORGAN_VERSION),
        SET("model", ORGAN_OBJECT(SET("name", organ_name_json(options->model)))),
        SET_TEXT("verdict", organ_findings_count(findings) > 0 ? "findings" : "clean"),
        SET("looked_at",
            ORGAN_OBJECT(SET_COUNT("files", scanned->files), SET_COUNT("bytes", scanned->bytes),
                         SET_COUNT("weights", scanned->weights), SET_COUNT("directories", scanned->directories),
                         SET_COUNT("links", scanned->links), SET_COUNT("passed_over", scanned->git_directories))),
        SET_COUNT("findings_in_all", organ_findings_count(findings)), SET("kinds", organ_findings_kinds(findings)),
        SET_HELD("findings", findings->list), SET("run", ORGAN_OBJECT(SET_BYTES("model", options->model))));
}

static organ_status scan_and_report(const organ_untrusted_options *options, organ_findings *findings, json_t **report,
                                    organ_error *error)
{
    organ_scanned_folder scanned = {0};
    if (scan_folder(options->model, findings, &scanned, error) != ORGAN_OK)
        return error->status;
    if (findings->failure.status) {
        organ_fail(error, ORGAN_IO, "%s%s%s", scanned.directories ? options->model : "",
                   scanned.directories ? ": " : "", findings->failure.message);
        error->errnum = findings->failure.errnum;
        return error->status;
    }
    findings->file = ".";
    if (scanned.weights == 0)
        organ_findings_add(findings, ORGAN_FINDING_NO_WEIGHTS, "", "no file of weights could be examined");
    *report = document_of(options, findings, &scanned);
    const size_t count = organ_findings_count(findings);
    if (!*report)
        return organ_fail_memory(error, options->model);
    if (count == 0)
        return ORGAN_OK;
    const json_t *const first = json_array_get(findings->list, 0);
    return organ_fail(error, ORGAN_CHECK_FAILED, "%s: %zu finding%s, the first: %s: %s", options->model, count,
                      count > 1 ? "s" : "", organ_json_text(first, "file"), organ_json_text(first, "what"));
}

organ_status organ_untrusted(const organ_untrusted_options *options, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_untrusted_options, options, report, error, "model", options->model))
        return error->status;
    const organ_report_work work = organ_report_begin(report);
    organ_findings findings = {.list = json_array(), .file = "."};
    if (organ_http_is_url(options->model))
        organ_fail(error, ORGAN_USAGE, "--untrusted examines local files, but the model is at a URL");
    else
        scan_and_report(options, &findings, report, error);
    json_decref(findings.list);
    return organ_report_end_partial(&work, options->model, error);
}
