/* SPDX-License-Identifier: MIT
 * Stores the influences of blocks and the divergences of judged sets of blocks, and reads and writes them as the file
 * of
 * --scores. */
#include "orchestrator/surgery/layers/known_sets.h"

#include "orchestrator/report/text/members.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- in memory ---- */

bool organ_layers_known_find(const organ_layers_known *known, const bool *dropped, double *divergence)
{
    for (size_t k = 0; k < known->count; k++)
        if (memcmp(known->dropped + k * known->layers, dropped, known->layers * sizeof *dropped) == 0) {
            *divergence = known->divergence[k];
            return true;
        }
    return false;
}

bool organ_layers_known_add(organ_layers_known *known, const bool *dropped, double divergence)
{
    if (known->count == known->capacity) {
        const size_t capacity = 2 * known->capacity + 64;
        bool *const flags = realloc(known->dropped, capacity * known->layers * sizeof *flags);
        known->dropped = flags ? flags : known->dropped;
        double *const values = flags ? realloc(known->divergence, capacity * sizeof *values) : NULL;
        if (!values)
            return false;
        known->divergence = values;
        known->capacity = capacity;
    }
    memcpy(known->dropped + known->count * known->layers, dropped, known->layers * sizeof *dropped);
    known->divergence[known->count++] = divergence;
    return true;
}

bool organ_layers_known_influence(organ_layers_known *known, const double *influence)
{
    if (!known->influence && !(known->influence = calloc(known->layers, sizeof *known->influence)))
        return false;
    memcpy(known->influence, influence, known->layers * sizeof *influence);
    return true;
}

void organ_layers_known_release(organ_layers_known *known)
{
    free(known->influence);
    free(known->dropped);
    free(known->divergence);
    *known = (organ_layers_known){0};
}

/* ---- rows of the file ---- */

json_t *organ_layers_numbers_json(const bool *flags, size_t layers)
{
    json_t *const numbers = json_array();
    for (size_t l = 0; l < layers; l++)
        if (flags[l])
            json_array_append_new(numbers, json_integer((json_int_t)l));
    return numbers;
}

static json_t *set_json(const void *context, size_t k)
{
    const organ_layers_known *const known = context;
    return ORGAN_OBJECT(SET("dropped", organ_layers_numbers_json(known->dropped + k * known->layers, known->layers)),
                        SET_REAL("divergence", known->divergence[k]));
}

static json_t *influence_json(const void *context, size_t l)
{
    return json_real(((const organ_layers_known *)context)->influence[l]);
}

static bool known_sets_read_value(const json_t *json, double least, double *value)
{
    *value = json_number_value(json);
    return json_is_number(json) && isfinite(*value) && *value >= least;
}

/* `array` is the JSON null if the influences were not measured; known->influence then stays NULL. */
static organ_status read_influence(organ_layers_known *known, const json_t *array, const char *path, organ_error *error)
{
    if (json_is_null(array))
        return ORGAN_OK;
    if (json_array_size(array) != known->layers)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: influence is not an array of %zu numbers", path, known->layers);
    if (!(known->influence = calloc(known->layers, sizeof *known->influence)))
        return organ_fail_memory(error, path);
    for (size_t l = 0; l < known->layers && !error->status; l++)
        if (!known_sets_read_value(json_array_get(array, l), -1, &known->influence[l]))
            organ_fail(error, ORGAN_BAD_INPUT, "%s: influence[%zu] is not a number of at least -1", path, l);
    return error->status;
}

static organ_status read_set(organ_layers_known *known, const json_t *set, size_t k, const char *path,
                             organ_error *error)
{
    const json_t *const numbers = json_object_get(set, "dropped"), *number;
    double divergence = 0, ignored;
    size_t at;
    if (!json_is_array(numbers) || !known_sets_read_value(json_object_get(set, "divergence"), 0, &divergence))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: sets[%zu] has no array 'dropped' or no divergence of at least 0",
                          path, k);
    bool *const flags = calloc(known->layers, sizeof *flags);
    if (!flags)
        return organ_fail_memory(error, path);
    json_array_foreach(numbers, at, number)
    {
        const json_int_t block = json_integer_value(number);
        if (!json_is_integer(number) || block < 0 || (size_t)block >= known->layers || flags[block]) {
            organ_fail(error, ORGAN_BAD_INPUT,
                       "%s: sets[%zu].dropped[%zu] is not a block from 0 to %zu, or occurs twice", path, k, at,
                       known->layers - 1);
            break;
        }
        flags[block] = true;
    }
    if (!error->status && !organ_layers_known_find(known, flags, &ignored) &&
        !organ_layers_known_add(known, flags, divergence))
        organ_fail_memory(error, path);
    free(flags);
    return error->status;
}

/* ---- the file ---- */

static organ_cache known_sets_cache(const char *path, const json_t *identity)
{
    return (organ_cache){.path = path,
                         .schema = ORGAN_LAYERS_SCORES_SCHEMA,
                         .identity = identity,
                         .content = "scores of a different run",
                         .remedy = "to measure again, give another file with --scores"};
}

static organ_status known_sets_read_document(organ_layers_known *known, const json_t *document, const char *path,
                                             organ_error *error)
{
    const json_t *const sets = json_object_get(document, "sets");
    if (read_influence(known, json_object_get(document, "influence"), path, error) != ORGAN_OK)
        return error->status;
    if (!json_is_array(sets))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no array 'sets'", path);
    for (size_t k = 0; k < json_array_size(sets) && !error->status; k++)
        read_set(known, json_array_get(sets, k), k, path, error);
    return error->status;
}

organ_status organ_layers_known_read(organ_layers_known *known, size_t layers, const char *path, const json_t *identity,
                                     organ_error *error)
{
    const organ_cache cache = known_sets_cache(path, identity);
    json_t *document = NULL;
    *known = (organ_layers_known){.layers = layers};
    if (path && organ_cache_read(&cache, &document, error) == ORGAN_OK && document)
        known_sets_read_document(known, document, path, error);
    json_decref(document);
    return error->status;
}

organ_status organ_layers_known_write(const organ_layers_known *known, const char *path, const json_t *identity,
                                      organ_ranks *ranks, organ_error *error)
{
    organ_cache cache = known_sets_cache(path, identity);
    cache.ranks = ranks;
    cache.meets = true;
    return organ_cache_write(
        &cache,
        ORGAN_OBJECT(
            SET("influence", known->influence ? organ_json_rows(known->layers, influence_json, known) : json_null()),
            SET("sets", organ_json_rows(known->count, set_json, known))),
        error);
}
