/* SPDX-License-Identifier: MIT
 * Runs organ layers: checks options, chooses blocks, heals and writes the output. */
#include "orchestrator/surgery/layers/layers_job.h"

#include <organ/base.h>
#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/facts/facts.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SEARCH 16777216u /* largest --search-tokens */
#define MAX_ROUNDS 1000000u  /* largest number of rounds */

static bool needs_search(const organ_layers_job *job) { return !job->drop.named; }

/* ---- options ---- */

static organ_status check_numbers(const organ_layers_options *o, organ_error *error)
{
    if (o->search_tokens < 64 || o->search_tokens > MAX_SEARCH)
        return organ_fail(error, ORGAN_USAGE, "--search-tokens %u is outside 64 .. %u", o->search_tokens, MAX_SEARCH);
    if (o->rounds > MAX_ROUNDS)
        return organ_fail(error, ORGAN_USAGE, "%u rounds are outside 0 .. %u", o->rounds, MAX_ROUNDS);
    return organ_calibration_run_check(o->heal ? o->calibration.samples : 1, o->calibration.context, error);
}

static organ_status layers_check_text(const organ_layers_job *job, organ_error *error)
{
    const organ_layers_options *const o = job->options;
    if (needs_search(job) && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE,
                          "--drop %s: the search for %zu of the %zu blocks needs a text: --calibration FILE (for block "
                          "%s alone give %s-%s)",
                          o->drop, job->drop.count, job->layers, o->drop, o->drop, o->drop);
    if (o->heal && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "--heal needs a text: --calibration FILE");
    if (o->calibration.text && !needs_search(job) && !o->heal)
        return organ_fail(error, ORGAN_USAGE, "--calibration has no meaning for named blocks without --heal");
    if (o->scores && !needs_search(job))
        return organ_fail(error, ORGAN_USAGE, "--scores has no meaning for named blocks: there is no search");
    return ORGAN_OK;
}

static organ_status layers_check_output(const organ_layers_job *job, organ_error *error)
{
    const organ_layers_options *const o = job->options;
    if (organ_output_check_not_input(o->write.output, job->model, error) != ORGAN_OK)
        return error->status;
    return organ_output_check(o->write.output, organ_output_like(job->model), o->write.force, error);
}

/* In models with an encoder and a decoder (BART, Whisper, T5), the blocks of both are numbered from 0, but
 * config.json has separate counts. */
static organ_status refuse_two_stacks(const organ_model *model, organ_error *error)
{
    const char *encoder = NULL, *decoder = NULL;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const char *const name = model->tensors[t].name;
        encoder = strncmp(name, "model.encoder.", 14) == 0 || strncmp(name, "encoder.", 8) == 0 ? name : encoder;
        decoder = strncmp(name, "model.decoder.", 14) == 0 || strncmp(name, "decoder.", 8) == 0 ? name : decoder;
    }
    if (encoder && decoder)
        return organ_fail(
            error, ORGAN_BAD_INPUT,
            "%s: has an encoder ('%.100s') and a decoder ('%.100s'), which cannot be made smaller together",
            model->path, encoder, decoder);
    return ORGAN_OK;
}

static organ_status open_model(organ_layers_job *job, organ_error *error)
{
    const organ_layers_options *const o = job->options;
    if (check_numbers(o, error) || organ_donor_open(o->model, "made smaller", job->progress, &job->model, error) ||
        refuse_two_stacks(job->model, error))
        return error->status;
    job->layers = organ_cut_layers(job->model);
    if (job->layers == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: no tensor has the number of a block in its name", o->model);
    if (organ_layers_drop_parse(o->drop, job->layers, o->model, &job->drop, error) || layers_check_text(job, error) ||
        organ_layers_kinds_find(job->model, job->layers, &job->kinds, error))
        return error->status;
    return layers_check_output(job, error);
}

/* ---- dropped blocks ---- */

static uint64_t layers_bytes_of(const organ_layers_job *job, size_t layer)
{
    uint64_t bytes = 0;
    for (size_t t = 0; t < job->model->tensor_count; t++)
        bytes += job->model->tensors[t].anatomy.layer == (int32_t)layer ? job->model->tensors[t].bytes : 0;
    return bytes;
}

/* A dry run reports sizes and memory for these blocks, because the result of the search is not known. The last ones of
 * blocks of equal size are dropped. */
static void drop_smallest(organ_layers_job *job)
{
    bool *const dropped = job->drop.dropped;
    for (size_t n = 0; n < job->drop.count; n++) {
        size_t least = job->layers;
        for (size_t l = 0; l < job->layers; l++)
            if (!dropped[l] && (least == job->layers || layers_bytes_of(job, l) <= layers_bytes_of(job, least)))
                least = l;
        dropped[least] = true;
    }
}

/* ---- healing ---- */

static organ_status open_heal(organ_layers_job *job, organ_error *error)
{
    const organ_layers_options *const o = job->options;
    const organ_layers_healing healing = {
        .walk = {.calibration = o->calibration, .method = "--heal", .verb = "heal", .doing = "healing"},
        .model = job->model,
        .dropped = job->drop.dropped,
        .layers = job->layers,
        .engine = job->engine,
        .progress = job->progress};
    if (!o->heal)
        return ORGAN_OK;
    job->refitted = calloc(job->model->tensor_count + 1, sizeof *job->refitted);
    return job->refitted ? organ_layers_heal_open(&healing, job->refitted, &job->heal, error)
                         : organ_fail_memory(error, o->model);
}

/* The need of the heal hardly depends on which blocks are dropped, so it is computed for the smallest ones before
 * the long search. No block stays marked as dropped. */
static organ_status estimate_heal(void *context, organ_error *error)
{
    organ_layers_job *const job = context;
    drop_smallest(job);
    open_heal(job, error);
    organ_layers_heal_close(job->heal);
    free(job->refitted);
    job->heal = NULL;
    job->refitted = NULL;
    memset(job->drop.dropped, 0, job->layers * sizeof *job->drop.dropped);
    return error->status;
}

/* A dry run only estimates the search and assumes that the blocks with the fewest bytes are dropped. */
static organ_status layers_choose(organ_layers_job *job, organ_error *error)
{
    if (!needs_search(job))
        return ORGAN_OK;
    organ_layers_choice_open(job, error);
    if (organ_memory_check_also(estimate_heal, job, error) == ORGAN_OK) {
        if (job->options->write.dry_run) {
            organ_layers_choice_estimate(job);
            drop_smallest(job);
        } else
            organ_layers_choice_run(job, error);
    }
    organ_layers_choice_close(job);
    return error->status;
}

static organ_status layers_fill(void *inner, organ_writing *writing, organ_error *error)
{
    organ_cut_run *const run = organ_cut_begin(inner, writing);
    const organ_layers_job *const job = organ_cut_context(run);
    return organ_layers_heal_run(job->heal, run, error) ? error->status : organ_cut_copy(run, error);
}

static json_t *layers_results(void *context, const organ_tensor *tensor)
{
    return organ_layers_heal_results(((organ_layers_job *)context)->heal, tensor);
}

static bool layers_recall(void *context, const organ_tensor *tensor, const json_t *known)
{
    return organ_layers_heal_recall(((organ_layers_job *)context)->heal, tensor, known);
}

/* ---- the smaller model ---- */

/* Refitted weights depend on the calibration text. */
static json_t *layers_identity(void *context)
{
    const organ_layers_job *const job = context;
    return ORGAN_OBJECT(SET_IF(job->heal, "text",
                               json_string(organ_calibration_run_facts_of(organ_layers_heal_text(job->heal))->digest)));
}

static organ_status layers_cut(organ_layers_job *job, json_t **report, organ_error *error)
{
    const organ_layers_options *const o = job->options;
    const size_t blocks = organ_cut_layers(job->model);
    if (job->heal && o->write.dry_run)
        organ_layers_heal_estimate(job->heal, &job->plan);
    organ_cut_layer *const layers = calloc(blocks, sizeof *layers);
    if (!layers)
        return organ_fail_memory(error, o->model);
    for (size_t l = 0; l < job->layers; l++)
        layers[l].dropped = job->drop.dropped[l];
    organ_cut_out made = {.write = {.model = job->model,
                                    .requested = &o->write,
                                    .checked = needs_search(job) && !o->write.dry_run,
                                    .progress = job->progress,
                                    .engine = job->engine,
                                    .context = job,
                                    .plan = &job->plan,
                                    .fill = job->heal ? layers_fill : NULL,
                                    .definition = ORGAN_LAYERS_DEFINITION,
                                    .schema = ORGAN_LAYERS_SCHEMA,
                                    .name = "layers.json",
                                    .markdown_name = "LAYERS_REPORT.md",
                                    .stage = "dropping blocks",
                                    .parameters = organ_layers_parameters,
                                    .identity = layers_identity,
                                    .document = organ_layers_document},
                          .layers = layers,
                          .layer_count = blocks,
                          .refitted = job->refitted,
                          .results = job->heal ? layers_results : NULL,
                          .recall = job->heal ? layers_recall : NULL};
    organ_cut_make(&made, report, error);
    free(layers);
    return error->status;
}

static organ_status layers_make(organ_layers_job *job, json_t **report, organ_error *error)
{
    return open_model(job, error) || layers_choose(job, error) || open_heal(job, error)
               ? error->status
               : layers_cut(job, report, error);
}

static void layers_release(organ_layers_job *job)
{
    organ_layers_choice_release(job);
    organ_layers_heal_close(job->heal);
    free(job->refitted);
    free(job->drop.dropped);
    organ_layers_kinds_release(&job->kinds);
    organ_model_close(job->model);
}

organ_status organ_layers(const organ_layers_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_layers_options, options, report, error, "model", options->model, "drop", options->drop,
                         "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    organ_layers_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    layers_make(&job, report, error);
    layers_release(&job);
    return organ_report_end_partial(&work, options->model, error);
}
