/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/clouds.h"

#include "orchestrator/report/svg/svg.h"
#include <organ/report.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KINDS = 24 }; /* entries of the legend */

static const json_t *models_of(const json_t *report) { return organ_json_at(report, "models"); }

static const json_t *model_at(const json_t *report, size_t m) { return organ_json_row_at(models_of(report), m); }

static const char *kind_name(const json_t *model)
{
    const char *const method = organ_json_text(model, "method"), *const name =
                                                                     organ_json_text(model, "experiment.name");
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
    if (p->kind != q->kind)
        return p->kind < q->kind ? -1 : 1;
    return p->x < q->x ? -1 : p->x > q->x;
}

/* Lists at most MAX_KINDS - 1 kinds: the last place is for the donor. Models of further kinds get the last kind
 * listed (kind_of). */
static void name_kinds(cloud *c)
{
    for (size_t m = 1; m < json_array_size(models_of(c->report)); m++) {
        const char *const method = kind_name(model_at(c->report, m));
        size_t k = 0;
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

/* With `origin`, the line of each kind begins at the donor, and the donor becomes the last kind: the other kinds
 * have the same index, and therefore the same style, in both charts. The caller frees c->points. Returns false if
 * out of memory. */
static bool clouds_gather(cloud *c, const char *key, bool origin)
{
    const size_t models = json_array_size(models_of(c->report));
    const json_t *const donor = model_at(c->report, 0);
    name_kinds(c);
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
        c->points[c->count++] = (organ_point){.y = organ_json_number(donor, key), .kind = k};
    qsort(c->points, c->count, sizeof *c->points, by_sparsity);
    for (size_t k = 1; k < c->count; k++)
        c->points[k].joined = c->points[k].kind == c->points[k - 1].kind && c->points[k].x > c->points[k - 1].x;
    if (!origin)
        return true;
    /* last, so that the donor's point is drawn above the ends of the lines */
    c->kinds[c->kind_count] = "the donor";
    c->points[c->count++] = (organ_point){.y = organ_json_number(donor, key),
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

static char *cloud_of(const json_t *report, const char *key, bool origin, const organ_scatter *chart)
{
    cloud c = {.report = report};
    char label[96], *svg = NULL;
    if (!clouds_gather(&c, key, origin))
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
    return cloud_of(report, "figures.perplexity", true, &chart);
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
    return cloud_of(report, "comparison.kl_divergence", false, &chart);
}
