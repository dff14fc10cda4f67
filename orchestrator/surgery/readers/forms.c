/* SPDX-License-Identifier: MIT
 * Names the forms in which the weights of a model, or those of an output that is planned, are stored. */
#include "orchestrator/surgery/readers/readers.h"

#include "formats/base/json.h"
#include "formats/weights/served.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file can describe a form of its own for each weight; further ones count as weights of the last form. */
enum { MAX_FORMS = 256 };

void organ_forms_release(organ_forms *forms)
{
    free(forms->rows);
    *forms = (organ_forms){0};
}

organ_status organ_forms_add(organ_forms *forms, const organ_form *one, const char *name, organ_error *error)
{
    size_t k = 0;
    while (k < forms->count && (forms->rows[k].traits != one->traits || strcmp(forms->rows[k].name, one->name) != 0))
        k++;
    if (k == MAX_FORMS)
        k--;
    if (k == forms->count) {
        organ_form *const rows = realloc(forms->rows, (k + 1) * sizeof *rows);
        if (!rows)
            return organ_fail_memory(error, name);
        forms->rows = rows;
        rows[forms->count++] = *one;
        rows[k].weights = 0;
        rows[k].first = name;
    }
    forms->rows[k].weights++;
    return ORGAN_OK;
}

static void lower(char *text)
{
    for (; *text; text++)
        *text = (char)tolower((unsigned char)*text);
}

organ_form organ_form_of_tensor(const organ_tensor *tensor, bool gguf)
{
    organ_form form = {0};
    snprintf(form.name, sizeof form.name, "%s/%s", gguf ? "gguf" : "plain", organ_dtype_name(tensor->dtype));
    lower(form.name);
    return form;
}

/* ---- of an output ---- */

organ_form organ_form_of_encoding(const organ_encoding *encoding, organ_kind kind)
{
    static const char *const formats[] = {
        [ORGAN_KIND_TENSORS] = "compressed-tensors", [ORGAN_KIND_GGUF] = "gguf", [ORGAN_KIND_MLX] = "mlx"};
    const bool blocks = encoding->grid.scale_of == ORGAN_SCALE_BLOCK;
    organ_form form = {0};
    snprintf(form.name, sizeof form.name, "%s/%s", blocks ? "fp8" : formats[kind], encoding->name);
    return form;
}

/* ---- of a model ---- */

/* Returns the name of the codes, or NULL for tensors that are not packed. */
static const char *codes_of(const organ_weight *w, char text[16])
{
    switch (w->scheme) {
    case ORGAN_SCHEME_FP8:
        return "fp8";
    case ORGAN_SCHEME_MXFP8:
        return "mxfp8";
    case ORGAN_SCHEME_MXFP4:
        return "mxfp4";
    case ORGAN_SCHEME_NVFP4:
        return "nvfp4";
    case ORGAN_SCHEME_MXFP6:
        return "mxfp6";
    case ORGAN_SCHEME_MXINT4:
        return "mxint4";
    case ORGAN_SCHEME_BNB4:
        snprintf(text, 16, "%s", organ_weight_level_type(w));
        lower(text);
        return text;
    case ORGAN_SCHEME_PLAIN:
    case ORGAN_SCHEME_ROTATED:
        return NULL;
    default:
        snprintf(text, 16, "int%u", w->bits);
        return text;
    }
}

/* Returns the end of the name that says which values share a scale; "" for codes that have only one such size. */
static const char *span_of(const organ_weight *w, char text[48])
{
    const uint64_t rows = w->rank >= 2 ? w->shape[w->rank - 2] : 1, cols = w->rank ? w->shape[w->rank - 1] : 1;
    const bool one_size = w->scheme == ORGAN_SCHEME_MXFP8 || w->scheme == ORGAN_SCHEME_MXFP4 ||
                          w->scheme == ORGAN_SCHEME_MXFP6 || w->scheme == ORGAN_SCHEME_MXINT4 ||
                          w->scheme == ORGAN_SCHEME_NVFP4 || w->scheme == ORGAN_SCHEME_BNB4;
    if (one_size || w->block_rows == 0)
        return "";
    if (w->block_rows == 1 && w->block_cols >= cols)
        return "-channel";
    if (w->block_rows >= rows && w->block_cols >= cols)
        return "-tensor";
    if (w->block_rows == 1)
        snprintf(text, 48, "-group%llu", (unsigned long long)w->block_cols);
    else if (w->block_rows == w->block_cols)
        snprintf(text, 48, "-block%llu", (unsigned long long)w->block_rows);
    else
        snprintf(text, 48, "-block%llux%llu", (unsigned long long)w->block_rows, (unsigned long long)w->block_cols);
    return text;
}

static unsigned traits_of(const organ_weight *w, const json_t *settings)
{
    const bool gptq = w->scheme == ORGAN_SCHEME_GPTQ;
    const bool zeros = gptq ? json_is_false(json_object_get(settings, "sym")) : w->zero != NULL;
    const bool ordered = gptq ? json_is_true(json_object_get(settings, "desc_act")) : w->g_idx != NULL;
    unsigned traits = 0;
    traits |= w->anatomy.expert >= 0 || w->rank > 2 ? ORGAN_FORM_EXPERT : 0;
    traits |= zeros ? ORGAN_FORM_ZEROS : 0;
    traits |= ordered ? ORGAN_FORM_ORDERED : 0;
    traits |= w->inputs && !organ_served_undeclared(w->inputs) ? ORGAN_FORM_ROUNDED : 0;
    traits |= w->inputs && w->inputs->span == ORGAN_INPUTS_TENSOR ? ORGAN_FORM_STATIC : 0;
    traits |= w->scheme == ORGAN_SCHEME_INT8 ? ORGAN_FORM_BYTES : 0;
    traits |= w->scheme == ORGAN_SCHEME_PACKED && !w->dense_words && 32 % w->bits ? ORGAN_FORM_LOOSE : 0;
    const bool blocks = w->block_rows > 1 && w->rank >= 2 && w->block_rows < w->shape[w->rank - 2];
    traits |= blocks && (w->shape[w->rank - 2] % w->block_rows || w->shape[w->rank - 1] % w->block_cols)
                  ? ORGAN_FORM_CLIPPED
                  : 0;
    return traits;
}

/* A section "quantization" without quant_method is that of MLX. */
static const char *format_of(const organ_model *model, const organ_weight *w, const json_t *config)
{
    if (w->scheme == ORGAN_SCHEME_MLX ||
        (*model->config.quant_method == '\0' && json_object_get(config, "quantization")))
        return "mlx";
    if (w->scheme == ORGAN_SCHEME_AWQ_GEMV)
        return "awq-gemv";
    return *model->config.quant_method ? model->config.quant_method : "unnamed";
}

static organ_form form_of_weight(const organ_model *model, const organ_weight *w, const json_t *config,
                                 const json_t *settings)
{
    char codes[16], span[48];
    const char *const name = codes_of(w, codes);
    if (!name)
        return organ_form_of_tensor(w->codes, model->gguf != NULL);
    organ_form form = {.traits = traits_of(w, settings)};
    snprintf(form.name, sizeof form.name, "%.24s/%s%.30s", format_of(model, w, config), name, span_of(w, span));
    return form;
}

organ_status organ_forms_of_model(const organ_model *model, const organ_weights *weights, const json_t *config,
                                  organ_forms *forms, organ_error *error)
{
    const json_t *const settings = json_object_get(config, "quantization_config");
    for (size_t k = 0; k < weights->count && !error->status; k++) {
        const organ_form form = form_of_weight(model, &weights->weights[k], config, settings);
        organ_forms_add(forms, &form, weights->weights[k].name, error);
    }
    return error->status;
}
