/* SPDX-License-Identifier: MIT
 * The header of a safetensors file: 8 bytes of length (little endian), JSON, then the data of the tensors without holes. */
#ifndef ORGAN_SAFETENSORS_H
#define ORGAN_SAFETENSORS_H

#include "formats/tensor/tensor_list.h"

/* As in the reference reader of the format: nothing of that size is a header. */
#define ORGAN_SAFETENSORS_HEADER_LIMIT 100000000u

/* PyTorch knows no tensor of more dimensions. */
#define ORGAN_SAFETENSORS_RANK_LIMIT 64u

/* The format sets no limit; names of real models stay below 200 bytes, and whoever works with a model must print and log them. */
#define ORGAN_SAFETENSORS_NAME_LIMIT 4096u

/* Reads the header of files[index] (name, fd and size are set), sets its data_offset, first and count, and appends its tensors to `list`:
 * ordered by offset, everything filled in. Accepted is what the reference reader of the format accepts, a __metadata__ of null and fields
 * that nobody knows among it, except:
 * - two tensors of one name, and a name with a NUL in it: which is meant would be left to chance;
 * - numbers beyond 63 bits, which only shapes without elements can have;
 * - an entry that is a list of three and no object, which the format does not provide for;
 * - more than ORGAN_JSON_VALUES values in one field, and the limits above.
 * A tensor that another file has brought into `list` is refused. After an error the list can only be released. */
organ_status organ_safetensors_read(organ_model_file *files, size_t index, organ_tensor_list *list, organ_error *error);

#endif
