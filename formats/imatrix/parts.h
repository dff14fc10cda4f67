/* SPDX-License-Identifier: MIT
 * What the readers of importance matrices share: imatrix.c has the GGUF files and what is the same for all, dat.c those
 * before. */
#ifndef ORGAN_IMATRIX_PARTS_H
#define ORGAN_IMATRIX_PARTS_H

#include "formats/base/arena.h"
#include "formats/base/name_table.h"
#include "formats/imatrix/imatrix.h"
#include "formats/tensor/tensor.h"

/* Where the numbers of an entry are. */
typedef struct organ_imatrix_bytes {
    uint64_t sums;   /* offset of the first */
    uint64_t counts; /* offset of the first; of an older file the count itself */
} organ_imatrix_bytes;

typedef struct organ_imatrix_state {
    organ_imatrix view; /* first: the state is found by it */
    organ_model_file file;
    organ_arena arena;
    organ_imatrix_entry *entries;
    organ_imatrix_bytes *places; /* one for each entry */
    size_t capacity;
    organ_name_table names;
    const char **datasets;
    bool old;
} organ_imatrix_state;

/* Takes the entry over; its name must be in the arena. ORGAN_BAD_INPUT if there is one of that name. */
organ_status organ_imatrix_add(organ_imatrix_state *s, const char *name, uint64_t values, uint64_t counts,
                               organ_imatrix_bytes place, organ_error *error);

/* Room for so many names of texts. */
organ_status organ_imatrix_begin_datasets(organ_imatrix_state *s, uint64_t count, organ_error *error);
/* `text` has no NUL. What is not UTF-8 is refused. */
organ_status organ_imatrix_add_dataset(organ_imatrix_state *s, const char *text, size_t length, organ_error *error);

/* Whether the file can be one of those before GGUF: it begins with the number of its entries. */
bool organ_imatrix_is_old(const organ_imatrix_state *s, uint32_t first);
organ_status organ_imatrix_read_old(organ_imatrix_state *s, organ_error *error);

#endif
