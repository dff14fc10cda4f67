/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/precision/dequantize_job.h"
#include "orchestrator/version.h"

#include <string.h>

typedef struct sums {
    uint64_t weights, elements, before, after, infinite, nan;
} sums;

static uint64_t bytes_after(const organ_dequantize_job *job, const organ_dequantize_part *part) { return job->pieces[part->piece].bytes; }

static void add(sums *s, const organ_dequantize_job *job, const organ_dequantize_part *part)
{
    s->weights++;
    s->elements += part->weight->elements;
    s->before += part->bytes_before;
    s->after += bytes_after(job, part);
    s->infinite += part->infinite;
    s->nan += part->nan;
}

static json_t *sums_json(const sums *s)
{
    return ORGAN_OBJECT(SET_COUNT("weights", s->weights), SET_COUNT("elements", s->elements), SET_COUNT("bytes_before", s->before),
                        SET_COUNT("bytes_after", s->after), SET_COUNT("infinite", s->infinite), SET_COUNT("nan", s->nan));
}

static const char *scheme_text(const organ_dequantize_part *part, char text[160]) { return organ_weight_text(part->weight, text, 160); }

/* One row for each text that a weight's scheme has, in the order of the first of them. */
static json_t *schemes_json(const organ_dequantize_job *job)
{
    json_t *const rows = json_array(), *const seen = json_object();
    char text[160], other[160];
    for (size_t k = 0; k < job->part_count; k++) {
        sums s = {0};
        scheme_text(&job->parts[k], text);
        if (json_object_get(seen, text))
            continue;
        for (size_t j = k; j < job->part_count; j++)
            if (strcmp(scheme_text(&job->parts[j], other), text) == 0)
                add(&s, job, &job->parts[j]);
        json_t *const row = ORGAN_OBJECT(SET_TEXT("scheme", text)), *const rest = sums_json(&s);
        json_object_update(row, rest);
        json_decref(rest);
        json_array_append_new(rows, row);
        json_object_set_new(seen, text, json_true());
    }
    json_decref(seen);
    return rows;
}

static json_t *part_json(const organ_dequantize_job *job, const organ_dequantize_part *part)
{
    char text[160];
    const organ_weight *const w = part->weight;
    return ORGAN_OBJECT(SET_TEXT("name", w->name), SET_TEXT("role", organ_anatomy_role_name(&w->anatomy)),
                        SET_TEXT("scheme", scheme_text(part, text)), SET("shape", organ_dims_json(w->rank, w->shape)),
                        SET_TEXT("packed_as", w->codes->name), SET_COUNT("bytes_before", part->bytes_before),
                        SET_COUNT("bytes_after", bytes_after(job, part)), SET_COUNT("infinite", part->infinite),
                        SET_COUNT("nan", part->nan), SET("note", *part->note ? organ_document_string(part->note) : json_null()));
}

static json_t *parts_json(const organ_dequantize_job *job)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->part_count; k++)
        json_array_append_new(rows, part_json(job, &job->parts[k]));
    return rows;
}

static json_t *strays_json(const organ_dequantize_job *job)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->weights->stray_count; k++) {
        const organ_stray *const s = &job->weights->strays[k];
        json_array_append_new(rows, ORGAN_OBJECT(SET_TEXT("tensor", s->tensor->name),
                                                 SET_TEXT("dtype", organ_dtype_describe(s->tensor->dtype)->name),
                                                 SET_FLAG("dropped", s->dropped), SET_TEXT("why", s->why)));
    }
    for (size_t k = 0; k < job->kept_count; k++)
        json_array_append_new(rows, ORGAN_OBJECT(SET_TEXT("tensor", job->kept[k]->name),
                                                 SET_TEXT("dtype", organ_dtype_describe(job->kept[k]->dtype)->name), SET_FLAG("dropped", 0),
                                                 SET_TEXT("why", "is of a type that cannot be read alone")));
    return rows;
}

static json_t *notes_json(const organ_dequantize_job *job)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->weights->note_count; k++)
        json_array_append_new(rows, organ_document_string(job->weights->notes[k]));
    return rows;
}

static json_t *definitions_json(void)
{
    return ORGAN_OBJECT(
        SET_TEXT("dequantised",
                 "Code x scale in FP32 (integer codes less their zero point first), rounded once to the type of the output, to nearest "
                 "even."),
        SET_TEXT("plain", "A tensor that stands alone keeps its type and its bytes."),
        SET_TEXT("infinite", "Values of the output that are infinite: beyond its type (65504 in F16), or infinite already."));
}

static json_t *run_json(const organ_dequantize_job *job, const organ_output *output, const organ_resharding *plan)
{
    json_t *const run = organ_output_run_on(output, organ_resharding_bytes(plan), job->options->model, job->engine);
    if (run)
        json_object_set_new(run, "single_file", json_boolean(output->single));
    return run;
}

json_t *organ_dequantize_results(const organ_dequantize_part *part)
{
    return ORGAN_OBJECT(SET_COUNT("infinite", part->infinite), SET_COUNT("nan", part->nan), SET_BYTES("note", part->note));
}

bool organ_dequantize_recall(void *context, size_t at, const json_t *results)
{
    organ_dequantize_part *const part = &((organ_dequantize_job *)context)->parts[at];
    json_int_t infinite, nan;
    const char *note;
    if (json_unpack((json_t *)results, "{s:I, s:I, s:s}", "infinite", &infinite, "nan", &nan, "note", &note))
        return false;
    part->infinite = (uint64_t)infinite;
    part->nan = (uint64_t)nan;
    strncpy(part->note, note, sizeof part->note - 1);
    return true;
}

json_t *organ_dequantize_parameters(const organ_dequantize_job *job)
{
    return ORGAN_OBJECT(SET_TEXT("dtype", organ_dtype_describe(job->as)->name), SET_COUNT("max_shard_bytes", job->options->most));
}

json_t *organ_dequantize_document(void *context, const organ_output *output, const organ_resharding *plan)
{
    const organ_dequantize_job *const job = context;
    sums all = {0};
    for (size_t k = 0; k < job->part_count; k++)
        add(&all, job, &job->parts[k]);
    json_t *const totals = sums_json(&all);
    if (totals)
        json_object_set_new(totals, "total_size", json_integer((json_int_t)organ_resharding_total(plan)));
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.dequantize/1"), SET_TEXT("definition", "dequantize/1"), SET_TEXT("organ", ORGAN_VERSION),
                        SET_FLAG("dry_run", job->options->dry_run), SET("model", organ_model_json(job->model)),
                        SET("parameters", organ_dequantize_parameters(job)), SET_TEXT("quant_method", job->weights->method),
                        SET("totals", totals), SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)),
                        SET("schemes", schemes_json(job)), SET("strays", strays_json(job)), SET("notes", notes_json(job)),
                        SET("files", organ_resharding_files_json(plan)), SET("weights", parts_json(job)),
                        SET("definitions", definitions_json()), SET("run", run_json(job, output, plan)));
}
