/* SPDX-License-Identifier: MIT
 * Comparison of the tensors of a copy with chosen rows of tensors of its donor, for audits of models whose rows are
 * those of tokens. */
#ifndef ORGAN_SURGERY_AUDIT_AUDIT_CHOICES_H
#define ORGAN_SURGERY_AUDIT_AUDIT_CHOICES_H

#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/vocabulary/row_layout.h"

typedef struct organ_choices {
    const organ_model *copy;
    organ_problems *problems;
    unsigned char *buffer; /* owned */
} organ_choices;

/* Allocates the buffer for choices of which the largest organ_choice_buffer is `bytes`. The caller releases *choices in
 * any case. */
organ_status organ_choices_open(organ_choices *choices, const organ_engine *engine, uint64_t bytes, organ_error *error);
void organ_choices_release(organ_choices *choices);

/* Sets *same to whether the tensor `name` of the copy has the bytes of the choice, or adds a problem, which says that
 * they are not those of `whose` ("the kept rows"). Returns errors of organ_model_read, and ORGAN_INTERRUPTED. */
organ_status organ_choices_compare(const organ_choices *choices, const organ_row_choice *choice, const char *name,
                                   const char *whose, bool *same, organ_error *error);

/* The same for a whole tensor of the donor. */
organ_status organ_choices_compare_whole(const organ_choices *choices, const organ_model *donor,
                                         const organ_tensor *tensor, const organ_stop *stop, bool *same,
                                         organ_error *error);

/* Adds a problem for each tensor of the copy that the donor lacks, and returns their number. */
size_t organ_choices_strangers(const organ_choices *choices, const organ_model *donor);

#endif
