/* SPDX-License-Identifier: MIT
 * Words that the views of several documents share. */
#ifndef ORGAN_VIEW_PARTS_H
#define ORGAN_VIEW_PARTS_H

#include "orchestrator/report/view/view_evaluation.h"

/* The beginning of a terminal report: "Purified MODEL\ninto OUTPUT"; of a dry run "Dry run, nothing was written:
 * MODEL\nwould go into OUTPUT". */
#define MADE_WORDS(done, model)                                                                                        \
    "{dry_run?Dry run, nothing was written: |" done " }{" model ":model}\n{dry_run?would go into |into }{run.output}"

/* The end of a terminal report: the duration, and the place of the report (for an output that is a single file, next to
 * that file). */
/* The plan of a dry run: bytes of the output, memory and time. */
#define PLAN                                                                                                           \
    SECTION(ON_MARKDOWN, "dry_run&plan", "Needs of the run"),                                                          \
        SAY(ON_ALL, "dry_run&plan", "Output: {plan.output_bytes:bytes} of tensors."), PLAN_NEEDS
#define PLAN_NEEDS                                                                                                     \
    SAY(ON_ALL, "dry_run&plan",                                                                                        \
        "Memory: --memory {plan.memory_enough:bytes} is enough{plan.memory_good>plan.memory_enough?; from "            \
        "{plan.memory_good:bytes} "                                                                                    \
        "on, more has no effect}."),                                                                                   \
        SAY(ON_ALL, "dry_run&run.plan",                                                                                \
            "Time: about {run.plan.seconds:time} on this machine ({run.plan.threads} thread{run.plan.threads:s}), "    \
            "disks not counted.")
#define TIME_WORDS(what)  "Time: {run.seconds:time}, {run.bytes_per_second:bytes}/s" what "."
#define TIME_LINE(what)   SAY(ON_TERMINAL, "!dry_run", TIME_WORDS(what))
#define REPORT_PLACE      "{run.single_file?{run.output:stem}|{run.output}/organ/}"
#define REPORT_LINE(name) LINES("!dry_run", "\nReport:  " REPORT_PLACE name " (and .html)\n")

/* Warnings about the counts of killed weights. */
#define ERRATA(where, path) CAUTIONS(where, NULL, path, "Notes on these numbers")

/* The files of a model. */
#define FILE_FIELDS                                                                                                    \
    FIELD_TEXT("file", "name", ORGAN_FIELD_SHORTENS), FIELD_COUNT("tensors", "tensors"), FIELD_BYTES("size", "bytes")
/* A member of config.json or a key-value that a cut changed. */
#define SETTING_FIELDS                                                                                                 \
    FIELD_TEXT("where", "where", 0), FIELD_TEXT("setting", "key", ORGAN_FIELD_CODE),                                   \
        FIELD_WORDS("before", "{before}", 0), FIELD_WORDS("after", "{after}", 0)

/* Add the share of the model's matrices that a verb works on, a warning if it is small, and the kinds of the other
 * matrices. `if_` ends with
 * '&' or is empty. `are` begins the sentence ("the targets are"), `what` and `other` name the matrices worked on and
 * the others ("targets", "no targets"), `why` is a sentence about the others. Documents of older versions have no
 * "matrices". */
#define MATRICES_SHARE(if_, are)                                                                                       \
    SAY(ON_ALL, if_ "matrices.elements",                                                                               \
        "Matrices: " are                                                                                               \
        " {matrices.percent:percent} of the {matrices.elements:count} weights in matrices of linear layers.")
#define MATRICES_FEW(if_, what, why)                                                                                   \
    WARN(ON_ALL, if_ "matrices.few",                                                                                   \
         "Only {matrices.percent:percent} of the weights in matrices are " what ". " why                               \
         " The largest kind is {matrices.left.0.name}.")
#define MATRICES_LEFT(if_, other)                                                                                      \
    TABLE(ON_FILES, if_ "matrices.left", "matrices.left", FIELDS(organ_left_matrix_fields),                            \
          .caption = "Matrices that are " other),                                                                      \
        TABLE(ON_TERMINAL, if_ "matrices.few", "matrices.left", FIELDS(organ_left_matrix_fields), .max = SHOWN,        \
              .what = "kinds", .caption = "Matrices that are " other)
#define MATRICES(if_)                                                                                                  \
    MATRICES_SHARE(if_, "targets are"),                                                                                \
        MATRICES_FEW(if_, "targets", "The others are not targets by default, or --targets excludes them."),            \
        MATRICES_LEFT(if_, "no targets")
extern const organ_field organ_left_matrix_fields[4];

/* The limit of lines of a list on a terminal, and the line that follows a shortened list. */
#define SHOWN    20
#define AND_MORE "and {more} more, all of them with --json"

#define EVERY_TENSOR 1500 /* rows of a table of tensors on a page */

#endif
