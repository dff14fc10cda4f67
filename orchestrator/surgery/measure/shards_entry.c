/* SPDX-License-Identifier: MIT
 * Makes the report entry of a model from the journal of its shards, which may be deleted. */
#include "orchestrator/surgery/measure/shard_list.h"

#include "formats/base/paged_rows.h"
#include <organ/report.h>
#include <organ/measure.h>
#include "orchestrator/surgery/measure/z_subjects.h"

#include <stdio.h>
#include <stdlib.h>

/* The tensors and results of a model, restored from the journal of its shards. All arrays except `files` have an
 * element for each tensor of all shards: first the measured weights, then zeros for the companions, of which only the
 * number matters. */
typedef struct remembered {
    organ_tensor *tensors;
    organ_weight *weights;
    const organ_weight **of; /* weight of each tensor; NULL: a companion */
    const char **stored;     /* description of the weight's storage */
    organ_z *z;
    organ_model_file *files; /* an element for each shard */
    size_t count;            /* weights restored so far */
} remembered;

/* Allocates the arrays of *r for this number of tensors and files. Returns false if memory runs out; the caller frees
 * *r in any case. */
static bool make_remembered(remembered *r, size_t tensors, size_t files)
{
    *r = (remembered){.tensors = organ_rows_take(tensors + 1, sizeof *r->tensors),
                      .weights = organ_rows_take(tensors + 1, sizeof *r->weights),
                      .of = calloc(tensors + 1, sizeof *r->of),
                      .stored = calloc(tensors + 1, sizeof *r->stored),
                      .z = organ_rows_take(tensors + 1, sizeof *r->z),
                      .files = calloc(files + 1, sizeof *r->files)};
    return r->tensors && r->weights && r->of && r->stored && r->z && r->files;
}

static void free_remembered(remembered *r)
{
    organ_rows_free(r->tensors);
    organ_rows_free(r->weights);
    free(r->of);
    free(r->stored);
    organ_rows_free(r->z);
    free(r->files);
}

/* Appends to *r the weight that a line of the journal describes, and its results. Returns ORGAN_BAD_INPUT if the line
 * is malformed. */
static organ_status recall_weight(shard_list *s, const json_t *line, remembered *r, organ_error *error)
{
    const json_t *shape = json_object_get(line, "shape");
    const unsigned rank = (unsigned)json_array_size(shape);
    uint64_t *extents = organ_arena_take(&s->arena, (rank + 1) * sizeof *extents);
    const char *name = json_string_value(json_object_get(line, "weight")),
               *tensor = json_string_value(json_object_get(line, "tensor"));
    const json_int_t dtype = json_integer_value(json_object_get(line, "dtype")),
                     scheme = json_integer_value(json_object_get(line, "scheme"));
    organ_weight *const weight = &r->weights[r->count];
    if (!extents)
        return organ_fail_memory(error, s->path);
    *weight =
        (organ_weight){.name = name, .scheme = (organ_scheme)scheme, .rank = rank, .shape = extents, .elements = 1};
    bool sound =
        name && tensor && dtype >= 0 && dtype < ORGAN_DTYPE_COUNT && scheme >= 0 && scheme < ORGAN_SCHEME_COUNT;
    for (unsigned k = 0; k < rank; k++) {
        extents[k] = (uint64_t)json_integer_value(json_array_get(shape, k));
        sound = sound && !__builtin_mul_overflow(weight->elements, extents[k], &weight->elements);
    }
    if (!sound || !(r->stored[r->count] = json_string_value(json_object_get(line, "stored"))))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: has a malformed line, or was written by an older version of organ: delete it and "
                          "measure again",
                          s->journal.path);
    weight->anatomy = organ_anatomy_of(name);
    r->tensors[r->count] = (organ_tensor){.name = tensor, .dtype = (organ_dtype)dtype, .anatomy = weight->anatomy};
    weight->codes = &r->tensors[r->count];
    r->of[r->count] = weight;
    r->z[r->count++] = organ_z_of_json(json_object_get(line, "z"));
    return ORGAN_OK;
}

/* Returns the number of tensors in all shards, and sets *measured to the number of measured weights. If *measured is
 * larger, as in a damaged journal, returns *measured. */
static size_t count_tensors(const shard_list *s, size_t *measured)
{
    size_t held = 0;
    *measured = 0;
    for (size_t k = 0; k < s->count; k++) {
        const json_t *const record = json_object_get(s->done, s->names[k]);
        *measured += json_array_size(json_object_get(record, "tensors"));
        held += (size_t)json_integer_value(json_object_get(record, "holds"));
    }
    return held > *measured ? held : *measured;
}

/* Makes the report entry of the model from its journal. The shards are deleted, so a model with the recorded tensors
 * and results is passed to organ_measure_model_json. */
organ_status organ_shards_entry(shard_list *s, json_t **entry, organ_error *error)
{
    size_t measured;
    const size_t count = count_tensors(s, &measured);
    const json_t *first = json_object_get(s->done, s->names[0]);
    remembered r;
    if (!make_remembered(&r, count, s->count))
        organ_fail_memory(error, s->path);
    for (size_t k = 0; k < s->count && !error->status; k++) {
        const json_t *record = json_object_get(s->done, s->names[k]), *lines = json_object_get(record, "tensors");
        r.files[k].size = (uint64_t)json_integer_value(json_object_get(record, "bytes"));
        for (size_t t = 0; t < json_array_size(lines) && !error->status; t++)
            recall_weight(s, json_array_get(lines, t), &r, error);
    }
    organ_model model = {.path = s->path,
                         .format = organ_json_text(first, "format"),
                         .file_count = s->count,
                         .files = r.files,
                         .tensor_count = count,
                         .tensors = r.tensors};
    snprintf(model.config.architecture, sizeof model.config.architecture, "%s", organ_json_text(first, "architecture"));
    snprintf(model.config.model_type, sizeof model.config.model_type, "%s", organ_json_text(first, "model_type"));
    const organ_z_subjects subjects = {.weight_of = r.of, .companions = count - measured};
    if (!error->status && !(*entry = organ_measure_model_json(&(organ_measured){&model, &subjects, r.z, r.stored})))
        organ_fail_memory(error, s->path);
    free_remembered(&r);
    return error->status;
}
