/* SPDX-License-Identifier: MIT
 * Sums of the squares of the inputs of a model's matrices over a text, for an importance matrix of llama.cpp. */
#ifndef ORGAN_INPUT_SUMS_H
#define ORGAN_INPUT_SUMS_H

#include "formats/imatrix/imatrix.h"
#include "orchestrator/forward/forward.h"

typedef struct organ_input_sums organ_input_sums;

/* Returns ORGAN_USAGE if llama.cpp's names of the model's matrices are not known. */
organ_status organ_input_sums_open(const organ_forward *forward, organ_input_sums **sums, organ_error *error);
void organ_input_sums_close(organ_input_sums *sums); /* NULL is allowed */

/* Returns a tap for runs of that layer, valid until the sums are closed or the next call. */
organ_tap organ_input_sums_tap(organ_input_sums *sums, unsigned layer);

/* Writes the file; errors of organ_imatrix_write. */
organ_status organ_input_sums_write(const organ_input_sums *sums, const char *path, const organ_imatrix_text *text,
                                    organ_error *error);

#endif
