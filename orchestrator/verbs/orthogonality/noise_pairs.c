/* SPDX-License-Identifier: MIT
 * Compares the noises of two pairs of models: checks the inputs, measures each module, and makes verdict and report. */
#include "orchestrator/verbs/orthogonality/noise_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <organ/inspect.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the inputs ---- */

static bool is_adapter(const char *path)
{
    ORGAN_OWNED char *const config = organ_format("%s/" ORGAN_ADAPTER_CONFIG, path);
    struct stat status;
    return strcmp(organ_path_name(path), ORGAN_ADAPTER_WEIGHTS) == 0 ||
           (config && stat(path, &status) == 0 && S_ISDIR(status.st_mode) && access(config, F_OK) == 0);
}

/* Two paths are the same model also if the first file of each is the same local file (device and inode). */
static bool is_same_file(const organ_model *a, const organ_model *b)
{
    if (strcmp(a->path, b->path) == 0)
        return true;
    return a->file_count && b->file_count && !a->files[0].remote && !b->files[0].remote &&
           a->files[0].device == b->files[0].device && a->files[0].inode == b->files[0].inode;
}

/* The figures of a comparison of equal models would look like findings. A tuned model may also be the clean model of
 * the second pair. */
static organ_status refuse_same(const organ_compared_job *job, organ_error *error)
{
    static const char *const names[] = {"CLEAN of the first --pair", "NOISY of the first --pair",
                                        "CLEAN of the second --pair", "NOISY of the second --pair", "the tuned model"};
    for (size_t b = 1; b < job->sources; b++)
        for (size_t a = 0; a < b; a++)
            if (is_same_file(job->model[a], job->model[b]) && !(b == ORGAN_TUNED && a == ORGAN_CLEAN_B))
                return organ_fail(error, ORGAN_USAGE, "%s and %s are the same model: %s%s", names[a], names[b],
                                  job->model[b]->path,
                                  a == ORGAN_CLEAN_A && b == ORGAN_CLEAN_B
                                      ? "; use `noisy2` to compare two quantisations of one model"
                                      : "");
    return ORGAN_OK;
}

static bool remark(const organ_compared_module *m, char text[64])
{
    const double norms = sqrt(m->sums.noise[0]) * sqrt(m->sums.noise[1]);
    if (norms > 0)
        organ_snprintf(text, 64, "cosine %.5f, difference %.3g x N_A", m->sums.between / norms,
                       sqrt(m->sums.noise_difference / m->sums.noise[0]));
    return norms > 0;
}

/* ---- verdict: sentences and levels for the figures, by the limits in noise_parts.h ---- */

/* The premise of Method A is that N_A and N_B are equal and cancel. Let q be |N_A - N_B| / |N_A|. The premise is
 * "undefined" if a noise is zero; it "holds" if q is at most ORGAN_ASSUMPTION_HOLDS, and "holds in part" if q is
 * below 1 and `noises`, the level of agreement from organ_agreement_verdict, is "alike" or "related". */
static const char *assumption_of(const organ_pair_sums *s, const char *noises)
{
    const double left = s->noise_difference / s->noise[0]; /* q^2 */
    if (!(s->noise[0] > 0) || !(s->noise[1] > 0))
        return "undefined";
    if (left <= ORGAN_ASSUMPTION_HOLDS * ORGAN_ASSUMPTION_HOLDS)
        return "holds";
    const bool agree = strcmp(noises, "alike") == 0 || strcmp(noises, "related") == 0;
    return left < 1 && agree ? "holds in part" : "does not hold";
}

static void add_premise_sentence(json_t *to, const organ_pair_sums *s, const char *assumption)
{
    if (strcmp(assumption, "undefined") == 0) {
        organ_say(to, "The premise of Method A, that both noises are equal and cancel, cannot be tested: at least one "
                      "pair has no noise.");
        return;
    }
    organ_say(
        to,
        "The premise of Method A, that both noises are equal and cancel, %s: |N_A - N_B| / |N_A| = %.4g, which is 0 "
        "for equal noises and 1.41 for unrelated ones of equal norm. Of the energy of both noises %.2f %% cancels.",
        assumption, sqrt(s->noise_difference / s->noise[0]),
        100 * (1 - s->noise_difference / (s->noise[0] + s->noise[1])));
}

static void add_same_sentence(json_t *to, uint64_t differing, uint64_t same)
{
    if (same > 0)
        organ_say(to,
                  "In %llu of %llu modules both clean models have equal values, so equal noises are trivial there: "
                  "these figures cover the other %llu.",
                  (unsigned long long)same, (unsigned long long)(differing + same), (unsigned long long)differing);
}

/* The factor is the multiple of N_A that approximates N_B best in least squares. */
static void add_factor_sentence(json_t *to, const organ_pair_sums *s)
{
    if (!(s->noise[0] > 0) || !(s->noise[1] > 0))
        return;
    const double factor = s->between / s->noise[0], explained = fmin(1, factor * (s->between / s->noise[1]));
    const double size = sqrt(s->noise[1] / s->noise[0]);
    /* the noises have a common direction, but norms that differ by more than ORGAN_FACTOR_ROOM */
    const bool scaled = explained >= ORGAN_MUCH_AGREEMENT * ORGAN_MUCH_AGREEMENT && fabs(size - 1) > ORGAN_FACTOR_ROOM;
    organ_say(to, "The multiple of N_A nearest to N_B is %.4g N_A, which explains %.4g %% of its energy (R^2 %.4g).%s",
              factor, 100 * explained, explained,
              scaled ? " The noises have a common direction but different norms: N_A itself cancels less than this "
                       "multiple of it would."
                     : "");
}

static void add_change_sentences(json_t *to, const organ_compared_fold *f, organ_pair_change kind)
{
    static const char *const names[] = {"the difference of the clean models of B and A",
                                        "the difference of the tuned model and the clean model of A",
                                        "the adapter's change"};
    const organ_pair_sums *const s = &f->sums;
    if (!(s->change > 0)) {
        organ_say(to, "The change, %s, is zero in these modules: there is no signal to compare the noises with.",
                  names[kind]);
        return;
    }
    organ_say(to, "Relative to the change D, %s: |N_A| / |D| = %.3g, |N_B| / |D| = %.3g, |N_A - N_B| / |D| = %.3g.",
              names[kind], sqrt(s->noise[0] / s->change), sqrt(s->noise[1] / s->change),
              sqrt(s->noise_difference / s->change));
    const double taken = /* |D + N_A - N_B|^2 */
        s->change + s->noise_difference + 2 * s->noise_difference_with_change;
    if (kind == ORGAN_CHANGE_BETWEEN && taken > 0)
        organ_say(to,
                  "The noisy models of B and A differ by D + N_A - N_B; the energy of N_A - N_B is %.3g %% of that of "
                  "D. An adapter extracted from the two noisy models approximates this difference.",
                  100 * s->noise_difference / s->change);
    if (s->noise[1] > 0)
        organ_say(to,
                  "Method A, D applied to the noisy model of A, differs from the clean target by N_A. It differs from "
                  "the noisy model of B by N_A - N_B, which is %.3g x |N_B|.",
                  sqrt(s->noise_difference / s->noise[1]));
}

static void add_direction_sentence(json_t *to, const organ_compared_fold *f)
{
    static const char *const names[] = {"N_A", "N_B", "N_A - N_B"};
    char text[256] = "";
    size_t used = 0;
    for (size_t k = 0; k < 3; k++) {
        const organ_noise_fold *const a = &f->with_change[k];
        const double norms = sqrt(a->defined_square) * sqrt(a->defined_change);
        if (norms > 0)
            used += (size_t)organ_snprintf(text + used, sizeof text - used, "%s%s %.4f (z %.1f)", used ? ", " : "",
                                           names[k], a->dot / norms, a->dot / sqrt(a->variance));
    }
    if (used)
        organ_say(to, "Cosine with the change: %s; |z| up to 3 is typical of random matrices.", text);
}

static json_t *quotient_json(double part, double whole) { return whole > 0 ? json_real(part / whole) : json_null(); }

/* Returns the verdict on the modules whose sums are `all`: an object with levels (words), figures and sentences. `same`
 * is the number of modules that `all` leaves out because both clean models have equal values there. `change` is the
 * kind of D. Returns NULL if memory runs out. */
static json_t *pairs_verdict(const organ_compared_fold *all, uint64_t same, organ_pair_change change)
{
    json_t *sentences = json_array(), *agreement = organ_agreement_verdict(&all->noises);
    const char *const level = json_string_value(json_object_get(agreement, "level")), *const noises =
                                                                                          level ? level : "undefined";
    const char *const assumption = assumption_of(&all->sums, noises);
    add_premise_sentence(sentences, &all->sums, assumption);
    add_same_sentence(sentences, all->noises.modules, same);
    json_array_extend(sentences, json_object_get(agreement, "sentences"));
    add_factor_sentence(sentences, &all->sums);
    add_change_sentences(sentences, all, change);
    add_direction_sentence(sentences, all);
    const organ_pair_sums *const sums = &all->sums;
    json_t *const verdict =
        ORGAN_OBJECT(SET_TEXT("premise", assumption), SET_TEXT("noises", noises),
                     SET_COUNT("modules", all->noises.modules), SET_COUNT("same_modules", same),
                     SET("cosine", quotient_json(sums->between, sqrt(sums->noise[0]) * sqrt(sums->noise[1]))),
                     SET("remains_to_noise_a", quotient_json(sqrt(sums->noise_difference), sqrt(sums->noise[0]))),
                     SET("remains_to_change", quotient_json(sqrt(sums->noise_difference), sqrt(sums->change))),
                     SET("sentences", sentences));
    json_decref(agreement);
    return verdict;
}

/* ---- report ---- */

/* The report organ.noise_pairs/1: each module, and sums over projections, layers and the model. A number that is not
 * defined is null. N_A and N_B are the noises of pairs A and B (clean minus noisy weight), D is the change. A fold has
 * the sums over several modules. */

static json_t *root_share(double part, double whole) { return organ_json_real_of(whole > 0, sqrt(part / whole)); }

static const char *projection_of(const organ_compared_module *m) { return organ_role_describe(m->anatomy->role)->name; }

/* ---- folds ---- */

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

/* The comparisons are of N_A with N_B, and of N_A, N_B and N_A - N_B with D. */
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

/* "factor" is the multiple of N_A that approximates N_B best, and "explained" the share of |N_B|^2 that it explains. */
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

static json_t *direction_json(const organ_noise_fold *f)
{
    json_t *const row = json_object();
    organ_compared_add_cosine(row, f, /*signs=*/false);
    return row;
}

static json_t *fold_json(json_t *row, const organ_compared_fold *f, int which)
{
    const organ_noise_fold *const n = &f->noises;
    (void)which;
    ORGAN_ADD(row, SET_COUNT("modules", n->modules), SET_COUNT("elements", n->elements));
    organ_compared_add_cosine(row, n, /*signs=*/true);
    ORGAN_ADD(row, SET_REAL_OF("largest_cosine", n->defined_square > 0 && n->defined_change > 0, n->largest));
    put_sums(row, &f->sums);
    ORGAN_ADD(row, SET("with_change", ORGAN_OBJECT(SET("noise_a", direction_json(&f->with_change[0])),
                                                   SET("noise_b", direction_json(&f->with_change[1])),
                                                   SET("remains", direction_json(&f->with_change[2])))));
    return row;
}

/* ---- modules ---- */

/* `square` and `other` are the squared norms of the matrices, `dot` is their inner product. */
static json_t *cosine_json(double square, double other, double dot, double elements)
{
    const organ_noise_comparison c = {square, other, dot, 0};
    const bool any = organ_is_compared(&c);
    const double cosine = any ? organ_compared_cosine(&c) : 0;
    return ORGAN_OBJECT(SET_REAL_OF("cosine", any, cosine), SET_REAL_OF("z_exact", any, cosine * sqrt(elements)));
}

static const char *why_pair_undefined(const organ_pair_sums *s)
{
    if (!(s->noise[0] > 0) && !(s->noise[1] > 0))
        return "there is no noise in either pair";
    if (!(s->noise[0] > 0))
        return "there is no noise in the first pair";
    return s->noise[1] > 0 ? NULL : "there is no noise in the second pair";
}

static json_t *module_json(const void *context, size_t k)
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

static json_t *source_json(const organ_compared_job *job, size_t source)
{
    char scheme[160];
    json_t *const model = organ_model_json(job->model[source]);
    organ_stored_as(&job->modules[0].weight[source], sizeof *job->modules, job->count, scheme);
    ORGAN_ADD(model, SET_BYTES("stored_as", scheme));
    return model;
}

static json_t *pair_json(const void *job, size_t p)
{
    return ORGAN_OBJECT(SET("clean", source_json(job, 2 * p)), SET("noisy", source_json(job, 2 * p + 1)));
}

/* "from" is "B A" for an adapter, otherwise "CLEAN_A", the model that is subtracted. */
static json_t *change_json(const organ_compared_job *job)
{
    static const char *const kinds[] = {"clean models", "tuned model", "adapter"};
    return ORGAN_OBJECT(
        SET_TEXT("of", kinds[job->change]), SET_TEXT("from", job->change == ORGAN_CHANGE_ADAPTER ? "B A" : "CLEAN_A"),
        SET_IF(job->change == ORGAN_CHANGE_TUNED, "tuned", source_json(job, ORGAN_TUNED)),
        SET_IF(job->adapter, "adapter",
               ORGAN_OBJECT(SET_COUNT("modules", job->adapter->pair_count), SET_COUNT("r", job->adapter->r))));
}

static json_t *run_json(const organ_compared_job *job)
{
    const organ_noise_pairs_options *const o = job->pairs;
    json_t *const pairs =
        json_pack("[[o, o], [o, o]]", organ_document_string(o->clean[0]), organ_document_string(o->noisy[0]),
                  organ_document_string(o->clean[1]), organ_document_string(o->noisy[1]));
    return organ_compared_run_json(job, ORGAN_OBJECT(SET("pairs", pairs), SET_BYTES_OF("change", o->change)));
}

/* In modules in which the clean models do not differ, equal noises are trivial: the verdict leaves them out, unless
 * all modules are of this kind. */
static json_t *verdict_json(const organ_compared_job *job, const organ_compared_fold *all)
{
    organ_compared_fold differing = {0};
    uint64_t same = 0;
    for (size_t k = 0; k < job->count; k++)
        if (job->modules[k].sums.clean_difference > 0)
            add_to_fold(&differing, &job->modules[k], /*which=*/0);
        else
            same++;
    return same < job->count ? pairs_verdict(&differing, same, job->change) : pairs_verdict(all, 0, job->change);
}

static json_t *pairs_document(const organ_compared_job *job)
{
    const organ_noise_pairs_options *const o = job->pairs;
    const organ_compared_folding folding = {job, /*which=*/0, add_to_fold, fold_json};
    const organ_compared_fold all = organ_compared_fold_all(&folding);
    return ORGAN_OBJECT(SET_HEAD("organ.noise_pairs/1", "noise-pairs/1"),
                        SET("pairs", organ_json_rows(2, pair_json, job)), SET("change", change_json(job)),
                        SET("parameters", ORGAN_OBJECT(SET_COUNT("draws", o->draws), SET_COUNT("seed", o->seed),
                                                       SET_BYTES_OF("modules", o->modules))),
                        SET("verdict", verdict_json(job, &all)), SET("total", fold_json(json_object(), &all, 0)),
                        SET("matrices", organ_compared_matrices_json(job)),
                        SET("projections", organ_compared_projections_json(&folding)),
                        SET("layers", organ_compared_layers_json(&folding, /*places=*/false)),
                        SET("places", organ_compared_layers_json(&folding, /*places=*/true)),
                        SET("modules", organ_json_rows(job->count, module_json, job)),
                        SET_SENTENCES("organ.noise_pairs/1", "definitions", NULL),
                        SET_SENTENCES("organ.noise_pairs/1", "thresholds", NULL), SET("run", run_json(job)));
}

/* ---- the verb ---- */

static const organ_comparison two_noises = {.check = refuse_same,
                                            .need = organ_pairs_need,
                                            .room = {"rows", "of all models in one thread"},
                                            .measure = organ_pairs_measure,
                                            .remark = remark,
                                            .document = pairs_document};

organ_status organ_noise_pairs(const organ_noise_pairs_options *o, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_noise_pairs_options, o, report, error, "clean[0]", o->clean[0], "noisy[0]", o->noisy[0],
                         "clean[1]", o->clean[1], "noisy[1]", o->noisy[1]))
        return error->status;
    const bool adapter = o->change && is_adapter(o->change), tuned = o->change && !adapter;
    organ_compared_job job = {.pairs = o,
                              .comparison = &two_noises,
                              .engine = engine,
                              .adapter_path = adapter ? o->change : NULL,
                              .path = {o->clean[0], o->noisy[0], o->clean[1], o->noisy[1], tuned ? o->change : NULL},
                              .sources = tuned ? ORGAN_TUNED + 1 : ORGAN_TUNED,
                              .output = o->output,
                              .requested = o->modules,
                              .draws = o->draws,
                              .seed = o->seed,
                              .force = o->force,
                              .change = adapter ? ORGAN_CHANGE_ADAPTER : ORGAN_CHANGE_BETWEEN};
    if (tuned)
        job.change = ORGAN_CHANGE_TUNED;
    return organ_compared_run(&job, o->access, progress, report, error);
}
