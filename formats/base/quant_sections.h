/* SPDX-License-Identifier: MIT
 * The members of config.json, at its top or in text_config, that describe quantised weights, and those members of them
 * that list modules without quantisation. */
#ifndef ORGAN_BASE_QUANT_SECTIONS_H
#define ORGAN_BASE_QUANT_SECTIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct organ_quant_section {
    const char *key;
    bool methods; /* transformers and servers read settings of a quant_method there */
    bool mlx;     /* mlx-lm reads its settings there, which have no quant_method */
} organ_quant_section;

/* Returns row `k` of the table, NULL after the last. Readers take the first section of their kind that is present;
 * verbs that change or remove sections do so for all. */
const organ_quant_section *organ_quant_section_at(size_t k);

/* A member of a section that lists modules without quantisation. */
typedef struct organ_quant_list {
    const char *key;
    bool patterns;          /* entries may be "re:PATTERN" */
    const char *methods[4]; /* quant_method of the sections that organ writes with this member, before a NULL */
} organ_quant_list;

/* Returns row `k` of the table, NULL after the last. Readers take the members of all rows. */
const organ_quant_list *organ_quant_list_at(size_t k);
/* Returns the row with which organ writes the list of a quant_method; NULL if no row has the method. */
const organ_quant_list *organ_quant_list_of(const char *method);
/* Returns the row of the member in which a section of this method has its list, or will get it; NULL as above. */
const organ_quant_list *organ_quant_list_in(const json_t *section, const char *method);

#endif
