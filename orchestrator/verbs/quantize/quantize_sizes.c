/* SPDX-License-Identifier: MIT
 * Scheme mixed of GGUF: defaults of its options, and several sizes in one call. The measured costs are in a file, so
 * that only the first size measures. OUT.sizes.json records of which inputs and options each size was made.
 *
 * Ranks: rank 0 writes the record, and all ranks must have read it before it changes. */
#include "orchestrator/verbs/quantize/quantize_verb.h"

#include "formats/base/text.h"
#include "orchestrator/output/publish.h"
#include "orchestrator/output/run_inputs.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/compute.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST ((size_t)ORGAN_QUANTIZE_SIZES) /* sizes of one call */

typedef struct sizes_one {
    char *text;   /* a word of --target-size */
    char *output; /* path of its file; NULL: none was given */
    uint64_t bytes;
} sizes_one;

typedef struct sizes_list {
    sizes_one of[MOST];
    size_t count;
    char *file;              /* file of the costs; NULL: the one of the options */
    char *record;            /* path of OUT.sizes.json; NULL: there is one size, or nothing is written */
    organ_run_inputs inputs; /* of the record */
    bool begun;              /* this run has begun the record, and no size is in it yet */
} sizes_list;

static void sizes_release(sizes_list *sizes)
{
    for (size_t k = 0; k < sizes->count; k++)
        ORGAN_FREE_ARRAYS(sizes->of[k].text, sizes->of[k].output);
    ORGAN_FREE_ARRAYS(sizes->file, sizes->record);
    organ_run_inputs_release(&sizes->inputs);
}

static int by_bytes(const void *a, const void *b)
{
    const sizes_one *const x = a, *const y = b;
    return ORGAN_ORDER(x->bytes, y->bytes);
}

/* The name of one of several outputs is NAME-SIZE.gguf; a single one has the name that was given. */
static organ_status name_output(sizes_one *one, const char *output, bool single, organ_error *error)
{
    ORGAN_OWNED char *const end = single ? NULL : organ_format("-%s.gguf", one->text);
    if (single || end)
        one->output = single ? strdup(output) : organ_quantize_name_beside(output, end);
    return one->output ? ORGAN_OK : organ_fail_memory(error, output);
}

static organ_status add_size(sizes_list *sizes, const char *list, const char *text, size_t length, organ_error *error)
{
    if (sizes->count == MOST)
        return organ_fail(error, ORGAN_USAGE, "`target_size` has more than %zu sizes", MOST);
    sizes_one *const one = &sizes->of[sizes->count++];
    *one = (sizes_one){.text = strndup(text, length)};
    if (!one->text)
        return organ_fail_memory(error, text);
    if (organ_quantity_parse(one->text, &one->bytes) && one->bytes)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      organ_ends_with(one->text, "bpw")
                          ? "`target_size` '%s': '%s' are bits per weight, which `allocate.allocate` global takes as "
                            "`allocate.budget`; a size is in bytes, as in 12GB"
                          : "`target_size` '%s': '%s' is not a size: give bytes, as in 12GB, or several sizes, as in "
                            "8GB,12GB",
                      list, one->text);
}

/* Sizes ascend, so that a size below that of the smallest types is refused before anything is written. */
static organ_status list_sizes(const organ_quantize_options *o, sizes_list *sizes, organ_error *error)
{
    for (const char *at = o->gguf.target_size; at && !error->status; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        add_size(sizes, o->gguf.target_size, at, strcspn(at, ","), error);
    qsort(sizes->of, sizes->count, sizeof *sizes->of, by_bytes);
    for (size_t k = 1; k < sizes->count && !error->status; k++)
        if (sizes->of[k].bytes == sizes->of[k - 1].bytes)
            return organ_fail(error, ORGAN_USAGE, "`target_size` %s: %s and %s are the same size", o->gguf.target_size,
                              sizes->of[k - 1].text, sizes->of[k].text);
    return error->status;
}

static organ_status name_outputs(const organ_quantize_options *o, sizes_list *sizes, organ_error *error)
{
    for (size_t k = 0; k < sizes->count && o->write.output && !error->status; k++)
        name_output(&sizes->of[k], o->write.output, sizes->count == 1, error);
    if (sizes->count > 1 && o->write.output && !o->write.dry_run && !error->status &&
        !(sizes->record = organ_quantize_name_beside(o->write.output, ".sizes.json")))
        organ_fail_memory(error, o->write.output);
    return error->status;
}

organ_status organ_quantize_outputs_list(const organ_quantize_options *o, organ_quantize_outputs *outputs,
                                         organ_error *error)
{
    const char *const output = o->write.output;
    ORGAN_RELEASED_BY(sizes_release) sizes_list sizes = {0};
    *outputs = (organ_quantize_outputs){0};
    const bool several = o->gguf.target_size && strchr(o->gguf.target_size, ',');
    if (several && list_sizes(o, &sizes, error) == ORGAN_OK && name_outputs(o, &sizes, error) == ORGAN_OK)
        for (; outputs->count < sizes.count; outputs->count++) {
            outputs->of[outputs->count] = sizes.of[outputs->count].output;
            sizes.of[outputs->count].output = NULL;
        }
    outputs->record = sizes.record;
    sizes.record = NULL;
    if (!error->status && !several && !(outputs->of[outputs->count++] = strdup(output)))
        organ_fail_memory(error, output);
    if (!error->status && o->gptq.repair_rank &&
        !(outputs->of[outputs->count++] = organ_quantize_name_beside(output, "-adapter")))
        organ_fail_memory(error, output);
    return error->status;
}

void organ_quantize_outputs_release(organ_quantize_outputs *outputs)
{
    for (size_t k = 0; k < outputs->count; k++)
        free(outputs->of[k]);
    free(outputs->record);
    *outputs = (organ_quantize_outputs){0};
}

organ_status organ_quantize_sizes_check(const organ_quantize_options *o, organ_error *error)
{
    ORGAN_RELEASED_BY(sizes_release) sizes_list sizes = {0};
    list_sizes(o, &sizes, error);
    return error->status;
}

organ_status organ_quantize_outputs_check(const organ_quantize_options *o, const organ_quantize_outputs *outputs,
                                          bool waits, organ_error *error)
{
    for (size_t k = 0; k < outputs->count && !o->write.force && !o->write.resume; k++) {
        if (outputs->record && access(outputs->of[k], F_OK) == 0)
            return organ_fail(error, ORGAN_USAGE,
                              "%s: exists already; `resume` continues with the sizes that are missing, `force` "
                              "replaces it",
                              outputs->of[k]);
        if ((outputs->record || !waits) && organ_publish_is_begun(outputs->of[k]))
            return organ_fail(error, ORGAN_USAGE,
                              "%s: an unfinished run was found: `resume` continues it, `force` starts over",
                              outputs->of[k]);
    }
    return ORGAN_OK;
}

/* Returns the path of the model that the user gave. */
static const char *model_of(const organ_quantize_call *call)
{
    return call->source ? call->source->model : call->options->model;
}

/* The text makes gptq the default, and the costs are always kept in a file: NAME.allocation.json. */
static organ_status fill_in(organ_quantize_options *o, const char *model, sizes_list *sizes, organ_error *error)
{
    const char *const beside = o->write.output ? o->write.output : model;
    o->allocate.allocate = o->allocate.allocate ? o->allocate.allocate : "global";
    if (!o->method && o->calibration.text)
        o->method = "gptq";
    if (!o->allocate.file && !(o->allocate.file = sizes->file = organ_quantize_name_beside(beside, ".allocation.json")))
        return organ_fail_memory(error, o->model);
    return ORGAN_OK;
}

/* ---- the record of the sizes ---- */

#define COSTS "costs" /* the file of the costs in the record */

/* All options that change a file, apart from its size. */
static json_t *record_options(const organ_quantize_options *o)
{
    const bool text = o->calibration.text != NULL;
    return ORGAN_OBJECT(SET_TEXT("scheme", o->scheme), SET_IF(o->readers, "for", json_string(o->readers)),
                        SET_BYTES_OF("targets", o->targets), SET_BYTES_OF("types", o->gguf.types),
                        SET_BYTES_OF("type_of", o->gguf.type_of), SET_BYTES_OF("method", o->method),
                        SET_BYTES_OF("moments", o->gptq.moments), SET_FLAG("resolve", !o->gptq.no_refit),
                        SET_FLAG("all_experts", o->gptq.all_experts), SET_FLAG("one_width", o->one_width),
                        SET_FLAG("saturate", o->write.saturate), SET_TEXT("allocate", o->allocate.allocate),
                        SET_COUNT("rounds", o->allocate.rounds), SET_COUNT("tokens", o->allocate.tokens),
                        SET_COUNT("layers", o->allocate.layers),
                        SET_IF(text, "samples", json_integer(o->calibration.samples)),
                        SET_IF(text, "context", json_integer(o->calibration.context)),
                        SET_IF(text && organ_compute_is_reduced(o->calibration.compute), "compute",
                               json_string(o->calibration.compute)));
}

static organ_status find_inputs(const organ_quantize_options *o, const char *path, organ_run_inputs *inputs,
                                organ_error *error)
{
    organ_model *model = NULL;
    if (organ_model_open(path, &model, error) == ORGAN_OK &&
        organ_run_inputs_add_model(inputs, "model", model, error) == ORGAN_OK) {
        organ_run_inputs_add(inputs, "text", o->calibration.text, error);
        organ_run_inputs_add(inputs, "imatrix", o->gguf.imatrix, error);
        organ_run_inputs_add(inputs, "text of --evaluate", o->write.evaluate ? o->write.evaluate->text : NULL, error);
    }
    organ_model_close(model);
    return error->status;
}

static organ_status fail_costs(const organ_quantize_options *o, const char *record, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE,
                      "%s: the sizes that %s lists were made with other costs: `force` makes all sizes again",
                      o->allocate.file, record);
}

/* *begin becomes true if the run must begin the record: there is none, --force, or it is that of an earlier run with
 * other inputs, options or costs, which is not resumed. */
static organ_status compare_record(const organ_quantize_options *o, const char *record, const organ_run_inputs *inputs,
                                   bool *begin, organ_error *error)
{
    bool same = false, noted = false;
    *begin = o->write.force || access(record, F_OK) != 0;
    organ_run_record_check(record, inputs, record_options(o), o->write.output, COSTS, o->allocate.file, &same, error);
    if (error->status == ORGAN_USAGE && !o->write.resume) {
        *error = (organ_error){0};
        *begin = true;
    }
    if (error->status || *begin || organ_run_record_has(record, COSTS, &noted, error) || !noted || same)
        return error->status;
    *begin = !o->write.resume;
    return *begin ? ORGAN_OK : fail_costs(o, record, error);
}

static organ_status open_record(const organ_quantize_options *o, const char *model, sizes_list *sizes,
                                const organ_engine *engine, organ_error *error)
{
    bool begin = false;
    if (!sizes->record)
        return ORGAN_OK;
    if (find_inputs(o, model, &sizes->inputs, error) == ORGAN_OK)
        compare_record(o, sizes->record, &sizes->inputs, &begin, error);
    if (organ_ranks_agree(engine->ranks, "the record of the sizes", error) == ORGAN_OK && begin &&
        organ_ranks_first(engine->ranks)) {
        organ_run_record_begin(sizes->record, &sizes->inputs, record_options(o), error);
        sizes->begun = true;
    }
    return organ_ranks_agree(engine->ranks, "the record of the sizes", error);
}

/* A file that the record lists is taken if it is as the run has left it. One that the run had begun may have got its
 * name when the run was killed: it is made again. */
static organ_status find_made(organ_quantize_options *one, const sizes_list *sizes, bool *made, organ_error *error)
{
    const char *const name = organ_path_name(one->write.output);
    bool noted = false;
    if (!one->write.resume || access(one->write.output, F_OK) != 0)
        return ORGAN_OK;
    if (organ_run_record_check(sizes->record, &sizes->inputs, record_options(one), one->write.output, name,
                               one->write.output, made, error) ||
        organ_run_record_has(sizes->record, name, &noted, error))
        return error->status;
    if (!noted)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: exists already, and %s does not say from which inputs it was made: `force` replaces it",
                          one->write.output, sizes->record);
    one->write.force = !*made;
    one->write.resume = *made;
    return ORGAN_OK;
}

/* `made`: path of the finished file, NULL if it is only begun. The costs are noted first, so that a size in the record
 * always has those of its run. */
static organ_status note_made(const organ_quantize_options *one, const char *record, const char *made,
                              const organ_engine *engine, organ_error *error)
{
    if (!organ_ranks_first(engine->ranks))
        return ORGAN_OK;
    if (made)
        organ_run_record_end(record, COSTS, one->allocate.file, error);
    return error->status ? error->status
                         : organ_run_record_end(record, organ_path_name(one->write.output), made, error);
}

/* A run that has made no size leaves no record. Killed runs may have left temporary files next to it and the costs. */
static void tidy_record(const organ_quantize_options *o, const sizes_list *sizes)
{
    if (!o->write.dry_run)
        organ_document_drop_drafts(o->allocate.file);
    if (sizes->record)
        organ_document_drop_drafts(sizes->record);
    if (sizes->begun)
        unlink(sizes->record);
}

/* `one`: the options of the size, in `call`. */
static organ_status make_recorded(organ_quantize_options *one, const organ_quantize_call *call, sizes_list *sizes,
                                  const organ_engine *engine, const organ_progress *progress, json_t **report,
                                  organ_error *error)
{
    bool made = false;
    find_made(one, sizes, &made, error);
    if (organ_ranks_agree(engine->ranks, "the sizes that are made", error))
        return error->status;
    if (made) {
        organ_progress_note_once(progress, "%s: exists already, so size %s is not made again", one->write.output,
                                 one->gguf.target_size);
        return ORGAN_OK;
    }
    note_made(one, sizes->record, /*made=*/NULL, engine, error);
    if (organ_ranks_agree(engine->ranks, "the record of the sizes", error) ||
        call->one(call, engine, progress, report, error))
        return error->status;
    sizes->begun = false;
    note_made(one, sizes->record, one->write.output, engine, error);
    return organ_ranks_agree(engine->ranks, "the record of the sizes", error);
}

/* ---- the runs ---- */

static json_t *sizes_json(const organ_quantize_options *o, const char *model, json_t *reports)
{
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.quantize_sizes/1"), SET_BYTES("model", organ_path_name(model)),
                        SET_TEXT("target_size", o->gguf.target_size), SET_FLAG("dry_run", o->write.dry_run),
                        SET("outputs", reports));
}

static void add_figures(organ_figures *all, const organ_figures *own)
{
    all->bytes += own->bytes;
    all->weights += own->weights;
    all->weights_changed += own->weights_changed;
    all->seconds = own->seconds > all->seconds ? own->seconds : all->seconds;
}

static organ_status make_sizes(const organ_quantize_call *call, sizes_list *sizes, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    const organ_quantize_options *const o = call->options;
    ORGAN_OWNED_JSON json_t *const reports = json_array();
    organ_figures all = {0};
    for (size_t k = 0; k < sizes->count && !error->status; k++) {
        organ_quantize_options one = *o;
        organ_quantize_call of_size = *call;
        organ_figures own = {0};
        ORGAN_OWNED_JSON json_t *made = NULL;
        one.write.figures = o->write.figures ? &own : NULL;
        one.gguf.target_size = sizes->of[k].text;
        one.write.output = sizes->of[k].output;
        of_size.options = &one;
        if (sizes->record)
            make_recorded(&one, &of_size, sizes, engine, progress, &made, error);
        else
            call->one(&of_size, engine, progress, &made, error);
        if (sizes->count == 1)
            *report = json_incref(made);
        else if (made && (json_array_append(reports, made) != 0 ||
                          json_object_set_new(made, "output", json_string(organ_path_name(one.write.output))) != 0))
            organ_fail_memory(error, o->model);
        add_figures(&all, &own);
    }
    if (o->write.figures)
        *o->write.figures = all;
    if (sizes->count > 1 && !error->status && !(*report = sizes_json(o, model_of(call), json_incref(reports))))
        organ_fail_memory(error, o->model);
    return error->status;
}

organ_status organ_quantize_sizes(const void *given, const organ_engine *engine, const organ_progress *progress,
                                  json_t **report, organ_error *error)
{
    organ_quantize_call call = *(const organ_quantize_call *)given;
    organ_quantize_options o = *call.options;
    ORGAN_RELEASED_BY(sizes_release) sizes_list sizes = {0};
    call.options = &o;
    if (fill_in(&o, model_of(&call), &sizes, error) == ORGAN_OK && list_sizes(&o, &sizes, error) == ORGAN_OK &&
        name_outputs(&o, &sizes, error) == ORGAN_OK &&
        open_record(&o, model_of(&call), &sizes, engine, error) == ORGAN_OK) {
        if (sizes.count)
            make_sizes(&call, &sizes, engine, progress, report, error);
        else
            call.one(&call, engine, progress, report, error);
    }
    if (o.allocate.file && organ_ranks_first(engine->ranks))
        tidy_record(&o, &sizes);
    return error->status;
}
