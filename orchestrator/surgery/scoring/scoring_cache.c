/* SPDX-License-Identifier: MIT
 * --kv-cache: the KV cache of scored models is rounded as servers do that keep it in FP8. */
#include "orchestrator/surgery/scoring/scoring.h"

#include "orchestrator/forward/mixers.h"
#include "orchestrator/report/text/report_text.h"

#include <string.h>

static bool is_requested(const organ_scoring *scoring, const char *word)
{
    return scoring->options->kv_cache && strcmp(scoring->options->kv_cache, word) == 0;
}

organ_status organ_scoring_check_cache(const organ_scoring *scoring, organ_error *error)
{
    const char *const requested = scoring->options->kv_cache;
    if (!requested || is_requested(scoring, "fp8") || is_requested(scoring, "off"))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE, "`kv_cache` '%s' is unknown: fp8 or off", requested);
}

/* Notes why the cache of a model is not rounded although its configuration declares one. */
static void note_unrounded(const organ_scoring *scoring, organ_scored_model *m, const char *reason)
{
    m->cache.why_not = reason;
    organ_progress_note(scoring->progress, "%s declares a quantised KV cache (%s), which organ does not round: %s",
                        m->path, m->cache.declared, reason);
}

/* The first of several models is the measure of the others, and is only rounded if it declares that. */
organ_status organ_scoring_round_cache(const organ_scoring *scoring, organ_scored_model *m, organ_error *error)
{
    const bool forced = is_requested(scoring, "fp8") && (m > scoring->models || scoring->count == 1);
    organ_cache_codes codes;
    if (organ_cache_declared(m->model, &codes, m->cache.declared, error) != ORGAN_OK)
        return error->status;
    if (!forced && codes == ORGAN_CACHE_PLAIN)
        return ORGAN_OK;
    if (is_requested(scoring, "off") || scoring->options->imatrix)
        m->cache.why_not =
            scoring->options->imatrix ? "an importance matrix is of the unrounded model" : "--kv-cache off";
    else if (!forced && codes == ORGAN_CACHE_OTHER)
        note_unrounded(scoring, m, "only FP8 (E4M3) with static scales of a tensor or of heads is");
    else if (!forced && organ_forward_cache_kind(m->forward) == ORGAN_CACHE_LATENT)
        note_unrounded(scoring, m, organ_forward_cache_fault(m->forward));
    else if (forced || organ_forward_cache_kind(m->forward) == ORGAN_CACHE_OF_HEADS)
        return organ_forward_round_cache(m->forward, error);
    return ORGAN_OK;
}

/* Adds "kv_cache": whether and how the cache was rounded; nothing if nobody asked for it. */
organ_status organ_scoring_add_cache(const organ_scoring *scoring, size_t m, json_t *entry, organ_error *error)
{
    const organ_scored_model *const model = &scoring->models[m];
    const organ_cache_rounding *const c = organ_forward_cache(model->forward);
    if (error->status || (!c && !model->cache.why_not))
        return error->status;
    const char *const scales = c && c->by_head ? "head" : "layer", *const reason = model->cache.why_not;
    json_t *const made = ORGAN_OBJECT(SET_FLAG("rounded", c != NULL),
                                      SET_BYTES_OF("declared", *model->cache.declared ? model->cache.declared : NULL),
                                      SET("why_not", c ? json_null() : json_string(reason)));
    if (c)
        ORGAN_ADD(made, SET_TEXT("codes", "E4M3"), SET_TEXT("scales", c->unscaled == c->layers ? "1" : scales),
                  SET_COUNT("layers", c->layers), SET_COUNT("layers_without_scales", c->unscaled));
    return ORGAN_ADD(entry, SET("kv_cache", made)) ? ORGAN_OK : organ_fail_memory(error, model->path);
}
