/* SPDX-License-Identifier: MIT
 * The members of config.json, at its top or in text_config, that describe quantised weights. */
#ifndef ORGAN_BASE_QUANT_SECTIONS_H
#define ORGAN_BASE_QUANT_SECTIONS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct organ_quant_section {
    const char *key;
    bool methods; /* transformers and servers read settings of a quant_method there */
    bool mlx;     /* mlx-lm reads its settings there, which have no quant_method */
} organ_quant_section;

/* Returns row `k` of the table, NULL after the last. Readers take the first section of their kind that is present;
 * verbs that change or remove sections do so for all. */
static inline const organ_quant_section *organ_quant_section_at(size_t k)
{
    static const organ_quant_section rows[] = {
        {"quantization", .mlx = true},
        {"quantization_config", .methods = true, .mlx = true},
        {"compression_config", .methods = true}, /* of llm-compressor's first versions */
    };
    return k < sizeof rows / sizeof *rows ? &rows[k] : NULL;
}

#endif
