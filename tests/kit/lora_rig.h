/* SPDX-License-Identifier: MIT
 * Runs of the verbs that take an adapter, on a small model "donor" and an adapter "adapter" in a scratch directory. */
#ifndef LORA_RIG_H
#define LORA_RIG_H

#include <organ/lora.h>
#include "tests/kit/resume_rig.h"

#include <check.h>

#define LORA_PREFIX "base_model.model."

/* The two factors of a module, for a list of made_tensor. */
#define LORA_PAIR(name, r, out, in)                                                                                    \
    {LORA_PREFIX name ".lora_A.weight", ORGAN_F32, 2, {r, in}},                                                        \
    {                                                                                                                  \
        LORA_PREFIX name ".lora_B.weight", ORGAN_F32, 2, { out, r }                                                    \
    }

typedef enum lora_verb { LORA_MERGE, LORA_SANITIZE, LORA_RESIZE, LORA_COMBINE } lora_verb;

/* Differences from the usual run: 2 threads, 64 MiB, "donor" and "adapter"; outputs are names in the scratch
 * directory. */
typedef struct lora_way {
    lora_verb verb;
    const char *adapter, *base, *output; /* "donor" if NULL, a name, or an absolute path */
    double scale;                        /* of a merge; 0 means 1 */
    const char *dtype;
    unsigned rank;                        /* of a resize or a combination; also max_rank */
    const char *other, *method, *weights; /* of a combination: the second adapter, "second" if NULL; cat if NULL */
    double density;
    double energy;
    bool check, resume, force, dry_run, feedback, keep_tied;
    size_t threads;
    uint64_t max, memory; /* max: largest shard of a merge in bytes; 0: 5 GB */
    organ_stop *stop;
} lora_way;

extern json_t *lora_report; /* of the last run, or NULL */

void lora_setup(void); /* makes the scratch directory with "donor", "adapter" and "second" */
void lora_teardown(void);

/* Makes an adapter of these tensors, whose values are seeded by their names; `members` are added to its config after
 * peft_type. */
void lora_adapter(const char *name, const char *members, const made_tensor *tensors, size_t count);

organ_status lora_run(lora_way way, organ_error *error);
void lora_must(lora_way way);
/* Checks that the run ends with this status, that its message contains the text, and that no output is left. */
void lora_refused(lora_way way, organ_status status, const char *text);
/* Reads a tensor of the safetensors model at the path in FP32; the caller frees it. NULL if there is no such tensor. */
float *lora_values(const char *path, const char *tensor, size_t *count);

/* Computes scale B A of a module of the adapter in the scratch directory in FP64, out x in; the caller frees it. */
double *lora_product(const char *adapter, const char *module, size_t *out, size_t *in);

/* Returns value k of the weight w, rows x cols, after adding `scale` times d, which is its transpose if `transposed`.
 */
double lora_merged_value(const double *d, const float *w, size_t k, bool transposed, size_t rows, size_t cols,
                         double scale);

/* Compares the weight of a module in "out", in F32, with W + `scale` times the adapter's change in FP64. `base` is a
 * name in the scratch directory; `transposed`: it stores the weight as in x out. */
void lora_expect_merged(const char *base, const char *adapter, const char *module, bool transposed, double scale);

/* Overwrites the four-byte element `at` of a tensor of a safetensors file, or of "adapter", with `bits`. */
void lora_poison_file(const char *path, const char *tensor, size_t at, uint32_t bits);
void lora_poison(const char *tensor, size_t at, uint32_t bits);

Suite *lora_merge_suite(void);
Suite *lora_peft_suite(void);
Suite *lora_rank_suite(void);
Suite *lora_served_suite(void);
Suite *lora_faults_suite(void);
Suite *lora_combine_suite(void);

#endif
