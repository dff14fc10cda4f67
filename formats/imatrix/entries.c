/* SPDX-License-Identifier: MIT
 * Appends entries and names of texts to an importance matrix, for the readers of both formats. */
#include "formats/imatrix/imatrix_parts.h"

#include "formats/base/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DATASETS 65536u /* names of texts */

organ_status organ_imatrix_add(organ_imatrix_state *s, const char *name, uint64_t values, uint64_t counts,
                               organ_imatrix_bytes place, organ_error *error)
{
    const size_t number = s->view.entry_count;
    size_t capacity = s->capacity;
    const size_t *const kept = organ_name_table_put(&s->names, name, number);
    if (!kept || !organ_grow(&s->entries, number, &capacity, sizeof *s->entries) ||
        !organ_grow(&s->places, number, &s->capacity, sizeof *s->places))
        return organ_fail_memory(error, s->file.path);
    if (*kept != number)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: duplicate entry '%s': number %zu and number %zu", s->file.name,
                          name, *kept + 1, number + 1);
    s->entries[number] = (organ_imatrix_entry){name, organ_anatomy_of(name), values, counts};
    s->places[number] = place;
    s->view.entries = s->entries;
    s->view.entry_count++;
    return ORGAN_OK;
}

organ_status organ_imatrix_begin_datasets(organ_imatrix_state *s, uint64_t count, organ_error *error)
{
    if (count > MAX_DATASETS)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: names %" PRIu64 " texts, more than %u", s->file.name, count,
                          MAX_DATASETS);
    s->datasets = calloc((size_t)count + 1, sizeof *s->datasets);
    s->view.datasets = s->datasets;
    return s->datasets ? ORGAN_OK : organ_fail_memory(error, s->file.path);
}

organ_status organ_imatrix_add_dataset(organ_imatrix_state *s, const char *text, size_t length, organ_error *error)
{
    char *const copy = organ_arena_copy(&s->arena, text, length);
    if (!copy)
        return organ_fail_memory(error, s->file.path);
    if (strlen(copy) != length || !organ_utf8_valid(copy))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the name of text %zu, of %zu bytes, %s", s->file.name,
                          s->view.dataset_count + 1, length,
                          strlen(copy) != length ? "has a NUL" : "is not valid UTF-8");
    s->datasets[s->view.dataset_count++] = copy;
    return ORGAN_OK;
}
