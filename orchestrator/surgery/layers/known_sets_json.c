/* SPDX-License-Identifier: MIT
 * The file, written. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/layers/known_sets.h"

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

organ_status organ_layers_known_write(const organ_layers_known *known, const char *path, const json_t *identity,
                                      organ_error *error)
{
    json_t *const head = ORGAN_OBJECT(SET_TEXT("schema", ORGAN_LAYERS_SCORES_SCHEMA), SET_TEXT("organ", ORGAN_VERSION));
    json_t *const document = organ_json_joined(
        organ_json_joined(head, json_deep_copy(identity)),
        ORGAN_OBJECT(
            SET("influence", known->influence ? organ_json_rows(known->layers, influence_json, known) : json_null()),
            SET("sets", organ_json_rows(known->count, set_json, known))));
    if (document)
        organ_document_write(path, document, error);
    else
        organ_fail_memory(error, path);
    json_decref(document);
    return error->status;
}
