/* SPDX-License-Identifier: MIT
 * Sums the squares of the inputs of a model's matrices over a text, for an importance matrix of llama.cpp. */
#ifndef ORGAN_INPUT_SUMS_H
#define ORGAN_INPUT_SUMS_H

#include "formats/imatrix/imatrix.h"
#include <organ/forward.h>

/* The sums of squares of all inputs, and the numbers of tokens in them. */
typedef struct organ_input_sums organ_input_sums;

/* Creates empty sums. `forward` must outlive them. Returns ORGAN_USAGE if llama.cpp's names of the architecture's
 * matrices are unknown, ORGAN_IO if memory runs out. */
organ_status organ_input_sums_open(const organ_forward *forward, organ_input_sums **sums, organ_error *error);
void organ_input_sums_close(organ_input_sums *sums); /* NULL is allowed */

/* Returns a tap for organ_layer_run of layer `layer`: it adds the squared inputs of the layer's matrices to the sums.
 * The tap is valid until the next call of this function or until the sums are closed. */
organ_tap organ_input_sums_tap(organ_input_sums *sums, unsigned layer);

/* Writes the sums as the importance matrix `path`. `text` describes the text from which the inputs come: its name, and
 * the number and length of its chunks. Returns errors of organ_imatrix_write. */
organ_status organ_input_sums_write(const organ_input_sums *sums, const char *path, const organ_imatrix_text *text,
                                    organ_error *error);

#endif
