/* SPDX-License-Identifier: MIT
 * Runs of dequantize and quantize on small models in a scratch directory. */
#ifndef CONVERT_RIG_H
#define CONVERT_RIG_H

#include <organ/models.h>
#include <organ/quantize.h>
#include "tests/kit/resume_rig.h"

#include <check.h>

/* Differences from the usual run: 2 threads, 64 MiB, "donor", BF16. */
typedef struct convert_way {
    const char *isa;
    size_t threads;
    uint64_t memory;
    const char *model;  /* a path */
    const char *scheme; /* for quantize */
    const char *format; /* for quantize */
    const char *dtype;  /* for dequantize */
    const char *targets, *imatrix, *type_of;
    const char *calibration; /* a path: gptq with so many windows of it, unless `nearest`; NULL: nearest */
    unsigned samples, context;
    uint64_t max;
    bool resume, force, dry_run, saturate, nearest, activations;
    const char *activation_type, *activation_scale, *activation_observer, *kv_cache;
    double smooth; /* of organ_quantize_options */
    const organ_progress *progress;
    organ_stop *stop;
} convert_way;

extern json_t *convert_report; /* of the last successful run */

/* Makes the scratch directory with its "donor", a plain model of two shards, 160 wide: its columns are whole groups of
 * 32, except those of down_proj; no dimension is whole blocks of 128. */
void convert_setup(void);
void convert_teardown(void);

/* Makes `output`, a name in the scratch directory: quantizes if `scheme` is set, else dequantizes. */
organ_status convert(const char *output, convert_way way, organ_error *error);
void must_convert(const char *output, convert_way way);

/* Checks that a run to "out.gguf" fails with these words and leaves nothing. */
void convert_refused(convert_way way, organ_status status, const char *words);

/* Removes OUTPUT.gguf and its reports. */
void convert_forget(const char *output);

/* Opens a model of the scratch directory, which must have no problems. */
organ_model *open_sound(const char *name);
/* Returns the bytes of a tensor that must exist; the caller frees them. */
unsigned char *bytes_of(const organ_model *model, const char *tensor, organ_dtype dtype, size_t *bytes);
/* Returns the values of a tensor of type F32, BF16, F16 or a packed scheme; the caller frees them. */
float *numbers_of(const organ_model *model, const char *weight, size_t *count);

Suite *convert_numbers_suite(void);
Suite *convert_files_suite(void);
Suite *convert_faults_suite(void);

#endif
