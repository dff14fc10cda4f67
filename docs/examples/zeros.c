/* SPDX-License-Identifier: MIT
 * Counts the zeros in each matrix in BF16 or F16: opens a model, runs one pass over it on all cores, and prints.
 * cc zeros.c $(pkg-config --cflags --libs organ) -o zeros
 * ./zeros MODEL */
#include <organ/organ.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs on every core for each tile. A number is zero if all of its bits except the sign are zero. */
static void count(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const uint16_t *const values = tile->data;
    uint64_t *const zeros = result;
    (void)context, (void)scratch;
    for (size_t k = 0; k < tile->bytes / sizeof *values; k++)
        *zeros += (values[k] & 0x7fff) == 0;
}

/* Runs on one core at a time in the order of the file: adds the counts of all tiles of a band. */
static organ_status add(void *context, const organ_band *band, organ_error *error)
{
    (void)error;
    for (size_t k = 0; k < band->tiles; k++)
        ((uint64_t *)context)[band->item] += ((const uint64_t *)band->results)[k];
    return ORGAN_OK;
}

int main(int argc, char **argv)
{
    organ_error error = {0};
    organ_model *model = NULL;
    organ_engine *engine = NULL;
    if (argc != 2)
        organ_fail(&error, ORGAN_USAGE, "usage: zeros MODEL");
    else if (organ_model_open(argv[1], &model, &error) == ORGAN_OK &&
             organ_engine_create(NULL, 0, 0, &engine, &error) == ORGAN_OK) {
        organ_pass_item *const items = calloc(model->tensor_count, sizeof *items);
        uint64_t *const zeros = calloc(model->tensor_count, sizeof *zeros);
        organ_pass pass = {
            model,         NULL,         items, .tile_cols = 1 << 16, .result_bytes = 8, .context = zeros,
            .work = count, .retire = add};
        if (!items || !zeros)
            organ_fail(&error, ORGAN_IO, "no memory");
        for (const organ_tensor *t = model->tensors; items && t < model->tensors + model->tensor_count; t++)
            if (t->rank == 2 && (t->dtype == ORGAN_BF16 || t->dtype == ORGAN_F16))
                items[pass.item_count++].tensor = t;
        if (!error.status && organ_pass_run(&pass, engine, &error) == ORGAN_OK)
            for (size_t k = 0; k < pass.item_count; k++)
                printf("%-50s %12" PRIu64 " of %12" PRIu64 "  %6.2f %%\n", items[k].tensor->name, zeros[k],
                       items[k].tensor->elements, 100.0 * (double)zeros[k] / (double)items[k].tensor->elements);
        free(items);
        free(zeros);
    }
    if (error.status != ORGAN_OK)
        fprintf(stderr, "%s\n", error.message);
    organ_engine_destroy(engine);
    organ_model_close(model);
    return (int)error.status;
}
