/* SPDX-License-Identifier: MIT */
#include "formats/safetensors/safetensors.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/text.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 240 /* bytes of a name that messages show */

static bool is_plain_name(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) <= NAME_MAX;
}

/* Numbers are in the order of first appearance until sort_files changes them. */
static organ_status enter_file(organ_shards *shards, const char *name, size_t *file, organ_error *error)
{
    const size_t *known = organ_name_table_find(&shards->file_names, name);
    if (known) {
        *file = *known;
        return ORGAN_OK;
    }
    char *copy = organ_arena_copy(&shards->arena, name, strlen(name));
    if (!copy || !organ_name_table_put(&shards->file_names, copy, shards->file_count))
        return organ_fail_memory(error, shards->label);
    *file = shards->file_count++;
    return ORGAN_OK;
}

static organ_status enter_tensor(organ_shards *shards, const char *name, size_t file, organ_error *error)
{
    char *copy = organ_arena_copy(&shards->arena, name, strlen(name));
    if (copy)
        organ_tensor_unwrap(copy); /* the names in the list of tensors are unwrapped too */
    const size_t *kept = copy ? organ_name_table_put(&shards->tensor_names, copy, shards->entry_count) : NULL;
    if (!kept || !organ_grow(&shards->entries, shards->entry_count, &shards->entry_capacity, sizeof *shards->entries))
        return organ_fail_memory(error, shards->label);
    if (*kept != shards->entry_count)
        return organ_refuse(error, shards->label, "weight_map: tensor '%.*s' is listed twice", SHOWN, name);
    shards->entries[shards->entry_count++] = (organ_shard_entry){copy, file};
    return ORGAN_OK;
}

static organ_status read_entry(organ_shards *shards, const organ_json_source *text, const char *tensor,
                               organ_json_span span, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *value = NULL;
    organ_status status = organ_json_parse(text, span, tensor, &value, error);
    if (status != ORGAN_OK)
        return status;
    const char *name = organ_json_plain(value);
    const int length = (int)(span.end - span.begin > SHOWN ? SHOWN : span.end - span.begin);
    size_t file = 0;
    if (!name)
        status = organ_refuse(error, shards->label, "weight_map: tensor '%.*s': %.*s is not a file name", SHOWN, tensor,
                              length, text->bytes + span.begin);
    else if (!is_plain_name(name))
        status = organ_refuse(error, shards->label,
                              "weight_map: tensor '%.*s': '%.*s' is not the name of a file in the model's directory",
                              SHOWN, tensor, SHOWN, name);
    else if ((status = enter_file(shards, name, &file, error)) == ORGAN_OK)
        status = enter_tensor(shards, tensor, file, error);
    return status;
}

static organ_status read_weight_map(organ_shards *shards, const organ_json_source *text, organ_json_span span,
                                    organ_error *error)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, text, span, "weight_map", error);
    while (organ_json_walk_next(&walk, error))
        read_entry(shards, text, json_string_value(walk.name), walk.value, error);
    return error->status;
}

/* Floating-point numbers are accepted if they are whole, because some writers store them. */
static bool read_whole_number(const organ_json_source *text, organ_json_span span, uint64_t *number)
{
    organ_error none = {0};
    ORGAN_OWNED_JSON json_t *value = NULL;
    if (organ_json_parse(text, span, NULL, &value, &none) != ORGAN_OK)
        return false; /* beyond 63 bits */
    const double real = json_is_real(value) ? json_real_value(value) : (double)json_integer_value(value);
    const bool is_whole = json_is_number(value) && real >= 0 && real < 0x1p63 && real == floor(real);
    if (is_whole)
        *number = json_is_real(value) ? (uint64_t)real : (uint64_t)json_integer_value(value);
    return is_whole;
}

/* If total_size occurs twice, the last value is used, as in Python. */
static organ_status read_total(organ_shards *shards, const organ_json_source *text, organ_json_span span,
                               organ_error *error)
{
    organ_json_walk walk;
    organ_json_walk_begin(&walk, text, span, "metadata", error);
    walk.any_names = true;
    while (organ_json_walk_next(&walk, error))
        if (organ_json_check(text, walk.value, "metadata", error) == ORGAN_OK &&
            organ_json_is(walk.name, "total_size")) {
            shards->total_size =
                organ_arena_copy(&shards->arena, text->bytes + walk.value.begin, walk.value.end - walk.value.begin);
            shards->total_is_number = read_whole_number(text, walk.value, &shards->total_bytes);
            if (!shards->total_size)
                organ_fail_memory(error, shards->label);
        }
    return error->status;
}

static organ_status read_metadata(organ_shards *shards, const organ_json_source *text, organ_json_span span,
                                  organ_error *error)
{
    return text->bytes[span.begin] == '{' ? read_total(shards, text, span, error)
                                          : organ_json_check(text, span, "metadata", error);
}

static organ_status read_index_member(organ_shards *shards, const organ_json_source *text, const char *name,
                                      organ_json_span span, unsigned seen[2], organ_error *error)
{
    const bool is_map = strcmp(name, "weight_map") == 0, is_metadata = strcmp(name, "metadata") == 0;
    if ((is_map && seen[0]++) || (is_metadata && seen[1]++))
        return organ_refuse(error, shards->label, "%s occurs twice", name);
    if (is_map)
        return read_weight_map(shards, text, span, error);
    if (is_metadata)
        return read_metadata(shards, text, span, error);
    return organ_json_check(text, span, name, error);
}

static organ_status shards_read_document(organ_shards *shards, const organ_json_source *text, organ_error *error)
{
    unsigned seen[2] = {0, 0}; /* how often weight_map and metadata occurred */
    organ_json_walk walk;
    organ_json_walk_begin(&walk, text, (organ_json_span){0, text->length}, /*what=*/NULL, error);
    while (organ_json_walk_next(&walk, error))
        read_index_member(shards, text, json_string_value(walk.name), walk.value, seen, error);
    if (!error->status && !seen[0])
        return organ_refuse(error, shards->label, "weight_map is missing");
    if (!error->status && shards->file_count == 0)
        return organ_refuse(error, shards->label, "weight_map is empty");
    return error->status;
}

static organ_status sort_files(organ_shards *shards, organ_error *error)
{
    ORGAN_OWNED size_t *place =
        malloc(shards->file_count * sizeof *place); /* number of appearance -> number in order of names */
    shards->files = malloc(shards->file_count * sizeof *shards->files);
    if (!place || !shards->files)
        return organ_fail_memory(error, shards->label);
    size_t count = 0;
    for (size_t k = 0; k < shards->file_names.capacity; k++)
        if (shards->file_names.slots[k].name)
            shards->files[count++] = shards->file_names.slots[k].name;
    qsort(shards->files, count, sizeof *shards->files, organ_order_texts);
    for (size_t k = 0; k < count; k++)
        place[*organ_name_table_find(&shards->file_names, shards->files[k])] = k;
    for (size_t k = 0; k < shards->entry_count; k++)
        shards->entries[k].file = place[shards->entries[k].file];
    return ORGAN_OK;
}

organ_status organ_shards_read(const char *path, const char *label, organ_shards *shards, organ_error *error)
{
    *shards = (organ_shards){.label = label};
    ORGAN_OWNED char *bytes = NULL;
    size_t length;
    if (organ_input_load(path, label, ORGAN_INDEX_LIMIT, &bytes, &length, error) != ORGAN_OK)
        return error->status;
    organ_shards_parse(bytes, length, label, shards, error);
    return error->status;
}

organ_status organ_shards_parse(const char *bytes, size_t length, const char *label, organ_shards *shards,
                                organ_error *error)
{
    *shards = (organ_shards){.label = label};
    const organ_json_source text = {label, bytes, length};
    if (shards_read_document(shards, &text, error) != ORGAN_OK)
        return error->status;
    return sort_files(shards, error);
}

size_t organ_shards_drop_replaced(const organ_shards *shards, organ_tensor_list *list,
                                  char warning[ORGAN_SHARDS_WARNING])
{
    organ_tensor first;
    uint32_t used;
    const size_t count = organ_tensor_list_drop_replaced(list, &first, &used);
    if (count)
        snprintf(warning, ORGAN_SHARDS_WARNING,
                 "%s: %zu tensor%s in more than one file: organ reads the last file by name, as transformers does, "
                 "whatever weight_map says; '%.200s' is read from %.200s, not from %.200s",
                 shards->label, count, count == 1 ? " is" : "s are", first.name, shards->files[used],
                 shards->files[first.file]);
    return count;
}

/* "NAME-00001-of-00003.safetensors" */
static bool is_shard_name(const char *name)
{
    unsigned part, parts;
    int end = 0;
    const size_t length = strlen(name), tail = strlen("-00001-of-00003.safetensors");
    return *name != '.' && length > tail &&
           sscanf(name + length - tail, "-%5u-of-%5u.safetensors%n", &part, &parts, &end) == 2 && (size_t)end == tail;
}

void organ_shards_find_unnamed(const organ_shards *shards, const char *directory, char warning[ORGAN_SHARDS_WARNING])
{
    char first[NAME_MAX + 1] = "";
    size_t count = 0;
    ORGAN_OWNED_FOLDER DIR *const folder = organ_open_folder(directory);
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        if (is_shard_name(entry->d_name) && !organ_name_table_find(&shards->file_names, entry->d_name) &&
            (count++ == 0 || strcmp(entry->d_name, first) < 0))
            snprintf(first, sizeof first, "%s", entry->d_name);
    if (count)
        snprintf(warning, ORGAN_SHARDS_WARNING,
                 "%s does not name %zu file%s next to it, the first is '%s': organ does not read %s", shards->label,
                 count, count == 1 ? "" : "s", first, count == 1 ? "it" : "them");
}

/* A tensor in another file or not in weight_map only gives a warning, because loaders accept it. */
organ_status organ_shards_check(const organ_shards *shards, const organ_tensor_list *list,
                                char warning[ORGAN_SHARDS_WARNING], organ_error *error)
{
    const char *first = NULL;
    size_t misplaced = 0;
    *warning = '\0';
    for (size_t k = 0; k < shards->entry_count; k++) {
        const organ_shard_entry *entry = &shards->entries[k];
        const size_t *found = organ_name_table_find(&list->names, entry->tensor);
        if (!found)
            return organ_refuse(error, shards->label,
                                "weight_map: tensor '%.*s' is not in '%.*s' nor in any other shard", SHOWN,
                                entry->tensor, SHOWN, shards->files[entry->file]);
        if (list->tensors[*found].file != entry->file && misplaced++ == 0)
            first = entry->tensor;
    }
    for (size_t k = 0; k < list->count; k++)
        if (!organ_name_table_find(&shards->tensor_names, list->tensors[k].name) && misplaced++ == 0)
            first = list->tensors[k].name;
    if (misplaced)
        snprintf(warning, ORGAN_SHARDS_WARNING, "%s: weight_map omits or misplaces %zu tensor%s, the first is '%.*s'",
                 shards->label, misplaced, misplaced == 1 ? "" : "s", SHOWN, first);
    return ORGAN_OK;
}

bool organ_shards_total_is(const organ_shards *shards, uint64_t bytes)
{
    return !shards->total_size || (shards->total_is_number && shards->total_bytes == bytes);
}

void organ_shards_release(organ_shards *shards)
{
    ORGAN_FREE_ARRAYS(shards->files, shards->entries);
    organ_arena_release(&shards->arena);
    organ_name_table_release(&shards->file_names);
    organ_name_table_release(&shards->tensor_names);
    *shards = (organ_shards){0};
}
