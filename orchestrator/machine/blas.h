/* SPDX-License-Identifier: MIT
 * BLAS and LAPACK called from several threads at once. */
#ifndef ORGAN_BLAS_H
#define ORGAN_BLAS_H

#include <stdbool.h>

/* To be called before and after each use of BLAS or LAPACK in code that several threads may run at the same time; a pair may hold many
 * calls. OpenBLAS is told to use one thread for a call. OpenBLAS built without threads hands out its work buffers unguarded, so that
 * concurrent calls overwrite each other; this program guards that where it can, and then calls run side by side. Where it cannot, `begin`
 * waits for the other threads' `end`: slower, and still right. Pairs must not be nested. */
void organ_blas_begin(void);
void organ_blas_end(void);

/* What its kernels are for ("SkylakeX"), on which the last bits of results depend; "" where it does not say. */
const char *organ_blas_kernels(void);

/* Whether calls of several threads run at the same time. */
bool organ_blas_is_concurrent(void);

#endif
