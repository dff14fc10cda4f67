/* SPDX-License-Identifier: MIT
 * The bytes of a GGUF file of version 3 that stand before the data of its tensors, and where the data belongs. */
#ifndef ORGAN_GGUF_WRITER_H
#define ORGAN_GGUF_WRITER_H

#include "formats/gguf/gguf.h"
#include "formats/tensor/dtype.h"

#include <stdbool.h>

typedef struct organ_gguf_writer organ_gguf_writer;

/* What was made; it belongs to the writer. */
typedef struct organ_gguf_layout {
    const unsigned char *bytes; /* from the beginning of the file to the data, padding included */
    size_t size;
    const uint64_t *offsets; /* of each tensor, in the order in which they were given, from the beginning of the file */
    uint64_t file_size;      /* with the padding behind the last tensor; what lies between tensors is zeros */
} organ_gguf_layout;

/* ORGAN_IO if there is no memory, as everywhere below. */
organ_status organ_gguf_writer_create(organ_gguf_writer **writer, organ_error *error);
void organ_gguf_writer_destroy(organ_gguf_writer *writer); /* NULL is allowed */

/* Sets a key: in its place if it is there, else behind all others, so that keys that nobody changes keep their order. The value is copied;
 * it is as in organ_gguf.kvs. ORGAN_BAD_INPUT for a general.alignment that a file may not have. */
organ_status organ_gguf_writer_kv(organ_gguf_writer *writer, const organ_gguf_kv *kv, organ_error *error);

/* The same for one number: a key that is there as a whole number keeps its type, a new one gets `type`, which is one of the types of whole
 * numbers. ORGAN_BAD_INPUT if the value does not fit. */
organ_status organ_gguf_writer_set_integer(organ_gguf_writer *writer, const char *key, organ_gguf_type type, int64_t value,
                                           organ_error *error);
organ_status organ_gguf_writer_set_string(organ_gguf_writer *writer, const char *key, const char *text, size_t length, organ_error *error);

/* Takes a key away, if it is there. */
void organ_gguf_writer_remove(organ_gguf_writer *writer, const char *key);

/* Makes the file part `part` (from 0) of `parts` of a model of so many tensors in all: sets split.no, split.count and split.tensors.count.
 * By convention only the first part has the other keys; the files are named with organ_gguf_split_name. */
organ_status organ_gguf_writer_set_split(organ_gguf_writer *writer, unsigned part, unsigned parts, uint64_t tensors, organ_error *error);

/* Appends a tensor; its shape is given slowest axis first. ORGAN_BAD_INPUT if the format cannot hold it: a name of more than 64 bytes, more
 * than 4 dimensions, a type that GGUF does not know, rows that are no whole blocks. Names are not compared with each other. */
organ_status organ_gguf_writer_tensor(organ_gguf_writer *writer, const char *name, organ_dtype dtype, unsigned rank, const uint64_t *shape,
                                      organ_error *error);

/* Lays everything out with general.alignment (32 if there is none). *layout is valid until the writer is changed or destroyed. */
organ_status organ_gguf_writer_finish(organ_gguf_writer *writer, organ_gguf_layout *layout, organ_error *error);

#endif
