/* SPDX-License-Identifier: MIT */
#include "tests/verbs/shrink/experts_table.h"

#include "tests/kit/samples.h"

#include <check.h>
#include <stdbool.h>
#include <string.h>

expert_table expert_table_of(const char *routers)
{
    static const sample_column columns[] = {SAMPLE_COLUMN(expert_row, routers), SAMPLE_COLUMN(expert_row, frequency),
                                            SAMPLE_COLUMN(expert_row, sum),     SAMPLE_COLUMN(expert_row, power),
                                            SAMPLE_COLUMN(expert_row, removed), SAMPLE_COLUMN(expert_row, loss),
                                            SAMPLE_COLUMN(expert_row, kept),    {0}};
    const bool logistic = strcmp(routers, "logistic") == 0;
    expert_table made = logistic ? (expert_table){.dense = 1, .experts = 6, .steps = 2}
                                 : (expert_table){.experts = EXPERTS, .steps = STEPS};
    expert_row rows[2 * LAYERS];
    const size_t count = SAMPLES_READ(
        logistic ? "tests/verbs/shrink/logistic_golden.tsv" : "tests/verbs/shrink/experts_golden.tsv", columns, rows);
    for (size_t k = 0; k < count; k++)
        if (strcmp(rows[k].routers, routers) == 0)
            made.of[made.layers++] = rows[k];
    ck_assert_uint_eq(made.layers, logistic ? 3 : LAYERS);
    return made;
}
