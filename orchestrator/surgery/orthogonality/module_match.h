/* SPDX-License-Identifier: MIT
 * Finds the weight of a module in several models, and collects all mismatches in one message. */
#ifndef ORGAN_MODULE_MATCH_H
#define ORGAN_MODULE_MATCH_H

#include "formats/weights/weights.h"
#include "orchestrator/surgery/inputs/inputs.h"

/* A module, and the shape that its weight must have in every model. */
typedef struct organ_module_place {
    const char *module; /* its name without ".weight" */
    const char *tensor; /* full name of its weight; NULL: `module` followed by ".weight" */
    const organ_anatomy *anatomy;
    size_t rows, cols; /* shape of its weight; rows of stacked matrices are counted together */
    unsigned rank;     /* number of dimensions of the weight; 0: 2 */
    bool gguf;         /* `module` and `tensor` are names of a GGUF file, and rows have its order */
} organ_module_place;

/* The mismatches of all modules; the message contains as many as fit. */
typedef struct organ_module_mismatches {
    const char *said_by; /* the input whose names and shapes were expected, for messages: "the adapter" */
    size_t count, shown; /* number of mismatches, and of those in `text` */
    char text[700];
} organ_module_mismatches;

/* Returns the weight of the module in a model; if the model has the other format (GGUF or not), its names of that
 * format are tried, too. Returns NULL and adds a mismatch if the model has no such weight, has it in another shape, or
 * has its rows in another order (q and k of some architectures in GGUF). Returns NULL with an error if memory runs
 * out. */
const organ_weight *organ_module_weight(const organ_module_place *place, const organ_weights *weights,
                                        const organ_model *model, organ_module_mismatches *mismatches,
                                        organ_error *error);

/* Returns ORGAN_BAD_INPUT with all mismatches if there are any; `path` is the model that does not fit, for the
 * message. */
organ_status organ_module_mismatches_report(const organ_module_mismatches *mismatches, const char *path,
                                            organ_error *error);

/* Returns ORGAN_USAGE with a pattern that has matched no module of `path`: it is probably mistyped. */
organ_status organ_modules_all_used(const organ_globs *globs, const char *path, organ_error *error);

#endif
