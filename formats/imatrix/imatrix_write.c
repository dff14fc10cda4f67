/* SPDX-License-Identifier: MIT */
#include "formats/imatrix/imatrix.h"
#include "formats/imatrix/imatrix_parts.h"

#include "formats/base/files.h"
#include "formats/gguf/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static organ_status set_dataset(organ_gguf_writer *writer, const char *dataset, organ_error *error)
{
    const uint32_t type = ORGAN_GGUF_STRING;
    const uint64_t one = 1, length = strlen(dataset);
    const size_t head = ORGAN_GGUF_ARRAY_HEAD, size = head + sizeof length + (size_t)length;
    unsigned char *const bytes = malloc(size);
    if (!bytes)
        return organ_fail_memory(error, "an importance matrix");
    memcpy(bytes, &type, sizeof type);
    memcpy(bytes + sizeof type, &one, sizeof one);
    memcpy(bytes + head, &length, sizeof length);
    memcpy(bytes + head + sizeof length, dataset, (size_t)length);
    organ_gguf_writer_kv(writer,
                         &(organ_gguf_kv){.key = "imatrix.datasets",
                                          .type = ORGAN_GGUF_ARRAY,
                                          .element = ORGAN_GGUF_STRING,
                                          .count = 1,
                                          .bytes = bytes,
                                          .size = size},
                         error);
    free(bytes);
    return error->status;
}

/* The keys and tensors are those that llama-imatrix of llama.cpp writes. */
static organ_status describe(organ_gguf_writer *writer, const organ_imatrix_text *text, const organ_imatrix_sums *sums,
                             size_t count, organ_error *error)
{
    if (organ_gguf_writer_set_string(writer, "general.type", "imatrix", strlen("imatrix"), error) ||
        set_dataset(writer, text->name, error) ||
        organ_gguf_writer_set_integer(writer, "imatrix.chunk_count", ORGAN_GGUF_U32, (int64_t)text->chunks, error) ||
        organ_gguf_writer_set_integer(writer, "imatrix.chunk_size", ORGAN_GGUF_U32, (int64_t)text->chunk_size, error))
        return error->status;
    for (size_t k = 0; k < count && !error->status; k++) {
        char name[2 * ORGAN_GGUF_NAME_LIMIT];
        const uint64_t of_sums[2] = {sums[k].matrices, sums[k].features}, of_counts[2] = {sums[k].matrices, 1};
        snprintf(name, sizeof name, "%s.in_sum2", sums[k].name);
        if (organ_gguf_writer_tensor(writer, name, ORGAN_F32, 2, of_sums, error))
            return error->status;
        snprintf(name, sizeof name, "%s.counts", sums[k].name);
        organ_gguf_writer_tensor(writer, name, ORGAN_F32, 2, of_counts, error);
    }
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

static organ_status put_numbers(imatrix_file *file, uint64_t offset, const double *numbers, uint64_t count,
                                organ_error *error)
{
    static const unsigned char zeros[512];
    float buffer[1024];
    const size_t limit = sizeof buffer / sizeof *buffer;
    while (file->at < offset)
        if (put_bytes(file, zeros, offset - file->at < sizeof zeros ? (size_t)(offset - file->at) : sizeof zeros,
                      error))
            return error->status;
    for (uint64_t k = 0; k < count && !error->status; k += limit) {
        const size_t n = count - k < limit ? (size_t)(count - k) : limit;
        for (size_t i = 0; i < n; i++)
            buffer[i] = (float)numbers[k + i];
        put_bytes(file, buffer, n * sizeof *buffer, error);
    }
    return error->status;
}

organ_status organ_imatrix_write(const char *path, const organ_imatrix_text *text, const organ_imatrix_sums *sums,
                                 size_t count, organ_error *error)
{
    organ_gguf_writer *writer = NULL;
    organ_gguf_layout layout;
    imatrix_file file = {path, -1, 0};
    if (organ_gguf_writer_create(&writer, error) == ORGAN_OK && describe(writer, text, sums, count, error) == ORGAN_OK)
        organ_gguf_writer_finish(writer, &layout, error);
    if (!error->status && (file.fd = organ_open(path, O_WRONLY | O_CREAT | O_EXCL, 0666)) < 0)
        organ_fail_errno(error, errno, "%s: cannot be created", path);
    if (!error->status)
        put_bytes(&file, layout.bytes, layout.size, error);
    for (size_t k = 0; k < count && !error->status; k++)
        if (put_numbers(&file, layout.offsets[2 * k], sums[k].sums, sums[k].matrices * sums[k].features, error) ==
            ORGAN_OK)
            put_numbers(&file, layout.offsets[2 * k + 1], sums[k].counts, sums[k].matrices, error);
    if (!error->status)
        put_numbers(&file, layout.file_size, NULL, 0, error); /* the padding after the last tensor */
    if (file.fd >= 0 && close(file.fd) && !error->status)
        organ_fail_errno(error, errno, "%s: cannot be written", path);
    organ_gguf_writer_destroy(writer);
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

static const organ_role *same_inputs(organ_role role)
{
    static const organ_role q[] = {ORGAN_ROLE_Q, ORGAN_ROLE_QKV, ORGAN_ROLE_OTHER},
                            k[] = {ORGAN_ROLE_K, ORGAN_ROLE_QKV, ORGAN_ROLE_OTHER},
                            v[] = {ORGAN_ROLE_V, ORGAN_ROLE_QKV, ORGAN_ROLE_OTHER},
                            qkv[] = {ORGAN_ROLE_QKV, ORGAN_ROLE_Q, ORGAN_ROLE_K, ORGAN_ROLE_V, ORGAN_ROLE_OTHER},
                            gate[] = {ORGAN_ROLE_GATE, ORGAN_ROLE_GATE_UP, ORGAN_ROLE_OTHER},
                            up[] = {ORGAN_ROLE_UP, ORGAN_ROLE_GATE_UP, ORGAN_ROLE_OTHER},
                            gate_up[] = {ORGAN_ROLE_GATE_UP, ORGAN_ROLE_UP, ORGAN_ROLE_GATE, ORGAN_ROLE_OTHER},
                            o[] = {ORGAN_ROLE_O, ORGAN_ROLE_OTHER}, down[] = {ORGAN_ROLE_DOWN, ORGAN_ROLE_OTHER},
                            in[] = {ORGAN_ROLE_IN_PROJ, ORGAN_ROLE_QKV, ORGAN_ROLE_ATTN_GATE, ORGAN_ROLE_OTHER},
                            out[] = {ORGAN_ROLE_OUT_PROJ, ORGAN_ROLE_OTHER},
                            x[] = {ORGAN_ROLE_X_PROJ, ORGAN_ROLE_OTHER}, dt[] = {ORGAN_ROLE_DT_PROJ, ORGAN_ROLE_OTHER},
                            q_a[] = {ORGAN_ROLE_Q_A, ORGAN_ROLE_KV_A, ORGAN_ROLE_OTHER},
                            kv_a[] = {ORGAN_ROLE_KV_A, ORGAN_ROLE_Q_A, ORGAN_ROLE_Q, ORGAN_ROLE_OTHER},
                            q_b[] = {ORGAN_ROLE_Q_B, ORGAN_ROLE_OTHER}, kv_b[] = {ORGAN_ROLE_KV_B, ORGAN_ROLE_OTHER},
                            router[] = {ORGAN_ROLE_ROUTER, ORGAN_ROLE_OTHER},
                            output[] = {ORGAN_ROLE_OUTPUT, ORGAN_ROLE_OTHER}, none[] = {ORGAN_ROLE_OTHER};
    static const organ_role *const known[ORGAN_ROLE_COUNT] = {
        [ORGAN_ROLE_Q] = q,           [ORGAN_ROLE_K] = k,
        [ORGAN_ROLE_V] = v,           [ORGAN_ROLE_QKV] = qkv,
        [ORGAN_ROLE_O] = o,           [ORGAN_ROLE_GATE] = gate,
        [ORGAN_ROLE_UP] = up,         [ORGAN_ROLE_GATE_UP] = gate_up,
        [ORGAN_ROLE_DOWN] = down,     [ORGAN_ROLE_ROUTER] = router,
        [ORGAN_ROLE_OUTPUT] = output, [ORGAN_ROLE_IN_PROJ] = in,
        [ORGAN_ROLE_OUT_PROJ] = out,  [ORGAN_ROLE_X_PROJ] = x,
        [ORGAN_ROLE_DT_PROJ] = dt,    [ORGAN_ROLE_Q_A] = q_a,
        [ORGAN_ROLE_KV_A] = kv_a,     [ORGAN_ROLE_Q_B] = q_b,
        [ORGAN_ROLE_KV_B] = kv_b};
    return known[role] ? known[role] : none;
}

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

static const organ_imatrix_entry *find_by_role(const organ_imatrix *imatrix, const find_requested *request,
                                               const organ_role *roles, const organ_imatrix_entry **second)
{
    const organ_imatrix_entry *found = NULL;
    *second = NULL;
    for (; *roles != ORGAN_ROLE_OTHER && !found; roles++)
        for (size_t k = 0; k < imatrix->entry_count && !*second; k++)
            if (fits_request(&imatrix->entries[k], request, *roles))
                *(found ? second : &found) = &imatrix->entries[k];
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
    const find_requested w = {anatomy->layer, expert, expert >= 0 ? EXPERT : kind_of_name(tensor, anatomy)};
    const organ_imatrix_entry *second = NULL;
    const organ_imatrix_entry *const found =
        same ? &s->entries[*same] : find_by_role(imatrix, &w, same_inputs(anatomy->role), &second);
    if (found && !same && has_other_columns(s, tensor, anatomy->layer))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': llama.cpp has the columns of %s's '%s' in another order of heads: leave the "
                          "tensor out with --targets",
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
