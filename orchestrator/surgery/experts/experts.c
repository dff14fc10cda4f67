/* SPDX-License-Identifier: MIT
 * The verb `experts`: checks its options, chooses the kept experts by their scores, and writes the smaller model. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/experts/experts_job.h"

#include <organ/base.h>
#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/inputs/inputs.h"

#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

/* A percentage is rounded to a multiple of the router's groups. */
static organ_status read_keep(const char *text, const organ_expert_scores *s, uint32_t *keep, organ_error *error)
{
    const uint32_t experts = s->experts, used = s->used, groups = s->groups;
    char *end;
    const double number = organ_strtod(text, &end);
    const bool percent = strcmp(end, "%") == 0, counts = number > 0 && number < 1e9;
    double count = counts ? number : 0;
    if (counts && percent)
        count = groups * (double)(uint32_t)(number * experts / 100 / groups + 0.5);
    if (end == text || (*end && !percent) || !counts || (!percent && number != (double)(uint32_t)number))
        return organ_fail(error, ORGAN_USAGE, "--keep %s: is neither a number nor a share of experts, such as 50%%",
                          text);
    if (!(count < experts))
        return organ_fail(error, ORGAN_USAGE, "--keep %s: each layer has %u experts: nothing would be removed", text,
                          experts);
    if (count < used)
        return organ_fail(error, ORGAN_USAGE, "--keep %s: each token needs %u experts, so at least these must be kept",
                          text, used);
    if (count < s->least || (uint32_t)count % groups)
        return organ_fail(error, ORGAN_USAGE,
                          "--keep %s: the router chooses among %u groups of experts by position, so each must keep the "
                          "same number: keep a multiple of %u, at least %u",
                          text, groups, groups, s->least);
    *keep = (uint32_t)count;
    return ORGAN_OK;
}

static organ_status experts_check_options(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    if (!o->calibration.text && !o->scores)
        return organ_fail(
            error, ORGAN_USAGE,
            "give a text to measure experts on (--calibration TEXT) or stored measurements (--scores FILE)");
    if (!o->calibration.text && o->calibration.scratch)
        return organ_fail(error, ORGAN_USAGE, "--scratch has no meaning without --calibration: nothing is measured");
    if (o->heal && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "--heal needs a text: --calibration TEXT");
    job->global = o->per_layer && strcmp(o->per_layer, "global") == 0;
    if (o->per_layer && !job->global && strcmp(o->per_layer, "uniform") != 0)
        return organ_fail(error, ORGAN_USAGE, "--per-layer %s: is neither uniform nor global", o->per_layer);
    return organ_expert_score_named(o->score ? o->score : "loss", &job->score, error);
}

/* ---- the choice ---- */

static organ_status allocate_layers(organ_experts_job *job, organ_error *error)
{
    const organ_expert_scores *const s = &job->scores;
    job->layer_count = organ_cut_layers(job->model);
    job->layers = calloc(job->layer_count + 1, sizeof *job->layers);
    job->counts = calloc(s->layers + 1, sizeof *job->counts);
    job->kept = calloc(s->layers * s->experts + 1, sizeof *job->kept);
    if (!job->layers || !job->counts || !job->kept)
        return organ_fail_memory(error, job->model->path);
    /* Layers of multi-token prediction are dropped: the calibration text does not run through them, so their experts
     * have no scores. */
    for (size_t l = s->layers; l < job->layer_count; l++)
        job->layers[l].dropped = true;
    if (job->layer_count > s->layers)
        organ_progress_note(job->progress,
                            "the layers for multi-token prediction after the %zu blocks of the forward pass are "
                            "removed: their experts have no scores",
                            s->layers);
    return ORGAN_OK;
}

/* While scores are unknown, the first count / groups experts of each router group are kept. */
static void choose_layer(const organ_experts_job *job, size_t l, uint32_t count, uint32_t *kept)
{
    const organ_expert_scores *const s = &job->scores;
    const uint32_t group_size = s->experts / s->groups, kept_per_group = count / s->groups;
    for (uint32_t k = 0; k < count; k++)
        kept[k] = k / kept_per_group * group_size + k % kept_per_group;
    if (job->known)
        organ_expert_scores_choose(s, l, job->score, count, kept);
}

static void experts_choose(organ_experts_job *job)
{
    const organ_expert_scores *const s = &job->scores;
    const uint32_t each = job->keep;
    uint64_t all = 0;
    for (size_t l = 0; l < s->layers; l++)
        all += job->counts[l] = s->of[l].dense ? 0 : each;
    if (job->global && job->known)
        organ_expert_scores_divide(s, all, job->counts);
    for (size_t l = 0; l < s->layers && l < job->layer_count; l++) {
        if (s->of[l].dense)
            continue;
        uint32_t *const kept = job->kept + l * s->experts;
        /* organ_cut_make rejects layers with different numbers of experts, because no loader supports them. A dry run
         * still reports the numbers in job->counts, and computes sizes with `each` experts. */
        const uint32_t count = job->options->write.dry_run ? each : job->counts[l];
        choose_layer(job, l, count, kept);
        job->layers[l].experts = (organ_cut_keep){kept, count};
        job->uneven |= job->counts[l] != each;
    }
}

/* ---- refit ---- */

static organ_status open_heal(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    const organ_expert_heal_options healing = {.model = job->model,
                                               .layers = job->layers,
                                               .calibration = o->calibration,
                                               .engine = job->engine,
                                               .progress = job->progress};
    organ_expert_heal_close(job->heal);
    job->heal = NULL;
    return o->heal ? organ_expert_heal_open(&healing, &job->heal, error) : ORGAN_OK;
}

static organ_status experts_fill(void *inner, organ_writing *writing, organ_error *error)
{
    organ_cut_run *const run = organ_cut_begin(inner, writing);
    const organ_experts_job *const job = organ_cut_context(run);
    return organ_expert_heal_run(job->heal, run, error) ? error->status : organ_cut_copy(run, error);
}

static json_t *heal_results(void *context, const organ_tensor *tensor)
{
    return organ_expert_heal_results(((organ_experts_job *)context)->heal, tensor);
}

static bool experts_recall(void *context, const organ_tensor *tensor, const json_t *known)
{
    return organ_expert_heal_recall(((organ_experts_job *)context)->heal, tensor, known);
}

/* A refitted output depends on the calibration text and its windows in addition to the parameters. */
static json_t *experts_identity(void *context)
{
    const organ_experts_job *const job = context;
    return ORGAN_OBJECT(SET_HELD("healed_along", job->scores.calibration));
}

/* The kept experts are not known yet, but only their number matters, so the check chooses any. If memory does not
 * suffice, the measurement is checked too, so that the message states an amount that suffices for both. */
static organ_status estimate_heal(organ_experts_job *job, organ_error *error)
{
    organ_error other = {0};
    experts_choose(job);
    open_heal(job, error);
    organ_expert_heal_close(job->heal);
    job->heal = NULL;
    if (organ_memory_named(error))
        organ_experts_try(job, &other);
    return organ_memory_refuse_both(error, &other);
}

/* ---- the run ---- */

static organ_status experts_cut(organ_experts_job *job, json_t **report, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    if (job->heal && o->write.dry_run)
        organ_expert_heal_estimate(job->heal, &job->plan);
    organ_cut_out all = {.write = {.model = job->model,
                                   .requested = &o->write,
                                   .choice = job->unfinished != NULL,
                                   .checked = !o->write.dry_run,
                                   ORGAN_WRITE_BY(job),
                                   .definition = ORGAN_EXPERT_SCORES_DEFINITION,
                                   .schema = "organ.experts/1",
                                   .name = "experts.json",
                                   .markdown_name = "EXPERTS_REPORT.md",
                                   .stage = "cutting",
                                   .parameters = organ_experts_parameters,
                                   .document = organ_experts_document,
                                   .plan = &job->plan,
                                   .fill = job->heal ? experts_fill : NULL,
                                   .identity = job->heal ? experts_identity : NULL},
                         .layers = job->layers,
                         .layer_count = job->layer_count,
                         .refitted = job->heal ? organ_expert_heal_refitted(job->heal) : NULL,
                         .results = job->heal ? heal_results : NULL,
                         .recall = job->heal ? experts_recall : NULL};
    return organ_cut_make(&all, report, error);
}

/* The scores include the loss also for --per-layer global, which compares layers by the loss. */
static organ_status experts_open_all(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    if (experts_check_options(job, error) || organ_donor_open(o->model, "cut", job->progress, &job->model, error) ||
        organ_output_check_not_input(o->write.output, job->model, error) ||
        organ_output_check(o->write.output, organ_output_like(job->model), o->write.force, error))
        return error->status;
    if (organ_expert_scores_open(job->model, job->score == ORGAN_EXPERT_LOSS || job->global, &job->scores, error) !=
        ORGAN_OK)
        return error->status;
    return read_keep(o->keep, &job->scores, &job->keep, error);
}

static organ_status experts_work(organ_experts_job *job, json_t **report, organ_error *error)
{
    if (experts_open_all(job, error) != ORGAN_OK)
        return error->status;
    if (allocate_layers(job, error) == ORGAN_OK && estimate_heal(job, error) == ORGAN_OK &&
        organ_experts_load_scores(job, error) == ORGAN_OK) {
        experts_choose(job);
        /* The check: an allocation that failed while JSON was built would leave incomplete scores in the report. */
        if (open_heal(job, error) == ORGAN_OK && organ_memory_work_check(job->model->path, error) == ORGAN_OK)
            experts_cut(job, report, error);
    }
    organ_experts_remove_scores(job, error->status);
    return error->status;
}

static void experts_release(organ_experts_job *job)
{
    organ_expert_heal_close(job->heal);
    organ_expert_scores_release(&job->scores);
    json_decref(job->identity);
    json_decref(job->needs);
    free(job->unfinished);
    free(job->layers);
    free(job->counts);
    free(job->kept);
    organ_model_close(job->model);
}

organ_status organ_experts(const organ_experts_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_experts_options, options, report, error, "model", options->model, "keep", options->keep,
                         "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_experts_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    experts_work(&job, report, error);
    experts_release(&job);
    return organ_report_end_partial(&work, options->model, error);
}
