/* SPDX-License-Identifier: MIT */
#include "formats/imatrix/imatrix_parts.h"

#include "formats/base/files.h"
#include "formats/base/text.h"
#include "formats/gguf/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static organ_status set_datasets(organ_gguf_writer *writer, const organ_imatrix_text *text, organ_error *error)
{
    size_t size = 0, at = 0;
    for (size_t k = 0; k < text->count; k++)
        size += sizeof(uint64_t) + strlen(text->names[k]);
    ORGAN_OWNED unsigned char *const bytes = malloc(size + 1);
    if (!bytes)
        return organ_fail_memory(error, "an importance matrix");
    for (size_t k = 0; k < text->count; k++) {
        const uint64_t length = strlen(text->names[k]);
        memcpy(bytes + at, &length, sizeof length);
        memcpy(bytes + at + sizeof length, text->names[k], (size_t)length);
        at += sizeof length + (size_t)length;
    }
    return organ_gguf_writer_set_array(writer, "imatrix.datasets", ORGAN_GGUF_STRING, text->count, bytes, size, error);
}

/* Like ggml, leaves out a dimension of 1 after the first. */
static organ_status add_tensor(organ_gguf_writer *writer, const char *name, const char *suffix, uint64_t rows,
                               uint64_t cols, organ_error *error)
{
    char full[2 * ORGAN_GGUF_NAME_LIMIT];
    const uint64_t shape[2] = {rows, cols};
    snprintf(full, sizeof full, "%s%s", name, suffix);
    return organ_gguf_writer_tensor(writer, full, ORGAN_F32, rows > 1 ? 2 : 1, rows > 1 ? shape : &shape[1], error);
}

/* The keys and tensors are those that llama-imatrix of llama.cpp writes. */
static organ_status describe(organ_gguf_writer *writer, const organ_imatrix_text *text, const organ_imatrix_sums *sums,
                             size_t count, organ_error *error)
{
    if (organ_gguf_writer_set_string(writer, "general.type", "imatrix", strlen("imatrix"), error) ||
        set_datasets(writer, text, error) ||
        organ_gguf_writer_set_integer(writer, "imatrix.chunk_count", ORGAN_GGUF_U32, (int64_t)text->chunks, error) ||
        organ_gguf_writer_set_integer(writer, "imatrix.chunk_size", ORGAN_GGUF_U32, (int64_t)text->chunk_size, error))
        return error->status;
    for (size_t k = 0; k < count && !error->status; k++)
        if (add_tensor(writer, sums[k].name, ORGAN_IMATRIX_SUMS, sums[k].counts,
                       sums[k].features * sums[k].matrices / sums[k].counts, error) == ORGAN_OK)
            add_tensor(writer, sums[k].name, ORGAN_IMATRIX_COUNTS, sums[k].counts, 1, error);
    return error->status;
}

typedef struct imatrix_file {
    const char *path;
    int fd;      /* -1 before it is created */
    uint64_t at; /* bytes written */
} imatrix_file;

static organ_status put_bytes(imatrix_file *file, const void *bytes, size_t count, organ_error *error)
{
    file->at += count;
    return organ_write_all(file->fd, bytes, count) ? organ_fail_errno(error, errno, "%s: cannot be written", file->path)
                                                   : ORGAN_OK;
}

static organ_status pad_until(imatrix_file *file, uint64_t offset, organ_error *error)
{
    static const unsigned char zeros[512];
    while (file->at < offset && !error->status)
        put_bytes(file, zeros, offset - file->at < sizeof zeros ? (size_t)(offset - file->at) : sizeof zeros, error);
    return error->status;
}

/* Writes number(context, 0), number(context, 1), ... */
static organ_status put_numbers(imatrix_file *file, double (*number)(const void *context, uint64_t k),
                                const void *context, uint64_t count, organ_error *error)
{
    float buffer[1024];
    const size_t limit = sizeof buffer / sizeof *buffer;
    for (uint64_t k = 0; k < count && !error->status; k += limit) {
        const size_t n = count - k < limit ? (size_t)(count - k) : limit;
        for (size_t i = 0; i < n; i++)
            buffer[i] = (float)number(context, k + i);
        put_bytes(file, buffer, n * sizeof *buffer, error);
    }
    return error->status;
}

static organ_status write_gguf(imatrix_file *file, const organ_imatrix_text *text, const organ_imatrix_sums *sums,
                               size_t count, organ_error *error)
{
    organ_gguf_writer *writer = NULL;
    organ_gguf_layout layout;
    if (organ_gguf_writer_create(&writer, error) == ORGAN_OK && describe(writer, text, sums, count, error) == ORGAN_OK)
        organ_gguf_writer_finish(writer, &layout, error);
    if (!error->status)
        put_bytes(file, layout.bytes, layout.size, error);
    for (size_t k = 0; k < count && !error->status; k++) {
        const organ_imatrix_sums *const s = &sums[k];
        if (pad_until(file, layout.offsets[2 * k], error) == ORGAN_OK &&
            put_numbers(file, s->sum, s->source, s->matrices * s->features, error) == ORGAN_OK &&
            pad_until(file, layout.offsets[2 * k + 1], error) == ORGAN_OK)
            put_numbers(file, s->tokens, s->source, s->counts, error);
    }
    if (!error->status)
        pad_until(file, layout.file_size, error);
    organ_gguf_writer_destroy(writer);
    return error->status;
}

/* ---- the older format (imatrix.c describes it) ---- */

typedef struct dat_entry {
    const organ_imatrix_sums *sums;
    uint64_t chunks; /* the greatest count, in chunks */
} dat_entry;

/* The mean of the squares times the chunks, rounded to FP32 at each step as llama-imatrix does. */
static double dat_value(const void *context, uint64_t k)
{
    const dat_entry *const e = context;
    const organ_imatrix_sums *const s = e->sums;
    const float tokens = (float)s->tokens(s->source, k / (s->matrices * s->features / s->counts)),
                sum = (float)s->sum(s->source, k);
    return (double)((tokens > 0 ? sum / tokens : 1) * (float)e->chunks);
}

static double most_tokens(const organ_imatrix_sums *sums)
{
    double most = 0;
    for (uint64_t c = 0; c < sums->counts; c++)
        most = fmax(most, sums->tokens(sums->source, c));
    return most;
}

static organ_status put_count(imatrix_file *file, uint64_t count, organ_error *error)
{
    if (count > INT32_MAX)
        return organ_refuse(error, file->path,
                            "this format holds numbers up to 2147483647, not %" PRIu64 ": write GGUF", count);
    unsigned char bytes[4];
    for (unsigned k = 0; k < sizeof bytes; k++)
        bytes[k] = (unsigned char)(count >> 8 * k);
    return put_bytes(file, bytes, sizeof bytes, error);
}

static organ_status put_text(imatrix_file *file, const char *text, organ_error *error)
{
    return put_count(file, strlen(text), error) ? error->status : put_bytes(file, text, strlen(text), error);
}

static organ_status write_dat(imatrix_file *file, const organ_imatrix_text *text, const organ_imatrix_sums *sums,
                              size_t count, organ_error *error)
{
    size_t reached = 0;
    for (size_t k = 0; k < count; k++)
        reached += most_tokens(&sums[k]) > 0;
    put_count(file, reached, error);
    for (size_t k = 0; k < count && !error->status; k++) {
        dat_entry e = {.sums = &sums[k]};
        const double most = most_tokens(e.sums);
        e.chunks = ((uint64_t)most + text->chunk_size - 1) / text->chunk_size;
        if (most > 0 && put_text(file, e.sums->name, error) == ORGAN_OK &&
            put_count(file, e.chunks, error) == ORGAN_OK &&
            put_count(file, e.sums->matrices * e.sums->features, error) == ORGAN_OK)
            put_numbers(file, dat_value, &e, e.sums->matrices * e.sums->features, error);
    }
    return error->status || put_count(file, text->chunks, error)
               ? error->status
               : put_text(file, text->count ? text->names[text->count - 1] : "", error);
}

organ_status organ_imatrix_format_of(const char *path, const char *name, organ_imatrix_format *format,
                                     organ_error *error)
{
    if (name && strcmp(name, "gguf") != 0 && strcmp(name, "dat") != 0)
        return organ_fail(error, ORGAN_USAGE, "`format` '%s' is unknown: gguf or dat", name);
    const bool old = name ? strcmp(name, "dat") == 0 : organ_ends_with(path, ".dat");
    *format = old ? ORGAN_IMATRIX_DAT : ORGAN_IMATRIX_GGUF;
    return ORGAN_OK;
}

organ_status organ_imatrix_write(const char *path, organ_imatrix_format format, const organ_imatrix_text *text,
                                 const organ_imatrix_sums *sums, size_t count, organ_error *error)
{
    imatrix_file file = {path, organ_open(path, O_WRONLY | O_CREAT | O_EXCL, 0666), 0};
    if (file.fd < 0)
        return organ_fail_errno(error, errno, "%s: cannot be created", path);
    (format == ORGAN_IMATRIX_DAT ? write_dat : write_gguf)(&file, text, sums, count, error);
    if (close(file.fd) && !error->status)
        organ_fail_errno(error, errno, "%s: cannot be written", path);
    return error->status;
}

/* Roles (organ_role) do not distinguish these tensors, but their inputs differ. */
typedef enum find_kind { PLAIN, EXPERT, SHARED } find_kind;

static bool contains_text(const char *text, const char *part) { return strstr(text, part) != NULL; }

static find_kind kind_of_name(const char *name, const organ_anatomy *anatomy)
{
    char module[256];
    organ_anatomy_module(name, module, sizeof module);
    if (contains_text(module, "shared_") || contains_text(module, "shexp"))
        return SHARED;
    if (anatomy->role == ORGAN_ROLE_ROUTER)
        return PLAIN; /* the module may contain "block_sparse_moe.", but all tokens reach the router */
    return anatomy->expert >= 0 || contains_text(module, "experts.") || contains_text(module, "_exps") ||
                   contains_text(module, "block_sparse_moe.")
               ? EXPERT
               : PLAIN;
}

/* For each role, the roles whose tensors have the same inputs, in order of search; ORGAN_ROLE_OTHER ends them. */
static const organ_role same_inputs[ORGAN_ROLE_COUNT][5] = {
    [ORGAN_ROLE_Q] = {ORGAN_ROLE_Q, ORGAN_ROLE_QKV},
    [ORGAN_ROLE_K] = {ORGAN_ROLE_K, ORGAN_ROLE_QKV},
    [ORGAN_ROLE_V] = {ORGAN_ROLE_V, ORGAN_ROLE_QKV},
    [ORGAN_ROLE_QKV] = {ORGAN_ROLE_QKV, ORGAN_ROLE_Q, ORGAN_ROLE_K, ORGAN_ROLE_V},
    [ORGAN_ROLE_O] = {ORGAN_ROLE_O},
    [ORGAN_ROLE_GATE] = {ORGAN_ROLE_GATE, ORGAN_ROLE_GATE_UP},
    [ORGAN_ROLE_UP] = {ORGAN_ROLE_UP, ORGAN_ROLE_GATE_UP},
    [ORGAN_ROLE_GATE_UP] = {ORGAN_ROLE_GATE_UP, ORGAN_ROLE_UP, ORGAN_ROLE_GATE},
    [ORGAN_ROLE_DOWN] = {ORGAN_ROLE_DOWN},
    [ORGAN_ROLE_ROUTER] = {ORGAN_ROLE_ROUTER},
    [ORGAN_ROLE_OUTPUT] = {ORGAN_ROLE_OUTPUT},
    [ORGAN_ROLE_IN_PROJ] = {ORGAN_ROLE_IN_PROJ, ORGAN_ROLE_QKV, ORGAN_ROLE_ATTN_GATE},
    [ORGAN_ROLE_OUT_PROJ] = {ORGAN_ROLE_OUT_PROJ},
    [ORGAN_ROLE_X_PROJ] = {ORGAN_ROLE_X_PROJ},
    [ORGAN_ROLE_DT_PROJ] = {ORGAN_ROLE_DT_PROJ},
    [ORGAN_ROLE_Q_A] = {ORGAN_ROLE_Q_A, ORGAN_ROLE_KV_A},
    [ORGAN_ROLE_KV_A] = {ORGAN_ROLE_KV_A, ORGAN_ROLE_Q_A, ORGAN_ROLE_Q},
    [ORGAN_ROLE_Q_B] = {ORGAN_ROLE_Q_B},
    [ORGAN_ROLE_KV_B] = {ORGAN_ROLE_KV_B},
    [ORGAN_ROLE_MTP] = {ORGAN_ROLE_MTP},
};

typedef struct find_requested {
    int32_t layer;
    int64_t expert; /* number of the expert in its layer; -1 for a tensor that is no expert */
    find_kind kind;
} find_requested;

/* The entry of a stack of experts fits each expert. */
static bool fits_request(const organ_imatrix_entry *e, const find_requested *request, organ_role role)
{
    return e->anatomy.role == role && e->anatomy.layer == request->layer &&
           (e->anatomy.expert < 0 || e->anatomy.expert == request->expert) &&
           kind_of_name(e->name, &e->anatomy) == request->kind;
}

/* Only entries of the first role that has any count. *second is a further entry of that role, or NULL. */
static const organ_imatrix_entry *find_by_role(const organ_imatrix *imatrix, const find_requested *request,
                                               const organ_role *roles, const organ_imatrix_entry **second)
{
    const organ_imatrix_entry *found = NULL;
    *second = NULL;
    for (; *roles != ORGAN_ROLE_OTHER && !found; roles++)
        for (size_t k = 0; k < imatrix->entry_count && !*second; k++)
            if (fits_request(&imatrix->entries[k], request, *roles)) {
                const organ_imatrix_entry **const to = found ? second : &found;
                *to = &imatrix->entries[k];
            }
    return found;
}

/* llama.cpp's converter reorders the heads of linear_attn.out_proj for Qwen3.5, but not for Qwen3-Next. Only
 * Qwen3-Next has an entry ssm_ba, so the lack of that entry shows the reordering. */
static bool has_other_columns(const organ_imatrix_state *s, const char *tensor, int32_t layer)
{
    char name[48];
    snprintf(name, sizeof name, "blk.%d.ssm_ba.weight", (int)layer);
    return contains_text(tensor, "linear_attn.out_proj") && !organ_name_table_find(&s->names, name);
}

organ_status organ_imatrix_find(const organ_imatrix *imatrix, const char *tensor, const organ_anatomy *anatomy,
                                int64_t expert, uint64_t experts, organ_imatrix_place *place, organ_error *error)
{
    const organ_imatrix_state *const s = (const organ_imatrix_state *)imatrix;
    const size_t *const same = organ_name_table_find(&s->names, tensor);
    const find_requested request = {anatomy->layer, expert, expert >= 0 ? EXPERT : kind_of_name(tensor, anatomy)};
    const organ_imatrix_entry *second = NULL;
    const organ_imatrix_entry *const found =
        same ? &s->entries[*same] : find_by_role(imatrix, &request, same_inputs[anatomy->role], &second);
    if (found && !same && has_other_columns(s, tensor, anatomy->layer))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': llama.cpp has the columns of %s's '%s' in another order of heads: leave the "
                          "tensor out with `targets`",
                          tensor, s->file.name, found->name);
    if (!found)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': %s has no entry for it among its %zu ('%s', ...)",
                          tensor, s->file.name, imatrix->entry_count, imatrix->entries[0].name);
    if (second)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': %s has two matching entries, '%s' and '%s'", tensor,
                          s->file.name, found->name, second->name);
    /* an entry without the number of an expert has the statistics of all experts of the layer */
    const bool stacked = expert >= 0 && found->anatomy.expert < 0;
    *place = (organ_imatrix_place){found, stacked ? (uint64_t)expert : 0, stacked ? experts : 1};
    return ORGAN_OK;
}
