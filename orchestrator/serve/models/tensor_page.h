/* SPDX-License-Identifier: MIT
 * One page of the tensors of a model, filtered and sorted. */
#ifndef ORGAN_TENSOR_PAGE_H
#define ORGAN_TENSOR_PAGE_H

#include "orchestrator/serve/models/catalog.h"

/* A page ends with the tensor that makes it longer than this, even if more tensors were requested. */
#define ORGAN_TENSOR_PAGE_BYTES (1u << 20)

/* The order of tensors in a page. */
typedef enum organ_tensor_key {
    ORGAN_BY_FILE,
    ORGAN_BY_NAME,
    ORGAN_BY_BYTES,
    ORGAN_BY_ELEMENTS,
    ORGAN_BY_LAYER,
    ORGAN_TENSOR_KEYS
} organ_tensor_key;
extern const char *const organ_tensor_keys[ORGAN_TENSOR_KEYS]; /* "file", "name", "bytes", "elements", "layer" */

typedef struct organ_tensor_query {
    /* filters: a glob (fnmatch) of names; a role, such as "q_proj" or "experts.gate_proj"; a group of roles; NULL:
     * any */
    const char *match, *role, *group;
    int64_t layer; /* filter; -1: any */
    organ_tensor_key key;
    bool down;              /* descending order */
    uint64_t offset, limit; /* number of tensors to skip, and largest number in the page */
} organ_tensor_query;

/* Writes to *json a page of tensors, {"total", "offset", "bytes", "next", "tensors"}, as text for the caller to free.
 * "total" and "bytes" are the number and size of all matching tensors; "next" is the offset of the next page, or null.
 * Needs four bytes of memory for each tensor of the model if the order is not that of the files. Returns ORGAN_IO if
 * memory runs out. */
organ_status organ_tensor_page(const organ_catalog *model, const organ_tensor_query *query, char **json,
                               organ_error *error);

#endif
