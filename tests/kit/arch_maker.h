/* SPDX-License-Identifier: MIT
 * For tests: small models of known architectures with weights that are computed, and what transformers says of them.
 * fixtures/make_arch.py writes fixtures/architectures/TYPE/ and makes the same weights. */
#ifndef ARCH_MAKER_H
#define ARCH_MAKER_H

#include <stddef.h>
#include <stdint.h>

/* A text and the negative log-likelihood of each of its tokens, in nats; that of the first token is not used. */
typedef struct arch_reference {
    size_t count;
    uint32_t *tokens;
    double *losses;
} arch_reference;

/* Makes the directory with config.json and model.safetensors of fixtures/architectures/TYPE. Ends the test if the
 * system refuses or the fixture is malformed. The caller frees the reference with arch_reference_free. */
arch_reference arch_make(const char *model_type, const char *directory);
void arch_reference_free(arch_reference *reference);

#endif
