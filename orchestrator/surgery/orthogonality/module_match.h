/* SPDX-License-Identifier: MIT
 * Matches the weights of several models module by module, and collects all mismatches in one message. */
#ifndef ORGAN_MODULE_MATCH_H
#define ORGAN_MODULE_MATCH_H

#include "formats/weights/weights.h"
#include "orchestrator/surgery/inputs/inputs.h"

/* A module, and the shape that its weight must have in every model. */
typedef struct organ_module_place {
    const char *module; /* its name without ".weight" */
    const char *tensor; /* the name of its weight; NULL: `module` followed by ".weight" */
    const organ_anatomy *anatomy;
    size_t rows, cols; /* of all its matrices, one below the other */
    unsigned rank;     /* of the weight; 0: 2 */
    bool gguf;         /* names and order of rows are those of a GGUF file */
} organ_module_place;

/* The mismatches of all modules, as many as fit in a message. */
typedef struct organ_module_mismatches {
    const char *said_by; /* "the adapter": whose shape was expected */
    size_t count, shown;
    char text[700];
} organ_module_mismatches;

/* Returns the weight of the module in a model, also searched by the names of the other format. NULL with a misfit if
 * the model has no such weight, has it in another shape, or has its rows in another order (q and k of some
 * architectures in GGUF); NULL with an error if out of memory. */
const organ_weight *organ_module_weight(const organ_module_place *place, const organ_weights *weights,
                                        const organ_model *model, organ_module_mismatches *mismatches,
                                        organ_error *error);

/* Returns ORGAN_BAD_INPUT with all misfits if there are any; `path` is the model that does not fit. */
organ_status organ_module_mismatches_report(const organ_module_mismatches *mismatches, const char *path,
                                            organ_error *error);

/* Returns ORGAN_USAGE with the pattern if a pattern matched no module of `path`, because it is probably mistyped. */
organ_status organ_modules_all_used(const organ_globs *globs, const char *path, organ_error *error);

#endif
