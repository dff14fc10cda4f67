/* SPDX-License-Identifier: MIT */
#include "orchestrator/output/model_copy.h"

#include "formats/model/composed.h"
#include "formats/base/arena.h"
#include "formats/base/text.h"
#include "formats/model/organ_directory.h"
#include "formats/model/recognise.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/shared_files.h"
#include "orchestrator/stream/transfer.h"

#include <dirent.h>
#include <errno.h>
#include <organ/report.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ST_BLOCK 512 /* bytes that st_blocks counts */
#define DEEPEST  32  /* largest depth of nested folders; a model directory has one or two */

typedef struct copy_tree_walk {
    char path[PATH_MAX];     /* path of the current entry */
    const char *const *skip; /* relative paths to leave out */
    size_t root;             /* bytes of a path before the part relative to the listed directory */
    size_t skip_count;       /* number of `skip` */
    size_t capacity;         /* allocated entries of list->names */
    organ_file_list *list;   /* result */
    organ_error *error;
} copy_tree_walk;

/* `name` is a relative path. Leaves out the mark of an unfinished output (ORGAN_GROWING_MARK), unfinished outputs
 * (.*.organ-partial), notes of finished outputs (.*.organ-finished), and names in w->skip. */
static bool is_skipped(const copy_tree_walk *w, const char *name)
{
    bool found = strcmp(name, ORGAN_GROWING_MARK) == 0 || fnmatch(".*" ORGAN_PARTIAL_ENDING, name, 0) == 0 ||
                 fnmatch(".*.organ-finished", name, 0) == 0;
    for (size_t k = 0; k < w->skip_count && !found; k++)
        found = strcmp(w->skip[k], name) == 0;
    return found;
}

static void list_file(copy_tree_walk *w, const struct stat *info)
{
    organ_file_list *list = w->list;
    if (!organ_grow(&list->names, list->count, &w->capacity, sizeof *list->names) ||
        !(list->names[list->count] = strdup(w->path + w->root))) {
        organ_fail_errno(w->error, ENOMEM, "%.*s: cannot list its files", (int)w->root - 1, w->path);
        return;
    }
    list->count++;
    list->bytes += (uint64_t)info->st_size;
}

static void list_folder(copy_tree_walk *w, size_t length, int depth);

/* Ignores links to folders, sockets and other special files. */
static void visit_entry(copy_tree_walk *w, size_t length, int depth)
{
    struct stat info;
    if (is_skipped(w, w->path + w->root))
        return;
    const bool there = lstat(w->path, &info) == 0, is_link = there && S_ISLNK(info.st_mode);
    if (!there || (is_link && stat(w->path, &info)))
        organ_fail_errno(w->error, errno, "%s: cannot be copied", w->path);
    else if (S_ISREG(info.st_mode))
        list_file(w, &info);
    else if (S_ISDIR(info.st_mode) && !is_link)
        list_folder(w, length, depth);
}

/* Does not use fts(3), because that of glibc crashes if an allocation fails. Fails with ELOOP at depth DEEPEST. */
static void list_folder(copy_tree_walk *w, size_t length, int depth)
{
    errno = ELOOP;
    ORGAN_OWNED_FOLDER DIR *const folder = depth < DEEPEST ? organ_open_folder(w->path) : NULL;
    if (!folder)
        organ_fail_errno(w->error, errno, "%s: cannot be listed", w->path);
    for (const struct dirent *entry; folder && !w->error->status && (errno = 0, entry = readdir(folder));) {
        const size_t name = strlen(entry->d_name);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (length + 1 + name >= sizeof w->path) {
            organ_fail_errno(w->error, ENAMETOOLONG, "%s: cannot be listed", w->path);
            break;
        }
        snprintf(w->path + length, sizeof w->path - length, "/%s", entry->d_name);
        visit_entry(w, length + 1 + name, depth + 1);
        w->path[length] = '\0';
    }
    if (folder && !w->error->status && errno)
        organ_fail_errno(w->error, errno, "%s: cannot be listed", w->path);
}

/* The list is in byte order. */
organ_status organ_list_files(const char *directory, const char *const *skip, size_t skip_count, organ_file_list *list,
                              organ_error *error)
{
    const size_t length = organ_path_length(directory);
    *list = (organ_file_list){0};
    copy_tree_walk w = {.root = length + 1, .skip = skip, .skip_count = skip_count, .list = list, .error = error};
    if (length >= sizeof w.path)
        return organ_fail_errno(error, ENAMETOOLONG, "%s: cannot be listed", directory);
    memcpy(w.path, directory, length);
    list_folder(&w, length, 0);
    if (error->status)
        organ_list_release(list);
    else if (list->count)
        qsort(list->names, list->count, sizeof *list->names, organ_order_texts);
    return error->status;
}

bool organ_is_report_path(const char *name) { return strncmp(name, "organ/", strlen("organ/")) == 0; }

void organ_list_release(organ_file_list *list)
{
    for (size_t k = 0; k < list->count; k++)
        free(list->names[k]);
    free(list->names);
    *list = (organ_file_list){0};
}

/* Creates the missing folders of the file path `path`. The first `root` bytes are a folder that exists; the last
 * component is the file and is not created. Changes `path` during the call and restores it. */
static organ_status make_folders(char *path, size_t root, organ_error *error)
{
    for (char *slash = path + root; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        if (organ_make_folder(path, 0777) && errno != EEXIST)
            organ_fail_errno(error, errno, "%s: cannot be created", path);
        *slash = '/';
        if (error->status)
            break;
    }
    return error->status;
}

static organ_status copy_open(int from, const char *from_path, const char *to_path, organ_error *error)
{
    struct stat info;
    organ_direct_file to;
    if (fstat(from, &info))
        return organ_fail_errno(error, errno, "%s: cannot be read", from_path);
    organ_remove_file(to_path); /* left by an interrupted run, perhaps read-only */
    if (organ_direct_open(to_path, (info.st_mode & 0777) | S_IWUSR, &to, error) == ORGAN_OK) {
        if (!organ_reflink(from, to.fd))
            organ_copy_range(from, from_path, 0, to.fd, to_path, 0, (uint64_t)info.st_size, error);
        if (!error->status)
            organ_direct_sync(&to, error);
        organ_direct_close(&to);
    }
    return error->status;
}

organ_status organ_copy_file(const char *directory, const char *name, const char *to_directory, const char *to_name,
                             organ_error *error)
{
    ORGAN_OWNED char *const from_path = organ_format("%s/%s", directory, name);
    ORGAN_OWNED char *const to_path = organ_format("%s/%s", to_directory, to_name);
    int from = -1;
    if (!from_path || !to_path)
        organ_fail_memory(error, name);
    else if (make_folders(to_path, strlen(to_directory), error) == ORGAN_OK &&
             (from = organ_open(from_path, O_RDONLY, 0)) < 0)
        organ_fail_errno(error, errno, "%s: cannot be opened", from_path);
    if (from >= 0) {
        copy_open(from, from_path, to_path, error);
        close(from);
    }
    return error->status;
}

organ_status organ_copy_model_file(const organ_model *model, const char *directory, const char *name,
                                   const char *to_directory, const char *to_name, organ_error *error)
{
    if (!organ_model_is_composed(model) || !model->index || strcmp(name, model->index) != 0)
        return organ_copy_file(directory, name, to_directory, to_name, error);
    ORGAN_OWNED char *const path = organ_format("%s/%s", to_directory, to_name);
    ORGAN_OWNED char *const index = organ_composed_index(model);
    if (!path || !index)
        return organ_fail_memory(error, name);
    return organ_text_write(path, index, error);
}

#define STEP  ((uint64_t)64 << 20) /* bytes that one rank copies together */
#define SHORT ((uint64_t)1 << 20)  /* bytes of a range for which large direct writes do not pay */

/* States of a file of the copy. SHARED: a reflink of the original, so that only replaced tensors are written; RESUMED:
 * an earlier run began it; PLAIN: created empty. */
enum { SHARED = 's', RESUMED = 'r', PLAIN = '-' };

/* A pass copies the bytes outside of the replaced tensors, while it or the caller writes the replaced tensors. */
struct organ_model_copy {
    const organ_model *donor;
    const organ_publish *publish;
    const bool *replaced;   /* for each tensor of the model: the caller writes it */
    char **paths;           /* paths of the files of the copy */
    char *made;             /* state of each file: SHARED, RESUMED or PLAIN */
    size_t writer, writers; /* index of this rank; number of ranks that copy */
    /* bytes outside the replaced tensors, in all files that are not SHARED: those before the present position; all */
    uint64_t passed, all;
    organ_shared_files *files;
    organ_file_list others; /* files without weights */
    bool behind;            /* writes are direct, so they wait for the disk */
    bool direct;            /* large ranges are read and written directly */
    organ_pass_span *spans; /* this rank's share */
    size_t span_count, span_capacity;
    organ_pass_moves moves;
    bool handed; /* organ_model_copy_moves was called: the pass copies the spans */
};

/* Lists the index of the safetensors shards, without which the copied shards could not be read together. */
static organ_status list_index(const organ_model *donor, organ_file_list *list, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/%s", donor->directory, donor->index);
    struct stat info = {0};
    list->names = calloc(1, sizeof *list->names);
    if (!path || !list->names || !(list->names[0] = strdup(donor->index)))
        organ_fail_memory(error, donor->path);
    else {
        list->count = 1;
        if (stat(path, &info))
            organ_fail_errno(error, errno, "%s", path);
    }
    list->bytes = (uint64_t)info.st_size;
    return error->status;
}

/* Leaves out an index that the model does not use: its shards would belong to another model. If the model is not the
 * whole directory, lists only the index of its shards, or nothing if it has no index. */
organ_status organ_model_other_files(const organ_model *donor, organ_file_list *list, organ_error *error)
{
    *list = (organ_file_list){0};
    if (donor->file_count > 0 && donor->files[0].remote && (donor->whole_directory || donor->index))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: the directory of a model at a URL cannot be listed, so its other files cannot be "
                          "copied: name one .safetensors or .gguf file, or download the model first",
                          donor->path);
    if (!donor->whole_directory)
        return donor->index ? list_index(donor, list, error) : ORGAN_OK;
    const size_t count = donor->file_count;
    ORGAN_OWNED const char **skip = malloc((count + 1) * sizeof *skip);
    if (!skip)
        return organ_fail_memory(error, donor->path);
    for (size_t f = 0; f < count; f++)
        skip[f] = donor->files[f].name;
    skip[count] = ORGAN_INDEX_NAME;
    organ_list_files(donor->directory, skip, count + (!donor->index && !donor->gguf), list, error);
    return error->status;
}

organ_status organ_extra_files_list(const organ_model *model, char **root, organ_file_list *list, organ_error *error)
{
    *list = (organ_file_list){0};
    if (!(*root = organ_format("%s%s", model->directory, model->manifest ? "/" ORGAN_FILES_FOLDER : "")))
        return organ_fail_memory(error, model->path);
    if (!model->manifest)
        return organ_model_other_files(model, list, error);
    return access(*root, F_OK) == 0 ? organ_list_files(*root, NULL, 0, list, error) : ORGAN_OK;
}

/* Takes over `text`; NULL if memory runs out. */
static char *with_name(char *text, const char *name)
{
    char *const longer = text ? organ_format("%s%s%s", text, *text ? ", " : "", name) : NULL;
    free(text);
    return longer;
}

organ_status organ_extra_files_text(const organ_model *model, bool (*named)(const void *context, const char *name),
                                    const void *context, char **text, size_t *count, organ_error *error)
{
    enum { NAMED = 12 };
    ORGAN_RELEASED_BY(organ_list_release) organ_file_list list = {0};
    char *root = NULL, more[40] = "";
    organ_error unlisted = {0};
    *text = strdup("");
    *count = 0;
    organ_extra_files_list(model, &root, &list, &unlisted);
    for (size_t k = 0; k < list.count; k++)
        if (named(context, list.names[k]) && (*count)++ < NAMED)
            *text = with_name(*text, list.names[k]);
    if (*count > NAMED) {
        snprintf(more, sizeof more, "%zu more", *count - NAMED);
        *text = with_name(*text, more);
    }
    if (unlisted.status == ORGAN_IO)
        *error = unlisted;
    else if (!*text)
        organ_fail_memory(error, model->path);
    free(root);
    return error->status;
}

typedef struct model_copy_pair {
    size_t file;           /* index of the file in the model */
    int from;              /* descriptor of the donor's file */
    organ_direct_file *to; /* the copy */
} model_copy_pair;

/* Moves copy->passed past the bytes, and returns whether this rank copies them. Each rank copies one contiguous share
 * of the bytes of all files, in the order of the files. */
static bool pass_bytes(organ_model_copy *copy, uint64_t bytes)
{
    const uint64_t owner = copy->passed / (copy->all / copy->writers + 1);
    copy->passed += bytes;
    return (owner < copy->writers ? owner : copy->writers - 1) == copy->writer;
}

static organ_status add_span(organ_model_copy *copy, organ_pass_span span, organ_error *error)
{
    if (!organ_grow(&copy->spans, copy->span_count, &copy->span_capacity, sizeof *copy->spans))
        return organ_fail_memory(error, copy->donor->path);
    copy->spans[copy->span_count++] = span;
    return ORGAN_OK;
}

/* Bytes are copied by organ_copy_range if they are few, if direct writes do not suit the file system, or if an
 * interrupted run began the file: that run may have reflinked its blocks, which organ_copy_range can do again, and
 * copied bytes would need more disk space. */
static organ_status list_range(organ_model_copy *copy, size_t f, uint64_t from, uint64_t to, organ_error *error)
{
    while (from < to && !error->status) {
        const uint64_t bytes = to - from < STEP ? to - from : STEP;
        organ_pass_span *const last = copy->span_count ? &copy->spans[copy->span_count - 1] : NULL;
        const bool given = !copy->direct || copy->made[f] == RESUMED || bytes < SHORT;
        const bool own = pass_bytes(copy, bytes);
        if (own && last && last->file == f && last->offset + last->bytes == from && last->given == given)
            last->bytes += bytes;
        else if (own)
            add_span(copy, (organ_pass_span){f, from, bytes, given}, error);
        from += bytes;
    }
    return error->status;
}

static uint64_t bytes_replaced(const organ_model_copy *copy, const organ_model_file *file)
{
    uint64_t bytes = 0;
    for (uint64_t t = file->first; t < file->first + file->count; t++)
        bytes += copy->replaced[t] ? copy->donor->tensors[t].bytes : 0;
    return bytes;
}

/* Lists header, gaps and tensors that are not replaced. Tensors of a file are sorted by offset. */
static organ_status list_shard(organ_model_copy *copy, size_t f, organ_error *error)
{
    const organ_model *donor = copy->donor;
    const organ_model_file *file = &donor->files[f];
    uint64_t done = 0;
    for (uint64_t t = file->first; t < file->first + file->count && !error->status; t++) {
        if (!copy->replaced[t])
            continue;
        list_range(copy, f, done, donor->tensors[t].offset, error);
        done = donor->tensors[t].offset + donor->tensors[t].bytes;
    }
    return error->status ? error->status : list_range(copy, f, done, file->size, error);
}

/* Calls `with` for file f of the model and its copy, opened. */
static organ_status with_pair(organ_model_copy *copy, size_t f, const void *argument,
                              organ_status (*with)(organ_model_copy *, model_copy_pair *, const void *, organ_error *),
                              organ_error *error)
{
    model_copy_pair p = {.file = f, .from = -1};
    if (organ_model_is_composed(copy->donor) ||
        organ_model_file_open(copy->donor, (uint32_t)f, &p.from, error) == ORGAN_OK) {
        if (organ_shared_files_hold(copy->files, f, &p.to, error) == ORGAN_OK) {
            with(copy, &p, argument, error);
            organ_shared_files_drop(copy->files, p.to);
        }
        organ_model_file_close(copy->donor, (uint32_t)f, p.from);
    }
    return error->status;
}

/* Reports and other files in the donor's folder organ/ go to organ/donor/, because the output has its own organ/. */
static organ_status copy_other_file(const organ_model_copy *copy, const char *name, organ_error *error)
{
    const bool record = organ_is_report_path(name);
    ORGAN_OWNED char *const to =
        organ_format("%s%s", record ? "organ/donor/" : "", record ? name + strlen("organ/") : name);
    if (!to)
        return organ_fail_memory(error, name);
    return organ_copy_model_file(copy->donor, copy->donor->directory, name, copy->publish->partial, to, error);
}

/* The file is only shown: it has no descriptor. */
static organ_status copy_read(organ_model_copy *copy, const organ_pass_span *part, organ_error *error)
{
    enum { PART = 1 << 20 };
    ORGAN_OWNED unsigned char *const data = malloc(PART);
    if (!data)
        return organ_fail_memory(error, copy->donor->path);
    for (uint64_t at = 0; at < part->bytes && !error->status; at += PART) {
        const size_t bytes = (size_t)(part->bytes - at < PART ? part->bytes - at : PART);
        if (organ_model_read(copy->donor, (uint32_t)part->file, data, bytes, part->offset + at, error) == ORGAN_OK)
            organ_shared_files_write(copy->files, part->file, data, bytes, part->offset + at, part->offset + at, bytes,
                                     error);
    }
    return error->status;
}

static organ_status copy_span_part(organ_model_copy *copy, model_copy_pair *p, const void *span, organ_error *error)
{
    const organ_pass_span *const part = span;
    if (organ_model_is_composed(copy->donor))
        return copy_read(copy, part, error);
    if (organ_copy_range(p->from, copy->donor->files[p->file].path, part->offset, p->to->fd, p->to->path, part->offset,
                         part->bytes, error) == ORGAN_OK)
        organ_direct_begin_sync(p->to, part->offset, part->bytes);
    return error->status;
}

/* A file number after those of the donor's shards is that of a file without weights. */
static organ_status move_part(void *context, const organ_pass_span *part, const void *data, organ_error *error)
{
    organ_model_copy *const copy = context;
    const size_t shards = copy->donor->file_count;
    if (part->file >= shards)
        return copy_other_file(copy, copy->others.names[part->file - shards], error);
    if (data)
        return organ_shared_files_write(copy->files, part->file, data, (size_t)part->bytes, part->offset, part->offset,
                                        part->bytes, error);
    return with_pair(copy, part->file, part, copy_span_part, error);
}

/* In a new output the file becomes a reflink of the original if possible, so that only replaced tensors need disk
 * space. A resumed output keeps its file. */
static organ_status make_shard(organ_model_copy *copy, model_copy_pair *p, const void *argument, organ_error *error)
{
    (void)argument;
    if (copy->publish->resumed)
        copy->made[p->file] = RESUMED;
    else
        copy->made[p->file] = p->from >= 0 && organ_reflink(p->from, p->to->fd) ? SHARED : PLAIN;
    return organ_direct_resize(p->to, copy->donor->files[p->file].size, error);
}

/* Only the rank that created the output has its lock. */
static bool is_helper(const organ_model_copy *copy) { return copy->publish->lock < 0; }

/* `single` is the name of the copy's only file; NULL: the files get the names of the original. Another rank may have
 * created the files. */
static organ_status make_shards(organ_model_copy *copy, const char *single, organ_error *error)
{
    for (size_t f = 0; f < copy->donor->file_count && !error->status; f++) {
        const char *const name = single ? single : copy->donor->files[f].name;
        char *const path = copy->paths[f] = organ_publish_path(copy->publish, name);
        if (!path)
            organ_fail_memory(error, name);
        else if (!is_helper(copy) && make_folders(path, strlen(copy->publish->partial), error) == ORGAN_OK)
            with_pair(copy, f, /*argument=*/NULL, make_shard, error);
    }
    return error->status;
}

/* A reflinked file needs blocks only for its replaced tensors. */
static uint64_t space_needed(const organ_model_copy *copy)
{
    uint64_t need = copy->others.bytes;
    for (size_t f = 0; f < copy->donor->file_count; f++) {
        const organ_model_file *file = &copy->donor->files[f];
        struct stat info;
        const uint64_t have = stat(copy->paths[f], &info) == 0 ? (uint64_t)info.st_blocks * ST_BLOCK : 0;
        if (copy->made[f] == SHARED)
            need += bytes_replaced(copy, file);
        else
            need += file->size > have ? file->size - have : 0;
    }
    return need;
}

const char *organ_model_copy_made(const organ_model_copy *copy, size_t *bytes)
{
    *bytes = copy->donor->file_count;
    return copy->made;
}

/* `made` may be copy->made itself, hence memmove. */
organ_status organ_model_copy_start(organ_model_copy *copy, const char *made, size_t writer, size_t writers,
                                    organ_error *error)
{
    const size_t shards = copy->donor->file_count;
    organ_direct_file *first;
    memmove(copy->made, made, shards);
    copy->writer = writer;
    copy->writers = writers;
    for (size_t f = 0; f < shards; f++)
        if (made[f] != SHARED)
            copy->all += copy->donor->files[f].size - bytes_replaced(copy, &copy->donor->files[f]);
    if (shards && organ_shared_files_hold(copy->files, 0, &first, error) == ORGAN_OK) {
        copy->behind = first->direct >= 0;
        copy->direct = organ_direct_suits_copies(first); /* the files are in one directory */
        organ_shared_files_drop(copy->files, first);
    }
    for (size_t k = writer; k < copy->others.count && !error->status; k += writers)
        add_span(copy, (organ_pass_span){.file = shards + k, .given = true}, error);
    for (size_t f = 0; f < shards && !error->status; f++)
        if (made[f] != SHARED)
            list_shard(copy, f, error);
    copy->moves =
        (organ_pass_moves){.spans = copy->spans, .count = copy->span_count, .context = copy, .move = move_part};
    return error->status;
}

const organ_pass_moves *organ_model_copy_moves(organ_model_copy *copy)
{
    copy->handed = true;
    return &copy->moves;
}

bool organ_model_copy_waits(const organ_model_copy *copy) { return copy->behind; }

organ_status organ_model_copy_begin(const organ_model *donor, const organ_publish *publish, const bool *replaced,
                                    const char *single, organ_model_copy **result, organ_error *error)
{
    organ_model_copy *copy = *result = calloc(1, sizeof *copy);
    if (!copy)
        return organ_fail_memory(error, donor->path);
    *copy = (organ_model_copy){.donor = donor, .publish = publish, .replaced = replaced};
    copy->paths = calloc(donor->file_count, sizeof *copy->paths);
    copy->made = calloc(donor->file_count, sizeof *copy->made);
    if (!copy->paths || !copy->made)
        organ_fail_memory(error, donor->path);
    else
        organ_shared_files_create(copy->paths, donor->file_count, &copy->files, error);
    if (!error->status && make_shards(copy, single, error) == ORGAN_OK &&
        organ_model_other_files(donor, &copy->others, error) == ORGAN_OK && !is_helper(copy))
        organ_transfer_room(publish->partial, publish->final, "the output needs", space_needed(copy), error);
    if (error->status) {
        organ_model_copy_end(copy);
        *result = NULL;
    }
    return error->status;
}

organ_status organ_model_copy_write(organ_model_copy *copy, size_t file, const void *data, size_t bytes,
                                    uint64_t offset, uint64_t unit, uint64_t unit_bytes, organ_error *error)
{
    return organ_shared_files_write(copy->files, file, data, bytes, offset, unit, unit_bytes, error);
}

organ_status organ_model_copy_settle(organ_model_copy *copy, size_t file, uint64_t unit, uint64_t unit_bytes,
                                     organ_error *error)
{
    return organ_shared_files_settle(copy->files, file, unit, unit_bytes, error);
}

organ_status organ_model_copy_read(const organ_model_copy *copy, size_t file, void *data, size_t bytes, uint64_t offset,
                                   organ_error *error)
{
    return organ_shared_files_read(copy->files, file, data, bytes, offset, error);
}

organ_status organ_model_copy_finish(organ_model_copy *copy, const organ_engine *engine, organ_error *error)
{
    const organ_pass pass = {.model = copy->donor, .moves = &copy->moves, .behind = copy->behind};
    if (!copy->handed && organ_pass_run(&pass, engine, error) != ORGAN_OK)
        return error->status;
    if (organ_stop_is_requested(engine->stop))
        return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return organ_transfer_sync(copy->publish->partial,
                               error); /* the unaligned ends of units were written through the page cache */
}

void organ_model_copy_end(organ_model_copy *copy)
{
    if (!copy)
        return;
    organ_shared_files_destroy(copy->files);
    for (size_t f = 0; copy->paths && f < copy->donor->file_count; f++)
        free(copy->paths[f]);
    ORGAN_FREE_ARRAYS(copy->paths, copy->made, copy->spans);
    organ_list_release(&copy->others);
    free(copy);
}
