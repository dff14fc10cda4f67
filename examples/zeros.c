/* SPDX-License-Identifier: MIT
 * How many weights of each matrix are zero: opens a model, goes through it in one pass on all cores, and prints.
 *
 *     cc zeros.c $(pkg-config --cflags --libs organ) -o zeros
 *     ./zeros MODEL */
#include "formats/model.h"
#include "orchestrator/stream/pass.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct count {
    const organ_pass_item *items;
    uint64_t *zeros; /* of each item */
} count;

/* On every core, tile by tile. A float is zero if all of its bits but the sign are; F32 has them in four bytes, BF16 and F16 in two. */
static void work(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const count *const c = context;
    const uint16_t *const halves = tile->data;
    const uint32_t *const words = tile->data;
    uint64_t *const zeros = result;
    (void)scratch;
    if (c->items[tile->item].tensor->dtype == ORGAN_F32)
        for (size_t k = 0; k < tile->bytes / 4; k++)
            *zeros += (words[k] & 0x7fffffff) == 0;
    else
        for (size_t k = 0; k < tile->bytes / 2; k++)
            *zeros += (halves[k] & 0x7fff) == 0;
}

/* In the order of the file, on this thread. */
static organ_status retire(void *context, const organ_band *band, organ_error *error)
{
    const count *const c = context;
    (void)error;
    for (size_t k = 0; k < band->tiles; k++)
        c->zeros[band->item] += ((const uint64_t *)band->results)[k];
    if (band->last) {
        const organ_tensor *const tensor = c->items[band->item].tensor;
        printf("%-50s %12" PRIu64 " of %12" PRIu64 "  %6.2f %%\n", tensor->name, c->zeros[band->item], tensor->elements,
               100.0 * (double)c->zeros[band->item] / (double)tensor->elements);
    }
    return ORGAN_OK;
}

int main(int argc, char **argv)
{
    organ_error error = {0};
    organ_model *model = NULL;
    organ_topology *topology = NULL;
    organ_workers *workers = NULL;
    const char *why = "";
    if (argc != 2 || organ_model_open(argv[1], &model, &error) != ORGAN_OK || organ_topology_discover(&topology, &error) != ORGAN_OK ||
        organ_workers_create(topology, 0, &workers, &error) != ORGAN_OK) {
        fprintf(stderr, "%s\n", argc == 2 ? error.message : "usage: zeros MODEL");
        return argc == 2 ? (int)error.status : ORGAN_USAGE;
    }
    organ_pass_item *const items = calloc(model->tensor_count, sizeof *items);
    count c = {.items = items, .zeros = calloc(model->tensor_count, sizeof *c.zeros)};
    organ_pass pass = {.model = model,
                       .items = items,
                       .tile_cols = 1 << 16,
                       .result_bytes = sizeof *c.zeros,
                       .context = &c,
                       .work = work,
                       .retire = retire};
    for (size_t k = 0; items && k < model->tensor_count; k++) {
        const organ_tensor *const t = &model->tensors[k];
        if (t->rank == 2 && (t->dtype == ORGAN_F32 || t->dtype == ORGAN_BF16 || t->dtype == ORGAN_F16))
            items[pass.item_count++].tensor = t;
    }
    const organ_engine engine = {
        .topology = topology, .workers = workers, .memory = 64 << 20, .kernels = organ_kernels_choose(organ_cpu_detect(), NULL, &why)};
    if (items && c.zeros && organ_pass_run(&pass, &engine, &error) != ORGAN_OK)
        fprintf(stderr, "%s\n", error.message);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
    organ_model_close(model);
    free(items);
    free(c.zeros);
    return (int)error.status;
}
