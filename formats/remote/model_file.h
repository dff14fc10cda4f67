/* SPDX-License-Identifier: MIT
 * Reading of a model's file for those that parse it: on this machine or behind a URL. */
#ifndef ORGAN_MODEL_FILE_H
#define ORGAN_MODEL_FILE_H

#include "formats/base/status.h"
#include "formats/tensor/tensor.h"

/* Exactly `bytes` from `offset` of a file that is open. ORGAN_BAD_INPUT if it ends before; see organ_input_read and organ_http_read. */
organ_status organ_model_file_read(const organ_model_file *file, void *to, size_t bytes, uint64_t offset, organ_error *error);

/* ORGAN_BAD_INPUT if the file was changed, cut, replaced or removed since it was opened. */
organ_status organ_model_file_unchanged(const organ_model_file *file, organ_error *error);

#endif
