/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/health/inspect.h"

#include "formats/base/memory_watch.h"
#include "formats/model/model.h"
#include "formats/weights/weights.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/health/inspect_lists.h"
#include "orchestrator/surgery/health/inspect_parts.h"
#include "orchestrator/surgery/health/inspect_weights.h"
#include "orchestrator/surgery/output/by_layer.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/output/targets.h"
#include "orchestrator/version.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef organ_inspect_part part;

/* Stored tensors, the weights among them, elements of these and bytes of all, of whatever is counted together. */
typedef struct amount {
    uint64_t tensors, weights, elements, bytes;
} amount;

static void add(amount *sum, const part *one)
{
    sum->tensors++;
    sum->weights += one->weight;
    sum->elements += one->elements;
    sum->bytes += one->tensor->bytes;
}

static json_t *count_of(uint64_t count) { return json_integer((json_int_t)count); }

/* json_object_set_new reports a NULL value or a lack of memory alike; one failure spoils the document. */
static void set(json_t *object, const char *key, json_t *value, bool *whole)
{
    *whole = json_object_set_new(object, key, value) == 0 && *whole;
}

static void set_amount(json_t *object, const amount *sum, bool *whole)
{
    set(object, "tensors", count_of(sum->tensors), whole);
    set(object, "weights", count_of(sum->weights), whole);
    set(object, "elements", count_of(sum->elements), whole);
    set(object, "bytes", count_of(sum->bytes), whole);
}

static json_t *shape_of(unsigned rank, const uint64_t *extents, bool *whole)
{
    json_t *const shape = json_array();
    for (unsigned axis = 0; axis < rank; axis++)
        *whole = json_array_append_new(shape, count_of(extents[axis])) == 0 && *whole;
    return shape;
}

/* ---- the model as a whole ---- */

static json_t *describe_files(const organ_inspect_lists *lists, const organ_model *model, bool *whole)
{
    json_t *const files = json_array();
    for (size_t k = 0; k < model->file_count && organ_inspect_has_room(lists, "files", k); k++) {
        const organ_model_file *const file = &model->files[k];
        json_t *const row = json_object();
        set(row, "name", organ_document_string(file->name), whole);
        set(row, "bytes", count_of(file->size), whole);
        set(row, "header_bytes", count_of(file->data_offset), whole);
        set(row, "tensors", count_of(file->count), whole);
        *whole = json_array_append_new(files, row) == 0 && *whole;
    }
    return files;
}

static json_t *describe_model(const organ_model *model, const part *parts, bool *whole)
{
    json_t *const object = json_object();
    amount all = {0};
    uint64_t size = 0;
    for (size_t k = 0; k < model->tensor_count; k++)
        add(&all, &parts[k]);
    for (size_t k = 0; k < model->file_count; k++)
        size += model->files[k].size;
    set(object, "name", organ_name_json(model->path), whole);
    set(object, "format", json_string(model->format), whole);
    set(object, "architecture", organ_document_string(model->config.architecture), whole);
    set(object, "model_type", organ_document_string(model->config.model_type), whole);
    set(object, "files", count_of(model->file_count), whole);
    set(object, "file_bytes", count_of(size), whole);
    set_amount(object, &all, whole);
    set(object, "index", model->index ? organ_document_string(model->index) : json_null(), whole);
    return object;
}

static json_t *describe_config(const organ_hf_config *config, bool *whole)
{
    if (!config->present)
        return json_null();
    const struct {
        const char *key;
        int64_t value;
    } facts[] = {{"num_hidden_layers", config->num_hidden_layers},
                 {"hidden_size", config->hidden_size},
                 {"intermediate_size", config->intermediate_size},
                 {"num_attention_heads", config->num_attention_heads},
                 {"num_key_value_heads", config->num_key_value_heads},
                 {"head_dim", config->head_dim},
                 {"num_experts", config->num_experts},
                 {"vocab_size", config->vocab_size}};
    json_t *const object = json_object();
    for (size_t k = 0; k < sizeof facts / sizeof *facts; k++)
        if (facts[k].value >= 0)
            set(object, facts[k].key, json_integer(facts[k].value), whole);
    set(object, "tie_word_embeddings", json_boolean(config->tie_word_embeddings), whole);
    if (*config->torch_dtype)
        set(object, "torch_dtype", organ_document_string(config->torch_dtype), whole);
    if (*config->quant_method)
        set(object, "quant_method", organ_document_string(config->quant_method), whole);
    return object;
}

/* ---- roles ---- */

/* Orders parts by their row of the anatomy, companions behind weights, then by shape, so that equal shapes of a role stand together; names
 * do not matter. */
static int by_role_and_shape(const void *a, const void *b)
{
    const part *const x = *(const part *const *)a, *const y = *(const part *const *)b;
    const unsigned row_x = organ_anatomy_row(&x->anatomy), row_y = organ_anatomy_row(&y->anatomy);
    if (row_x != row_y)
        return row_x < row_y ? -1 : 1;
    if (x->weight != y->weight)
        return x->weight ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    for (unsigned axis = 0; axis < x->rank; axis++)
        if (x->shape[axis] != y->shape[axis])
            return x->shape[axis] > y->shape[axis] ? -1 : 1;
    return 0;
}

static void append_shape(json_t *shapes, const part *one, uint64_t tensors, bool *whole)
{
    json_t *const row = json_object();
    set(row, "shape", shape_of(one->rank, one->shape, whole), whole);
    set(row, "tensors", count_of(tensors), whole);
    *whole = json_array_append_new(shapes, row) == 0 && *whole;
}

/* One role: parts[0 .. count), all of it and in order of their shapes. Shapes and types are those of its weights. */
static json_t *describe_role(const organ_inspect_lists *lists, const part *const *parts, size_t count, bool *whole)
{
    const organ_role_info *const role = organ_role_describe(parts[0]->anatomy.role);
    json_t *const object = json_object(), *const dtypes = json_array(), *const shapes = json_array();
    bool seen[ORGAN_DTYPE_COUNT] = {false};
    amount sum = {0};
    size_t first = 0;
    for (size_t k = 0; k < count; k++) {
        add(&sum, parts[k]);
        seen[parts[k]->tensor->dtype] |= parts[k]->weight;
        if (parts[k]->weight && (k + 1 == count || by_role_and_shape(&parts[k], &parts[k + 1]) != 0)) {
            if (organ_inspect_has_room(lists, "shapes", json_array_size(shapes)))
                append_shape(shapes, parts[k], k + 1 - first, whole);
            first = k + 1;
        }
    }
    for (size_t d = 0; d < ORGAN_DTYPE_COUNT; d++)
        if (seen[d])
            *whole = json_array_append_new(dtypes, json_string(organ_dtype_describe((organ_dtype)d)->name)) == 0 && *whole;
    set(object, "role", json_string(organ_anatomy_role_name(&parts[0]->anatomy)), whole);
    set(object, "group", json_string(organ_group_name(role->group)), whole);
    set(object, "projection", json_boolean(role->projection), whole);
    set_amount(object, &sum, whole);
    set(object, "dtypes", dtypes, whole);
    set(object, "shapes", shapes, whole);
    return object;
}

static json_t *describe_roles(const organ_inspect_lists *lists, const part **parts, size_t count, bool *whole)
{
    json_t *const roles = json_array();
    qsort(parts, count, sizeof *parts, by_role_and_shape);
    for (size_t first = 0, k = 0; k < count; k++)
        if (k + 1 == count || organ_anatomy_row(&parts[k]->anatomy) != organ_anatomy_row(&parts[k + 1]->anatomy)) {
            json_t *const role = describe_role(lists, parts + first, k + 1 - first, whole);
            *whole = json_array_append_new(roles, role) == 0 && *whole;
            first = k + 1;
        }
    return roles;
}

/* Elements are stored ones here: words of packed weights, and scales. */
static json_t *describe_dtypes(const part *const *parts, size_t count, bool *whole)
{
    amount sums[ORGAN_DTYPE_COUNT] = {{0}};
    json_t *const dtypes = json_array();
    for (size_t k = 0; k < count; k++) {
        amount *const sum = &sums[parts[k]->tensor->dtype];
        sum->tensors++;
        sum->elements += parts[k]->tensor->elements;
        sum->bytes += parts[k]->tensor->bytes;
    }
    for (size_t d = 0; d < ORGAN_DTYPE_COUNT; d++) {
        if (sums[d].tensors == 0)
            continue;
        json_t *const row = json_object();
        set(row, "dtype", json_string(organ_dtype_describe((organ_dtype)d)->name), whole);
        set(row, "tensors", count_of(sums[d].tensors), whole);
        set(row, "elements", count_of(sums[d].elements), whole);
        set(row, "bytes", count_of(sums[d].bytes), whole);
        *whole = json_array_append_new(dtypes, row) == 0 && *whole;
    }
    return dtypes;
}

/* Neighbours of one layer and role become one row: the memory of the others is never touched. */
static json_t *describe_layers(const organ_inspect_lists *lists, const part *const *parts, size_t count)
{
    organ_layer_amount *const rows = calloc(count + 1, sizeof *rows);
    size_t used = 0;
    for (size_t k = 0; rows && k < count; k++) {
        const organ_anatomy *const anatomy = &parts[k]->anatomy, *const before = used ? &rows[used - 1].anatomy : NULL;
        if (anatomy->layer >= 0 && !organ_inspect_has_room(lists, "by_layer", (size_t)anatomy->layer))
            continue;
        if (!before || before->layer != anatomy->layer || organ_anatomy_row(before) != organ_anatomy_row(anatomy))
            rows[used++] = (organ_layer_amount){.anatomy = *anatomy};
        rows[used - 1].elements += parts[k]->elements;
        rows[used - 1].bytes += parts[k]->tensor->bytes;
    }
    json_t *const layers = organ_by_layer_json(rows, used, false);
    free(rows);
    return layers;
}

/* What was counted, and how much of it pruning works on by default. */
static void describe_totals(json_t *report, const part *const *parts, size_t count, bool *whole)
{
    amount all = {0}, target = {0};
    uint64_t prunable = 0;
    for (size_t k = 0; k < count; k++) {
        add(&all, parts[k]);
        if (organ_role_describe(parts[k]->anatomy.role)->projection) {
            add(&target, parts[k]);
            prunable += parts[k]->weight && organ_target_is_float(parts[k]->tensor);
        }
    }
    json_t *const totals = json_object(), *const projections = json_object();
    set_amount(totals, &all, whole);
    set(report, "totals", totals, whole);
    set_amount(projections, &target, whole);
    set(projections, "prunable_tensors", count_of(prunable), whole);
    const double percent = all.elements ? 100.0 * (double)target.elements / (double)all.elements : 0.0;
    set(projections, "percent_of_elements", json_real(round(percent * 1e4) / 1e4), whole);
    set(report, "projections", projections, whole);
}

/* ---- faults ---- */

static void complain(json_t *problems, bool *whole, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void complain(json_t *problems, bool *whole, const char *format, ...)
{
    char sentence[256];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    *whole = json_array_append_new(problems, organ_document_string(sentence)) == 0 && *whole;
}

/* The number of the first layer below `layers` that no weight belongs to, or `layers`. A bit field is enough: real models have hundreds. */
static int64_t missing_layer(const organ_weights *weights, int64_t layers)
{
    enum { MOST = 65536 };
    static const size_t bits = 8;
    unsigned char seen[MOST / 8] = {0};
    for (size_t k = 0; k < weights->count; k++) {
        const int32_t layer = weights->weights[k].anatomy.layer;
        if (layer >= 0 && layer < MOST && weights->weights[k].anatomy.role != ORGAN_ROLE_OTHER)
            seen[(size_t)layer / bits] |= (unsigned char)(1u << ((size_t)layer % bits));
    }
    int64_t layer = 0;
    while (layer < layers && layer < MOST && seen[(size_t)layer / bits] >> ((size_t)layer % bits) & 1)
        layer++;
    return layer;
}

/* Embeddings of positions and of token types have rows of their own number. */
static bool is_of_tokens(const organ_tensor *tensor)
{
    return strcmp(tensor->name, "token_types.weight") != 0 && strcmp(tensor->name, "position_embd.weight") != 0;
}

/* Only what no loader could accept: conventions of one architecture are not faults of another. */
static void check_against_config(const organ_inspect_lists *lists, const organ_model *model, const organ_weights *weights, json_t *problems,
                                 bool *whole)
{
    const organ_hf_config *const config = &model->config;
    const int64_t missing = missing_layer(weights, config->num_hidden_layers);
    const char *const layers = model->gguf ? "block_count" : "num_hidden_layers";
    const char *const place = model->gguf ? "GGUF metadata" : "config.json";
    if (missing < config->num_hidden_layers)
        complain(problems, whole, "%s: %s is %lld, but no known tensor belongs to layer %lld", place, layers,
                 (long long)config->num_hidden_layers, (long long)missing);
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        if (tensor->anatomy.role == ORGAN_ROLE_EMBED && tensor->rank == 2 && config->vocab_size >= 0 && is_of_tokens(tensor) &&
            tensor->shape[0] < (uint64_t)config->vocab_size && organ_inspect_has_room(lists, "problems", json_array_size(problems)))
            complain(problems, whole, "%s: tensor '%.128s' has %llu rows, but the vocabulary in %s has %lld",
                     model->files[tensor->file].name, tensor->name, (unsigned long long)tensor->shape[0], place,
                     (long long)config->vocab_size);
    }
}

/* `weights` is NULL if they could not be found, which `fault` explains. */
static json_t *describe_problems(const organ_inspect_lists *lists, const organ_model *model, const organ_weights *weights,
                                 const char *fault, bool *whole)
{
    json_t *const problems = json_array();
    if (!weights)
        *whole = json_array_append_new(problems, organ_document_string(fault)) == 0 && *whole;
    for (size_t k = 0; k < model->problem_count; k++)
        *whole = json_array_append_new(problems, organ_document_string(model->problems[k])) == 0 && *whole;
    if ((model->whole_directory || model->gguf) && model->config.present && weights)
        check_against_config(lists, model, weights, problems, whole);
    return problems;
}

static json_t *describe_warnings(const organ_model *model, bool *whole)
{
    json_t *const warnings = json_array();
    for (size_t k = 0; k < model->warning_count; k++)
        *whole = json_array_append_new(warnings, organ_document_string(model->warnings[k])) == 0 && *whole;
    return warnings;
}

/* ---- single tensors ---- */

json_t *organ_inspect_tensor(const organ_tensor *tensor, const char *file)
{
    json_t *const row = json_object();
    bool all = row != NULL, *const whole = &all;
    set(row, "name", json_string(tensor->name), whole);
    set(row, "dtype", json_string(organ_dtype_describe(tensor->dtype)->name), whole);
    set(row, "shape", shape_of(tensor->rank, tensor->shape, whole), whole);
    set(row, "elements", count_of(tensor->elements), whole);
    set(row, "bytes", count_of(tensor->bytes), whole);
    set(row, "role", json_string(organ_anatomy_role_name(&tensor->anatomy)), whole);
    set(row, "group", json_string(organ_group_name(tensor->anatomy.group)), whole);
    set(row, "layer", tensor->anatomy.layer < 0 ? json_null() : json_integer(tensor->anatomy.layer), whole);
    set(row, "expert", tensor->anatomy.expert < 0 ? json_null() : json_integer(tensor->anatomy.expert), whole);
    set(row, "file", organ_document_string(file), whole);
    set(row, "offset", count_of(tensor->offset), whole);
    if (all)
        return row;
    json_decref(row);
    return NULL;
}

static json_t *describe_tensors(const organ_inspect_lists *lists, const organ_model *model, bool *whole)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < model->tensor_count; k++)
        if (organ_inspect_selects(lists, model->tensors[k].name))
            *whole =
                json_array_append_new(rows, organ_inspect_tensor(&model->tensors[k], model->files[model->tensors[k].file].name)) == 0 &&
                *whole;
    return rows;
}

/* ---- the document ---- */

/* What a document is made of. */
typedef struct subject {
    organ_inspect_lists lists;
    const organ_model *model;
    json_t *quantization, *problems; /* what there is to tell of the weights */
    const part *parts;               /* of all tensors */
    const part **chosen;             /* of those that are counted */
    size_t count;
} subject;

static json_t *make_report(const subject *s, bool *whole)
{
    json_t *const report = json_object(), *const run = json_object();
    set(report, "schema", json_string("organ.inspect/1"), whole);
    set(report, "organ", json_string(ORGAN_VERSION), whole);
    set(report, "model", describe_model(s->model, s->parts, whole), whole);
    set(report, "config", describe_config(&s->model->config, whole), whole);
    set(report, "files", describe_files(&s->lists, s->model, whole), whole);
    set(report, "match", s->lists.match ? organ_document_string(s->lists.match) : json_null(), whole);
    describe_totals(report, s->chosen, s->count, whole);
    set(report, "dtypes", describe_dtypes(s->chosen, s->count, whole), whole);
    set(report, "roles", describe_roles(&s->lists, s->chosen, s->count, whole), whole);
    set(report, "by_layer", describe_layers(&s->lists, s->chosen, s->count), whole);
    set(report, "quantization", json_incref(s->quantization), whole);
    set(report, "problems", json_incref(s->problems), whole);
    set(report, "warnings", describe_warnings(s->model, whole), whole);
    if (s->lists.tensors)
        set(report, "tensors", describe_tensors(&s->lists, s->model, whole), whole);
    if (s->lists.most)
        set(report, "cut", json_incref(s->lists.cut), whole);
    set(run, "model", organ_document_string(s->model->path), whole);
    set(report, "run", run, whole);
    return report;
}

/* NULL without memory. */
static json_t *report_of(subject *s, organ_inspect_part *parts)
{
    s->parts = parts;
    s->chosen = calloc(s->model->tensor_count + 1, sizeof *s->chosen);
    bool whole = parts && s->chosen && s->quantization && s->problems && s->lists.cut;
    for (size_t k = 0; whole && k < s->model->tensor_count; k++)
        if (organ_inspect_selects(&s->lists, s->model->tensors[k].name))
            s->chosen[s->count++] = &parts[k];
    json_t *made = whole ? make_report(s, &whole) : NULL;
    if (!whole) {
        json_decref(made);
        made = NULL;
    }
    free(parts);
    free(s->chosen);
    return made;
}

/* Every tensor is a weight of its own. Such weights are let go before the report is made: of a model of many small tensors they take half
 * of all memory. */
static bool are_tensors(const organ_model *model, const organ_weights *weights)
{
    return weights && weights->packed == 0 && weights->count == model->tensor_count;
}

/* `weights` is NULL if they could not be found, which `fault` explains; they are freed. */
static json_t *describe(subject *s, organ_weights *weights, const char *fault)
{
    bool whole = true;
    s->lists.cut = json_array();
    s->quantization = organ_inspect_weights(&s->lists, s->model, weights, &whole);
    s->problems = describe_problems(&s->lists, s->model, weights, fault, &whole);
    if (are_tensors(s->model, weights)) {
        organ_weights_free(weights);
        weights = NULL;
    }
    json_t *const made = whole ? report_of(s, organ_inspect_parts_of(s->model, weights)) : NULL;
    organ_weights_free(weights);
    json_decref(s->quantization);
    json_decref(s->problems);
    json_decref(s->lists.cut);
    return made;
}

organ_status organ_inspect_model(const organ_inspect_options *options, const organ_model *model, json_t **report, organ_error *error)
{
    organ_error fault = {0};
    organ_weights *weights;
    *report = NULL;
    if (organ_weights_find(model, &weights, &fault) != ORGAN_OK && fault.status != ORGAN_BAD_INPUT) {
        *error = fault;
        return fault.status;
    }
    subject s = {.lists = {.match = options->match, .tensors = options->tensors, .most = options->most}, .model = model};
    *report = describe(&s, weights, fault.message);
    if (!*report)
        return organ_fail(error, ORGAN_IO, "%s: no memory for the report", model->path);
    const json_t *const problems = json_object_get(*report, "problems");
    const size_t faults = json_array_size(problems);
    if (faults == 0)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s%s", model->path, json_string_value(json_array_get(problems, 0)),
                      faults > 1 ? " (and more; the report lists every problem)" : "");
}

organ_status organ_inspect(const organ_inspect_options *options, json_t **report, organ_error *error)
{
    const organ_memory_work work = organ_memory_work_begin();
    organ_model *model = NULL;
    *report = NULL;
    if (organ_model_open_with(options->model, options->access, &model, error) == ORGAN_OK)
        organ_inspect_model(options, model, report, error);
    organ_model_close(model);
    return organ_memory_work_end(&work, report, options->model, error);
}
