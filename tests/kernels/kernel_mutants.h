/* SPDX-License-Identifier: MIT
 * Deliberately broken kernels, to test the checker itself. */
#ifndef ORGAN_TESTS_KERNEL_MUTANTS_H
#define ORGAN_TESTS_KERNEL_MUTANTS_H
#include "tests/kernels/kernel_checker.h"

typedef struct kernel_mutant {
    const char *defect;
    const char *(*rejected_by)(const organ_kernels *kernels);
    void (*break_table)(organ_kernels *kernels); /* replaces one function */
} kernel_mutant;

extern const kernel_mutant kernel_mutants[], product_mutants[], fit_mutants[], input_mutants[], selection_mutants[];
extern const size_t kernel_mutant_count, product_mutant_count, fit_mutant_count, input_mutant_count,
    selection_mutant_count;

#endif
