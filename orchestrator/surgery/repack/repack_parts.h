/* SPDX-License-Identifier: MIT
 * Data and functions that the files of this room share. A part is a quantised weight of the model; its tensors in the
 * output are consecutive pieces and one unit. Zero points are numbers of the range of codes: a value is
 * (code - zero point) x scale in all three formats, whatever they store. */
#ifndef ORGAN_SURGERY_REPACK_REPACK_PARTS_H
#define ORGAN_SURGERY_REPACK_REPACK_PARTS_H

#include "formats/base/arena.h"
#include "formats/base/json.h"
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/surgery/write/write.h"

#include <organ/convert.h>
#include <organ/weights.h>

typedef enum repack_format { REPACK_COMPRESSED, REPACK_GPTQ, REPACK_AWQ, REPACK_FORMATS } repack_format;

/* The tensors of a part, in the order of its pieces. */
typedef enum repack_tensor {
    REPACK_CODES,
    REPACK_SCALES,
    REPACK_ZEROS, /* not in symmetric compressed-tensors */
    REPACK_INDEX, /* group of each column: always in GPTQ; in compressed-tensors if a weight needs it; not in AWQ */
    REPACK_SHAPE, /* compressed-tensors only */
    REPACK_TENSORS
} repack_tensor;

/* Members of quantization_config that hold for a weight. */
typedef struct repack_setting {
    unsigned bits;
    uint64_t group; /* columns that share a scale; 0: all */
    size_t parts;   /* number of parts with this setting */
} repack_setting;

typedef struct repack_part {
    const organ_weight *weight;
    size_t rows, cols, groups;
    size_t group;   /* columns of a group; the last one may be smaller */
    bool plus_one;  /* the model stores zero points minus 1 */
    bool indexed;   /* groups are not runs of columns: the index is needed */
    size_t setting; /* index in job->settings */
    uint64_t shapes[REPACK_TENSORS][2];
    size_t pieces[REPACK_TENSORS]; /* index of each tensor's piece; SIZE_MAX: the output does not have it */
} repack_part;

/* Settings of one model are few: bits and sizes of groups. */
#define REPACK_SETTINGS 64

typedef struct repack_job {
    const organ_convert_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    repack_format to;
    organ_model *model;
    organ_weights *weights;
    organ_arena arena; /* names of pieces */
    repack_part *parts;
    size_t part_count;
    organ_piece *pieces;
    size_t piece_count;
    repack_setting settings[REPACK_SETTINGS];
    size_t setting_count;
    bool symmetric;  /* all zero points are half of the range */
    bool indexed;    /* a part is `indexed` */
    bool minus_one;  /* GPTQ: zero points are stored minus 1, which is version 1 */
    organ_plan plan; /* of a dry run */
    organ_writing *run;
} repack_job;

extern const char *const organ_repack_names[REPACK_FORMATS + 1];

/* Fails with ORGAN_BAD_INPUT: "MODEL: tensor 'NAME' WHY: FORMAT cannot express it". */
organ_status organ_repack_refuse(const repack_job *job, const char *tensor, const char *why, organ_error *error);

/* ---- repack_plan.c ---- */

/* Opens the model; fills parts, pieces, units and what follows from all weights. */
organ_status organ_repack_plan(repack_job *job, organ_error *error);
void organ_repack_release(repack_job *job);

/* ---- repack_words.c ---- */

/* Returns the bytes of the words that hold `count` codes, without gaps between codes. */
static inline uint64_t organ_repack_bytes(uint64_t count, unsigned bits) { return (count * bits + 31) / 32 * 4; }

/* Reads the zero points of a part as bytes, [groups][rows]; without a tensor of them all are half of the range. */
organ_status organ_repack_read_zeros(const repack_job *job, const repack_part *part, unsigned char *zeros,
                                     organ_error *error);
/* Reads the group of each column. */
organ_status organ_repack_read_index(const repack_job *job, const repack_part *part, int32_t *index,
                                     organ_error *error);

/* Returns the bytes of memory that organ_repack_write needs. */
uint64_t organ_repack_memory(const repack_job *job, const repack_part *part);
/* Writes all tensors of a part into job->run. `scratch`: ORGAN_PUT_SCRATCH bytes. */
organ_status organ_repack_write(const repack_job *job, const repack_part *part, void *scratch, organ_error *error);

/* ---- repack_config.c ---- */

/* Checks that the output's format can express what quantization_config of the model states beside the weights:
 * quantised activations and caches are refused. */
organ_status organ_repack_check_config(const repack_job *job, organ_error *error);
/* Writes quantization_config of the output. Callback of organ_write_run. */
organ_status organ_repack_config(void *job, organ_json_edit *config, organ_error *error);

#endif
