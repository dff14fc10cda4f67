/* SPDX-License-Identifier: MIT
 * Models in several GGUF files: NAME-00001-of-00003.gguf. */
#ifndef ORGAN_GGUF_SPLIT_H
#define ORGAN_GGUF_SPLIT_H

#include "formats/gguf/reader.h"

/* More parts than any model has. */
#define ORGAN_GGUF_SPLIT_LIMIT 65535u

/* Length of NAME in a file name NAME-00001-of-00003.gguf, with the number of the part (from 1) and of all parts; 0 if the name is not made
 * so. */
size_t organ_gguf_split_parse(const char *file_name, unsigned *part, unsigned *parts);

/* The file name of a part (from 1): the first `length` bytes of `name`, the numbers, ".gguf". NULL if there is no memory. */
char *organ_gguf_split_name(organ_arena *arena, const char *name, size_t length, unsigned part, unsigned parts);

/* What the header says of a split: *parts is 1 for a file that stands alone. ORGAN_BAD_INPUT if a key has the wrong type, or the numbers
 * contradict each other or the name of the file. */
organ_status organ_gguf_split_of(const char *file_name, const organ_gguf *gguf, unsigned *parts, organ_error *error);

/* Whether the part that was read last, number `index` (from 0) of `parts`, belongs to the model of `first`. `tensors` have been read up to
 * and with this part; after the last one they must be split.tensors.count. */
organ_status organ_gguf_split_check(const char *file_name, const organ_gguf *part, const organ_gguf *first, unsigned index, unsigned parts,
                                    uint64_t tensors, organ_error *error);

#endif
