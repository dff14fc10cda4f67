/* SPDX-License-Identifier: MIT
 * config.json of a grafted model: it says of each grafted layer what the config.json of the source says of it, or, if
 * the models have different types, what the target says of a layer of the same kind. */
#include "orchestrator/verbs/graft/graft_block.h"

#include "formats/base/rows.h"
#include "orchestrator/output/facts.h"

#include <stdlib.h>

static organ_status load_config(organ_graft_config *side, const organ_model *model, int32_t layers, organ_error *error)
{
    const int64_t stated = model->config.num_hidden_layers;
    side->layers = stated > 0 && stated < layers ? (size_t)stated : (size_t)layers;
    return model->gguf ? ORGAN_OK : organ_layers_load(model, side->layers, &side->root, &side->object, error);
}

organ_status organ_graft_load_configs(organ_graft_job *job, organ_error *error)
{
    if (load_config(&job->source_config, job->source, job->source_layers, error) ||
        load_config(&job->target_config, job->target, job->target_layers, error))
        return error->status;
    const json_t *const ours = job->target_config.object, *const theirs = job->source_config.object;
    const char *const type = json_string_value(json_object_get(ours, "model_type"));
    job->editable = ours && !job->single && organ_graft_whole_layers(job);
    job->described = job->editable && theirs && type && organ_layer_is_model(theirs, type);
    return ORGAN_OK;
}

/* A layer that keeps its number and of which both models say the same is the target's. */
static organ_layer_origin origin_of(const organ_graft_job *job, const organ_layer_pair *pair)
{
    const organ_graft_config *const ours = &job->target_config, *const theirs = &job->source_config;
    const organ_layer_origin source = {theirs->object, theirs->layers, (size_t)pair->from, NULL},
                             target = {ours->object, ours->layers, (size_t)pair->to, NULL};
    if (!organ_graft_is_described(job, pair))
        return (organ_layer_origin){ours->object, ours->layers, (size_t)(pair->like < 0 ? pair->to : pair->like), NULL};
    return pair->from == pair->to && ours->layers == theirs->layers && organ_layers_same(&source, &target) ? target
                                                                                                           : source;
}

static void fill_origins(const organ_graft_job *job, organ_layer_origin *origins)
{
    for (size_t n = 0; n < (size_t)job->target_layers; n++)
        origins[n] = (organ_layer_origin){job->target_config.object, job->target_config.layers, n, NULL};
    for (size_t k = 0; k < job->pair_count; k++)
        if (job->pairs[k].to >= 0 && job->pairs[k].to < job->target_layers)
            origins[job->pairs[k].to] = origin_of(job, &job->pairs[k]);
}

static void note_change(void *context, const organ_settings *at, const char *key, json_t *before, json_t *after)
{
    organ_say(((organ_graft_job *)context)->metadata, "config.json: %s%s%s was adapted to the grafted layers.",
              at->inside ? at->inside : "", at->inside ? "." : "", key);
    json_decref(before);
    json_decref(after);
}

static organ_status edit_objects(organ_graft_job *job, organ_json_edit *config, const organ_layer_origin *origins,
                                 bool noted, organ_error *error)
{
    const organ_graft_config *const target = &job->target_config;
    char count[ORGAN_MEMBER_ROOM];
    organ_layer_plan plan = {.s = {.label = config->label,
                                   .edit = config,
                                   .changed = noted ? note_change : NULL,
                                   .context = job,
                                   .error = error},
                             .layers = target->layers,
                             .origins = origins,
                             .after = target->layers,
                             .count = (size_t)job->target_layers};
    for (size_t k = 0; organ_settings_enter(&plan.s, target->root, &k);)
        if (organ_layers_describes(plan.s.object, target->layers, count))
            organ_layers_edit(&plan);
    return error->status;
}

static organ_status edit_layers(organ_graft_job *job, organ_json_edit *config, bool noted, organ_error *error)
{
    ORGAN_OWNED_ROWS organ_layer_origin *const origins =
        organ_rows_take((size_t)job->target_layers + 1, sizeof *origins);
    if (!origins)
        return organ_fail_memory(error, job->options->target);
    fill_origins(job, origins);
    edit_objects(job, config, origins, noted, error);
    return error->status;
}

organ_status organ_graft_edit_config(void *context, organ_json_edit *config, organ_error *error)
{
    organ_graft_job *const job = context;
    if (job->block.chosen)
        return organ_graft_edit_block_config(job, config, /*noted=*/false, error);
    return job->editable ? edit_layers(job, config, /*noted=*/false, error) : ORGAN_OK;
}

organ_status organ_graft_try_config(organ_graft_job *job, const organ_layer_kind *const *kinds, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    if (!organ_config_open(job->target, "config.json", &edit, error))
        return error->status;
    if (job->block.chosen)
        return organ_graft_edit_block_config(job, &edit, /*noted=*/true, error);
    if (edit_layers(job, &edit, /*noted=*/true, error) == ORGAN_OK && kinds)
        organ_layers_check(&edit, job->target->config.architecture, kinds, job->target_config.layers, job->described,
                           error);
    return error->status;
}

/* ---- settings that organ does not know ---- */

/* For organ_layers_refuse_unknown a layer that is added stands for all that move. */
static void check_members(const organ_graft_config *side, const char *label, organ_error *error)
{
    organ_layer_plan plan = {.s = {.label = label, .object = side->object, .error = error},
                             .layers = side->layers,
                             .after = side->layers + 1,
                             .count = side->layers + 1};
    organ_layers_refuse_unknown(&plan);
}

static void check_side(const organ_model *model, const organ_graft_config *side, const char *label, organ_error *error)
{
    if (model->gguf)
        organ_layers_check_keys(model, error);
    else if (side->object && side->layers)
        check_members(side, label, error);
}

void organ_graft_check_unknown(organ_graft_job *job)
{
    bool moved = false;
    organ_error unknown = {0};
    for (size_t k = 0; k < job->pair_count; k++)
        moved = moved || job->pairs[k].from != job->pairs[k].to || job->pairs[k].to >= job->target_layers;
    if (!moved)
        return;
    check_side(job->target, &job->target_config, "config.json of the target", &unknown);
    if (!unknown.status)
        check_side(job->source, &job->source_config, "config.json of the source", &unknown);
    if (unknown.status)
        organ_say(job->mismatches, "metadata: %s", unknown.message);
}
