/* SPDX-License-Identifier: MIT
 * Inside of audit_cut.h. */
#ifndef ORGAN_CUT_AUDIT_JOB_H
#define ORGAN_CUT_AUDIT_JOB_H

#include "formats/base/name_table.h"
#include "orchestrator/surgery/cut/recover.h"
#include "orchestrator/surgery/prune/audit.h"

/* What was found of a tensor that the copy should have. */
typedef struct organ_cut_verdict {
    const organ_tensor *donor;
    const organ_cut_part *part; /* NULL: all of its bytes */
    bool missing, misfit;
    uint64_t different; /* bytes */
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
    organ_cut_verdict *verdicts; /* of each piece of the run */
    organ_problems problems;
    size_t after_recovery; /* problems then */
    size_t identical, resolved;
    json_t *resolved_names;
    bool settings_hold;
    double started;
} organ_cut_audit;

/* ---- audit_settings.c ---- */

/* Each member of config.json, or each key-value, that is not as the cut leaves it is a fault. */
organ_status organ_cut_judge_settings(organ_cut_audit *audit, organ_error *error);

#endif
