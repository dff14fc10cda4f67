/* SPDX-License-Identifier: MIT
 * Sums of the squared inputs of a model's matrices over the tokens of a text, for an importance matrix of llama.cpp.
 * The sums are exact, so that tokens may be added in any order and by any rank. */
#ifndef ORGAN_SURGERY_SCORING_INPUT_SUMS_H
#define ORGAN_SURGERY_SCORING_INPUT_SUMS_H

#include "formats/base/arena.h"
#include "formats/base/rows.h"
#include "formats/imatrix/imatrix.h"
#include "orchestrator/ranks/ranks.h"

#include <jansson.h>
#include <organ/forward.h>

#define ORGAN_EXACT_WORDS 3

/* A sum as an integer: words[0] + 2^64 words[1] + 2^128 words[2] units of 2^-112. */
typedef struct organ_exact_sum {
    uint64_t words[ORGAN_EXACT_WORDS];
} organ_exact_sum;

/* The sums of one tensor of llama.cpp. */
typedef struct organ_input_entry {
    const char *name;          /* name of the tensor in llama.cpp */
    size_t features, matrices; /* columns of each matrix; number of matrices */
    organ_exact_sum *sums;     /* matrices x features */
    uint64_t *counts;          /* number of tokens of each matrix */
    bool joint;                /* all matrices have the same tokens, and the file has one count */
} organ_input_entry;

typedef struct organ_input_sums {
    const organ_forward *forward;
    const organ_engine *engine;
    int32_t layer;              /* layer of the last tap */
    bool head;                  /* there is an entry for the output head */
    organ_input_entry *entries; /* in the order of layers and tensors, the same in every process */
    size_t count, capacity;     /* entries in use, and allocated */
    organ_head_tap heads;       /* organ_input_sums_heads_tap */
    organ_arena arena;          /* memory of the names */
    organ_name_table names;     /* name -> index into entries */
} organ_input_sums;

/* Creates sums of 0 for all matrices of the layers. `forward` and `engine` must outlive them. Returns ORGAN_USAGE if
 * llama.cpp's names of the architecture's matrices are unknown, ORGAN_IO if memory runs out. The caller closes *sums
 * also after an error. */
organ_status organ_input_sums_open(const organ_forward *forward, const organ_engine *engine, organ_input_sums **sums,
                                   organ_error *error);
void organ_input_sums_close(organ_input_sums *sums); /* NULL is allowed */

/* Adds an entry for the output head. */
organ_status organ_input_sums_add_head(organ_input_sums *sums, organ_error *error);
/* Returns a tap for organ_forward_tap_head. */
organ_tap organ_input_sums_head_tap(organ_input_sums *sums);

/* Returns a tap for organ_layer_run of layer `layer`: it adds the squared inputs of the layer's matrices to the sums.
 * It returns ORGAN_BAD_INPUT, naming tensor and column, for an input that is not finite or beyond 2^30. The tap is
 * valid until the next call of this function or until the sums are closed. */
organ_tap organ_input_sums_tap(organ_input_sums *sums, unsigned layer);

/* Returns a tap for organ_layer_tap_heads of the layer of the last tap, valid as long as the sums. */
const organ_head_tap *organ_input_sums_heads_tap(organ_input_sums *sums);

/* Replaces the sums of each rank by those of all ranks together. All ranks call it, also after an error, which every
 * rank then returns. Does nothing without ranks. */
organ_status organ_input_sums_reduce(organ_input_sums *sums, organ_ranks *ranks, organ_error *error);

/* Completes the sums after the last token, before organ_input_sums_write: entries without tokens are removed (matrices
 * that the forward pass does not run). In a stack of experts, an expert without tokens gets the mean of all tokens of
 * the stack, with a count of 1. Sets *filled to {"experts", "layers": [{"layer", "experts"}], "names"}, a list of these
 * experts, or to null if there are none; the caller releases it. Returns ORGAN_IO if memory runs out. */
organ_status organ_input_sums_complete(organ_input_sums *sums, json_t **filled, organ_error *error);

/* Writes the sums as the importance matrix `path`. `text` describes the text from which the inputs come. Returns errors
 * of organ_imatrix_write. */
organ_status organ_input_sums_write(const organ_input_sums *sums, const char *path, organ_imatrix_format format,
                                    const organ_imatrix_text *text, organ_error *error);

/* ---- the state of an interrupted run (input_state.c) ---- */

/* Writes the sums and flags of the `windows` windows that they contain to `path`. An existing file is replaced only
 * when the new one is complete. Returns ORGAN_IO if that fails. */
organ_status organ_input_sums_save(const organ_input_sums *sums, const char *path, const unsigned char *done,
                                   size_t windows, organ_error *error);

/* Reads the flags of a file that organ_input_sums_save wrote to `done`, and adds its sums to `sums` if no flag is also
 * set in `all`; then sets these flags in `all`. *taken: the sums were added. A file that is damaged or of other sums is
 * left out, with *taken false. Returns ORGAN_IO if the file cannot be read. */
organ_status organ_input_sums_load(organ_input_sums *sums, const char *path, unsigned char *all, size_t windows,
                                   bool *taken, organ_error *error);

/* Adds `count` sums to sums[first], ... of an entry. */
void organ_input_entry_add(organ_input_entry *entry, size_t first, const organ_exact_sum *sums, size_t count);

#endif
