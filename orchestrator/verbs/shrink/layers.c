/* SPDX-License-Identifier: MIT
 * Runs organ layers: checks options, chooses blocks, heals and writes the output. */
#include "orchestrator/verbs/shrink/layers_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/stream/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the report ---- */

/* Options that have no effect in this run are null. */
static json_t *layers_parameters(void *context)
{
    const organ_layers_job *const job = context;
    const organ_layers_options *const o = job->options;
    return ORGAN_OBJECT(SET_BYTES("drop", o->drop),
                        SET_BYTES_OF("calibration", o->calibration.text ? organ_path_name(o->calibration.text) : NULL),
                        SET_COUNT_OF("search_tokens", !job->drop.named, o->search_tokens),
                        SET_COUNT_OF("rounds", !job->drop.named, o->rounds),
                        SET_COUNT_OF("context", o->calibration.text, o->calibration.context), SET_FLAG("heal", o->heal),
                        SET_COUNT_OF("samples", o->heal, o->calibration.samples),
                        SET_REDUCED_COMPUTE(job->engine, o->calibration.text ? o->calibration.compute : NULL));
}

/* Returns the dropped blocks as --drop writes them, "5-8,11"; NULL if memory runs out. */
static json_t *blocks_text(const bool *dropped, size_t layers)
{
    organ_error ignored = {0};
    organ_text text;
    ORGAN_OWNED char *words = NULL;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return NULL;
    for (size_t l = 0, last = 0; l < layers; l = last + 1) {
        last = l;
        while (dropped[l] && last + 1 < layers && dropped[last + 1])
            last++;
        if (dropped[l])
            fprintf(text.out, last > l ? "%s%zu-%zu" : "%s%zu", ftell(text.out) > 0 ? "," : "", l, last);
    }
    organ_text_finish(&text, &words, &ignored);
    return words ? json_string(words) : NULL;
}

static json_t *set_json(const void *context, size_t k)
{
    const organ_layers_job *const job = context;
    const organ_layers_found *const f = &job->choice.found;
    const organ_layers_set *const set = &f->sets[k];
    bool best = false;
    for (size_t step = 0; step < f->steps; step++)
        best |= f->path[step] == k;
    return ORGAN_OBJECT(SET_COUNT("set", k + 1), SET_COUNT("round", set->round),
                        SET("dropped", organ_layers_numbers_json(set->dropped, job->layers)),
                        SET("blocks", blocks_text(set->dropped, job->layers)), SET_REAL("divergence", set->divergence),
                        SET_TEXT("kind", best ? "best so far" : "judged"));
}

/* The path has the sets that were the best when they were judged. */
static json_t *step_json(const void *context, size_t k)
{
    return set_json(context, ((const organ_layers_job *)context)->choice.found.path[k]);
}

static json_t *block_json(const void *context, size_t l)
{
    const organ_layers_job *const job = context;
    return ORGAN_OBJECT(SET_COUNT("layer", l), SET_TEXT("kind", job->kinds.names[l]),
                        SET_REAL("influence", job->choice.known.influence[l]),
                        SET_FLAG("dropped", job->drop.dropped[l]));
}

static json_t *search_json(const organ_layers_job *job)
{
    const organ_layers_choice *const c = &job->choice;
    const organ_layers_found *const f = &c->found;
    if (job->drop.named)
        return json_null();
    json_t *const head = ORGAN_OBJECT(
        SET("text", ORGAN_OBJECT(SET_BYTES("name", organ_path_name(job->options->calibration.text)),
                                 SET_HELD("xxh3", json_object_get(c->identity, "text")))),
        SET_COUNT("windows", c->walk.calibration.samples), SET_COUNT("context", c->walk.calibration.context),
        SET_COUNT("tokens", (json_int_t)c->walk.calibration.samples * c->walk.calibration.context),
        SET_FLAG("done", c->done));
    if (!c->done)
        return head;
    return organ_json_joined(head, ORGAN_OBJECT(SET_COUNT("judged", f->count), SET_COUNT("rounds", f->rounds),
                                                SET_FLAG("whole", f->whole), SET_FLAG("settled", f->locally_optimal),
                                                SET_REAL("divergence", f->sets[f->best].divergence),
                                                SET_REAL("start_divergence", f->sets[0].divergence),
                                                SET("path", organ_json_rows(f->steps, step_json, job)),
                                                SET("blocks", organ_json_rows(job->layers, block_json, job)),
                                                SET("sets", organ_json_rows(f->count, set_json, job))));
}

static json_t *solved_json(const void *context, size_t k)
{
    const organ_layers_solved *const s = &((const organ_layers_job *)context)->heal->solved[k];
    return ORGAN_OBJECT(SET("layer", s->layer < 0 ? json_null() : json_integer(s->layer)),
                        SET_TEXT("part", organ_layers_kind_name(s->kind)),
                        SET_REAL_OF("lambda", s->kind != ORGAN_HEAL_FINAL, s->lambda), SET_REAL("step", s->step),
                        SET_FLAG("skipped", s->skipped), SET_REAL_OF("times", s->kind == ORGAN_HEAL_FINAL, s->times),
                        SET_REAL("kl", s->after));
}

static json_t *heal_json(const organ_layers_job *job)
{
    const organ_layers_heal *const h = job->heal;
    const bool done = !job->options->write.dry_run;
    size_t skipped = 0;
    if (!h)
        return json_null();
    for (size_t k = 0; k < h->solved_count; k++)
        skipped += h->solved[k].skipped;
    return ORGAN_OBJECT(
        SET_COUNT("judged_tokens", h->judged.begin[h->judged.count]), SET_REAL_OF("kl_before", done, h->before),
        SET_REAL_OF("kl", done, h->divergence), SET_FLAG("done", done),
        SET_FLAG("lower", done && h->divergence < h->before), SET_COUNT("skipped", skipped),
        SET_COUNT("untried", h->untried),
        SET("calibration", organ_calibration_run_json(
                               h->calib, "the whole model's, and that of the cut model with the refits so far")),
        SET("parts", organ_json_rows(done ? h->solved_count : 0, solved_json, job)));
}

/* The result is null if the dropped blocks are unknown or all blocks are of one kind. */
static json_t *kinds_json(const organ_layers_job *job, bool known)
{
    json_t *const kinds = known ? organ_layers_kinds_json(&job->kinds, job->drop.dropped) : json_null();
    if (json_array_size(kinds) != 1)
        return kinds;
    json_decref(kinds);
    return json_null();
}

/* In a dry run with a search the dropped blocks are null, because they are not known. */
static json_t *layers_document(void *context, const organ_writing *made)
{
    const organ_layers_job *const job = context;
    const bool known = job->drop.named || job->choice.done;
    return organ_json_joined(
        ORGAN_OBJECT(SET_COUNT("layers_before", job->layers), SET_COUNT("layers_dropped", job->drop.count),
                     SET("dropped", known ? organ_layers_numbers_json(job->drop.dropped, job->layers) : json_null()),
                     SET("blocks", known ? blocks_text(job->drop.dropped, job->layers) : json_null()),
                     SET("kinds", kinds_json(job, known)), SET("search", search_json(job)),
                     SET("heal", heal_json(job))),
        organ_json_joined(organ_cut_json(made),
                          ORGAN_OBJECT(SET_SENTENCES(
                              "organ.layers/1", "definitions",
                              ORGAN_OBJECT(SET_FLAG("heal", job->heal), SET_FLAG("searched", !job->drop.named))))));
}

#define MAX_SEARCH 16777216u /* largest --search-tokens */
#define MAX_ROUNDS 1000000u  /* largest number of rounds */

/* ---- options ---- */

static organ_status check_numbers(const organ_layers_options *o, organ_error *error)
{
    if (o->search_tokens < 64 || o->search_tokens > MAX_SEARCH)
        return organ_fail(error, ORGAN_USAGE, "`search_tokens` %u is outside 64 .. %u", o->search_tokens, MAX_SEARCH);
    if (o->rounds > MAX_ROUNDS)
        return organ_fail(error, ORGAN_USAGE, "%u rounds are outside 0 .. %u", o->rounds, MAX_ROUNDS);
    return organ_calibration_run_check(o->heal ? o->calibration.samples : 1, o->calibration.context, error);
}

static organ_status layers_check_text(const organ_layers_job *job, organ_error *error)
{
    const organ_layers_options *const o = job->options;
    if (!job->drop.named && !o->calibration.text)
        return organ_fail(
            error, ORGAN_USAGE,
            "`drop` %s: the search for %zu of the %zu blocks needs a text: `calibration.text` FILE (for block "
            "%s alone give %s-%s)",
            o->drop, job->drop.count, job->layers, o->drop, o->drop, o->drop);
    if (o->heal && !o->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "`heal` needs a text: `calibration.text` FILE");
    if (o->calibration.text && job->drop.named && !o->heal)
        return organ_fail(error, ORGAN_USAGE, "`calibration.text` has no meaning for named blocks without `heal`");
    if (o->scores && job->drop.named)
        return organ_fail(error, ORGAN_USAGE, "`scores` has no meaning for named blocks: there is no search");
    return ORGAN_OK;
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
    organ_warn_of_type(job->progress, job->model, "what layers take from their numbers");
    if (organ_layers_drop_parse(o->drop, job->layers, o->model, &job->drop, error) || layers_check_text(job, error))
        return error->status;
    return organ_layers_kinds_find(job->model, job->layers, &job->kinds, error);
}

/* ---- dropped blocks ---- */

static uint64_t bytes_of_layer(const organ_layers_job *job, size_t layer)
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
            if (!dropped[l] && (least == job->layers || bytes_of_layer(job, l) <= bytes_of_layer(job, least)))
                least = l;
        dropped[least] = true;
    }
}

/* ---- healing ---- */

static organ_status open_heal(organ_layers_job *job, organ_error *error)
{
    const organ_layers_options *const o = job->options;
    const organ_layers_healing healing = {
        .walk = {.calibration = o->calibration, .method = "`heal`", .verb = "refit", .doing = "refitting"},
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

static organ_status open_search(organ_layers_job *job, organ_error *error)
{
    if (job->drop.named)
        return ORGAN_OK;
    organ_layers_choice_open(job, error);
    return organ_memory_check_also(estimate_heal, job, error);
}

/* A dry run only estimates the search and assumes that the blocks with the fewest bytes are dropped. */
static organ_status layers_search(organ_layers_job *job, organ_writing *writing, organ_error *error)
{
    if (job->drop.named)
        return ORGAN_OK;
    if (job->options->write.dry_run) {
        organ_layers_choice_estimate(job);
        drop_smallest(job);
    } else
        organ_layers_choice_run(job, writing, error);
    organ_layers_choice_close(job);
    return error->status;
}

static organ_status layers_decide(organ_cut_out *cut, organ_writing *writing, organ_error *error)
{
    organ_layers_job *const job = cut->write.context;
    if (layers_search(job, writing, error) || open_heal(job, error))
        return error->status;
    for (size_t l = 0; l < job->layers; l++)
        job->kept[l].dropped = job->drop.dropped[l];
    cut->refitted = job->refitted;
    cut->refit_context = job->heal;
    if (job->heal && job->options->write.dry_run)
        organ_layers_heal_estimate(job->heal, &job->plan);
    return ORGAN_OK;
}

/* ---- the smaller model ---- */

/* Refitted weights depend on the calibration text, too. */
static json_t *layers_identity(void *context)
{
    const organ_layers_job *const job = context;
    return ORGAN_OBJECT(
        SET_IF(job->choice.identity, "search", json_incref(job->choice.identity)),
        SET_IF(job->heal, "text", json_string(organ_calibration_run_facts_of(job->heal->calib)->digest)));
}

static organ_status layers_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_layers_options *const o = ((const organ_layers_job *)context)->options;
    return organ_run_inputs_add(inputs, "text", o->calibration.text, error);
}

/* transformers and SGLang find a block that continues the layers by the layer number of the published model. */
static void warn_of_blocks(const organ_layers_job *job)
{
    const organ_model *const model = job->model;
    const organ_mtp_type *const type = model->gguf ? NULL : organ_mtp_type_of(model->config.model_type);
    const organ_draft_family *const family = type ? organ_draft_family_named(type->family) : NULL;
    for (size_t k = 0; k < model->tensor_count && family && !family->layer_prefix; k++)
        if (model->tensors[k].anatomy.role == ORGAN_ROLE_MTP && model->tensors[k].anatomy.layer >= 0 &&
            !job->kept[model->tensors[k].anatomy.layer].dropped) {
            organ_progress_warn(job->progress,
                                "the block for multi-token prediction is layer %d, and gets the number after the kept "
                                "layers: transformers looks for the number of the published model, and SGLang reads "
                                "lists of unquantised modules so; vLLM and llama.cpp find it",
                                (int)model->tensors[k].anatomy.layer);
            return;
        }
}

static organ_status layers_cut(organ_layers_job *job, json_t **report, organ_error *error)
{
    const organ_layers_options *const o = job->options;
    const size_t blocks = organ_cut_layers(job->model);
    if (!(job->kept = calloc(blocks, sizeof *job->kept)))
        return organ_fail_memory(error, o->model);
    organ_cut_out made = {.write = {.model = job->model,
                                    .requested = &o->write,
                                    ORGAN_WRITE_BY(job),
                                    .report.plan = &job->plan,
                                    .names.definition = ORGAN_LAYERS_DEFINITION,
                                    .names.view = &organ_layers_view,
                                    .names.stage = "dropping blocks",
                                    .check.parameters = layers_parameters,
                                    .check.identity = layers_identity,
                                    .check.inputs = layers_inputs,
                                    .report.document = layers_document},
                          .decide = layers_decide,
                          .layers = job->kept,
                          .layer_count = blocks,
                          .refit = o->heal ? organ_layers_heal_run : NULL,
                          .results = o->heal ? organ_layers_heal_results : NULL,
                          .recall = o->heal ? organ_layers_heal_recall : NULL};
    return organ_cut_make(&made, report, error);
}

static void layers_release(organ_layers_job *job)
{
    organ_layers_choice_release(job);
    organ_layers_heal_close(job->heal);
    ORGAN_FREE_ARRAYS(job->refitted, job->drop.dropped, job->kept);
    organ_layers_kinds_release(&job->kinds);
    organ_model_close(job->model);
}

static organ_status layers_verb(const void *given, const organ_engine *engine, const organ_progress *progress,
                                json_t **report, organ_error *error)
{
    const organ_layers_options *const options = given;
    ORGAN_RELEASED_BY(layers_release)
    organ_layers_job job = {.options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    if (open_model(&job, error) == ORGAN_OK && open_search(&job, error) == ORGAN_OK &&
        layers_cut(&job, report, error) == ORGAN_OK)
        warn_of_blocks(&job);
    return organ_report_end_partial(&work, options->model, error);
}

organ_status organ_layers(const organ_layers_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_layers_options, options, report, error, "model", options->model, "drop", options->drop,
                         "write.output", options->write.dry_run ? "" : options->write.output))
        return error->status;
    return organ_plan_run(layers_verb, options, options->write.dry_run, engine, progress, report, error);
}
