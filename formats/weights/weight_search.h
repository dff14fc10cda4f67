/* SPDX-License-Identifier: MIT
 * Data and functions that the sources which find the weights of a model share. */
#ifndef ORGAN_WEIGHT_SEARCH_H
#define ORGAN_WEIGHT_SEARCH_H

#include "formats/base/arena.h"
#include "formats/base/name_table.h"
#include "formats/base/path.h"
#include "formats/model/model.h"
#include "formats/weights/quant_config.h"
#include "formats/weights/weights.h"

#include <string.h>

#define ORGAN_NOTES_MAX 64

/* A property that only the config determines; reported once for all weights with it. */
typedef struct organ_weight_note {
    const char *what; /* "group_size" */
    uint64_t stated[2], found[2];
    const char *first; /* name of the first of them */
    size_t count;
} organ_weight_note;

/* State of the search for weights; `found` is the result that the caller gets. */
typedef struct organ_weight_search {
    organ_weights found; /* the first member: the search is found by it */
    const organ_model *model;
    organ_error *error;    /* of the call; the first fault */
    organ_weight *weights; /* room for one per tensor */
    size_t count;
    organ_unmatched_tensor *unmatched; /* likewise */
    bool *claimed;                     /* per tensor: it is codes or companion of a weight */
    bool as_tensors; /* every tensor is a weight: same order and names, so the model's table of names serves */
    char *name;      /* room for the longest name of a relative */
    organ_quant_config *config;
    organ_weight_note notes[ORGAN_NOTES_MAX];
    size_t note_count;
    const char **sentences;
    const char *without_scales; /* the first of the weights whose type is one of codes, but which have no scales */
    size_t alone_count;
    unsigned layouts_found; /* of pack-quantized words of 3, 5, 6 and 7 bits: a bit for each layout that some weight
                              certainly has */
    organ_arena arena;      /* names, shapes, sentences */
    organ_name_table names;
} organ_weight_search;

/* ---- weight_search.c ---- */

/* Returns the tensor whose name is the first `length` bytes of `stem` followed by `leaf`, or NULL. */
const organ_tensor *organ_weight_relative(organ_weight_search *search, const char *stem, size_t length,
                                          const char *leaf);

/* Fails with ORGAN_BAD_INPUT: "FILE: tensor 'NAME' ..." */
organ_status organ_weight_fail(const organ_weight_search *search, const organ_tensor *tensor, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline uint64_t organ_divide_up(uint64_t whole, uint64_t part) { return whole / part + (whole % part != 0); }

/* Returns whether the first `count` axes are equal. */
static inline bool organ_same_axes(const uint64_t *a, const uint64_t *b, unsigned count)
{
    return memcmp(a, b, count * sizeof *a) == 0;
}

void organ_weight_note_contradiction(organ_weight_search *search, const organ_weight *weight, const char *what,
                                     uint64_t said0, uint64_t said1, uint64_t found0, uint64_t found1);

/* Finds the settings of the config for this weight. */
organ_status organ_weight_group(organ_weight_search *search, const char *name, const organ_quant_group **group,
                                bool *named);

/* Returns the first `length` bytes of `stem` followed by `leaf`, as a text that exists as long as the weights; NULL if
 * there is no memory. */
const char *organ_weight_name(organ_weight_search *search, const char *stem, size_t length, const char *leaf);

/* Sets the shape of the weight (`lead` leading axes, then rows and columns) and the members that follow from it.
 * ORGAN_BAD_INPUT if such a shape is impossible. */
organ_status organ_weight_shape(organ_weight_search *search, organ_weight *weight, unsigned lead, const uint64_t *axes,
                                uint64_t rows, uint64_t cols);

/* Appends the weight to the list and marks its tensors as used, unless there was an error. */
organ_status organ_weight_add(organ_weight_search *search, const organ_weight *weight);

/* ---- scales.c ---- */

/* Determines the values that a scale applies to: sets block_rows and block_cols from the shapes of weight and scale and
 * the settings of the config. */
organ_status organ_weight_grid(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group);

/* Sets *size to the number of columns in a group, computed from the number of groups. `group` may be NULL. */
organ_status organ_weight_groups(organ_weight_search *search, const organ_weight *weight, uint64_t groups,
                                 const organ_quant_group *group, uint64_t *size);

/* Checks that the scale has one of the listed types; ORGAN_DTYPE_COUNT ends the list. */
organ_status organ_weight_scale_type(const organ_weight_search *search, const organ_weight *weight,
                                     const organ_dtype *types);

/* Checks that there are zero points if the config declares them. */
organ_status organ_weight_check_symmetry(organ_weight_search *search, const organ_weight *weight,
                                         const organ_quant_group *group);

/* Checks that the tensor has exactly this shape. */
organ_status organ_weight_expect(const organ_weight_search *search, const organ_weight *weight,
                                 const organ_tensor *tensor, unsigned rank, const uint64_t *shape);

/* ---- kinds of tensors: each function adds the weight whose codes the tensor is and sets *met, or does nothing ---- */

organ_status organ_weight_find_bytes(organ_weight_search *search, const organ_tensor *tensor, bool *met);
organ_status organ_weight_find_words(organ_weight_search *search, const organ_tensor *tensor, bool *met);

/* ---- mlx.c: as those above ---- */
organ_status organ_weight_find_mlx(organ_weight_search *search, const organ_tensor *tensor, bool *met);

/* Codes without a scale are a plain weight if the config does not apply to them; else their scale is missing:
 * ORGAN_BAD_INPUT. */
organ_status organ_weight_check_without_scale(organ_weight_search *search, const organ_tensor *codes);

/* Gives weights whose words have an ambiguous layout the layout of the model's other weights. */
organ_status organ_weight_resolve_words(organ_weight_search *search);

/* ---- unmatched_tensors.c ---- */

/* Rejects tensors of unsupported layouts by their names. */
organ_status organ_weight_refuse(const organ_weight_search *search, const organ_tensor *tensor);

/* Returns why a tensor that belongs to no weight is a stray, or NULL if it is a plain weight. Called after the packed
 * weights are found. */
const char *organ_weight_add_unmatched(organ_weight_search *search, const organ_tensor *tensor, bool *dropped);

/* Writes a sentence for each note; ORGAN_IO if there is no memory. */
organ_status organ_weight_write_notes(organ_weight_search *search);

#endif
