/* SPDX-License-Identifier: MIT
 * Finds the weight of a module in several models, and collects all mismatches in one message. */
#ifndef ORGAN_MODULE_MATCH_H
#define ORGAN_MODULE_MATCH_H

#include <organ/weights.h>
#include "orchestrator/surgery/inputs/inputs.h"

/* A module whose weight is looked for in several models: the names of the weight and the shape that it must have. */
typedef struct organ_module_place {
    const char *module; /* its name without ".weight" */
    const char *tensor; /* full name of its weight; NULL: `module` followed by ".weight" */
    const organ_anatomy *anatomy;
    size_t rows, cols; /* shape of its weight; rows of stacked matrices are counted together */
    unsigned rank;     /* number of dimensions of the weight; 0: 2 */
    const organ_model *model; /* from which the names are; NULL if `gguf` is false */
    bool gguf;         /* names, and the expected order of rows, are those of GGUF; false: of safetensors */
} organ_module_place;

/* The mismatches of all modules: weights that a model lacks or has in another shape. */
typedef struct organ_module_mismatches {
    const char
        *expected_by;    /* input with whose names and shapes the models are compared, for messages: "the adapter" */
    size_t count, shown; /* number of mismatches, and number of those that `text` describes */
    char text[700];      /* a sentence for each of the first `shown` mismatches */
} organ_module_mismatches;

/* Returns the weight of `place` in a model. If the model has the other format (GGUF or not), also looks for the name
 * of the weight in that format. Returns NULL and adds a mismatch if the model lacks the weight, or has it in another
 * shape or with its rows in another order (q and k of some architectures in GGUF). Returns NULL with an error if
 * memory runs out. */
const organ_weight *organ_module_weight(const organ_module_place *place, const organ_weights *weights,
                                        const organ_model *model, organ_module_mismatches *mismatches,
                                        organ_error *error);

/* Returns ORGAN_BAD_INPUT if there are mismatches; the message has the sentences in mismatches->text and the number of
 * mismatches without a sentence there. `path` is the input that does not fit, for the message. */
organ_status organ_module_mismatches_report(const organ_module_mismatches *mismatches, const char *path,
                                            organ_error *error);

/* Returns ORGAN_USAGE if a pattern of --modules has matched no module of `path`; the message quotes this pattern. */
organ_status organ_modules_all_used(const organ_globs *globs, const char *path, organ_error *error);

#endif
