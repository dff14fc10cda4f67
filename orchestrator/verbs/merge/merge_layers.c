/* SPDX-License-Identifier: MIT
 * Settings by layer of the output: config.json says of each layer what the config.json of its donor says of the layer
 * that it is. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "formats/base/rows.h"
#include "orchestrator/surgery/layers/layer_settings.h"

#include <stdlib.h>

/* ---- what the donors say ---- */

typedef struct layers_donor {
    json_t *root;                 /* config.json; NULL: the donor has none */
    const json_t *object;         /* the object of the text model; NULL: none is known */
    organ_forward_config *config; /* NULL: organ does not know the architecture */
    organ_forward_config storage;
    size_t each; /* layers of the configuration for a layer of the file */
} layers_donor;

static organ_status read_donor(const merge_donor *donor, bool host, layers_donor *read, organ_error *error)
{
    organ_error unknown = {0};
    const bool gguf = !host && organ_merge_is_gguf(donor);
    const organ_model *const model = gguf ? organ_merge_stored(donor) : donor->model;
    if (organ_forward_config_read(model, &read->storage, &unknown) == ORGAN_OK)
        read->config = &read->storage;
    read->each = read->config && donor->layers ? read->config->layers / donor->layers : 1;
    return gguf ? ORGAN_OK : organ_layers_load(model, donor->layers, &read->root, &read->object, error);
}

static void close_all(const model_merge *job, layers_donor *donors)
{
    for (size_t k = 0; donors && k < job->recipe.donor_count; k++) {
        json_decref(donors[k].root);
        organ_forward_config_release(&donors[k].storage);
    }
    organ_rows_free(donors);
}

static organ_status read_all(const model_merge *job, layers_donor **donors, organ_error *error)
{
    if (!(*donors = organ_rows_take(job->recipe.donor_count, sizeof **donors)))
        return organ_fail_memory(error, job->recipe.label);
    for (size_t k = 0; k < job->recipe.donor_count && !error->status; k++)
        read_donor(&job->donors[k], k == job->host, &(*donors)[k], error);
    return error->status;
}

/* The result is NULL if the kind of the layer is not known. */
static const organ_layer_kind *kind_of(const layers_donor *donor, uint64_t layer)
{
    return donor->config && layer * donor->each < donor->config->layers ? &donor->config->kinds[layer * donor->each]
                                                                        : NULL;
}

/* ---- layers that are merged ---- */

/* Whether a model has windows at all is a setting of the whole model, which a GGUF file may lack. */
static bool has_windows(const layers_donor *donor)
{
    for (unsigned l = 0; donor->config && l < donor->config->layers; l++)
        if (donor->config->kinds[l].window)
            return true;
    return false;
}

static organ_status compare_sources(const model_merge *job, const layers_donor *donors, const merge_slice *slice,
                                    uint64_t layer, organ_error *error)
{
    const merge_source *const first = &slice->sources[0];
    const layers_donor *const a = &donors[first->donor];
    for (size_t k = 1; k < slice->source_count && !error->status; k++) {
        const merge_source *const source = &slice->sources[k];
        const layers_donor *const b = &donors[source->donor];
        const organ_layer_kind *const of_first = kind_of(a, first->first + layer);
        const organ_layer_kind *const of_source = kind_of(b, source->first + layer);
        if (!of_first || !of_source)
            continue;
        organ_layer_kind like = *of_source;
        if (!has_windows(a) || !has_windows(b))
            like.window = of_first->window;
        const char *const what = organ_layers_differ(of_first, &like, /*sizes=*/false);
        if (what)
            organ_merge_fault(
                &job->recipe, source->line, error,
                "layer %llu of %.200s and layer %llu of %.200s cannot be merged: their settings differ (%s)",
                (unsigned long long)(first->first + layer), job->donors[first->donor].name,
                (unsigned long long)(source->first + layer), job->donors[source->donor].name, what);
    }
    return error->status;
}

/* ---- the layers of the output ---- */

/* The host if it is a source, else the first source. */
static const merge_source *source_of(const model_merge *job, const merge_slice *slice)
{
    for (size_t k = 0; k < slice->source_count; k++)
        if (slice->sources[k].donor == job->host)
            return &slice->sources[k];
    return &slice->sources[0];
}

/* Sets *origin to a layer of the host of the same kind: it stands for a layer of a donor whose config.json has other
 * members, or that has none. */
static organ_status find_like(const model_merge *job, const layers_donor *donors, const merge_source *source,
                              uint64_t layer, organ_layer_origin *origin, organ_error *error)
{
    const layers_donor *const host = &donors[job->host];
    const uint64_t count = job->donors[job->host].layers;
    const organ_layer_kind *const kind = kind_of(&donors[source->donor], layer);
    *origin = (organ_layer_origin){host->object, (size_t)count, (size_t)(layer < count ? layer : count - 1), NULL};
    for (uint64_t l = 0; kind && l <= count; l++) {
        const uint64_t at = l == 0 ? layer : l - 1; /* first the layer of the same number */
        const organ_layer_kind *const like = at < count ? kind_of(host, at) : NULL;
        origin->layer = (size_t)at;
        if (like && !organ_layers_differ(kind, like, /*sizes=*/false))
            return ORGAN_OK;
    }
    return kind
               ? organ_merge_fault(&job->recipe, source->line, error,
                                   "layer %llu of %.200s has another kind than all layers of %.200s, whose config.json "
                                   "describes the output",
                                   (unsigned long long)layer, job->donors[source->donor].name,
                                   job->donors[job->host].name)
               : ORGAN_OK;
}

static organ_status origin_of(const model_merge *job, const layers_donor *donors, const merge_slice *slice,
                              uint64_t layer, organ_layer_origin *origin, const organ_layer_kind **kind,
                              organ_error *error)
{
    const merge_source *const source = source_of(job, slice);
    const layers_donor *const donor = &donors[source->donor], *const host = &donors[job->host];
    const char *const type = json_string_value(json_object_get(host->object, "model_type"));
    const uint64_t at = source->first + layer;
    *kind = kind_of(donor, at);
    if (!donor->object || (type && !organ_layer_is_model(donor->object, type)))
        return find_like(job, donors, source, at, origin, error);
    *origin = (organ_layer_origin){donor->object, (size_t)job->donors[source->donor].layers, (size_t)at, NULL};
    return ORGAN_OK;
}

/* Sets the origin and the kind of each layer of the output. Draft layers are the host's. */
static organ_status fill_origins(const model_merge *job, const layers_donor *donors, organ_layer_origin *origins,
                                 const organ_layer_kind **kinds, size_t count, organ_error *error)
{
    const uint64_t own = job->donors[job->host].layers;
    for (size_t s = 0; s < job->recipe.slice_count && !error->status; s++) {
        const merge_slice *const slice = &job->recipe.slices[s];
        for (uint64_t l = 0; l < slice->layers && !error->status; l++)
            origin_of(job, donors, slice, l, &origins[slice->first + l], &kinds[slice->first + l], error);
    }
    for (size_t n = (size_t)job->layers; n < count; n++)
        origins[n] =
            (organ_layer_origin){donors[job->host].object, (size_t)own, (size_t)(n - (size_t)job->layers + own), NULL};
    return error->status;
}

/* ---- key-values of GGUF files ---- */

static organ_status check_keys(const model_merge *job, organ_error *error)
{
    for (size_t s = 0; s < job->recipe.slice_count; s++)
        for (size_t k = 0; k < job->recipe.slices[s].source_count && !error->status; k++) {
            const merge_slice *const slice = &job->recipe.slices[s];
            const merge_donor *const donor = &job->donors[slice->sources[k].donor];
            if (organ_merge_is_gguf(donor) && (slice->sources[k].first != slice->first || job->layers != donor->layers))
                organ_layers_check_keys(organ_merge_stored(donor), error);
        }
    return error->status;
}

/* ---- config.json ---- */

static size_t draft_layers(const model_merge *job)
{
    const merge_donor *const host = &job->donors[job->host];
    size_t last = 0;
    for (size_t k = 0; k < host->weights->count; k++)
        if (host->weights->weights[k].anatomy.layer >= (int32_t)last)
            last = (size_t)host->weights->weights[k].anatomy.layer + 1;
    return last > host->layers ? last - (size_t)host->layers : 0;
}

/* `member` states the number of layers; "": no member does. */
static organ_status edit_object(const model_merge *job, const organ_settings *settings, const char *member,
                                const organ_layer_origin *origins)
{
    organ_layer_plan plan = {.s = *settings,
                             .layers = (size_t)job->donors[job->host].layers,
                             .origins = origins,
                             .after = (size_t)job->layers,
                             .count = (size_t)job->layers + draft_layers(job)};
    if (*member && job->layers != plan.layers)
        organ_settings_set_number(settings, member, job->layers);
    return settings->error->status ? settings->error->status : organ_layers_edit(&plan);
}

/* `origins` and `kinds` are memory for `count` layers of the output, with draft layers. */
static organ_status edit_with(const model_merge *job, const layers_donor *donors, organ_json_edit *config,
                              organ_layer_origin *origins, const organ_layer_kind **kinds, size_t count,
                              organ_error *error)
{
    const layers_donor *const host = &donors[job->host];
    const uint64_t before = job->donors[job->host].layers;
    organ_settings settings = {.label = config->label, .edit = config, .error = error};
    char member[ORGAN_MEMBER_ROOM];
    size_t found = 0;
    if (fill_origins(job, donors, origins, kinds, count, error) || check_keys(job, error))
        return error->status;
    for (size_t k = 0; organ_settings_enter(&settings, host->root, &k);) {
        if (!organ_layers_describes(settings.object, before, member))
            continue;
        edit_object(job, &settings, member, origins);
        found++;
    }
    if (!error->status && !found && job->layers != before)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: has no known member for the number of layers, which is %llu by the tensors",
                          config->label, (unsigned long long)before);
    return error->status || !host->config
               ? error->status
               : organ_layers_check(config, job->donors[job->host].model->config.architecture, kinds,
                                    (size_t)job->layers, /*sizes=*/job->recipe.donor_count == 1, error);
}

organ_status organ_merge_edit_layers(const model_merge *job, organ_json_edit *config, organ_error *error)
{
    const size_t count = (size_t)job->layers + draft_layers(job);
    layers_donor *donors = NULL;
    ORGAN_OWNED_ROWS organ_layer_origin *const origins = organ_rows_take(count + 1, sizeof *origins);
    ORGAN_OWNED_ROWS const organ_layer_kind **const kinds = organ_rows_take(count + 1, sizeof *kinds);
    if (!origins || !kinds)
        organ_fail_memory(error, job->recipe.label);
    else if (read_all(job, &donors, error) == ORGAN_OK)
        edit_with(job, donors, config, origins, kinds, count, error);
    close_all(job, donors);
    return error->status;
}

/* ---- before anything is written ---- */

static organ_status try_edit(const model_merge *job, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    if (organ_config_open(job->donors[job->host].model, "config.json", &edit, error))
        organ_merge_edit_layers(job, &edit, error);
    return error->status;
}

organ_status organ_merge_check_layers(const model_merge *job, organ_error *error)
{
    layers_donor *donors = NULL;
    if (read_all(job, &donors, error) == ORGAN_OK)
        for (size_t s = 0; s < job->recipe.slice_count && !error->status; s++)
            for (uint64_t l = 0; l < job->recipe.slices[s].layers && !error->status; l++)
                compare_sources(job, donors, &job->recipe.slices[s], l, error);
    close_all(job, donors);
    return error->status || !job->recipe.sliced ? error->status : try_edit(job, error);
}
