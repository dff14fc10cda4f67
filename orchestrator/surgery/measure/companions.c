/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/companions.h"

#include "formats/base/file_calls.h"
#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/surgery/output/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Enters in `modules` every tensor that is not a companion. The key is the name of the tensor without the suffix of the
 * weight: the module, which companions have in common with their codes. The value is the index of the shard. Copies of
 * the names are in `arena`. */
static organ_status enter_codes(const organ_companions *c, organ_name_table *modules, organ_arena *arena,
                                organ_error *error)
{
    for (size_t e = 0; e < c->index->entry_count; e++) {
        size_t length;
        if (organ_anatomy_companion(c->index->entries[e].tensor, &length))
            continue;
        const char *const module = organ_arena_copy(arena, c->index->entries[e].tensor, length);
        if (!module || !organ_name_table_put(modules, module, c->index->entries[e].file))
            return organ_fail_memory(error, c->stem);
    }
    return ORGAN_OK;
}

/* Sets c->codes_in of each entry of the index and c->in_other_shards. `modules`: filled by enter_codes. */
static organ_status find_in_other_shards(organ_companions *c, const organ_name_table *modules, organ_arena *arena,
                                         organ_error *error)
{
    for (size_t e = 0; e < c->index->entry_count; e++) {
        size_t length;
        c->codes_in[e] = ORGAN_AT_HOME;
        if (!organ_anatomy_companion(c->index->entries[e].tensor, &length))
            continue;
        const char *const module = organ_arena_copy(arena, c->index->entries[e].tensor, length);
        if (!module)
            return organ_fail_memory(error, c->stem);
        const size_t *const codes = organ_name_table_find(modules, module);
        if (codes && *codes != c->index->entries[e].file) {
            c->codes_in[e] = *codes;
            c->in_other_shards++;
        }
    }
    return ORGAN_OK;
}

organ_status organ_companions_find(const organ_shards *index, const char *stem, organ_companions *companions,
                                   organ_error *error)
{
    organ_name_table modules = {0};
    organ_arena arena = {0};
    *companions = (organ_companions){.index = index, .stem = stem};
    companions->codes_in = calloc(index->entry_count + 1, sizeof *companions->codes_in);
    if (!companions->codes_in)
        organ_fail_memory(error, companions->stem);
    else if (enter_codes(companions, &modules, &arena, error) == ORGAN_OK)
        find_in_other_shards(companions, &modules, &arena, error);
    organ_name_table_release(&modules);
    organ_arena_release(&arena);
    return error->status;
}

void organ_companions_release(organ_companions *companions)
{
    free(companions->codes_in);
    *companions = (organ_companions){0};
}

size_t organ_companions_codes_in(const organ_companions *c, const char *tensor)
{
    const size_t *const entry = c->in_other_shards ? organ_name_table_find(&c->index->tensor_names, tensor) : NULL;
    return entry ? c->codes_in[*entry] : ORGAN_AT_HOME;
}

char *organ_companions_path(const organ_companions *c, size_t file)
{
    return organ_format("%s-%zu.safetensors", c->stem, file + 1);
}

/* Flushes the file `temporary` to disk, renames it to `path`, and flushes `folder`, the directory of both. */
static organ_status publish_file(const char *temporary, const char *path, const char *folder, organ_error *error)
{
    const int file = organ_open(temporary, O_RDONLY, 0), directory = organ_open(folder, O_RDONLY | O_DIRECTORY, 0);
    if (file < 0 || organ_sync_file(file))
        organ_fail_errno(error, errno, "%s: cannot be synchronised with the disk", temporary);
    else if (rename(temporary, path))
        organ_fail_errno(error, errno, "%s: cannot be renamed to its final name", path);
    else if (directory < 0 || organ_sync_file(directory))
        organ_fail_errno(error, errno, "%s: cannot be synchronised with the disk", folder);
    if (file >= 0)
        close(file);
    if (directory >= 0)
        close(directory);
    return error->status;
}

/* Writes the `count` tensors `pieces` of `shard` into the file organ_companions_path(c, file), which has a temporary
 * name until it is complete. */
static organ_status write_file(const organ_companions *c, size_t file, const organ_model *shard,
                               organ_shard_piece *pieces, size_t count, const organ_engine *engine, organ_error *error)
{
    organ_resharding *plan = NULL;
    char *path = organ_companions_path(c, file), *temporary = NULL;
    const char *const slash = strrchr(c->stem, '/');
    char *folder = slash ? strndup(c->stem, (size_t)(slash - c->stem)) : strdup(".");
    if (!path || !folder || asprintf(&temporary, "%s.part", path) < 0)
        temporary = (organ_fail_memory(error, c->stem), NULL);
    else {
        unlink(temporary);
        if (organ_resharding_plan(shard, pieces, count, UINT64_MAX, organ_path_name(temporary), true, &plan, error) ==
                ORGAN_OK &&
            organ_resharding_begin(plan, folder, error) == ORGAN_OK)
            organ_resharding_copy(plan, NULL, engine, NULL, engine->stop, error);
        organ_resharding_free(plan);
        if (error->status)
            unlink(temporary);
        else
            publish_file(temporary, path, folder, error);
    }
    free(path);
    free(temporary);
    free(folder);
    return error->status;
}

/* Saves the tensors of `shard`, the open shard `file`, whose codes are in another shard (index `codes`) for which
 * is_selected(context, codes) returns true. Writes no file if there are none. */
organ_status organ_companions_keep(const organ_companions *c, size_t file, const organ_model *shard,
                                   bool (*is_selected)(void *context, size_t codes), void *context,
                                   const organ_engine *engine, organ_error *error)
{
    organ_shard_piece *const pieces = calloc(shard->tensor_count + 1, sizeof *pieces);
    size_t count = 0;
    if (!pieces)
        return organ_fail_memory(error, c->stem);
    for (size_t t = 0; t < shard->tensor_count; t++) {
        const size_t codes = organ_companions_codes_in(c, shard->tensors[t].name);
        if (codes != ORGAN_AT_HOME && is_selected(context, codes))
            pieces[count++] = organ_piece_same(&shard->tensors[t]);
    }
    if (count)
        write_file(c, file, shard, pieces, count, engine, error);
    free(pieces);
    return error->status;
}

organ_status organ_companions_needed(const organ_companions *c, size_t file,
                                     organ_status (*each)(void *context, size_t from, const char *tensor,
                                                          organ_error *error),
                                     void *context, organ_error *error)
{
    bool *const seen = c->in_other_shards ? calloc(c->index->file_count + 1, sizeof *seen) : NULL;
    if (c->in_other_shards && !seen)
        return organ_fail_memory(error, c->stem);
    for (size_t e = 0; c->in_other_shards && e < c->index->entry_count && !error->status; e++) {
        const organ_shard_entry *const entry = &c->index->entries[e];
        if (c->codes_in[e] != file || seen[entry->file])
            continue;
        seen[entry->file] = true;
        each(context, entry->file, entry->tensor, error);
    }
    free(seen);
    return error->status;
}

void organ_companions_forget(const organ_companions *c)
{
    for (size_t k = 0; c->in_other_shards && k < c->index->file_count; k++) {
        char *const path = organ_companions_path(c, k);
        if (path)
            unlink(path);
        free(path);
    }
}
