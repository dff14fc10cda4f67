/* SPDX-License-Identifier: MIT
 * For tests: a model of many experts in safetensors shards with an index, to be served and never to lie on a disk. */
#ifndef SERVED_MODEL_H
#define SERVED_MODEL_H

#include "tests/kit/http_server.h"

typedef struct served_model {
    served_file *files; /* the shards, then model.safetensors.index.json, then config.json */
    size_t file_count, shard_count, tensor_count;
    uint64_t bytes; /* of tensors */
} served_model;

/* `blocks` blocks of `experts` experts of three projections of rows x cols BF16, and an attention and a norm; `shards`
 * files. Aborts if the system refuses. */
served_model served_model_make(size_t blocks, size_t experts, uint64_t rows, uint64_t cols, size_t shards);
void served_model_free(served_model *model);

/* A thread that kills the server when it has sent so many bytes, and starts another on its port a moment later. The
 * server is *server before and after. */
void served_model_interrupt(http_server **server, const served_model *model, uint64_t at_byte);
/* Waits for that thread; whether it came to it. */
bool served_model_was_interrupted(void);

/* Opens the model at the URL of its index, goes through all its bytes in a pass with `memory` bytes and `threads`
 * threads and compares each tensor's digest with what it must be. NULL, or what is wrong in a static buffer. *grown: by
 * how many bytes the memory of the process was larger at most than when the model was open. */
const char *served_model_pass(const char *url, const served_model *model, uint64_t memory, size_t threads,
                              uint64_t *grown);

/* The same for a measuring: *digest is that of all its numbers. */
const char *served_model_measure(const char *url, uint64_t memory, size_t threads, uint64_t *digest, uint64_t *grown);

#endif
