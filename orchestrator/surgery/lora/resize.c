/* SPDX-License-Identifier: MIT */
#include <organ/lora.h>

#include "orchestrator/surgery/lora/rewrite.h"
#include "orchestrator/surgery/facts/facts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct resize_job {
    const organ_lora_resize_options *options;
    organ_adapter *adapter;
    organ_lora_rewrite rewrite; /* has a row for each pair of the adapter */
    uint64_t bytes_before;      /* bytes of the tensors of the old adapter */
} resize_job;

static organ_status open_resized(resize_job *j, organ_error *error)
{
    const organ_lora_resize_options *const o = j->options;
    if (o->rank == 0)
        return organ_fail(error, ORGAN_USAGE, "the rank is 0, but must be at least 1");
    if (!(o->energy >= 0 && o->energy <= 1))
        return organ_fail(error, ORGAN_USAGE, "energy %g is outside 0 .. 1", o->energy);
    if (organ_adapter_open(o->adapter, &j->adapter, error) ||
        organ_output_check_not_adapter(o->output, j->adapter, error) ||
        organ_output_check(o->output, j->adapter->path, o->force, error))
        return error->status;
    if (j->adapter->pair_count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: contains no pair of factors", j->adapter->path);
    j->rewrite.adapter = j->adapter;
    j->rewrite.stage = "resizing";
    j->rewrite.max = o->rank;
    j->rewrite.energy = o->energy;
    j->rewrite.rows = calloc(j->adapter->pair_count, sizeof *j->rewrite.rows);
    if (!j->rewrite.rows)
        return organ_fail_memory(error, j->options->adapter);
    for (size_t k = 0; k < j->adapter->pair_count; k++) {
        j->rewrite.rows[j->rewrite.count++] = organ_lora_row_of(&j->adapter->pairs[k]);
        j->bytes_before += j->adapter->pairs[k].a->bytes + j->adapter->pairs[k].b->bytes;
    }
    for (size_t k = 0; k < j->adapter->rest_count; k++)
        j->bytes_before += j->adapter->rest[k]->bytes;
    return ORGAN_OK;
}

/* ---- the document ---- */

static json_t *resize_totals_json(const resize_job *j)
{
    json_int_t cut = 0, before = 0;
    double energy = 0, lost = 0, worst = 0; /* ||scale B A||^2, its part that was cut; largest residual of a module */
    for (size_t k = 0; k < j->rewrite.count; k++) {
        const organ_lora_row *const row = &j->rewrite.rows[k];
        const double norm = row->norm * row->norm;
        cut += row->rank < row->pair->rank;
        before = (json_int_t)row->pair->rank > before ? (json_int_t)row->pair->rank : before;
        energy += norm;
        lost += norm * row->residual * row->residual;
        worst = row->residual > worst ? row->residual : worst;
    }
    return ORGAN_OBJECT(SET_COUNT("modules", j->rewrite.count), SET_COUNT("cut", cut), SET_COUNT("rank_before", before),
                        SET_REAL("norm", sqrt(energy)),
                        SET_REAL("residual", energy > 0 ? organ_billionth(sqrt(lost / energy)) : 0.0),
                        SET_REAL("explained", energy > 0 ? organ_billionth(1 - lost / energy) : 1.0),
                        SET_REAL("worst_residual", organ_billionth(worst)), SET_COUNT("bytes_before", j->bytes_before),
                        SET_COUNT("bytes", j->rewrite.bytes));
}

static json_t *resize_document_of(const void *context)
{
    const resize_job *const j = context;
    json_t *const rest = json_array(), *const run = organ_output_run(&j->rewrite.made, j->rewrite.bytes);
    for (size_t k = 0; k < j->adapter->rest_count; k++)
        json_array_append_new(rest, json_string(j->adapter->rest[k]->name));
    ORGAN_ADD(run, SET_BYTES("adapter", j->options->adapter));
    json_t *const definitions = ORGAN_OBJECT(SET_TEXT("norm", "||scale B A||, Frobenius"),
                                             SET_TEXT("residual", "|| scale B A - kept part || / || scale B A ||"),
                                             SET_TEXT("explained", "1 - residual^2"));
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.lora_resize/1"), SET_TEXT("organ", ORGAN_VERSION),
                        SET("adapter", organ_adapter_json(j->adapter)), SET_COUNT("asked_rank", j->options->rank),
                        SET_REAL("asked_energy", j->options->energy), SET_COUNT("r", j->rewrite.rank),
                        SET("modules", organ_lora_rows_json(&j->rewrite)), SET("kept_as_they_are", rest),
                        SET("totals", resize_totals_json(j)), SET("definitions", definitions), SET("run", run));
}

/* ---- the run ---- */

static organ_status write_out(resize_job *j, json_t **report, organ_error *error)
{
    json_t *const config = organ_lora_folded_config(j->adapter, j->rewrite.rank);
    const organ_lora_output output = {
        .write = {.output = j->options->output, .force = j->options->force, .resume = j->options->resume},
        .config = config,
        .rest = j->adapter->rest,
        .rest_count = j->adapter->rest_count,
        .files = {.json = "lora_resize.json", .markdown = "LORA_RESIZE_REPORT.md"},
        .context = j,
        .document = resize_document_of};
    if (config)
        organ_lora_write(&j->rewrite, &output, report, error);
    else
        organ_fail_memory(error, j->options->adapter);
    json_decref(config);
    return error->status;
}

static organ_status resize_adapter(resize_job *j, json_t **report, organ_error *error)
{
    return open_resized(j, error) || organ_lora_survey(&j->rewrite, error) ? error->status
                                                                           : write_out(j, report, error);
}

static void close_resizing(resize_job *j)
{
    organ_lora_rewrite_release(&j->rewrite);
    organ_adapter_close(j->adapter);
}

organ_status organ_lora_resize(const organ_lora_resize_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_lora_resize_options, options, report, error, "adapter", options->adapter, "output",
                         options->output))
        return error->status;
    resize_job j = {.options = options, .rewrite = {.engine = engine, .progress = progress}};
    const organ_report_work work = organ_report_begin(report);
    resize_adapter(&j, report, error);
    close_resizing(&j);
    return organ_report_end(&work, options->adapter, error);
}
