/* SPDX-License-Identifier: MIT
 * organ.orthogonality/1: module by module and folded by projection, by layer, and over the model. A number that does not exist is null. */
#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/orthogonality/chance.h"
#include "orchestrator/surgery/orthogonality/job.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/version.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { AGREEMENT = 2 }; /* beside the noises 0 and 1: of the first with the second */

static json_t *real(bool there, double x) { return there && isfinite(x) ? json_real(x) : json_null(); }
static json_t *number(int32_t n) { return n < 0 ? json_null() : json_integer(n); }
static const char *projection_of(const organ_noise_module *m) { return organ_anatomy_role_name(&m->pair->anatomy); }

/* ---- folds ---- */

static organ_compared compared_of(const organ_noise_module *m, int which)
{
    if (which == AGREEMENT)
        return (organ_compared){m->noise[0].square, m->noise[1].square, m->between, 0};
    return (organ_compared){m->noise[which].square, m->change, m->noise[which].dot, m->noise[which].signs};
}

static double elements_of(const organ_noise_module *m) { return (double)m->rows * (double)m->cols; }

static void fold_leakage(organ_noise_fold *f, const organ_noise_module *m, int which)
{
    if (which == AGREEMENT || m->k == 0 || m->k >= m->rows || !(m->noise[which].square > 0))
        return;
    f->telling++;
    f->inside += m->noise[which].inside;
    f->inside_expected += (double)m->k / (double)m->rows * m->noise[which].square;
    f->inside_base += m->noise[which].square;
}

static void fold_in(organ_noise_fold *f, const organ_noise_module *m, int which)
{
    const organ_compared c = compared_of(m, which);
    organ_noise_fold_add(f, &c, (uint64_t)m->rows * m->cols);
    fold_leakage(f, m, which);
}

/* role: -1 for any. */
static organ_noise_fold fold_of(const organ_orthogonality_job *job, int which, int role)
{
    organ_noise_fold f = {0};
    for (size_t k = 0; k < job->count; k++)
        if (role < 0 || (int)organ_anatomy_row(&job->modules[k].pair->anatomy) == role)
            fold_in(&f, &job->modules[k], which);
    return f;
}

static json_t *fold_json(const organ_noise_fold *f, int which)
{
    const double norms = sqrt(f->defined_square) * sqrt(f->defined_change);
    const bool any = norms > 0, leaks = f->telling > 0 && f->inside_expected > 0;
    json_t *row = json_pack("{s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:o, s:I, s:I, s:o}", "modules", (json_int_t)f->modules, "elements",
                            (json_int_t)f->elements, "noise_norm", sqrt(f->square), which == AGREEMENT ? "noise2_norm" : "change_norm",
                            sqrt(f->change), "ratio", real(f->change > 0, sqrt(f->square / f->change)), "cosine", real(any, f->dot / norms),
                            "chance_std", real(any, sqrt(f->variance) / norms), "z", real(any, f->dot / sqrt(f->variance)), "beyond",
                            (json_int_t)f->beyond, "with_cosine", (json_int_t)f->defined, "largest_cosine", real(any, f->largest));
    if (!row || which == AGREEMENT)
        return row;
    json_object_set_new(row, "z_signs", real(any && f->signs > 0, f->dot / sqrt(f->signs)));
    json_object_set_new(row, "leakage", real(leaks, sqrt(f->inside / f->inside_base)));
    json_object_set_new(row, "leakage_expected", real(leaks, sqrt(f->inside_expected / f->inside_base)));
    json_object_set_new(row, "leakage_over_expected", real(leaks, sqrt(f->inside / f->inside_expected)));
    return row;
}

/* The fold with its name before the numbers. */
static json_t *named_json(const char *key, json_t *name, const char *second, json_t *second_name, const organ_noise_fold *f, int which)
{
    json_t *row = json_object(), *numbers = fold_json(f, which);
    json_object_set_new(row, key, name);
    if (second)
        json_object_set_new(row, second, second_name);
    json_object_update(row, numbers);
    json_decref(numbers);
    return row;
}

static json_t *projections_json(const organ_orthogonality_job *job, int which)
{
    json_t *rows = json_array();
    for (int role = 0; role < ORGAN_ANATOMY_ROWS; role++) {
        const organ_noise_fold f = fold_of(job, which, role);
        if (f.modules)
            json_array_append_new(rows,
                                  named_json("projection", json_string(organ_anatomy_row_name((unsigned)role)), NULL, NULL, &f, which));
    }
    return rows;
}

/* Modules come in the order of their layers, those in none first. */
static json_t *layers_json(const organ_orthogonality_job *job, int which)
{
    json_t *rows = json_array();
    for (size_t k = 0; k < job->count;) {
        const int32_t layer = job->modules[k].pair->anatomy.layer;
        organ_noise_fold f = {0};
        for (; k < job->count && job->modules[k].pair->anatomy.layer == layer; k++)
            fold_in(&f, &job->modules[k], which);
        json_array_append_new(rows, named_json("layer", number(layer), NULL, NULL, &f, which));
    }
    return rows;
}

/* Each projection in each layer, the experts of a layer together: what plots show. */
static json_t *places_json(const organ_orthogonality_job *job, int which)
{
    json_t *rows = json_array();
    for (size_t from = 0, to = 0; from < job->count; from = to) {
        const int32_t layer = job->modules[from].pair->anatomy.layer;
        organ_noise_fold folds[ORGAN_ANATOMY_ROWS] = {{0}};
        for (; to < job->count && job->modules[to].pair->anatomy.layer == layer; to++)
            fold_in(&folds[organ_anatomy_row(&job->modules[to].pair->anatomy)], &job->modules[to], which);
        for (int role = 0; role < ORGAN_ANATOMY_ROWS; role++)
            if (folds[role].modules)
                json_array_append_new(rows, named_json("projection", json_string(organ_anatomy_row_name((unsigned)role)), "layer",
                                                       number(layer), &folds[role], which));
    }
    return rows;
}

static json_t *comparison_json(const organ_orthogonality_job *job, int which)
{
    const organ_noise_fold all = fold_of(job, which, -1);
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "verdict", which == AGREEMENT ? organ_agreement_verdict(&all) : organ_noise_verdict(&all),
                     "total", fold_json(&all, which), "projections", projections_json(job, which), "layers", layers_json(job, which),
                     "places", places_json(job, which));
}

/* What the weights of the modules are stored in. */
static void stored_as(const organ_orthogonality_job *job, size_t n, char *out, size_t size)
{
    char first[128], other[128];
    organ_weight_text(job->modules[0].noisy[n], first, sizeof first);
    bool mixed = false;
    for (size_t k = 1; k < job->count; k++)
        mixed = mixed || strcmp(organ_weight_text(job->modules[k].noisy[n], other, sizeof other), first) != 0;
    snprintf(out, size, "%s%s", first, mixed ? " and others" : "");
}

static json_t *noises_json(const organ_orthogonality_job *job)
{
    json_t *rows = json_array();
    for (size_t n = 0; n < job->noises; n++) {
        json_t *row = comparison_json(job, (int)n);
        if (row) {
            char scheme[160];
            stored_as(job, n, scheme, sizeof scheme);
            json_object_set_new(row, "noisy", organ_model_json(job->noisy[n]));
            json_object_set_new(row, "stored_as", organ_document_string(scheme));
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

/* ---- modules ---- */

static json_t *reason(const organ_noise_module *m, size_t n)
{
    if (!(m->change > 0))
        return json_string("the adapter does not change this module");
    return m->noise[n].square > 0 ? json_null() : json_string("there is no noise: both models have the same values here");
}

static json_t *module_noise_json(const organ_noise_module *m, size_t n)
{
    const organ_compared c = compared_of(m, (int)n);
    const bool any = organ_is_compared(&c), leaks = m->k > 0 && c.square > 0;
    const double cosine = any ? organ_compared_cosine(&c) : 0, share = leaks ? m->noise[n].inside / c.square : 0;
    const double expected = (double)m->k / (double)m->rows;
    const double spread = organ_chance_share_std((double)m->k, (double)m->rows, (double)m->cols);
    return json_pack("{s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "norm", sqrt(c.square), "ratio",
                     real(c.change > 0, sqrt(c.square / c.change)), "cosine", real(any, cosine), "z",
                     real(any && m->drawn_std > 0, (cosine - m->drawn_mean) / m->drawn_std), "z_exact",
                     real(any, cosine * sqrt(elements_of(m))), "z_signs",
                     real(any && m->noise[n].signs > 0, c.dot / sqrt(m->noise[n].signs)), "leakage", real(leaks, sqrt(share)),
                     "leakage_expected", real(leaks, sqrt(expected)), "leakage_over_expected", real(leaks, sqrt(share / expected)),
                     "leakage_z", real(leaks && m->k < m->rows, (share - expected) / spread), "reason", reason(m, n));
}

static json_t *module_json(const organ_orthogonality_job *job, const organ_noise_module *m)
{
    json_t *noises = json_array();
    for (size_t n = 0; n < job->noises; n++)
        json_array_append_new(noises, module_noise_json(m, n));
    json_t *row = json_pack("{s:o, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:f, s:{s:I, s:f, s:f, s:f}, s:o}", "module",
                            organ_document_string(m->pair->module), "projection", projection_of(m), "layer", number(m->pair->anatomy.layer),
                            "expert", number(m->pair->anatomy.expert), "rows", (json_int_t)m->rows, "cols", (json_int_t)m->cols, "rank",
                            (json_int_t)m->pair->rank, "k", (json_int_t)m->k, "change_norm", sqrt(m->change), "chance", "draws",
                            (json_int_t)job->options->draws, "mean", m->drawn_mean, "std", m->drawn_std, "std_exact",
                            1 / sqrt(elements_of(m)), "noise", noises);
    if (row && job->noises > 1) {
        const organ_compared c = compared_of(m, AGREEMENT);
        const double cosine = organ_is_compared(&c) ? organ_compared_cosine(&c) : 0;
        json_object_set_new(row, "agreement",
                            json_pack("{s:o, s:o, s:o}", "cosine", real(organ_is_compared(&c), cosine), "z_exact",
                                      real(organ_is_compared(&c), cosine * sqrt(elements_of(m))), "ratio",
                                      real(c.change > 0, sqrt(c.square / c.change))));
    }
    return row;
}

/* ---- the document ---- */

static json_t *definitions_json(void)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "N",
        "What quantisation took: the weight of the clean model minus the dequantised one of the noisy model, so that W_noisy = W_clean - "
        "N.",
        "K", "What the adapter adds: scale B A.", "cosine",
        "<N, K> / (|N| |K|), the matrices taken as vectors. Several modules are folded as if they were one long vector.", "chance",
        "The same cosine for random matrices of N's norm: `draws` of them per module, drawn from its exact distribution, that of g / "
        "sqrt(g^2 + chi^2(n-1)) with g normal and n the elements. Mean 0, standard deviation 1 / sqrt(n): std is of the draws, std_exact "
        "the latter.",
        "z",
        "Of a module: (cosine - mean of the draws) / their std. z_exact, and z of folded modules, take the exact mean and standard "
        "deviation; verdicts and tables use these, which no seed changes. z_signs takes the noise as it is and lets only the signs of its "
        "values be random: it is the fairer one where large noise sits where the adapter's change is large.",
        "leakage",
        "|U_k^T N| / |N|, with U_k the first k left singular vectors of K (all that K has, or --top-k): the share of the noise that lies "
        "in "
        "the adapter's output directions. Its square is a share of energy. leakage_z: standard deviations between that share and k / out, "
        "by the Beta distribution it has for random matrices.",
        "leakage_expected", "sqrt(k / out_features): what noise without direction has.", "ratio",
        "|N| / |K|. Between W_clean + K and W_noisy + K lies N; between W_clean + K and W_noisy lies N + K.");
}

static json_t *thresholds_json(void)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s}", "direction",
        "orthogonal: |z| <= 3 in all modules but as many as chance leaves outside (at most 1 % likely to be more), and for all as one "
        "matrix; nearly orthogonal: those outside have no |cosine| above 0.03, nor have all as one "
        "matrix; else not orthogonal",
        "leakage", "isotropic: leakage over all modules within 10 % of its expectation", "magnitude",
        "noise below adapter: |N| / |K| <= 0.5 (at cosine 0 the adapter removes at least 80 % of the squared distance); above: >= 2 (at "
        "most 20 %)",
        "agreement", "unrelated: as orthogonal; hardly related: as nearly orthogonal; related: |cosine| below 0.5; else alike");
}

static json_t *parameters_json(const organ_orthogonality_job *job)
{
    const organ_orthogonality_options *const o = job->options;
    return json_pack("{s:I, s:o, s:I, s:o}", "draws", (json_int_t)o->draws, "top_k", o->top_k ? json_integer(o->top_k) : json_null(),
                     "seed", (json_int_t)o->seed, "modules", o->modules ? organ_document_string(o->modules) : json_null());
}

static json_t *adapter_json(const organ_orthogonality_job *job)
{
    const organ_adapter *const a = job->adapter;
    return json_pack("{s:I, s:I, s:f, s:b, s:o}", "modules", (json_int_t)a->pair_count, "r", (json_int_t)a->r, "alpha", a->alpha, "rslora",
                     (int)a->rslora, "base", organ_document_string(a->base));
}

static json_t *run_json(const organ_orthogonality_job *job)
{
    const organ_orthogonality_options *const o = job->options;
    const double seconds = organ_milliseconds(job->seconds);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:f, s:I, s:I, s:s}", "clean", organ_document_string(o->clean), "noisy",
                     organ_document_string(o->noisy), "noisy2", o->noisy2 ? organ_document_string(o->noisy2) : json_null(), "adapter",
                     organ_document_string(o->adapter), "output", o->output ? organ_document_string(o->output) : json_null(), "seconds",
                     seconds, "bytes_read", (json_int_t)job->bytes, "threads", (json_int_t)organ_workers_count(job->engine->workers),
                     "cpu_isa", job->engine->kernels->isa);
}

json_t *organ_orthogonality_document(const organ_orthogonality_job *job)
{
    json_t *modules = json_array();
    for (size_t k = 0; k < job->count; k++)
        json_array_append_new(modules, module_json(job, &job->modules[k]));
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "schema", "organ.orthogonality/1", "definition",
                     "orthogonality/1", "organ", ORGAN_VERSION, "clean", organ_model_json(job->clean), "adapter", adapter_json(job),
                     "parameters", parameters_json(job), "noises", noises_json(job), "agreement",
                     job->noises > 1 ? comparison_json(job, AGREEMENT) : json_null(), "modules", modules, "definitions", definitions_json(),
                     "thresholds", thresholds_json(), "run", run_json(job));
}
