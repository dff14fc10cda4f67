/* SPDX-License-Identifier: MIT
 * Replaces tensors in a copy of one model by those of another. */
#ifndef ORGAN_GRAFT_H
#define ORGAN_GRAFT_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_graft_options {
    const char *source; /* path of the model whose tensors are copied */
    const char *target; /* path of the model whose copy gets these tensors */
    const char *types;  /* kinds of tensors of the source to copy (organ_selection_parse); NULL: all */
    const char *layers; /* layers of the source to copy (organ_selection_parse); NULL: all layers, and tensors
                         * outside of layers */
    const char *map;    /* layer number in the target of each source layer (organ_layer_map_parse); NULL: the same */
    organ_write_options write; /* output in the format of the target: .gguf, .safetensors, a directory of either, an
                                * organ directory */
    /* Its workers copy the tensors and run write.evaluate, which needs it. NULL: threads that are started for the run
     */
    const organ_engine *engine;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks; /* the processes that share the work (room ranks); NULL: this process does it alone */
} organ_graft_options;

/* Writes a copy of the target with tensors of the source; both models are opened read-only. Creates the report of
 * schema organ.graft/1, which the caller releases. Finds all mismatches of the two models before it writes anything: if
 * there are any, returns ORGAN_BAD_INPUT, with all of them as "mismatches" in *report.
 *
 * If the target is GGUF and its header can be rewritten, a copied tensor keeps the type that it has in the source;
 * otherwise it is converted by `kernels` to the type of the replaced tensor. Other errors: ORGAN_USAGE if the output
 * exists or would overwrite an input, if an unfinished run is found that is not continued or has other options, or if
 * the selection is invalid; ORGAN_BAD_INPUT if a model is malformed or changed during the run; ORGAN_IO if reading,
 * writing or memory fails; ORGAN_INTERRUPTED if a stop was requested. With write.evaluate also the errors of
 * organ_perplexity. Errors of the evaluation that can be found early are returned before anything is written; after a
 * later error the complete output is kept and *report has the reason. */
organ_status organ_graft(const organ_graft_options *options, const organ_kernels *kernels,
                         const organ_progress *progress, const organ_stop *stop, json_t **report, organ_error *error);

ORGAN_API_END

#endif
