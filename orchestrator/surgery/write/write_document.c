/* SPDX-License-Identifier: MIT
 * Makes the JSON documents of an output: the first line of its journal and its report. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/write/writing.h"

#include "formats/base/text_buffer.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/facts/facts.h"

#include <stdlib.h>

/* ---- the journal ---- */

/* The file that describes a model is config.json, or, for a layout of an organ directory, its manifest. NULL if
 * memory runs out. */
static json_t *document_files_json(const organ_writing *w, const organ_model *model)
{
    const bool manifest = w->write->layout && model->manifest;
    char *const about = organ_format("%s/%s", model->directory, manifest ? ORGAN_MANIFEST : "config.json");
    json_t *const files = about ? organ_run_files(model, about) : NULL;
    free(about);
    return files;
}

json_t *organ_writing_head(const organ_writing *w)
{
    const organ_write *const m = w->write;
    json_t *head =
        ORGAN_OBJECT(SET_TEXT("schema", "organ.journal/1"), SET_TEXT("definition", m->definition),
                     SET_TEXT("organ", ORGAN_VERSION), SET_IF(m->parameters, "parameters", m->parameters(m->context)),
                     SET_IF(m->requested->saturate, "saturate", json_true()));
    if (m->depends)
        head = organ_json_joined(head, m->depends(organ_write_inner(w)));
    if (m->identity)
        head = organ_json_joined(head, m->identity(m->context));
    return organ_json_joined(
        head,
        ORGAN_OBJECT(SET(m->model_is, document_files_json(w, m->model)),
                     SET_IF(m->source, "source", document_files_json(w, m->source)),
                     SET_IF(w->plan, "plan",
                            organ_json_sprintf("%016llx", (unsigned long long)organ_resharding_digest(w->plan)))));
}

/* ---- the report ---- */

/* Only a document with organ_write.schema gets the members that all reports share. NULL if memory runs out. */
static json_t *document_of(const organ_writing *w)
{
    const organ_write *const m = w->write;
    json_t *const object = m->document(m->context, w);
    organ_leftovers_report(object, w->stripped);
    if (!m->schema)
        return object;
    const uint64_t bytes = w->plan ? organ_resharding_bytes(w->plan) : w->source_bytes;
    json_t *const made = organ_json_joined(
        ORGAN_OBJECT(SET_HEAD(m->schema, m->definition), SET_FLAG("dry_run", m->requested->dry_run),
                     SET(m->model_is, organ_model_json(m->model)), SET("parameters", m->parameters(m->context))),
        object);
    ORGAN_ADD(made, SET_IF(!json_object_get(made, "run"), "run",
                           organ_output_run_on(&w->output, bytes, m->model->path, m->engine)));
    return made;
}

/* The predictions are the object "plan" and the predicted time in "run". Returns -1 if memory runs out. */
static int document_add_plan(const organ_writing *w, json_t *report)
{
    const organ_write *const m = w->write;
    if (!m->requested->dry_run || !m->plan)
        return 0;
    organ_plan all = *m->plan;
    uint64_t bytes = 0;
    for (size_t t = 0; t < m->model->tensor_count; t++)
        bytes += m->model->tensors[t].bytes;
    all.output_bytes = w->plan ? organ_resharding_total(w->plan) : bytes;
    organ_plan_memory(&all, ORGAN_PLAN_MIN, 0);
    all.bytes += (double)bytes + (double)all.output_bytes; /* the model is read once, the output written once */
    return ORGAN_ADD(json_object_get(report, "run"), SET("plan", organ_plan_time_json(&all, m->engine))) &&
                   ORGAN_ADD_BEFORE_RUN(report, SET("plan", organ_plan_json(&all)))
               ? 0
               : -1;
}

organ_status organ_writing_report(organ_writing *w, const char *path, json_t **report, organ_error *error)
{
    const organ_write *const m = w->write;
    const organ_report_files files = {m->name, m->markdown_name, m->lines_name};
    if (path)
        organ_evaluation_run(&w->evaluation, path);
    if (!(*report = organ_evaluated_json(&w->evaluation, document_of(w))) ||
        (m->finish_report && m->finish_report(m->context, *report)) || document_add_plan(w, *report))
        return organ_fail_memory(error, m->requested->output);
    if (path && m->name && organ_ranks_first(w->output.ranks) &&
        organ_output_reports_write(&w->output, &files, *report, error) == ORGAN_OK && !w->output.single)
        organ_output_sync(&w->output, error);
    return error->status;
}
