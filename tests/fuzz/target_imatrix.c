/* SPDX-License-Identifier: MIT
 * Importance matrices, in GGUF or the older format. */
#include "formats/imatrix/imatrix.h"
#include "tests/fuzz/targets.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_FEATURES = 1 << 14 };

/* Reads an entry as a matrix of the model with as many inputs does. */
static void read_entry(const organ_imatrix *imatrix, const organ_imatrix_entry *entry)
{
    organ_error error = {0};
    organ_imatrix_place place;
    double count = 0;
    bool reached;
    const uint64_t matrices = entry->counts ? entry->counts : 1, features = entry->values / matrices;
    const bool stacked = matrices > 1;
    fuzz_check_verdict(
        organ_imatrix_find(imatrix, entry->name, &entry->anatomy, stacked ? 0 : -1, matrices, &place, &error), &error);
    if (error.status != ORGAN_OK || features == 0 || features > MAX_FEATURES)
        return;
    float *const norms = calloc((size_t)features, sizeof *norms);
    fuzz_require(norms != NULL, "there is memory");
    const organ_status status = organ_imatrix_norms(imatrix, &place, entry->name, features, norms, &count, &error);
    fuzz_check_verdict(status, &error);
    for (uint64_t k = 0; status == ORGAN_OK && k < features; k++)
        fuzz_require(isfinite(norms[k]) && norms[k] >= 0, "a norm is finite and not negative");
    fuzz_require(status != ORGAN_OK || count >= 1, "a norm stands for one input at least");
    error = (organ_error){0};
    fuzz_check_verdict(organ_imatrix_reached(imatrix, &place, entry->name, features, &reached, &error), &error);
    free(norms);
}

void fuzz_imatrix(const uint8_t *data, size_t size)
{
    organ_error error = {0};
    organ_imatrix *imatrix;
    fuzz_file(NULL, 0, data, size, 0);
    fuzz_check_verdict(organ_imatrix_open(fuzz_file_path(), &imatrix, &error), &error);
    fuzz_require((error.status == ORGAN_OK) == (imatrix != NULL), "there is an imatrix if there is no error");
    for (size_t k = 0; imatrix && k < imatrix->entry_count; k++)
        read_entry(imatrix, &imatrix->entries[k]);
    organ_imatrix_close(imatrix);
}
