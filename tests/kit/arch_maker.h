/* SPDX-License-Identifier: MIT
 * For tests: small models of known architectures with computed weights, and the reference of transformers.
 * fixtures/make_arch.py writes fixtures/architectures/TYPE/ and makes the same weights. */
#ifndef ARCH_MAKER_H
#define ARCH_MAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A text and the negative log-likelihood of each of its tokens, in nats; that of the first token is not used. */
typedef struct arch_reference {
    size_t count;
    uint32_t *tokens;
    double *losses;
} arch_reference;

typedef struct arch_tensor {
    char name[192];
    uint64_t shape[5], elements;
    unsigned rank;
    char dtype[16]; /* of codes and their scales; "": the type of the values */
} arch_tensor;

typedef struct arch_model {
    arch_tensor *tensors;
    size_t count;
    bool is_outline; /* large tensors are holes */
} arch_model;

/* Reads fixtures/architectures/TYPE/model.tsv. The caller frees model.tensors and the reference. */
arch_model arch_model_read(const char *model_type, arch_reference *reference);

/* Sets rank, shape and elements from a text like "4x32x64"; "scalar" has rank 0. */
void arch_shape_read(arch_tensor *tensor, const char *shape);

/* Computes the values of a tensor; the caller frees them. */
float *arch_values(const arch_tensor *tensor);

/* Makes the directory with config.json and model.safetensors of fixtures/architectures/TYPE. Ends the test if the
 * system refuses or the fixture is malformed. The caller frees the reference with arch_reference_free. */
arch_reference arch_make(const char *model_type, const char *directory);
/* Sets members of DIRECTORY/config.json to those of `members`, a JSON object. */
void arch_set_config(const char *directory, const char *members);

/* Makes the GGUF file that fixtures/architectures/TYPE/gguf.tsv describes (see fixtures/make_arch_gguf.py). `other` is
 * a line "key<tab>NAME<tab>TYPE<tab>VALUE" that replaces the key of that name or is added, or "". */
arch_reference arch_make_gguf(const char *model_type, const char *path, const char *other);

/* The same without the values of tensors that arch_is_hole selects, which are 0: holes of the file. They are made in a
 * fraction of the time, for tests that open a model and do not run it. */
arch_reference arch_outline(const char *model_type, const char *directory);
arch_reference arch_outline_gguf(const char *model_type, const char *path, const char *other);

/* Returns whether an outline of the model has no values of the tensor. */
bool arch_is_hole(const arch_model *model, const arch_tensor *tensor);

void arch_reference_free(arch_reference *reference);

#endif
