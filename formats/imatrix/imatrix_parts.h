/* SPDX-License-Identifier: MIT
 * State and functions that the sources of importance matrices share: imatrix.c reads GGUF files and has the
 * functions for both formats, dat.c reads the older format. */
#ifndef ORGAN_IMATRIX_PARTS_H
#define ORGAN_IMATRIX_PARTS_H

#include "formats/base/arena.h"
#include "formats/base/rows.h"
#include "formats/imatrix/imatrix.h"
#include <organ/models.h>

/* File offsets of the numbers of an entry. */
typedef struct organ_imatrix_bytes {
    uint64_t sums;   /* offset of the first sum */
    uint64_t counts; /* offset of the first count; in an older file the count itself */
} organ_imatrix_bytes;

/* An open importance matrix: the public view, and what reading its values needs. */
typedef struct organ_imatrix_state {
    organ_imatrix view;           /* first member: a pointer to it is a pointer to the state */
    organ_model_file file;        /* the open file */
    organ_arena arena;            /* memory of the names */
    organ_imatrix_entry *entries; /* view.entries */
    organ_imatrix_bytes *places;  /* one for each entry */
    size_t capacity;              /* allocated elements of entries and places */
    organ_name_table names;       /* name -> index into entries */
    const char **datasets;        /* view.datasets */
    bool old;                     /* the file has the older format */
} organ_imatrix_state;

/* Appends the entry `name` with `values` sums and `counts` counts, which the file has at `place`. The name must be in
 * the arena. Returns ORGAN_BAD_INPUT if an entry of this name exists. */
organ_status organ_imatrix_add(organ_imatrix_state *s, const char *name, uint64_t values, uint64_t counts,
                               organ_imatrix_bytes place, organ_error *error);

/* Allocates room for `count` names of texts. Returns ORGAN_BAD_INPUT for more than 65,536. */
organ_status organ_imatrix_begin_datasets(organ_imatrix_state *s, uint64_t count, organ_error *error);
/* Appends a copy of the name of a text (`length` bytes). Returns ORGAN_BAD_INPUT if it is not UTF-8 or has a NUL. */
organ_status organ_imatrix_add_dataset(organ_imatrix_state *s, const char *text, size_t length, organ_error *error);

/* Returns true if the file can have the older format: `first`, its first number, is then the number of its entries. */
bool organ_imatrix_is_old(const organ_imatrix_state *s, uint32_t first);
/* Reads the entries and the name of the text of a file in the older format; s->file is open. */
organ_status organ_imatrix_read_old(organ_imatrix_state *s, organ_error *error);

#endif
