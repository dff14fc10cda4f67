/* SPDX-License-Identifier: MIT
 * Declarations that the sources of an extraction share: lora_extract.c runs it, extract_plan.c pairs the weights,
 * extract_rest.c compares other weights, extract_module.c decomposes modules, extract_notes.c collects notes of
 * readers, extract_document.c writes the report. */
#ifndef ORGAN_LORA_EXTRACT_JOB_H
#define ORGAN_LORA_EXTRACT_JOB_H

#include "formats/weights/weights.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/lora/adapter_write.h"
#include "orchestrator/surgery/lora/lora_extract.h"

/* One linear layer. */
typedef struct organ_lora_module {
    const organ_weight *base, *tuned;
    char *name;      /* without ".weight" */
    char *note;      /* notes of the readers, one per line; NULL: none */
    float *spectrum; /* `rank` singular values of the change */
    size_t turn;     /* position in the output */
    /* A stack of experts that is a parameter of a module of peft, which has a wrapper for each of its parameters: */
    bool parameter;
    bool paired; /* the module has two wrappers, */
    bool inner;  /* and that of this parameter is inside of the other one */
    bool turned; /* the matrices are in_features x out_features */
    size_t rank; /* rank of the factors; 0: unchanged module; in a dry run an upper bound. Members from here on contain
                  * no pointers */
    double change, norm, rest; /* ||dW||^2, ||W_base||^2, ||dW - B A||^2 with the stored factors */
    bool short_of_share;       /* the requested share of energy would need a higher rank */
    unsigned passes;
    double seconds;
} organ_lora_module;

/* Another weight of either model. */
typedef struct organ_lora_other {
    const organ_weight *base, *tuned; /* one may be NULL */
    const char *why;                  /* why it could not be compared; NULL: it was compared */
    char *note;                       /* notes of the readers */
    size_t turn;
    bool kept;           /* stored whole in the adapter */
    double change, norm; /* ||dW||^2, ||W_base||^2 */
} organ_lora_other;

typedef struct organ_lora_job {
    const organ_lora_extract_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_dtype dtype;
    double share; /* share of energy to explain; 0: fixed rank */
    organ_model *base, *tuned;
    organ_weights *base_weights, *tuned_weights;
    size_t module_count, other_count, packed; /* packed: number of modules whose base is packed */
    organ_lora_module *modules;               /* in the order of the tuned model */
    organ_lora_other *others;
    organ_assignment module_assignment, other_assignment; /* assignment to ranks */
    size_t turns;                                         /* number of turns assigned so far */
    size_t note_count, compared_notes; /* compared_notes: notes after the comparison of all other weights */
    char *notes[8];                    /* notes of the readers, each once */
    char **saying;                     /* where to store a note about the weight that is read now */
    organ_adapter_writer *writer;
} organ_lora_job;

/* Fills the lists of modules and other weights. */
organ_status organ_lora_plan(organ_lora_job *job, organ_error *error);

/* Returns ORGAN_USAGE if a module does not fit the memory; the message contains the amount that is enough for all
 * modules. */
organ_status organ_lora_check_memory(organ_lora_job *job, organ_error *error);

/* Returns whether the weight changed, or could not be compared. */
bool organ_lora_other_changed(const organ_lora_other *other);

/* Sets `change` and `norm` of the other weights, on all ranks. */
organ_status organ_lora_compare(organ_lora_job *job, organ_error *error);

/* Assigns turns to changed other weights whose elements have `element_bytes` bytes in the adapter, and appends those
 * of this rank. */
organ_status organ_lora_keep(organ_lora_job *job, unsigned element_bytes, organ_error *error);

/* Decomposes the change of one module and appends its factors. */
organ_status organ_lora_factorise(organ_lora_job *job, organ_lora_module *module, organ_error *error);

/* organ_lora_module_results returns the journal entry of a finished module with every result of organ_lora_factorise;
 * NULL if out of memory. organ_lora_module_recall reads such an entry; ORGAN_IO if it is malformed. */
json_t *organ_lora_module_results(const organ_lora_module *module);
organ_status organ_lora_module_recall(const organ_lora_job *job, organ_lora_module *module, const json_t *results,
                                      organ_error *error);

/* Returns the journal entry of the note about a weight that is stored whole. */
json_t *organ_lora_note_json(const char *note);
organ_status organ_lora_note_recall(const organ_lora_job *job, const json_t *results, char **note, organ_error *error);

/* Returns the options that determine the adapter. NULL if out of memory. */
json_t *organ_lora_extract_parameters(const organ_lora_job *job);

/* Stores a note of a reader, each text once. */
void organ_lora_note(organ_lora_job *job, const char *note);

/* Exchange notes among ranks, so that all ranks have them in the order in which a single process would collect them:
 * notes of the comparison, or of the written weights. Errors as of organ_ranks_agree. */
organ_status organ_lora_notes_compared(organ_lora_job *job, organ_error *error);
organ_status organ_lora_notes_written(organ_lora_job *job, organ_error *error);

/* Returns adapter_config.json; ranks of all modules must be known. NULL if out of memory. */
json_t *organ_lora_config(const organ_lora_job *job);

/* Returns a document of schema organ.lora_extract/1. NULL if out of memory. */
json_t *organ_lora_extract_document(const organ_lora_job *job);

#endif
