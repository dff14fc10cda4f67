/* SPDX-License-Identifier: MIT
 * One model as the server keeps it: its tensors and what is told of it, in one block of memory of a known size. */
#ifndef ORGAN_MODEL_CATALOG_H
#define ORGAN_MODEL_CATALOG_H

#include "formats/model/model.h"
#include "orchestrator/serve/http/http.h"

/* Nothing in it changes after it was made, so any thread may read it. */
typedef struct organ_catalog {
    size_t bytes; /* of memory: this block is all there is, and it goes back to the system as a whole */
    size_t count, file_count;
    const organ_tensor *tensors; /* in file order; .file is an index into `files` */
    const char *const *files;    /* names */
    const char
        *portrait; /* JSON: what is told of the model, without its tensors (orchestrator/serve/models/portrait.h) */
    size_t portrait_length;
    const char *summary; /* JSON: {format, architecture, tensors, elements, bytes, files} */
    unsigned users;      /* reference count, kept by the shelf */
} organ_catalog;

/* Reads the model at `absolute`, which clients know as `path`. While it is read it takes more memory than afterwards,
 * about four times the block. 0, or an HTTP status: 422 no model or malformed, 507 the block would have more than
 * `most` bytes, 500 the system refused. */
unsigned organ_catalog_read(const char *absolute, const char *path, size_t most, organ_catalog **catalog,
                            organ_error *error);
/* Makes a catalog of a block of bytes that another process has made, where it lay at `base`: everything in it is
 * checked, so that whoever uses it stays within the block and can make JSON of it, and its pointers are made valid.
 * False if it is none: it is spoiled then. */
bool organ_catalog_adopt(void *block, size_t bytes, uint64_t base);
void organ_catalog_free(organ_catalog *catalog); /* NULL is allowed */

#endif
