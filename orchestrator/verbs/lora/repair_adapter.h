/* SPDX-License-Identifier: MIT
 * An adapter that another verb makes together with a model: for each matrix that the verb changes, the correction of
 * low rank that gives most of its outputs back (solve/correction.h). */
#ifndef ORGAN_VERBS_LORA_REPAIR_ADAPTER_H
#define ORGAN_VERBS_LORA_REPAIR_ADAPTER_H

#include "orchestrator/solve/algebra.h"
#include "orchestrator/surgery/calibration/calibration.h"

#include <organ/stream.h>

typedef struct organ_repair_adapter organ_repair_adapter;

typedef struct organ_repair_adapter_options {
    const char *model;  /* path of the model that the verb reads, plain */
    const char *base;   /* path of the model that it writes, for adapter_config.json */
    const char *output; /* directory of the adapter */
    const char *dtype;  /* type of the factors */
    unsigned rank;      /* at least 1 */
    bool force, resume, dry_run;
    const bool *changed; /* a flag for each tensor of the model: the verb changes its matrices */
} organ_repair_adapter_options;

/* Lists the modules of the adapter: the changed projections. `options` and what it points to must outlive the adapter.
 * Returns the errors of opening the model, ORGAN_USAGE if the output exists or is the model, ORGAN_BAD_INPUT if no
 * changed tensor is a linear layer. The caller closes *adapter, also after an error. */
organ_status organ_repair_adapter_open(const organ_repair_adapter_options *options, const organ_engine *engine,
                                       const organ_progress *progress, organ_repair_adapter **adapter,
                                       organ_error *error);
void organ_repair_adapter_close(organ_repair_adapter *adapter); /* NULL is allowed */

/* Returns whether the adapter has factors for the matrices of a tensor. */
bool organ_repair_adapter_has(const organ_repair_adapter *adapter, const char *tensor);

/* Writes the adapter with the digest `pair`, which its model has too (orchestrator/output/facts.h): calls
 * make(context), which calls organ_repair_adapter_add or organ_repair_adapter_restore for
 * each matrix of each module, and then completes and publishes it. *report has schema organ.lora_extract/1. Returns the
 * error of `make`, and those of organ_adapter_make. */
organ_status organ_repair_adapter_write(organ_repair_adapter *adapter, const char *pair,
                                        organ_status (*make)(void *context, organ_error *error), void *context,
                                        json_t **report, organ_error *error);

/* Returns whether an interrupted run has finished the tensor's factors; while `make` runs. */
bool organ_repair_adapter_done(const organ_repair_adapter *adapter, const char *tensor);

/* A matrix whose factors are computed. All arrays are [rows][h->size], in the order of the file. */
typedef struct organ_repair_adapter_matrix {
    const char *tensor;
    uint64_t matrix; /* index in a stack; else 0 */
    size_t rows;
    const float *weights;        /* the original */
    float *target;               /* change of `weights` that values + B A shall approach, or 0; overwritten */
    float *values;               /* the matrix that the verb has computed; B A is added */
    const organ_block_matrix *h; /* second moments of the inputs, positive definite */
} organ_repair_adapter_matrix;

/* Computes the factors for a matrix and adds them to the adapter. Returns the errors of organ_correct and of the
 * adapter writer. */
organ_status organ_repair_adapter_add(organ_repair_adapter *adapter, const organ_repair_adapter_matrix *matrix,
                                      organ_error *error);
/* Adds B A of the interrupted run to `values`. */
organ_status organ_repair_adapter_restore(organ_repair_adapter *adapter, const char *tensor, uint64_t matrix,
                                          float *values, size_t rows, size_t cols, organ_error *error);

/* Returns the bytes that organ_repair_adapter_add allocates for a matrix. */
uint64_t organ_repair_adapter_memory(const organ_engine *engine, uint64_t rows, uint64_t cols, unsigned rank);

#endif
