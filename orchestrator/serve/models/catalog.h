/* SPDX-License-Identifier: MIT
 * A catalog: one model in the server's memory, its tensors (without weights) and JSON descriptions, in one block of
 * known size. */
#ifndef ORGAN_MODEL_CATALOG_H
#define ORGAN_MODEL_CATALOG_H

#include <organ/models.h>
#include "orchestrator/serve/http/http.h"

/* Immutable after its creation except `users`, so any thread may read it. */
typedef struct organ_catalog {
    size_t bytes; /* size of this block, which contains all data; freeing it returns all memory to the system */
    size_t count, file_count;    /* number of tensors and of files */
    const organ_tensor *tensors; /* in file order; .file is an index into `files` */
    const char *const *files;    /* names */
    const char *details;         /* JSON: description of the model without its tensors (model_details.h) */
    size_t details_length;       /* in bytes */
    const char *summary;         /* JSON: {format, architecture, tensors, elements, bytes, files} */
    unsigned users;              /* reference count; only the model cache changes it, under its lock */
} organ_catalog;

/* Reads the headers of the model at `absolute` into a new catalog; messages and descriptions contain `path`, its name
 * for clients, instead. Reading needs about four times the memory of the block. Returns 0, or an HTTP status: 422 not a
 * model, or malformed; 507 the block would have more than `max` bytes; 500 a system call failed. */
unsigned organ_catalog_read(const char *absolute, const char *path, size_t max, organ_catalog **catalog,
                            organ_error *error);
/* Converts `block` to a catalog. It is a copy of a block that another process created at the address `base`. Checks all
 * members, so that no use of the catalog reads outside of the block or fails to make JSON, and relocates the pointers.
 * Returns false if the block is not a valid catalog, or if memory runs out (which organ_memory_refusals counts); the
 * block is unusable then. The caller frees the block in both cases. */
bool organ_catalog_adopt(void *block, size_t bytes, uint64_t base);
void organ_catalog_free(organ_catalog *catalog); /* NULL is allowed */

#endif
