/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/shard_measure.h"

#include "formats/base/file_calls.h"
#include "formats/base/paged_rows.h"
#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "formats/gguf/file.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/publish.h"
#include <organ/measure.h>
#include "orchestrator/surgery/measure/shard_list.h"
#include "orchestrator/surgery/measure/measure_stream.h"
#include "orchestrator/surgery/measure/z_subjects.h"
#include "orchestrator/surgery/facts/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* ---- list of shards ---- */

/* Reads the safetensors index at `path` and sets s->index, s->names and s->count. */
static organ_status read_index_of_shards(shard_list *s, const char *path, organ_error *error)
{
    if (organ_shards_read(path, organ_path_name(path), &s->index, error) == ORGAN_OK) {
        s->names = s->index.files;
        s->count = s->index.file_count;
    }
    return error->status;
}

/* Sets s->names and s->count for a model that is named by the file `name`: the file itself, or all parts of a split
 * GGUF. The name of a part has the number of all parts. Returns ORGAN_USAGE if that number is 0 or above
 * ORGAN_GGUF_SPLIT_LIMIT. */
static organ_status list_parts_of_file(shard_list *s, const char *name, organ_error *error)
{
    unsigned part, parts = 1;
    const size_t length = organ_ends_with(name, ".gguf") ? organ_gguf_split_parse(name, &part, &parts) : 0;
    if (length == 0)
        parts = 1;
    else if (parts == 0 || parts > ORGAN_GGUF_SPLIT_LIMIT)
        return organ_fail(error, ORGAN_USAGE, "%s: a model cannot have %u parts", s->path, parts);
    s->names = organ_arena_take(&s->arena, parts * sizeof *s->names);
    bool complete = s->names;
    for (unsigned k = 0; complete && k < parts; k++)
        complete = (s->names[k] = length ? organ_gguf_split_name(&s->arena, name, length, k + 1, parts) : name);
    s->count = parts;
    return complete ? ORGAN_OK : organ_fail_memory(error, s->path);
}

/* Sets s->directory, s->names and s->count from s->path, and s->index if there is one. Returns ORGAN_USAGE if the path
 * is none of those that organ_measure_shards accepts. */
static organ_status find_shards(shard_list *s, organ_error *error)
{
    struct stat info;
    const char *slash = strrchr(s->path, '/');
    if (stat(s->path, &info) == 0 && S_ISDIR(info.st_mode)) {
        s->directory = s->path;
        const char *index = organ_path_join(&s->arena, s->path, ORGAN_INDEX_NAME);
        return index ? read_index_of_shards(s, index, error) : organ_fail_memory(error, s->path);
    }
    s->directory = slash ? organ_arena_copy(&s->arena, s->path, slash > s->path ? (size_t)(slash - s->path) : 1) : ".";
    if (!s->directory)
        return organ_fail_memory(error, s->path);
    if (organ_ends_with(s->path, ".safetensors.index.json"))
        return read_index_of_shards(s, s->path, error);
    if (organ_ends_with(s->path, ".gguf") || organ_ends_with(s->path, ".safetensors"))
        return list_parts_of_file(s, organ_path_name(s->path), error);
    return organ_fail(error, ORGAN_USAGE,
                      "%s: --delete-after needs a directory with " ORGAN_INDEX_NAME
                      ", such an index, or a .gguf or .safetensors file",
                      s->path);
}

/* ---- the journal ---- */

/* Fills s->done from the lines of the journal. In the journal the lines of a shard's tensors precede the line of the
 * shard. Tensors after the last line of a shard are ignored: the run ended before it completed their shard. */
static void split_journal_lines(shard_list *s, const json_t *lines)
{
    size_t k;
    json_t *line, *tensors = json_array();
    json_array_foreach(lines, k, line)
    {
        const char *shard = json_string_value(json_object_get(line, "shard"));
        if (json_object_get(line, "tensor")) {
            json_array_append(tensors, line);
        } else if (shard) {
            ORGAN_ADD(line, SET("tensors", tensors));
            json_object_set(s->done, shard, line);
            tensors = json_array();
        }
    }
    json_decref(tensors);
}

/* Flushes the names of the journal, of its folder directory/organ, and of `directory` to the disk. Without it, a power
 * cut could remove the journal after a shard that it covers was deleted. */
static organ_status sync_journal_names(const char *directory, organ_error *error)
{
    static const char *const folders[] = {"organ", ".", ".."};
    for (size_t k = 0; k < 3 && !error->status; k++) {
        char *const path = organ_format("%s/%s", directory, folders[k]);
        if (!path)
            organ_fail_memory(error, directory);
        else
            organ_sync_directory(path, error);
        free(path);
    }
    return error->status;
}

/* Opens the journal in directory/organ and sets s->journal, s->kept and s->done. */
static organ_status open_journal(shard_list *s, const char *directory, organ_error *error)
{
    if (organ_measure_journal_open(directory, "shards", s->path, &s->journal, error) ||
        sync_journal_names(directory, error))
        return error->status;
    if (!(s->kept =
              organ_format("%.*s-companions", (int)(strlen(s->journal.path) - strlen(".jsonl")), s->journal.path)))
        return organ_fail_memory(error, directory);
    split_journal_lines(s, s->journal.lines);
    return ORGAN_OK;
}

/* Returns the file's modification time in nanoseconds since 1970. */
static json_int_t modified_ns(const organ_model_file *file)
{
    return (json_int_t)file->modified.tv_sec * 1000000000 + file->modified.tv_nsec;
}

/* Returns the journal line of a measured weight. */
static json_t *weight_json(const organ_weight *weight, const organ_z *z)
{
    char stored[160];
    return ORGAN_OBJECT(SET_TEXT("tensor", weight->codes->name), SET_TEXT("weight", weight->name),
                        SET_COUNT("dtype", weight->codes->dtype), SET_COUNT("scheme", weight->scheme),
                        SET_TEXT("stored", organ_weight_text(weight, stored, sizeof stored)),
                        SET("shape", organ_counts_json(weight->rank, weight->shape)), SET("z", organ_z_json(z)));
}

/* Appends the results z of the shard's weights, then the line of the shard, to the journal, flushes the journal to
 * disk, and adds the shard to s->done. The shard may be deleted only after that. */
static organ_status journal_shard(shard_list *s, const organ_model *shard, const organ_z_subjects *subjects,
                                  const organ_z *z, organ_error *error)
{
    json_t *tensors = json_array();
    for (size_t t = 0; t < shard->tensor_count && !error->status; t++) {
        json_t *line = z[t].done ? weight_json(subjects->weight_of[t], &z[t]) : NULL;
        if (z[t].done) {
            json_array_append(tensors, line);
            organ_run_journal_add(&s->journal, line, error);
        }
    }
    json_t *line =
        ORGAN_OBJECT(SET_TEXT("shard", shard->files[0].name), SET_COUNT("bytes", shard->files[0].size),
                     SET_COUNT("version", modified_ns(&shard->files[0])), SET_COUNT("holds", shard->files[0].count),
                     SET_TEXT("format", shard->format), SET_TEXT("architecture", shard->config.architecture),
                     SET_TEXT("model_type", shard->config.model_type));
    json_t *record = json_deep_copy(line);
    if (organ_run_journal_add(&s->journal, line, error) == ORGAN_OK && organ_sync_file(s->journal.journal.fd))
        organ_fail_errno(error, errno, "%s: cannot be synchronised with the disk", s->journal.path);
    ORGAN_ADD(record, SET("tensors", tensors));
    json_object_set_new(s->done, shard->files[0].name, record);
    return error->status;
}

/* ---- one shard ---- */

/* Returns whether another process has the file open for writing: the kernel then denies a read lease. Returns false on
 * file systems without leases. */
static bool is_being_written(int fd)
{
    fcntl(fd, F_SETSIG, SIGURG); /* the signal if a writer breaks the lease; by default it is ignored */
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
    }
    return errno == EAGAIN;
}

/* Returns whether PATH.aria2, PATH.part, ... exists: a file that a downloader keeps until the file PATH is complete. */
static bool is_being_downloaded(shard_list *s, const char *path)
{
    static const char *const endings[] = {".aria2", ".part", ".incomplete", ".lock"};
    for (size_t k = 0; k < sizeof endings / sizeof *endings; k++) {
        char *note = organ_arena_take(&s->arena, strlen(path) + strlen(endings[k]) + 1);
        if (note && access(strcat(strcpy(note, path), endings[k]), F_OK) == 0)
            return true;
    }
    return false;
}

/* Returns whether the journal has the results of the shard `file` with the same size and modification time. */
static bool was_measured(const shard_list *s, const organ_model_file *file)
{
    const json_t *record = json_object_get(s->done, file->name);
    return record && json_integer_value(json_object_get(record, "bytes")) == (json_int_t)file->size &&
           json_integer_value(json_object_get(record, "version")) == modified_ns(file);
}

/* Returns a flag for each tensor of `model`: the tensor is measured with shard k. `model` consists of shard k (file 0)
 * and of files with companions from other shards. A tensor that is named like a companion of codes in another shard but
 * belongs to no weight is measured with the shard of these codes; all other weights with their own shard. The caller
 * frees the flags; NULL if memory runs out. */
static bool *shards_choose_tensors(const shard_list *s, size_t k, const organ_model *model,
                                   const organ_z_subjects *subjects)
{
    bool *const chosen = calloc(model->tensor_count + 1, sizeof *chosen);
    for (size_t t = 0; chosen && t < model->tensor_count; t++) {
        const size_t codes = organ_companions_codes_in(&s->companions, model->tensors[t].name);
        chosen[t] = subjects->weight_of[t] && (model->tensors[t].file == 0 ? codes == ORGAN_AT_HOME : codes == k);
    }
    return chosen;
}

/* Measures the tensors of shard k and records them in the journal. `model`: the shard, with saved companions if any. */
static organ_status measure_open(shard_list *s, size_t k, const organ_model *model, organ_error *error)
{
    organ_z *z = organ_rows_take(model->tensor_count + 1, sizeof *z);
    organ_z_subjects subjects = {0};
    bool *chosen = NULL;
    if (!z)
        organ_fail_memory(error, model->path);
    else if (organ_z_subjects_find(model, &subjects, error) == ORGAN_OK &&
             !(chosen = shards_choose_tensors(s, k, model, &subjects)))
        organ_fail_memory(error, model->path);
    const organ_z_options options = {.chosen = chosen, .subjects = &subjects};
    /* organ_measure_tensors fails if a file changed meanwhile, so a changed shard is not recorded. */
    if (!error->status && organ_measure_tensors(model, &options, s->engine, s->progress, z, error) == ORGAN_OK)
        journal_shard(s, model, &subjects, z, error);
    organ_z_subjects_release(&subjects);
    free(chosen);
    organ_rows_free(z);
    return error->status;
}

/* The files with saved companions that belong to codes in one shard. */
typedef struct kept_files {
    const shard_list *s;
    const char *shard; /* path of the shard with the codes */
    char **paths;      /* paths of `count` files */
    size_t count;
} kept_files;

/* Callback of organ_companions_needed: adds the file with companions from shard `from` to the paths of `context`, a
 * kept_files. Returns ORGAN_BAD_INPUT, naming the companion `tensor`, if the file does not exist yet. */
static organ_status store_companion(void *context, size_t from, const char *tensor, organ_error *error)
{
    kept_files *const kept = context;
    char *const path = organ_companions_path(&kept->s->companions, from);
    if (!path)
        return organ_fail_memory(error, kept->shard);
    kept->paths[kept->count++] = path;
    if (access(path, F_OK) == 0)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: waits for %s, which contains '%.200s' of the same weight",
                      kept->shard, kept->s->index.files[from], tensor);
}

/* Measures shard k, which is open as `shard`, together with the saved companions of its codes. Returns ORGAN_BAD_INPUT
 * if some of them are in a shard that has not been available yet. */
static organ_status measure_shard(shard_list *s, size_t k, const organ_model *shard, organ_error *error)
{
    kept_files kept = {.s = s, .shard = shard->path, .paths = calloc(s->count + 1, sizeof *kept.paths)};
    organ_model *whole = NULL;
    if (!kept.paths)
        organ_fail_memory(error, shard->path);
    else if (organ_companions_needed(&s->companions, k, store_companion, &kept, error) == ORGAN_OK) {
        const organ_model_access access = {
            .alone = true, .also = (const char *const *)kept.paths, .also_count = kept.count};
        if (kept.count == 0)
            measure_open(s, k, shard, error);
        else if (organ_model_open_with(shard->path, &access, &whole, error) == ORGAN_OK)
            measure_open(s, k, whole, error);
    }
    organ_model_close(whole);
    for (size_t n = 0; n < kept.count; n++)
        free(kept.paths[n]);
    free(kept.paths);
    return error->status;
}

/* Deletes a measured shard, unless its file changed since it was opened. If it is a symbolic link, deletes only the
 * link. */
static organ_status delete_shard(shard_list *s, const organ_model *shard, organ_error *error)
{
    struct stat info;
    const char *path = shard->files[0].path;
    if (organ_model_unchanged(shard, error))
        return error->status;
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode))
        organ_progress_note(s->progress, "%s: is a symbolic link: its target is not deleted", path);
    if (unlink(path))
        return organ_fail_errno(error, errno, "%s: is measured, but cannot be deleted", path);
    organ_progress_note(s->progress, "%s: measured and deleted", path);
    return ORGAN_OK;
}

/* Returns ORGAN_BAD_INPUT unless shard k has exactly the tensors that the index lists in it. Accepts any shard if there
 * is no index. */
static organ_status check_shard_against_index(const shard_list *s, size_t k, const organ_model *shard,
                                              organ_error *error)
{
    size_t listed = 0;
    for (size_t e = 0; e < s->index.entry_count; e++)
        listed += s->index.entries[e].file == k;
    for (size_t t = 0; t < shard->tensor_count && s->index.entry_count; t++) {
        const size_t *entry = organ_name_table_find(&s->index.tensor_names, shard->tensors[t].name);
        if (!entry || s->index.entries[*entry].file != k)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: is not a shard of this model: the index does not list tensor '%s' in it",
                              shard->path, shard->tensors[t].name);
    }
    if (s->index.entry_count && listed != shard->tensor_count)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: is not a shard of this model: it has %zu tensors, but the index lists %zu", shard->path,
                          shard->tensor_count, listed);
    return ORGAN_OK;
}

/* Opens shard k at `path`. Returns ORGAN_BAD_INPUT if it is being downloaded or written, or does not agree with the
 * index. The caller closes *shard even after an error. */
static organ_status open_shard(shard_list *s, size_t k, const char *path, organ_model **shard, organ_error *error)
{
    const organ_model_access access = {.alone = true};
    *shard = NULL;
    if (is_being_downloaded(s, path))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is still being downloaded", path);
    if (organ_model_open_with(path, &access, shard, error) != ORGAN_OK)
        return error->status;
    if (is_being_written((*shard)->files[0].fd))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is open for writing", path);
    return check_shard_against_index(s, k, *shard, error);
}

/* Measures shard k at `path`, unless the journal has its results already, and deletes it. */
static organ_status process_shard(shard_list *s, size_t k, const char *path, organ_error *error)
{
    organ_model *shard;
    if (open_shard(s, k, path, &shard, error) == ORGAN_OK &&
        (was_measured(s, &shard->files[0]) || measure_shard(s, k, shard, error) == ORGAN_OK))
        delete_shard(s, shard, error);
    organ_model_close(shard);
    return error->status;
}

/* Callback of organ_companions_keep: returns whether shard number `codes` is not measured yet. */
static bool is_waiting(void *context, size_t codes)
{
    const shard_list *const s = context;
    return !json_object_get(s->done, s->names[codes]);
}

/* Saves, from every available shard, the companions whose codes are in another shard that is not measured yet. Ignores
 * shards that cannot be opened; process_shards reports their errors. */
static organ_status keep_companions(shard_list *s, organ_error *error)
{
    for (size_t k = 0; s->companions.in_other_shards && k < s->count && !error->status; k++) {
        const char *path = organ_path_join(&s->arena, s->directory, s->names[k]);
        organ_error fault = {0};
        organ_model *shard = NULL;
        if (!path)
            return organ_fail_memory(error, s->path);
        if (access(path, F_OK) == 0 && open_shard(s, k, path, &shard, &fault) == ORGAN_OK)
            organ_companions_keep(&s->companions, k, shard, is_waiting, s, s->engine, error);
        organ_model_close(shard);
    }
    return error->status;
}

/* Measures and deletes all available shards, except those that fail with ORGAN_BAD_INPUT. Returns ORGAN_BAD_INPUT at
 * the end if shards remain to be measured. */
static organ_status process_shards(shard_list *s, organ_error *error)
{
    for (size_t k = 0; k < s->count && !error->status; k++) {
        const char *path = organ_path_join(&s->arena, s->directory, s->names[k]);
        organ_error fault = {0};
        if (!path)
            return organ_fail_memory(error, s->path);
        if (access(path, F_OK) != 0) {
            if (!json_object_get(s->done, s->names[k]) && s->waiting++ == 0)
                organ_fail(&s->first, ORGAN_BAD_INPUT, "%s: does not exist yet", path);
        } else if (process_shard(s, k, path, &fault) == ORGAN_BAD_INPUT) {
            organ_progress_note(s->progress, "%s", fault.message);
            if (s->broken++ == 0)
                s->first = fault;
        } else
            *error = fault;
    }
    if (error->status || s->waiting + s->broken == 0)
        return error->status;
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "%s: %zu of %zu shards are measured (%.600s); run the same command again when the others have arrived", s->path,
        s->count - s->waiting - s->broken, s->count, s->first.message);
}

organ_status organ_measure_shards(const char *path, const char *directory, const organ_engine *engine,
                                  const organ_progress *progress, json_t **entry, char **journal, organ_error *error)
{
    shard_list s = {.engine = engine, .progress = progress, .journal = {.journal = {.fd = -1}}, .done = json_object()};
    size_t length = strlen(path);
    *entry = NULL;
    *journal = NULL;
    while (length > 1 && path[length - 1] == '/')
        length--;
    s.path = organ_arena_copy(&s.arena, path, length);
    if (!s.path || !s.done)
        organ_fail_memory(error, path);
    else if (find_shards(&s, error) == ORGAN_OK && open_journal(&s, directory, error) == ORGAN_OK &&
             organ_companions_find(&s.index, s.kept, &s.companions, error) == ORGAN_OK &&
             keep_companions(&s, error) == ORGAN_OK && process_shards(&s, error) == ORGAN_OK &&
             organ_shards_entry(&s, entry, error) == ORGAN_OK) {
        organ_companions_forget(&s.companions);
        organ_journal_close(&s.journal.journal);
        *journal = s.journal.path;
        s.journal.path = NULL;
    }
    organ_run_journal_close(&s.journal);
    json_decref(s.done);
    free(s.kept);
    organ_companions_release(&s.companions);
    organ_shards_release(&s.index);
    organ_arena_release(&s.arena);
    return error->status;
}
