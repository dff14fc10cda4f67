/* SPDX-License-Identifier: MIT
 * What the parts of an extraction share: extract.c runs it, extract_plan.c pairs the weights, extract_rest.c measures
 * what is no linear layer, extract_module.c decomposes, extract_notes.c keeps what readers say, extract_document.c
 * tells. */
#ifndef ORGAN_LORA_EXTRACT_JOB_H
#define ORGAN_LORA_EXTRACT_JOB_H

#include "formats/weights/weights.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/lora/adapter_write.h"
#include "orchestrator/surgery/lora/extract.h"

/* One linear layer. */
typedef struct organ_lora_module {
    const organ_weight *base, *tuned;
    char *name;      /* without ".weight" */
    char *note;      /* what readers said, a line each; NULL: nothing */
    float *spectrum; /* `rank` singular values of the change */
    size_t turn;     /* among all that is written */
    size_t rank; /* of its factors; 0: it did not change; of a dry run the most it can be. From here on numbers alone */
    double change, norm, rest; /* ||dW||^2, ||W_base||^2, ||dW - B A||^2 with the factors as they are stored */
    bool short_of_share;       /* more rank would be needed for the share of energy that was asked for */
    unsigned passes;
    double seconds;
} organ_lora_module;

/* Another weight of either model. */
typedef struct organ_lora_other {
    const organ_weight *base, *tuned; /* one may be NULL */
    const char *why;                  /* it could not be compared; NULL: it was */
    char *note;                       /* as above */
    size_t turn;
    bool kept;           /* whole, in the adapter */
    double change, norm; /* as above */
} organ_lora_other;

typedef struct organ_lora_job {
    const organ_lora_extract_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_dtype dtype;
    double share; /* of energy; 0: fixed rank */
    organ_model *base, *tuned;
    organ_weights *base_weights, *tuned_weights;
    size_t module_count, other_count, packed; /* packed: modules whose base is */
    organ_lora_module *modules;               /* in the order of the tuned model */
    organ_lora_other *others;
    organ_deal module_deal, other_deal; /* among the ranks */
    size_t turns;                       /* that were given away */
    size_t note_count, compared_notes;  /* compared_notes: when all others were compared */
    char *notes[8];                     /* of readers, each once */
    char **saying;                      /* the note of what is read now */
    organ_adapter_writer *writer;
} organ_lora_job;

/* Fills modules and others. */
organ_status organ_lora_plan(organ_lora_job *job, organ_error *error);

/* ORGAN_USAGE if a module does not fit the memory; the message contains the amount that is enough for all modules. */
organ_status organ_lora_check_memory(organ_lora_job *job, organ_error *error);

/* Whether it changed, or cannot be told not to have. */
bool organ_lora_other_changed(const organ_lora_other *other);

/* Sets change and norm of the others, on all ranks. */
organ_status organ_lora_compare(organ_lora_job *job, organ_error *error);

/* Gives a turn to those that changed and whose elements take so many bytes in the adapter, and appends those of this
 * rank. */
organ_status organ_lora_keep(organ_lora_job *job, unsigned element_bytes, organ_error *error);

/* Decomposes the change of one module and appends its factors. */
organ_status organ_lora_factorise(organ_lora_job *job, organ_lora_module *module, organ_error *error);

/* Returns the journal entry of a finished module: every result of organ_lora_factorise. NULL without memory. Recall
 * takes it over; ORGAN_IO if it is not understood. */
json_t *organ_lora_module_results(const organ_lora_module *module);
organ_status organ_lora_module_recall(const organ_lora_job *job, organ_lora_module *module, const json_t *results,
                                      organ_error *error);

/* The same of what a reader said of a weight that is kept whole. */
json_t *organ_lora_note_results(const char *note);
organ_status organ_lora_note_recall(const organ_lora_job *job, const json_t *results, char **note, organ_error *error);

/* The options that decide what is in the adapter. NULL without memory. */
json_t *organ_lora_extract_parameters(const organ_lora_job *job);

/* A sentence of a reader, kept once. */
void organ_lora_note(organ_lora_job *job, const char *note);

/* All ranks have the notes of all, in the order in which one process would have come by them: those of the comparison,
 * or of what was written. As organ_ranks_agree. */
organ_status organ_lora_notes_compared(organ_lora_job *job, organ_error *error);
organ_status organ_lora_notes_written(organ_lora_job *job, organ_error *error);

/* adapter_config.json, once all ranks are known. NULL without memory. */
json_t *organ_lora_config(const organ_lora_job *job);

/* organ.lora_extract/1. NULL without memory. */
json_t *organ_lora_extract_document(const organ_lora_job *job);

#endif
