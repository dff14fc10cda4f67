/* SPDX-License-Identifier: MIT
 * Measures the inputs of the readers of each fold on a text, and chooses the factors of its channels. The rule is that
 * of SmoothQuant (Xiao et al. 2023, arXiv:2211.10438) with the range of an input in place of its greatest magnitude, as
 * in llm-compressor. */
#include "orchestrator/surgery/folds/smooth_parts.h"

#include "formats/base/owned.h"
#include "orchestrator/ranks/ranks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the inputs ---- */

/* `tensor` is "NAME", or "NAME[E]" for matrix E of a stack. */
static bool is_named(const organ_fold_side *side, const char *tensor, uint64_t *matrix)
{
    const char *const name = side->weight->name;
    const size_t length = strlen(name);
    if (strncmp(tensor, name, length) != 0 || (tensor[length] && tensor[length] != '['))
        return false;
    *matrix = tensor[length] ? strtoull(tensor + length + 1, NULL, 10) : 0;
    return true;
}

static void note_inputs(const organ_smooth_walk *w, size_t fold, const organ_fold_side *side, uint64_t matrix,
                        size_t tokens, const float *inputs)
{
    float *const least = w->least + w->scaling->begin[fold], *const most = w->most + w->scaling->begin[fold];
    const size_t cols = (size_t)side->cols;
    for (size_t c = 0; c < cols; c++) {
        const uint64_t channel = organ_fold_channel(side, matrix, c);
        if (channel == ORGAN_NO_CHANNEL)
            continue;
        for (size_t t = 0; t < tokens; t++) {
            const float x = inputs[t * cols + c] / side->times;
            least[channel] = x < least[channel] ? x : least[channel];
            most[channel] = x > most[channel] ? x : most[channel];
        }
    }
}

static organ_status take_inputs(void *context, const char *tensor, size_t first, size_t tokens, size_t in_features,
                                const float *inputs, organ_error *error)
{
    organ_smooth_walk *const w = context;
    uint64_t matrix;
    (void)first;
    for (size_t f = w->first; f < w->end; f++) {
        const organ_fold *const fold = &w->scaling->folds.list[f];
        for (size_t k = fold->first; k < fold->first + fold->count; k++)
            if (w->watched[k] && w->scaling->folds.sides[k].cols == in_features &&
                is_named(&w->scaling->folds.sides[k], tensor, &matrix)) {
                note_inputs(w, f, &w->scaling->folds.sides[k], matrix, tokens, inputs);
                organ_smooth_samples_take(w, k, matrix, tokens, inputs);
            }
    }
    for (size_t k = 0; k < tokens * in_features; k++)
        if (!isfinite(inputs[k]))
            return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': input %zu of a token is not finite", tensor,
                              k % in_features);
    return ORGAN_OK;
}

/* All readers of a norm have its output, times a number, as input, so one that all tokens reach is enough. */
static void watch(organ_smooth_walk *w, const organ_fold *fold)
{
    const organ_fold_side *const sides = w->scaling->folds.sides;
    bool found = false;
    for (unsigned experts = 0; experts < 2 && !found; experts++)
        for (size_t k = fold->first; k < fold->first + fold->count; k++) {
            const bool routed = sides[k].weight->anatomy.experts == ORGAN_EXPERTS_ROUTED;
            const bool first = fold->kind == ORGAN_FOLD_NORM && !experts && found;
            if (sides[k].divided || routed != (experts > 0) || first)
                continue;
            w->watched[k] = found = true;
        }
}

/* ---- the factors ---- */

static void choose_factors(const organ_smooth_walk *w, size_t f, const organ_channel_weights *weights)
{
    const organ_fold *const fold = &w->scaling->folds.list[f];
    const uint64_t begin = w->scaling->begin[f];
    for (uint64_t c = 0; c < fold->channels; c++) {
        const double range = (double)w->most[begin + c] - (double)w->least[begin + c],
                     wanted = organ_smooth_factor(w->alpha, range, (double)weights[c].reader);
        const uint64_t allowed = organ_channel_exponents(&weights[c].range);
        w->scaling->factors[begin + c] =
            w->reals ? organ_channel_factor(&weights[c].range, w->engine->kernels, (float)wanted)
                     : ldexpf(1, organ_smooth_nearest(wanted, /*steps=*/1, &allowed));
    }
}

/* Each rank has run some windows: least and greatest inputs of all ranks count. */
static organ_status share_inputs(const organ_smooth_walk *w, uint64_t begin, uint64_t count, organ_error *error)
{
    organ_ranks *const ranks = w->engine->ranks;
    float *const both[2] = {w->least + begin, w->most + begin};
    if (organ_ranks_count(ranks) < 2)
        return error->status;
    for (unsigned k = 0; k < 2; k++) {
        ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
        if (organ_ranks_gather(ranks, "the ranges of inputs", both[k], count * sizeof(float), &all, error))
            return error->status;
        for (size_t r = 0; r < all.count; r++)
            for (uint64_t c = 0; c < count; c++) {
                float other;
                memcpy(&other, all.of[r] + c * sizeof other, sizeof other);
                if (k ? other > both[k][c] : other < both[k][c])
                    both[k][c] = other;
            }
    }
    return ORGAN_OK;
}

/* ---- the walk ---- */

static uint64_t no_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    (void)context, (void)calib, (void)tensor;
    return 0;
}

/* Counts `least`, `most`, the factors and shares of all folds, and the weights and samples of the largest layer. */
static uint64_t walk_memory(void *context, const organ_calibration_run *calib, bool scratch)
{
    const organ_smooth_walk *const w = context;
    const organ_folds *const folds = &w->scaling->folds;
    uint64_t largest = 0, layer = 0;
    (void)calib, (void)scratch;
    for (size_t f = 0; f < folds->count; f++) {
        layer = f > 0 && folds->list[f].layer == folds->list[f - 1].layer ? layer : 0;
        layer += folds->list[f].channels;
        largest = layer > largest ? layer : largest;
    }
    return 3 * w->scaling->channels * sizeof(float) + largest * sizeof(organ_channel_weights) +
           (w->alpha < 0 ? organ_smooth_samples_memory(w) + folds->count * sizeof *w->shares : 0);
}

static organ_status find_folds(void *context, const organ_calibration_run *calib, organ_error *error)
{
    const organ_smooth_walk *const w = context;
    const organ_calibration_run_facts *const facts = organ_calibration_run_facts_of(calib);
    return organ_scaling_open(facts->forward, w->scaling->model, w->scaling, error);
}

static organ_status enter_layer(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_smooth_walk *const w = context;
    const organ_folds *const folds = &w->scaling->folds;
    w->first = w->end;
    while (w->end < folds->count && folds->list[w->end].layer <= layer->number)
        w->end++;
    return w->alpha < 0 && !error->status ? organ_smooth_samples_begin(w, error) : error->status;
}

static organ_status leave_layer(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_smooth_walk *const w = context;
    const organ_scaling *const s = w->scaling;
    const uint64_t begin = w->first < s->folds.count ? s->begin[w->first] : s->channels,
                   end = w->end < s->folds.count ? s->begin[w->end] : s->channels;
    ORGAN_OWNED organ_channel_weights *const weights = malloc((size_t)(end - begin + 1) * sizeof *weights);
    if (!weights && !error->status)
        organ_fail_memory(error, s->model->path);
    share_inputs(w, begin, end - begin, error);
    for (size_t f = w->first; f < w->end && !error->status; f++)
        organ_smooth_read_weights(w, layer->loaded, &s->folds.list[f], weights + (s->begin[f] - begin), error);
    if (w->alpha < 0)
        organ_smooth_samples_solve(w, layer->loaded, weights, error);
    for (size_t f = w->first; w->alpha >= 0 && f < w->end && !error->status; f++)
        choose_factors(w, f, weights + (s->begin[f] - begin));
    organ_smooth_samples_release(&w->samples);
    return error->status;
}

organ_status organ_smooth_walk_open(organ_smooth_walk *w, const organ_model *model, const organ_progress *progress,
                                    organ_error *error)
{
    organ_scaling *const s = w->scaling;
    s->model = model;
    w->options.method = "smooth";
    w->options.verb = w->options.doing = "measuring";
    w->options.streams = ORGAN_INPUTS_DONOR;
    w->options.moments_only = w->options.blocks = true;
    w->tap = (organ_tap){w, take_inputs};
    w->work = (organ_calibration_work){.context = w,
                                       .memory = no_memory,
                                       .alike = true,
                                       .every = true,
                                       .enter = enter_layer,
                                       .leave = leave_layer,
                                       .opened = find_folds,
                                       .extra = walk_memory,
                                       .tap = &w->tap};
    if (organ_calibration_run_open(&w->options, model, &w->targets, &w->work, w->engine, progress, &w->run, error))
        return error->status;
    w->watched = calloc(s->folds.side_count + 1, sizeof *w->watched);
    w->least = malloc((size_t)(s->channels + 1) * sizeof *w->least);
    w->most = malloc((size_t)(s->channels + 1) * sizeof *w->most);
    w->shares = calloc(s->folds.count + 1, sizeof *w->shares);
    if (!w->watched || !w->least || !w->most || !w->shares)
        return organ_fail_memory(error, model->path);
    for (uint64_t c = 0; c < s->channels; c++) {
        w->least[c] = INFINITY;
        w->most[c] = -INFINITY;
    }
    for (size_t f = 0; f < s->folds.count; f++)
        watch(w, &s->folds.list[f]);
    return ORGAN_OK;
}

organ_status organ_smooth_walk_run(organ_smooth_walk *w, organ_error *error)
{
    return organ_calibration_run_layers(w->run, error);
}

void organ_smooth_walk_close(organ_smooth_walk *w)
{
    organ_calibration_run_close(w->run);
    organ_smooth_samples_release(&w->samples);
    ORGAN_FREE_ARRAYS(w->watched, w->least, w->most, w->shares);
}
