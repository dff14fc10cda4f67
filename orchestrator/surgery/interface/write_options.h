/* SPDX-License-Identifier: MIT
 * Options of every operation that writes a model, an adapter or an organ directory. */
#ifndef ORGAN_WRITE_OPTIONS_H
#define ORGAN_WRITE_OPTIONS_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_write_options {
    const char *output; /* path of the output: a directory, or one file if the operation says so */
    /* Upper bound of the bytes of tensor data in a new shard, at least 1; not used by operations that keep the model's
     * files. */
    uint64_t max_shard_size;
    bool resume;  /* continue an interrupted run that had the same parameters and inputs */
    bool force;   /* replace an existing output if organ_check_replaceable accepts it */
    bool dry_run; /* write nothing; the report says what would be written */
    /* Store finite values beyond the range of their type in the output as its greatest finite value, with their sign;
     * false: such values are an error. Used by organ_convert, organ_dequantize_model and organ_graft; other
     * operations always fail, but for scales of GGUF blocks in organ_quantize_model, which are always finite. */
    bool saturate;
    /* Text and options to score model and output on (surgery/scoring/evaluate_options.h); NULL: do not. Not used by
     * operations whose output is not a model that can run: organ_extract, organ_assemble, organ_lora_extract. */
    const struct organ_experiment_options *evaluate;
} organ_write_options;

ORGAN_API_END

#endif
