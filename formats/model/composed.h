/* SPDX-License-Identifier: MIT
 * Models whose tensors the files have in another form: with other names, in other orders, or with other values. The
 * model then shows files that do not exist, with the headers and tensors of transformers' form. organ_model_read reads
 * them, as it reads files at a URL; they have no descriptors, and their paths are those of the real files. */
#ifndef ORGAN_MODEL_COMPOSED_H
#define ORGAN_MODEL_COMPOSED_H

#include <organ/models.h>

/* Returns whether the model is such a one. */
bool organ_model_is_composed(const organ_model *model);

/* Returns the text of the index of the shown files. NULL if memory runs out. The caller frees it. */
char *organ_composed_index(const organ_model *model);

#endif
