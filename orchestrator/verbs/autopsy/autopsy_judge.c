/* SPDX-License-Identifier: MIT
 * Converts the statistics of a weight to findings and remarks. The most likely fault is tested first. If it is found,
 * tests for its consequences are left out: a weight of zeros gets no finding that its spread is too small. */
#include "orchestrator/verbs/autopsy/autopsy_parts.h"

#include "formats/base/format_rest.h"
#include "formats/base/plain_numbers.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MANY          4096 /* number of values from which on the shape of a distribution is judged */
#define ENOUGH        256  /* number of values from which on codes can be distinguished from chance */
#define EXPLODED_MEAN 1.0  /* |mean| and standard deviation above which a weight has exploded */
#define EXPLODED_STD  10.0
#define BIASED        0.2   /* |mean| in standard deviations from which on a mean is biased */
#define COARSELY      3     /* factor of BIASED for weights whose code steps are wider than a standard deviation */
#define SLACK         0.025 /* relative tolerance of the expected spread, whose limits are rounded numbers */
#define DEAD          0.05  /* share of zero rows or columns above which they are a finding */
#define PEAKED        1000  /* excess kurtosis above which a few values cause the spread */
#define PRUNED        0.1   /* share of zeros above which a weight was pruned */

/* The arguments are quoted. Without another model the word ORIGINAL is left in the command for the user to replace. */
static json_t *command_json(const organ_autopsy_job *job, const organ_weight *weight, bool compare)
{
    const char *const original = job->options->other ? job->options->other : "ORIGINAL";
    return organ_json_command((const char *const[]){"organ", compare ? "autopsy" : "inspect", job->options->model,
                                                    compare ? original : "--tensors", "--select", weight->name, NULL});
}

void organ_autopsy_report(organ_autopsy_job *job, bool finding, const organ_weight *weight,
                          const organ_verdict *verdict, const char *value, ...)
{
    char found[400];
    ORGAN_FORMAT_REST(found, value);
    json_t *const row =
        ORGAN_OBJECT(SET_TEXT("tensor", weight->name), SET_TEXT("role", organ_anatomy_role_name(&weight->anatomy)),
                     SET_TEXT("kind", verdict->kind), SET_TEXT("severity", finding ? "finding" : "remark"),
                     SET_TEXT("what", verdict->what), SET_TEXT("value", found), SET_TEXT("range", verdict->range),
                     SET_TEXT("cause", verdict->cause), SET("command", command_json(job, weight, verdict->compare)));
    job->broken = json_array_append_new(finding ? job->findings : job->remarks, row) || job->broken;
}

/* ---- kinds of weights ---- */

static bool is_projection(const organ_weight *w)
{
    return organ_role_describe(w->anatomy.role)->projection && w->rank >= 2;
}

static bool is_table(const organ_weight *w)
{
    return w->anatomy.role == ORGAN_ROLE_EMBED || w->anatomy.role == ORGAN_ROLE_OUTPUT;
}

/* These matrices cannot be all zeros in a working model. */
static bool is_matrix(const organ_weight *w)
{
    return is_projection(w) || is_table(w) || w->anatomy.role == ORGAN_ROLE_ROUTER;
}

static bool is_plain_float(const organ_weight *w)
{
    const organ_dtype d = w->codes->dtype;
    return w->scheme == ORGAN_SCHEME_PLAIN && (d == ORGAN_BF16 || d == ORGAN_F16 || d == ORGAN_F32 || d == ORGAN_F64);
}

/* The type has so few levels in each block that the distribution of values shows nothing. */
static bool is_coarse(const organ_weight *w)
{
    switch (w->codes->dtype) {
    case ORGAN_TQ1_0:
    case ORGAN_TQ2_0:
    case ORGAN_Q1_0:
    case ORGAN_Q2_0:
    case ORGAN_Q2_K:
    case ORGAN_Q3_K:
    case ORGAN_IQ1_S:
    case ORGAN_IQ1_M:
    case ORGAN_IQ2_XXS:
    case ORGAN_IQ2_XS:
    case ORGAN_IQ2_S:
    case ORGAN_IQ3_XXS:
    case ORGAN_IQ3_S:
        return true;
    default:
        return w->bits > 0 && w->bits <= 3;
    }
}

static bool has_zero_points(const organ_weight *w)
{
    return w->scheme == ORGAN_SCHEME_GPTQ || w->scheme == ORGAN_SCHEME_AWQ_GEMM || w->scheme == ORGAN_SCHEME_AWQ_GEMV ||
           ((w->scheme == ORGAN_SCHEME_PACKED || w->scheme == ORGAN_SCHEME_QUARK4) && w->zero);
}

static double largest_magnitude(const organ_weight_stats *v)
{
    return fmax(fabs((double)v->moments.min), fabs((double)v->moments.max));
}

static bool exact_levels(const organ_weight_stats *v) { return v->levels <= ORGAN_AUTOPSY_LEVELS; }

static const char *rows_text(const organ_faulty_rows *rows, char out[128])
{
    size_t used = 0;
    for (uint64_t k = 0; k < rows->count && k < ORGAN_WEIGHT_STATS_ROWS; k++)
        used += (size_t)snprintf(out + used, 128 - used, "%s%llu", k ? ", " : "", (unsigned long long)rows->row[k]);
    if (rows->count > ORGAN_WEIGHT_STATS_ROWS)
        snprintf(out + used, 128 - used, " and %llu more", (unsigned long long)(rows->count - ORGAN_WEIGHT_STATS_ROWS));
    return out;
}

/* ---- kinds of faults ---- */

static void judge_finite(organ_autopsy_job *job, const organ_weight_stats *v)
{
    const organ_moments *const m = &v->moments;
    const organ_matrices shape = organ_weight_matrices(v->weight);
    char rows[128];
    if (m->nan + m->inf == 0)
        return;
    const char *cause = "Values beyond the type became infinite: BF16 or F32 converted to F16 overflows above 65504.";
    if (v->weight->scheme != ORGAN_SCHEME_PLAIN)
        cause = "A code that means NaN (0x7F of E4M3), or a scale that is NaN, infinite or 0xFF of E8M0: "
                "the quantisation went wrong, or codes and scales do not belong together.";
    else if (m->nan > 0 && m->n == 0)
        cause = "All values are lost: a merge or conversion computed with NaN or divided by zero throughout.";
    else if (m->nan > 0)
        cause = "A merge or conversion computed with NaN, divided by zero or overflowed; or the file was damaged.";
    const organ_verdict verdict = {"not_finite", "values that are not finite", "none", cause, false};
    organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict,
                         "%llu NaN, %llu infinite, in %llu of %llu rows: %s", (unsigned long long)m->nan,
                         (unsigned long long)m->inf, (unsigned long long)v->nonfinite_rows.count,
                         (unsigned long long)(shape.count * shape.rows), rows_text(&v->nonfinite_rows, rows));
}

/* Zeros are a finding for matrices and norms, else a remark. Another number is a finding for matrices, else a
 * remark; a single value other than zero is not reported. */
static bool judge_constant(organ_autopsy_job *job, const organ_weight_stats *v)
{
    const organ_moments *const m = &v->moments;
    const organ_role role = v->weight->anatomy.role;
    if (m->n == 0 || m->nan + m->inf > 0 || v->levels != 1)
        return false;
    if (m->zero == m->n) {
        const bool finding = is_matrix(v->weight) || role == ORGAN_ROLE_NORM;
        const organ_verdict verdict = {
            "all_zero", "nothing but zeros", "some values other than zero",
            role == ORGAN_ROLE_BIAS
                ? "A bias that was never trained, or one that the architecture has but does not use: harmless."
                : "It was never loaded or written: a name that did not match while the model was converted, a "
                  "file that was made in its full size and not filled, or scales that are all zero.",
            false};
        organ_autopsy_report(job, finding, v->weight, &verdict, "%llu zeros", (unsigned long long)m->zero);
    } else if (m->n > 1) {
        const organ_verdict verdict = {
            "constant", "all values are the same", "values that differ",
            is_matrix(v->weight) ? "It was never trained or loaded: its values are those of the initialisation."
                                 : "Normal where it was never trained: norms begin as ones.",
            false};
        organ_autopsy_report(job, is_matrix(v->weight), v->weight, &verdict, "%llu times %.6g",
                             (unsigned long long)m->n, (double)m->min);
    }
    return true;
}

/* Returns NULL unless the values look like codes of FP8, FP4 or integers without scales. Weights have standard
 * deviations far below 1, codes of FP8 far above. */
static const char *codes_cause(const organ_weight_stats *v, const char **kind)
{
    const double max = largest_magnitude(v), std = organ_weight_stats_std(v);
    const bool exact = exact_levels(v), integers = exact && v->kind.integers;
    const bool scaled = v->weight->scheme != ORGAN_SCHEME_PLAIN;
    if (max == 448 && std > 1) {
        *kind = "values that are FP8 E4M3 codes";
        return scaled ? "The largest value is 448, the largest code: its scales are all 1, so codes are read as "
                        "values. The scales were "
                        "lost or replaced, and are in the original."
                      : "The largest value is 448, the largest code of FP8 E4M3: codes were read as values, without "
                        "their scales "
                        "(weight_scale_inv or weight_scale), or with one scale of 1 where each block of 128 x 128 has "
                        "its own.";
    }
    if (max == 57344 && std > 1) {
        *kind = "values that are FP8 E5M2 codes";
        return "The largest value is 57344, the largest code of FP8 E5M2: codes were read as values, without their "
               "scales.";
    }
    if (integers && v->levels > 4 && v->levels <= 16 && max <= 15) {
        *kind = "values that are INT4 codes";
        return (double)v->moments.min < 0
                   ? "All values are whole numbers from -8 to 7: INT4 codes without their scales."
                   : "All values are whole numbers from 0 to 15: INT4 codes without zero points and scales.";
    }
    if (integers && v->levels > 1 && v->levels <= 256 && max <= 255) {
        *kind = v->levels <= 4 ? "values that are codes of 2 bits or less" : "values that are INT8 codes";
        return v->levels <= 4 ? "All values are whole numbers of at most four kinds: codes without their scales, or a "
                                "ternary model whose scale is stored elsewhere."
                              : "All values are whole numbers of at most 8 bits: INT8 codes, or packed bytes, without "
                                "their scales.";
    }
    if (exact && v->kind.fp4 && v->levels >= 8 && max == 6) {
        *kind = "values that are FP4 codes";
        return "All values are among 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives: FP4 (E2M1) codes without their "
               "scales.";
    }
    return NULL;
}

static bool judge_codes(organ_autopsy_job *job, const organ_weight_stats *v)
{
    const char *what = NULL;
    if (!is_matrix(v->weight) || v->moments.n < ENOUGH)
        return false;
    const char *const cause = codes_cause(v, &what);
    if (!cause)
        return false;
    char levels[32] = "";
    if (exact_levels(v))
        snprintf(levels, sizeof levels, ", %u levels", (unsigned)v->levels);
    const organ_verdict verdict = {"codes", what, "codes times scales", cause, false};
    organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict, "min %.6g, max %.6g, std %.4g%s",
                         (double)v->moments.min, (double)v->moments.max, organ_weight_stats_std(v), levels);
    return true;
}

static const char *exploded_cause(const organ_weight_stats *v)
{
    if (organ_weight_stats_kurtosis(v) > PEAKED)
        return "A few values dominate: flipped bits, one wrong scale, or an overflow in a merge.";
    if (v->weight->scheme == ORGAN_SCHEME_PLAIN)
        return "A std of some hundreds: codes were read as values, or block-quantised codes with one scale for the "
               "whole tensor "
               "instead of one for each "
               "block; more than that: a scale that divides where it should multiply (weight_scale_inv multiplies, a "
               "global scale of NVFP4 "
               "divides).";
    return "Its scales are too large: of another tensor, the inverse of the right ones, or one scale of the whole "
           "tensor where each "
           "block has its own.";
}

static bool judge_exploded(organ_autopsy_job *job, const organ_weight_stats *v)
{
    const double std = organ_weight_stats_std(v);
    const organ_limits *const faulty = &job->ranges.of[v->weight->anatomy.role].faulty;
    const bool mean = fabs(v->moments.mean) > fmax(EXPLODED_MEAN, faulty->mean),
               spread = std > fmax(EXPLODED_STD, faulty->std_max);
    if (!is_matrix(v->weight) || !(mean || spread))
        return false;
    const organ_verdict verdict = {"exploded", mean ? "exploded mean" : "exploded spread",
                                   "|mean| at most 1, std at most 10", exploded_cause(v), true};
    organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict, "mean %.4g, std %.4g, min %.4g, max %.4g",
                         v->moments.mean, std, (double)v->moments.min, (double)v->moments.max);
    return true;
}

static void range_text(const organ_limits *l, char out[160])
{
    organ_snprintf(out, 160, "|mean| at most %g, std %g to %g, values from %g to %g", l->mean, l->std_min, l->std_max,
                   l->min, l->max);
}

/* *what becomes the name of the first statistic beyond its limits, else NULL. A standard deviation that is too small
 * counts only from 16 values on. */
static bool judge_is_within(const organ_weight_stats *v, const organ_limits *l, const char **what)
{
    const double std = organ_weight_stats_std(v);
    const struct {
        const char *name;
        bool beyond;
    } rows[] = {{"mean", fabs(v->moments.mean) > l->mean},
                {"std too large", std > l->std_max},
                {"std too small", std < l->std_min && v->moments.n >= 16},
                {"min", (double)v->moments.min < l->min},
                {"max", (double)v->moments.max > l->max}};
    *what = NULL;
    for (size_t k = 0; k < sizeof rows / sizeof *rows && !*what; k++)
        *what = rows[k].beyond ? rows[k].name : NULL;
    return *what == NULL;
}

static bool judge_range(organ_autopsy_job *job, const organ_weight_stats *v)
{
    static const struct {
        const char *what, *title, *cause;
    } causes[] = {
        {"mean", "mean out of range",
         "Zero points that are off, a scale that is wrong in some blocks, or values of another tensor."},
        {"std too large", "spread too large",
         "Scales that are too large, of another tensor, or applied twice; or training that diverged."},
        {"std too small", "spread too small",
         "Scales that are too small, applied twice or inverted: the weight has vanished; or it was hardly trained."},
        {"min", "values far out",
         "A few values are far beyond the rest: flipped bits, one wrong scale, or an overflow in a merge."},
        {"max", "values far out",
         "A few values are far beyond the rest: flipped bits, one wrong scale, or an overflow in a merge."}};
    const organ_limits *const faulty = &job->ranges.of[v->weight->anatomy.role].faulty;
    char range[160];
    const char *what;
    if (judge_is_within(v, faulty, &what))
        return false;
    range_text(faulty, range);
    for (size_t k = 0; k < sizeof causes / sizeof *causes; k++)
        if (strcmp(causes[k].what, what) == 0) {
            const organ_verdict verdict = {"range", causes[k].title, range, causes[k].cause, true};
            organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict, "mean %.4g, std %.4g, min %.4g, max %.4g",
                                 v->moments.mean, organ_weight_stats_std(v), (double)v->moments.min,
                                 (double)v->moments.max);
        }
    return true;
}

static void judge_expected(organ_autopsy_job *job, const organ_weight_stats *v)
{
    const organ_limits *const expected = &job->ranges.of[v->weight->anatomy.role].expected;
    organ_limits about = *expected;
    char range[160];
    const char *what;
    about.std_min *= 1 - SLACK;
    about.std_max *= 1 + SLACK;
    if (judge_is_within(v, &about, &what))
        return;
    range_text(expected, range);
    const organ_verdict verdict = {"expected", "outside the expected ranges", range,
                                   "Not a fault: small models have wider weights, large ones narrower.", false};
    organ_autopsy_report(job, /*finding=*/false, v->weight, &verdict, "%s: mean %.4g, std %.4g, min %.4g, max %.4g",
                         what, v->moments.mean, organ_weight_stats_std(v), (double)v->moments.min,
                         (double)v->moments.max);
}

/* Evenly spread values are a finding if there are more than 64 different ones and the type is not coarse: codes may
 * have been read at the wrong bits. A uniform distribution has excess kurtosis -1.2 and the range 3.46 std. For
 * projections a mean of more than BIASED standard deviations from zero is a finding too; for coarse types it must be
 * more than COARSELY times BIASED. */
static void judge_shape(organ_autopsy_job *job, const organ_weight_stats *v)
{
    const double kurtosis = organ_weight_stats_kurtosis(v), std = organ_weight_stats_std(v);
    const double range = (double)v->moments.max - (double)v->moments.min;
    if (!is_matrix(v->weight) || v->moments.n < MANY)
        return;
    if (v->levels > 64 && !is_coarse(v->weight) && kurtosis > -1.3 && kurtosis < -1.1 && range < 4 * std) {
        const organ_verdict verdict = {
            "flat", "evenly spread values, like noise", "excess kurtosis about 0 or more",
            "Trained weights concentrate around zero; these do not. Codes were read with the wrong width, order of "
            "nibbles or layout of words, so that any code is as likely as another; or it was initialised and never "
            "trained.",
            true};
        organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict,
                             "excess kurtosis %.3f, range %.3g standard deviations", kurtosis, range / std);
    }
    if (is_projection(v->weight) && fabs(v->moments.mean) > (is_coarse(v->weight) ? COARSELY : 1) * BIASED * std) {
        const organ_verdict verdict = {
            "biased", "biased mean", "|mean| at most 0.2 std",
            has_zero_points(v->weight)
                ? "Zero points that are off by one shift all values by one step: a GPTQ file of the other "
                  "version (v1 stores the zero point minus one, v2 stores it unchanged), or AWQ read with GPTQ's rule."
                : "Codes of 4 bits or less whose zero point was off by one when they became values (GPTQ v1 "
                  "read as v2 or the reverse), or unsigned codes whose zero point was left out.",
            true};
        organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict,
                             "mean %.4g, %.2f std; a step of 4-bit codes is 0.3 to 0.5 std", v->moments.mean,
                             fabs(v->moments.mean) / std);
    }
}

/* A matrix in a float type that has at most 256 distinct values among MANY or more was quantised before. Up to 32
 * distinct values are a finding, more are a remark. */
static void judge_levels(organ_autopsy_job *job, const organ_weight_stats *v)
{
    if (!is_matrix(v->weight) || !is_plain_float(v->weight) || v->moments.n < MANY || v->levels > 256)
        return;
    char text[160];
    snprintf(text, sizeof text,
             "It was quantised, with one scale for the whole tensor, and stored as %s again: the rounded-off part is "
             "lost.%s",
             organ_dtype_describe(v->weight->codes->dtype)->name,
             v->levels <= 4 ? " Expected in a binary or ternary model." : "");
    const organ_verdict verdict = {"few_levels", "too few levels", "more than 256", text, true};
    organ_autopsy_report(job, v->levels <= 32, v->weight, &verdict, "%u distinct values among %llu",
                         (unsigned)v->levels, (unsigned long long)v->moments.n);
}

static void judge_jumps(organ_autopsy_job *job, const organ_weight_stats *v)
{
    const bool rows = v->row_period > 0, both = rows && v->column_period > 0;
    if (!rows && v->column_period == 0)
        return;
    const organ_verdict verdict = {
        "blocks", "the spread of values jumps between blocks", "neighbours similar",
        "Blocks have the scales of other blocks: a scale grid that is transposed, shifted or of another tensor, "
        "or a block size other than that which it was quantised with (128 x 128 is usual).",
        true};
    organ_autopsy_report(job, /*finding=*/true, v->weight, &verdict, "at multiples of %u %s%s, by a factor of %.2f",
                         rows ? v->row_period : v->column_period, rows ? "rows" : "columns", both ? " and columns" : "",
                         rows ? v->row_factor : v->column_factor);
}

/* `hole`: the zero rows are one piece at the end. Zeros are a finding for a matrix if more than the share DEAD is
 * zero (for rows of embeddings and output heads: more than half), and otherwise a remark; coarse types and columns
 * of a pruned weight get only remarks. Returns whether it is a finding. */
static bool report_dead(organ_autopsy_job *job, const organ_weight_stats *v, bool rows, uint64_t count, uint64_t all,
                        bool hole)
{
    const bool table = rows && is_table(v->weight);
    const bool meant = !rows && job->changes && job->changes[v - job->stats].kind == ORGAN_CHANGE_PRUNED;
    const bool finding = is_matrix(v->weight) && !is_coarse(v->weight) && !meant &&
                         (table ? 2 * count > all : (double)count > DEAD * (double)all);
    const char *cause = "Structured pruning, padding, or channels that died in training or were too small for the "
                        "codes; harmless if intended.";
    if (table && !finding)
        cause = "Padding of the vocabulary, or tokens that never occurred: normal in embeddings.";
    else if (hole)
        cause = "The zeros are one piece at the end: a file that was made in its full size and not filled, as by a "
                "download that was interrupted; or padding to a multiple of the block size.";
    const organ_verdict verdict = {rows ? "dead_rows" : "dead_columns", rows ? "rows of zeros" : "columns of zeros",
                                   "at most 5 percent, and in embeddings half of the rows", cause, false};
    if (rows)
        organ_autopsy_report(job, finding, v->weight, &verdict, "%llu of %llu rows, from %llu to %llu",
                             (unsigned long long)count, (unsigned long long)all, (unsigned long long)v->dead.first,
                             (unsigned long long)v->dead.last);
    else
        organ_autopsy_report(job, finding, v->weight, &verdict, "%llu of %llu columns", (unsigned long long)count,
                             (unsigned long long)all);
    return finding;
}

/* If the weight has no finding, neither here nor earlier (`reported`), a projection of a float type with more than
 * the share PRUNED of zeros gets a remark. */
static void judge_zeros(organ_autopsy_job *job, const organ_weight_stats *v, bool reported)
{
    const organ_matrices shape = organ_weight_matrices(v->weight);
    const uint64_t rows = shape.count * shape.rows, columns = shape.count * shape.cols;
    if (v->weight->rank >= 2 && shape.cols > 1 && v->dead.count > 0)
        reported |= report_dead(job, v, /*rows=*/true, v->dead.count, rows,
                                v->dead.last + 1 == rows && v->dead.last - v->dead.first + 1 == v->dead.count &&
                                    v->dead.count > 1);
    if (v->weight->rank >= 2 && v->dead_columns > 0)
        reported |= report_dead(job, v, /*rows=*/false, v->dead_columns, columns, /*hole=*/false);
    const double share = v->moments.n ? (double)v->moments.zero / (double)v->moments.n : 0;
    if (!reported && is_projection(v->weight) && is_plain_float(v->weight) && share > PRUNED) {
        const organ_verdict verdict = {"zeros", "many zeros", "at most 10 percent", "It was pruned.", false};
        organ_autopsy_report(job, /*finding=*/false, v->weight, &verdict, "%.2f percent of its values", 100 * share);
    }
}

/* The name of the weight is cut from the beginning of the note, because the report contains it already. */
static const char *without_name(const organ_weight_stats *v)
{
    const size_t length = strlen(v->weight->name);
    const bool named = strncmp(v->note, v->weight->name, length) == 0 && strncmp(v->note + length, ": ", 2) == 0;
    return named ? v->note + length + 2 : v->note;
}

/* A weight without finite values, or with equal values, is not judged further. Distribution, levels and expected
 * range are not judged if the values are codes, exploded or beyond the limits of the role, because these tests would
 * report the same fault again. */
bool organ_autopsy_judge(organ_autopsy_job *job, const organ_weight_stats *v)
{
    const size_t before = json_array_size(job->findings);
    if (v->unread || v->note) {
        const organ_verdict verdict = {v->unread ? "unread" : "note",
                                       v->unread ? "not examined" : "a note of the reader", "", "", false};
        organ_autopsy_report(job, /*finding=*/false, v->weight, &verdict, "%s",
                             v->unread ? v->unread : without_name(v));
    }
    if (v->unread)
        return false;
    judge_finite(job, v);
    if (v->moments.n == 0 || judge_constant(job, v))
        return json_array_size(job->findings) > before;
    const bool reported = judge_codes(job, v) || judge_exploded(job, v) || judge_range(job, v);
    if (!reported) {
        judge_shape(job, v);
        judge_levels(job, v);
        judge_expected(job, v);
    }
    judge_jumps(job, v);
    judge_zeros(job, v, reported);
    return json_array_size(job->findings) > before;
}
