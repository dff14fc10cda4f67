/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/models/catalog.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/serve/models/portrait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The texts that go into a block beside the tensors. */
typedef struct texts {
    char *portrait, *summary;
} texts;

static bool shares_shape(const organ_tensor *a, const organ_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

/* A block that is laid out from its beginning; without a base only its size is found. */
typedef struct layout {
    char *base; /* zeros; NULL: none */
    size_t size;
} layout;

/* The next `size` bytes of the block, a copy of `data` unless that is NULL; NULL without a block. */
static void *lay_down(layout *l, const void *data, size_t size)
{
    char *const at = l->base ? l->base + l->size : NULL;
    l->size += size;
    return at && data ? memcpy(at, data, size) : at;
}

static const char *lay_down_text(layout *l, const char *text) { return lay_down(l, text, strlen(text) + 1); }

/* First everything that wants to be aligned, then the texts. Neighbours of the same shape share it. */
static void lay_out_model(layout *l, const organ_model *model, const texts *t)
{
    organ_catalog unused, *const block = lay_down(l, NULL, sizeof *block), *const catalog = block ? block : &unused;
    organ_tensor *const tensors = lay_down(l, model->tensors, model->tensor_count * sizeof *tensors);
    const char **const files = lay_down(l, NULL, model->file_count * sizeof *files);
    const uint64_t *shape = NULL;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        if (k == 0 || !shares_shape(tensor - 1, tensor))
            shape = lay_down(l, tensor->shape, tensor->rank * sizeof *shape);
        if (tensors)
            tensors[k].shape = shape;
    }
    for (size_t k = 0; k < model->tensor_count; k++) {
        const char *const name = lay_down_text(l, model->tensors[k].name);
        if (tensors)
            tensors[k].name = name;
    }
    for (size_t k = 0; k < model->file_count; k++) {
        const char *const name = lay_down_text(l, model->files[k].name);
        if (files)
            files[k] = name;
    }
    *catalog = (organ_catalog){.count = model->tensor_count, .tensors = tensors, .files = files, .portrait_length = strlen(t->portrait)};
    catalog->portrait = lay_down_text(l, t->portrait);
    catalog->summary = lay_down_text(l, t->summary);
    catalog->bytes = l->size;
}

static unsigned pack_model(const organ_model *model, const texts *t, const char *path, size_t most, organ_catalog **catalog,
                           organ_error *error)
{
    layout l = {0};
    char needed[32], allowed[32];
    lay_out_model(&l, model, t);
    if (l.size > most) {
        organ_fail(error, ORGAN_IO, "'%s': the list of its %zu tensors takes %s of memory, more than the server keeps (--shelf %s)", path,
                   model->tensor_count, organ_quantity_option(l.size, needed), organ_quantity_option(most, allowed));
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

/* ---- reading ---- */

unsigned organ_catalog_read(const organ_jail *jail, const char *absolute, const char *path, size_t most, organ_catalog **catalog,
                            organ_error *error)
{
    organ_model *model = NULL;
    texts t = {NULL, NULL};
    unsigned status = 0;
    *catalog = NULL;
    if (organ_model_open(absolute, &model, error) == ORGAN_OK)
        organ_model_portrait(model, path, &t.portrait, &t.summary, error);
    if (error->status) {
        organ_jail_unroot(jail, error->message);
        status = error->status == ORGAN_BAD_INPUT ? 422 : 500;
    } else {
        status = pack_model(model, &t, path, most, catalog, error);
    }
    organ_model_close(model);
    free(t.portrait);
    free(t.summary);
    return status;
}
