/* SPDX-License-Identifier: MIT
 * Private to audit_cut.h. */
#ifndef ORGAN_CUT_AUDIT_JOB_H
#define ORGAN_CUT_AUDIT_JOB_H

#include "formats/base/name_table.h"
#include "orchestrator/surgery/cut/recover.h"
#include "orchestrator/surgery/prune/audit.h"

/* Outcome for one tensor that the copy should contain. */
typedef struct organ_cut_verdict {
    const organ_tensor *donor;
    const organ_cut_part *part; /* NULL: all bytes of the tensor are kept */
    bool missing, mismatch;
    uint64_t different; /* number of bytes that differ */
} organ_cut_verdict;

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
    size_t after_recovery; /* number of problems after organ_cut_recover */
    size_t identical, resolved;
    json_t *resolved_names;
    bool settings_hold;
    double started;
} organ_cut_audit;

/* ---- audit_settings.c ---- */

/* Adds a problem for each member of config.json, or each key-value, that differs from the one a cut would write. */
organ_status organ_cut_judge_settings(organ_cut_audit *audit, organ_error *error);

#endif
