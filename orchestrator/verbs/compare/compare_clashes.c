/* SPDX-License-Identifier: MIT
 * Lists settings, heads and types of models that a merge would clash on. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/output/head.h"
#include "orchestrator/output/model_settings.h"

#include <stdio.h>
#include <string.h>

#define VALUE_TEXT ORGAN_SETTINGS_VALUE

static void list_sides(const compare_job *job, organ_settings_side sides[COMPARE_MODELS])
{
    for (size_t k = 0; k < job->count; k++)
        sides[k] = (organ_settings_side){job->models[k].model, organ_compare_label(k)};
}

void organ_compare_clash(compare_job *job, const char *what, const char *const *values)
{
    organ_settings_side sides[COMPARE_MODELS];
    list_sides(job, sides);
    job->broken |= organ_settings_row(sides, job->count, what, values, job->clashes, &(organ_error){0}) != ORGAN_OK;
}

/* ---- heads and types ---- */

/* Adds a clash unless the texts of all models are equal. */
static void compare_texts(compare_job *job, const char *what, char text[COMPARE_MODELS][VALUE_TEXT])
{
    const char *values[COMPARE_MODELS];
    bool differs = false;
    for (size_t k = 0; k < job->count; k++) {
        values[k] = text[k];
        differs |= strcmp(text[k], text[0]) != 0;
    }
    if (differs)
        organ_compare_clash(job, what, values);
}

static organ_status compare_heads(compare_job *job, organ_error *error)
{
    char head[COMPARE_MODELS][VALUE_TEXT], type[COMPARE_MODELS][VALUE_TEXT], embed[COMPARE_MODELS][VALUE_TEXT];
    for (size_t k = 0; k < job->count; k++) {
        const compare_model *const m = &job->models[k];
        organ_head found = {0};
        if (organ_head_find(m->model, m->weights, job->engine, &found, error))
            return error->status;
        /* the adapter makes the head differ from the embedding */
        const bool unties = organ_adapted_head(&m->adapted) != NULL;
        const char *const without_own = unties ? "untied" : "the embedding";
        snprintf(head[k], VALUE_TEXT, "%s", found.own ? "stored" : without_own);
        if (unties && !found.stored)
            organ_say(job->notes,
                      "%s: its adapter makes the output head differ from the embedding; the base does not "
                      "store a head, so values of heads are not compared: organ lora merge makes a model with one",
                      m->name);
        snprintf(type[k], VALUE_TEXT, "none");
        snprintf(embed[k], VALUE_TEXT, "none");
        if (found.own)
            organ_weight_text(found.stored, type[k], VALUE_TEXT);
        if (found.embedding)
            organ_weight_text(found.embedding, embed[k], VALUE_TEXT);
    }
    compare_texts(job, "output head", head);
    compare_texts(job, "type of the output head", type);
    compare_texts(job, "type of the embedding", embed);
    return ORGAN_OK;
}

organ_status organ_compare_settings(compare_job *job, organ_error *error)
{
    organ_settings_side sides[COMPARE_MODELS];
    list_sides(job, sides);
    if (organ_settings_compare_architectures(sides, job->count, job->clashes, error) == ORGAN_OK &&
        organ_settings_compare(sides, job->count, job->form, /*by_layer=*/true, job->clashes, job->notes, error) ==
            ORGAN_OK)
        compare_heads(job, error);
    return error->status;
}
