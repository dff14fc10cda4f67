/* SPDX-License-Identifier: MIT
 * The rows of the routers of a composed mixture, as mergekit-moe makes them, but in FP32: of prompts, which run through
 * the layers of the base, or of random numbers.
 *
 * mergekit pads the prompts of a list on the left to the longest one with BOS, which no other token attends to, and
 * hidden_avg is the mean over all positions, padding included. The attention of padding gives zeros, so its state is
 * that of a BOS in layers whose output projection is 0. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/surgery/calibration/calibration.h"

#include <organ/tokenizer.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GATE_STREAM  "router"       /* name of the stream of random numbers */
#define BATCH_TOKENS ((size_t)1024) /* tokens that run through a layer together */
#define LEAST_NORM   1e-8

/* ---- prompts ---- */

/* A prompt as a window of tokens. */
typedef struct gate_prompt {
    size_t row;      /* of the routers */
    double share;    /* 1 / number of prompts in its list, of negative ones less than 0 */
    size_t padding;  /* tokens before it in mergekit's batch */
    size_t at, size; /* its tokens */
} gate_prompt;

typedef struct gate_run {
    const model_merge *job;
    const merge_mixture *mixture;
    const organ_model *base;
    organ_tokenizer *tokenizer;
    organ_forward *forward;
    gate_prompt *prompts;
    size_t count, longest;
    uint32_t *tokens;
    size_t token_count, token_room;
    size_t *begin;  /* count + 1: offsets of the windows of a batch */
    float *hidden;  /* [token_count][state] */
    float *padding; /* [state]: of a token of padding; NULL: none is needed */
    uint32_t pad;   /* the token */
    double *sums;   /* [gated][hidden]: of the current layer */
} gate_run;

static size_t state_of(const gate_run *g) { return (size_t)organ_forward_describe(g->forward)->state; }

static bool takes_mean(const gate_run *g) { return g->mixture->gate == MIXTURE_HIDDEN_AVG; }

/* Returns the token that mergekit puts before a prompt; -1: none. A GGUF file may name a BOS that the files of the same
 * model in safetensors lack, and then does not add it to texts. */
static int64_t bos_of(const gate_run *g)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(g->tokenizer);
    return g->base->gguf && !facts->adds_bos ? -1 : facts->bos;
}

/* Adds the tokens of BOS and a prompt. */
static organ_status add_tokens(gate_run *g, const char *bos, size_t bos_bytes, const char *text, gate_prompt *prompt,
                               organ_error *error)
{
    const size_t bytes = bos_bytes + strlen(text);
    ORGAN_OWNED char *const whole = malloc(bytes + 1);
    ORGAN_OWNED uint32_t *ids = NULL;
    size_t count = 0;
    if (!whole)
        return organ_fail_memory(error, "a prompt");
    memcpy(whole, bos, bos_bytes);
    memcpy(whole + bos_bytes, text, bytes - bos_bytes + 1);
    if (organ_tokenizer_encode(g->tokenizer, whole, bytes, /*special=*/true, &ids, &count, error))
        return error->status;
    if (!count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: a prompt is empty", g->job->recipe.label);
    uint32_t *const more = realloc(g->tokens, (g->token_count + count) * sizeof *more);
    if (!more)
        return organ_fail_memory(error, "the prompts");
    g->tokens = more;
    memcpy(more + g->token_count, ids, count * sizeof *ids);
    prompt->at = g->token_count;
    prompt->size = count;
    g->token_count += count;
    return ORGAN_OK;
}

/* Adds the prompts of a list, which mergekit pads to the same length. */
static organ_status add_list(gate_run *g, size_t row, const char *const *texts, size_t count, double sign,
                             organ_error *error)
{
    const int64_t token = bos_of(g);
    size_t bytes = 0, longest = 0;
    const char *const bos = token >= 0 ? organ_tokenizer_piece(g->tokenizer, (uint32_t)token, &bytes) : "";
    gate_prompt *const first = g->prompts + g->count;
    for (size_t k = 0; k < count && !error->status; k++) {
        first[k] = (gate_prompt){.row = row, .share = sign / (double)count};
        add_tokens(g, bos, bytes, texts[k], &first[k], error);
        longest = organ_max(longest, first[k].size);
    }
    for (size_t k = 0; k < count; k++)
        first[k].padding = longest - first[k].size;
    g->count += count;
    g->longest = organ_max(g->longest, longest);
    return error->status;
}

static organ_status add_prompts(gate_run *g, organ_error *error)
{
    const merge_mixture *const m = g->mixture;
    size_t all = 0;
    for (size_t k = 0; k < m->gated; k++)
        all += m->experts[k].positive_count + m->experts[k].negative_count;
    if (!(g->prompts = calloc(all + 1, sizeof *g->prompts)) || !(g->begin = calloc(all + 2, sizeof *g->begin)))
        return organ_fail_memory(error, "the prompts");
    for (size_t k = 0; k < m->gated && !error->status; k++) {
        const mixture_expert *const e = &m->experts[k];
        if (add_list(g, k, e->positive, e->positive_count, 1, error) == ORGAN_OK)
            add_list(g, k, e->negative, e->negative_count, -1, error);
    }
    return error->status;
}

/* ---- memory ---- */

static uint64_t states_bytes(const gate_run *g)
{
    const uint64_t sums = g->mixture->gated * g->mixture->config.hidden * (sizeof(double) + sizeof(float));
    const uint64_t rows = g->mixture->gated * g->mixture->config.hidden * sizeof(float) * g->mixture->config.layers;
    return (g->token_count + 1) * state_of(g) * sizeof(float) + sums + rows;
}

static bool leaves_more(void *context, uint64_t memory)
{
    const gate_run *const g = context;
    return organ_forward_memory_left(g->forward, memory, g->longest) > states_bytes(g);
}

/* Opens tokenizer and forward pass, and claims the memory. The caller closes the run, also after an error. */
static organ_status open_run(gate_run *g, const model_merge *job, organ_error *error)
{
    const merge_donor *const host = &job->donors[job->host];
    *g = (gate_run){.job = job, .mixture = job->recipe.mixture, .base = organ_merge_stored(host)};
    if (host->adapted.adapter)
        return organ_fail(error, ORGAN_USAGE,
                          "base_model %s has an adapter, whose states gate_mode %s does not compute: write it with "
                          "'organ lora merge' first",
                          host->name, organ_mixture_gate_name(g->mixture->gate));
    if (organ_tokenizer_open(g->base, &g->tokenizer, error) || add_prompts(g, error) ||
        organ_forward_open_unpacked(g->base, job->engine, &g->forward, error) ||
        organ_forward_check_tokens(g->forward, g->tokens, g->token_count, error))
        return error->status;
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(g->tokenizer);
    const int64_t pad = bos_of(g) >= 0 ? bos_of(g) : facts->eos;
    bool padded = false;
    for (size_t k = 0; k < g->count; k++)
        padded |= takes_mean(g) && g->prompts[k].padding;
    if (padded && pad < 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: its tokenizer has neither BOS nor EOS, with which hidden_avg pads prompts of different "
                          "lengths",
                          host->path);
    g->pad = (uint32_t)pad;
    if (padded && !(g->padding = calloc(state_of(g), sizeof *g->padding)))
        return organ_fail_memory(error, "the prompts");
    return organ_memory_require(job->engine, leaves_more, g, error,
                                "a layer of the base and the hidden states of all prompts");
}

static void close_run(gate_run *g)
{
    organ_forward_close(g->forward);
    organ_tokenizer_close(g->tokenizer);
    ORGAN_FREE_ARRAYS(g->prompts, g->tokens, g->begin, g->hidden, g->padding, g->sums);
}

/* ---- the run ---- */

/* Runs prompts through a layer in batches, or reads their embeddings if it is NULL. */
static organ_status run_prompts(gate_run *g, const organ_layer *layer, organ_error *error)
{
    const organ_stop *const stop = g->job->engine->stop;
    for (size_t first = 0, n; first < g->count && !error->status; first += n) {
        const size_t at = g->prompts[first].at;
        for (n = 0; first + n < g->count; n++) {
            const size_t end = g->prompts[first + n].at + g->prompts[first + n].size - at;
            if (n && end > BATCH_TOKENS)
                break;
            g->begin[n + 1] = end;
        }
        const organ_windows windows = {g->tokens + at, n, g->begin};
        float *const hidden = g->hidden + at * state_of(g);
        if (organ_stop_is_requested(stop))
            return organ_fail(error, ORGAN_INTERRUPTED, "stopped while the prompts ran through the base");
        if (layer)
            organ_layer_run(g->forward, layer, &windows, hidden, NULL, error);
        else
            organ_forward_embed(g->forward, &windows, hidden, error);
    }
    return error->status;
}

/* Runs a token of padding through the layer, whose output projection is set to 0. */
static organ_status run_padding(gate_run *g, organ_layer *layer, int32_t number, organ_error *error)
{
    static const size_t begin[2] = {0, 1};
    const organ_windows window = {&g->pad, 1, begin};
    if (!g->padding)
        return ORGAN_OK;
    if (!layer)
        return organ_forward_embed(g->forward, &window, g->padding, error);
    const organ_weights *const weights = organ_forward_weights(g->forward);
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        if (w->anatomy.layer != number || w->anatomy.role != ORGAN_ROLE_O)
            continue;
        ORGAN_OWNED float *const zeros = calloc((size_t)w->elements, sizeof *zeros);
        if (!zeros)
            return organ_fail_memory(error, w->name);
        organ_layer_write(layer, w->name, zeros);
    }
    return organ_layer_run(g->forward, layer, &window, g->padding, NULL, error);
}

/* Adds what a prompt gives for the router of the layer whose inputs the states are. */
static void add_states(const gate_run *g, const gate_prompt *p)
{
    const size_t hidden = (size_t)g->mixture->config.hidden, state = state_of(g);
    const bool mean = takes_mean(g), cheap = g->mixture->gate == MIXTURE_CHEAP_EMBED;
    double *const sums = g->sums + p->row * hidden;
    const float *const first = g->hidden + p->at * state;
    const double share = mean ? p->share / (double)(p->size + p->padding) : p->share;
    for (size_t t = mean || cheap ? 0 : p->size - 1; t < p->size; t++)
        for (size_t i = 0; i < hidden; i++)
            sums[i] += share * (double)first[t * state + i];
    for (size_t i = 0; i < hidden && mean && p->padding; i++)
        sums[i] += share * (double)p->padding * (double)g->padding[i];
}

static double norm_of(const double *values, size_t n)
{
    double square = 0;
    for (size_t i = 0; i < n; i++)
        square += values[i] * values[i];
    return fmax(sqrt(square), LEAST_NORM);
}

/* Of embeddings the sums of the two lists are of length 1 before they are subtracted. */
static void subtract_embeddings(const gate_run *g)
{
    const size_t hidden = (size_t)g->mixture->config.hidden, n = g->mixture->gated * hidden;
    double *const positive = g->sums, *const negative = g->sums + n;
    for (size_t r = 0; r < g->mixture->gated; r++) {
        const double a = norm_of(positive + r * hidden, hidden), b = norm_of(negative + r * hidden, hidden);
        for (size_t i = r * hidden; i < (r + 1) * hidden; i++)
            positive[i] = positive[i] / a + negative[i] / b;
    }
}

/* Writes the rows of a layer's router. */
static void write_rows(gate_run *g, size_t layer)
{
    const size_t hidden = (size_t)g->mixture->config.hidden, n = g->mixture->gated * hidden;
    const bool cheap = g->mixture->gate == MIXTURE_CHEAP_EMBED;
    memset(g->sums, 0, 2 * n * sizeof *g->sums);
    for (size_t k = 0; k < g->count; k++) {
        gate_prompt p = g->prompts[k];
        if (cheap && p.share < 0)
            p.row += g->mixture->gated; /* the second half of the sums */
        p.share = cheap ? copysign(1, p.share) : p.share;
        add_states(g, &p);
    }
    if (cheap)
        subtract_embeddings(g);
    for (size_t r = 0; r < g->mixture->gated; r++) {
        const double norm = norm_of(g->sums + r * hidden, hidden);
        for (size_t i = 0; i < hidden; i++)
            g->mixture->rows[layer * n + r * hidden + i] = (float)(g->sums[r * hidden + i] / norm);
    }
}

static organ_status run_layers(gate_run *g, organ_error *error)
{
    const merge_mixture *const m = g->mixture;
    const size_t n = m->gated * (size_t)m->config.hidden;
    const bool cheap = m->gate == MIXTURE_CHEAP_EMBED;
    g->hidden = malloc(g->token_count * state_of(g) * sizeof *g->hidden);
    g->sums = malloc(2 * n * sizeof *g->sums);
    if (!g->hidden || !g->sums)
        return organ_fail_memory(error, "the hidden states of the prompts");
    if (run_prompts(g, NULL, error) || run_padding(g, NULL, -1, error))
        return error->status;
    for (size_t l = 0; l < m->config.layers && !error->status; l++) {
        organ_layer *layer = NULL;
        if (l && cheap) {
            memcpy(m->rows + l * n, m->rows, n * sizeof *m->rows);
            continue;
        }
        write_rows(g, l);
        if (!cheap && l + 1 < m->config.layers && organ_layer_load(g->forward, (int32_t)l, &layer, error) == ORGAN_OK &&
            run_prompts(g, layer, error) == ORGAN_OK)
            run_padding(g, layer, (int32_t)l, error);
        organ_layer_free(layer);
        organ_progress_advance(g->job->progress, 1, "prompts", NULL);
    }
    return error->status;
}

/* ---- random rows ---- */

static organ_status make_random(const model_merge *job, organ_error *error)
{
    merge_mixture *const m = job->recipe.mixture;
    const size_t n = m->config.layers * m->gated * (size_t)m->config.hidden;
    const uint64_t stream = organ_merge_stream_of(GATE_STREAM);
    const float limit = (float)(1 / sqrt((double)m->config.hidden));
    if (m->gate == MIXTURE_UNIFORM) {
        job->engine->kernels->philox_uniform(job->options->seed, stream, 0, m->rows, n);
        for (size_t i = 0; i < n; i++)
            m->rows[i] *= limit;
        return ORGAN_OK;
    }
    ORGAN_OWNED float *const levels = organ_normal_levels();
    if (!levels)
        return organ_fail_memory(error, job->recipe.label);
    memset(m->rows, 0, n * sizeof *m->rows);
    organ_merge_add_normal(job->engine->kernels, job->options->seed, stream, 0, 1, levels, m->rows, n);
    return ORGAN_OK;
}

/* ---- all rows ---- */

organ_status organ_mixture_check_gates(model_merge *job, organ_error *error)
{
    const merge_mixture *const m = job->recipe.mixture;
    gate_run g = {0};
    if (organ_mixture_needs_prompts(m->gate) && open_run(&g, job, error) == ORGAN_OK)
        organ_plan_memory(&job->plan, organ_memory_enough(0, leaves_more, &g), 0);
    close_run(&g);
    return error->status ? error->status : organ_mixture_check_texts(job, error);
}

static organ_status make_of_prompts(model_merge *job, organ_error *error)
{
    gate_run g = {0};
    if (open_run(&g, job, error) == ORGAN_OK) {
        organ_progress_begin(job->progress, "routers", job->recipe.mixture->config.layers, 1);
        run_layers(&g, error);
        organ_progress_end(job->progress);
    }
    close_run(&g);
    return error->status;
}

organ_status organ_mixture_make_rows(model_merge *job, organ_error *error)
{
    merge_mixture *const m = job->recipe.mixture;
    const size_t n = m->config.layers * m->gated * (size_t)m->config.hidden;
    if (m->rows)
        return ORGAN_OK;
    if (!(m->rows = calloc(n, sizeof *m->rows)))
        return organ_fail_memory(error, job->recipe.label);
    if (organ_mixture_needs_prompts(m->gate))
        make_of_prompts(job, error);
    else if (m->gate != MIXTURE_FIT)
        make_random(job, error);
    return error->status;
}

/* ---- the tensors ---- */

float *organ_mixture_values(const model_merge *job, const merge_tensor *t, organ_error *error)
{
    const merge_mixture *const m = job->recipe.mixture;
    const size_t hidden = (size_t)m->config.hidden;
    float *const values = calloc((size_t)t->like->elements + 16, sizeof *values);
    if (!values)
        organ_fail_memory(error, t->name);
    else if (t->made != MERGE_MADE_ZEROS) {
        const size_t first = t->made == MERGE_MADE_SHARED ? m->count : 0;
        memcpy(values, m->rows + ((size_t)t->layer * m->gated + first) * hidden,
               (size_t)t->like->elements * sizeof *values);
    }
    return values;
}

static organ_status write_one(model_merge *job, organ_writing *writing, size_t piece, organ_error *error)
{
    const merge_tensor *const t = &job->tensors[piece];
    const organ_dtype dtype = job->pieces[piece].dtype;
    const size_t n = (size_t)t->like->elements;
    ORGAN_OWNED float *const values = organ_mixture_values(job, t, error);
    ORGAN_OWNED void *const spare = values ? malloc((n + 16) * sizeof *values) : NULL;
    if (!spare)
        return error->status ? error->status : organ_fail_memory(error, t->name);
    if (organ_overflow_narrow(organ_write_overflow(writing), job->engine->kernels, dtype, t->name, values, spare, n,
                              error) ||
        organ_write_put(writing, piece, spare, n * organ_dtype_describe(dtype)->bytes, 0, NULL, error) ||
        organ_write_finish(writing, piece, organ_merge_tensor_results(t), error))
        return error->status;
    organ_progress_advance(job->progress, job->pieces[piece].cost, t->name, NULL);
    return ORGAN_OK;
}

organ_status organ_mixture_write_made(model_merge *job, organ_writing *writing, organ_error *error)
{
    for (size_t k = 0; k < job->tensor_count && !error->status; k++)
        if (job->tensors[k].made && !organ_write_done(writing, k))
            write_one(job, writing, k, error);
    return error->status;
}
