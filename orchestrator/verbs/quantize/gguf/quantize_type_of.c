/* SPDX-License-Identifier: MIT
 * Types of single tensors of a GGUF model: by patterns on their names (--type-of), and of the block for multi-token
 * prediction (--mtp-scheme). */
#include "orchestrator/verbs/quantize/gguf/quantize_gguf.h"

#include "formats/base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const organ_encoding organ_quantize_keep = {.name = "keep", .codes = ORGAN_DTYPE_COUNT};

static organ_status refuse_type(const char *word, const char *type, organ_error *error)
{
    static const char *const similar[] = {ORGAN_GGUF_SCHEME_NAMES "f16", "bf16", "f32", "keep"};
    char hint[ORGAN_HINT_ROOM];
    organ_nearest_hint(type, similar, sizeof similar / sizeof *similar, "", hint);
    return organ_fail(error, ORGAN_USAGE,
                      "`type_of` '%.200s': type '%.60s' is unknown%s (the types are " ORGAN_GGUF_SCHEMES_TEXT
                      ", f16, bf16, f32, and keep for an unchanged tensor)",
                      word, type, hint);
}

const organ_encoding *organ_quantize_type_of_word(const char *word)
{
    const organ_encoding *const found = organ_quantize_type_named(word);
    if (strcmp(word, organ_quantize_keep.name) == 0)
        return &organ_quantize_keep;
    return found ? found : organ_encoding_plain(word);
}

static organ_status read_type(const char *word, char *type, const organ_encoding **encoding, organ_error *error)
{
    for (char *at = type; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    *encoding = organ_quantize_type_of_word(type);
    return *encoding ? ORGAN_OK : refuse_type(word, type, error);
}

/* Tensors that an earlier word has fixed keep its type, but count as matched. */
static organ_status fix_matches(organ_quantize_job *job, const char *pattern, const organ_encoding *encoding,
                                organ_error *error)
{
    organ_selection selection;
    size_t matches = 0;
    if (organ_selection_parse(pattern, NULL, "type_of", &selection, error) != ORGAN_OK)
        return error->status;
    organ_selection_set_model(&selection, job->model);
    for (size_t t = 0; t < job->model->tensor_count; t++) {
        const organ_tensor *const tensor = &job->model->tensors[t];
        if (!organ_recipe_quantises(job->model, tensor) || !organ_selected(&selection, tensor))
            continue;
        matches++;
        job->fixed[t] = job->fixed[t] ? job->fixed[t] : encoding;
    }
    if (!matches)
        organ_fail(error, ORGAN_USAGE, "`type_of` '%.200s': no matrix that can be quantised of %.300s matches", pattern,
                   job->model->path);
    organ_selection_release(&selection);
    return error->status;
}

static organ_status fix_word(organ_quantize_job *job, char *word, organ_error *error)
{
    const organ_encoding *encoding;
    char *const equals = strrchr(word, '=');
    if (!equals || equals == word || !equals[1])
        return organ_fail(
            error, ORGAN_USAGE,
            "`type_of` '%.200s': must be GLOB=TYPE, a pattern of names and a type, such as '*ffn_down*=q6_k'", word);
    *equals = '\0';
    return read_type(word, equals + 1, &encoding, error) ? error->status : fix_matches(job, word, encoding, error);
}

organ_status organ_quantize_fix_types(organ_quantize_job *job, organ_error *error)
{
    const char *const given = job->options->gguf.type_of;
    if (!given)
        return ORGAN_OK;
    char *const words = strdup(given), *rest = words;
    job->fixed = calloc(job->model->tensor_count + 1, sizeof *job->fixed);
    if (!words || !job->fixed)
        organ_fail_memory(error, job->model->path);
    for (char *word; !error->status && (word = strsep(&rest, ","));)
        fix_word(job, word, error);
    free(words);
    return error->status;
}

organ_status organ_quantize_block_types(organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_block *const b = &job->block;
    if (!b->keep && !b->encoding)
        return ORGAN_OK;
    if (!job->fixed && !(job->fixed = calloc(job->model->tensor_count + 1, sizeof *job->fixed)))
        return organ_fail_memory(error, job->model->path);
    for (size_t t = 0; t < job->model->tensor_count; t++) {
        if (!b->chosen[t] || job->fixed[t])
            continue;
        job->fixed[t] =
            b->keep ? &organ_quantize_keep : organ_recipe_block_type(job->model, &job->model->tensors[t], b->encoding);
    }
    return ORGAN_OK;
}
