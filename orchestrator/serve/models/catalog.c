/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/catalog.h"

#include <organ/base.h>
#include "formats/base/utf8.h"
#include "formats/safetensors/safetensors.h"
#include <organ/machine.h>
#include "orchestrator/serve/models/model_details.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct texts {
    char *details, *summary;
} texts;

/* catalog_put fills the block from its beginning. Without `base` it only computes its size. */
typedef struct layout {
    char *base;  /* memory filled with zeros; NULL: none */
    size_t size; /* bytes appended so far */
} layout;

static void *catalog_put(layout *l, const void *data, size_t size)
{
    char *const at = l->base ? l->base + l->size : NULL;
    l->size += size;
    return at && data ? memcpy(at, data, size) : at;
}

static const char *catalog_put_text(layout *l, const char *text) { return catalog_put(l, text, strlen(text) + 1); }

/* If l->base is NULL, only computes the size of the block; `unused` then stands for the catalog, so that its members
 * can be set. The parts that need alignment (catalog, tensors, files, shapes) are first, then the texts. Consecutive
 * tensors with equal shapes share one stored shape. */
static void lay_out_model(layout *l, const organ_model *model, const texts *t)
{
    organ_catalog unused, *const block = catalog_put(l, NULL, sizeof *block), *const catalog = block ? block : &unused;
    organ_tensor *const tensors = catalog_put(l, model->tensors, model->tensor_count * sizeof *tensors);
    const char **const files = catalog_put(l, NULL, model->file_count * sizeof *files);
    const uint64_t *shape = NULL;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        if (k == 0 || !ORGAN_SAME_SHAPE(tensor - 1, tensor))
            shape = catalog_put(l, tensor->shape, tensor->rank * sizeof *shape);
        if (tensors)
            tensors[k].shape = shape;
    }
    for (size_t k = 0; k < model->tensor_count; k++) {
        const char *const name = catalog_put_text(l, model->tensors[k].name);
        if (tensors)
            tensors[k].name = name;
    }
    for (size_t k = 0; k < model->file_count; k++) {
        const char *const name = catalog_put_text(l, model->files[k].name);
        if (files)
            files[k] = name;
    }
    *catalog = (organ_catalog){.count = model->tensor_count,
                               .file_count = model->file_count,
                               .tensors = tensors,
                               .files = files,
                               .details_length = strlen(t->details)};
    catalog->details = catalog_put_text(l, t->details);
    catalog->summary = catalog_put_text(l, t->summary);
    catalog->bytes = l->size;
}

static unsigned pack_model(const organ_model *model, const texts *t, const char *path, size_t max,
                           organ_catalog **catalog, organ_error *error)
{
    layout l = {0};
    char needed[32], allowed[32];
    lay_out_model(&l, model, t);
    if (l.size > max) {
        organ_fail(error, ORGAN_IO,
                   "'%s': the list of its %zu tensors needs %s of memory, more than the limit (--shelf %s)", path,
                   model->tensor_count, organ_quantity_option(l.size, needed), organ_quantity_option(max, allowed));
        return 507;
    }
    void *const block = mmap(NULL, l.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) {
        organ_fail_errno(error, ENOMEM, "'%s': a list of %zu tensors", path, model->tensor_count);
        return 500;
    }
    lay_out_model(&(layout){.base = block}, model, t);
    *catalog = block;
    return 0;
}

void organ_catalog_free(organ_catalog *catalog)
{
    if (catalog)
        munmap(catalog, catalog->bytes);
}

/* ---- a block of another process ---- */

typedef struct foreign_block {
    char *at; /* address of the block in this process */
    size_t bytes;
    uint64_t base;    /* its address in the other process */
    size_t begin;     /* bytes of the arrays found so far (next_array); after the last one, the offset of shapes and
                         texts. Adopting changes the arrays, so no pointer may refer to bytes before `begin` */
    size_t named;     /* bytes of the names checked so far */
    uint64_t weights; /* size of the tensors checked so far, in their files */
} foreign_block;

/* Returns NULL unless the `size` bytes at the translated address are within the shapes and texts of the block. */
static const void *own_place(const foreign_block *b, const void *pointer, size_t size)
{
    const uint64_t offset = (uint64_t)(uintptr_t)pointer - b->base;
    return offset >= b->begin && offset < b->bytes && size <= b->bytes - offset ? b->at + offset : NULL;
}

/* The last byte of the block is a NUL, so the text ends within it. */
static const char *own_text(const foreign_block *b, const char *text) { return own_place(b, text, 1); }

/* Returns NULL also if the names together are longer than the block: then they overlap, and checking many long
 * overlapping names would take very long even in a short block. */
static const char *own_name(foreign_block *b, const char *text)
{
    const char *const own = own_text(b, text);
    b->named += own ? strlen(own) + 1 : 0;
    return b->named <= b->bytes ? own : NULL;
}

/* Returns NULL also if the shape is not aligned or the rank is too large. */
static const uint64_t *own_shape(const foreign_block *b, const organ_tensor *tensor)
{
    const void *const own = tensor->rank <= ORGAN_SAFETENSORS_RANK_LIMIT
                                ? own_place(b, tensor->shape, tensor->rank * sizeof *tensor->shape)
                                : NULL;
    return (uintptr_t)own % _Alignof(uint64_t) == 0 ? own : NULL;
}

/* An integer of JSON is at most 2^63 - 1. */
static bool sum_is_number(foreign_block *b, const organ_tensor *tensor)
{
    return !__builtin_add_overflow(b->weights, tensor->bytes, &b->weights) && b->weights <= INT64_MAX;
}

static bool adopt_tensor(foreign_block *b, organ_tensor *tensor, size_t files)
{
    const organ_anatomy *const a = &tensor->anatomy;
    tensor->name = own_name(b, tensor->name);
    tensor->shape = own_shape(b, tensor);
    return tensor->name && organ_utf8_valid(tensor->name) && tensor->shape && sum_is_number(b, tensor) &&
           (unsigned)tensor->dtype < ORGAN_DTYPE_COUNT && tensor->file < files &&
           (unsigned)a->role < ORGAN_ROLE_COUNT && (unsigned)a->group <= ORGAN_GROUP_OTHER &&
           (unsigned)a->experts <= ORGAN_EXPERTS_SHARED && organ_anatomy_role_name(a) && a->layer >= -1 &&
           a->expert >= -1;
}

/* Moves b->begin to the end of the array. The array must begin at b->begin, because tensors and files follow the
 * catalog in this order; returns NULL if it does not, or exceeds the block. */
static void *next_array(foreign_block *b, const void *pointer, size_t count, size_t size)
{
    char *const own = b->at + b->begin;
    if ((uint64_t)(uintptr_t)pointer - b->base != b->begin || count > (b->bytes - b->begin) / size)
        return NULL;
    b->begin += count * size;
    return own;
}

static bool is_object(const char *text)
{
    json_error_t fault;
    bool no_memory;
    json_t *const json = organ_json_load(text, strlen(text), 0, &fault, &no_memory);
    const bool object = json_is_object(json);
    json_decref(json);
    return object;
}

/* A malicious model may have taken over the process that wrote the block, so the function checks all members. */
bool organ_catalog_adopt(void *block, size_t bytes, uint64_t base)
{
    organ_catalog *const catalog = block;
    foreign_block b = {.at = block, .bytes = bytes, .base = base, .begin = sizeof *catalog};
    if (bytes <= sizeof *catalog || b.at[bytes - 1] != '\0')
        return false;
    organ_tensor *const tensors = next_array(&b, catalog->tensors, catalog->count, sizeof *tensors);
    const char **const files = tensors ? next_array(&b, catalog->files, catalog->file_count, sizeof *files) : NULL;
    bool good = files != NULL;
    for (size_t k = 0; good && k < catalog->count; k++)
        good = adopt_tensor(&b, &tensors[k], catalog->file_count);
    for (size_t k = 0; good && k < catalog->file_count; k++)
        good = (files[k] = own_name(&b, files[k])) != NULL;
    if (!good)
        return false;
    *catalog = (organ_catalog){.bytes = bytes,
                               .count = catalog->count,
                               .file_count = catalog->file_count,
                               .tensors = tensors,
                               .files = files,
                               .details = own_text(&b, catalog->details),
                               .details_length = catalog->details_length,
                               .summary = own_text(&b, catalog->summary)};
    return catalog->details && catalog->summary && strlen(catalog->details) == catalog->details_length &&
           is_object(catalog->details) && is_object(catalog->summary);
}

/* ---- reading ---- */

unsigned organ_catalog_read(const char *absolute, const char *path, size_t max, organ_catalog **catalog,
                            organ_error *error)
{
    organ_model *model = NULL;
    texts t = {NULL, NULL};
    unsigned status = 0;
    *catalog = NULL;
    if (organ_model_open(absolute, &model, error) == ORGAN_OK)
        organ_model_details(model, path, &t.details, &t.summary, error);
    if (error->status)
        status = error->status == ORGAN_BAD_INPUT ? 422 : 500;
    else
        status = pack_model(model, &t, path, max, catalog, error);
    organ_model_close(model);
    free(t.details);
    free(t.summary);
    return status;
}
