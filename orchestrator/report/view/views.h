/* SPDX-License-Identifier: MIT
 * The list of all views. A report's member "schema" selects its view. */
#ifndef ORGAN_VIEWS_H
#define ORGAN_VIEWS_H

#include "orchestrator/report/blocks/blocks.h"

/* All views, sorted by the names of their schemas, because messages list them in this order: organ_NAME_view is the
 * view of organ.NAME/1. */
/* clang-format off: one view a line */
#define ORGAN_VIEW_LIST(VIEW)                                                                                          \
    VIEW(adapter_rows)                                                                                                 \
    VIEW(assemble)                                                                                                     \
    VIEW(audit)                                                                                                        \
    VIEW(audit_combine)                                                                                                \
    VIEW(audit_cut)                                                                                                    \
    VIEW(audit_gguf)                                                                                                   \
    VIEW(audit_labels)                                                                                                 \
    VIEW(audit_merge)                                                                                                  \
    VIEW(audit_patch)                                                                                                  \
    VIEW(audit_rows)                                                                                                   \
    VIEW(audit_vocabulary)                                                                                             \
    VIEW(autopsy)                                                                                                      \
    VIEW(compare)                                                                                                      \
    VIEW(convert)                                                                                                      \
    VIEW(dequantize)                                                                                                   \
    VIEW(draft_head)                                                                                                   \
    VIEW(evaluate)                                                                                                     \
    VIEW(experts)                                                                                                      \
    VIEW(experts_prediction)                                                                                           \
    VIEW(extract)                                                                                                      \
    VIEW(fetch)                                                                                                        \
    VIEW(fleet)                                                                                                        \
    VIEW(generate)                                                                                                     \
    VIEW(gguf)                                                                                                         \
    VIEW(graft)                                                                                                        \
    VIEW(imatrix)                                                                                                      \
    VIEW(inspect)                                                                                                      \
    VIEW(labels)                                                                                                       \
    VIEW(layers)                                                                                                       \
    VIEW(lora_combine)                                                                                                 \
    VIEW(lora_extract)                                                                                                 \
    VIEW(lora_merge)                                                                                                   \
    VIEW(lora_resize)                                                                                                  \
    VIEW(lora_sanitize)                                                                                                \
    VIEW(measure)                                                                                                      \
    VIEW(merge)                                                                                                        \
    VIEW(models)                                                                                                       \
    VIEW(noise_pairs)                                                                                                  \
    VIEW(orthogonality)                                                                                                \
    VIEW(patch)                                                                                                        \
    VIEW(perplexity)                                                                                                   \
    VIEW(prune)                                                                                                        \
    VIEW(purify)                                                                                                       \
    VIEW(quantize)                                                                                                     \
    VIEW(quantize_sizes)                                                                                               \
    VIEW(schemas)                                                                                                      \
    VIEW(smooth)                                                                                                       \
    VIEW(tasks)                                                                                                        \
    VIEW(tokenize)                                                                                                     \
    VIEW(topology)                                                                                                     \
    VIEW(untrusted)                                                                                                    \
    VIEW(vocabularies)                                                                                                 \
    VIEW(vocabulary)                                                                                                   \
    VIEW(vocabulary_add)                                                                                               \
    VIEW(width)
/* clang-format on */

#define ORGAN_VIEW_DECLARE(name) extern const organ_view organ_##name##_view;
#define ORGAN_VIEW_COUNT(name)   +1
ORGAN_VIEW_LIST(ORGAN_VIEW_DECLARE)
enum { ORGAN_VIEWS = ORGAN_VIEW_LIST(ORGAN_VIEW_COUNT) };
extern const organ_view *const organ_views[ORGAN_VIEWS];

/* Returns the view for the report's member "schema"; NULL if there is none. */
const organ_view *organ_view_of(const json_t *report);

/* Writes the report as text for a terminal by its view, which must exist. The caller frees *text, which is NULL on
 * error. Returns ORGAN_IO if out of memory. */
organ_status organ_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
/* The same as organ_report_terminal, but the text has a line for every tensor. */
organ_status organ_report_tensors(const json_t *report, const organ_page *page, char **text, organ_error *error);
/* Writes the report as the text of a Markdown file. *text and the returned status are as with organ_report_terminal. */
organ_status organ_report_markdown(const json_t *report, char **text, organ_error *error);

/* Prints the rows of the report's main table as CSV (organ_csv_print): the table with most rows, for example every
 * tensor. Prints nothing if the report lacks these rows, as that of a dry run may. Returns
 * ORGAN_BAD_INPUT if reports of this schema have no such table, else the status of organ_csv_print. */
organ_status organ_report_csv(const json_t *report, FILE *out, organ_error *error);

/* Charts of an organ.orthogonality/1 that are also written as files next to the report. */
typedef struct organ_noise_plot {
    const char *name; /* file name: "magnitude.svg" */
    const organ_panels_of *panels;
} organ_noise_plot;
enum { ORGAN_NOISE_PLOTS = 3 };
extern const organ_noise_plot organ_noise_plots[ORGAN_NOISE_PLOTS];

#endif
