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

/* ---- the size of a block ---- */

static bool same_shape(const organ_tensor *a, const organ_tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

/* Neighbours of the same shape share it. */
static bool has_own_shape(const organ_model *model, size_t k) { return k == 0 || !same_shape(&model->tensors[k - 1], &model->tensors[k]); }

static size_t numbers_size(const organ_model *model)
{
    size_t size = sizeof(organ_catalog) + model->tensor_count * sizeof(organ_tensor) + model->file_count * sizeof(char *);
    for (size_t k = 0; k < model->tensor_count; k++)
        size += has_own_shape(model, k) ? model->tensors[k].rank * sizeof(uint64_t) : 0;
    return size;
}

static size_t block_size(const organ_model *model, const texts *t)
{
    size_t size = numbers_size(model) + strlen(t->portrait) + strlen(t->summary) + 2;
    for (size_t k = 0; k < model->tensor_count; k++)
        size += strlen(model->tensors[k].name) + 1;
    for (size_t k = 0; k < model->file_count; k++)
        size += strlen(model->files[k].name) + 1;
    return size;
}

/* ---- filling it ---- */

static const char *put_block_text(char **at, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *const put = memcpy(*at, text, size);
    *at += size;
    return put;
}

/* First everything that wants to be aligned, then the texts. */
static void fill_block(organ_catalog *block, const organ_model *model, const texts *t)
{
    organ_tensor *const tensors = (organ_tensor *)(void *)(block + 1);
    const char **const files = (const char **)(void *)(tensors + model->tensor_count);
    uint64_t *shapes = (uint64_t *)(void *)(files + model->file_count);
    char *at = (char *)block + numbers_size(model);
    for (size_t k = 0; k < model->tensor_count; k++) {
        tensors[k] = model->tensors[k];
        tensors[k].name = put_block_text(&at, model->tensors[k].name);
        tensors[k].shape = k ? tensors[k - 1].shape : shapes;
        if (has_own_shape(model, k)) {
            tensors[k].shape = memcpy(shapes, model->tensors[k].shape, model->tensors[k].rank * sizeof *shapes);
            shapes += model->tensors[k].rank;
        }
    }
    for (size_t k = 0; k < model->file_count; k++)
        files[k] = put_block_text(&at, model->files[k].name);
    block->count = model->tensor_count;
    block->tensors = tensors;
    block->files = files;
    block->portrait = put_block_text(&at, t->portrait);
    block->portrait_length = strlen(t->portrait);
    block->summary = put_block_text(&at, t->summary);
}

static unsigned pack_model(const organ_model *model, const texts *t, const char *path, size_t most, organ_catalog **catalog,
                           organ_error *error)
{
    const size_t size = block_size(model, t);
    char needed[32], allowed[32];
    if (size > most) {
        organ_fail(error, ORGAN_IO, "'%s': the list of its %zu tensors takes %s of memory, more than the server keeps (--shelf %s)", path,
                   model->tensor_count, organ_quantity_option(size, needed), organ_quantity_option(most, allowed));
        return 507;
    }
    organ_catalog *const block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) {
        organ_fail_errno(error, ENOMEM, "'%s': a list of %zu tensors", path, model->tensor_count);
        return 500;
    }
    block->bytes = size;
    fill_block(block, model, t);
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
