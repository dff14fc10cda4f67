/* SPDX-License-Identifier: MIT */
#include "tests/solve/low_rank_rig.h"

#include <math.h>
#include <stdlib.h>

float *noise_matrix(uint64_t seed, size_t rows, size_t cols)
{
    float *values = malloc((rows * cols + 1) * sizeof *values);
    ck_assert_ptr_nonnull(values);
    organ_philox_normal(seed, 0, 0, values, rows * cols);
    return values;
}

double worst_angle(const float *vectors, size_t length, size_t count)
{
    double worst = 0;
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b <= a; b++) {
            double product = 0;
            for (size_t k = 0; k < length; k++)
                product += (double)vectors[a * length + k] * (double)vectors[b * length + k];
            worst = fmax(worst, fabs(product - (a == b)));
        }
    return worst;
}

double distance(const float *w, const organ_svd *svd)
{
    double sum = 0;
    for (size_t i = 0; i < svd->rows; i++)
        for (size_t j = 0; j < svd->cols; j++) {
            double value = (double)w[i * svd->cols + j];
            for (size_t k = 0; k < svd->rank; k++)
                value -= (double)svd->u[k * svd->rows + i] * (double)svd->sigma[k] * (double)svd->vt[k * svd->cols + j];
            sum += value * value;
        }
    return sqrt(sum);
}

double norm_of(const float *values, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += (double)values[k] * (double)values[k];
    return sqrt(sum);
}

organ_engine *named_engine(const char *isa, size_t threads)
{
    const char *why;
    organ_error error = {0};
    organ_engine *made;
    ck_assert_msg(organ_engine_create(organ_kernels_choose(organ_cpu_detect(), isa, &why), threads, 0, &made, &error) ==
                      ORGAN_OK,
                  "%s", error.message);
    return made;
}
