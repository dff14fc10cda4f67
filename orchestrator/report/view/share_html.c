/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/share_html.h"

#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/svg/ranking.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/blocks/layer_map.h"
#include "orchestrator/report/view/role_grid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROLES = ORGAN_LAYER_MAP_ROLES, REMARK = 64 };

static const char *role_of(const json_t *row) { return organ_json_text(row, "role"); }

/* The roles of the modules in the order in which they come; as many as there is room for. */
static size_t roles_of(const json_t *modules, const char *roles[MOST_ROLES])
{
    size_t count = 0;
    for (size_t k = 0; k < json_array_size(modules) && count < MOST_ROLES; k++)
        if (organ_role_is_new(modules, k))
            roles[count++] = role_of(json_array_get(modules, k));
    return count;
}

/* ---- by role ---- */

typedef struct fold {
    double energy, kept, least, most;
    unsigned long long modules, rank_from, rank_to;
} fold;

static fold fold_role(const organ_share_view *view, const char *role)
{
    fold f = {.least = INFINITY, .most = -INFINITY, .rank_from = ~0ULL};
    for (size_t k = 0; k < json_array_size(view->modules); k++) {
        const json_t *const row = json_array_get(view->modules, k);
        const double share = organ_json_percent(row, view->share), norm = organ_json_number(row, view->norm);
        const unsigned long long rank = organ_json_count(row, "rank");
        if (strcmp(role_of(row), role) != 0 || !isfinite(share) || !isfinite(norm))
            continue;
        f.modules++;
        f.energy += norm * norm;
        f.kept += norm * norm * share;
        f.least = fmin(f.least, share);
        f.most = fmax(f.most, share);
        f.rank_from = rank < f.rank_from ? rank : f.rank_from;
        f.rank_to = rank > f.rank_to ? rank : f.rank_to;
    }
    return f;
}

static void put_ranking(organ_html *html, const organ_share_view *view, const char *title, const char *caption)
{
    const char *roles[MOST_ROLES];
    organ_ranking_bar bars[MOST_ROLES];
    char remarks[MOST_ROLES][REMARK], series[64];
    const size_t role_count = roles_of(view->modules, roles);
    organ_error error = {0};
    size_t count = 0;
    char *svg = NULL;
    for (size_t k = 0; k < role_count; k++) {
        const fold f = fold_role(view, roles[k]);
        if (f.modules == 0)
            continue;
        snprintf(remarks[count], REMARK, f.rank_from == f.rank_to ? "%llu module%s, rank %llu" : "%llu module%s, rank %llu to %llu",
                 f.modules, f.modules == 1 ? "" : "s", f.rank_from, f.rank_to);
        bars[count] = (organ_ranking_bar){.name = roles[k],
                                          .remark = remarks[count],
                                          .value = {f.energy > 0 ? f.kept / f.energy : NAN, NAN},
                                          .low = f.least,
                                          .high = f.most};
        count++;
    }
    if (count == 0)
        return;
    snprintf(series, sizeof series, "%s, all modules of the role together", view->word);
    const organ_ranking ranking = {.title = title,
                                   .subtitle = "share of the squared norm of the change; the whisker spans the modules of the role",
                                   .description =
                                       "One bar a role: the share over all its modules together, from the least to the greatest.",
                                   .value_label = "percent",
                                   .series = {series, NULL},
                                   .digits = 4,
                                   .unit = " %",
                                   .bars = bars,
                                   .count = count};
    organ_ranking_svg(&ranking, &svg, &error);
    organ_html_chart(html, svg, caption);
}

/* ---- by role and layer ---- */

static double share_at(const json_t *row, const void *context)
{
    const organ_share_view *const view = context;
    return organ_json_percent(row, view->share);
}

static double rank_at(const json_t *row, const void *context)
{
    (void)context;
    return organ_json_number(row, "rank");
}

void organ_html_shares(organ_html *html, const organ_share_view *view, const char *title, const char *caption)
{
    char map_title[96], label[64];
    const organ_grid_source source = {.rows = view->modules, .role_key = "role", .value = share_at, .context = view, .least = true};
    snprintf(map_title, sizeof map_title, "%s, by layer", title);
    snprintf(label, sizeof label, "%s, percent", view->word);
    const organ_heat_map map = {
        .title = map_title, .description = "The same share for each role and layer.", .value_label = label, .low = 0, .high = 100};
    put_ranking(html, view, title, caption);
    if (organ_grid_has_values(&source))
        organ_html_role_map(html, &source, &map, "Each cell is a module; the table below has the numbers.");
}

void organ_html_ranks(organ_html *html, const organ_share_view *view)
{
    static const organ_heat_map map = {
        .title = "Rank by layer", .description = "The rank of each module, by role and layer.", .value_label = "rank"};
    const organ_grid_source source = {.rows = view->modules, .role_key = "role", .value = rank_at, .context = view};
    bool differ = false;
    for (size_t k = 1; k < json_array_size(view->modules); k++)
        differ = differ ||
                 organ_json_count(json_array_get(view->modules, k), "rank") != organ_json_count(json_array_get(view->modules, 0), "rank");
    if (differ)
        organ_html_role_map(html, &source, &map, "A change that needs more rank is spread over more directions.");
}

/* ---- over the rank ---- */

/* Arrays of `ranks` numbers: the ranks, then three for each role. */
typedef struct curves {
    const char *roles[MOST_ROLES];
    size_t role_count, ranks;
    double *values;
    organ_chart_panel panels[MOST_ROLES];
    const double *y[MOST_ROLES][1];
} curves;

enum { POOLED, LEAST, MOST, OF_ROLE };

static double *curve(const curves *c, size_t role, size_t which) { return c->values + (1 + role * OF_ROLE + which) * c->ranks; }

static size_t longest_spectrum(const organ_share_view *view)
{
    size_t ranks = 0;
    for (size_t k = 0; k < json_array_size(view->modules) && view->spectrum; k++) {
        const size_t here = json_array_size(json_object_get(json_array_get(view->modules, k), view->spectrum));
        ranks = here > ranks ? here : ranks;
    }
    return ranks;
}

/* Adds a module to its role: what its first k singular values explain. */
static void add_module(const curves *c, const organ_share_view *view, const json_t *row, size_t role)
{
    const json_t *const spectrum = json_object_get(row, view->spectrum);
    const double norm = organ_json_number(row, view->norm), energy = norm * norm;
    double sum = 0;
    if (!json_is_array(spectrum) || !(energy > 0))
        return;
    for (size_t k = 0; k < c->ranks; k++) {
        const double sigma = json_number_value(json_array_get(spectrum, k));
        sum += sigma * sigma;
        const double share = 100 * fmin(sum / energy, 1);
        double *const least = &curve(c, role, LEAST)[k], *const most = &curve(c, role, MOST)[k];
        curve(c, role, POOLED)[k] += 100 * fmin(sum, energy);
        *least = isnan(*least) ? share : fmin(*least, share);
        *most = isnan(*most) ? share : fmax(*most, share);
    }
}

static void fill_role(curves *c, const organ_share_view *view, size_t role)
{
    double energy = 0;
    for (size_t k = 0; k < c->ranks; k++)
        curve(c, role, LEAST)[k] = curve(c, role, MOST)[k] = NAN;
    for (size_t k = 0; k < json_array_size(view->modules); k++) {
        const json_t *const row = json_array_get(view->modules, k);
        const double norm = organ_json_number(row, view->norm);
        if (strcmp(role_of(row), c->roles[role]) != 0)
            continue;
        add_module(c, view, row, role);
        energy += json_is_array(json_object_get(row, view->spectrum)) && norm > 0 ? norm * norm : 0;
    }
    for (size_t k = 0; k < c->ranks; k++)
        curve(c, role, POOLED)[k] = energy > 0 ? curve(c, role, POOLED)[k] / energy : NAN;
    c->y[role][0] = curve(c, role, POOLED);
    c->panels[role] = (organ_chart_panel){.title = c->roles[role],
                                          .count = c->ranks,
                                          .x = c->values,
                                          .y = c->y[role],
                                          .band_low = curve(c, role, LEAST),
                                          .band_high = curve(c, role, MOST)};
}

void organ_html_rank_curves(organ_html *html, const organ_share_view *view, const char *caption)
{
    static const organ_chart_series series = {.name = "all modules of the role together"};
    curves c = {.ranks = longest_spectrum(view)};
    organ_error error = {0};
    char *svg = NULL;
    if (c.ranks < 2)
        return;
    c.role_count = roles_of(view->modules, c.roles);
    c.values = calloc((1 + c.role_count * OF_ROLE) * c.ranks, sizeof *c.values);
    if (!c.values) {
        organ_html_fail(html);
        return;
    }
    for (size_t k = 0; k < c.ranks; k++)
        c.values[k] = (double)(k + 1);
    for (size_t r = 0; r < c.role_count; r++)
        fill_role(&c, view, r);
    const organ_chart chart = {.title = "What each rank explains",
                               .subtitle = "share of the squared norm of the change in its strongest directions",
                               .description = "Share of the change that is explained, over the rank, one panel a role.",
                               .x_label = "rank",
                               .y_label = "explained, percent",
                               .whole_x = true,
                               .series = &series,
                               .series_count = 1,
                               .band_name = "from the least to the most of its modules",
                               .panels = c.panels,
                               .panel_count = c.role_count};
    organ_chart_svg(&chart, &svg, &error);
    organ_html_chart(html, svg, caption);
    free(c.values);
}
