/* SPDX-License-Identifier: MIT
 * Divides tensors into row ranges and computes the digests of their new bytes. */
#include "orchestrator/output/stretches.h"
#include "orchestrator/output/journal.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct stretches_digest {
    size_t tensor;
    uint64_t hashed;    /* bytes of the tensor that are digested, from its beginning */
    XXH3_state_t *hash; /* their state */
    struct stretches_digest *next;
} stretches_digest;

/* The digests are in any order. Only the thread that digests a tensor uses the members of its digest. */
struct organ_stretches_digests {
    pthread_mutex_t lock; /* guards the list */
    stretches_digest *list;
};

typedef struct stretch_plan {
    organ_matrices m;        /* the tensor's matrices: their number, and rows and columns of each */
    uint64_t row_bytes, all; /* bytes of a row; rows of all matrices together */
    uint64_t step;           /* rows of a range: some whole matrices, or some rows of one matrix */
} stretch_plan;

/* Ranges have at most about ORGAN_STRETCH_BYTES and end at multiples of `rows` in a matrix, or at the ends of matrices.
 * A tensor of at most ORGAN_STRETCH_BYTES, or any tensor with ORGAN_STRETCH_WHOLE, stays one range. */
static stretch_plan stretch_plan_for(const organ_tensor *tensor, uint64_t rows)
{
    stretch_plan k = {.m = organ_tensor_matrices(tensor)};
    k.step = k.all = k.m.count * k.m.rows;
    if (rows == ORGAN_STRETCH_WHOLE || tensor->bytes <= ORGAN_STRETCH_BYTES)
        return k;
    k.row_bytes = tensor->bytes / k.all;
    /* Cut inside matrices only if one matrix is too large. The ranges get about equal sizes, each a multiple of
     * `granule` rows. */
    const bool inside = rows < k.m.rows && k.m.rows * k.row_bytes > ORGAN_STRETCH_BYTES;
    const uint64_t granule = inside ? rows : k.m.rows, extent = inside ? k.m.rows : k.all;
    const uint64_t max = organ_max(ORGAN_STRETCH_BYTES / (granule * k.row_bytes), 1) * granule,
                   ranges = organ_pieces_of(extent, max);
    k.step = organ_pieces_of(organ_pieces_of(extent, ranges), granule) * granule;
    return k;
}

/* Rows are counted over all matrices. If `step` is less than the rows of a matrix, a range ends at the latest at the
 * end of its matrix. */
static uint64_t rows_until_end(const stretch_plan *k, uint64_t row)
{
    const uint64_t remaining = k->step < k->m.rows ? k->m.rows - row % k->m.rows : k->all - row;
    return remaining < k->step ? remaining : k->step;
}

/* The range has some whole matrices, or some rows of one matrix, as a tensor of rank 3. A whole tensor keeps its
 * name and shape. Returns false if out of memory. */
static bool add_stretch(organ_stretches *stretches, size_t *capacity, size_t t, const stretch_plan *k, uint64_t row,
                        uint64_t rows)
{
    const organ_tensor *const tensor = stretches->tensors[t];
    if (!organ_grow(&stretches->list, stretches->count, capacity, sizeof *stretches->list))
        return false;
    organ_stretch *const c = &stretches->list[stretches->count];
    *c = (organ_stretch){.tensor = *tensor, .unit = tensor->name, .of = t};
    if (rows < k->all) {
        char *const unit = organ_arena_take(&stretches->names, strlen(tensor->name) + 32);
        const bool stacked = rows >= k->m.rows;
        if (!unit)
            return false;
        sprintf(unit, stacked ? "%s (matrix %" PRIu64 ")" : "%s (row %" PRIu64 ")", tensor->name,
                stacked ? row / k->m.rows : row);
        c->unit = unit;
        c->at = row * k->row_bytes;
        c->shape[0] = stacked ? rows / k->m.rows : 1;
        c->shape[1] = stacked ? k->m.rows : rows;
        c->shape[2] = k->m.cols;
        c->tensor.rank = 3;
        c->tensor.elements = rows * k->m.cols;
        c->tensor.bytes = rows * k->row_bytes;
        c->tensor.offset += c->at;
    }
    stretches->count++;
    return true;
}

/* Returns false if memory runs out. */
static bool divide_tensor(organ_stretches *stretches, size_t *capacity, size_t t, uint64_t rows)
{
    const stretch_plan k = stretch_plan_for(stretches->tensors[t], rows);
    stretches->first[t] = stretches->count;
    if (k.all == 0)
        return add_stretch(stretches, capacity, t, &k, 0, 0);
    for (uint64_t row = 0, n; row < k.all; row += n)
        if (!add_stretch(stretches, capacity, t, &k, row, n = rows_until_end(&k, row)))
            return false;
    return true;
}

organ_status organ_stretches_make(const organ_tensor *const *tensors, size_t count, uint64_t rows,
                                  organ_stretches *stretches, organ_error *error)
{
    size_t capacity = 0;
    *stretches = (organ_stretches){.tensors = tensors, .tensor_count = count};
    stretches->first = calloc(count + 1, sizeof *stretches->first);
    stretches->xxh3 = calloc(count + 1, sizeof *stretches->xxh3);
    stretches->digests = calloc(1, sizeof *stretches->digests);
    if (stretches->digests)
        pthread_mutex_init(&stretches->digests->lock, NULL);
    bool made = stretches->digests && stretches->first && stretches->xxh3;
    for (size_t t = 0; t < count && made; t++)
        made = divide_tensor(stretches, &capacity, t, rows);
    if (!made)
        return organ_fail_memory(error, "the row ranges of large tensors");
    stretches->list = organ_rows_to_file(stretches->list, stretches->count * sizeof *stretches->list);
    stretches->first[count] = stretches->count;
    for (size_t k = 0; k < stretches->count; k++) /* shapes are set last: growing the list moved them */
        if (!organ_stretches_is_whole(stretches, k))
            stretches->list[k].tensor.shape = stretches->list[k].shape;
    return ORGAN_OK;
}

static void free_digest(stretches_digest *digest)
{
    if (digest)
        XXH3_freeState(digest->hash);
    free(digest);
}

static void free_digests(struct organ_stretches_digests *digests)
{
    if (!digests)
        return;
    for (stretches_digest *d = digests->list, *next; d; d = next) {
        next = d->next;
        free_digest(d);
    }
    pthread_mutex_destroy(&digests->lock);
    free(digests);
}

void organ_stretches_release(organ_stretches *stretches)
{
    organ_arena_release(&stretches->names);
    free_digests(stretches->digests);
    organ_rows_free(stretches->list);
    free(stretches->first);
    free(stretches->xxh3);
    *stretches = (organ_stretches){0};
}

static size_t range_count(const organ_stretches *stretches, size_t t)
{
    return stretches->first[t + 1] - stretches->first[t];
}

bool organ_stretches_is_whole(const organ_stretches *stretches, size_t stretch)
{
    return range_count(stretches, stretches->list[stretch].of) == 1;
}

static stretches_digest *take_digest(struct organ_stretches_digests *digests, size_t t)
{
    ORGAN_LOCKED(&digests->lock);
    stretches_digest **at = &digests->list;
    while (*at && (*at)->tensor != t)
        at = &(*at)->next;
    stretches_digest *const found = *at;
    if (found)
        *at = found->next;
    return found;
}

static void keep_digest(struct organ_stretches_digests *digests, stretches_digest *digest)
{
    ORGAN_LOCKED(&digests->lock);
    digest->next = digests->list;
    digests->list = digest;
}

/* Reuses `d`, or creates a digest if that is NULL. Returns NULL without memory. */
static stretches_digest *begin_digest(stretches_digest *d, size_t t)
{
    if (!d && (d = calloc(1, sizeof *d)) && !(d->hash = XXH3_createState()))
        organ_clear(&d);
    if (d) {
        d->tensor = t;
        d->hashed = 0;
        XXH3_64bits_reset(d->hash);
    }
    return d;
}

/* Bytes that do not directly follow the bytes digested so far are ignored. */
organ_status organ_stretches_digest(organ_stretches *stretches, size_t stretch, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error)
{
    const organ_stretch *const c = &stretches->list[stretch];
    const uint64_t from = c->at + at, all = stretches->tensors[c->of]->bytes;
    stretches_digest *d = take_digest(stretches->digests, c->of);
    if (from == 0 && !(d = begin_digest(d, c->of)))
        return organ_fail_memory(error, "the digest of a tensor");
    if (!d)
        return ORGAN_OK; /* another run or rank wrote the earlier bytes: organ_stretches_complete reads all */
    if (d->hashed == from) {
        XXH3_64bits_update(d->hash, data, bytes);
        d->hashed += bytes;
    }
    if (d->hashed < all) {
        keep_digest(stretches->digests, d);
        return ORGAN_OK;
    }
    snprintf(stretches->xxh3[c->of], sizeof *stretches->xxh3, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(d->hash));
    free_digest(d);
    return ORGAN_OK;
}

/* ---- tensors that were written in row ranges ---- */

typedef struct stretches_place {
    const organ_model *model;
    uint32_t file;
} stretches_place;

static organ_status read_written(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    const stretches_place *const p = context;
    return organ_model_read(p->model, p->file, data, bytes, offset, error);
}

typedef struct stretches_reading {
    organ_stretches *stretches;
    const organ_model *written;
} stretches_reading;

/* Returns 0 for a tensor that was written as one range, because its digest is known. */
static uint64_t bytes_to_read(const void *context, size_t t)
{
    const organ_stretches *const stretches = ((const stretches_reading *)context)->stretches;
    return range_count(stretches, t) > 1 ? stretches->tensors[t]->bytes : 0;
}

/* bytes_to_read cannot check whether this rank digested the tensor while writing it: it must return the same on all
 * ranks, but each rank has only the digests of tensors that it wrote. */
static organ_status digest_written(void *context, size_t t, organ_error *error)
{
    const stretches_reading *const r = context;
    const organ_tensor *const whole = r->stretches->tensors[t];
    const organ_tensor *const there = organ_model_find(r->written, whole->name);
    if (range_count(r->stretches, t) == 1 || r->stretches->xxh3[t][0])
        return ORGAN_OK;
    if (!there || there->bytes != whole->bytes)
        return organ_fail(error, ORGAN_IO, "%s: the written output lacks tensor '%s'", r->written->path, whole->name);
    const stretches_place here = {r->written, there->file};
    return organ_run_digest(read_written, &here, there->offset, there->bytes, NULL, r->stretches->xxh3[t], error);
}

organ_status organ_stretches_complete(organ_stretches *stretches, const organ_model *written, organ_ranks *ranks,
                                      organ_error *error)
{
    stretches_reading r = {stretches, written};
    ORGAN_RELEASED_BY(organ_assignment_release) organ_assignment assignment = {0};
    if (organ_assignment_create(ranks, stretches->tensor_count, bytes_to_read, &r, &assignment, error) == ORGAN_OK)
        organ_assignment_run(&assignment, digest_written, &r, error);
    organ_assignment_complete(&assignment, "computing digests", stretches->xxh3, sizeof *stretches->xxh3,
                              sizeof *stretches->xxh3, error);
    return error->status;
}

/* ---- removing sparsity_config from config.json if no tensor is stored as it describes ---- */

#define LEFTOVER "sparsity_config"
#define CONFIG   "config.json"

/* Sparse tensors are stored as a bitmask and the values that are not zero, which sparsity_config describes. */
static bool has_sparse_tensors(const organ_model *model)
{
    static const char *const leaves[] = {".bitmask", ".compressed", ".row_offsets"};
    for (size_t t = 0; t < model->tensor_count; t++)
        for (size_t k = 0; k < sizeof leaves / sizeof *leaves; k++)
            if (organ_ends_with(model->tensors[t].name, leaves[k]))
                return true;
    return false;
}

organ_status organ_leftovers_strip(const organ_model *model, organ_json_edit *config, size_t *stripped,
                                   organ_error *error)
{
    return has_sparse_tensors(model) ? ORGAN_OK : organ_json_edit_remove(config, LEFTOVER, stripped, error);
}

bool organ_config_open(const organ_model *model, const char *label, organ_json_edit *config, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    *config = (organ_json_edit){0};
    return !model->gguf && organ_model_load(model, CONFIG, ORGAN_CONFIG_LIMIT, &bytes, &length, error) == ORGAN_OK &&
           bytes && organ_json_edit_begin(config, label, bytes, length, error) == ORGAN_OK;
}

organ_status organ_config_set(organ_json_edit *config, const char *name, json_t *value, bool both, organ_error *error)
{
    const bool text = organ_json_edit_has(config, NULL, "text_config"),
               inside = text && (both || organ_json_edit_has(config, "text_config", name));
    if (!value)
        organ_fail_memory(error, name);
    else if (inside)
        organ_json_edit_set(config, "text_config", name, value, error);
    if (!error->status && (!inside || both || organ_json_edit_has(config, NULL, name)))
        organ_json_edit_set(config, NULL, name, value, error);
    json_decref(value);
    return error->status;
}

organ_status organ_config_replace(const char *to, const organ_json_edit *config, organ_error *error)
{
    ORGAN_OWNED char *const path = organ_format("%s/" CONFIG, to);
    if (!path)
        return organ_fail_memory(error, to);
    if (organ_remove_file(path) == 0) /* organ_text_write creates files and does not replace them */
        organ_text_write(path, config->bytes, error);
    else if (errno != ENOENT)
        organ_fail_errno(error, errno, "%s: cannot be replaced", path);
    return error->status;
}

/* The copy is written only if a setting was removed. */
organ_status organ_leftovers_strip_copy(const organ_model *model, const char *to, size_t *stripped, organ_error *error)
{
    size_t found = 0;
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit config = {0};
    if (!model->manifest && organ_config_open(model, CONFIG, &config, error) &&
        organ_leftovers_strip(model, &config, &found, error) == ORGAN_OK && found && to)
        organ_config_replace(to, &config, error);
    *stripped += found;
    return error->status;
}

void organ_leftovers_note(const organ_progress *progress, size_t stripped)
{
    if (stripped)
        organ_progress_note(progress, CONFIG
                            ": " LEFTOVER
                            " is removed: no tensor is stored as it describes, and servers reject a model with it");
}

void organ_leftovers_report(json_t *document, size_t stripped)
{
    if (stripped)
        ORGAN_ADD(document, SET("left_out_settings", json_pack("[s]", LEFTOVER)));
}
