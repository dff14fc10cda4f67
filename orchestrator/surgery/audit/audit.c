/* SPDX-License-Identifier: MIT
 * Compares a pruned model, called the copy, with its donor. Reads both models in step, band by band. Counts the
 * elements of target tensors in four classes (zero before, killed, kept, changed), and the bytes of all other tensors
 * that differ. A problem is a sentence about a difference that pruning does not explain. */
#include "orchestrator/surgery/audit/audit.h"
#include "orchestrator/surgery/audit/audit_smoothed.h"

#include "formats/base/files.h"
#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/schema/schema.h"

#include <errno.h>
#include <math.h>
#include <organ/machine.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAP_BLOCK 256 /* argument `block` of organ_tile_map: the default block size of physarum v1 */

typedef struct counted {
    organ_audit_counts counts; /* for a target: its elements by class */
    uint64_t different;        /* for any other tensor: number of bytes that differ */
    char xxh3[17];             /* of a row range that is a whole tensor: digest of its bytes in the copy */
} counted;

typedef struct audit_finding {
    const organ_tensor *donor, *copy; /* copy: NULL if absent or of another shape or dtype */
    bool target;                      /* the tensor is a target: pruning may change it */
    size_t pair;                      /* index in audit.pairs, if there is a counterpart */
    counted found;                    /* all 0 without a counterpart */
} audit_finding;

typedef struct audit {
    const organ_audit_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *donor, *copy;
    organ_targets targets;
    audit_finding *findings; /* one per tensor of the donor */
    audit_finding **pairs;   /* findings with a counterpart in the copy */
    size_t pair_count;
    const organ_tensor **sides; /* the tensors of `pairs`: pair_count of the donor, then their counterparts */
    organ_compared compared;    /* the pairs in stretches that are divided among ranks */
    counted *counts;            /* counts of each row range */
    organ_problems problems;    /* the differences that pruning does not explain */
    struct {
        char *path;                /* of prune.jsonl; NULL: the copy has none */
        size_t listed, same;       /* tensors of the record with a known digest; those that still have it */
    } record;                      /* the digests that the run of the copy has recorded */
    char fingerprint[17];          /* fingerprint of the donor (organ_model_fingerprint) */
    organ_audit_smoothed smoothed; /* how a smoothed copy differs */
    json_t *tile_map;              /* map of killed weights; NULL: no target is a matrix */
    double started;                /* organ_seconds_now() at the start of the audit */
} audit;

/* Adds a problem and returns NULL if the copy has no tensor of the same name, type and shape. */
static const organ_tensor *find_counterpart(audit *a, const organ_tensor *donor)
{
    const organ_tensor *copy = organ_model_find(a->copy, donor->name);
    char was[ORGAN_SHAPE_TEXT], is[ORGAN_SHAPE_TEXT];
    if (!copy) {
        organ_problem_add(&a->problems, "tensor '%s' is missing in %s", donor->name, a->copy->path);
        return NULL;
    }
    if (copy->dtype == donor->dtype && ORGAN_SAME_SHAPE(copy, donor))
        return copy;
    organ_problem_add(&a->problems, "tensor '%s' is %s %s in the donor and %s %s in %s", donor->name,
                      organ_dtype_describe(donor->dtype)->name, organ_shape_text(donor->rank, donor->shape, was),
                      organ_dtype_describe(copy->dtype)->name, organ_shape_text(copy->rank, copy->shape, is),
                      a->copy->path);
    return NULL;
}

static void tally_bytes(const unsigned char *x, const unsigned char *y, size_t bytes, counted *result)
{
    if (memcmp(x, y, bytes) == 0)
        return;
    for (size_t k = 0; k < bytes; k++)
        result->different += x[k] != y[k];
}

static void add_counted(counted *sum, const counted *more)
{
    sum->counts.zero_before += more->counts.zero_before;
    sum->counts.killed += more->counts.killed;
    sum->counts.kept += more->counts.kept;
    sum->counts.changed += more->counts.changed;
    sum->different += more->different;
}

static void compare_bytes(const audit *a, const audit_finding *f, const void *was, const void *is, size_t bytes,
                          counted *found)
{
    const organ_kernels *const kernels = a->engine->kernels;
    counted one = {0};
    if (!f->target)
        tally_bytes(was, is, bytes, found);
    else if (f->donor->dtype == ORGAN_F32)
        kernels->audit_32(was, is, bytes / 4, &one.counts);
    else
        kernels->audit_16(was, is, bytes / 2, &one.counts);
    add_counted(found, &one);
}

static void compare_tile(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const audit *a = context;
    const organ_stretch *const stretch = &a->compared.stretches.list[tile->item];
    const audit_finding *const f = a->pairs[stretch->of];
    (void)scratch;
    if (!organ_audit_is_scaled(&a->smoothed, f->donor)) {
        compare_bytes(a, f, tile->data, tile->other, tile->bytes, result);
        return;
    }
    unsigned char scaled[ORGAN_AUDIT_CHUNK];
    for (size_t at = 0, part; at < tile->bytes; at += part) {
        part = organ_min(ORGAN_AUDIT_CHUNK, tile->bytes - at);
        organ_audit_scale(&a->smoothed, f->donor, stretch->at + tile->at + at, (const char *)tile->data + at, part,
                          scaled);
        compare_bytes(a, f, scaled, (const char *)tile->other + at, part, result);
    }
}

/* A tensor is digested in the order of its row ranges. */
static bool audit_follows(const void *context, size_t item)
{
    const organ_stretch *const list = ((const audit *)context)->compared.stretches.list;
    return list[item].of == list[item - 1].of;
}

static organ_status retire_band(void *context, const organ_band *band, organ_error *error)
{
    audit *a = context;
    const organ_stretch *const stretch = &a->compared.stretches.list[band->item];
    if (organ_stretches_digest(&a->compared.stretches, band->item, band->other, band->bytes,
                               band->offset - stretch->tensor.offset, error))
        return error->status;
    for (size_t t = 0; t < band->tiles; t++)
        add_counted(&a->counts[band->item], (const counted *)band->results + t);
    if (organ_stretches_is_whole(&a->compared.stretches, band->item))
        memcpy(a->counts[band->item].xxh3, a->compared.stretches.xxh3[stretch->of], sizeof a->counts->xxh3);
    return ORGAN_OK;
}

static void audit_tell(void *context, size_t item)
{
    const audit *const a = context;
    const organ_stretch *const stretch = &a->compared.stretches.list[item];
    const organ_tensor *const donor = a->pairs[stretch->of]->donor;
    if (stretch->at + stretch->tensor.bytes == donor->bytes)
        organ_progress_advance(a->progress, /*bytes=*/0, donor->name, /*remark=*/NULL);
}

static void audit_advance(void *context, uint64_t bytes)
{
    organ_progress_advance(((const audit *)context)->progress, 2 * bytes, /*tensor=*/NULL, /*remark=*/NULL);
}

/* If most weights to be pruned have another type or are missing, the copy was quantised or converted: one sentence says
 * so in place of a list of all its tensors. */
static void join_problems(audit *a)
{
    size_t targets = 0, others = 0;
    for (size_t t = 0; t < a->donor->tensor_count; t++) {
        targets += a->findings[t].target;
        others += a->findings[t].target && !a->findings[t].copy;
    }
    if (2 * others <= targets)
        return;
    json_array_clear(a->problems.sentences);
    a->problems.more = 0;
    organ_problem_add(
        &a->problems,
        "%zu of the %zu tensors to be pruned have another type or shape in %s or are missing there, as "
        "in a quantised or converted copy; 'organ evaluate DONOR COPY --text FILE' measures the loss of one",
        others, targets, a->copy->path);
}

static organ_status pair_up(audit *a, organ_error *error)
{
    const size_t count = a->donor->tensor_count;
    a->findings = organ_rows_take(count + 1, sizeof *a->findings);
    a->pairs = organ_rows_take(count + 1, sizeof *a->pairs);
    a->problems.sentences = json_array();
    if (!a->findings || !a->pairs || !a->problems.sentences)
        return organ_fail_errno(error, ENOMEM, "%s", a->donor->path);
    for (size_t t = 0; t < count; t++) {
        audit_finding *f = &a->findings[t];
        *f = (audit_finding){.donor = &a->donor->tensors[t], .target = a->targets.chosen[t]};
        if ((f->copy = find_counterpart(a, f->donor)))
            a->pairs[f->pair = a->pair_count++] = f;
        organ_rows_passed();
    }
    for (size_t t = 0; t < a->copy->tensor_count; t++)
        if (!organ_model_find(a->donor, a->copy->tensors[t].name))
            organ_problem_add(&a->problems, "tensor '%s' of %s is not in the donor", a->copy->tensors[t].name,
                              a->copy->path);
    join_problems(a);
    return ORGAN_OK;
}

/* Wrong statements of the files, such as the total size in the index, count only beyond those that the donor's files
 * have too. */
static bool has_more_warnings(const audit *a) { return a->copy->warning_count > a->donor->warning_count; }

static organ_status count_share(audit *a, organ_error *error)
{
    const organ_pass pass = {.model = a->donor,
                             .other = a->copy,
                             .items = a->compared.items,
                             .item_count = a->compared.stretches.count,
                             .result_bytes = sizeof(counted),
                             .context = a,
                             .work = compare_tile,
                             .retire = retire_band,
                             .follows = audit_follows,
                             .tell = audit_tell,
                             .advance = audit_advance};
    if (organ_pass_run(&pass, a->engine, error) == ORGAN_OK && organ_model_unchanged(a->donor, error) == ORGAN_OK)
        organ_model_unchanged(a->copy, error);
    return error->status;
}

static organ_status divide_pairs(audit *a, uint64_t *bytes, organ_error *error)
{
    const organ_tensor **const sides = a->sides = calloc(2 * a->pair_count + 1, sizeof *sides);
    if (!sides)
        return organ_fail_memory(error, a->donor->path);
    for (size_t k = 0; k < a->pair_count; k++) {
        sides[k] = a->pairs[k]->donor;
        sides[a->pair_count + k] = a->pairs[k]->copy;
        *bytes += 2 * a->pairs[k]->donor->bytes;
    }
    organ_compared_make(sides, sides + a->pair_count, a->pair_count, a->engine->ranks, &a->compared, error);
    a->counts = organ_rows_take(a->compared.stretches.count + 1, sizeof *a->counts);
    if (!a->counts)
        organ_fail_memory(error, a->donor->path);
    return error->status;
}

/* Each rank counts its share of the row ranges; then every rank has all counts and adds them up by tensor. */
static organ_status compare_models(audit *a, organ_error *error)
{
    uint64_t bytes = 0;
    const bool divided = divide_pairs(a, &bytes, error) == ORGAN_OK;
    organ_progress_begin(a->progress, "auditing", bytes, a->pair_count);
    if (divided)
        count_share(a, error);
    organ_assignment_complete(&a->compared.assignment, "auditing the tensors", a->counts, sizeof *a->counts,
                              sizeof *a->counts, error);
    for (size_t k = 0; k < a->compared.stretches.count && !error->status; k++) {
        const size_t pair = a->compared.stretches.list[k].of;
        add_counted(&a->pairs[pair]->found, &a->counts[k]);
        if (a->counts[k].xxh3[0]) /* of another rank, too */
            memcpy(a->compared.stretches.xxh3[pair], a->counts[k].xxh3, sizeof a->counts->xxh3);
    }
    organ_progress_end(a->progress);
    return error->status;
}

/* ---- the record of the run that made the copy: prune.jsonl among its reports ----
 *
 * It has a digest of each pruned tensor. Files of two runs pass all other checks of an audit. Ranks: rank 0 looks for
 * the record, so that all ranks agree on whether there is one. */

#define LARGEST_RECORD ((size_t)1 << 30) /* bytes; a larger file is an error */

static organ_status find_record(audit *a, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    const organ_model *const copy = a->copy;
    const bool remote = copy->file_count > 0 && copy->files[0].remote,
               single = !copy->whole_directory && !copy->index && organ_output_is_file(copy->path);
    char *const path = organ_output_report_path(copy->directory, copy->path, single, ORGAN_PRUNE_LINES);
    if (!path)
        organ_fail_memory(error, copy->path);
    const bool there = path && !remote && access(path, R_OK) == 0;
    if (organ_ranks_gather(a->engine->ranks, "looking for the record", there ? "1" : "0", 1, &all, error) == ORGAN_OK &&
        all.of[0][0] == '1')
        a->record.path = path;
    else
        free(path);
    return error->status;
}

static const char *digest_in_copy(const audit *a, const char *tensor)
{
    const organ_tensor *const donor = organ_model_find(a->donor, tensor);
    const audit_finding *const f = donor ? &a->findings[donor - a->donor->tensors] : NULL;
    return f && f->copy && a->compared.stretches.xxh3[f->pair][0] ? a->compared.stretches.xxh3[f->pair] : NULL;
}

typedef struct file_count {
    size_t listed, other; /* tensors of the record in the file; those with another digest */
} file_count;

/* Lines without a tensor of the copy are ignored. */
static void compare_line(const audit *a, const json_t *line, file_count *counts)
{
    const char *const name = json_string_value(json_object_get(line, "tensor"));
    const char *const recorded = json_string_value(json_object_get(line, "xxh3"));
    const organ_tensor *const tensor = name ? organ_model_find(a->copy, name) : NULL;
    const char *const found = tensor && recorded ? digest_in_copy(a, name) : NULL;
    if (!found)
        return;
    counts[tensor->file].listed++;
    counts[tensor->file].other += strcmp(found, recorded) != 0;
}

static void report_files(audit *a, const file_count *counts)
{
    for (size_t f = 0; f < a->copy->file_count; f++) {
        a->record.listed += counts[f].listed;
        a->record.same += counts[f].listed - counts[f].other;
        if (counts[f].other)
            organ_problem_add(&a->problems,
                              "%s: %zu of its %zu pruned tensors do not have the bytes that the run of %s wrote: the "
                              "file is of another run, or was changed later",
                              a->copy->files[f].name, counts[f].other, counts[f].listed, a->record.path);
    }
}

static organ_status compare_record(audit *a, organ_error *error)
{
    const char *const path = a->record.path;
    ORGAN_OWNED_ROWS char *text = NULL;
    size_t length = 0;
    bool no_memory = false;
    json_error_t fault;
    ORGAN_OWNED file_count *const counts = calloc(a->copy->file_count + 1, sizeof *counts);
    if (!counts)
        organ_fail_memory(error, path);
    else if (organ_input_load_rows(path, path, LARGEST_RECORD, &text, &length, error) == ORGAN_OK) {
        for (const char *at = text, *end; (end = memchr(at, '\n', length - (size_t)(at - text))); at = end + 1) {
            ORGAN_OWNED_JSON json_t *const line =
                organ_json_load(at, (size_t)(end - at), JSON_REJECT_DUPLICATES, &fault, &no_memory);
            compare_line(a, line, counts);
            organ_rows_passed();
        }
        if (no_memory)
            organ_fail_memory(error, path);
        else
            report_files(a, counts);
    }
    return error->status;
}

static organ_status check_record(audit *a, organ_error *error)
{
    if (find_record(a, error) || !a->record.path ||
        organ_stretches_complete(&a->compared.stretches, a->copy, a->engine->ranks, error))
        return error->status;
    return compare_record(a, error);
}

/* A problem is a difference that pruning does not explain, a fault that opening the copy found, or a warning of the
 * copy if the donor has fewer. */
static void report_changed_tensors(audit *a)
{
    for (size_t t = 0; t < a->donor->tensor_count; t++) {
        const audit_finding *f = &a->findings[t];
        if (organ_audit_is_scaled(&a->smoothed, f->donor) && (f->found.counts.changed || f->found.different))
            organ_problem_add(&a->problems, "tensor '%s' is not the donor's times the factors of its folds",
                              f->donor->name);
        else if (f->target && f->found.counts.changed && !a->options->compensated)
            organ_problem_add(&a->problems,
                              "tensor '%s': %llu of %llu weights are neither the donor's nor zero (a refit "
                              "changes kept weights: --refitted counts them)",
                              f->donor->name, (unsigned long long)f->found.counts.changed,
                              (unsigned long long)f->donor->elements);
        else if (!f->target && f->found.different)
            organ_problem_add(
                &a->problems, "tensor '%s' is not a target, but %llu of its %llu bytes differ from the donor's",
                f->donor->name, (unsigned long long)f->found.different, (unsigned long long)f->donor->bytes);
    }
    for (size_t k = 0; k < a->copy->problem_count; k++)
        organ_problem_add(&a->problems, "%s", a->copy->problems[k]);
    for (size_t k = 0; k < a->copy->warning_count && has_more_warnings(a); k++)
        organ_problem_add(&a->problems, "%s", a->copy->warnings[k]);
}

/* Returns whether the shards are those that the donor's index names, and adds problems. */
static bool index_valid(audit *a)
{
    const bool needed = a->donor->index != NULL;
    size_t moved = 0;
    for (size_t t = 0; needed && t < a->donor->tensor_count; t++) {
        const audit_finding *f = &a->findings[t];
        moved += f->copy && strcmp(a->donor->files[f->donor->file].name, a->copy->files[f->copy->file].name) != 0;
    }
    if (needed && !a->copy->index)
        organ_problem_add(&a->problems, "%s has no %s", a->copy->path, a->donor->index);
    if (moved)
        organ_problem_add(&a->problems, "%zu tensors of %s are in other shards than in the donor", moved,
                          a->copy->path);
    return (!needed || a->copy->index) && moved == 0 && a->copy->problem_count == 0 && !has_more_warnings(a);
}

/* The target weights in an allowed class (`accounted`) and the weights of other tensors must add up to the full
 * model, and both models must have the same number of weights. Adds a problem for each of these that is false. */
static bool denominators_agree(audit *a, uint64_t accounted)
{
    uint64_t others = 0;
    for (size_t t = 0; t < a->donor->tensor_count; t++)
        others += a->findings[t].target ? 0 : a->donor->tensors[t].elements;
    const uint64_t full = organ_model_elements(a->donor), copy = organ_model_elements(a->copy);
    if (accounted != a->targets.elements)
        organ_problem_add(&a->problems, "only %llu of %llu target weights were compared", (unsigned long long)accounted,
                          (unsigned long long)a->targets.elements);
    if (full != copy)
        organ_problem_add(&a->problems, "the donor has %llu weights, %s has %llu", (unsigned long long)full,
                          a->copy->path, (unsigned long long)copy);
    return accounted == a->targets.elements && a->targets.elements + others == full && full == copy;
}

typedef struct audit_sums {
    uint64_t accounted; /* target weights in an allowed class: "changed" is allowed only with --refitted */
    uint64_t changed;   /* target weights in the class "changed" */
    size_t others;      /* tensors that are no target */
    size_t identical;   /* tensors that are no target and have the same bytes in the copy */
    size_t comparable;  /* tensors with a counterpart in the copy */
} audit_sums;

static audit_sums sum_up(const audit *a)
{
    audit_sums s = {0};
    for (size_t t = 0; t < a->donor->tensor_count; t++) {
        const audit_finding *f = &a->findings[t];
        s.comparable += f->copy != NULL;
        s.accounted += f->found.counts.zero_before + f->found.counts.killed + f->found.counts.kept +
                       (a->options->compensated ? f->found.counts.changed : 0);
        s.changed += f->found.counts.changed;
        s.others += !f->target;
        s.identical += !f->target && f->copy && f->found.different == 0;
    }
    return s;
}

/* `denominators`: result of denominators_agree. The function may add problems (index_valid). */
static json_t *checks_json(audit *a, const audit_sums *s, bool denominators)
{
    const size_t count = a->donor->tensor_count;
    char accounted[32], targets[32];
    json_t *checks = json_array();
    organ_check_add(checks, "dtype and shape preserved", s->comparable == count && a->copy->tensor_count == count,
                    "%zu of %zu tensors", s->comparable, count);
    organ_check_add(checks,
                    a->options->compensated ? "target weights are zero, the donor's or refitted"
                                            : "target weights are the donor's or zero",
                    s->accounted == a->targets.elements, "%s of %s", organ_count_text(s->accounted, accounted),
                    organ_count_text(a->targets.elements, targets));
    organ_check_add(checks, "other tensors byte-identical", s->identical == s->others, "%zu of %zu", s->identical,
                    s->others);
    organ_check_add(checks, "index valid", index_valid(a), "%s",
                    a->donor->index ? a->donor->index : "none needed: the donor has none");
    organ_check_add(checks, "denominators add up", denominators, "targets and others add up to the full model");
    if (a->record.path)
        organ_check_add(checks, "pruned tensors are of the run of the report", a->record.same == a->record.listed,
                        "%zu of %zu", a->record.same, a->record.listed);
    return checks;
}

static json_t *run_json(const audit *a)
{
    const double seconds = organ_seconds_now() - a->started;
    uint64_t bytes = 0;
    for (size_t k = 0; k < a->pair_count; k++)
        bytes += 2 * a->pairs[k]->donor->bytes;
    return ORGAN_OBJECT(SET_BYTES("donor", a->options->donor), SET_BYTES("pruned", a->options->pruned),
                        SET_REAL("seconds", organ_rounded_seconds(seconds)),
                        SET_REAL("bytes_per_second", seconds > 0 ? round((double)bytes / seconds) : 0.0),
                        SET_ENGINE(a->engine));
}

/* `present`: only targets that have a counterpart in the copy. `as_reported`: with --refitted, changed weights
 * count as kept. The caller frees the array with organ_rows_free; NULL if out of memory. */
static organ_tally *tally_rows(const audit *a, bool present, bool as_reported, size_t *count)
{
    organ_tally *rows = organ_rows_take(a->targets.count + 1, sizeof *rows);
    const bool compensated = a->options->compensated && as_reported;
    *count = 0;
    for (size_t t = 0; rows && t < a->donor->tensor_count; t++) {
        const audit_finding *f = &a->findings[t];
        organ_rows_passed();
        if (f->target && (f->copy || !present))
            rows[(*count)++] = (organ_tally){.tensor = f->donor,
                                             .zero_before = f->found.counts.zero_before,
                                             .killed = f->found.counts.killed,
                                             .kept = f->found.counts.kept + (compensated ? f->found.counts.changed : 0),
                                             .changed = compensated ? 0 : f->found.counts.changed};
    }
    return rows;
}

/* The rows of "tensors" list changed weights separately, also with --refitted. Returns false if memory
 * cannot be allocated. */
static bool add_counts(json_t *document, const audit *a)
{
    size_t count;
    ORGAN_OWNED_ROWS organ_tally *rows = tally_rows(a, /*present=*/false, /*as_reported=*/true, &count),
                                 *plain = tally_rows(a, /*present=*/false, /*as_reported=*/false, &count);
    return rows && plain && organ_tally_add(document, a->donor, rows, count) == 0 &&
           ORGAN_ADD(document, SET("matrices", organ_matrices_json(a->donor, a->targets.chosen)),
                     SET("tensors", organ_tally_tensors(plain, count, /*audit=*/true)),
                     SET_IF(a->tile_map, "tile_map", json_incref(a->tile_map)));
}

static organ_status map_tiles(audit *a, organ_error *error)
{
    size_t count;
    ORGAN_OWNED_ROWS organ_tally *rows = tally_rows(a, /*present=*/true, /*as_reported=*/false, &count);
    if (!rows)
        return organ_fail_errno(error, ENOMEM, "%s", a->donor->path);
    organ_tile_map(a->donor, a->copy, rows, count, MAP_BLOCK, a->engine, &a->tile_map, error);
    return error->status;
}

static json_t *document_of(audit *a)
{
    const audit_sums s = sum_up(a);
    const bool denominators = denominators_agree(a, s.accounted);
    json_t *checks = checks_json(a, &s, denominators); /* adds problems, so it must run before they are listed */
    const char *const definition = a->options->compensated ? "compensated-pruning/1" : "physarum-v1/1";
    json_t *document =
        ORGAN_OBJECT(SET_HEAD("organ.audit/1", definition), SET("donor", organ_donor_json(a->donor, a->fingerprint)),
                     SET("parameters", ORGAN_OBJECT(SET_BYTES_OF("targets", a->options->targets))),
                     SET_IF(a->smoothed.forward, "smoothed", organ_audit_smoothed_json(&a->smoothed)),
                     SET_IF(a->options->compensated, "compensated", json_integer((json_int_t)s.changed)));
    json_t *const tail = ORGAN_OBJECT(
        SET_FLAG("denominator_correct", denominators),
        SET("untouched", ORGAN_OBJECT(SET_COUNT("tensors", s.others), SET_COUNT("identical", s.identical))),
        SET("checks", checks), SET("problems", organ_problems_json(&a->problems)),
        SET_SENTENCES("organ.audit/1", "definitions", ORGAN_OBJECT(SET_FLAG("named", a->options->targets))));
    const bool complete = document && add_counts(document, a);
    document = organ_json_joined(document, tail);
    json_t *const last = complete
                             ? ORGAN_OBJECT(SET("errata", organ_errata_of_audit(document, a->options->compensated)),
                                            SET("run", run_json(a)))
                             : NULL;
    return organ_json_joined(document, last);
}

static organ_status open_both(audit *a, organ_error *error)
{
    if (organ_model_open_with(a->options->donor, a->options->access, &a->donor, error) ||
        organ_model_open_with(a->options->pruned, a->options->access, &a->copy, error))
        return error->status;
    if (a->donor->problem_count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s", a->donor->problems[0]);
    if (organ_targets_select_floats(a->donor, a->options->targets, "pruned", &a->targets, error))
        return error->status;
    return organ_model_fingerprint(a->donor, a->fingerprint, error);
}

/* Returns ORGAN_CHECK_FAILED, with the first problem in the message, if there are problems. */
static organ_status audit_copy(audit *a, json_t **report, organ_error *error)
{
    if (open_both(a, error) || pair_up(a, error) ||
        organ_audit_find_smoothed(a->donor, a->copy, a->engine, &a->smoothed, error) || compare_models(a, error))
        return error->status;
    organ_audit_smoothed_problems(&a->smoothed, &a->problems);
    report_changed_tensors(a);
    if (check_record(a, error) || map_tiles(a, error))
        return error->status;
    *report = document_of(a);
    if (*report)
        organ_problems_judge(&a->problems, error, "%s is not a pruning of %s", a->options->pruned, a->options->donor);
    return error->status;
}

static void close_audit(audit *a)
{
    json_decref(a->problems.sentences);
    json_decref(a->tile_map);
    organ_audit_smoothed_release(&a->smoothed);
    free(a->record.path);
    organ_targets_release(&a->targets);
    organ_model_close(a->donor);
    organ_model_close(a->copy);
    organ_compared_release(&a->compared);
    free(a->sides);
    organ_rows_free(a->counts);
    organ_rows_free(a->findings);
    organ_rows_free(a->pairs);
}

organ_status organ_audit_pruned(const organ_audit_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error)
{
    audit a = {.options = options, .engine = engine, .progress = progress, .started = organ_seconds_now()};
    const organ_report_work work = organ_report_begin(report);
    audit_copy(&a, report, error);
    close_audit(&a);
    return organ_report_end(&work, options->pruned, error);
}
