/* SPDX-License-Identifier: MIT
 * Shares of changes by module: how much of each change is explained by its factors, is kept of them, or arrived in its
 * weight. */
#ifndef ORGAN_SHARES_H
#define ORGAN_SHARES_H

#include "orchestrator/report/view/view_parts.h"

enum { EVERY_MODULE = 2000 }; /* rows of a table of modules on a page */

/* Names the members of report.modules that the functions below use; each module also has "role", "layer" and "rank". */
typedef struct organ_share_of {
    const char *share;    /* of the squared norm: "explained" */
    const char *norm;     /* of the change that it is a share of: "change_norm" */
    const char *spectrum; /* singular values of the change: "spectrum"; NULL: none */
} organ_share_of;

/* Returns {"rows": [{"role", "modules", "elements", "rank_from", "rank_to", "before_from", "before_to", "share",
 * "least", "most"}], "total": the same members for all modules}. Shares are of all modules of a role together, and null
 * if these change nothing; "rank_before" and "elements" are of modules that have them. NULL if out of memory. */
json_t *organ_share_roles(const json_t *report, const organ_share_of *of);

/* Draws which share of the change each lower rank would explain, computed from the spectra, one panel for each role.
 * Returns an SVG; NULL without memory. */
char *organ_rank_curves(const json_t *report, const organ_share_of *of);

/* A cell of such a row: "4" or "4-16". */
#define RANK_WORDS "{rank_from}{rank_to>rank_from?-{rank_to}}"

/* Charts over the rows of organ_share_roles: all modules of a role together, and each module by layer. */
#define SHARE_BARS(heading, word, text)                                                                                \
    BARS("rows", "rows",                                                                                               \
         .style = {.title = (heading),                                                                                 \
                   .subtitle = "share of the squared norm of the change; the whisker spans the modules of the role",   \
                   .description =                                                                                      \
                       "One bar per role: the share over all its modules together; the whisker spans its modules.",    \
                   .value_label = "percent",                                                                           \
                   .series = {word ", all modules of the role together", NULL},                                        \
                   .digits = 4,                                                                                        \
                   .unit = " %"},                                                                                      \
         .name = "role", .values = {"share"}, .low = "least", .high = "most", .factor = 100,                           \
         .remark = "{modules} module{modules:s}, rank {rank_from}{rank_to>rank_from? to {rank_to}}",                   \
         .caption = (text))
#define SHARE_MAP(heading, word, share)                                                                                \
    MAP("modules.*." share, "modules",                                                                                 \
        .style = {.title = heading ", by layer",                                                                       \
                  .description = "The same share for each role and layer.",                                            \
                  .value_label = word ", percent",                                                                     \
                  .low = 0,                                                                                            \
                  .high = 100},                                                                                        \
        .role = "role", .value = (share), .factor = 100, .least = true, .inside = true,                                \
        .caption = "Each cell is a module; the table below has the numbers.")
#define RANK_MAP(if_)                                                                                                  \
    MAP(if_, "modules",                                                                                                \
        .style = {.title = "Rank by layer",                                                                            \
                  .description = "The rank of each module, by role and layer.",                                        \
                  .value_label = "rank"},                                                                              \
        .role = "role", .value = "rank", .inside = true, .varies = true,                                               \
        .caption = "A change that needs more rank is spread over more directions.")

#endif
