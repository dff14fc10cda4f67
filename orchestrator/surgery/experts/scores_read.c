/* SPDX-License-Identifier: MIT
 * The scores read back. */
#include "formats/base/json_file.h"
#include "orchestrator/surgery/experts/scores.h"
#include "orchestrator/surgery/output/kept.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct scores_read_reading {
    const char *path, *anew;
    organ_expert_scores *scores;
    const json_t *document;
} scores_read_reading;

/* As many numbers as there should be, none negative. */
static organ_status scores_read_read_numbers(const scores_read_reading *r, const json_t *layer, size_t l,
                                             const char *name, size_t count, double most, double *to,
                                             organ_error *error)
{
    const json_t *const array = json_object_get(layer, name);
    bool good = json_array_size(array) == count;
    for (size_t k = 0; good && k < count; k++) {
        const json_t *const value = json_array_get(array, k);
        to[k] = json_number_value(value);
        good = json_is_number(value) && to[k] >= 0 && to[k] <= most && (most > 0x1p54 || to[k] == floor(to[k]));
    }
    return good ? ORGAN_OK
                : organ_fail(error, ORGAN_BAD_INPUT, "%s: layers[%zu].%s is not %zu numbers of 0 to %g", r->path, l,
                             name, count, most);
}

static organ_status read_order(const scores_read_reading *r, const json_t *json, size_t l, double *room,
                               organ_error *error)
{
    const organ_expert_scores *const s = r->scores;
    organ_expert_layer *const layer = &s->of[l];
    const size_t steps = s->experts - s->least;
    const json_t *const power = json_object_get(json, "power");
    layer->power = json_number_value(power);
    if (!json_is_number(power) || !(layer->power >= 0 && isfinite(layer->power)))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: layers[%zu].power is no number of 0 or more", r->path, l);
    if (scores_read_read_numbers(r, json, l, "removed", steps, s->experts - 1, room, error) ||
        scores_read_read_numbers(r, json, l, "loss", steps, 1e300, layer->loss, error))
        return error->status;
    for (size_t k = 0; k < steps; k++) {
        layer->removed[k] = (uint32_t)room[k];
        for (size_t before = 0; before < k; before++)
            if (layer->removed[before] == layer->removed[k])
                return organ_fail(error, ORGAN_BAD_INPUT, "%s: layers[%zu].removed has expert %u twice", r->path, l,
                                  layer->removed[k]);
    }
    return ORGAN_OK;
}

static organ_status scores_read_read_layer(const scores_read_reading *r, size_t l, double *room, organ_error *error)
{
    const organ_expert_scores *const s = r->scores;
    organ_expert_layer *const layer = &s->of[l];
    const json_t *const json = json_array_get(json_object_get(r->document, "layers"), l);
    if (json_is_null(json))
        return ORGAN_OK;
    if (json_integer_value(json_object_get(json, "layer")) != (json_int_t)l)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: layers[%zu].layer is not %zu", r->path, l, l);
    if (layer->dense)
        return ORGAN_OK;
    if (scores_read_read_numbers(r, json, l, "frequency", s->experts, 0x1p53, room, error))
        return error->status;
    for (size_t e = 0; e < s->experts; e++)
        layer->frequency[e] = (uint64_t)room[e];
    if (scores_read_read_numbers(r, json, l, "sum", s->experts, 1e300, layer->sum, error) ||
        scores_read_read_numbers(r, json, l, "reap", s->experts, 1e300, layer->reap, error) ||
        (s->with_loss && read_order(r, json, l, room, error)))
        return error->status;
    layer->known = true;
    return ORGAN_OK;
}

static bool has_missing_layers(const scores_read_reading *r)
{
    size_t l;
    const json_t *layer;
    json_array_foreach(json_object_get(r->document, "layers"), l, layer) if (json_is_null(layer)) return true;
    return false;
}

/* What else can be asked for where scores are of other windows of the same text: their rest, with the windows that they
 * are of. */
static void name_windows(const scores_read_reading *r, const char *key, char *words, size_t size)
{
    const json_t *const samples = json_object_get(r->document, "samples"), *const context =
                                                                               json_object_get(r->document, "context");
    *words = 0;
    if ((strcmp(key, "samples") == 0 || strcmp(key, "context") == 0) && json_is_integer(samples) &&
        json_is_integer(context) && has_missing_layers(r))
        snprintf(words, size, "--samples %lld --context %lld go on with it, ", (long long)json_integer_value(samples),
                 (long long)json_integer_value(context));
}

static organ_status differs(const scores_read_reading *r, const organ_kept_difference *d, organ_error *error)
{
    char windows[100];
    name_windows(r, d->key, windows, sizeof windows);
    return organ_fail(error, ORGAN_USAGE, "%s: has the scores of another run%s: its %s is %s, here it is %s; %s%s",
                      r->path, *windows ? ", which is unfinished" : "", d->key, d->was, d->is, windows, r->anew);
}

/* What the scores belong to, and what they must have. */
static organ_status scores_read_belongs(const scores_read_reading *r, const json_t *identity, organ_error *error)
{
    const organ_expert_scores *const s = r->scores;
    organ_kept_difference d;
    json_t *const wanted = json_copy((json_t *)identity);
    if (!wanted || json_object_set_new(wanted, "experts", json_integer(s->experts)) ||
        json_object_set_new(wanted, "used", json_integer(s->used))) {
        json_decref(wanted);
        return organ_fail_memory(error, r->path);
    }
    if (organ_kept_differs(r->document, wanted, &d))
        differs(r, &d, error);
    json_decref(wanted);
    if (!error->status && s->with_loss && !json_is_true(json_object_get(r->document, "loss")))
        organ_fail(error, ORGAN_USAGE, "%s: was measured without the loss, which --score loss goes by; %s", r->path,
                   r->anew);
    if (!error->status && json_array_size(json_object_get(r->document, "layers")) != s->layers)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: has %zu layers, and the model has %zu", r->path,
                   json_array_size(json_object_get(r->document, "layers")), s->layers);
    return error->status;
}

static organ_status scores_read_read_document(scores_read_reading *r, const json_t *identity, organ_error *error)
{
    const json_t *const within = json_object_get(r->document, "scores");
    organ_expert_scores *const s = r->scores;
    r->document = json_is_object(within) ? within : r->document;
    if (organ_kept_schema(r->document, ORGAN_EXPERT_SCORES_SCHEMA, r->path, error) ||
        scores_read_belongs(r, identity, error))
        return error->status;
    double *const room = calloc(s->experts, sizeof *room);
    if (!room)
        return organ_fail_memory(error, r->path);
    for (size_t l = 0; l < s->layers && !error->status; l++)
        scores_read_read_layer(r, l, room, error);
    free(room);
    const json_t *const tokens = json_object_get(r->document, "tokens");
    if (!error->status && (!json_is_integer(tokens) || json_integer_value(tokens) < 1))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tokens is no count", r->path);
    s->tokens = error->status ? 0 : (uint64_t)json_integer_value(tokens);
    if (!error->status && !s->calibration)
        s->calibration = json_deep_copy(json_object_get(r->document, "calibration"));
    return error->status;
}

organ_status organ_expert_scores_read(organ_expert_scores *s, const json_t *identity, const char *path,
                                      const char *anew, bool *whole, organ_error *error)
{
    json_t *document;
    organ_json_file_read(path, &document, error);
    *whole = document != NULL;
    if (!document)
        return error->status;
    scores_read_read_document(&(scores_read_reading){path, anew, s, document}, identity, error);
    for (size_t l = 0; l < s->layers; l++) {
        s->of[l].known &= !error->status;
        *whole &= s->of[l].known;
    }
    json_decref(document);
    return error->status;
}
