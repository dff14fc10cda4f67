/* SPDX-License-Identifier: MIT
 * Opens a written model and compares its first and last layer with those of the model from which it was made. The donor
 * is run first and closed, so that one layer is in memory at a time. Uses the ranks only to leave the check to rank 0.
 */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/owned.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 16, FILE_BYTES = 1 << 30 };

/* Hidden states of TOKENS tokens: before the first layer, after it, and after the last layer. */
enum { EMBEDDED, FIRST, LAST, STATES };

typedef struct trial_state {
    const organ_trial *check;
    organ_engine engine;     /* without ranks */
    uint32_t tokens[TOKENS]; /* ids spread over the vocabulary */
    size_t state;            /* floats of a token's hidden state */
    size_t window;           /* tokens that no sliding window of the two layers cuts off */
    float *donor[STATES], *made[STATES];
    organ_forward_unstored settings; /* of the donor */
    char skipped[500];               /* why the layers are not compared; "": they are */
} trial_state;

/* ---- running layers ---- */

static organ_status run_trial_layer(const trial_state *t, organ_forward *forward, int32_t layer, float *hidden,
                                    organ_error *error)
{
    static const size_t begin[] = {0, TOKENS};
    const organ_windows windows = {.tokens = t->tokens, .count = 1, .begin = begin};
    organ_layer *loaded = NULL;
    if (organ_layer_load(forward, layer, &loaded, error) == ORGAN_OK)
        organ_layer_run(forward, loaded, &windows, hidden, /*tap=*/NULL, error);
    organ_layer_free(loaded);
    return error->status;
}

/* `states` receives embeddings and outputs of the first and of the last layer, whose input is `input`, or the output
 * of the first layer if `input` is NULL. */
static organ_status run_trial(const trial_state *t, organ_forward *forward, float *states[STATES], const float *input,
                              organ_error *error)
{
    static const size_t begin[] = {0, TOKENS};
    const organ_windows windows = {.tokens = t->tokens, .count = 1, .begin = begin};
    const int32_t last = (int32_t)organ_forward_describe(forward)->layers - 1;
    const size_t bytes = TOKENS * t->state * sizeof(float);
    for (unsigned k = 0; k < STATES; k++)
        if (!(states[k] = calloc(TOKENS * t->state, sizeof(float))))
            return organ_fail_memory(error, "hidden states");
    if (organ_forward_embed(forward, &windows, states[EMBEDDED], error) != ORGAN_OK)
        return error->status;
    memcpy(states[FIRST], states[EMBEDDED], bytes);
    if (run_trial_layer(t, forward, 0, states[FIRST], error) != ORGAN_OK)
        return error->status;
    memcpy(states[LAST], input ? input : states[FIRST], bytes);
    return run_trial_layer(t, forward, last, states[LAST], error);
}

/* GGUF files of some architectures do not store a window, and the tokens inside of the shortest one are those that
 * it does not change. */
static void limit_window(trial_state *t, const organ_forward_config *config)
{
    const unsigned ends[] = {0, config->layers - 1};
    for (unsigned k = 0; k < 2; k++) {
        const uint64_t window = config->kinds[ends[k]].window;
        if (window && window < t->window)
            t->window = (size_t)window;
    }
}

/* t->skipped is set if the forward pass cannot read the donor or its layers do not fit the memory. */
static organ_status run_donor(trial_state *t, organ_error *error)
{
    organ_forward *forward = NULL;
    organ_error unknown = {0};
    if (organ_forward_open(t->check->model, &t->engine, &forward, &unknown) != ORGAN_OK) {
        if (unknown.status != ORGAN_BAD_INPUT)
            *error = unknown;
        snprintf(t->skipped, sizeof t->skipped, "%.490s", unknown.message);
        return error->status;
    }
    const organ_forward_config *const config = organ_forward_describe(forward);
    organ_forward_allow_streaming(forward);
    t->state = (size_t)config->state;
    for (unsigned k = 0; k < TOKENS; k++)
        t->tokens[k] = (uint32_t)((uint64_t)config->vocabulary * (2 * k + 1) / (2 * TOKENS));
    limit_window(t, config);
    t->settings = organ_forward_get_unstored(forward);
    if (organ_forward_batch(forward, TOKENS) == 0)
        snprintf(t->skipped, sizeof t->skipped, "a layer does not fit --memory");
    else
        run_trial(t, forward, t->donor, /*input=*/NULL, error);
    organ_forward_close(forward);
    return error->status;
}

/* ---- comparison ---- */

/* The error compares a layer's change of the state of token `token` with the donor's change: with inputs a and b and
 * outputs x and y, it is |(y - b) - (x - a)| / |x - a|; 0 if the donor's result is not finite. A layer that adds
 * less than a thousandth of its input is compared with this thousandth. */
static double error_of_token(const trial_state *t, unsigned layer, const float *made_input, size_t token)
{
    const size_t at = token * t->state;
    const float *const a = t->donor[layer - 1] + at, *const x = t->donor[layer] + at, *const b = made_input + at,
                       *const y = t->made[layer] + at;
    double difference = 0, added = 0, input = 0;
    for (size_t k = 0; k < t->state; k++) {
        const double donor = (double)x[k] - (double)a[k], made = (double)y[k] - (double)b[k];
        difference += (made - donor) * (made - donor);
        added += donor * donor;
        input += (double)a[k] * (double)a[k];
    }
    const double least = fmax(added, 1e-6 * input);
    if (!isfinite(added) || !isfinite(input) || (t->check->infinite && !isfinite(difference)))
        return 0;
    return least > 0 ? sqrt(difference / least) : sqrt(difference);
}

/* NaN and infinity come last. */
static int by_error(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    const bool worse = !(x <= HUGE_VAL), worse_too = !(y <= HUGE_VAL);
    return worse != worse_too ? worse - worse_too : (x > y) - (x < y);
}

static organ_status compare_layer(const trial_state *t, unsigned layer, const float *made_input, organ_error *error)
{
    double errors[TOKENS];
    for (size_t k = 0; k < t->window; k++)
        errors[k] = error_of_token(t, layer, made_input, k);
    qsort(errors, t->window, sizeof *errors, by_error);
    const double median = errors[t->window / 2];
    if (median <= t->check->tolerance)
        return ORGAN_OK;
    return organ_fail(
        error, ORGAN_BAD_INPUT,
        "%s: the %s layer of the output gives other results than that of the model: the change of the states of %zu "
        "tokens has a relative error of %.3g; the limit is %g",
        t->check->model->path, layer == FIRST ? "first" : "last", t->window, median, t->check->tolerance);
}

static organ_status run_made(trial_state *t, const organ_model *model, organ_error *error)
{
    organ_forward *forward = NULL;
    if (organ_forward_open(model, &t->engine, &forward, error) != ORGAN_OK)
        return error->status;
    const organ_forward_config *const config = organ_forward_describe(forward);
    organ_forward_allow_streaming(forward);
    limit_window(t, config);
    organ_forward_set_unstored(forward, &t->settings);
    if (config->state != t->state)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: hidden states of the output have %llu numbers, those of the model %zu",
                   t->check->model->path, (unsigned long long)config->state, t->state);
    else if (organ_forward_batch(forward, TOKENS) == 0)
        snprintf(t->skipped, sizeof t->skipped, "a layer of the output does not fit --memory");
    else if (run_trial(t, forward, t->made, t->donor[FIRST], error) == ORGAN_OK &&
             compare_layer(t, FIRST, t->made[EMBEDDED], error) == ORGAN_OK)
        compare_layer(t, LAST, t->donor[FIRST], error);
    organ_forward_close(forward);
    return error->status;
}

organ_status organ_trial_run(const organ_trial *check, organ_error *error)
{
    trial_state t = {.check = check, .engine = *check->engine, .window = TOKENS};
    organ_model *made = NULL;
    if (!organ_ranks_first(check->engine->ranks))
        return ORGAN_OK;
    t.engine.ranks = NULL;
    if (organ_model_open(check->path, &made, error) == ORGAN_OK && run_donor(&t, error) == ORGAN_OK && !*t.skipped)
        run_made(&t, made, error);
    if (!error->status && *t.skipped)
        organ_progress_note(check->progress, "the first and the last layer of the output were not tried: %s",
                            t.skipped);
    for (unsigned k = 0; k < STATES; k++) {
        free(t.donor[k]);
        free(t.made[k]);
    }
    organ_model_close(made);
    return error->status;
}

/* ---- tokenizer ---- */

static bool is_tokenizer_key(const char *key) { return strncmp(key, "tokenizer.", strlen("tokenizer.")) == 0; }

static size_t count_tokenizer_keys(const organ_gguf *gguf)
{
    size_t count = 0;
    for (size_t k = 0; k < gguf->kv_count; k++)
        count += is_tokenizer_key(gguf->kvs[k].key);
    return count;
}

organ_status organ_trial_tokenizer(const char *path, const organ_gguf *expected, organ_error *error)
{
    organ_model *made = NULL;
    if (organ_model_open(path, &made, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < expected->kv_count && !error->status; k++) {
        const organ_gguf_kv *const kv = &expected->kvs[k];
        const organ_gguf_kv *const other =
            is_tokenizer_key(kv->key) && made->gguf ? organ_gguf_find(made->gguf, kv->key) : NULL;
        if (is_tokenizer_key(kv->key) && (!other || other->type != kv->type || other->size != kv->size ||
                                          memcmp(other->bytes, kv->bytes, kv->size) != 0))
            organ_fail(error, ORGAN_BAD_INPUT, "%s: key '%s' differs from the planned one", path, kv->key);
    }
    if (!error->status && count_tokenizer_keys(made->gguf) != count_tokenizer_keys(expected))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: has %zu keys 'tokenizer.*'; %zu were written", path,
                   count_tokenizer_keys(made->gguf), count_tokenizer_keys(expected));
    organ_model_close(made);
    return error->status;
}

organ_status organ_trial_file(const char *path, const char *name, const char *expected, size_t size, organ_error *error)
{
    organ_model *made = NULL;
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    if (organ_model_open(path, &made, error) == ORGAN_OK &&
        organ_model_load(made, name, FILE_BYTES, &bytes, &length, error) == ORGAN_OK &&
        (!bytes || length != size || memcmp(bytes, expected, length) != 0))
        organ_fail(error, ORGAN_BAD_INPUT, "%s/%s differs from the planned file", path, name);
    organ_model_close(made);
    return error->status;
}
