/* SPDX-License-Identifier: MIT
 * Reads and writes the document of expert scores. */
#include "orchestrator/verbs/shrink/experts_parts.h"

#include "orchestrator/output/cache.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_SCORE 1e300 /* largest score that the reader accepts */

/* The arrays of organ_expert_layer are in the order of the file. Those from index ORDER on, which give the order of
 * removal, are null in the file if the loss was not measured. */
enum { FREQUENCY, SUM, REAP, ORDER, REMOVED = ORDER, LOSS, COLUMNS };

static void list_columns(const organ_expert_scores *s, size_t l, organ_cache_numbers columns[COLUMNS])
{
    const organ_expert_layer *const layer = &s->of[l];
    const size_t experts = s->experts, steps = experts - s->least;
    columns[FREQUENCY] = (organ_cache_numbers){"frequency", ORGAN_FIELD_U64, experts, layer->frequency, 0x1p53};
    columns[SUM] = (organ_cache_numbers){"sum", ORGAN_FIELD_REAL, experts, layer->sum, MAX_SCORE};
    columns[REAP] = (organ_cache_numbers){"reap", ORGAN_FIELD_REAL, experts, layer->reap, MAX_SCORE};
    columns[REMOVED] = (organ_cache_numbers){"removed", ORGAN_FIELD_U32, steps, layer->removed, s->experts - 1};
    columns[LOSS] = (organ_cache_numbers){"loss", ORGAN_FIELD_REAL, steps, layer->loss, MAX_SCORE};
}

/* ---- writing ---- */

static json_t *layer_json(const void *context, size_t l)
{
    const organ_expert_scores *const s = context;
    organ_cache_numbers columns[COLUMNS];
    if (!s->of[l].known)
        return json_null();
    json_t *const row = ORGAN_OBJECT(SET_COUNT("layer", l), SET_IF(s->of[l].dense, "dense", json_true()));
    list_columns(s, l, columns);
    bool complete = row != NULL;
    for (size_t k = 0; k < COLUMNS && !s->of[l].dense && complete; k++)
        complete = (k != ORDER || ORGAN_ADD(row, SET_REAL_OF("power", s->with_loss, s->of[l].power))) &&
                   ORGAN_ADD(row, SET(columns[k].name,
                                      k < ORDER || s->with_loss ? organ_cache_numbers_json(&columns[k]) : json_null()));
    if (complete)
        return row;
    json_decref(row);
    return NULL;
}

static json_t *body_json(const organ_expert_scores *s)
{
    return ORGAN_OBJECT(SET_FLAG("loss", s->with_loss), SET_HELD("calibration", s->calibration),
                        SET_COUNT("experts", s->experts), SET_COUNT("used", s->used), SET_COUNT("tokens", s->tokens),
                        SET("layers", organ_json_rows(s->layers, layer_json, s)));
}

/* `path` is NULL if only the document is made. */
static organ_cache cache_of_file(const char *path, const json_t *identity)
{
    return (organ_cache){.path = path, .schema = ORGAN_EXPERT_SCORES_SCHEMA, .identity = identity};
}

json_t *organ_expert_scores_json(const organ_expert_scores *s, const json_t *identity)
{
    const organ_cache cache = cache_of_file(/*path=*/NULL, identity);
    return organ_cache_document(&cache, body_json(s));
}

organ_status organ_expert_scores_write(const organ_expert_scores *s, const json_t *identity, const char *path,
                                       organ_ranks *ranks, organ_error *error)
{
    organ_cache cache = cache_of_file(path, identity);
    cache.ranks = ranks;
    return organ_cache_write(&cache, body_json(s), error);
}

/* ---- reading ---- */

static organ_status read_power(organ_expert_layer *layer, const json_t *json, size_t l, const char *path,
                               organ_error *error)
{
    const json_t *const power = json_object_get(json, "power");
    layer->power = json_number_value(power);
    return json_is_number(power) && layer->power >= 0 && isfinite(layer->power)
               ? ORGAN_OK
               : organ_fail(error, ORGAN_BAD_INPUT, "%s: layers[%zu].power is not a number of at least 0", path, l);
}

static organ_status check_removed(const organ_expert_layer *layer, size_t count, size_t l, const char *path,
                                  organ_error *error)
{
    for (size_t k = 0; k < count; k++)
        for (size_t before = 0; before < k; before++)
            if (layer->removed[before] == layer->removed[k])
                return organ_fail(error, ORGAN_BAD_INPUT, "%s: layers[%zu].removed has expert %u twice", path, l,
                                  layer->removed[k]);
    return ORGAN_OK;
}

static organ_status read_layer(organ_expert_scores *s, const json_t *json, size_t l, const char *path,
                               organ_error *error)
{
    organ_expert_layer *const layer = &s->of[l];
    organ_cache_numbers columns[COLUMNS];
    if (!json || json_is_null(json))
        return ORGAN_OK;
    if (json_integer_value(json_object_get(json, "layer")) != (json_int_t)l)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: layers[%zu].layer is not %zu", path, l, l);
    if (layer->dense)
        return ORGAN_OK;
    list_columns(s, l, columns);
    for (size_t k = 0; k < (s->with_loss ? COLUMNS : ORDER); k++)
        if ((k == ORDER && read_power(layer, json, l, path, error)) ||
            organ_cache_numbers_take(&columns[k], json, "layers", l, path, error))
            return error->status;
    if (s->with_loss && check_removed(layer, s->experts - s->least, l, path, error))
        return error->status;
    layer->known = true;
    return ORGAN_OK;
}

static bool has_missing_layers(const json_t *document)
{
    size_t l;
    const json_t *layer;
    json_array_foreach(json_object_get(document, "layers"), l, layer) if (json_is_null(layer)) return true;
    return false;
}

/* If the file belongs to an interrupted measurement with another --samples or --context, the message also names the
 * values that continue it. */
static organ_status check_identity(organ_cache cache, const json_t *document, const char *advice, organ_error *error)
{
    char remedy[300];
    organ_cache_difference d;
    const json_t *const samples = json_object_get(document, "samples"), *const context =
                                                                            json_object_get(document, "context");
    cache.content = "scores of a different run";
    cache.remedy = advice;
    if (organ_cache_differs(document, cache.identity, &d) &&
        (strcmp(d.key, "samples") == 0 || strcmp(d.key, "context") == 0) && json_is_integer(samples) &&
        json_is_integer(context) && has_missing_layers(document)) {
        snprintf(remedy, sizeof remedy, "`samples` %lld `context` %lld continue it; %s",
                 (long long)json_integer_value(samples), (long long)json_integer_value(context), advice);
        cache.content = "scores of a different run, which is unfinished";
        cache.remedy = remedy;
    }
    return organ_cache_belongs(&cache, document, error);
}

static organ_status check_document(const organ_expert_scores *s, organ_cache cache, const json_t *document,
                                   const char *advice, organ_error *error)
{
    json_t *const expected =
        organ_json_joined(json_copy((json_t *)cache.identity),
                          ORGAN_OBJECT(SET_COUNT("experts", s->experts), SET_COUNT("used", s->used)));
    const size_t layers = json_array_size(json_object_get(document, "layers"));
    if (!expected)
        return organ_fail_memory(error, cache.path);
    cache.identity = expected;
    check_identity(cache, document, advice, error);
    json_decref(expected);
    if (!error->status && !json_is_boolean(json_object_get(document, "loss")))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the member \"loss\" is missing", cache.path);
    if (!error->status && !json_is_array(json_object_get(document, "layers")))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the member \"layers\" is missing", cache.path);
    if (!error->status && s->with_loss && !json_is_true(json_object_get(document, "loss")))
        organ_fail(error, ORGAN_USAGE, "%s: was measured without the loss, which `score` loss needs; %s", cache.path,
                   advice);
    if (!error->status && (layers < s->trunk || layers > s->layers)) /* earlier versions scored no blocks */
        organ_fail(error, ORGAN_BAD_INPUT, "%s: has %zu layers, but the model has %zu", cache.path, layers, s->layers);
    return error->status;
}

static organ_status read_document(organ_expert_scores *s, const json_t *document, const char *path, organ_error *error)
{
    const json_t *const tokens = json_object_get(document, "tokens"), *const layers =
                                                                          json_object_get(document, "layers");
    for (size_t l = 0; l < s->layers && !error->status; l++)
        read_layer(s, json_array_get(layers, l), l, path, error);
    if (!error->status && (!json_is_integer(tokens) || json_integer_value(tokens) < 1))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: tokens is not a count", path);
    s->tokens = error->status ? 0 : (uint64_t)json_integer_value(tokens);
    if (!error->status && !s->calibration)
        s->calibration = json_deep_copy(json_object_get(document, "calibration"));
    return error->status;
}

json_t *organ_expert_scores_line(const organ_expert_scores *s, size_t layer)
{
    return ORGAN_OBJECT(SET("scores", layer_json(s, layer)));
}

bool organ_expert_scores_recall(organ_expert_scores *s, const json_t *line)
{
    const json_t *const row = json_object_get(line, "scores");
    const json_t *const number = json_object_get(row, "layer");
    const json_int_t layer = json_integer_value(number);
    organ_error ignored = {0};
    return json_is_integer(number) && layer >= 0 && (size_t)layer < s->layers &&
           read_layer(s, row, (size_t)layer, "journal", &ignored) == ORGAN_OK;
}

organ_status organ_expert_scores_read(organ_expert_scores *s, const json_t *identity, const char *path,
                                      const char *advice, bool *whole, organ_error *error)
{
    const organ_cache cache = cache_of_file(path, identity);
    ORGAN_OWNED_JSON json_t *document = NULL;
    organ_cache_load(&cache, "scores", &document, error);
    *whole = document != NULL;
    if (!document)
        return error->status;
    if (check_document(s, cache, document, advice, error) == ORGAN_OK)
        read_document(s, document, path, error);
    for (size_t l = 0; l < s->layers; l++) {
        s->of[l].known &= !error->status;
        *whole &= s->of[l].known;
    }
    return error->status;
}
