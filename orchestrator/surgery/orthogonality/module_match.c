/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/orthogonality/module_match.h"

#include "formats/architecture/counterpart.h"
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/lora/factors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void note_mismatch(organ_module_mismatches *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Counts a mismatch. Appends its sentence, made from `format`, to c->text if it fits there and no earlier sentence was
 * left out. */
static void note_mismatch(organ_module_mismatches *c, const char *format, ...)
{
    char sentence[400];
    va_list args;
    va_start(args, format);
    organ_vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    const size_t used = strlen(c->text);
    c->count++;
    if (c->shown == c->count - 1 && used + strlen(sentence) + 3 < sizeof c->text /* "; " and NUL */) {
        snprintf(c->text + used, sizeof c->text - used, "%s%s", used ? "; " : "", sentence);
        c->shown++;
    }
}

/* Returns the status of `error` if it has failed already, and ORGAN_OK if there are no mismatches. Otherwise returns
 * ORGAN_BAD_INPUT; its message has the sentences in mismatches->text and the number of mismatches without a sentence
 * there. */
organ_status organ_module_mismatches_report(const organ_module_mismatches *mismatches, const char *path,
                                            organ_error *error)
{
    if (error->status || mismatches->count == 0)
        return error->status;
    if (mismatches->shown == mismatches->count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s does not fit: %s", path, mismatches->text);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s does not fit: %s; and %zu more", path, mismatches->text,
                      mismatches->count - mismatches->shown);
}

/* Returns the weight of place `p` in a model: the one with the name p->tensor (if NULL, p->module and ".weight") or
 * with a variant of this name that training programs write (organ_lora_weight). If only one of place and model is
 * GGUF, the name in the model's format is tried next. Returns NULL if there is no such weight or memory runs out. */
static const organ_weight *weight_of_place(const organ_module_place *p, const organ_weights *weights,
                                           const organ_model *model, organ_error *error)
{
    char *made = NULL, other[ORGAN_COUNTERPART_SIZE];
    if (!p->tensor && asprintf(&made, "%s.weight", p->module) < 0) {
        organ_fail_memory(error, model->path);
        return NULL;
    }
    const char *const name = p->tensor ? p->tensor : made;
    const organ_weight *weight = organ_lora_weight(weights, name);
    if (!weight && p->gguf != (model->gguf != NULL) &&
        organ_counterpart_across(model->gguf ? model : p->model, name, p->anatomy, !p->gguf, p->anatomy->layer, other,
                                 sizeof other))
        weight = organ_weights_named(weights, other);
    free(made);
    return weight;
}

/* Returns true if the weight has as many dimensions as place `p` requires (2 if p->rank is 0), p->rows rows and p->cols
 * columns. The rows of stacked matrices are counted together. */
static bool module_match_fits(const organ_module_place *p, const organ_weight *weight)
{
    const organ_matrices m = organ_weight_matrices(weight);
    return weight->rank == (p->rank ? p->rank : 2) && m.count * m.rows == p->rows && m.cols == p->cols;
}

/* Returns true if `p` is a q, k or qkv projection whose rows the model stores in another order than `p` expects:
 * exactly one of `p` and the model is GGUF, and llama.cpp permutes these rows for the model's architecture. */
static bool is_permuted(const organ_module_place *p, const organ_model *model)
{
    const organ_role role = p->anatomy->role;
    return p->gguf != (model->gguf != NULL) &&
           (role == ORGAN_ROLE_Q || role == ORGAN_ROLE_K || role == ORGAN_ROLE_QKV) &&
           !organ_keeps_rope_rows((model->gguf ? model : p->model)->config.model_type);
}

/* Returns the weight of `place` in the model. Returns NULL and adds a mismatch if the weight is missing, has another
 * shape or has permuted rows. Returns NULL without a mismatch if `error` has failed. */
const organ_weight *organ_module_weight(const organ_module_place *place, const organ_weights *weights,
                                        const organ_model *model, organ_module_mismatches *mismatches,
                                        organ_error *error)
{
    char shape[ORGAN_SHAPE_TEXT];
    const organ_weight *const weight = weight_of_place(place, weights, model, error);
    if (weight && !module_match_fits(place, weight))
        note_mismatch(mismatches, "'%.120s' is %s in %.120s, but %s has [%zu, %zu]", place->module,
                      organ_shape_text(weight->rank, weight->shape, shape), model->path, mismatches->expected_by,
                      place->rows, place->cols);
    else if (weight && is_permuted(place, model))
        note_mismatch(mismatches, "'%.120s' has its rows in another order in %.120s, a %s of architecture '%.40s'",
                      place->module, model->path, model->gguf ? "GGUF file" : "model", model->config.model_type);
    else if (weight)
        return weight;
    else if (!error->status)
        note_mismatch(mismatches, "'%.120s' is not in %.120s", place->module, model->path);
    return NULL;
}

organ_status organ_modules_all_used(const organ_globs *globs, const char *path, organ_error *error)
{
    const char *const unused = organ_globs_unused(globs);
    return unused
               ? organ_fail(error, ORGAN_USAGE, "--modules: no module of %s has a name that matches '%s'", path, unused)
               : ORGAN_OK;
}
