/* SPDX-License-Identifier: MIT
 * organ imatrix: writes the sums of the squared inputs of a model's matrices as an importance matrix of llama.cpp.
 *
 * Ranks: rank 0 alone writes the file, after all ranks have added their windows. */
#include "orchestrator/verbs/evaluate/evaluate_parts.h"

#include "formats/base/files.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/pass_parts.h"

#include <errno.h>

typedef struct importance_job {
    const organ_importance_options *options;
    const organ_engine *engine;
    organ_imatrix_format format;
    organ_experiment_options experiment; /* options of the scoring */
    organ_scoring scoring;
    organ_run_inputs inputs;
    organ_run_journal journal;
    organ_output output;
    bool begun;     /* organ_output_end must be called */
    json_t *filled; /* result of organ_input_sums_complete */
} importance_job;

/* ---- options ---- */

/* The text must have two chunks, as for llama-imatrix, so one more chunk is planned than --chunks 1 uses. */
static organ_status set_experiment(importance_job *job, organ_error *error)
{
    const organ_importance_options *const o = job->options;
    const unsigned context = o->context ? o->context : ORGAN_IMATRIX_CONTEXT;
    const uint64_t tokens = (uint64_t)(o->chunks == 1 ? 2 : o->chunks) * context;
    if (tokens > UINT32_MAX)
        return organ_fail(error, ORGAN_USAGE, "`chunks` %u of %u tokens are more than 4294967295 tokens", o->chunks,
                          context);
    job->experiment = (organ_experiment_options){.text = o->text,
                                                 .style = "llama.cpp",
                                                 .context = o->context,
                                                 .max_tokens = (unsigned)tokens,
                                                 .imatrix = true,
                                                 .access = o->access,
                                                 .compute = o->compute};
    return ORGAN_OK;
}

static organ_status open_scoring(importance_job *job, const organ_progress *progress, organ_error *error)
{
    const organ_importance_options *const o = job->options;
    organ_scoring *const s = &job->scoring;
    const char *const paths[1] = {o->model};
    if (organ_imatrix_format_of(o->output, o->format, &job->format, error) || set_experiment(job, error) ||
        organ_output_check_not_file(o->output, o->model, error) ||
        organ_output_check(o->output, NULL, o->force, error) ||
        organ_scoring_open(s, paths, 1, &job->experiment, (organ_scoring_stop){0}, (organ_scored_drafts){0},
                           job->engine, progress, error) ||
        organ_output_check_not_input(o->output, s->models[0].model, error))
        return error->status;
    if (o->chunks && o->chunks < s->plan.windows)
        s->plan.windows = o->chunks;
    return o->head ? organ_input_sums_add_head(s->sums, error) : ORGAN_OK;
}

/* ---- the report ---- */

json_t *organ_imatrix_entry_json(const char *name, size_t matrices, uint64_t inputs, uint64_t least, uint64_t most)
{
    return ORGAN_OBJECT(SET_BYTES("name", name), SET_COUNT("matrices", matrices), SET_COUNT("inputs", inputs),
                        SET_COUNT("least_tokens", least), SET_COUNT("most_tokens", most));
}

static json_t *imatrix_entry_json(const void *sums, size_t k)
{
    const organ_input_entry *const e = &((const organ_input_sums *)sums)->entries[k];
    uint64_t least = UINT64_MAX, most = 0;
    for (size_t m = 0; m < e->matrices; m++) {
        least = e->counts[m] < least ? e->counts[m] : least;
        most = e->counts[m] > most ? e->counts[m] : most;
    }
    return organ_imatrix_entry_json(e->name, e->matrices, e->features, least, most);
}

static json_t *imatrix_text_json(const organ_scoring *s)
{
    ORGAN_OWNED_JSON json_t *const experiment = organ_scoring_experiment_json(s);
    json_t *const text = ORGAN_OBJECT(
        SET_HELD("text", organ_json_at(experiment, "text")),
        SET_HELD("tokenizer", organ_json_at(experiment, "tokenizer")), SET_COUNT("context", s->protocol.context),
        SET_COUNT("chunks", s->plan.windows), SET_COUNT("tokens", s->plan.windows * s->protocol.context),
        SET_HELD("bos", organ_json_at(experiment, "bos")), SET_HELD("compute", organ_json_at(experiment, "compute")),
        SET_HELD("compute_isa", organ_json_at(experiment, "compute_isa")));
    return text;
}

static json_t *importance_document(importance_job *job)
{
    organ_scoring *const s = &job->scoring;
    const organ_importance_options *const o = job->options;
    organ_plan plan = {0};
    json_t *const run = organ_scoring_run_json(s);
    if (o->dry_run) {
        organ_scoring_plan(s, &plan);
        plan.output_bytes = organ_forward_input_numbers(s->models[0].forward) * sizeof(float);
        ORGAN_ADD(run, SET("plan", organ_plan_time_json(&plan, job->engine)));
    }
    ORGAN_ADD(run, SET_BYTES("output", o->output),
              SET_IF(!o->dry_run, "resumed", json_boolean(job->output.publish.resumed)));
    return ORGAN_OBJECT(SET_HEAD("organ.imatrix/1", "imatrix/1"), SET_IF(o->dry_run, "dry_run", json_true()),
                        SET("model", organ_model_json(s->models[0].model)), SET("calibration", imatrix_text_json(s)),
                        SET_TEXT("format", job->format == ORGAN_IMATRIX_DAT ? "dat" : "gguf"),
                        SET_IF(!o->dry_run, "totals", ORGAN_OBJECT(SET_COUNT("entries", s->sums->count))),
                        SET_IF(!o->dry_run, "entries", organ_json_rows(s->sums->count, imatrix_entry_json, s->sums)),
                        SET_IF(!o->dry_run, "filled", job->filled ? json_incref(job->filled) : json_null()),
                        SET("uncovered", organ_scoring_unrun_json(s)),
                        SET_IF(o->dry_run, "plan", organ_plan_json(&plan)),
                        SET_SENTENCES("organ.imatrix/1", "definitions", NULL), SET("run", run));
}

/* ---- the output ---- */

static json_t *importance_head(const importance_job *job)
{
    const organ_scoring *const s = &job->scoring;
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.journal/1"), SET_TEXT("definition", "imatrix/1"), SET_TEXT("organ", ORGAN_VERSION),
        SET("parameters", ORGAN_OBJECT(SET_COUNT("context", s->protocol.context), SET_COUNT("chunks", s->plan.windows),
                                       SET_FLAG("head", job->options->head),
                                       SET_TEXT("compute", organ_compute_name(s->engine.compute)),
                                       SET_IF(s->engine.dots, "compute_isa", json_string(s->engine.dots->isa)))),
        SET_TEXT("text", s->digest), SET_TEXT("tokenizer", organ_tokenizer_describe(s->tokenizer)->digest),
        SET(ORGAN_RUN_INPUTS, organ_run_inputs_json(&job->inputs)));
}

static organ_status begin_output(importance_job *job, organ_error *error)
{
    const organ_importance_options *const o = job->options;
    const uint64_t numbers = organ_forward_input_numbers(job->scoring.models[0].forward);
    if (organ_run_inputs_add_model(&job->inputs, "model", job->scoring.models[0].model, error) == ORGAN_OK &&
        organ_run_inputs_add(&job->inputs, "text", o->text, error) == ORGAN_OK)
        organ_output_check_inputs(o->output, &job->inputs, error);
    job->output = (organ_output){.path = o->output,
                                 .single = true,
                                 .force = o->force,
                                 .journal = &job->journal,
                                 .resume = o->resume,
                                 .all = job->scoring.plan.windows,
                                 .closed = job->inputs.closed,
                                 .ranks = job->engine->ranks};
    organ_output_begin_together(&job->output, numbers * (sizeof(float) + sizeof(organ_exact_sum)), &job->begun, error);
    job->journal.unit = "chunks";
    if (!error->status && organ_ranks_first(job->engine->ranks))
        organ_run_journal_begin(&job->journal, importance_head(job), o->output, error);
    return organ_ranks_agree(job->engine->ranks, "beginning the importance matrix", error);
}

/* A run that was killed after it had written the file left it here. */
static organ_status write_file(importance_job *job, organ_error *error)
{
    const organ_scoring *const s = &job->scoring;
    ORGAN_OWNED char *const path = organ_publish_path(&job->output.publish, organ_output_name(&job->output));
    const char *const name = organ_path_name(job->options->text);
    const organ_imatrix_text text = {&name, 1, s->plan.windows, s->protocol.context};
    if (!path)
        organ_fail_memory(error, job->output.path);
    else if (organ_remove_file(path) && errno != ENOENT)
        organ_fail_errno(error, errno, "%s: cannot be removed", path);
    else
        organ_input_sums_write(s->sums, path, job->format, &text, error);
    if (!error->status)
        organ_scoring_collect_end(organ_output_directory(&job->output));
    return error->status ? error->status : organ_output_sync(&job->output, error);
}

static organ_status collect_and_write(importance_job *job, json_t **report, organ_error *error)
{
    organ_scoring *const s = &job->scoring;
    if (begin_output(job, error) != ORGAN_OK)
        return error->status;
    organ_scoring_collect(s, organ_output_directory(&job->output), job->output.publish.resumed, &job->output.done,
                          error);
    if (!error->status && organ_input_sums_complete(s->sums, &job->filled, error) == ORGAN_OK &&
        organ_ranks_first(job->engine->ranks))
        write_file(job, error);
    if (!error->status && !(*report = importance_document(job)))
        organ_fail_memory(error, job->options->output);
    return organ_ranks_agree(job->engine->ranks, "writing the importance matrix", error);
}

static organ_status importance_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                                    json_t **report, organ_error *error)
{
    const organ_importance_options *const options = given;
    importance_job job = {.options = options, .engine = engine};
    const organ_report_work work = organ_report_begin(report);
    if (open_scoring(&job, progress, error) == ORGAN_OK && options->dry_run) {
        if (!(*report = importance_document(&job)))
            organ_fail_memory(error, options->model);
    } else if (!error->status)
        collect_and_write(&job, report, error);
    if (job.begun)
        organ_output_end(&job.output, error);
    organ_run_inputs_release(&job.inputs);
    organ_run_journal_close(&job.journal);
    json_decref(job.filled);
    organ_scoring_close(&job.scoring);
    return organ_report_end(&work, options->model, error);
}

organ_status organ_importance(const organ_importance_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_importance_options, options, report, error, "model", options->model, "text",
                         options->text, "output", options->output))
        return error->status;
    return organ_plan_run(importance_verb, options, options->dry_run, engine, progress, report, error);
}
