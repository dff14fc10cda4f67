/* SPDX-License-Identifier: MIT
 * Replaces tensors in a copy of one model by those of another. */
#ifndef ORGAN_GRAFT_H
#define ORGAN_GRAFT_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

typedef struct organ_graft_options {
    const char *source; /* whose tensors are taken */
    const char *target; /* whose copy they are put into */
    const char *types;  /* as organ_selection_parse takes them; of the source */
    const char *layers;
    const char *map; /* as organ_layer_map_parse takes it: layers of the source go to other layers of the target */
    organ_write_options write;        /* output: .gguf, .safetensors, a directory of either, an organ directory; of the
                                         target's format */
    const organ_engine *engine;       /* runs `write.evaluate`; else unused */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    struct organ_ranks *ranks;        /* (room ranks) that share the work; NULL: this process does it */
} organ_graft_options;

/* Both models are opened read-only and streamed. All mismatches are found before anything is written: then the status
 * is ORGAN_BAD_INPUT, and *report is set with all of them as "mismatches". Else *report has the schema organ.graft/1;
 * the caller releases it.
 *
 * A tensor of another type keeps that type if the target is GGUF and its header can be rewritten; else it is converted
 * to the target's type with `kernels`. Other errors are those of organ_extract. With `evaluate` also those of
 * organ_perplexity, if possible before anything is written; a complete output is kept, and *report has the reason why
 * it was not scored. */
organ_status organ_graft(const organ_graft_options *options, const organ_kernels *kernels,
                         const organ_progress *progress, const organ_stop *stop, json_t **report, organ_error *error);

ORGAN_API_END

#endif
