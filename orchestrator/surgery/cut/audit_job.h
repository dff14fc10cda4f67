/* SPDX-License-Identifier: MIT
 * State of an audit of a cut model, shared by audit_cut.c and audit_settings.c. */
#ifndef ORGAN_CUT_AUDIT_JOB_H
#define ORGAN_CUT_AUDIT_JOB_H

#include "formats/base/name_table.h"
#include "orchestrator/surgery/cut/recover.h"
#include <organ/prune.h>

/* The comparison of one tensor that the copy should have. */
typedef struct organ_cut_verdict {
    const organ_tensor *donor;  /* the donor's tensor */
    const organ_cut_part *part; /* the kept part of it; NULL: all of its bytes are kept */
    bool missing;               /* the copy has no such tensor */
    bool mismatch;              /* the copy's tensor has another type or shape */
    uint64_t different;         /* number of the copy's bytes that differ from the kept bytes; 0 if not compared */
    uint64_t xxh3;              /* XXH3 of the copy's bytes, if they were compared */
} organ_cut_verdict;

/* The comparison of a cut model with its donor. */
typedef struct organ_cut_audit {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor, *copy;
    organ_weights *donor_weights, *copy_weights;
    organ_cut_recovery recovery; /* which parts of the donor the copy has kept */
    organ_cut_out cut;           /* a cut of the donor to these parts, and its plan */
    organ_cut_run run;
    organ_cut_verdict *verdicts; /* one for each piece of the run */
    organ_problems problems;
    size_t after_recovery; /* number of problems after organ_cut_recover */
    size_t identical;      /* number of tensors whose bytes are the kept bytes of the donor */
    size_t changed;        /* number of tensors with other bytes that a refit may have written */
    json_t *changed_names; /* names of the `changed` tensors */
    json_t *report; /* the report of the cut in the copy, if it lists refitted tensors (audit_report.c); else NULL */
    organ_name_table listed; /* names of these tensors, with their index in the list */
    size_t refitted;         /* number of tensors with other bytes and the digest that the report has for them */
    bool settings_hold;      /* config.json or the key-values are those that the cut would write */
    double started;          /* organ_seconds_now() at the beginning */
} organ_cut_audit;

/* ---- audit_report.c ---- */

/* Sets audit->report and audit->listed from the report of `organ layers`, `experts` or `width` in the copy, which is in
 * organ/ or next to a single file. Leaves them empty if there is none or if it lists no refitted tensors, as those of
 * versions before 0.3. Returns ORGAN_BAD_INPUT if a report is malformed. */
organ_status organ_cut_read_report(organ_cut_audit *audit, organ_error *error);
void organ_cut_release_report(organ_cut_audit *audit);

/* Returns the digest that the report has for a tensor of the copy; NULL if it does not list the tensor. */
const char *organ_cut_listed(const organ_cut_audit *audit, const char *tensor);
/* Returns the name of the report, "organ/layers.json"; NULL if there is none. */
const char *organ_cut_report_name(const organ_cut_audit *audit);

/* ---- audit_settings.c ---- */

/* Adds a problem for each member of config.json, or each key-value, that differs from the one that the planned cut
 * would write. Returns an error only if config.json cannot be read or memory runs out. */
organ_status organ_cut_judge_settings(organ_cut_audit *audit, organ_error *error);

#endif
