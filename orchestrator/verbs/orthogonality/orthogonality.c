/* SPDX-License-Identifier: MIT
 * Compares the noise of a model with the change of an adapter, and makes the report organ.orthogonality/1. */
#include "orchestrator/verbs/orthogonality/noise_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <organ/inspect.h>
#include <organ/report.h>

static bool remark(const organ_compared_module *m, char text[64])
{
    const double norms = sqrt(m->noise[0].square) * sqrt(m->change);
    if (norms > 0)
        organ_snprintf(text, 64, "cosine %.5f, noise %.3g x adapter", m->noise[0].dot / norms,
                       sqrt(m->noise[0].square) / sqrt(m->change));
    return norms > 0;
}

static organ_status write_charts(const organ_output *output, const void *context, const json_t *report,
                                 organ_error *error)
{
    (void)context;
    for (size_t k = 0; k < ORGAN_NOISE_PLOTS && !error->status; k++) {
        ORGAN_OWNED char *const path = organ_publish_path(&output->publish, organ_noise_plots[k].name), *svg = NULL;
        if (!path)
            organ_fail_memory(error, output->path);
        else if (organ_panels_svg(organ_noise_plots[k].panels, report, &svg, error) == ORGAN_OK)
            organ_text_write(path, svg, error);
    }
    return error->status;
}

/* ---- the report organ.orthogonality/1 ---- */

/* The report organ.orthogonality/1: each module, and sums over projections, layers and the model. A number that is not
 * defined is null. */

/* `which` selects the two matrices that are compared: 0 the first noise and K, 1 the second noise and K, AGREEMENT
 * both noises. */
enum { AGREEMENT = 2 };

static const char *projection_of(const organ_compared_module *m) { return organ_anatomy_role_name(&m->pair->anatomy); }

/* ---- folds ---- */

static organ_noise_comparison compared_of(const organ_compared_module *m, int which)
{
    if (which == AGREEMENT)
        return (organ_noise_comparison){m->noise[0].square, m->noise[1].square, m->between, 0};
    return (organ_noise_comparison){m->noise[which].square, m->change, m->noise[which].dot, m->noise[which].signs};
}

static double elements_of(const organ_compared_module *m) { return (double)m->rows * (double)m->cols; }

/* If k, the number of output directions of K, is not below the number of rows, the leakage is always 1 and does not
 * count. */
static void fold_leakage(organ_noise_fold *f, const organ_compared_module *m, int which)
{
    if (which == AGREEMENT || m->k == 0 || m->k >= m->rows || !(m->noise[which].square > 0))
        return;
    f->informative++;
    f->inside += m->noise[which].inside;
    f->inside_expected += (double)m->k / (double)m->rows * m->noise[which].square;
    f->inside_base += m->noise[which].square;
}

static void add_to_fold(organ_compared_fold *f, const organ_compared_module *m, int which)
{
    const organ_noise_comparison c = compared_of(m, which);
    organ_noise_fold_add(&f->noises, &c, (uint64_t)m->rows * m->cols);
    fold_leakage(&f->noises, m, which);
}

static json_t *document_fold_json(json_t *row, const organ_compared_fold *sums, int which)
{
    const organ_noise_fold *const f = &sums->noises;
    const bool any = f->defined_square > 0 && f->defined_change > 0;
    const bool leaks = f->informative > 0 && f->inside_expected > 0;
    ORGAN_ADD(row, SET_COUNT("modules", f->modules), SET_COUNT("elements", f->elements),
              SET_REAL("noise_norm", sqrt(f->square)),
              SET_REAL(which == AGREEMENT ? "noise2_norm" : "change_norm", sqrt(f->change)),
              SET_REAL_OF("ratio", f->change > 0, sqrt(f->square / f->change)));
    organ_compared_add_cosine(row, f, /*signs=*/false);
    ORGAN_ADD(row, SET_REAL_OF("largest_cosine", any, f->largest));
    if (which != AGREEMENT)
        ORGAN_ADD(row, SET_REAL_OF("z_signs", any && f->signs > 0, f->dot / sqrt(f->signs)),
                  SET_REAL_OF("leakage", leaks, sqrt(f->inside / f->inside_base)),
                  SET_REAL_OF("leakage_expected", leaks, sqrt(f->inside_expected / f->inside_base)),
                  SET_REAL_OF("leakage_over_expected", leaks, sqrt(f->inside / f->inside_expected)));
    return row;
}

static json_t *comparison_json(const organ_compared_job *job, int which)
{
    const organ_compared_folding folding = {job, which, add_to_fold, document_fold_json};
    const organ_compared_fold all = organ_compared_fold_all(&folding);
    return ORGAN_OBJECT(
        SET("verdict", which == AGREEMENT ? organ_agreement_verdict(&all.noises) : organ_noise_verdict(&all.noises)),
        SET("total", document_fold_json(json_object(), &all, which)),
        SET("projections", organ_compared_projections_json(&folding)),
        SET("layers", organ_compared_layers_json(&folding, /*places=*/false)),
        SET("places", organ_compared_layers_json(&folding, /*places=*/true)));
}

static json_t *noise_json(const void *context, size_t n)
{
    const organ_compared_job *const job = context;
    char scheme[160];
    organ_stored_as(&job->modules[0].weight[1 + n], sizeof *job->modules, job->count, scheme);
    json_t *const row = comparison_json(job, (int)n);
    ORGAN_ADD(row, SET("noisy", organ_model_json(job->model[1 + n])), SET_BYTES("stored_as", scheme));
    return row;
}

/* ---- modules ---- */

static json_t *why_undefined(const organ_compared_module *m, size_t n)
{
    if (!(m->change > 0))
        return json_string("the adapter does not change this module");
    return m->noise[n].square > 0 ? json_null() : json_string("there is no noise: both models have equal values here");
}

static json_t *module_noise_json(const void *module, size_t n)
{
    const organ_compared_module *const m = module;
    const organ_noise_comparison c = compared_of(m, (int)n);
    const bool any = organ_is_compared(&c), leaks = m->k > 0 && c.square > 0;
    const double cosine = any ? organ_compared_cosine(&c) : 0, share = leaks ? m->noise[n].inside / c.square : 0;
    const double expected = (double)m->k / (double)m->rows;
    const double spread = organ_chance_share_std((double)m->k, (double)m->rows, (double)m->cols);
    return ORGAN_OBJECT(SET_REAL("norm", sqrt(c.square)), SET_REAL_OF("ratio", c.change > 0, sqrt(c.square / c.change)),
                        SET_REAL_OF("cosine", any, cosine),
                        SET_REAL_OF("z", any && m->drawn_std > 0, (cosine - m->drawn_mean) / m->drawn_std),
                        SET_REAL_OF("z_exact", any, cosine * sqrt(elements_of(m))),
                        SET_REAL_OF("z_signs", any && m->noise[n].signs > 0, c.dot / sqrt(m->noise[n].signs)),
                        SET_REAL_OF("leakage", leaks, sqrt(share)),
                        SET_REAL_OF("leakage_expected", leaks, sqrt(expected)),
                        SET_REAL_OF("leakage_over_expected", leaks, sqrt(share / expected)),
                        SET_REAL_OF("leakage_z", leaks && m->k < m->rows, (share - expected) / spread),
                        SET("reason", why_undefined(m, n)));
}

static json_t *document_module_json(const void *context, size_t k)
{
    const organ_compared_job *const job = context;
    const organ_compared_module *const m = &job->modules[k];
    json_t *row = ORGAN_OBJECT(SET_BYTES("module", m->pair->module), SET_TEXT("projection", projection_of(m)),
                               SET_INDEX("layer", m->pair->anatomy.layer), SET_INDEX("expert", m->pair->anatomy.expert),
                               SET_COUNT("rows", m->rows), SET_COUNT("cols", m->cols), SET_COUNT("rank", m->pair->rank),
                               SET_COUNT("k", m->k), SET_REAL("change_norm", sqrt(m->change)),
                               SET("chance", organ_compared_chance_json(job, m)),
                               SET("noise", organ_json_rows(job->sources - 1, module_noise_json, m)));
    if (job->sources > 2) {
        const organ_noise_comparison c = compared_of(m, AGREEMENT);
        const double cosine = organ_is_compared(&c) ? organ_compared_cosine(&c) : 0;
        ORGAN_ADD(row, SET("agreement",
                           ORGAN_OBJECT(SET_REAL_OF("cosine", organ_is_compared(&c), cosine),
                                        SET_REAL_OF("z_exact", organ_is_compared(&c), cosine * sqrt(elements_of(m))),
                                        SET_REAL_OF("ratio", c.change > 0, sqrt(c.square / c.change)))));
    }
    return row;
}

/* ---- the document ---- */

static json_t *document_parameters_json(const organ_compared_job *job)
{
    const organ_orthogonality_options *const o = job->options;
    return ORGAN_OBJECT(SET_COUNT("draws", o->draws), SET_COUNT_OF("top_k", o->top_k, o->top_k),
                        SET_COUNT("seed", o->seed), SET_BYTES_OF("modules", o->modules));
}

static json_t *adapter_json(const organ_compared_job *job)
{
    const organ_adapter *const a = job->adapter;
    return ORGAN_OBJECT(SET_COUNT("modules", a->pair_count), SET_COUNT("r", a->r), SET_REAL("alpha", a->alpha),
                        SET_FLAG("rslora", a->rslora), SET_BYTES("base", a->base));
}

static json_t *document_run_json(const organ_compared_job *job)
{
    const organ_orthogonality_options *const o = job->options;
    return organ_compared_run_json(job,
                                   ORGAN_OBJECT(SET_BYTES("clean", o->clean), SET_BYTES("noisy", o->noisy),
                                                SET_BYTES_OF("noisy2", o->noisy2), SET_BYTES("adapter", o->adapter)));
}

static json_t *orthogonality_document(const organ_compared_job *job)
{
    return ORGAN_OBJECT(SET_HEAD("organ.orthogonality/1", "orthogonality/1"),
                        SET("clean", organ_model_json(job->model[0])), SET("adapter", adapter_json(job)),
                        SET("parameters", document_parameters_json(job)),
                        SET("noises", organ_json_rows(job->sources - 1, noise_json, job)),
                        SET("agreement", job->sources > 2 ? comparison_json(job, AGREEMENT) : json_null()),
                        SET("matrices", organ_compared_matrices_json(job)),
                        SET("modules", organ_json_rows(job->count, document_module_json, job)),
                        SET_SENTENCES("organ.orthogonality/1", "definitions", NULL),
                        SET_SENTENCES("organ.orthogonality/1", "thresholds", NULL), SET("run", document_run_json(job)));
}

/* ---- the verb ---- */

static const organ_comparison noise_and_adapter = {.need = organ_orthogonality_need,
                                                   .room = {"strips", "and the buffers of one thread"},
                                                   .measure = organ_orthogonality_measure,
                                                   .remark = remark,
                                                   .document = orthogonality_document,
                                                   .more = write_charts};

organ_status organ_orthogonality(const organ_orthogonality_options *o, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_orthogonality_options, o, report, error, "clean", o->clean, "noisy", o->noisy, "adapter",
                         o->adapter))
        return error->status;
    organ_compared_job job = {.options = o,
                              .comparison = &noise_and_adapter,
                              .engine = engine,
                              .adapter_path = o->adapter,
                              .path = {o->clean, o->noisy, o->noisy2},
                              .sources = o->noisy2 ? 3 : 2,
                              .output = o->output,
                              .requested = o->modules,
                              .draws = o->draws,
                              .seed = o->seed,
                              .force = o->force};
    return organ_compared_run(&job, o->access, progress, report, error);
}
