/* SPDX-License-Identifier: MIT
 * Compares a pruned model with the record of the run that made it: prune.jsonl among its reports, which has a digest of
 * each pruned tensor. Files of two runs pass all other checks of an audit. */
#ifndef ORGAN_AUDIT_RECORD_H
#define ORGAN_AUDIT_RECORD_H

#include <organ/models.h>
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/facts/facts.h"

typedef struct organ_audit_record {
    char *path;          /* of prune.jsonl; NULL: the model has no record */
    size_t listed, same; /* tensors of the record with a known digest; those that still have it */
} organ_audit_record;

/* Sets record->path, which the caller frees, on all ranks if rank 0 finds the record of the pruned model `copy`. All
 * ranks call it. Returns ORGAN_IO if memory runs out, and errors of the ranks. */
organ_status organ_audit_record_find(const organ_model *copy, organ_ranks *ranks, organ_audit_record *record,
                                     organ_error *error);

/* Compares the digests of the record. `digest` returns the digest of the bytes that a tensor of the donor has in the
 * copy, 16 hexadecimal digits, or NULL. Adds a problem for each file of the copy in which tensors have other digests.
 * Returns ORGAN_IO if the record cannot be read. */
organ_status organ_audit_record_compare(organ_audit_record *record, const organ_model *copy,
                                        const char *(*digest)(const void *context, const char *tensor),
                                        const void *context, organ_problems *problems, organ_error *error);

#endif
