/* SPDX-License-Identifier: MIT
 * --for: refuses an output that a program does not open, before any weight is read, and names the nearest scheme that
 * it opens. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"
#include "orchestrator/verbs/quantize/quantize_verb.h"

#include "formats/architecture/pairing.h"
#include "formats/base/text.h"
#include "orchestrator/surgery/readers/readers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct readers_check {
    const organ_quantize_job *job;
    unsigned readers; /* bits 1 << organ_reader */
    organ_forms forms;
} readers_check;

static bool is_wanted(unsigned readers, organ_reader reader) { return readers >> reader & 1; }

/* ---- forms of the output ---- */

/* Adds the form of a weight whose matrices have `rows` x `cols` values. */
static organ_status add_form(readers_check *c, const organ_weight *weight, const organ_encoding *encoding,
                             uint64_t rows, uint64_t cols, organ_error *error)
{
    const organ_quantize_inputs *const inputs = c->job->inputs;
    const organ_grid *const grid = &encoding->grid;
    organ_form form = organ_form_of_encoding(encoding, organ_encoding_kind(c->job->encoding));
    form.traits = weight->anatomy.expert >= 0 || weight->rank > 2 ? ORGAN_FORM_EXPERT : 0;
    form.traits |= inputs && !inputs->unasked ? ORGAN_FORM_ROUNDED : 0;
    form.traits |= inputs && organ_quantize_static(c->job->options) ? ORGAN_FORM_STATIC : 0;
    form.traits |=
        grid->scale_of == ORGAN_SCALE_BLOCK && (rows % grid->size || cols % grid->size) ? ORGAN_FORM_CLIPPED : 0;
    return organ_forms_add(&c->forms, &form, weight->name, error);
}

/* Adds the forms of all widths that each target may get. */
static organ_status add_widths(readers_check *c, const organ_quantize_widths *widths, organ_error *error)
{
    for (size_t k = 0; k < widths->targets.count; k++) {
        const organ_weight weight = organ_weight_plain(widths->targets.tensors[k]);
        for (size_t level = 0; level < ORGAN_WIDTH_LEVELS && !error->status; level++)
            add_form(c, &weight, organ_quantize_width_encoding(widths, k, level), weight.shape[0], weight.shape[1],
                     error);
    }
    return error->status;
}

static organ_status add_listed(readers_check *c, organ_error *error)
{
    const organ_quantize_job *const job = c->job;
    const bool gguf = organ_encoding_is_gguf(job->encoding);
    for (size_t k = 0; k < job->list.part_count && !error->status; k++) {
        const organ_quantize_part *const part = organ_quantize_next_part(job, k);
        add_form(c, part->weight, part->encoding, part->rows, part->cols, error);
    }
    for (size_t k = 0; k < job->list.piece_count && !error->status; k++) {
        const organ_tensor *const same = job->list.pieces[k].same;
        if (!same)
            continue;
        const organ_form form = organ_form_of_tensor(same, gguf);
        organ_forms_add(&c->forms, &form, same->name, error);
    }
    return error->status;
}

static organ_status add_forms(readers_check *c, organ_error *error)
{
    const organ_quantize_job *const job = c->job;
    const bool undecided = job->widths && !job->list.part_count;
    return undecided ? add_widths(c, job->widths, error) : add_listed(c, error);
}

/* ---- the nearest scheme ---- */

/* Returns the stored bits of a weight in long rows, but for scales of larger blocks. */
static double bits_of(const organ_encoding *encoding)
{
    enum { COLUMNS = 256 };
    const bool groups = encoding->grid.scale_of != ORGAN_SCALE_GGUF && encoding->grid.size && encoding->grid.bits;
    const double scale = groups ? 8.0 * (double)organ_encoding_scale_bytes(encoding) / (double)encoding->grid.size : 0;
    return 8.0 * (double)organ_encoding_row_bytes(encoding, COLUMNS) / COLUMNS + scale;
}

/* The type by which rules know the model if the output has this kind. */
static const char *type_in(const readers_check *c, organ_kind kind)
{
    const organ_model *const model = c->job->model;
    const forward_pairing *const pairing = model->gguf ? NULL : organ_pairing_of_type(model->config.model_type);
    return kind == ORGAN_KIND_GGUF && pairing ? pairing->gguf : model->config.model_type;
}

static bool all_open(const readers_check *c, const organ_encoding *encoding, organ_kind kind, unsigned traits)
{
    organ_form form = organ_form_of_encoding(encoding, kind);
    form.traits = traits;
    return organ_readers_worst(c->readers, type_in(c, kind), &form) == ORGAN_OPENS;
}

static bool has_floats(const organ_encoding *encoding) { return strstr(encoding->name, "fp") != NULL; }

/* Returns how unlike an encoding is to the one that --scheme asks for: in bits of a weight, of which mixed widths have
 * those of the budget, and a little for another kind of codes. */
static double distance(const readers_check *c, const organ_encoding *encoding)
{
    static const double other_codes = 0.25;
    const organ_quantize_widths *const widths = c->job->widths;
    const organ_encoding *const asked = c->job->encoding;
    const double bits = widths ? widths->budget / (double)widths->targets.elements : bits_of(asked);
    return fabs(bits_of(encoding) - bits) + (has_floats(encoding) == has_floats(asked) ? 0 : other_codes);
}

/* Returns the scheme of this kind that all readers open and that is nearest to the one asked for; NULL: none. */
static const organ_encoding *nearest_of(const readers_check *c, organ_kind kind, unsigned traits)
{
    const organ_encoding *best = NULL;
    char name[ORGAN_SCHEME_ROOM];
    for (const char *at = ORGAN_QUANTIZE_SCHEMES; *at; at += strcspn(at, "|"), at += *at == '|') {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "|"), at);
        const organ_encoding *const e = organ_encoding_for(name, kind);
        if (e && !organ_encoding_is_mixed(e) && all_open(c, e, kind, traits) &&
            (!best || distance(c, e) < distance(c, best)))
            best = e;
    }
    return best;
}

/* Writes the end of a message, which names a scheme for the same kind of output or, if there is none, for another. */
static const char *nearest(const readers_check *c, unsigned traits, char text[128])
{
    static const char *const how[] = {[ORGAN_KIND_TENSORS] = " without --format",
                                      [ORGAN_KIND_GGUF] = " to OUT.gguf",
                                      [ORGAN_KIND_MLX] = " with --format mlx"};
    const organ_kind own = organ_encoding_kind(c->job->encoding);
    const organ_encoding *found = nearest_of(c, own, traits);
    organ_kind kind = own;
    for (organ_kind other = ORGAN_KIND_TENSORS; !found && other <= ORGAN_KIND_MLX; other++)
        if (other != own && (other != ORGAN_KIND_TENSORS || !c->job->model->gguf)) {
            found = nearest_of(c, other, traits);
            kind = other;
        }
    snprintf(text, 128, found ? "; the nearest scheme that %s is %s%s" : "; there is no scheme that %s",
             (c->readers & (c->readers - 1)) ? "all of them open" : "it opens", found ? found->name : "",
             found && kind != own ? how[kind] : "");
    return text;
}

/* ---- the check ---- */

/* Returns the path that the user gave: the model may be a conversion that will be removed. */
static const char *path_of(const organ_quantize_job *job)
{
    return job->source ? job->source->model : job->model->path;
}

static const char *subject(const organ_opening *row) { return row->member ? row->member : row->form->name; }

static organ_status refuse(const readers_check *c, organ_reader reader, const organ_opening *row, organ_error *error)
{
    char text[128] = "";
    return organ_fail(error, ORGAN_USAGE, "%s: `for` %s: %s does not open this output (%s): %s%s", path_of(c->job),
                      organ_reader_name(reader), organ_reader_program(reader), subject(row), row->why,
                      row->form ? nearest(c, row->form->traits, text) : "");
}

static void note(const readers_check *c, organ_reader reader, const organ_opening *row)
{
    if (row->verdict == ORGAN_OPENS)
        return;
    organ_progress_note(c->job->progress, "%s, %s: %s%s", organ_reader_program(reader), subject(row), row->why,
                        row->verdict == ORGAN_NOT_RUN ? "" : " (it opens the model)");
}

static organ_status check_reader(const readers_check *c, organ_reader reader, const organ_opened *opened,
                                 organ_error *error)
{
    organ_opening rows[ORGAN_OPENINGS];
    const size_t count = organ_reader_opens(reader, opened, rows);
    for (size_t k = 0; k < count && !error->status; k++)
        if (rows[k].verdict == ORGAN_REFUSED)
            refuse(c, reader, &rows[k], error);
        else
            note(c, reader, &rows[k]);
    return error->status;
}

static organ_status check_all(readers_check *c, const json_t *config, organ_error *error)
{
    const organ_quantize_job *const job = c->job;
    const organ_opened opened = {job->model, config, &c->forms, /*named=*/true};
    for (organ_reader r = 0; r < ORGAN_READER_COUNT && !error->status; r++)
        if (is_wanted(c->readers, r))
            check_reader(c, r, &opened, error);
    if (error->status || !is_wanted(c->readers, ORGAN_READER_TRANSFORMERS) ||
        organ_encoding_kind(job->encoding) != ORGAN_KIND_TENSORS)
        return error->status;
    const char *const type = organ_quantize_type_obstacle(job), *const experts = organ_quantize_experts_obstacle(job);
    return type || experts
               ? organ_fail(error, ORGAN_USAGE, "%s: `for` transformers: it does not open %s as %s: %s", path_of(job),
                            job->model->config.architecture, job->encoding->name, type ? type : experts)
               : ORGAN_OK;
}

organ_status organ_quantize_readers_check(const organ_quantize_job *job, organ_error *error)
{
    readers_check c = {.job = job};
    if (!job->options->readers || organ_readers_parse(job->options->readers, &c.readers, error))
        return error->status;
    ORGAN_OWNED_JSON json_t *root = NULL;
    if ((job->model->gguf ||
         organ_model_load_json(job->model, "config.json", "config.json", &root, error) == ORGAN_OK) &&
        add_forms(&c, error) == ORGAN_OK)
        check_all(&c, root, error);
    organ_forms_release(&c.forms);
    return error->status;
}
