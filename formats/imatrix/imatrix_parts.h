/* SPDX-License-Identifier: MIT
 * State and functions that the sources of importance matrices share. */
#ifndef ORGAN_IMATRIX_PARTS_H
#define ORGAN_IMATRIX_PARTS_H

#include "formats/base/arena.h"
#include "formats/base/rows.h"
#include "formats/imatrix/imatrix.h"
#include <organ/models.h>

/* Endings of the names of tensors in a GGUF file, after the name of the model's tensor. */
#define ORGAN_IMATRIX_SUMS   ".in_sum2"
#define ORGAN_IMATRIX_COUNTS ".counts"

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

#endif
