/* SPDX-License-Identifier: MIT
 * Fits the routers of a composed mixture along a text of each expert, which runs through the layers of the base: ridge
 * regression from the inputs of the feed-forward, which the router reads, to 1 for the expert of the text and 0 for the
 * others. Two of each 4 windows give the sums of the regression, the third chooses lambda and the scale of the logits,
 * the fourth is held out. For every gate, the report has the share of held-out tokens whose greatest logit is that of
 * their expert. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/stream/transfer.h"
#include "orchestrator/surgery/calibration/calibration.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD      ((size_t)4) /* windows of which one is held out */
#define MOST_LOGIT  256.0F      /* greatest scale of the logits */
#define TEXT_METHOD "fit"

typedef enum fit_part { PART_FIT, PART_CHOICE, PART_JUDGED } fit_part;

static fit_part part_of(size_t window)
{
    static const fit_part parts[PERIOD] = {PART_FIT, PART_FIT, PART_CHOICE, PART_JUDGED};
    return parts[window % PERIOD];
}

/* The text of an expert. */
typedef struct fit_text {
    organ_calibration_run_options walk;
    organ_calibration_run *calib;
    const organ_calibration_run_facts *facts;
    organ_calibration_chunks chunks;
    organ_calibration_states *states;
} fit_text;

typedef struct fit_run {
    const model_merge *job;
    merge_mixture *mixture;
    fit_text *texts; /* one for each routed expert */
    size_t opened;
    organ_forward *forward;
    bool fits;        /* the routers are fitted; false: only judged */
    size_t tokens[3]; /* of each part, without the first one of a window */
    /* of the current layer */
    const char *gate; /* name of the matrix whose inputs are those of the router */
    organ_ridge *ridge;
    float *target;       /* [context][experts] */
    float *kept[3];      /* inputs of PART_CHOICE and PART_JUDGED: [tokens][hidden] */
    size_t count[3];     /* tokens of each part so far */
    size_t text, window; /* of the current chunk: its text and first window */
} fit_run;

static size_t hidden_of(const fit_run *f) { return (size_t)f->mixture->config.hidden; }

/* ---- texts and memory ---- */

static organ_status open_text(fit_run *f, fit_text *text, const mixture_expert *expert, organ_error *error)
{
    const organ_calibration_text *const given = &f->job->options->calibration;
    const organ_model *const base = organ_merge_stored(&f->job->donors[f->job->host]);
    text->walk = (organ_calibration_run_options){
        .calibration = {expert->text, given->samples, given->context, given->scratch, given->compute},
        .method = TEXT_METHOD,
        .verb = "merge",
        .min_windows = (unsigned)PERIOD};
    if (organ_calibration_run_open(&text->walk, base, NULL, NULL, f->job->engine, f->job->progress, &text->calib,
                                   error))
        return error->status;
    text->facts = organ_calibration_run_facts_of(text->calib);
    text->chunks = organ_calibration_chunks_make(text->walk.calibration.samples, text->walk.calibration.context,
                                                 organ_forward_describe(text->facts->forward)->state);
    for (size_t w = 0; w < text->walk.calibration.samples; w++)
        f->tokens[part_of(w)] += text->walk.calibration.context - 1;
    return ORGAN_OK;
}

static organ_ridge_shape shape_of(const fit_run *f)
{
    return (organ_ridge_shape){.name = "the router",
                               .tokens = {f->tokens[PART_FIT], f->tokens[PART_CHOICE]},
                               .blocks = 1,
                               .width = hidden_of(f),
                               .used = 1,
                               .outputs = f->mixture->count,
                               .scratch = f->job->options->calibration.scratch};
}

static uint64_t needed_bytes(const fit_run *f)
{
    const bool scratch = f->job->options->calibration.scratch != NULL;
    const organ_ridge_shape shape = shape_of(f);
    uint64_t bytes = (f->tokens[PART_CHOICE] + f->tokens[PART_JUDGED]) * hidden_of(f) * sizeof(float) +
                     f->mixture->gated * hidden_of(f) * f->mixture->config.layers * sizeof(float);
    for (size_t k = 0; k < f->mixture->count; k++)
        bytes += organ_calibration_states_memory(&f->texts[k].chunks, /*copied=*/false, scratch);
    return bytes + (f->fits ? organ_ridge_memory(f->job->engine, &shape) : 0);
}

static bool leaves_more(void *context, uint64_t memory)
{
    const fit_run *const f = context;
    return organ_forward_memory_left(f->forward, memory, f->texts[0].walk.calibration.context) > needed_bytes(f);
}

/* Opens the texts and claims the memory. The caller closes the run, also after an error. */
static organ_status open_run(fit_run *f, const model_merge *job, organ_error *error)
{
    *f = (fit_run){.job = job, .mixture = job->recipe.mixture, .fits = job->recipe.mixture->gate == MIXTURE_FIT};
    const merge_donor *const host = &job->donors[job->host];
    if (host->adapted.adapter)
        return organ_fail(error, ORGAN_USAGE,
                          "base_model %s has an adapter, whose states the texts need: write it with 'organ lora merge' "
                          "first",
                          host->name);
    if (!(f->texts = calloc(f->mixture->count, sizeof *f->texts)))
        return organ_fail_memory(error, job->recipe.label);
    for (size_t k = 0; k < f->mixture->count && !error->status; k++, f->opened++)
        open_text(f, &f->texts[k], &f->mixture->experts[k], error);
    if (error->status)
        return error->status;
    f->forward = f->texts[0].facts->forward;
    return organ_memory_require(job->engine, leaves_more, f, error,
                                "a layer of the base, the hidden states of all texts and the fit of a router");
}

static void close_run(fit_run *f)
{
    for (size_t k = 0; k < f->opened; k++) {
        organ_calibration_states_close(f->texts[k].states);
        organ_calibration_run_close(f->texts[k].calib);
    }
    organ_ridge_close(f->ridge);
    ORGAN_FREE_ARRAYS(f->texts, f->target, f->kept[PART_CHOICE], f->kept[PART_JUDGED]);
}

static bool has_texts(const merge_mixture *m) { return m->experts[0].text != NULL; }

organ_status organ_mixture_check_texts(model_merge *job, organ_error *error)
{
    fit_run f = {0};
    if (!has_texts(job->recipe.mixture))
        return ORGAN_OK;
    if (open_run(&f, job, error) == ORGAN_OK) {
        organ_plan_memory(&job->plan, organ_memory_enough(0, leaves_more, &f), 0);
        for (size_t k = 0; k < f.mixture->count; k++)
            for (int32_t l = 0; l < (int32_t)f.mixture->config.layers; l++) {
                const double tokens = (double)f.texts[k].facts->windows.begin[f.texts[k].facts->windows.count];
                const organ_plan_work token = organ_calibration_token_products(
                    f.forward, organ_merge_stored(&job->donors[job->host]), l, f.texts[k].walk.calibration.context);
                organ_plan_compute(&job->plan, organ_calibration_engine(f.texts[k].calib),
                                   (organ_plan_work){tokens * token.all, tokens * token.multiplied});
            }
    }
    close_run(&f);
    return error->status;
}

/* ---- inputs of a router ---- */

/* Keeps or adds the inputs of `n` tokens of a window. */
static organ_status take_tokens(fit_run *f, size_t window, size_t n, const float *inputs, organ_error *error)
{
    const size_t hidden = hidden_of(f), experts = f->mixture->count;
    const fit_part part = part_of(window);
    if (f->count[part] + n > f->tokens[part])
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': it has more inputs than tokens", f->gate);
    if (part != PART_FIT)
        memcpy(f->kept[part] + f->count[part] * hidden, inputs, n * hidden * sizeof *inputs);
    f->count[part] += n;
    if (!f->fits || part == PART_JUDGED || !n)
        return ORGAN_OK;
    for (size_t t = 0; t < n; t++)
        for (size_t e = 0; e < experts; e++)
            f->target[t * experts + e] = (e == f->text ? 1.0F : 0.0F) - 1.0F / (float)experts;
    return organ_ridge_add(f->ridge, part == PART_FIT ? ORGAN_RIDGE_FIT : ORGAN_RIDGE_HELD, n, NULL, inputs, f->target,
                           error);
}

/* The tap of a layer. The first token of a window, which often is BOS, is left out. */
static organ_status take_inputs(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                const float *inputs, organ_error *error)
{
    fit_run *const f = context;
    const size_t length = f->texts[f->text].walk.calibration.context;
    if (strcmp(tensor, f->gate) != 0)
        return ORGAN_OK;
    for (size_t t = first, n; t < first + tokens && !error->status; t += n) {
        const size_t left = length - t % length, all = first + tokens - t, skipped = t % length == 0;
        n = left < all ? left : all;
        take_tokens(f, f->window + t / length, n - skipped, inputs + (t - first + skipped) * features, error);
    }
    return error->status;
}

/* Runs all texts through a layer, and gathers the inputs of its feed-forward. */
static organ_status run_layer(fit_run *f, const organ_layer *layer, organ_error *error)
{
    const organ_tap tap = {f, take_inputs};
    memset(f->count, 0, sizeof f->count);
    for (f->text = 0; f->text < f->mixture->count; f->text++) {
        fit_text *const text = &f->texts[f->text];
        for (size_t c = 0; c < organ_calibration_chunks_count(&text->chunks) && !error->status; c++) {
            const organ_windows windows = organ_calibration_chunk_at(&text->chunks, &text->facts->windows, c);
            float *const values = organ_calibration_states_take(text->states, c, error);
            f->window = c * text->chunks.together;
            if (organ_stop_is_requested(f->job->engine->stop))
                return organ_fail(error, ORGAN_INTERRUPTED, "stopped while the texts ran through the base");
            if (values && organ_layer_run(f->forward, layer, &windows, values, &tap, error) == ORGAN_OK)
                organ_calibration_states_put_back(text->states, c, error);
        }
    }
    return error->status;
}

/* ---- a router ---- */

/* Computes the logits of a token. */
static void logits_of(const fit_run *f, const float *rows, const float *input, float *logits)
{
    const size_t hidden = hidden_of(f);
    for (size_t e = 0; e < f->mixture->count; e++) {
        double sum = 0;
        for (size_t i = 0; i < hidden; i++)
            sum += (double)rows[e * hidden + i] * (double)input[i];
        logits[e] = (float)sum;
    }
}

/* Returns the expert whose text has token `token` of a part: the parts of the texts follow each other. */
static size_t expert_of(const fit_run *f, fit_part part, size_t token)
{
    size_t text = 0, end = 0;
    for (; text < f->mixture->count; text++) {
        const organ_calibration_text *const c = &f->texts[text].walk.calibration;
        for (size_t w = 0; w < c->samples; w++)
            end += part_of(w) == part ? c->context - 1 : 0;
        if (token < end)
            break;
    }
    return text;
}

/* Returns the scale of the logits with the least mean of -ln(probability of the text's expert) over PART_CHOICE. */
static float choose_scale(const fit_run *f, const float *rows, organ_error *error)
{
    enum { SCALES = 9 }; /* 1, 2, ... MOST_LOGIT */
    double loss[SCALES] = {0};
    ORGAN_OWNED float *const logits = malloc(f->mixture->count * sizeof *logits);
    if (!logits)
        return (float)organ_fail_memory(error, "the router");
    for (size_t t = 0; t < f->count[PART_CHOICE]; t++) {
        const size_t own = expert_of(f, PART_CHOICE, t);
        logits_of(f, rows, f->kept[PART_CHOICE] + t * hidden_of(f), logits);
        for (size_t s = 0; s < SCALES; s++) {
            double sum = 0;
            for (size_t e = 0; e < f->mixture->count; e++)
                sum += exp(ldexp((double)logits[e] - (double)logits[own], (int)s));
            loss[s] += log(sum);
        }
    }
    size_t best = 0;
    for (size_t s = 1; s < SCALES; s++)
        best = loss[s] < loss[best] ? s : best;
    return ldexpf(1, (int)best);
}

/* Writes the rows of the router of a layer. */
static organ_status fit_rows(fit_run *f, float *rows, organ_error *error)
{
    organ_ridge_choice choice;
    bool found = true;
    if (organ_ridge_choose(f->ridge, &choice, error))
        return error->status;
    if (!(choice.lambda > 0) &&
        organ_ridge_solve(f->ridge, organ_ridge_lambdas[ORGAN_RIDGE_LAMBDAS - 1], &found, error))
        return error->status;
    organ_ridge_block(f->ridge, 0, rows);
    const float scale = choose_scale(f, rows, error);
    for (size_t i = 0; i < f->mixture->count * hidden_of(f) && !error->status; i++)
        rows[i] *= scale;
    return error->status;
}

/* Returns the share of the held-out tokens that go to the expert of their text. */
static organ_status judge_rows(const fit_run *f, const float *rows, float *share, organ_error *error)
{
    ORGAN_OWNED float *const logits = malloc(f->mixture->count * sizeof *logits);
    size_t right = 0;
    if (!logits)
        return organ_fail_memory(error, "the router");
    for (size_t t = 0; t < f->count[PART_JUDGED]; t++) {
        logits_of(f, rows, f->kept[PART_JUDGED] + t * hidden_of(f), logits);
        right += organ_logits_top(logits, f->mixture->count) == expert_of(f, PART_JUDGED, t);
    }
    *share = (float)right / (float)f->count[PART_JUDGED];
    return ORGAN_OK;
}

/* ---- all layers ---- */

/* Returns the name of the matrix of a layer whose inputs are those of the router. */
static const char *gate_of(const fit_run *f, int32_t layer)
{
    const organ_weights *const weights = organ_forward_weights(f->forward);
    for (size_t k = 0; k < weights->count; k++)
        if (weights->weights[k].anatomy.layer == layer && weights->weights[k].anatomy.role == ORGAN_ROLE_GATE)
            return weights->weights[k].name;
    return "";
}

static organ_status do_layer(fit_run *f, int32_t number, organ_error *error)
{
    const organ_ridge_shape shape = shape_of(f);
    organ_layer *layer = NULL;
    float *const rows = f->mixture->rows + (size_t)number * f->mixture->gated * hidden_of(f);
    f->gate = gate_of(f, number);
    if (f->fits && organ_ridge_open(&shape, f->job->engine, &f->ridge, error))
        return error->status;
    if (organ_layer_load(f->forward, number, &layer, error) == ORGAN_OK)
        run_layer(f, layer, error);
    organ_layer_free(layer);
    if (!error->status && f->count[PART_JUDGED] != f->tokens[PART_JUDGED])
        organ_fail(error, ORGAN_BAD_INPUT, "layer %d: no inputs of its feed-forward were found", (int)number);
    if (!error->status && f->fits)
        fit_rows(f, rows, error);
    organ_ridge_close(f->ridge);
    f->ridge = NULL;
    return error->status ? error->status : judge_rows(f, rows, &f->mixture->share[number], error);
}

static organ_status open_states(fit_run *f, organ_error *error)
{
    const char *const scratch = f->job->options->calibration.scratch;
    const size_t hidden = hidden_of(f), longest = f->texts[0].walk.calibration.context;
    f->target = malloc(longest * f->mixture->count * sizeof *f->target);
    f->kept[PART_CHOICE] = malloc((f->tokens[PART_CHOICE] * hidden + 1) * sizeof(float));
    f->kept[PART_JUDGED] = malloc((f->tokens[PART_JUDGED] * hidden + 1) * sizeof(float));
    f->mixture->share = calloc(f->mixture->config.layers, sizeof *f->mixture->share);
    if (!f->target || !f->kept[PART_CHOICE] || !f->kept[PART_JUDGED] || !f->mixture->share)
        return organ_fail_memory(error, "the inputs of a router");
    for (size_t k = 0; k < f->mixture->count && !error->status; k++) {
        fit_text *const text = &f->texts[k];
        const organ_states_run run = {f->forward, &text->facts->windows, f->job->engine->stop,
                                      "reading the embeddings of the base"};
        const uint64_t bytes = organ_calibration_states_bytes(&text->chunks);
        if (scratch && organ_transfer_room(scratch, scratch, "the hidden states (`scratch`) need", bytes, error))
            break;
        if (organ_calibration_states_open(&text->chunks, /*copied=*/false, scratch, &text->states, error) == ORGAN_OK)
            organ_calibration_states_advance(text->states, &run, NULL, error);
    }
    return error->status;
}

organ_status organ_mixture_run_texts(model_merge *job, organ_error *error)
{
    fit_run f = {0};
    if (!has_texts(job->recipe.mixture))
        return ORGAN_OK;
    const unsigned layers = job->recipe.mixture->config.layers;
    organ_progress_begin(job->progress, "routers", layers, 1);
    if (open_run(&f, job, error) == ORGAN_OK && open_states(&f, error) == ORGAN_OK)
        for (unsigned l = 0; l < layers && !error->status; l++) {
            do_layer(&f, (int32_t)l, error);
            organ_progress_advance(job->progress, 1, "texts", NULL);
        }
    job->recipe.mixture->held = f.tokens[PART_JUDGED];
    organ_progress_end(job->progress);
    close_run(&f);
    return error->status;
}
