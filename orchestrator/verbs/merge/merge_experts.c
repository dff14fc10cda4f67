/* SPDX-License-Identifier: MIT
 * Matches the experts of a layer's sources with those of one of them, the reference. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/merge/expert_match.h"

#include <string.h>

/* Numbers of the signatures of the two sources that are matched (organ_expert_match_sign). */
enum { REFERENCE, SOURCE, SIGNATURES };

/* The matching of a layer. */
typedef struct merge_matching {
    model_merge *job;
    const merge_slice *slice;
    uint64_t layer; /* within the slice */
    organ_expert_match experts;
} merge_matching;

static const merge_donor *donor_of(const merge_matching *m, size_t source)
{
    return &m->job->donors[m->slice->sources[source].donor];
}

/* organ_expert_match.find */
static organ_merge_input find_input(const void *context, size_t source, const organ_weight *like, size_t expert)
{
    const merge_matching *const m = context;
    const merge_donor *const donor = donor_of(m, source);
    char name[MERGE_NAME];
    const int32_t layer = (int32_t)(m->slice->sources[source].first + m->layer),
                  number = like->anatomy.expert < 0 ? -1 : (int32_t)expert;
    const organ_weight *const weight = organ_anatomy_renumber(like->name, layer, number, name, sizeof name)
                                           ? organ_merge_find_weight(m->job, donor, name, &like->anatomy)
                                           : NULL;
    return (organ_merge_input){.model = organ_merge_stored(donor),
                               .weight = weight,
                               .change = weight ? organ_adapted_change(&donor->adapted, weight, like) : NULL};
}

/* Adds a row of the report. *reordered becomes the number of experts that change their place. */
static organ_status note_match(const merge_matching *m, size_t source, size_t *reordered, organ_error *error)
{
    model_merge *const job = m->job;
    const organ_expert_match *const experts = &m->experts;
    const double n = (double)experts->experts;
    merge_match match = {.layer = (int32_t)(m->slice->first + m->layer),
                         .donor = m->slice->sources[source].donor,
                         .experts = experts->experts};
    for (size_t e = 0; e < experts->experts && !job->options->write.dry_run; e++) {
        match.reordered += experts->row_of[e] != e;
        match.in_order += organ_expert_match_distance(experts, REFERENCE, e, SOURCE, e, /*router=*/false) / n;
        match.distance +=
            organ_expert_match_distance(experts, REFERENCE, e, SOURCE, experts->row_of[e], /*router=*/false) / n;
    }
    *reordered = match.reordered;
    if (!organ_grow(&job->matches, job->match_count, &job->match_room, sizeof *job->matches))
        return organ_fail_memory(error, job->recipe.label);
    job->matches[job->match_count++] = match;
    return ORGAN_OK;
}

/* *order stays NULL if no expert changes its place. */
static organ_status match_source(const merge_matching *m, size_t source, const uint32_t **order, organ_error *error)
{
    const size_t n = m->experts.experts;
    size_t reordered = 0;
    if (organ_expert_match_sign(&m->experts, source, SOURCE, error))
        return error->status;
    if (organ_expert_match_order(&m->experts, REFERENCE, SOURCE))
        organ_say(m->job->recipe.warnings,
                  "layer %llu: experts of %s are in other groups of the router, which they keep: they are matched as "
                  "far as groups stay together",
                  (unsigned long long)(m->slice->first + m->layer), donor_of(m, source)->name);
    if (note_match(m, source, &reordered, error) || reordered == 0)
        return error->status;
    uint32_t *const made = organ_merge_take(m->job, n * sizeof *made, error);
    for (size_t e = 0; e < n && made; e++)
        made[e] = (uint32_t)m->experts.row_of[e];
    *order = made;
    return error->status;
}

/* Adds the work of a dry run to the plan, and rows without results to the report. */
static organ_status plan_layer(merge_matching *m, size_t reference, organ_error *error)
{
    organ_plan *const plan = &m->job->plan;
    organ_expert_match *const experts = &m->experts;
    const double n = (double)experts->experts;
    size_t reordered;
    organ_plan_memory(plan, organ_expert_match_memory(experts, SIGNATURES), 0);
    for (size_t s = 0; s < m->slice->source_count && !error->status; s++) {
        if (!organ_expert_match_has(experts, s))
            continue;
        for (size_t k = 0; k < experts->part_count; k++) {
            const organ_expert_part *const part = &experts->parts[k];
            plan->bytes += (double)organ_weight_bytes(part->like) * (part->like->anatomy.expert < 0 ? 1 : n) *
                           (double)part->rows / (double)part->each;
        }
        if (s == reference)
            continue;
        plan->products += 2 * n * n * (double)experts->width;
        note_match(m, s, &reordered, error);
    }
    return error->status;
}

/* The outline refuses the tensors of sources that lack parts. */
static organ_status match_layer(merge_matching *m, size_t reference, const uint32_t **orders, organ_error *error)
{
    if (organ_expert_match_open(&m->experts, SIGNATURES, "the experts of a layer of two models", error) == ORGAN_OK)
        organ_expert_match_sign(&m->experts, reference, REFERENCE, error);
    for (size_t k = 0; k < m->slice->source_count && !error->status; k++)
        if (k != reference && organ_expert_match_has(&m->experts, k))
            match_source(m, k, &orders[k], error);
    organ_expert_match_close(&m->experts);
    return error->status;
}

organ_status organ_merge_match_experts(model_merge *job, const merge_slice *slice, uint64_t layer, size_t reference,
                                       merge_orders *orders, organ_error *error)
{
    merge_matching m = {.job = job, .slice = slice, .layer = layer};
    const char *why;
    organ_error fault = {0};
    m.experts =
        (organ_expert_match){.engine = job->engine, .label = job->recipe.label, .find = find_input, .context = &m};
    *orders = (merge_orders){0};
    if (job->experts_fixed || slice->source_count < 2 || strcmp(job->options->match_experts, "off") == 0 ||
        !organ_expert_match_find(&m.experts, job->donors[slice->sources[reference].donor].weights,
                                 (int32_t)(slice->sources[reference].first + layer), &why))
        return error->status;
    if (organ_expert_match_check(&m.experts, job->donors[job->host].model, &job->expert_groups, reference, &why,
                                 &fault)) {
        organ_say(job->recipe.warnings, "experts are not matched: %s", fault.message);
        job->experts_fixed = true;
        return error->status;
    }
    if (why) {
        if (!job->experts_unfit)
            organ_say(job->recipe.warnings, "experts of layer %llu are not matched, nor those of others like it: %s",
                      (unsigned long long)(slice->first + layer), why);
        job->experts_unfit = true;
        return error->status;
    }
    orders->experts = m.experts.experts;
    if (!(orders->of = organ_merge_take(job, slice->source_count * sizeof *orders->of, error)))
        return error->status;
    if (!job->matching)
        organ_progress_begin(job->progress, "matching experts", 0, (size_t)job->donors[job->host].layers);
    job->matching = true;
    job->options->write.dry_run ? plan_layer(&m, reference, error) : match_layer(&m, reference, orders->of, error);
    organ_progress_advance(job->progress, 0, m.experts.parts[0].like->name, NULL);
    return error->status;
}

/* ---- use ---- */

size_t organ_merge_expert_in(const merge_orders *orders, size_t from, size_t to, size_t expert)
{
    if (!orders->of)
        return expert;
    return organ_expert_number(orders->of[from], to == MERGE_NONE ? NULL : orders->of[to], orders->experts, expert);
}

organ_status organ_merge_order_of(const merge_orders *orders, size_t source, const organ_weight *weight,
                                  const uint32_t **order, organ_error *error)
{
    *order = NULL;
    if (!orders->of || !orders->of[source])
        return ORGAN_OK;
    const organ_expert_entries entries = organ_expert_entries_of(weight, orders->experts);
    if (entries == ORGAN_EXPERT_ENTRIES_UNKNOWN)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': how it depends on the order of the experts is not known: `match_experts` off",
                          weight->name);
    if (entries == ORGAN_EXPERT_ENTRIES_EACH)
        *order = orders->of[source];
    return ORGAN_OK;
}
