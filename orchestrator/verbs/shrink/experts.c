/* SPDX-License-Identifier: MIT
 * The verb `experts`: checks its options, chooses the kept experts by their scores, and writes the smaller model. */
#include "orchestrator/verbs/shrink/experts_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/output/verb_requirements.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/compute.h"

#include <inttypes.h>
#include <organ/base.h>
#include <stdlib.h>
#include <string.h>

/* ---- the report ---- */

static json_t *experts_parameters(void *context)
{
    const organ_experts_job *const job = context;
    const organ_experts_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("keep", o->keep), SET_TEXT("score", organ_expert_score_name(job->score)),
                        SET_TEXT("per_layer", job->global ? "global" : "uniform"), SET_FLAG("heal", o->heal),
                        SET_COUNT("max_shard_bytes", o->write.max_shard_size));
}

static json_t *missed_json(const void *context, size_t l)
{
    const organ_experts_job *const job = context;
    const bool there = job->known && job->scores.with_loss && !job->scores.of[l].dense; /* the loss is measured */
    return ORGAN_OBJECT(
        SET_COUNT("layer", l), SET_COUNT("keep", job->counts[l]),
        SET_REAL_OF("missed", there,
                    there ? organ_millionth(organ_expert_scores_missed(&job->scores, l, job->counts[l])) : 0));
}

/* Counts the removed tensors of blocks with names of their own, such as mtp.layers.0. */
static size_t count_draft_tensors(const organ_experts_job *job)
{
    const organ_model *const model = job->model;
    size_t count = 0;
    bool experts = job->drops_blocks;
    for (size_t t = 0; t < model->tensor_count; t++) {
        count += organ_cut_is_draft(&model->tensors[t]) || organ_cut_is_own(&model->tensors[t]);
        experts = experts || (organ_cut_is_draft(&model->tensors[t]) && strstr(model->tensors[t].name, ".experts."));
    }
    return experts ? count : 0;
}

/* Returns how many layers of blocks that continue the model's layers are removed. */
static size_t count_left_out(const organ_experts_job *job)
{
    return job->drops_blocks && organ_cut_own_layers(job->model) == job->layer_count
               ? job->layer_count - job->scores.trunk
               : 0;
}

/* Member "layers" is empty in a dry run without scores, because the kept experts are then unknown. */
static json_t *experts_document(void *context, const organ_writing *made)
{
    const organ_experts_job *const job = context;
    json_t *const cut = organ_cut_json(made);
    const size_t drafts = count_draft_tensors(job);
    if (cut && !job->known && !ORGAN_ADD(cut, SET("layers", json_array()))) {
        json_decref(cut);
        return NULL;
    }
    return organ_json_joined(
        cut,
        ORGAN_OBJECT(SET_COUNT("left_out", count_left_out(job)),
                     SET_IF(drafts, "draft_tensors", json_integer((json_int_t)drafts)), SET_COUNT("keep", job->keep),
                     SET_TEXT("score", organ_expert_score_name(job->score)), SET_FLAG("measured", job->known),
                     SET_HELD("measurement", job->needs),
                     SET("losses", organ_json_rows(job->scores.layers, missed_json, job)),
                     SET_HELD("calibration", job->scores.calibration),
                     SET("scores", job->known ? organ_expert_scores_json(&job->scores, job->identity) : json_null()),
                     SET("heal", job->heal ? organ_expert_heal_json(job->heal) : json_null()),
                     SET_SENTENCES("organ.experts/1", "definitions", NULL)));
}

/* ---- options ---- */

#define OPTION(path, ...) ORGAN_REQUIREMENT(organ_experts_options, path, __VA_ARGS__)
#define MODEL(path)       OPTION(path, .never = "predict", .why = "it writes no model")

/* clang-format off */
ORGAN_REQUIREMENTS(experts, NULL,
    MODEL(write.output),
    MODEL(write.dry_run),
    MODEL(write.resume),
    MODEL(write.force),
    MODEL(write.evaluate),
    MODEL(heal),
    OPTION(per_layer),
    OPTION(predict, .never = "per_layer=global", .why = "it writes no model"),
    OPTION(predict, .with = "calibration.text", .why = "it needs a text with held-out windows"),
    OPTION(predict_tokens, .with = "predict"),
    OPTION(calibration.text),
    OPTION(calibration.scratch, .with = "calibration.text", .why = "nothing is measured"))
/* clang-format on */

static organ_status experts_check_options(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    if (!o->calibration.text && !o->scores)
        return organ_fail(
            error, ORGAN_USAGE,
            "give a text to measure experts on (`calibration.text` TEXT) or stored measurements (`scores` FILE)");
    if (o->heal && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "`heal` needs a text: `calibration.text` TEXT");
    job->global = o->per_layer && strcmp(o->per_layer, "global") == 0;
    if (o->per_layer && !job->global && strcmp(o->per_layer, "uniform") != 0)
        return organ_fail(error, ORGAN_USAGE, "`per_layer` %s: is neither uniform nor global", o->per_layer);
    return organ_expert_score_named(o->score ? o->score : "loss", &job->score, error);
}

/* ---- the choice ---- */

/* A layer of a block may have experts of an unknown form, without a known router. */
static bool has_unscored_experts(const organ_experts_job *job)
{
    const organ_model *const model = job->model;
    bool found = false;
    for (size_t t = 0; t < model->tensor_count && !found; t++) {
        const organ_anatomy *const a = &model->tensors[t].anatomy;
        found = a->layer >= (int32_t)job->scores.layers && (a->expert >= 0 || a->experts == ORGAN_EXPERTS_ROUTED ||
                                                            organ_anatomy_is_router(model->tensors[t].name));
    }
    return found;
}

static organ_status allocate_layers(organ_experts_job *job, organ_error *error)
{
    const organ_expert_scores *const s = &job->scores;
    job->layer_count = organ_cut_layers(job->model);
    job->layers = calloc(job->layer_count + 1, sizeof *job->layers);
    job->counts = calloc(s->layers + 1, sizeof *job->counts);
    job->kept = calloc(s->layers * s->experts + 1, sizeof *job->kept);
    if (!job->layers || !job->counts || !job->kept)
        return organ_fail_memory(error, job->model->path);
    job->drops_blocks = has_unscored_experts(job);
    for (size_t l = s->trunk; l < job->layer_count && job->drops_blocks; l++)
        job->layers[l].dropped = true;
    if (job->drops_blocks)
        organ_progress_note(job->progress,
                            "the layers for multi-token prediction after the %zu blocks of the forward pass are "
                            "removed: it does not run them, so that their experts have no scores",
                            s->trunk);
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
    uint64_t budget = 0;
    for (size_t l = 0; l < s->layers; l++) {
        job->counts[l] = s->of[l].dense ? 0 : each;
        budget += job->counts[l];
    }
    if (job->global && job->known)
        organ_expert_scores_divide(s, budget, job->counts);
    for (size_t l = 0; l < s->layers && l < job->layer_count; l++) {
        if (s->of[l].dense)
            continue;
        uint32_t *const kept = job->kept + l * s->experts;
        choose_layer(job, l, job->counts[l], kept);
        job->layers[l].experts = (organ_cut_keep){kept, job->counts[l]};
    }
}

/* The message has the numbers of all layers with experts, in their order. */
static organ_status refuse_uneven(const organ_experts_job *job, organ_error *error)
{
    const organ_expert_scores *const s = &job->scores;
    organ_text list;
    ORGAN_OWNED char *numbers = NULL;
    bool uneven = false;
    if (organ_text_open(&list, error) != ORGAN_OK)
        return error->status;
    const char *before = "";
    for (size_t l = 0; l < s->layers && l < job->layer_count; l++)
        if (!s->of[l].dense) {
            organ_fprintf(list.out, "%s%" PRIu32, before, job->counts[l]);
            before = ", ";
            uneven |= job->counts[l] != job->keep;
        }
    if (organ_text_finish(&list, &numbers, error) == ORGAN_OK && uneven)
        organ_fail(error, ORGAN_USAGE,
                   "`per_layer` global: the layers would keep %s experts, but config.json and GGUF have one number of "
                   "experts for all layers, and neither transformers nor llama.cpp reads a list",
                   numbers);
    return error->status;
}

/* ---- refit ---- */

/* Closes the refit that is open, and opens one for job->layers if --refit is given; else job->heal becomes NULL. */
static organ_status open_heal(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    const organ_expert_heal_options healing = {.model = job->model,
                                               .layers = job->layers,
                                               .layer_count = job->scores.trunk,
                                               .calibration = o->calibration,
                                               .engine = job->engine,
                                               .progress = job->progress};
    organ_expert_heal_close(job->heal);
    job->heal = NULL;
    return o->heal ? organ_expert_heal_open(&healing, &job->heal, error) : ORGAN_OK;
}

/* A refitted output depends on the calibration text and its windows in addition to the parameters. */
static json_t *experts_identity(void *context)
{
    const organ_experts_job *const job = context;
    return ORGAN_OBJECT(SET_HELD("samples", json_object_get(job->identity, "samples")),
                        SET_HELD("context", json_object_get(job->identity, "context")),
                        SET_REDUCED_COMPUTE(job->engine, job->options->heal ? job->options->calibration.compute : NULL),
                        SET_IF(job->options->heal, "healed_along", json_incref(job->scores.calibration)));
}

/* The kept experts are not known yet, but only their number matters, so the check chooses any. If memory does not
 * suffice, the measurement is checked too, so that the message states an amount that suffices for both. */
static organ_status estimate_heal(organ_experts_job *job, organ_error *error)
{
    organ_error of_measurement = {0};
    experts_choose(job);
    open_heal(job, error);
    organ_expert_heal_close(job->heal);
    job->heal = NULL;
    if (organ_memory_named(error))
        organ_experts_try(job, &of_measurement);
    return organ_memory_refuse_both(error, &of_measurement);
}

/* ---- the run ---- */

static organ_status experts_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_experts_options *const o = ((const organ_experts_job *)context)->options;
    organ_run_inputs_add(inputs, "text", o->calibration.text, error);
    return organ_run_inputs_add(inputs, "scores", o->calibration.text ? NULL : o->scores, error);
}

/* The check: an allocation that failed while JSON was built would leave incomplete scores in the report. */
static organ_status experts_decide(organ_cut_out *cut, organ_writing *writing, organ_error *error)
{
    organ_experts_job *const job = cut->write.context;
    if (organ_experts_load_scores(job, writing, error) != ORGAN_OK)
        return error->status;
    experts_choose(job);
    if (refuse_uneven(job, error) || open_heal(job, error) || organ_memory_work_check(job->model->path, error) ||
        !job->heal)
        return error->status;
    cut->refitted = job->heal->refitted;
    cut->refit_context = job->heal;
    if (job->options->write.dry_run)
        organ_expert_heal_estimate(job->heal, &job->plan);
    return ORGAN_OK;
}

static organ_status experts_cut(organ_experts_job *job, json_t **report, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    organ_cut_out all = {.write = {.model = job->model,
                                   .requested = &o->write,
                                   ORGAN_WRITE_BY(job),
                                   .names.definition = ORGAN_EXPERT_SCORES_DEFINITION,
                                   .names.view = &organ_experts_view,
                                   .names.stage = "cutting",
                                   .check.parameters = experts_parameters,
                                   .check.inputs = experts_inputs,
                                   .report.document = experts_document,
                                   .report.plan = &job->plan,
                                   .report.runs_blocks = job->scores.layers > job->scores.trunk,
                                   .check.identity = experts_identity},
                         .decide = experts_decide,
                         .layers = job->layers,
                         .layer_count = job->layer_count,
                         .refit = o->heal ? organ_expert_heal_run : NULL,
                         .results = o->heal ? organ_expert_heal_results : NULL,
                         .recall = o->heal ? organ_expert_heal_recall : NULL};
    return organ_cut_make(&all, report, error);
}

/* The scores include the loss also for --per-layer global, which compares layers by the loss. */
static organ_status experts_open_all(organ_experts_job *job, organ_error *error)
{
    const organ_experts_options *const o = job->options;
    const organ_experts_options defaults = organ_experts_defaults();
    if (organ_requirements_check(&organ_experts_requirements, o, &defaults, error) ||
        experts_check_options(job, error) || organ_donor_open(o->model, "cut", job->progress, &job->model, error))
        return error->status;
    organ_mtp_number_layers(job->model);
    if (organ_expert_scores_open(job->model, job->engine, job->score == ORGAN_EXPERT_LOSS || job->global, &job->scores,
                                 error) != ORGAN_OK)
        return error->status;
    return o->predict ? ORGAN_OK : organ_experts_read_keep(o->keep, &job->scores, &job->keep, error);
}

static organ_status experts_work(organ_experts_job *job, json_t **report, organ_error *error)
{
    if (experts_open_all(job, error) != ORGAN_OK)
        return error->status;
    if (job->options->predict)
        return organ_experts_predict(job, report, error);
    if (allocate_layers(job, error) || estimate_heal(job, error) || organ_experts_open_scores(job, error))
        return error->status;
    return experts_cut(job, report, error);
}

static void experts_release(organ_experts_job *job)
{
    organ_expert_heal_close(job->heal);
    organ_expert_scores_release(&job->scores);
    json_decref(job->identity);
    json_decref(job->needs);
    organ_expert_measure_close(job->measure);
    ORGAN_FREE_ARRAYS(job->layers, job->counts, job->kept);
    organ_model_close(job->model);
}

static organ_status experts_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                                 json_t **report, organ_error *error)
{
    const organ_experts_options *const options = given;
    ORGAN_RELEASED_BY(experts_release)
    organ_experts_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    experts_work(&job, report, error);
    return organ_report_end_partial(&work, options->model, error);
}

organ_status organ_experts(const organ_experts_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_experts_options, options, report, error, "model", options->model, "keep",
                         options->predict ? "" : options->keep, "write.output",
                         options->predict || options->write.dry_run ? "" : options->write.output))
        return error->status;
    return organ_plan_run(experts_verb, options, options->write.dry_run, engine, progress, report, error);
}
