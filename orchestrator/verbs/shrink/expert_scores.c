/* SPDX-License-Identifier: MIT
 * Allocates scores of experts, chooses the kept experts of a layer by them, and divides a budget among layers. */
#include "orchestrator/verbs/shrink/experts_parts.h"

#include "formats/base/plain_numbers.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"loss", "reap", "sum", "frequency"};

organ_status organ_expert_score_named(const char *name, organ_expert_score *score, organ_error *error)
{
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strcmp(name, names[k]) == 0) {
            *score = (organ_expert_score)k;
            return ORGAN_OK;
        }
    return organ_fail(error, ORGAN_USAGE, "`score` '%s' is unknown: loss, reap, sum or frequency", name);
}

const char *organ_expert_score_name(organ_expert_score score) { return names[score]; }

/* The caller releases `s` also if this returns false. */
static bool allocate_scores(organ_expert_scores *s)
{
    const size_t experts = s->experts;
    s->of = calloc(s->layers + 1, sizeof *s->of);
    bool allocated = s->of != NULL;
    for (size_t l = 0; allocated && l < s->layers; l++) {
        organ_expert_layer *const layer = &s->of[l];
        layer->frequency = calloc(experts, sizeof *layer->frequency);
        layer->sum = calloc(experts, sizeof *layer->sum);
        layer->reap = calloc(experts, sizeof *layer->reap);
        layer->removed = calloc(experts, sizeof *layer->removed);
        layer->loss = calloc(experts, sizeof *layer->loss);
        allocated = layer->frequency && layer->sum && layer->reap && layer->removed && layer->loss;
    }
    return allocated;
}

/* Returns one plus the last layer after `first` that has experts; `first` if none has. */
static size_t end_of_experts(const organ_model *model, size_t first)
{
    size_t end = first;
    for (size_t l = first, layers = organ_cut_layers(model); l < layers; l++)
        end = organ_cut_experts(model, l) ? l + 1 : end;
    return end;
}

/* Opens the forward pass with its blocks if it runs all blocks that have experts; else *forward stays NULL. */
static organ_status open_blocks(const organ_model *model, const organ_engine *engine, size_t trunk,
                                organ_forward **forward, organ_error *error)
{
    const size_t end = end_of_experts(model, trunk);
    organ_error fault = {0};
    if (end == trunk)
        return error->status;
    if (organ_forward_open(model, engine, forward, &fault) == ORGAN_OK)
        organ_calibration_open_blocks(*forward, &fault);
    if (fault.status && fault.status != ORGAN_BAD_INPUT)
        *error = fault;
    if (fault.status || trunk + organ_forward_drafts(*forward) < end) {
        organ_forward_close(*forward);
        *forward = NULL;
    }
    return error->status;
}

static void mark_dense(organ_expert_scores *s, const organ_forward_config *config)
{
    for (size_t l = 0; l < s->layers; l++)
        s->of[l].dense = s->of[l].known = !config->kinds[l].mixture;
}

organ_status organ_expert_scores_open(const organ_model *model, const organ_engine *engine, bool with_loss,
                                      organ_expert_scores *scores, organ_error *error)
{
    organ_forward_config config;
    organ_forward *blocks = NULL;
    *scores = (organ_expert_scores){.with_loss = with_loss};
    if (organ_forward_config_read(model, &config, error) != ORGAN_OK)
        return error->status;
    if (config.experts)
        open_blocks(model, engine, config.layers, &blocks, error);
    scores->trunk = config.layers;
    scores->layers = scores->trunk + (blocks ? organ_forward_drafts(blocks) : 0);
    scores->experts = config.experts;
    scores->used = config.experts_used;
    scores->least = organ_forward_min_experts(&config);
    scores->groups = config.router_groups > 1 ? config.router_groups : 1;
    if (scores->experts == 0 && !error->status)
        organ_fail(error, ORGAN_USAGE,
                   "%s has no experts, its layers are dense: 'organ width' removes feed-forward channels, "
                   "'organ layers' whole blocks",
                   model->path);
    else if (!error->status && !allocate_scores(scores))
        organ_fail_memory(error, model->path);
    if (!error->status)
        mark_dense(scores, blocks ? organ_forward_describe(blocks) : &config);
    organ_forward_close(blocks);
    organ_forward_config_release(&config);
    return error->status;
}

void organ_expert_scores_release(organ_expert_scores *s)
{
    for (size_t l = 0; s->of && l < s->layers; l++)
        ORGAN_FREE_ARRAYS(s->of[l].frequency, s->of[l].sum, s->of[l].reap, s->of[l].removed, s->of[l].loss);
    free(s->of);
    json_decref(s->calibration);
    *s = (organ_expert_scores){0};
}

/* ---- the choice ---- */

static double scores_difference(const organ_expert_layer *layer, organ_expert_score score, uint32_t a, uint32_t b)
{
    if (score == ORGAN_EXPERT_REAP)
        return layer->reap[a] - layer->reap[b];
    if (score == ORGAN_EXPERT_SUM)
        return layer->sum[a] - layer->sum[b];
    return (double)layer->frequency[a] - (double)layer->frequency[b];
}

/* Of experts with the same score the one with the higher number is removed first. */
static bool is_removed_before(const organ_expert_layer *layer, organ_expert_score score, uint32_t a, uint32_t b)
{
    const double x = scores_difference(layer, score, a, b);
    return x < 0 || (x == 0 && a > b);
}

/* Returns whether `expert` is one of the first `count` that are removed. For ORGAN_EXPERT_LOSS, the layer has the order
 * of removal. For other scores, each router group loses its count / groups experts with the smallest scores. */
static bool is_removed_within(const organ_expert_scores *s, const organ_expert_layer *layer, organ_expert_score score,
                              uint32_t count, uint32_t expert)
{
    uint32_t before = 0;
    if (score == ORGAN_EXPERT_LOSS) {
        for (uint32_t k = 0; k < count; k++)
            if (layer->removed[k] == expert)
                return true;
        return false;
    }
    const uint32_t size = s->experts / s->groups, group_begin = expert / size * size;
    for (uint32_t e = group_begin; e < group_begin + size; e++)
        before += e != expert && is_removed_before(layer, score, e, expert);
    return before < count / s->groups;
}

void organ_expert_scores_choose(const organ_expert_scores *s, size_t layer, organ_expert_score score, uint32_t keep,
                                uint32_t *kept)
{
    uint32_t count = 0;
    for (uint32_t e = 0; e < s->experts; e++)
        if (!is_removed_within(s, &s->of[layer], score, s->experts - keep, e))
            kept[count++] = e;
}

double organ_expert_scores_missed(const organ_expert_scores *s, size_t layer, uint32_t keep)
{
    const organ_expert_layer *const of = &s->of[layer];
    return keep < s->experts && of->power > 0 ? of->loss[s->experts - keep - 1] / of->power : 0;
}

/* Returns the growth of a layer's relative error from `keep` kept experts in all its groups to one expert fewer in each
 * group. */
static double scores_step(const organ_expert_scores *s, size_t layer, uint32_t keep)
{
    return organ_expert_scores_missed(s, layer, keep - s->groups) - organ_expert_scores_missed(s, layer, keep);
}

void organ_expert_scores_divide(const organ_expert_scores *s, uint64_t budget, uint32_t *keep)
{
    uint64_t total = 0;
    for (size_t l = 0; l < s->layers; l++) {
        keep[l] = s->of[l].dense ? 0 : s->experts;
        total += keep[l];
    }
    for (; total > budget; total -= s->groups) {
        size_t best = SIZE_MAX;
        for (size_t l = 0; l < s->layers; l++)
            if (keep[l] > s->least &&
                (best == SIZE_MAX || scores_step(s, l, keep[l]) < scores_step(s, best, keep[best])))
                best = l;
        if (best == SIZE_MAX)
            return;
        keep[best] -= s->groups;
    }
}

/* ---- the option --keep ---- */

/* A percentage is rounded to a multiple of the router's groups. */
organ_status organ_experts_read_keep(const char *text, const organ_expert_scores *s, uint32_t *keep, organ_error *error)
{
    const uint32_t experts = s->experts, used = s->used, groups = s->groups;
    char *end;
    const double number = organ_strtod(text, &end);
    const bool percent = strcmp(end, "%") == 0, counts = number > 0 && number < 1e9;
    double count = counts ? number : 0;
    if (counts && percent)
        count = groups * (double)(uint32_t)(number * experts / 100 / groups + 0.5);
    if (end == text || (*end && !percent) || !counts || (!percent && number != (double)(uint32_t)number))
        return organ_fail(error, ORGAN_USAGE, "`keep` %s: is neither a number nor a share of experts, such as 50%%",
                          text);
    if (!(count < experts))
        return organ_fail(error, ORGAN_USAGE, "`keep` %s: each layer has %u experts: nothing would be removed", text,
                          experts);
    if (count < used)
        return organ_fail(error, ORGAN_USAGE, "`keep` %s: each token needs %u experts, so at least these must be kept",
                          text, used);
    if (count < s->least || (uint32_t)count % groups)
        return organ_fail(error, ORGAN_USAGE,
                          "`keep` %s: the router chooses among %u groups of experts by position, so each must keep the "
                          "same number: keep a multiple of %u, at least %u",
                          text, groups, groups, s->least);
    *keep = (uint32_t)count;
    return ORGAN_OK;
}
