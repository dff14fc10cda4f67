/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/shares.h"

#include "orchestrator/report/svg/svg.h"
#include "orchestrator/report/text/members.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROLES = 32 }; /* limit of roles; further ones are left out */

static const json_t *modules_of(const json_t *report) { return json_object_get(report, "modules"); }

static const char *role_of(const json_t *row) { return organ_json_text(row, "role"); }

static size_t roles_of(const json_t *modules, const char *roles[MAX_ROLES])
{
    size_t count = 0;
    for (size_t k = 0; k < json_array_size(modules) && count < MAX_ROLES; k++) {
        const char *const role = role_of(organ_json_row_at(modules, k));
        size_t known = 0;
        while (known < count && strcmp(roles[known], role) != 0)
            known++;
        roles[known] = role;
        count += known == count;
    }
    return count;
}

/* ---- by role ---- */

typedef struct shares_span {
    json_int_t from, to;
} shares_span;

static void widen_span(shares_span *s, bool first, json_int_t value)
{
    s->from = first || value < s->from ? value : s->from;
    s->to = first || value > s->to ? value : s->to;
}

typedef struct share_fold {
    json_int_t modules, elements;
    shares_span rank, before; /* ranks of the modules now, and before a resize */
    double energy;            /* sum of the squared norms of the changes */
    double kept;              /* sum of the squared norms, each times the share of its module */
    double least, max;        /* lowest and highest share of a module */
} share_fold;

/* A module without a finite share or norm counts only for ranks and elements. */
static void fold_module(share_fold *f, const json_t *row, const organ_share_of *of)
{
    const double share = organ_json_number(row, of->share), norm = organ_json_number(row, of->norm);
    widen_span(&f->rank, f->modules == 0, (json_int_t)organ_json_count(row, "rank"));
    widen_span(&f->before, f->modules == 0, (json_int_t)organ_json_count(row, "rank_before"));
    f->modules++;
    organ_json_add_count(&f->elements, row, "elements");
    if (!isfinite(share) || !isfinite(norm))
        return;
    f->energy += norm * norm;
    f->kept += norm * norm * share;
    f->least = fmin(f->least, share);
    f->max = fmax(f->max, share);
}

static json_t *fold_role(const json_t *modules, const char *role, const organ_share_of *of)
{
    share_fold f = {.least = INFINITY, .max = -INFINITY};
    for (size_t k = 0; k < json_array_size(modules); k++)
        if (!role || strcmp(role_of(organ_json_row_at(modules, k)), role) == 0)
            fold_module(&f, organ_json_row_at(modules, k), of);
    return ORGAN_OBJECT(SET_TEXT("role", role ? role : ""), SET_COUNT("modules", f.modules),
                        SET_COUNT("elements", f.elements), SET_COUNT("rank_from", f.rank.from),
                        SET_COUNT("rank_to", f.rank.to), SET_COUNT("before_from", f.before.from),
                        SET_COUNT("before_to", f.before.to), SET_REAL_OF("share", true, f.kept / f.energy),
                        SET_REAL_OF("least", true, f.least), SET_REAL_OF("most", true, f.max));
}

json_t *organ_share_roles(const json_t *report, const organ_share_of *of)
{
    const char *roles[MAX_ROLES];
    const size_t count = roles_of(modules_of(report), roles);
    json_t *const rows = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(rows, fold_role(modules_of(report), roles[k], of));
    return ORGAN_OBJECT(SET("rows", rows), SET("total", fold_role(modules_of(report), NULL, of)));
}

/* ---- over the rank ---- */

typedef struct curves {
    const char *roles[MAX_ROLES];
    size_t role_count, ranks; /* ranks: the largest number of singular values of a module */
    double *values;           /* arrays of `ranks` numbers: the ranks, then POOLED, MIN and MAX of each role */
    organ_chart_panel panels[MAX_ROLES];
    const double *y[MAX_ROLES][1]; /* the lines of each panel: POOLED */
} curves;

/* A role has the share over all its modules together, and the lowest and the highest share of a module. OF_ROLE is
 * the number of arrays. */
enum { POOLED, MIN, MAX, OF_ROLE };

static double *curve_values(const curves *c, size_t role, size_t which)
{
    return c->values + (1 + role * OF_ROLE + which) * c->ranks;
}

static size_t longest_spectrum(const json_t *modules, const organ_share_of *of)
{
    size_t ranks = 0;
    for (size_t k = 0; k < json_array_size(modules) && of->spectrum; k++) {
        const size_t here = json_array_size(json_object_get(organ_json_row_at(modules, k), of->spectrum));
        ranks = here > ranks ? here : ranks;
    }
    return ranks;
}

/* For each k, the module's first k singular values explain a part of its squared norm: adds 100 times this part to
 * POOLED, and widens MIN and MAX to the explained share in percent. */
static void add_module(const curves *c, const organ_share_of *of, const json_t *row, size_t role)
{
    const json_t *const spectrum = json_object_get(row, of->spectrum);
    const double norm = organ_json_number(row, of->norm), energy = norm * norm;
    double sum = 0;
    if (!json_is_array(spectrum) || !(energy > 0))
        return;
    for (size_t k = 0; k < c->ranks; k++) {
        const double sigma = json_number_value(organ_json_row_at(spectrum, k));
        sum += sigma * sigma;
        const double share = 100 * fmin(sum / energy, 1);
        double *const least = &curve_values(c, role, MIN)[k], *const max = &curve_values(c, role, MAX)[k];
        curve_values(c, role, POOLED)[k] += 100 * fmin(sum, energy);
        *least = isnan(*least) ? share : fmin(*least, share);
        *max = isnan(*max) ? share : fmax(*max, share);
    }
}

/* All are in percent: POOLED is the explained share of the squared norms of all modules together, MIN and MAX are
 * the lowest and highest share of a module. */
static void fill_role(curves *c, const json_t *modules, const organ_share_of *of, size_t role)
{
    double energy = 0;
    for (size_t k = 0; k < c->ranks; k++)
        curve_values(c, role, MIN)[k] = curve_values(c, role, MAX)[k] = NAN;
    for (size_t k = 0; k < json_array_size(modules); k++) {
        const json_t *const row = organ_json_row_at(modules, k);
        const double norm = organ_json_number(row, of->norm);
        if (strcmp(role_of(row), c->roles[role]) != 0)
            continue;
        add_module(c, of, row, role);
        energy += json_is_array(json_object_get(row, of->spectrum)) && norm > 0 ? norm * norm : 0;
    }
    for (size_t k = 0; k < c->ranks; k++)
        curve_values(c, role, POOLED)[k] = energy > 0 ? curve_values(c, role, POOLED)[k] / energy : NAN;
    c->y[role][0] = curve_values(c, role, POOLED);
    c->panels[role] = (organ_chart_panel){.title = c->roles[role],
                                          .count = c->ranks,
                                          .x = c->values,
                                          .y = c->y[role],
                                          .band_low = curve_values(c, role, MIN),
                                          .band_high = curve_values(c, role, MAX)};
}

char *organ_rank_curves(const json_t *report, const organ_share_of *of)
{
    static const organ_chart_series series = {.name = "all modules of the role together"};
    const json_t *const modules = modules_of(report);
    curves c = {.ranks = longest_spectrum(modules, of)};
    char *svg = NULL;
    c.role_count = roles_of(modules, c.roles);
    c.values = calloc((1 + c.role_count * OF_ROLE) * c.ranks, sizeof *c.values);
    if (!c.values)
        return NULL;
    for (size_t k = 0; k < c.ranks; k++)
        c.values[k] = (double)(k + 1);
    for (size_t r = 0; r < c.role_count; r++)
        fill_role(&c, modules, of, r);
    const organ_chart chart = {.title = "Explained share by rank",
                               .subtitle = "share of the squared norm of the change in its strongest directions",
                               .description =
                                   "Share of the change that is explained, over the rank, one panel per role.",
                               .x_label = "rank",
                               .y_label = "explained, percent",
                               .whole_x = true,
                               .series = &series,
                               .series_count = 1,
                               .band_name = "from the lowest to the highest of its modules",
                               .panels = c.panels,
                               .panel_count = c.role_count};
    organ_chart_svg(&chart, &svg, &(organ_error){0});
    free(c.values);
    return svg;
}
