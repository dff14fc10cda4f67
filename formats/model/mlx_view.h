/* SPDX-License-Identifier: MIT
 * Shows a model that mlx-lm saved as transformers would have saved it. */
#ifndef ORGAN_MODEL_MLX_VIEW_H
#define ORGAN_MODEL_MLX_VIEW_H

#include "formats/model/compose.h"
#include "formats/tensor/tensor_list.h"

/* A model, as its files have it. */
typedef struct organ_mlx_saved {
    const char *label; /* its path, for messages */
    const char *model_type;
    const char *config; /* text of config.json */
    organ_model_file *files;
    size_t file_count;
    bool keeps_codes; /* change nothing if there are codes */
} organ_mlx_saved;

/* Gives the tensors of `list`, which are all tensors of the files, the names and shapes that transformers' files have,
 * where mlx-lm has changed them (formats/tensor/mlx_names.h), and makes the files show these tensors. Changes nothing,
 * and made->used stays false, if mlx-lm has changed nothing. Returns ORGAN_BAD_INPUT if two tensors get one name, or if
 * a part of a tensor is missing; ORGAN_IO if memory is exhausted. After an error `list` can only be released. */
organ_status organ_mlx_view(const organ_mlx_saved *saved, organ_tensor_list *list, organ_compositions *made,
                            organ_error *error);

#endif
