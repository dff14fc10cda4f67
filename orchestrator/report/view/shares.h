/* SPDX-License-Identifier: MIT
 * Shares of changes by module. A module is a linear layer with factors of an adapter, which change its weight. A share
 * is the part of the squared norm of this change that extracted factors explain, that shorter factors keep, or that
 * arrived in the merged weight. */
#ifndef ORGAN_SHARES_H
#define ORGAN_SHARES_H

#include "orchestrator/report/view/view_parts.h"

enum { EVERY_MODULE = 2000 }; /* limit of lines of a table of modules on a page and in a Markdown file */

/* Names members of the rows of report.modules, which the functions below read; each row also has "role", "layer" and
 * "rank". */
typedef struct organ_share_of {
    const char *share; /* member with the share, 0 to 1, of the squared norm: "explained" */
    const char *norm;  /* member with the norm of the change: "change_norm" */
    /* member with the singular values of the change, the largest first: "spectrum"; NULL: none */
    const char *spectrum;
} organ_share_of;

/* Returns {"rows": an array with a row for each role, "total": a row for all modules}. A row has
 *
 *   role                     "" in the total
 *   modules, elements        number of modules; sum of their elements
 *   rank_from, rank_to       lowest and highest rank of its modules
 *   before_from, before_to   the same before a resize (0 if the report has no ranks from before)
 *   share                    of the squared norms of all its modules together, 0 to 1; null if they change nothing
 *   least, most              lowest and highest share of a module
 *
 * Returns NULL if out of memory. */
json_t *organ_share_roles(const json_t *report, const organ_share_of *of);

/* Draws over k the share of the change that the first k singular values explain, in a panel for each role. Returns an
 * SVG, which the caller frees; NULL if out of memory. */
char *organ_rank_curves(const json_t *report, const organ_share_of *of);

/* Words for the rank of a row of organ_share_roles: "4" or "4-16". */
#define RANK_WORDS "{rank_from}{rank_to>rank_from?-{rank_to}}"

/* Charts of shares. SHARE_BARS has a bar for each role, over the rows of organ_share_roles; SHARE_MAP has a cell for
 * each module of report.modules. `heading` is the title, `word` says what the share is ("explained"), `share` is the
 * member of a module, `text` the caption. RANK_MAP shows the ranks of the modules, if the condition `if_` is true and
 * ranks differ. */
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
