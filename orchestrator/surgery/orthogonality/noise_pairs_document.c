/* SPDX-License-Identifier: MIT
 * The report organ.noise_pairs/1: each module, and sums over projections, layers and the model. A number that is not
 * defined is null. N_A and N_B are the noises of pairs A and B (clean minus noisy weight), D is the change. A fold has
 * the sums over several modules. */
#include "orchestrator/report/text/members.h"
#include <organ/inspect.h>
#include "orchestrator/surgery/orthogonality/noise_pairs_job.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/facts/facts.h"

#include <math.h>

/* Returns sqrt(part / whole), or null if `whole` is 0. */
static json_t *root_share(double part, double whole) { return organ_json_real_of(whole > 0, sqrt(part / whole)); }

/* Returns the name of the module's role, which the report calls its projection. */
static const char *projection_of(const organ_compared_module *m) { return organ_role_describe(m->anatomy->role)->name; }

/* ---- folds ---- */

/* Adds each member of `s`, the sums of one module, to the same member of `to`, the sums of several. */
static void add_sums(organ_pair_sums *to, const organ_pair_sums *s)
{
    for (size_t k = 0; k < 2; k++) {
        to->weight[k] += s->weight[k];
        to->noise[k] += s->noise[k];
        to->with_change[k] += s->with_change[k];
    }
    to->clean_difference += s->clean_difference;
    to->between += s->between;
    to->between_signs += s->between_signs;
    to->noise_difference += s->noise_difference;
    to->change += s->change;
    to->noise_difference_with_change += s->noise_difference_with_change;
}

/* Implements organ_compared_folding.add: adds module m to fold `f`, its sums and four comparisons: of N_A with N_B, and
 * of N_A, N_B and N_A - N_B with D. `which` is not used. */
static void add_to_fold(organ_compared_fold *f, const organ_compared_module *m, int which)
{
    const organ_pair_sums *const s = &m->sums;
    const uint64_t elements = (uint64_t)m->rows * m->cols;
    (void)which;
    add_sums(&f->sums, s);
    organ_noise_fold_add(&f->noises, &(organ_noise_comparison){s->noise[0], s->noise[1], s->between, s->between_signs},
                         elements);
    organ_noise_fold_add(&f->with_change[0], &(organ_noise_comparison){s->noise[0], s->change, s->with_change[0], 0},
                         elements);
    organ_noise_fold_add(&f->with_change[1], &(organ_noise_comparison){s->noise[1], s->change, s->with_change[1], 0},
                         elements);
    organ_noise_fold_add(&f->with_change[2],
                         &(organ_noise_comparison){s->noise_difference, s->change, s->noise_difference_with_change, 0},
                         elements);
}

/* Adds to the object `row`: the norms in `s` and their quotients; the multiple of N_A that approximates N_B best
 * ("factor") and the share of |N_B|^2 that it explains ("explained"); the remainder N_A - N_B. `s` has the sums of one
 * module or of several. */
static void put_sums(json_t *row, const organ_pair_sums *s)
{
    const bool both = s->noise[0] > 0 && s->noise[1] > 0;
    const double factor = s->between / s->noise[0];
    ORGAN_ADD(
        row, SET_REAL("noise_a", sqrt(s->noise[0])), SET_REAL("noise_b", sqrt(s->noise[1])),
        SET("noise_a_to_weight", root_share(s->noise[0], s->weight[0])),
        SET("noise_b_to_weight", root_share(s->noise[1], s->weight[1])), SET_REAL_OF("factor", both, factor),
        SET_REAL_OF("explained", both, fmin(1, factor * (s->between / s->noise[1]))),
        SET_REAL("remains", sqrt(s->noise_difference)),
        SET("remains_to_noise_a", root_share(s->noise_difference, s->noise[0])),
        SET("remains_to_noise_b", root_share(s->noise_difference, s->noise[1])),
        SET_REAL_OF("cancelled", s->noise[0] + s->noise[1] > 0, 1 - s->noise_difference / (s->noise[0] + s->noise[1])),
        SET_REAL("change", sqrt(s->change)), SET("noise_a_to_change", root_share(s->noise[0], s->change)),
        SET("noise_b_to_change", root_share(s->noise[1], s->change)),
        SET("remains_to_change", root_share(s->noise_difference, s->change)));
}

/* Returns an object with the cosine of the two matrices of fold `f` and its comparison with that of random matrices. */
static json_t *noise_pairs_direction_json(const organ_noise_fold *f)
{
    json_t *const row = json_object();
    organ_compared_add_cosine(row, f, false);
    return row;
}

/* Implements organ_compared_folding.json: adds the numbers of fold `f` to the object `row` and returns `row`. `which`
 * is not used. */
static json_t *noise_pairs_document_fold_json(json_t *row, const organ_compared_fold *f, int which)
{
    const organ_noise_fold *const n = &f->noises;
    (void)which;
    ORGAN_ADD(row, SET_COUNT("modules", n->modules), SET_COUNT("elements", n->elements));
    organ_compared_add_cosine(row, n, true);
    ORGAN_ADD(row, SET_REAL_OF("largest_cosine", n->defined_square > 0 && n->defined_change > 0, n->largest));
    put_sums(row, &f->sums);
    ORGAN_ADD(row, SET("with_change", ORGAN_OBJECT(SET("noise_a", noise_pairs_direction_json(&f->with_change[0])),
                                                   SET("noise_b", noise_pairs_direction_json(&f->with_change[1])),
                                                   SET("remains", noise_pairs_direction_json(&f->with_change[2])))));
    return row;
}

/* ---- modules ---- */

/* Returns an object with the cosine of two matrices of `elements` values each, and its z for random matrices
 * ("z_exact"). `square` and `other` are the squared norms of the matrices, `dot` is their inner product. Both members
 * are null if a matrix is zero. */
static json_t *cosine_json(double square, double other, double dot, double elements)
{
    const organ_noise_comparison c = {square, other, dot, 0};
    const bool any = organ_is_compared(&c);
    const double cosine = any ? organ_compared_cosine(&c) : 0;
    return ORGAN_OBJECT(SET_REAL_OF("cosine", any, cosine), SET_REAL_OF("z_exact", any, cosine * sqrt(elements)));
}

/* Returns the reason why N_A and N_B have no cosine in a module: one noise or both are zero. Returns NULL if there is
 * a cosine. */
static const char *why_pair_undefined(const organ_pair_sums *s)
{
    if (!(s->noise[0] > 0) && !(s->noise[1] > 0))
        return "there is no noise in either pair";
    if (!(s->noise[0] > 0))
        return "there is no noise in the first pair";
    return s->noise[1] > 0 ? NULL : "there is no noise in the second pair";
}

/* Returns the report's row of module k of the job `context`. */
static json_t *noise_pairs_document_module_json(const void *context, size_t k)
{
    const organ_compared_job *const job = context;
    const organ_compared_module *const m = &job->modules[k];
    const organ_pair_sums *const s = &m->sums;
    const double elements = (double)m->rows * (double)m->cols;
    const organ_noise_comparison c = {s->noise[0], s->noise[1], s->between, s->between_signs};
    const bool any = organ_is_compared(&c);
    const double cosine = any ? organ_compared_cosine(&c) : 0;
    json_t *const row =
        ORGAN_OBJECT(SET_BYTES("module", m->name), SET_TEXT("projection", projection_of(m)),
                     SET_INDEX("layer", m->anatomy->layer), SET_INDEX("expert", m->anatomy->expert),
                     SET_COUNT("rows", m->rows), SET_COUNT("cols", m->cols), SET_REAL_OF("cosine", any, cosine),
                     SET_REAL_OF("z", any && m->drawn_std > 0, (cosine - m->drawn_mean) / m->drawn_std),
                     SET_REAL_OF("z_exact", any, cosine * sqrt(elements)),
                     SET_REAL_OF("z_signs", any && c.signs > 0, c.dot / sqrt(c.signs)),
                     SET("reason", why_pair_undefined(s) ? json_string(why_pair_undefined(s)) : json_null()));
    ORGAN_ADD(row, SET_FLAG("clean_models_differ", s->clean_difference > 0),
              SET("chance", organ_compared_chance_json(job, m)));
    put_sums(row, s);
    ORGAN_ADD(row, SET("with_change",
                       ORGAN_OBJECT(SET("noise_a", cosine_json(s->noise[0], s->change, s->with_change[0], elements)),
                                    SET("noise_b", cosine_json(s->noise[1], s->change, s->with_change[1], elements)),
                                    SET("remains", cosine_json(s->noise_difference, s->change,
                                                               s->noise_difference_with_change, elements)))));
    return row;
}

/* ---- the document ---- */

/* Returns an object with the definitions of the report's terms, for its readers. */
static json_t *noise_pairs_document_definitions_json(void)
{
    return ORGAN_OBJECT(
        SET_TEXT("N_A, N_B", "The quantisation error: the weight of the clean model of a pair minus the dequantised "
                             "weight of its noisy model."),
        SET_TEXT("D", "The change: scale B A of an adapter; the weight of a tuned model minus that of the clean model "
                      "of the first pair; "
                      "or, if neither is given, the clean weight of the second pair minus that of the first."),
        SET_TEXT("cosine", "<N_A, N_B> / (|N_A| |N_B|), with the matrices as vectors. Several modules are combined as "
                           "one long vector."),
        SET_TEXT("chance", "The same cosine for random matrices: `draws` of them per module, drawn from its exact "
                           "distribution, that of g / sqrt(g^2 "
                           "+ chi^2(n-1)) with g normal and n the elements. Mean 0, standard deviation 1 / sqrt(n). z "
                           "of a module: by the draws; "
                           "z_exact, and z of folded modules: by the exact deviation; z_signs: if only the signs of "
                           "the noise were random."),
        SET_TEXT("factor and explained",
                 "The multiple of N_A that approximates N_B best in least squares (a regression through 0): <N_A, N_B> "
                 "/ |N_A|^2, "
                 "and the share of |N_B|^2 that it explains, which is the squared cosine (R^2)."),
        SET_TEXT("remains", "|N_A - N_B|: the remainder if one noisy model is subtracted from the other, or if both "
                            "noises are treated as equal."),
        SET_TEXT("cancelled",
                 "1 - |N_A - N_B|^2 / (|N_A|^2 + |N_B|^2): 1 if the noises are equal, 0 if unrelated, -1 if opposed."),
        SET_TEXT("Method A", "D applied to the noisy model of A. Its premise is that N_A and N_B are equal: then the "
                             "result equals the quantised clean model of B."));
}

/* Returns an object with the limits of the verdicts in words. */
static json_t *thresholds_json(void)
{
    return ORGAN_OBJECT(
        SET_TEXT(
            "premise",
            "over the modules in which the clean models differ: holds: |N_A - N_B| / |N_A| <= 0.5 (a quarter of the "
            "energy of N_A remains); holds in part: below 1, and the noises are related or alike; else does not hold"),
        SET_TEXT("noises", "unrelated: |z| <= 3 in all modules, except as many as chance allows (99 % confidence), and "
                           "for all modules joined to one matrix; hardly related: |cosine| <= 0.03 in each module with "
                           "|z| > 3 and for the joined matrix; related: |cosine| below 0.5; else alike"));
}

/* Returns the description of model `source` of the job, with the member "stored_as": how the model stores the compared
 * weights. */
static json_t *noise_pairs_document_source_json(const organ_compared_job *job, size_t source)
{
    char scheme[160];
    json_t *const model = organ_model_json(job->model[source]);
    organ_stored_as(&job->modules[0].weight[source], sizeof *job->modules, job->count, scheme);
    ORGAN_ADD(model, SET_BYTES("stored_as", scheme));
    return model;
}

/* Returns the descriptions of both models of pair `p` of the job: 0 is pair A, 1 is pair B. */
static json_t *pair_json(const void *job, size_t p)
{
    return ORGAN_OBJECT(SET("clean", noise_pairs_document_source_json(job, 2 * p)),
                        SET("noisy", noise_pairs_document_source_json(job, 2 * p + 1)));
}

/* Returns an object that describes D. "of" is its kind; "from" is "B A" for an adapter, otherwise "CLEAN_A", the model
 * that is subtracted. "tuned" or "adapter" describes the model or adapter that D comes from; they are absent if D is
 * the difference of the clean models. */
static json_t *change_json(const organ_compared_job *job)
{
    static const char *const kinds[] = {"clean models", "tuned model", "adapter"};
    return ORGAN_OBJECT(
        SET_TEXT("of", kinds[job->change]), SET_TEXT("from", job->change == ORGAN_CHANGE_ADAPTER ? "B A" : "CLEAN_A"),
        SET_IF(job->change == ORGAN_CHANGE_TUNED, "tuned", noise_pairs_document_source_json(job, ORGAN_TUNED)),
        SET_IF(job->adapter, "adapter",
               ORGAN_OBJECT(SET_COUNT("modules", job->adapter->pair_count), SET_COUNT("r", job->adapter->r))));
}

/* Returns the member "run": the paths of the inputs, the output, time and machine. */
static json_t *noise_pairs_document_run_json(const organ_compared_job *job)
{
    const organ_noise_pairs_options *const o = job->pairs;
    json_t *const pairs =
        json_pack("[[o, o], [o, o]]", organ_document_string(o->clean[0]), organ_document_string(o->noisy[0]),
                  organ_document_string(o->clean[1]), organ_document_string(o->noisy[1]));
    return organ_compared_run_json(job, ORGAN_OBJECT(SET("pairs", pairs), SET_BYTES_OF("change", o->change)));
}

/* Returns the verdict on the modules in which the clean models differ; in the other modules equal noises are trivial.
 * If the clean models have the same values in all modules, returns the verdict on `all`, the sums of all modules. */
static json_t *verdict_json(const organ_compared_job *job, const organ_compared_fold *all)
{
    organ_compared_fold differing = {0};
    uint64_t same = 0;
    for (size_t k = 0; k < job->count; k++)
        if (job->modules[k].sums.clean_difference > 0)
            add_to_fold(&differing, &job->modules[k], 0);
        else
            same++;
    return same < job->count ? organ_pairs_verdict(&differing, same, job->change)
                             : organ_pairs_verdict(all, 0, job->change);
}

/* Returns the report; NULL if memory runs out. */
json_t *organ_pairs_document(const organ_compared_job *job)
{
    const organ_noise_pairs_options *const o = job->pairs;
    const organ_compared_folding folding = {job, 0, add_to_fold, noise_pairs_document_fold_json};
    const organ_compared_fold all = organ_compared_fold_all(&folding);
    return ORGAN_OBJECT(SET_HEAD("organ.noise_pairs/1", "noise-pairs/1"),
                        SET("pairs", organ_json_rows(2, pair_json, job)), SET("change", change_json(job)),
                        SET("parameters", ORGAN_OBJECT(SET_COUNT("draws", o->draws), SET_COUNT("seed", o->seed),
                                                       SET_BYTES_OF("modules", o->modules))),
                        SET("verdict", verdict_json(job, &all)),
                        SET("total", noise_pairs_document_fold_json(json_object(), &all, 0)),
                        SET("matrices", organ_compared_matrices_json(job)),
                        SET("projections", organ_compared_projections_json(&folding)),
                        SET("layers", organ_compared_layers_json(&folding, false)),
                        SET("places", organ_compared_layers_json(&folding, true)),
                        SET("modules", organ_json_rows(job->count, noise_pairs_document_module_json, job)),
                        SET("definitions", noise_pairs_document_definitions_json()),
                        SET("thresholds", thresholds_json()), SET("run", noise_pairs_document_run_json(job)));
}
