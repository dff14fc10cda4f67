/* SPDX-License-Identifier: MIT
 * The clamped SwiGLU of gpt-oss. */
#include "orchestrator/forward/job.h"

/* g logistic(alpha g) = silu(alpha g) / alpha, so the kernel of SiLU computes it: gate becomes alpha g and up becomes
 * (up + 1) / alpha. A NaN stays a NaN. */
void organ_forward_gate_clamped(const organ_kernels *kernels, float limit, float alpha, float *gate, float *up,
                                size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const float g = gate[k] > limit ? limit : gate[k], below = up[k] > limit ? limit : up[k];
        gate[k] = alpha * g;
        up[k] = ((below < -limit ? -limit : below) + 1) / alpha;
    }
    kernels->gate_silu(gate, up, n);
}
