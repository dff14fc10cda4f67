/* SPDX-License-Identifier: MIT */
#include "orchestrator/stream/model_copy.h"

#include "formats/base/input_file.h"
#include "formats/base/text_buffer.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/machine/thread.h"
#include "orchestrator/stream/direct_file.h"
#include "orchestrator/stream/transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP ((uint64_t)64 << 20) /* bytes between two checks of the stop flag */

/* States of a file of the copy. SHARED: a reflink of the original, so that only replaced tensors are written; RESUMED:
 * an earlier run began it; PLAIN: created empty. */
enum { SHARED = 's', RESUMED = 'r', PLAIN = '-' };

/* A copy of a model. A thread copies the bytes outside of the replaced tensors, while the caller writes the replaced
 * tensors. */
struct organ_model_copy {
    const organ_model *donor;
    const organ_publish *publish;
    const bool *replaced; /* for each tensor of the model: the caller writes it */
    const organ_stop *stop;
    char **paths;           /* paths of the files of the copy */
    char *made;             /* state of each file: SHARED, RESUMED or PLAIN */
    size_t writer, writers; /* index of this rank; number of ranks that copy */
    /* bytes outside the replaced tensors, in all files that are not SHARED: those before the present position; all */
    uint64_t passed, all;
    organ_direct_file
        /* the open shard; only one, because an organ directory has more files than a process can have open */
        writing;
    size_t written;         /* index of the file that `writing` has open */
    organ_file_list others; /* files without weights */
    pthread_t thread;       /* the copying thread */
    bool copying;           /* the thread was started and not yet joined */
    pthread_mutex_t lock;
    bool cancelled;    /* organ_model_copy_end asks the thread to end; guarded by the lock */
    organ_error fault; /* error of the thread; guarded by the lock */
};

/* Sets *list to one file, the index of the safetensors shards, without which the copied shards could not be read
 * together. */
static organ_status list_index(const organ_model *donor, organ_file_list *list, organ_error *error)
{
    char *const path = organ_format("%s/%s", donor->directory, donor->index);
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
    free(path);
    return error->status;
}

/* Lists the files of a model's directory that have no weights, without an index that the model does not use: its shards
 * would belong to another model. If the model is not the whole directory, lists only the
 * index of its shards, or nothing if it has no index. Returns ORGAN_USAGE for a model at a URL that was opened as a
 * directory or by its index. */
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
    const char **skip = malloc((count + 1) * sizeof *skip);
    if (!skip)
        return organ_fail_memory(error, donor->path);
    for (size_t f = 0; f < count; f++)
        skip[f] = donor->files[f].name;
    skip[count] = ORGAN_INDEX_NAME;
    organ_list_files(donor->directory, skip, count + (!donor->index && !donor->gguf), list, error);
    free(skip);
    return error->status;
}

/* Returns whether organ_model_copy_end was called or a stop is requested. */
static bool copying_is_stopped(organ_model_copy *copy)
{
    pthread_mutex_lock(&copy->lock);
    const bool cancelled = copy->cancelled;
    pthread_mutex_unlock(&copy->lock);
    return cancelled || organ_stop_is_requested(copy->stop);
}

/* One of the donor's files and its copy, both open. */
typedef struct model_copy_pair {
    size_t file;          /* index of the file in the model */
    int from;             /* descriptor of the donor's file */
    organ_direct_file to; /* the copy */
    bool written;         /* this rank has written into the copy */
} model_copy_pair;

/* Returns whether this rank copies the next `bytes` bytes, and moves copy->passed past them. Each rank copies one
 * contiguous share of the bytes of all files, in the order of the files. */
static bool model_copy_is_own(organ_model_copy *copy, uint64_t bytes)
{
    const uint64_t owner = copy->passed / (copy->all / copy->writers + 1);
    copy->passed += bytes;
    return (owner < copy->writers ? owner : copy->writers - 1) == copy->writer;
}

/* Copies those of the bytes [from, to) of a file that are in this rank's share. For a file of an interrupted run it
 * calls organ_copy_range, which can reflink blocks: that run may have reflinked them already, and copied bytes would
 * need more disk space. */
static organ_status copy_span(organ_model_copy *copy, model_copy_pair *p, uint64_t from, uint64_t to,
                              organ_error *error)
{
    const char *const path = copy->donor->files[p->file].path;
    while (from < to && !error->status && !copying_is_stopped(copy)) {
        const uint64_t bytes = to - from < STEP ? to - from : STEP;
        const bool mine = model_copy_is_own(copy, bytes);
        p->written |= mine;
        if (mine && copy->made[p->file] == RESUMED)
            organ_copy_range(p->from, path, from, p->to.fd, p->to.path, from, bytes, error);
        else if (mine)
            organ_direct_copy(p->from, path, from, &p->to, bytes, error);
        from += bytes;
    }
    return error->status;
}

/* Returns the bytes of replaced tensors in a file. */
static uint64_t bytes_replaced(const organ_model_copy *copy, const organ_model_file *file)
{
    uint64_t bytes = 0;
    for (uint64_t t = file->first; t < file->first + file->count; t++)
        bytes += copy->replaced[t] ? copy->donor->tensors[t].bytes : 0;
    return bytes;
}

/* Copies all bytes of a shard except the replaced tensors: header, gaps and other tensors. Tensors of a file are sorted
 * by offset. */
static organ_status copy_around(organ_model_copy *copy, model_copy_pair *p, organ_error *error)
{
    const organ_model *donor = copy->donor;
    const organ_model_file *file = &donor->files[p->file];
    uint64_t done = 0;
    for (uint64_t t = file->first; t < file->first + file->count && !error->status; t++) {
        if (!copy->replaced[t])
            continue;
        copy_span(copy, p, done, donor->tensors[t].offset, error);
        done = donor->tensors[t].offset + donor->tensors[t].bytes;
    }
    return error->status ? error->status : copy_span(copy, p, done, file->size, error);
}

/* Opens file f of the donor and its copy, calls `with` for the pair, and closes both. Returns the error of `with`. */
static organ_status with_pair(organ_model_copy *copy, size_t f,
                              organ_status (*with)(organ_model_copy *, model_copy_pair *, organ_error *),
                              organ_error *error)
{
    model_copy_pair p = {.file = f, .from = -1, .to = {.fd = -1, .direct = -1}};
    if (organ_model_file_open(copy->donor, (uint32_t)f, &p.from, error) == ORGAN_OK) {
        if (organ_direct_open(copy->paths[f], 0666, &p.to, error) == ORGAN_OK)
            with(copy, &p, error);
        organ_direct_close(&p.to);
        organ_model_file_close(copy->donor, (uint32_t)f, p.from);
    }
    return error->status;
}

/* Copies a shard, and synchronises it at once if this rank has written into it, so that the disk works while the caller
 * computes. Small files of an organ directory are synchronised at the end instead. */
static organ_status fill_shard(organ_model_copy *copy, model_copy_pair *p, organ_error *error)
{
    copy_around(copy, p, error);
    return error->status || copy->donor->manifest || !p->written ? error->status : organ_direct_sync(&p->to, error);
}

/* Copies a file without weights. Reports and other files in the donor's folder organ/ go to organ/donor/, because the
 * output has its own organ/. */
static organ_status copy_other_file(organ_model_copy *copy, const char *name, organ_error *error)
{
    const bool record = strncmp(name, "organ/", 6) == 0;
    char *const to = organ_format("%s%s", record ? "organ/donor/" : "", record ? name + 6 : name);
    if (!to)
        return organ_fail_memory(error, name);
    organ_copy_file(copy->donor->directory, name, copy->publish->partial, to, error);
    free(to);
    return error->status;
}

/* The copying thread: copies this rank's share of the files without weights, and of the bytes of shards outside of the
 * replaced tensors. */
static void *copy_all(void *context)
{
    organ_model_copy *copy = context;
    organ_error error = {0};
    for (size_t k = copy->writer; k < copy->others.count && !error.status && !copying_is_stopped(copy);
         k += copy->writers)
        copy_other_file(copy, copy->others.names[k], &error);
    for (size_t f = 0; f < copy->donor->file_count && !error.status && !copying_is_stopped(copy); f++)
        if (copy->made[f] != SHARED)
            with_pair(copy, f, fill_shard, &error);
    pthread_mutex_lock(&copy->lock);
    copy->fault = error;
    pthread_mutex_unlock(&copy->lock);
    return NULL;
}

/* Creates a file of the output with the size of the model's file, and sets its state. In a new output the file becomes
 * a reflink of the original if possible, so that only replaced tensors need disk space. A resumed output keeps its
 * file. */
static organ_status make_shard(organ_model_copy *copy, model_copy_pair *p, organ_error *error)
{
    if (copy->publish->resumed)
        copy->made[p->file] = RESUMED;
    else
        copy->made[p->file] = organ_reflink(p->from, p->to.fd) ? SHARED : PLAIN;
    return organ_direct_resize(&p->to, copy->donor->files[p->file].size, error);
}

/* Returns whether another rank created the output: only the rank that created it has its lock. */
static bool is_helper(const organ_model_copy *copy) { return copy->publish->lock < 0; }

/* Sets the path of each file of the copy: `single` is the name of the copy's only file; NULL: the files get the names
 * of the original. Creates the files, unless another rank has created them. */
static organ_status make_shards(organ_model_copy *copy, const char *single, organ_error *error)
{
    for (size_t f = 0; f < copy->donor->file_count && !error->status; f++) {
        const char *const name = single ? single : copy->donor->files[f].name;
        char *const path = copy->paths[f] = organ_publish_path(copy->publish, name);
        if (!path)
            organ_fail_memory(error, name);
        else if (!is_helper(copy) && organ_make_folders(path, strlen(copy->publish->partial), error) == ORGAN_OK)
            with_pair(copy, f, make_shard, error);
    }
    return error->status;
}

/* Returns the bytes of the copy for which the file system has not allocated blocks yet. A reflinked file needs blocks
 * only for its replaced tensors. */
static uint64_t space_needed(const organ_model_copy *copy)
{
    uint64_t need = copy->others.bytes;
    for (size_t f = 0; f < copy->donor->file_count; f++) {
        const organ_model_file *file = &copy->donor->files[f];
        struct stat info;
        const uint64_t have = stat(copy->paths[f], &info) == 0 ? (uint64_t)info.st_blocks * 512 : 0;
        if (copy->made[f] == SHARED)
            need += bytes_replaced(copy, file);
        else
            need += file->size > have ? file->size - have : 0;
    }
    return need;
}

/* Returns the state of each file (SHARED, RESUMED or PLAIN), one byte for each, for organ_model_copy_start in other
 * ranks. */
const char *organ_model_copy_made(const organ_model_copy *copy, size_t *bytes)
{
    *bytes = copy->donor->file_count;
    return copy->made;
}

/* Starts the copying thread for the share of rank `writer` of `writers`. made[f] is the state of file f: SHARED,
 * RESUMED or PLAIN. `made` may be copy->made itself, hence memmove. */
organ_status organ_model_copy_start(organ_model_copy *copy, const char *made, size_t writer, size_t writers,
                                    organ_error *error)
{
    memmove(copy->made, made, copy->donor->file_count);
    copy->writer = writer;
    copy->writers = writers;
    for (size_t f = 0; f < copy->donor->file_count; f++)
        if (made[f] != SHARED)
            copy->all += copy->donor->files[f].size - bytes_replaced(copy, &copy->donor->files[f]);
    const int failed = organ_thread_create(&copy->thread, NULL, copy_all, copy);
    copy->copying = failed == 0;
    return failed ? organ_fail_errno(error, failed, "cannot start the copying thread (memory, or a limit on threads)")
                  : ORGAN_OK;
}

/* Creates the output's files with the sizes of the donor's files and checks the free space. `replaced` flags the
 * tensors that the caller writes. In a rank that joined the output, only sets the paths. */
organ_status organ_model_copy_begin(const organ_model *donor, const organ_publish *publish, const bool *replaced,
                                    const char *single, const organ_stop *stop, organ_model_copy **result,
                                    organ_error *error)
{
    organ_model_copy *copy = *result = calloc(1, sizeof *copy);
    if (!copy)
        return organ_fail_memory(error, donor->path);
    *copy = (organ_model_copy){
        .donor = donor, .publish = publish, .replaced = replaced, .stop = stop, .writing = {.fd = -1, .direct = -1}};
    pthread_mutex_init(&copy->lock, NULL);
    copy->paths = calloc(donor->file_count, sizeof *copy->paths);
    copy->made = calloc(donor->file_count, sizeof *copy->made);
    if (!copy->paths || !copy->made)
        organ_fail_memory(error, donor->path);
    if (!error->status && make_shards(copy, single, error) == ORGAN_OK &&
        organ_model_other_files(donor, &copy->others, error) == ORGAN_OK && !is_helper(copy))
        organ_transfer_room(publish->partial, publish->final, "the output needs", space_needed(copy), error);
    if (error->status) {
        organ_model_copy_end(copy);
        *result = NULL;
    }
    return error->status;
}

/* Copies the error of the copying thread, if there is one, to `error`, unless `error` is set already. */
static organ_status fault_of_thread(organ_model_copy *copy, organ_error *error)
{
    pthread_mutex_lock(&copy->lock);
    if (copy->fault.status && !error->status)
        *error = copy->fault;
    pthread_mutex_unlock(&copy->lock);
    return error->status;
}

/* Writes bytes of a replaced tensor at `offset` of file `file`. Returns the error of the copying thread if it has
 * failed. */
organ_status organ_model_copy_write(organ_model_copy *copy, size_t file, const void *data, size_t bytes,
                                    uint64_t offset, organ_error *error)
{
    if (fault_of_thread(copy, error))
        return error->status;
    if (copy->writing.fd < 0 || copy->written != file) {
        organ_direct_close(&copy->writing);
        if (organ_direct_open(copy->paths[file], 0666, &copy->writing, error))
            return error->status;
        copy->written = file;
    }
    return organ_direct_write(&copy->writing, data, bytes, offset, error);
}

/* Reads bytes of the copy of file number `file`, from byte `offset` on. */
organ_status organ_model_copy_read(const organ_model_copy *copy, size_t file, void *data, size_t bytes, uint64_t offset,
                                   organ_error *error)
{
    const char *const path = copy->paths[file];
    struct stat now;
    int fd = -1;
    if (organ_input_open(path, &fd, &now, error) == ORGAN_OK)
        organ_input_read(fd, path, data, bytes, offset, error);
    if (fd >= 0)
        close(fd);
    return error->status;
}

/* Joins the copying thread if it was started. */
static void wait_for_copying(organ_model_copy *copy)
{
    if (copy->copying)
        pthread_join(copy->thread, NULL);
    copy->copying = false;
}

/* Waits for copying to end and flushes the output to disk. */
organ_status organ_model_copy_finish(organ_model_copy *copy, organ_error *error)
{
    wait_for_copying(copy);
    if (fault_of_thread(copy, error))
        return error->status;
    if (copying_is_stopped(copy))
        return organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    return organ_transfer_sync(copy->publish->partial,
                               error); /* the unaligned ends of bands were written through the page cache */
}

/* Cancels copying that has not ended, waits for its thread and frees the copy. NULL is allowed. */
void organ_model_copy_end(organ_model_copy *copy)
{
    if (!copy)
        return;
    pthread_mutex_lock(&copy->lock);
    copy->cancelled = true;
    pthread_mutex_unlock(&copy->lock);
    wait_for_copying(copy);
    organ_direct_close(&copy->writing);
    for (size_t f = 0; copy->paths && f < copy->donor->file_count; f++)
        free(copy->paths[f]);
    free(copy->paths);
    free(copy->made);
    organ_list_free(&copy->others);
    pthread_mutex_destroy(&copy->lock);
    free(copy);
}
