/* SPDX-License-Identifier: MIT
 * Importance matrices of llama.cpp: for every matrix of a model the sums of the squares of its inputs over a text. In
 * goes a GGUF file (general.type "imatrix"; tensors NAME.in_sum2 and NAME.counts) or one of the binary files that came
 * before them; out comes, for each matrix of a model, the root mean square of each of its inputs. */
#ifndef ORGAN_IMATRIX_H
#define ORGAN_IMATRIX_H

#include "formats/base/status.h"
#include "formats/tensor/tensor.h"

#include <stddef.h>
#include <stdint.h>

/* One tensor of the model. */
typedef struct organ_imatrix_entry {
    const char *name; /* as GGUF calls the tensor: "blk.0.ffn_down.weight" */
    organ_anatomy anatomy;
    uint64_t values; /* of all its matrices together */
    uint64_t counts; /* one for each matrix (expert), or 1 for all */
} organ_imatrix_entry;

typedef struct organ_imatrix {
    const char *path;
    const char *format; /* "GGUF", or "imatrix.dat" for what came before */
    uint64_t bytes;
    size_t entry_count;
    const organ_imatrix_entry *entries; /* in file order, names are unique */
    size_t dataset_count;
    const char *const *datasets; /* what its maker called the texts; valid UTF-8 */
    int64_t chunks, chunk_size;  /* of the texts, the latter in tokens; -1 where the file does not say */
} organ_imatrix;

/* Headers and names are read, and every claim is checked against the size of the file; the sums themselves are read
 * when they are asked for. ORGAN_IO, or ORGAN_BAD_INPUT with file, tensor, field and both values for what is malformed
 * or no importance matrix. */
organ_status organ_imatrix_open(const char *path, organ_imatrix **imatrix, organ_error *error);
void organ_imatrix_close(organ_imatrix *imatrix); /* NULL is allowed */

/* Where the inputs of one matrix of a model are. */
typedef struct organ_imatrix_place {
    const organ_imatrix_entry *entry;
    uint64_t matrix, matrices; /* which of how many of the entry */
} organ_imatrix_place;

/* Finds them for tensor `tensor` of a model, or for one of its experts, `expert` of `experts`; -1 and 1 for a tensor
 * that is one matrix and no expert. The entry is that of the same name, else that of the same layer, role and kind
 * (plain, expert, shared expert), whatever the names of the model are. Matrices that see the same inputs stand for each
 * other where only the model or only the imatrix has them fused: Q, K and V; gate and up. ORGAN_BAD_INPUT where there
 * is none, or more than one. */
organ_status organ_imatrix_find(const organ_imatrix *imatrix, const char *tensor, const organ_anatomy *anatomy,
                                int64_t expert, uint64_t experts, organ_imatrix_place *place, organ_error *error);

/* sqrt(sum of squares / count) of the `features` inputs of that matrix. *count becomes how many inputs that stands for:
 * tokens, in an older file chunks. `tensor` is named in messages. ORGAN_BAD_INPUT unless the entry has matrices x
 * features values, all finite and none negative, not all zero, and a count from 1. An older file says of an expert that
 * no token came to it by one and the same value for all its inputs. */
organ_status organ_imatrix_norms(const organ_imatrix *imatrix, const organ_imatrix_place *place, const char *tensor,
                                 uint64_t features, float *norms, double *count, organ_error *error);

/* Whether tokens reached the matrix: an expert with a count of 0 had none, which an older file does not tell. Errors as
 * above of an entry that does not fit the tensor. */
organ_status organ_imatrix_reached(const organ_imatrix *imatrix, const organ_imatrix_place *place, const char *tensor,
                                   uint64_t features, bool *reached, organ_error *error);

/* Exactly `bytes` from `offset`, for a digest. */
organ_status organ_imatrix_read(const organ_imatrix *imatrix, void *to, size_t bytes, uint64_t offset,
                                organ_error *error);

/* ORGAN_BAD_INPUT if the file was changed, cut, replaced or removed since it was opened. */
organ_status organ_imatrix_unchanged(const organ_imatrix *imatrix, organ_error *error);

#endif
