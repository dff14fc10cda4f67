/* SPDX-License-Identifier: MIT
 * The tables of sections that describe quantised weights, and of their lists of modules without quantisation. */
#include "formats/base/quant_sections.h"

#include "formats/base/text.h"

const organ_quant_section *organ_quant_section_at(size_t k)
{
    static const organ_quant_section rows[] = {
        {"quantization", .mlx = true},
        {"quantization_config", .methods = true, .mlx = true},
        {"compression_config", .methods = true}, /* of llm-compressor's first versions */
    };
    return k < sizeof rows / sizeof *rows ? &rows[k] : NULL;
}

/* Of the rows of a method, organ writes the first, unless the section has a later one, to which vLLM gives priority. */
const organ_quant_list *organ_quant_list_at(size_t k)
{
    static const organ_quant_list rows[] = {
        {.key = "ignore", .patterns = true, .methods = {"compressed-tensors"}},
        {.key = "modules_to_not_convert", .methods = {"awq", "fp8", "mxfp4"}},
        {.key = "ignored_layers", .methods = {"fp8"}},
        {.key = "exclude_modules"}, /* of ModelOpt */
        {.key = "exclude"},         /* of Quark */
    };
    return k < sizeof rows / sizeof *rows ? &rows[k] : NULL;
}

const organ_quant_list *organ_quant_list_in(const json_t *section, const char *method)
{
    const organ_quant_list *row, *found = NULL;
    for (size_t k = 0; (row = organ_quant_list_at(k)); k++)
        if (organ_is_one_of(method, row->methods) && (!found || json_object_get(section, row->key)))
            found = row;
    return found;
}

const organ_quant_list *organ_quant_list_of(const char *method) { return organ_quant_list_in(NULL, method); }
