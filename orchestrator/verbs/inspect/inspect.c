/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/inspect/inspect_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/architecture/sizes.h"
#include "formats/base/format_rest.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/readers/readers.h"

#include <math.h>
#include <organ/inspect.h>
#include <organ/models.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef organ_inspect_part inspect_part;

typedef struct amount {
    uint64_t tensors;           /* number of tensors */
    uint64_t weights, elements; /* weights whose values or codes are among them, and elements of these weights */
    uint64_t bytes;             /* stored bytes of all tensors */
} amount;

static void add_amount(amount *sum, const inspect_part *one)
{
    sum->tensors++;
    sum->weights += one->weight;
    sum->elements += one->elements;
    sum->bytes += one->tensor->bytes;
}

/* Sets the four members of an amount. */
#define SET_AMOUNT(sum)                                                                                                \
    SET_COUNT("tensors", (sum).tensors), SET_COUNT("weights", (sum).weights), SET_COUNT("elements", (sum).elements),   \
        SET_COUNT("bytes", (sum).bytes)

/* ---- the model as a whole ---- */

static json_t *describe_files(const organ_inspect_lists *lists, const organ_model *model)
{
    json_t *const files = json_array();
    for (size_t k = 0; k < model->file_count && organ_inspect_has_room(lists, "files", k); k++) {
        const organ_model_file *const file = &model->files[k];
        json_array_append_new(files, ORGAN_OBJECT(SET_BYTES("name", file->name), SET_COUNT("bytes", file->size),
                                                  SET_COUNT("header_bytes", file->data_offset),
                                                  SET_COUNT("tensors", file->count)));
    }
    return files;
}

static json_t *describe_model(const organ_model *model, const inspect_part *parts)
{
    amount all = {0};
    uint64_t size = 0;
    for (size_t k = 0; k < model->tensor_count; k++)
        add_amount(&all, &parts[k]);
    for (size_t k = 0; k < model->file_count; k++)
        size += model->files[k].size;
    return ORGAN_OBJECT(SET("name", organ_name_json(model->path)), SET_TEXT("format", model->format),
                        SET_BYTES("architecture", model->config.architecture),
                        SET_BYTES("model_type", model->config.model_type), SET_COUNT("files", model->file_count),
                        SET_COUNT("file_bytes", size), SET_AMOUNT(all), SET_BYTES_OF("index", model->index));
}

static json_t *describe_config(const organ_hf_config *config)
{
    if (!config->present)
        return json_null();
    json_t *const described = json_object();
    for (size_t k = 0; k < ORGAN_SIZES; k++)
        if (organ_size_value(&organ_sizes[k], config) >= 0)
            ORGAN_ADD(described, SET(organ_sizes[k].member, json_integer(organ_size_value(&organ_sizes[k], config))));
    ORGAN_ADD(described, SET_FLAG("tie_word_embeddings", config->tie_word_embeddings),
              SET_IF(*config->torch_dtype, "torch_dtype", organ_document_string(config->torch_dtype)),
              SET_IF(*config->quant_method, "quant_method", organ_document_string(config->quant_method)));
    return described;
}

/* ---- roles ---- */

/* Within a role weights come before companions, fewer axes before more, and larger shapes before smaller ones, so
 * that equal shapes of a role are adjacent. Names do not matter. */
static int by_role_and_shape(const void *a, const void *b)
{
    const inspect_part *const x = *(const inspect_part *const *)a, *const y = *(const inspect_part *const *)b;
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

/* `parts` are all parts of the role, in the order of by_role_and_shape. "shapes" and "dtypes" describe only the
 * weights among them; their companions count in the sums. */
static json_t *describe_role(const organ_inspect_lists *lists, const inspect_part *const *parts, size_t count)
{
    const organ_role_info *const role = organ_role_describe(parts[0]->anatomy.role);
    json_t *const dtypes = json_array(), *const shapes = json_array();
    bool seen[ORGAN_DTYPE_COUNT] = {false};
    amount sum = {0};
    size_t first = 0;
    for (size_t k = 0; k < count; k++) {
        add_amount(&sum, parts[k]);
        seen[parts[k]->tensor->dtype] |= parts[k]->weight;
        if (parts[k]->weight && (k + 1 == count || by_role_and_shape(&parts[k], &parts[k + 1]) != 0)) {
            if (organ_inspect_has_room(lists, "shapes", json_array_size(shapes)))
                json_array_append_new(shapes,
                                      ORGAN_OBJECT(SET("shape", organ_counts_json(parts[k]->rank, parts[k]->shape)),
                                                   SET_COUNT("tensors", k + 1 - first)));
            first = k + 1;
        }
    }
    for (size_t d = 0; d < ORGAN_DTYPE_COUNT; d++)
        if (seen[d])
            json_array_append_new(dtypes, json_string(organ_dtype_describe((organ_dtype)d)->name));
    return ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_role_name(&parts[0]->anatomy)),
                        SET_TEXT("group", organ_group_name(role->group)), SET_FLAG("projection", role->projection),
                        SET_AMOUNT(sum), SET("dtypes", dtypes), SET("shapes", shapes));
}

static json_t *describe_roles(const organ_inspect_lists *lists, const inspect_part **parts, size_t count)
{
    json_t *const roles = json_array();
    qsort(parts, count, sizeof *parts, by_role_and_shape);
    for (size_t first = 0, k = 0; k < count; k++)
        if (k + 1 == count || organ_anatomy_row(&parts[k]->anatomy) != organ_anatomy_row(&parts[k + 1]->anatomy)) {
            json_array_append_new(roles, describe_role(lists, parts + first, k + 1 - first));
            first = k + 1;
        }
    return roles;
}

static json_t *dtype_json(const void *sums, size_t d)
{
    const amount *const sum = (const amount *)sums + d;
    if (sum->tensors == 0)
        return NULL;
    return ORGAN_OBJECT(SET_DTYPE("dtype", (organ_dtype)d), SET_COUNT("tensors", sum->tensors),
                        SET_COUNT("elements", sum->elements), SET_COUNT("bytes", sum->bytes));
}

/* "elements" counts the elements of the stored tensors: words of packed codes, and scales. */
static json_t *describe_dtypes(const inspect_part *const *parts, size_t count)
{
    amount sums[ORGAN_DTYPE_COUNT] = {{0}};
    for (size_t k = 0; k < count; k++) {
        amount *const sum = &sums[parts[k]->tensor->dtype];
        sum->tensors++;
        sum->elements += parts[k]->tensor->elements;
        sum->bytes += parts[k]->tensor->bytes;
    }
    return organ_json_rows(ORGAN_DTYPE_COUNT, dtype_json, sums);
}

/* Consecutive parts of one layer and role share an element of `rows`, which therefore needs few pages of memory;
 * organ_by_layer_json adds up elements of the same layer and role. */
static json_t *describe_layers(const organ_inspect_lists *lists, const inspect_part *const *parts, size_t count)
{
    ORGAN_OWNED_ROWS organ_layer_amount *const rows = organ_rows_take(count + 1, sizeof *rows);
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
    return organ_by_layer_json(rows, used, /*grafted=*/false);
}

/* "projections" has the totals of what pruning changes by default; "prunable_tensors" is the number of projections
 * that are stored as floats. */
static void describe_totals(json_t *report, const inspect_part *const *parts, size_t count)
{
    amount all = {0}, target = {0};
    uint64_t prunable = 0;
    for (size_t k = 0; k < count; k++) {
        add_amount(&all, parts[k]);
        if (organ_role_describe(parts[k]->anatomy.role)->projection) {
            add_amount(&target, parts[k]);
            prunable += parts[k]->weight && organ_target_is_float(parts[k]->tensor);
        }
    }
    const double percent = all.elements ? 100.0 * (double)target.elements / (double)all.elements : 0.0;
    ORGAN_ADD(report, SET("totals", ORGAN_OBJECT(SET_AMOUNT(all))),
              SET("projections", ORGAN_OBJECT(SET_AMOUNT(target), SET_COUNT("prunable_tensors", prunable),
                                              SET_REAL("percent_of_elements", round(percent * 1e4) / 1e4))));
}

/* ---- faults ---- */

static void note_problem(json_t *problems, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note_problem(json_t *problems, const char *format, ...)
{
    char sentence[256];
    ORGAN_FORMAT_REST(sentence, format);
    json_array_append_new(problems, organ_document_string(sentence));
}

/* Returns `layers` if every layer has a weight, or if no weight has a layer number. Weights of unknown role count
 * only if no layer has a weight of a known role: the anatomy then lacks the names of this architecture. Layers from
 * MAX on are not examined: real models have hundreds of layers. */
static int64_t missing_layer(const organ_weights *weights, int64_t layers)
{
    enum { MAX = 65536 };
    static const size_t bits = 8;
    unsigned char seen[2][MAX / 8] = {{0}}; /* by weights of unknown and of known roles */
    bool any[2] = {false, false};
    for (size_t k = 0; k < weights->count; k++) {
        const int32_t layer = weights->weights[k].anatomy.layer;
        const bool known = weights->weights[k].anatomy.role != ORGAN_ROLE_OTHER;
        any[known] |= layer >= 0;
        if (layer >= 0 && layer < MAX)
            seen[known][(size_t)layer / bits] |= (unsigned char)(1u << ((size_t)layer % bits));
    }
    int64_t layer = 0;
    while (layer < layers && layer < MAX && seen[any[1]][(size_t)layer / bits] >> ((size_t)layer % bits) & 1)
        layer++;
    return any[0] || any[1] ? layer : layers;
}

/* Embeddings of token types have a row for each type, and the per-layer embeddings of Gemma 3n have their own
 * vocabulary (vocab_size_per_layer_input). */
static bool is_of_tokens(const organ_tensor *tensor)
{
    return strcmp(tensor->name, "token_types.weight") != 0 && !strstr(tensor->name, "embed_tokens_per_layer.weight") &&
           !strstr(tensor->name, "per_layer_token_embd.weight");
}

/* Only contradictions that no loader could accept are reported, not conventions that only some architectures follow. */
static void check_against_config(const organ_inspect_lists *lists, const organ_model *model,
                                 const organ_weights *weights, json_t *problems)
{
    const organ_hf_config *const config = &model->config;
    const int64_t missing = missing_layer(weights, config->num_hidden_layers);
    const char *const layers = model->gguf ? "block_count" : "num_hidden_layers";
    const char *const place = model->gguf ? "GGUF metadata" : "config.json";
    if (missing < config->num_hidden_layers && !organ_mtp_is_alone(model))
        note_problem(problems, "%s: %s is %lld, but no known tensor belongs to layer %lld", place, layers,
                     (long long)config->num_hidden_layers, (long long)missing);
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        if (tensor->anatomy.role == ORGAN_ROLE_EMBED && tensor->rank == 2 && config->vocab_size >= 0 &&
            is_of_tokens(tensor) && tensor->shape[0] < (uint64_t)config->vocab_size &&
            organ_inspect_has_room(lists, "problems", json_array_size(problems)))
            note_problem(problems, "%s: tensor '%.128s' has %llu rows, but the vocabulary in %s has %lld",
                         model->files[tensor->file].name, tensor->name, (unsigned long long)tensor->shape[0], place,
                         (long long)config->vocab_size);
    }
}

/* `fault` is the reason if the weights could not be found (`weights` is NULL). Contradictions are not searched for
 * without config, or if a single safetensors file was opened. */
static json_t *describe_problems(const organ_inspect_lists *lists, const organ_model *model,
                                 const organ_weights *weights, const char *fault)
{
    json_t *const problems = organ_json_texts(weights ? 0 : 1, &fault);
    for (size_t k = 0; k < model->problem_count; k++)
        json_array_append_new(problems, organ_document_string(model->problems[k]));
    if ((model->whole_directory || model->gguf) && model->config.present && weights)
        check_against_config(lists, model, weights, problems);
    return problems;
}

/* ---- single tensors ---- */

json_t *organ_inspect_tensor(const organ_tensor *tensor, const char *file)
{
    const organ_anatomy *const anatomy = &tensor->anatomy;
    return ORGAN_OBJECT(SET_TEXT("name", tensor->name), SET_DTYPE("dtype", tensor->dtype),
                        SET("shape", organ_shape_json(tensor)), SET_COUNT("elements", tensor->elements),
                        SET_COUNT("bytes", tensor->bytes), SET_TEXT("role", organ_anatomy_role_name(anatomy)),
                        SET_TEXT("group", organ_group_name(anatomy->group)), SET_INDEX("layer", anatomy->layer),
                        SET_INDEX("expert", anatomy->expert), SET_BYTES("file", file),
                        SET_COUNT("offset", tensor->offset));
}

/* ---- the document ---- */

typedef struct subject {
    organ_inspect_lists lists;
    const organ_model *model;
    json_t *quantization, *problems, *readers; /* members of the report, made from the weights; NULL: left out */
    const inspect_part *parts;                 /* of all tensors of the model */
    const inspect_part **chosen;               /* the `count` parts whose names match */
    size_t count;
} subject;

static json_t *tensor_json(const void *context, size_t k)
{
    const subject *const s = context;
    const organ_tensor *const tensor = &s->model->tensors[k];
    return organ_inspect_selects(&s->lists, tensor->name, &tensor->anatomy)
               ? organ_inspect_tensor(tensor, s->model->files[tensor->file].name)
               : NULL;
}

/* Names the family of blocks for multi-token prediction; NULL: the model has none, or organ does not know them. */
static json_t *describe_blocks(const organ_model *model)
{
    const organ_mtp_type *const type = organ_mtp_type_of(model->config.model_type);
    size_t tensors = 0;
    for (size_t k = 0; k < model->tensor_count; k++)
        tensors += model->tensors[k].anatomy.role == ORGAN_ROLE_MTP;
    return type && tensors ? ORGAN_OBJECT(SET_TEXT("family", type->name), SET_BYTES_OF("dispute", type->dispute))
                           : NULL;
}

static json_t *make_report(const subject *s)
{
    const organ_model *const model = s->model;
    json_t *const report =
        ORGAN_OBJECT(SET_TEXT("schema", "organ.inspect/1"), SET_TEXT("organ", ORGAN_VERSION),
                     SET("model", describe_model(model, s->parts)), SET("config", describe_config(&model->config)),
                     SET("files", describe_files(&s->lists, model)), SET_BYTES_OF("match", s->lists.match));
    describe_totals(report, s->chosen, s->count);
    /* In this order, because both append to lists.truncated. */
    json_t *const roles = describe_roles(&s->lists, s->chosen, s->count);
    json_t *const layers = describe_layers(&s->lists, s->chosen, s->count);
    json_t *const blocks = describe_blocks(model);
    ORGAN_ADD(report, SET("dtypes", describe_dtypes(s->chosen, s->count)), SET("roles", roles), SET("by_layer", layers),
              SET_IF(blocks, "mtp", blocks), SET("quantization", json_incref(s->quantization)),
              SET("problems", json_incref(s->problems)),
              SET("warnings", organ_json_texts(model->warning_count, (const char *const *)model->warnings)),
              SET_IF(s->lists.tensors, "tensors", organ_json_rows(model->tensor_count, tensor_json, s)),
              SET_IF(s->readers, "readers", json_incref(s->readers)),
              SET_IF(s->lists.max, "cut", json_incref(s->lists.truncated)),
              SET("run", ORGAN_OBJECT(SET_BYTES("model", model->path))));
    return report;
}

/* Frees `parts`, which may be NULL (memory ran out). */
static json_t *make_selected_report(subject *s, organ_inspect_part *parts)
{
    s->parts = parts;
    s->chosen = calloc(s->model->tensor_count + 1, sizeof *s->chosen);
    const bool complete = parts && s->chosen;
    for (size_t k = 0; complete && k < s->model->tensor_count; k++)
        if (organ_inspect_selects(&s->lists, s->model->tensors[k].name, &s->model->tensors[k].anatomy))
            s->chosen[s->count++] = &parts[k];
    json_t *const made = complete ? make_report(s) : NULL;
    organ_rows_free(parts);
    free(s->chosen);
    return made;
}

/* If so, the list of weights contains nothing that the tensors do not show, and inspect_subject frees it before it
 * makes the report: for a model of many small tensors the list needs half of all memory. */
static bool are_tensors(const organ_model *model, const organ_weights *weights)
{
    return weights && weights->packed == 0 && weights->count == model->tensor_count;
}

/* Frees `weights`, which is NULL if the weights could not be found; `fault` is then the reason. */
static json_t *inspect_subject(subject *s, organ_weights *weights, const char *fault)
{
    s->lists.truncated = json_array();
    s->quantization = organ_inspect_weights(&s->lists, s->model, weights);
    s->problems = describe_problems(&s->lists, s->model, weights, fault);
    if (are_tensors(s->model, weights)) {
        organ_weights_free(weights);
        weights = NULL;
    }
    json_t *const made = make_selected_report(s, organ_inspect_parts_of(s->model, weights));
    organ_weights_free(weights);
    ORGAN_DECREF(s->quantization, s->problems, s->lists.truncated);
    return made;
}

/* Frees `weights`. */
static organ_status make_document(subject *s, organ_weights *weights, const char *fault, json_t **report,
                                  organ_error *error)
{
    const organ_report_work work = organ_report_begin(report);
    *report = inspect_subject(s, weights, fault);
    if (!*report)
        organ_fail(error, ORGAN_IO, "%s: no memory for the report", s->model->path);
    return organ_report_end_partial(&work, s->model->path, error);
}

/* If the weights are malformed, the report describes the tensors only. If it lists problems, returns ORGAN_BAD_INPUT
 * with the first one in the message. */
static organ_status inspect_opened(const organ_inspect_options *options, const organ_model *model, json_t **report,
                                   organ_error *error)
{
    organ_error fault = {0};
    organ_weights *weights;
    unsigned wanted;
    *report = NULL;
    if (organ_readers_parse(options->readers, &wanted, error) != ORGAN_OK)
        return error->status;
    if (organ_weights_find(model, &weights, &fault) != ORGAN_OK && fault.status != ORGAN_BAD_INPUT) {
        *error = fault;
        return fault.status;
    }
    organ_selection selection;
    if (organ_selection_parse(options->match, NULL, "match", &selection, error)) {
        organ_weights_free(weights);
        return error->status;
    }
    organ_selection_set_model(&selection, model);
    subject s = {
        .readers = wanted && weights ? organ_inspect_readers(model, weights, wanted, error) : NULL,
        .lists = {.match = options->match, .selection = &selection, .tensors = options->tensors, .max = options->max},
        .model = model};
    if (!error->status)
        make_document(&s, weights, fault.message, report, error);
    else
        organ_weights_free(weights);
    json_decref(s.readers);
    if (!error->status)
        organ_selection_check_used(&selection, "tensor", model->path, error);
    organ_selection_release(&selection);
    if (!error->status && options->match && s.count == 0)
        organ_fail(error, ORGAN_USAGE, "%s: has no tensor that `match` selects", model->path);
    if (error->status) {
        organ_clear_json(report);
        return error->status;
    }
    const json_t *const problems = json_object_get(*report, "problems");
    const size_t faults = json_array_size(problems);
    if (faults == 0)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s%s", model->path, json_string_value(json_array_get(problems, 0)),
                      faults > 1 ? " (and more; the report lists every problem)" : "");
}

organ_status organ_inspect(const organ_inspect_options *options, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_inspect_options, options, report, error, "model", options->opened ? "" : options->model))
        return error->status;
    if (options->opened)
        return inspect_opened(options, options->opened, report, error);
    const organ_report_work work = organ_report_begin(report);
    organ_model *model = NULL;
    if (organ_model_open_with(options->model, options->access, &model, error) == ORGAN_OK)
        inspect_opened(options, model, report, error);
    organ_model_close(model);
    return organ_report_end_partial(&work, options->model, error);
}
