/* SPDX-License-Identifier: MIT
 * Compares tokens and logits of texts in a model and in its copy with fewer tokens. */
#include "orchestrator/surgery/audit/audit_texts.h"

#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/inputs.h"

#include <organ/forward.h>
#include <stdlib.h>
#include <xxhash.h>

enum {
    WINDOW = 512,   /* tokens of a text that run through the models, with BOS */
    GATHERED = 1024 /* logits that are digested together */
};

/* The first tokens of all texts, with the ids of the copy. */
typedef struct first_tokens {
    uint32_t *tokens;
    size_t *begin, *rows; /* windows, and for each logit its token */
    size_t windows, used, scored;
    uint64_t *digests[2]; /* of the kept logits after each scored token: in the donor, in the copy */
} first_tokens;

/* ---- tokens ---- */

static size_t equal_tokens(const organ_kept_pair *pair, const organ_text_input *donor, const organ_text_input *copy)
{
    size_t k = 0;
    while (k < donor->tokens && k < copy->tokens && pair->new_ids[donor->ids[k]] == copy->ids[k])
        k++;
    return k;
}

/* Adds the window of a text, with BOS if the tokenizer puts one before texts. */
static void add_window(const organ_kept_pair *pair, const organ_text_input *text, size_t window, first_tokens *first,
                       organ_audited_text *audited)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(pair->made);
    const bool bos = facts->adds_bos && facts->bos >= 0 && window > 1;
    audited->compared = organ_min(text->tokens, window - bos);
    first->begin[first->windows++] = first->used;
    if (bos)
        first->tokens[first->used++] = (uint32_t)facts->bos;
    for (size_t k = 0; k < audited->compared; k++) {
        first->rows[first->scored++] = first->used;
        first->tokens[first->used++] = text->ids[k];
    }
    first->begin[first->windows] = first->used;
}

static organ_status encode(const organ_engine *engine, organ_tokenizer *tokenizer, const char *path,
                           organ_text_input *text, organ_error *error)
{
    return organ_text_load(text, path, engine, error) || organ_text_check(text, error)
               ? error->status
               : organ_text_encode(text, tokenizer, /*special=*/true, error);
}

static organ_status compare_tokens(const organ_kept_pair *pair, const organ_engine *engine, size_t window,
                                   first_tokens *first, organ_audited_text *audited, organ_error *error)
{
    organ_text_input donor = {0}, copy = {0};
    if (encode(engine, pair->whole, audited->path, &donor, error) == ORGAN_OK &&
        encode(engine, pair->made, audited->path, &copy, error) == ORGAN_OK) {
        audited->bytes = donor.size;
        audited->tokens = donor.tokens;
        audited->same = equal_tokens(pair, &donor, &copy);
        audited->same_tokens = audited->same == donor.tokens && donor.tokens == copy.tokens;
        if (audited->same_tokens && copy.tokens)
            add_window(pair, &copy, window, first, audited);
    }
    organ_text_release(&donor);
    organ_text_release(&copy);
    return error->status;
}

/* ---- logits ---- */

typedef struct digested {
    const uint32_t *ids; /* of the logits; NULL: 0, 1, 2, ... */
    size_t count;
    uint64_t *digests;
} digested;

/* Called by any worker, for tokens in any order. */
static void digest_logits(void *context, size_t token, float *logits)
{
    const digested *const d = context;
    uint64_t digest = 0;
    float values[GATHERED];
    for (size_t from = 0, n; from < d->count; from += n) {
        for (n = 0; n < GATHERED && from + n < d->count; n++)
            values[n] = logits[d->ids ? d->ids[from + n] : from + n];
        digest = XXH3_64bits_withSeed(values, n * sizeof *values, digest);
    }
    d->digests[token] = digest;
}

static organ_status run_model(const organ_model *model, const organ_engine *engine, const organ_progress *progress,
                              const first_tokens *first, digested *d, organ_error *error)
{
    organ_forward *forward = NULL;
    if (organ_forward_open(model, engine, &forward, error) == ORGAN_OK)
        organ_forward_run(forward, &(organ_windows){first->tokens, first->windows, first->begin}, first->rows,
                          first->scored, d, digest_logits, progress, error);
    organ_forward_close(forward);
    return error->status;
}

static organ_status compare_logits(const organ_kept_pair *pair, const organ_engine *engine,
                                   const organ_progress *progress, first_tokens *first, organ_audited_text *texts,
                                   size_t count, organ_error *error)
{
    digested donor = {.ids = pair->ids, .count = pair->count, .digests = first->digests[0]},
             copy = {.count = pair->count, .digests = first->digests[1]};
    size_t at = 0;
    if (run_model(pair->copy, engine, progress, first, &copy, error))
        return error->status;
    for (size_t k = 0; k < first->used; k++)
        first->tokens[k] = pair->ids[first->tokens[k]];
    if (run_model(pair->donor, engine, progress, first, &donor, error))
        return error->status;
    for (size_t t = 0; t < count; t++)
        for (size_t k = 0; k < texts[t].compared; k++, at++)
            texts[t].same_logits += donor.digests[at] == copy.digests[at];
    return ORGAN_OK;
}

/* ---- texts ---- */

/* The tokens of a window, which no context of the model is shorter than. */
static organ_status find_window(const organ_model *model, const organ_engine *engine, size_t *window,
                                organ_error *error)
{
    organ_forward *forward = NULL;
    if (organ_forward_open(model, engine, &forward, error) == ORGAN_OK) {
        const uint64_t context = organ_forward_describe(forward)->context;
        *window = context && context < WINDOW ? (size_t)context : WINDOW;
    }
    organ_forward_close(forward);
    return error->status;
}

organ_status organ_audit_texts(const organ_kept_pair *pair, const organ_engine *engine, const organ_progress *progress,
                               organ_audited_text *texts, size_t count, organ_error *error)
{
    const size_t most = count * WINDOW + 1;
    ORGAN_OWNED uint32_t *const tokens = malloc(most * sizeof *tokens);
    ORGAN_OWNED size_t *const begin = malloc((count + 1) * sizeof *begin);
    ORGAN_OWNED size_t *const rows = malloc(most * sizeof *rows);
    ORGAN_OWNED uint64_t *const digests = malloc(2 * most * sizeof *digests);
    first_tokens first = {.tokens = tokens, .begin = begin, .rows = rows};
    size_t window = 0;
    if (!tokens || !begin || !rows || !digests)
        return organ_fail_memory(error, pair->copy->path);
    first.digests[0] = digests;
    first.digests[1] = digests + most;
    if (find_window(pair->copy, engine, &window, error))
        return error->status;
    for (size_t t = 0; t < count && !error->status; t++)
        compare_tokens(pair, engine, window, &first, &texts[t], error);
    if (!error->status && first.scored)
        compare_logits(pair, engine, progress, &first, texts, count, error);
    return error->status;
}
