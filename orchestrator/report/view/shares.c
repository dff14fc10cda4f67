/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/view_parts.h"

#include "orchestrator/report/svg/svg.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <organ/report.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROLES = 32 }; /* limit of roles; further ones are left out */

static const json_t *modules_of(const json_t *report) { return json_object_get(report, "modules"); }

static const char *role_of(const json_t *row) { return organ_json_text(row, "role"); }

/* Stores each role once, in the order of its first module; returns their number. */
static size_t list_roles(const json_t *modules, const char *roles[MAX_ROLES])
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

/* Returns the row of a role, or of all modules if `role` is NULL (organ_share_roles). Numbers that no module has are
 * null: 0 / 0 and the infinities of an empty range are not finite. */
static json_t *fold_role(const json_t *modules, const char *role, const organ_share_of *of)
{
    share_fold f = {.least = INFINITY, .max = -INFINITY};
    for (size_t k = 0; k < json_array_size(modules); k++)
        if (!role || strcmp(role_of(organ_json_row_at(modules, k)), role) == 0)
            fold_module(&f, organ_json_row_at(modules, k), of);
    return ORGAN_OBJECT(SET_TEXT("role", role ? role : ""), SET_COUNT("modules", f.modules),
                        SET_COUNT("elements", f.elements), SET_COUNT("rank_from", f.rank.from),
                        SET_COUNT("rank_to", f.rank.to), SET_COUNT("before_from", f.before.from),
                        SET_COUNT("before_to", f.before.to), SET_REAL_OF("share", /*there=*/true, f.kept / f.energy),
                        SET_REAL_OF("least", /*there=*/true, f.least), SET_REAL_OF("most", /*there=*/true, f.max));
}

json_t *organ_share_roles(const json_t *report, const organ_share_of *of)
{
    const char *roles[MAX_ROLES];
    const size_t count = list_roles(modules_of(report), roles);
    json_t *const rows = json_array();
    for (size_t k = 0; k < count; k++)
        json_array_append_new(rows, fold_role(modules_of(report), roles[k], of));
    return ORGAN_OBJECT(SET("rows", rows), SET("total", fold_role(modules_of(report), /*role=*/NULL, of)));
}

/* ---- over the rank ---- */

typedef struct curves {
    const char *roles[MAX_ROLES];
    size_t role_count, ranks; /* ranks: the largest number of singular values of a module */
    double *values;           /* arrays of `ranks` numbers: the ranks, then POOLED, MIN and MAX of each role */
    organ_chart_panel panels[MAX_ROLES];
    const double *y[MAX_ROLES][1]; /* the only line of each panel: POOLED */
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
    c.role_count = list_roles(modules, c.roles);
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

enum { MAX_KINDS = 24 }; /* entries of the legend */

static const json_t *models_of(const json_t *report) { return organ_json_at(report, "models"); }

static const json_t *model_at(const json_t *report, size_t m) { return organ_json_row_at(models_of(report), m); }

static const char *kind_name(const json_t *model)
{
    const char *const method = organ_json_text(model, "method");
    const char *const name = organ_json_text(model, "experiment.name");
    if (*name)
        return name;
    return *method ? method : "no log";
}

/* Each model but the first, the donor, has a point. If lines begin at the donor, the donor has a point on the line
 * of each kind, and one with a name. */
typedef struct cloud {
    const json_t *report;
    const char *kinds[MAX_KINDS]; /* names of the kinds, by organ_point.kind */
    size_t kind_count, count;     /* lengths of `kinds` and `points` */
    organ_point *points;          /* x: killed target weights in percent */
} cloud;

static int by_sparsity(const void *a, const void *b)
{
    const organ_point *const p = a, *const q = b;
    return ORGAN_ORDERS(ORGAN_ORDER(p->kind, q->kind), ORGAN_ORDER(p->x, q->x));
}

/* Lists at most MAX_KINDS - 1 kinds: the last place is for the donor. Models of further kinds get the last kind
 * listed (kind_of). */
static void name_kinds(cloud *c)
{
    for (size_t m = 1; m < json_array_size(models_of(c->report)); m++) {
        const char *const method = kind_name(model_at(c->report, m));
        size_t k = 0;
        if (!json_is_number(organ_json_at(model_at(c->report, m), "sparsity.target.percent")))
            continue; /* has no point */
        while (k < c->kind_count && strcmp(c->kinds[k], method) != 0)
            k++;
        if (k == c->kind_count && k + 1 < MAX_KINDS)
            c->kinds[c->kind_count++] = method;
    }
}

static unsigned kind_of(const cloud *c, const json_t *model)
{
    unsigned k = 0;
    while (k + 1 < c->kind_count && strcmp(c->kinds[k], kind_name(model)) != 0)
        k++;
    return k;
}

/* Sets kinds and points; the y of a model is its member `key`. With `origin`, the line of each kind begins at the
 * donor, and the donor becomes the last kind: the other kinds have the same index, and therefore the same style, in the
 * charts of perplexity and of divergence. The caller frees c->points. Returns false if out of memory. */
static bool gather_points(cloud *c, const char *key, bool origin)
{
    const size_t models = json_array_size(models_of(c->report));
    const json_t *const donor = model_at(c->report, 0);
    name_kinds(c);
    /* a point for each model, one for the donor in each line, and the donor's own */
    c->points = calloc(models + c->kind_count + 1, sizeof *c->points);
    if (!c->points)
        return false;
    for (size_t m = 1; m < models; m++) {
        const json_t *const model = model_at(c->report, m);
        const double x = organ_json_number(model, "sparsity.target.percent");
        if (isfinite(x))
            c->points[c->count++] = (organ_point){.x = x,
                                                  .y = organ_json_number(model, key),
                                                  .kind = kind_of(c, model),
                                                  .name = organ_json_text(model, "model.name")};
    }
    for (unsigned k = 0; k < c->kind_count && origin; k++)
        c->points[c->count++] = (organ_point){.x = 0 /* the donor */, .y = organ_json_number(donor, key), .kind = k};
    qsort(c->points, c->count, sizeof *c->points, by_sparsity);
    for (size_t k = 1; k < c->count; k++)
        c->points[k].joined = c->points[k].kind == c->points[k - 1].kind && c->points[k].x > c->points[k - 1].x;
    if (!origin)
        return true;
    /* last, so that the donor's point is drawn above the ends of the lines */
    c->kinds[c->kind_count] = "the donor";
    c->points[c->count++] = (organ_point){.x = 0,
                                          .y = organ_json_number(donor, key),
                                          .kind = (unsigned)c->kind_count++,
                                          .name = organ_json_text(donor, "model.name")};
    return true;
}

/* From a ratio of 8 between the largest and the smallest positive y, a logarithmic scale shows the points better. */
static bool is_wide(const cloud *c)
{
    double least = INFINITY, max = 0;
    for (size_t k = 0; k < c->count; k++)
        if (c->points[k].y > 0 && isfinite(c->points[k].y)) {
            least = fmin(least, c->points[k].y);
            max = fmax(max, c->points[k].y);
        }
    return max > 8 * least;
}

/* Completes `chart`, which has the words, by kinds, points and scale. Returns an SVG document; NULL if out of memory.
 */
static char *draw_cloud(const json_t *report, const char *key, bool origin, const organ_scatter *chart)
{
    cloud c = {.report = report};
    char label[96], *svg = NULL;
    if (!gather_points(&c, key, origin))
        return NULL;
    organ_scatter whole = *chart;
    whole.kinds = c.kinds;
    whole.kind_count = c.kind_count;
    whole.points = c.points;
    whole.count = c.count;
    whole.log_y = is_wide(&c);
    snprintf(label, sizeof label, "%s%s", chart->y_label, whole.log_y ? " (log scale)" : "");
    whole.y_label = label;
    organ_scatter_svg(&whole, &svg, &(organ_error){0});
    free(c.points);
    return svg;
}

char *organ_perplexity_cloud(const json_t *report)
{
    static const organ_scatter chart = {.title = "Perplexity against sparsity",
                                        .subtitle = "lower is better; each line is a method and starts at the donor",
                                        .description = "Perplexity of each pruned model over the share of killed "
                                                       "weights, one line per method, starting at the donor.",
                                        .x_label = "killed, percent of the target weights",
                                        .y_label = "perplexity"};
    return draw_cloud(report, "figures.perplexity", /*origin=*/true, &chart);
}

char *organ_divergence_cloud(const json_t *report)
{
    static const organ_scatter chart = {
        .title = "Change of the predictions",
        .subtitle = "KL divergence from the donor: 0 means equal predictions",
        .description =
            "KL divergence of each pruned model from the donor over the share of killed weights, one line per method.",
        .x_label = "killed, percent of the target weights",
        .y_label = "KL divergence, nats per token"};
    return draw_cloud(report, "comparison.kl_divergence", /*origin=*/false, &chart);
}
