/* SPDX-License-Identifier: MIT
 * The weights of several models that belong together, module by module, and one message about all that do not fit. */
#ifndef ORGAN_MODULE_MATCH_H
#define ORGAN_MODULE_MATCH_H

#include "formats/weights/weights.h"
#include "orchestrator/surgery/output/globs.h"

/* A module, and the shape that its weight must have in every model. */
typedef struct organ_module_place {
    const char *module; /* its name without ".weight" */
    const char *tensor; /* the name of its weight; NULL: `module` with ".weight" behind it */
    const organ_anatomy *anatomy;
    size_t rows, cols; /* of all its matrices, one below the other */
    unsigned rank;     /* of the weight; 0: 2 */
    bool gguf;         /* the names are those of a GGUF file, and so is the order of rows */
} organ_module_place;

/* The faults of all modules, as far as a message holds them. */
typedef struct organ_misfits {
    const char *said_by; /* "the adapter": whose shape was expected */
    size_t count, shown;
    char text[700];
} organ_misfits;

/* The weight of the module in a model, by the names of the other format too; NULL with a misfit where the model has
 * none, has it in another shape, or has its rows in another order (q and k of some architectures in GGUF); NULL with an
 * error where there is no memory to look. */
const organ_weight *organ_module_weight(const organ_module_place *place, const organ_weights *weights,
                                        const organ_model *model, organ_misfits *misfits, organ_error *error);

/* ORGAN_BAD_INPUT with all misfits where there are any; `path` is what does not fit. */
organ_status organ_misfits_end(const organ_misfits *misfits, const char *path, organ_error *error);

/* ORGAN_USAGE, naming it, where a pattern matched no module of `path`: it is a slip. */
organ_status organ_modules_all_used(const organ_globs *globs, const char *path, organ_error *error);

#endif
