/* SPDX-License-Identifier: MIT
 * A tensor as a file stores it, and the file that has it. */
#ifndef ORGAN_TENSOR_H
#define ORGAN_TENSOR_H

#include "formats/base/api.h"
#include "formats/tensor/anatomy.h"
#include "formats/tensor/dtype.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>

ORGAN_API_BEGIN

typedef struct organ_tensor {
    const char *name; /* valid UTF-8 without NUL */
    organ_dtype dtype;
    unsigned rank;         /* 0 for a scalar */
    const uint64_t *shape; /* rank numbers, slowest axis first: (out_features, in_features) */
    uint64_t elements;
    uint64_t bytes;
    uint32_t file;   /* index into organ_model.files */
    uint64_t offset; /* of the first byte in that file */
    organ_anatomy anatomy;
} organ_tensor;

/* A tensor as a stack of row-major matrices: rank 2 is one matrix, rank 3 a stack of shape[0]; rank 1 one row; rank 0 a 1 x 1; higher ranks
 * stack all leading axes. */
typedef struct organ_matrices {
    uint64_t count, rows, cols;
} organ_matrices;
organ_matrices organ_tensor_matrices(const organ_tensor *tensor);

struct organ_http_file;

typedef struct organ_model_file {
    const char *name; /* relative to the model's directory: "model-00001-of-00003.safetensors" */
    const char *path; /* to open it again */
    int fd;           /* open for reading as long as the model is; -1 for a file that is opened when it is read: organ_model_file_open */
    struct organ_http_file *remote; /* of a file behind a URL, whose fd is -1; else NULL */
    uint64_t size;
    uint64_t data_offset;  /* where tensor data begins: the bytes before it are the header */
    uint64_t first, count; /* its tensors: organ_model.tensors[first .. first + count), ordered by offset */
    struct timespec modified;
    uint64_t device, inode;
} organ_model_file;

ORGAN_API_END

#endif
