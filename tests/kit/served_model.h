/* SPDX-License-Identifier: MIT
 * For tests: a model of many experts in safetensors shards with an index, which a server generates without a disk. */
#ifndef SERVED_MODEL_H
#define SERVED_MODEL_H

#include "tests/kit/http_server.h"

typedef struct served_model {
    served_file *files; /* the shards, model.safetensors.index.json, config.json */
    size_t file_count, shard_count, tensor_count;
    uint64_t bytes; /* bytes of all tensors */
} served_model;

/* Makes `blocks` blocks of `experts` experts, each of three projections of rows x cols BF16, with an attention and a
 * norm, in `shards` files. Ends the test on a failure. */
served_model served_model_make(size_t blocks, size_t experts, uint64_t rows, uint64_t cols, size_t shards);
void served_model_free(served_model *model);

/* Starts a thread that kills the server when it has sent that number of bytes, and soon after starts another one on its
 * port. *server is the present server. */
void served_model_interrupt(http_server **server, const served_model *model, uint64_t at_byte);
/* Waits for that thread; returns whether it has killed the server. */
bool served_model_was_interrupted(void);

/* Opens the model at the URL of its index, reads all its bytes in one pass with `memory` bytes and `threads` threads,
 * and compares each tensor's digest. Returns NULL, or a message in a static buffer. *grown: bytes by which the peak
 * memory exceeds that of the open model. */
const char *served_model_pass(const char *url, const served_model *model, uint64_t memory, size_t threads,
                              uint64_t *grown);

/* Does the same for measure: *digest covers all its numbers. */
const char *served_model_measure(const char *url, uint64_t memory, size_t threads, uint64_t *digest, uint64_t *grown);

#endif
