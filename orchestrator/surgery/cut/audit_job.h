/* SPDX-License-Identifier: MIT
 * State of an audit of a cut model, shared by audit_cut.c and audit_settings.c. */
#ifndef ORGAN_CUT_AUDIT_JOB_H
#define ORGAN_CUT_AUDIT_JOB_H

#include "formats/base/name_table.h"
#include "orchestrator/surgery/cut/recover.h"
#include "orchestrator/surgery/prune/audit.h"

/* The comparison of one tensor that the copy should have. */
typedef struct organ_cut_verdict {
    const organ_tensor *donor;
    const organ_cut_part *part; /* its kept part; NULL: all bytes of the tensor are kept */
    bool missing, mismatch;     /* the copy lacks the tensor; it has another type or shape */
    uint64_t different;         /* number of bytes that differ */
} organ_cut_verdict;

/* The comparison of a cut model with its donor. */
typedef struct organ_cut_audit {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor, *copy;
    organ_weights *donor_weights, *copy_weights;
    organ_cut_recovery recovery;
    organ_cut_out cut;
    organ_cut_run run;
    organ_cut_verdict *verdicts; /* one for each piece of the run */
    organ_problems problems;
    size_t after_recovery;      /* number of problems after organ_cut_recover */
    size_t identical, resolved; /* tensors with the kept bytes; with other bytes that a refit may write */
    json_t *resolved_names;     /* names of the latter */
    bool settings_hold;         /* config.json or the key-values match the cut */
    double started;
} organ_cut_audit;

/* ---- audit_settings.c ---- */

/* Adds a problem for each member of config.json, or each key-value, that differs from the one a cut would write. */
organ_status organ_cut_judge_settings(organ_cut_audit *audit, organ_error *error);

#endif
