/* SPDX-License-Identifier: MIT
 * Scheme mixed of GGUF: defaults of its options, and several sizes in one call. The measured costs are in a file, so
 * that only the first size measures. */
#include "orchestrator/verbs/quantize/quantize_source.h"

#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST ((size_t)ORGAN_QUANTIZE_SIZES)

typedef struct sizes_one {
    char *text;   /* a word of --target-size */
    char *output; /* path of its file; NULL: none was given */
    uint64_t bytes;
} sizes_one;

typedef struct sizes_list {
    sizes_one of[MOST];
    size_t count;
    char *file; /* file of the costs; NULL: the one of the options */
} sizes_list;

static void sizes_release(sizes_list *sizes)
{
    for (size_t k = 0; k < sizes->count; k++) {
        free(sizes->of[k].text);
        free(sizes->of[k].output);
    }
    free(sizes->file);
}

static int by_bytes(const void *a, const void *b)
{
    const sizes_one *const x = a, *const y = b;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

char *organ_quantize_name_beside(const char *path, const char *end)
{
    size_t length = organ_path_length(path);
    organ_cut_end(path, &length, ".gguf");
    return organ_format("%.*s%s", (int)length, path, end);
}

/* The name of one of several outputs is NAME-SIZE.gguf; a single one has the name that was given. */
static organ_status name_output(sizes_one *one, const char *output, bool single, organ_error *error)
{
    char *const end = single ? NULL : organ_format("-%s.gguf", one->text);
    if (single || end)
        one->output = single ? strdup(output) : organ_quantize_name_beside(output, end);
    free(end);
    return one->output ? ORGAN_OK : organ_fail_memory(error, output);
}

static organ_status add_size(sizes_list *sizes, const char *list, const char *text, size_t length, organ_error *error)
{
    if (sizes->count == MOST)
        return organ_fail(error, ORGAN_USAGE, "--target-size has more than %zu sizes", MOST);
    sizes_one *const one = &sizes->of[sizes->count++];
    *one = (sizes_one){.text = strndup(text, length)};
    if (!one->text)
        return organ_fail_memory(error, text);
    if (organ_quantity_parse(one->text, &one->bytes) && one->bytes)
        return ORGAN_OK;
    return organ_fail(
        error, ORGAN_USAGE,
        "--target-size '%s': '%s' is not a size: give bytes, as in 12GB, or several sizes, as in 8GB,12GB", list,
        one->text);
}

/* Sizes ascend, so that a size below that of the smallest types is refused before anything is written. */
static organ_status list_sizes(const organ_quantize_options *o, sizes_list *sizes, organ_error *error)
{
    for (const char *at = o->target_size; at && !error->status; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        add_size(sizes, o->target_size, at, strcspn(at, ","), error);
    qsort(sizes->of, sizes->count, sizeof *sizes->of, by_bytes);
    for (size_t k = 1; k < sizes->count && !error->status; k++)
        if (sizes->of[k].bytes == sizes->of[k - 1].bytes)
            return organ_fail(error, ORGAN_USAGE, "--target-size %s: %s and %s are the same size", o->target_size,
                              sizes->of[k - 1].text, sizes->of[k].text);
    return error->status;
}

static organ_status name_outputs(const organ_quantize_options *o, sizes_list *sizes, organ_error *error)
{
    for (size_t k = 0; k < sizes->count && o->write.output && !error->status; k++)
        name_output(&sizes->of[k], o->write.output, sizes->count == 1, error);
    return error->status;
}

organ_status organ_quantize_outputs_list(const organ_quantize_options *o, organ_quantize_outputs *outputs,
                                         organ_error *error)
{
    const char *const output = o->write.output;
    sizes_list sizes = {0};
    *outputs = (organ_quantize_outputs){0};
    const bool several = o->target_size && strchr(o->target_size, ',');
    if (several && list_sizes(o, &sizes, error) == ORGAN_OK && name_outputs(o, &sizes, error) == ORGAN_OK)
        for (; outputs->count < sizes.count; outputs->count++) {
            outputs->of[outputs->count] = sizes.of[outputs->count].output;
            sizes.of[outputs->count].output = NULL;
        }
    sizes_release(&sizes);
    if (!error->status && !several && !(outputs->of[outputs->count++] = strdup(output)))
        organ_fail_memory(error, output);
    if (!error->status && o->repair_rank &&
        !(outputs->of[outputs->count++] = organ_quantize_name_beside(output, "-adapter")))
        organ_fail_memory(error, output);
    return error->status;
}

void organ_quantize_outputs_release(organ_quantize_outputs *outputs)
{
    for (size_t k = 0; k < outputs->count; k++)
        free(outputs->of[k]);
    *outputs = (organ_quantize_outputs){0};
}

organ_status organ_quantize_sizes_check(const organ_quantize_options *o, organ_error *error)
{
    sizes_list sizes = {0};
    list_sizes(o, &sizes, error);
    sizes_release(&sizes);
    return error->status;
}

/* All names are checked before the first measurement. */
static organ_status check_outputs(const organ_quantize_options *o, const sizes_list *sizes, organ_error *error)
{
    for (size_t k = 0; k < sizes->count && sizes->count > 1; k++)
        if (sizes->of[k].output && !o->write.force && !o->write.resume && !o->write.dry_run &&
            access(sizes->of[k].output, F_OK) == 0)
            return organ_fail(error, ORGAN_USAGE,
                              "%s: exists already; --resume keeps it and makes the sizes that are missing, --force "
                              "replaces it",
                              sizes->of[k].output);
    return ORGAN_OK;
}

/* The text makes gptq the default, and the costs are always kept in a file: NAME.allocation.json. */
static organ_status fill_in(organ_quantize_options *o, const organ_quantize_source *source, sizes_list *sizes,
                            organ_error *error)
{
    const char *const model = source ? source->model : o->model, *const beside =
                                                                     o->write.output ? o->write.output : model;
    o->allocate.allocate = o->allocate.allocate ? o->allocate.allocate : "global";
    if (!o->method && o->calibration.text)
        o->method = "gptq";
    if (!o->allocate.file && !(o->allocate.file = sizes->file = organ_quantize_name_beside(beside, ".allocation.json")))
        return organ_fail_memory(error, o->model);
    return ORGAN_OK;
}

/* A run that is resumed has finished the sizes whose files exist. */
static bool is_made(const organ_quantize_options *o, const sizes_one *one, const organ_progress *progress)
{
    if (!o->write.resume || access(one->output, F_OK) != 0)
        return false;
    organ_progress_note_once(progress, "%s: exists already, so size %s is not made again", one->output, one->text);
    return true;
}

static json_t *sizes_json(const organ_quantize_options *o, const organ_quantize_source *source, json_t *reports)
{
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.quantize_sizes/1"),
                        SET_BYTES("model", organ_path_name(source ? source->model : o->model)),
                        SET_TEXT("target_size", o->target_size), SET_FLAG("dry_run", o->write.dry_run),
                        SET("outputs", reports));
}

static organ_status make_sizes(const organ_quantize_options *o, const sizes_list *sizes,
                               const organ_quantize_source *source, organ_quantize_one *run, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    json_t *const reports = json_array();
    for (size_t k = 0; k < sizes->count && !error->status; k++) {
        organ_quantize_options one = *o;
        json_t *made = NULL;
        one.target_size = sizes->of[k].text;
        one.write.output = sizes->of[k].output;
        if (sizes->count > 1 && one.write.output && is_made(&one, &sizes->of[k], progress))
            continue;
        run(&one, source, engine, progress, &made, error);
        if (sizes->count == 1)
            *report = json_incref(made);
        else if (made && (json_array_append(reports, made) != 0 ||
                          json_object_set_new(made, "output", json_string(organ_path_name(one.write.output))) != 0))
            organ_fail_memory(error, o->model);
        json_decref(made);
    }
    if (sizes->count > 1 && !error->status && !(*report = sizes_json(o, source, json_incref(reports))))
        organ_fail_memory(error, o->model);
    json_decref(reports);
    return error->status;
}

organ_status organ_quantize_sizes(const organ_quantize_options *options, const organ_quantize_source *source,
                                  organ_quantize_one *one, const organ_engine *engine, const organ_progress *progress,
                                  json_t **report, organ_error *error)
{
    organ_quantize_options o = *options;
    sizes_list sizes = {0};
    if (fill_in(&o, source, &sizes, error) == ORGAN_OK && list_sizes(&o, &sizes, error) == ORGAN_OK &&
        name_outputs(&o, &sizes, error) == ORGAN_OK && check_outputs(&o, &sizes, error) == ORGAN_OK) {
        if (sizes.count)
            make_sizes(&o, &sizes, source, one, engine, progress, report, error);
        else
            one(&o, source, engine, progress, report, error);
    }
    sizes_release(&sizes);
    return error->status;
}
