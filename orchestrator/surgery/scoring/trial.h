/* SPDX-License-Identifier: MIT
 * Opens a model that a verb has written, before it gets its name, and compares it with the model from which it was
 * made. */
#ifndef ORGAN_TRIAL_H
#define ORGAN_TRIAL_H

#include <organ/models.h>
#include <organ/stream.h>

typedef struct organ_trial {
    const organ_model *model; /* the model from which the output was made */
    const char *path;         /* path by which the unfinished output opens as a model */
    const organ_engine *engine;
    const organ_progress *progress;
    /* Largest error of a layer: of the change of the hidden states by the output's layer, relative to the change by the
     * model's (ORGAN_TRIAL_ERROR_*). INFINITY: any, because the user lets values be limited. */
    double tolerance;
    bool infinite; /* the output has infinite values that the user accepts: states with such results are not compared */
} organ_trial;

/* Tolerances, by the bits of the output's values. A layer of which rows, columns or a part have another order or sign
 * has an error near 1. The tolerances of F32 and of 16 bits are far above the errors of rounding; that of fewer bits
 * allows for errors of quantisation. */
#define ORGAN_TRIAL_ERROR_32    0.01
#define ORGAN_TRIAL_ERROR_16    0.1
#define ORGAN_TRIAL_ERROR_CODES 0.6

/* Opens the output with the loader of the forward pass, which reads its configuration and finds all of its weights by
 * name and shape, and runs 16 tokens through its first and its last layer and through those of the model. The last
 * layers get the same input. The error of a layer is the median over the tokens. Layers are streamed within the
 * engine's memory.
 *
 * Some files do not store the limit of an activation, limits of time steps or the epsilon of norms in recurrent layers,
 * which the caller notes. The output is run with those of the model.
 *
 * If the forward pass cannot read the model's architecture, or a layer does not fit the memory, the layers are not run,
 * and a note gives the reason. Only rank 0 of several processes checks.
 *
 * Returns ORGAN_BAD_INPUT if the output cannot be opened, if the hidden states have another size, or if the error of a
 * layer exceeds the tolerance or is not finite; the message names the layer. Returns the errors of reading. */
organ_status organ_trial_run(const organ_trial *check, organ_error *error);

/* Returns ORGAN_BAD_INPUT, naming the key, unless the GGUF output at `path` has exactly the keys "tokenizer.*" of
 * `expected`, with the same bytes. */
organ_status organ_trial_tokenizer(const char *path, const organ_gguf *expected, organ_error *error);

/* Returns ORGAN_BAD_INPUT unless the file `name` of the output at `path` has the `size` bytes of
 * `expected`. */
organ_status organ_trial_file(const char *path, const char *name, const char *expected, size_t size,
                              organ_error *error);

#endif
