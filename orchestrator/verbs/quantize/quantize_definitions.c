/* SPDX-License-Identifier: MIT
 * The definitions in the report of organ quantize: facts on which the sentences of the schema's text depend, which
 * explain how scales and codes were chosen and what the figures mean. */
#include "orchestrator/verbs/quantize/quantize_verb.h"

#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"

/* ---- kinds, which conditions of the sentences compare ---- */

static const char *kind_of_scales(const organ_quantize_job *job)
{
    const organ_grid *const grid = &job->encoding->grid;
    if (grid->scale_of > ORGAN_SCALE_GROUP && organ_grid_is_free(grid))
        return "pairs";
    if (grid->scale_of > ORGAN_SCALE_GROUP)
        return grid->scale_of == ORGAN_SCALE_E8M0 ? "powers" : "e4m3";
    if (job->widths)
        return "widths";
    return !job->along.run && organ_quantize_keeps_scale(grid) ? "kept" : "searched";
}

static const char *kind_of_codes(const organ_quantize_job *job)
{
    if (job->widths)
        return "widths";
    if (organ_encoding_is_fp4(job->encoding))
        return "e2m1";
    if (organ_grid_is_free(&job->encoding->grid))
        return "pairs";
    return job->encoding->grid.bits ? "whole" : "e4m3";
}

/* 127.5 and 448, by which the sentences divide, are those of compressed-tensors. */
static const char *kind_of_inputs(const organ_quantize_job *job)
{
    if (!organ_quantize_measures(job->options))
        return "";
    if (!organ_quantize_static(job->options))
        return "all";
    if (organ_quantize_by_error(job->options))
        return "errors";
    return job->inputs && job->inputs->rounding.codes == ORGAN_INPUTS_INT8 ? "int8" : "fp8";
}

/* ---- the member of the report ---- */

static json_t *codes_facts(const organ_quantize_job *job)
{
    static const char *const of[] = {[ORGAN_SCALE_BLOCK] = "a block of 128 x 128 values (fewer at the edges)",
                                     [ORGAN_SCALE_TENSOR] = "the tensor",
                                     [ORGAN_SCALE_CHANNEL] = "a row",
                                     [ORGAN_SCALE_GROUP] = "a group of columns of a row"};
    const organ_grid *const grid = &job->encoding->grid;
    const bool text = job->along.run, solved = text && !job->options->gptq.no_refit;
    const bool of_rows = grid->scale_of == ORGAN_SCALE_CHANNEL || grid->scale_of == ORGAN_SCALE_GROUP;
    const bool refits = solved && (job->widths || grid->scale_of >= ORGAN_SCALE_GROUP);
    const bool small = grid->scale_of > ORGAN_SCALE_GROUP;
    const int half = grid->bits ? 1 << (grid->bits - 1) : 0;
    return ORGAN_OBJECT(
        SET_FLAG("text", text), SET_TEXT("scales", kind_of_scales(job)), SET_TEXT("codes", kind_of_codes(job)),
        SET_TEXT("inputs", kind_of_inputs(job)), SET_TEXT("of", small ? "" : of[grid->scale_of]),
        SET_TEXT("first", (small ? text : refits) ? "At first, o" : "O"), SET_FLAG("refits", refits),
        SET_REAL("max", (double)organ_grid_max(grid)), SET_FLAG("block", grid->scale_of == ORGAN_SCALE_BLOCK),
        SET_FLAG("weighted", text && of_rows), SET_FLAG("divisor", organ_encoding_has_divisor(job->encoding)),
        SET_FLAG("signs", !small && organ_grid_search(grid)->signs),
        SET_FLAG("packed", organ_encoding_is_packed(job->encoding)), SET_COUNT("least", -half),
        SET_COUNT("greatest", half - 1), SET_COUNT("half", half), SET_FLAG("kv_cache", job->cache.run),
        SET_FLAG("mtp", job->block.encoding), SET_FLAG("pruning", job->pruning));
}

static json_t *blocks_facts(const organ_quantize_job *job)
{
    const bool text = job->along.run, imatrix = job->imatrix.file;
    return ORGAN_OBJECT(SET_FLAG("text", text), SET_FLAG("imatrix", imatrix), SET_FLAG("weighted", text || imatrix),
                        SET_FLAG("solved", text && !job->options->gptq.no_refit), SET_FLAG("recipe", job->recipe));
}

json_t *organ_quantize_definitions(const organ_quantize_job *job)
{
    return job->writer ? organ_sentences("organ.quantize/1", "definitions_of_blocks", blocks_facts(job))
                       : organ_sentences("organ.quantize/1", "definitions", codes_facts(job));
}
