/* SPDX-License-Identifier: MIT
 * Inside of the room surgery/cut: a smaller model while it is planned and written. */
#ifndef ORGAN_CUT_JOB_H
#define ORGAN_CUT_JOB_H

#include "formats/base/arena.h"
#include "formats/weights/weights.h"
#include "orchestrator/surgery/cut/cut.h"

#include <pthread.h>

#define ORGAN_CUT_AXES ((size_t)6)

/* A tensor that goes on with a part of its bytes, or with other ones. */
typedef struct organ_cut_part {
    const organ_tensor *tensor;
    size_t piece;                   /* of the output */
    uint64_t shape[ORGAN_CUT_AXES]; /* there */
    organ_cut_keep
        axes[ORGAN_CUT_AXES]; /* what stays along each axis, in units of storage: elements, of the last axis blocks */
    const organ_cut_keep
        *each;          /* of each number of the first axis, as the donor counts, what stays along axis `each_axis`; */
    unsigned each_axis; /* its places differ from one to the next, not how many they are. NULL: they do not differ */
    const unsigned char *values; /* its bytes, where they are known (a weight_shape); NULL: kept ones of the donor */
    size_t matrices, put; /* resolved: how many the output has, how many of them were put; 0: it is not resolved */
} organ_cut_part;

/* What the tensors and the configuration say of a layer of the donor. */
typedef struct organ_cut_facts {
    int32_t becomes;       /* its number in the output, -1: it is dropped */
    uint32_t experts;      /* routed ones, 0: none */
    uint32_t kept_experts; /* of them */
    int32_t *expert_of;    /* the new number of each, -1: cut; NULL: all stay */
} organ_cut_facts;

struct organ_cut_run {
    const organ_cut_out *cut;
    const organ_model *model;
    organ_weights *weights;
    size_t *weight_of;  /* of each tensor of the model the weight that it is a part of; SIZE_MAX: none */
    size_t layer_count; /* of the donor */
    organ_cut_facts *facts;
    size_t layers_after;
    bool cuts_experts, cuts_blocks, cuts_channels, cuts_heads, cuts_expert_channels, cuts_shared_channels;
    uint32_t experts_before, experts_after; /* of the layers that have some; 0: none has */
    uint64_t channels_before, channels_after, kv_heads_before, kv_heads_after; /* 0: no layer loses any */
    uint64_t expert_channels_before, expert_channels_after, shared_channels_before, shared_channels_after;
    organ_shard_piece *pieces;
    organ_unit *units;
    size_t piece_count;
    organ_cut_part *parts;
    size_t part_count;
    size_t *part_of; /* of each tensor of the model; SIZE_MAX: it is gone, or stays as it is */
    organ_gguf_writer *gguf;
    json_t *settings; /* what changed in configurations: see organ_cut_json */
    size_t row_units;
    organ_writing *run;
    organ_arena arena;
    pthread_mutex_t lock;
};

/* ---- the plan of a smaller model (cut.c), of which an audit has the same ---- */

/* Finds out what becomes of each tensor and of key-values; `run` has cut, model and settings. To be released whatever
 * it returns. */
organ_status organ_cut_prepare(organ_cut_run *run, organ_error *error);
void organ_cut_release(organ_cut_run *run);

/* organ_cut_json of a plan, whose tensors take so many bytes. */
json_t *organ_cut_told(const organ_cut_run *run, uint64_t bytes_after);

/* ---- what stays (facts.c) ---- */

/* Checks the numbers of `cut` against the model, and settles the facts of each layer. */
organ_status organ_cut_settle(organ_cut_run *run, organ_error *error);

/* Channels of the feed-forward of a layer without experts, of its shared expert (ORGAN_EXPERTS_SHARED), or
 * (ORGAN_EXPERTS_ROUTED) of each of its routed ones; 0: it has none, or their widths differ. */
uint64_t organ_cut_channels(const organ_weights *weights, size_t layer, organ_experts experts);

/* Whether the tensor is a router, its bias or another part of one; not the gate of a shared expert. */
bool organ_cut_is_router(const char *name);

/* Returns the axis of a tensor that has one entry for each expert: the first one, or the second of a matrix of one row,
 * as which ERNIE 4.5 stores the correction of its router. */
unsigned organ_cut_expert_axis(const organ_tensor *tensor);

/* ---- pieces (plan.c) ---- */

organ_status organ_cut_plan(organ_cut_run *run, organ_error *error);

/* ---- parts of a tensor (select.c) ---- */

/* What stays of the rows and columns of a weight, as the part of its storage that the tensor is. */
typedef struct organ_cut_shares {
    organ_cut_keep experts, rows, cols;
    const organ_cut_keep *each_rows, *each_cols; /* in their place those of each matrix of a stack */
    uint32_t count;                              /* of these; 0: they have no meaning */
} organ_cut_shares;

/* Sets axes, shape and values of the part. */
organ_status organ_cut_select(organ_cut_run *run, const organ_cut_shares *shares, organ_cut_part *part,
                              organ_error *error);

/* ---- configurations (config.c, layers.c, names.c, keys.c) ---- */

organ_status organ_cut_edit_config(void *context, organ_json_edit *config, organ_error *error);
organ_status organ_cut_edit_keys(organ_cut_run *run, organ_error *error);

/* ORGAN_BAD_INPUT where another file beside the tensors, which goes along as it is, names modules by numbers that
 * change. */
organ_status organ_cut_check_beside(const organ_cut_run *run, organ_error *error);

/* ---- bytes (gather.c, copy.c, put.c) ---- */

#define ORGAN_CUT_WINDOW ((size_t)1 << 20)

/* Reads the kept bytes of a part in their order. */
typedef struct organ_cut_reader {
    const organ_model *model;
    const organ_cut_part *part;
    unsigned char *window, *out; /* ORGAN_CUT_WINDOW bytes each */
    /* private to gather.c */
    uint64_t window_from, window_bytes; /* bytes of the tensor that are in the window */
    uint64_t strides[ORGAN_CUT_AXES];
    unsigned deepest;             /* the last axis that is cut; 0: none, or the first */
    size_t place[ORGAN_CUT_AXES]; /* of the line: index among the kept numbers of each axis before `deepest` */
    bool begun, ended;            /* there is a line; there is none after it */
    uint64_t line;                /* its offset in the tensor */
    const organ_cut_keep *keep;   /* along `deepest` in it, */
    size_t count, next;           /* how many, and the first that is not in a run yet */
    uint64_t from, left;          /* bytes of the run that are not read yet */
} organ_cut_reader;

/* `bytes`: the size of the part in the output. Everything must outlive the reader, which needs no release. */
organ_cut_reader organ_cut_reader_of(const organ_model *model, const organ_cut_part *part, uint64_t bytes,
                                     unsigned char *window, unsigned char *out);

/* Returns the number of bytes that were read and sets *bytes to them, which are valid until the next call. 0 after the
 * last byte, and if the model cannot be read (`error`). */
size_t organ_cut_read(organ_cut_reader *reader, const unsigned char **bytes, organ_error *error);

organ_status organ_cut_copy(organ_cut_run *run, organ_error *error);
uint64_t organ_cut_copy_memory(void); /* of a worker */

#endif
