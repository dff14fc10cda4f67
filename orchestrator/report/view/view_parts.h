/* SPDX-License-Identifier: MIT
 * Words, fields and blocks that the views of several reports share. */
#ifndef ORGAN_VIEW_PARTS_H
#define ORGAN_VIEW_PARTS_H

#include "orchestrator/report/view/view_evaluation.h"

/* The beginning of a terminal report, "Purified MODEL\ninto OUTPUT", or of a dry run "Dry run, nothing was written:
 * MODEL\nwould go into OUTPUT". `done` is the verb, `model` the path of the model in the report. */
#define MADE_WORDS(done, model)                                                                                        \
    "{dry_run?Dry run, nothing was written: |" done " }{" model ":model}\n{dry_run?would go into |into }{run.output}"

/* Needs of a run, in the report of a dry run. PLAN: bytes of the output, then PLAN_NEEDS: memory and time. */
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
/* The end of a terminal report. TIME_LINE prints duration and speed; `what` names the bytes that are counted (" of
 * output"). REPORT_LINE prints the path of the report `name`: next to an output that is a single file, otherwise in the
 * output's directory organ/. */
#define TIME_WORDS(what)  "Time: {run.seconds:time}, {run.bytes_per_second:bytes}/s" what "."
#define TIME_LINE(what)   SAY(ON_TERMINAL, "!dry_run", TIME_WORDS(what))
#define REPORT_PLACE      "{run.single_file?{run.output:stem}|{run.output}/organ/}"
#define REPORT_LINE(name) LINES("!dry_run", "\nReport:  " REPORT_PLACE name " (and .html)\n")

/* A box of warnings about the counts of killed weights; `path` is that of an array of sentences. */
#define ERRATA(where, path) CAUTIONS(where, NULL, path, "Notes on these numbers")

/* Columns of a table of a model's files. */
#define FILE_FIELDS                                                                                                    \
    FIELD_TEXT("file", "name", ORGAN_FIELD_SHORTENS), FIELD_COUNT("tensors", "tensors"), FIELD_BYTES("size", "bytes")
/* Columns of a table of settings (members of config.json or key-values of GGUF) that a cut changed. */
#define SETTING_FIELDS                                                                                                 \
    FIELD_TEXT("where", "where", 0), FIELD_TEXT("setting", "key", ORGAN_FIELD_CODE),                                   \
        FIELD_WORDS("before", "{before}", 0), FIELD_WORDS("after", "{after}", 0)

/* Say which share of the weights in matrices of linear layers a verb works on (MATRICES_SHARE), warn if it is small
 * (MATRICES_FEW), and list the kinds of all other matrices (MATRICES_LEFT); MATRICES does all three for targets. `if_`
 * is a condition that ends with '&', or empty. `are` begins the sentence ("targets are"), `what` and `other` name the
 * matrices worked on and all others ("targets", "no targets"), `why` is a sentence about the others. Reports of older
 * versions have no "matrices": nothing is printed. */
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

/* Limit of lines of a list on a terminal, and the line after a shortened list. */
#define SHOWN    20
#define AND_MORE "and {more} more, all of them with --json"

#define EVERY_TENSOR 1500 /* limit of lines of a table of tensors on a page and in a Markdown file */

#endif
