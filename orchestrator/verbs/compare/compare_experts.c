/* SPDX-License-Identifier: MIT
 * Finds the order of the experts of each layer in all models. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/merge/expert_match.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Implements organ_expert_match.find. */
static organ_merge_input find_input(const void *context, size_t source, const organ_weight *like, size_t expert)
{
    const compare_model *const m = &((const compare_job *)context)->models[source];
    char name[COMPARE_NAME];
    const int32_t number = like->anatomy.expert < 0 ? -1 : (int32_t)expert;
    const organ_weight *const weight =
        organ_anatomy_renumber(like->name, like->anatomy.layer, number, name, sizeof name)
            ? organ_across_or_own(m->across, m->weights, name)
            : NULL;
    return (organ_merge_input){.model = m->model,
                               .weight = weight,
                               .change = weight ? organ_adapted_change(&m->adapted, weight, weight) : NULL};
}

/* ---- orders ---- */

/* Matches model `models[at]`, whose signature is number `at`, with each of those before it, and keeps the order by
 * which it is nearest to one of them. */
static organ_status order_model(compare_job *job, const organ_expert_match *m, const size_t *models, size_t at,
                                compare_order *order, organ_error *error)
{
    double least = INFINITY;
    uint32_t *const numbers = organ_arena_take(&job->arena, m->experts * sizeof *numbers);
    if (!numbers)
        return organ_fail_memory(error, m->label);
    for (size_t before = 0; before < at; before++) {
        const uint32_t *const own = order->of[models[before]];
        double sum = 0;
        organ_expert_match_order(m, before, at);
        for (size_t e = 0; e < m->experts; e++)
            sum += organ_expert_match_distance(m, before, e, at, m->row_of[e], /*router=*/false);
        if (sum < least)
            for (size_t e = 0; e < m->experts; e++)
                numbers[e] = (uint32_t)m->row_of[own ? own[e] : e];
        least = sum < least ? sum : least;
    }
    for (size_t e = 0; e < m->experts; e++)
        if (numbers[e] != e)
            order->of[models[at]] = numbers;
    return ORGAN_OK;
}

/* Adds a row of the report for each pair of the models, whose signatures are numbered in their order. */
static organ_status note_pairs(compare_job *job, const organ_expert_match *m, const size_t *models, size_t count,
                               const compare_order *order, organ_error *error)
{
    const double n = (double)m->experts;
    for (size_t j = 1; j < count; j++)
        for (size_t i = 0; i < j; i++) {
            compare_match match = {
                .router = m->parts[0].like, .pair = organ_compare_pair(models[i], models[j]), .experts = m->experts};
            for (size_t e = 0; e < m->experts; e++) {
                const size_t at = organ_expert_number(order->of[models[i]], order->of[models[j]], m->experts, e);
                match.moved += at != e;
                match.cosine += 1 - organ_expert_match_distance(m, i, e, j, at, /*router=*/false) / 2;
                match.in_order += 1 - organ_expert_match_distance(m, i, e, j, e, /*router=*/false) / 2;
            }
            match.cosine /= n;
            match.in_order /= n;
            if (!organ_grow(&job->matches, job->match_count, &job->match_room, sizeof *job->matches))
                return organ_fail_memory(error, m->label);
            job->matches[job->match_count++] = match;
        }
    return ORGAN_OK;
}

/* ---- layers ---- */

static organ_status match_layer(compare_job *job, organ_expert_match *m, compare_order *order, organ_error *error)
{
    size_t models[COMPARE_MODELS], count = 0;
    char what[80];
    for (size_t k = 0; k < job->count; k++)
        if (organ_expert_match_has(m, k))
            models[count++] = k;
    if (count < 2)
        return ORGAN_OK;
    order->experts = m->experts;
    snprintf(what, sizeof what, "the experts of a layer of %zu models", count);
    organ_expert_match_open(m, count, what, error);
    for (size_t k = 0; k < count && !error->status; k++)
        if (organ_expert_match_sign(m, models[k], k, error) == ORGAN_OK && k > 0)
            order_model(job, m, models, k, order, error);
    if (!error->status)
        note_pairs(job, m, models, count, order, error);
    organ_expert_match_close(m);
    return error->status;
}

/* The parts are named by the form, or else by the first model with the names of the form that has them: *owner. */
static bool find_parts(const compare_job *job, organ_expert_match *m, int32_t layer, size_t *owner, const char **why)
{
    for (size_t k = 0; k <= job->count; k++) {
        *owner = k == 0 ? job->form : k - 1;
        m->part_count = m->width = m->experts = 0;
        if (!job->models[*owner].across && organ_expert_match_find(m, job->models[*owner].weights, layer, why))
            return true;
    }
    return false;
}

static int32_t count_layers(const compare_job *job)
{
    int32_t layers = 0;
    for (size_t k = 0; k < job->count; k++)
        for (size_t w = 0; w < job->models[k].weights->count; w++) {
            const int32_t layer = job->models[k].weights->weights[w].anatomy.layer;
            layers = layer >= layers ? layer + 1 : layers;
        }
    return layers;
}

organ_status organ_compare_experts(compare_job *job, organ_error *error)
{
    size_t owner;
    unsigned groups = 0;
    bool said = false;
    job->order_count = count_layers(job);
    job->orders = calloc((size_t)job->order_count + 1, sizeof *job->orders);
    if (!job->orders)
        return organ_fail_memory(error, job->models[0].path);
    for (int32_t layer = 0; layer < job->order_count && !error->status; layer++) {
        organ_expert_match m = {
            .engine = job->engine, .label = job->models[0].path, .find = find_input, .context = job};
        const char *why;
        organ_error fault = {0};
        if (!find_parts(job, &m, layer, &owner, &why))
            continue;
        if (organ_expert_match_check(&m, job->models[job->form].model, &groups, owner, &why, &fault)) {
            organ_say(job->notes, "Experts are not matched: %s.", fault.message);
            break;
        }
        if (!why) {
            match_layer(job, &m, &job->orders[layer], error);
        } else if (!said) {
            organ_say(job->notes,
                      "Experts of layer %d are compared in their order, and so are those of "
                      "others like it: %s.",
                      layer, why);
            said = true;
        }
    }
    return error->status;
}

/* ---- use ---- */

static const compare_order *order_of(const compare_job *job, const organ_weight *weight)
{
    const int32_t layer = weight->anatomy.layer;
    return layer >= 0 && layer < job->order_count && job->orders[layer].experts ? &job->orders[layer] : NULL;
}

const char *organ_compare_name_in(const compare_job *job, const organ_weight *like, size_t owner, size_t k,
                                  char name[COMPARE_NAME])
{
    const compare_order *const order = order_of(job, like);
    const organ_anatomy *const a = &like->anatomy;
    if (!order || a->expert < 0 || a->experts != ORGAN_EXPERTS_ROUTED)
        return like->name;
    const size_t expert = organ_expert_number(order->of[owner], order->of[k], order->experts, (size_t)a->expert);
    return organ_anatomy_renumber(like->name, a->layer, (int32_t)expert, name, COMPARE_NAME) ? name : like->name;
}

const uint32_t *organ_compare_order_in(const compare_job *job, const organ_weight *like, size_t k)
{
    const compare_order *const order = order_of(job, like);
    return order && organ_expert_entries_of(like, order->experts) == ORGAN_EXPERT_ENTRIES_EACH ? order->of[k] : NULL;
}
