/* SPDX-License-Identifier: MIT
 * Rejects packed weights in verbs that change weights. */
#include "orchestrator/surgery/inputs/plain_only.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/machine/shell_word.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

organ_status organ_dequantize_hint(const organ_model *model, char **hint, organ_error *error)
{
    organ_text buffer;
    *hint = NULL;
    if (organ_text_open(&buffer, error))
        return error->status;
    fprintf(buffer.out, "organ dequantize ");
    organ_shell_word(buffer.out, model->path);
    fprintf(buffer.out, " -o OUT%s", model->gguf ? ".gguf" : "");
    return organ_text_end(&buffer, hint, error);
}

organ_status organ_dequantize_first(const organ_model *model, organ_error *error, const char *what, ...)
{
    char *hint, text[700];
    va_list args;
    if (organ_dequantize_hint(model, &hint, error))
        return error->status;
    va_start(args, what);
    organ_vsnprintf(text, sizeof text, what, args);
    va_end(args);
    organ_fail(error, ORGAN_BAD_INPUT, "%s: dequantize it first: %s", text, hint);
    free(hint);
    return error->status;
}

bool organ_dtype_is_blocks(organ_dtype dtype)
{
    return organ_dtype_describe(dtype)->elements > 1 && !organ_dtype_describe(dtype)->in_safetensors;
}

static const organ_tensor *changed_part(const organ_model *model, const organ_weight *weight, const bool *changed)
{
    for (size_t k = 0; k < ORGAN_WEIGHT_TENSORS; k++) {
        const organ_tensor *const part = organ_weight_tensor(weight, k);
        if (part && changed[part - model->tensors])
            return part;
    }
    return NULL;
}

organ_status organ_require_plain(const organ_model *model, const bool *changed, organ_error *error)
{
    organ_weights *weights = NULL;
    if (organ_weights_find(model, &weights, error))
        return error->status;
    for (size_t k = 0; k < weights->count && !error->status; k++) {
        const organ_weight *const weight = &weights->weights[k];
        const organ_tensor *const part =
            weight->scheme == ORGAN_SCHEME_PLAIN ? NULL : changed_part(model, weight, changed);
        char text[160];
        if (part)
            organ_dequantize_first(model, error, "%.300s: '%.200s' belongs to a packed weight (%s)", model->path,
                                   part->name, organ_weight_text(weight, text, sizeof text));
    }
    organ_weights_free(weights);
    return error->status;
}
