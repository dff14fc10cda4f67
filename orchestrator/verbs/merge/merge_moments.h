/* SPDX-License-Identifier: MIT
 * Method moments: after all other tensors were written, the texts run through the layers of the output, and in each
 * layer the matrices are fitted and written in the order in which the forward pass uses them, so that a matrix is
 * fitted to the inputs that the fitted ones before it give. merge_moments.c plans and runs this, moments_layer.c finds
 * the matrices with the same inputs and gathers their moments, moments_rows.c reads and writes matrices.
 *
 * An input is a model that is merged, with a text of its own. A stream is the hidden states of an input's text in one
 * model: the output, or the input's model. */
#ifndef ORGAN_VERBS_MERGE_MERGE_MOMENTS_H
#define ORGAN_VERBS_MERGE_MERGE_MOMENTS_H

#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/merge/moments_fit.h"
#include "orchestrator/verbs/merge/merge_job.h"

/* An input of the merge. */
typedef struct moments_input {
    size_t donor;
    organ_calibration_run_options walk;
    organ_calibration_run *calib; /* its text, encoded with the tokenizer of the host */
    const organ_calibration_run_facts *facts;
    organ_forward *forward; /* of its model; NULL without drift */
    const char **names;     /* with drift: for each tensor that is fitted, and is no expert, its name in its model */
    organ_calibration_chunks chunks;
    organ_calibration_states *states, *own; /* the stream in the output, and in its model (NULL without drift) */
} moments_input;

struct merge_moments {
    model_merge *job;
    moments_input *inputs;
    size_t count;
    bool drift;
    double prior;
    organ_model *model; /* the output, while it is written */
    organ_forward *forward;
    uint64_t spare; /* bytes of --memory for the moments of a layer */
};

/* ---- a layer ---- */

/* A matrix of a tensor: a tensor, or a matrix of a stack of experts. */
typedef struct moments_matrix {
    char name[400]; /* in the forward pass: "NAME", or "NAME[E]" */
    size_t tensor;  /* index in job->tensors */
    uint64_t matrix;
    size_t rows, cols; /* out_features, in_features */
    bool expert, transposed, done;
    size_t group; /* MERGE_NONE: none */
} moments_matrix;

/* Matrices with the same inputs. */
typedef struct moments_group {
    size_t leader; /* index of the matrix whose inputs are gathered */
    size_t stage;  /* groups of a stage are gathered together; stages are in the order of the forward pass */
    size_t rows;   /* of all its matrices */
    bool drift;    /* fitted to the outputs of the models along their own streams */
    organ_calibration *moments, *own;
    float *kept;     /* inputs of a chunk in the output; NULL without drift */
    uint64_t tokens; /* gathered for the current input */
    uint64_t total;  /* for all inputs */
    organ_moments_fit *fit;
    size_t *fit_rows; /* rows of each of its matrices */
    size_t fit_count;
} moments_group;

typedef struct moments_layer {
    merge_moments *moments;
    int32_t number;      /* -1: the output head */
    organ_layer *loaded; /* of the output; NULL: the output head */
    moments_matrix *matrices;
    size_t matrix_count;
    moments_group *groups;
    size_t group_count, stages;
    size_t first, end; /* groups of the current pass */
    size_t input;      /* the current input */
    /* of a run of a chunk: its windows, groups whose inputs end it, inputs gathered, whether they may end it, and have
     */
    size_t chunk_windows, wanted, seen;
    bool early, ended;
    bool moved;        /* the streams of the models themselves have moved to the next layer */
    const float *last; /* address of the inputs of the tap's last call */
    size_t last_matrix;
    unsigned char *scratch; /* of products */
} moments_layer;

/* Fits and writes the matrices of a loaded layer of the output that no earlier run has written, and moves all streams
 * of the inputs' own models to the next layer. */
organ_status organ_merge_fit_layer(merge_moments *moments, int32_t number, organ_layer *loaded, organ_error *error);

/* Opens the streams of all inputs, with the embeddings of their texts. */
organ_status organ_merge_open_streams(merge_moments *moments, organ_error *error);

/* Runs a chunk of an input's stream, or with `copy` a copy of it, through a layer. */
organ_status organ_merge_run_chunk(organ_forward *forward, const organ_layer *layer, const moments_input *input,
                                   organ_calibration_states *states, size_t chunk, bool copy, const organ_tap *tap,
                                   organ_error *error);

/* Passes the inputs of the output head for a chunk of a stream behind the last layer to the tap. */
organ_status organ_merge_tap_head(organ_forward *forward, const moments_input *input, organ_calibration_states *states,
                                  size_t chunk, const organ_tap *tap, organ_error *error);

/* Fits and writes the output head, after all layers; does nothing if it is not fitted. */
organ_status organ_merge_fit_head(merge_moments *moments, organ_error *error);

/* Returns the bytes of memory for a group of matrices of `rows` x `cols` in all: the sums that are kept until the group
 * is written, and the buffers with which it is filled, fitted and written. */
uint64_t organ_merge_group_memory(const merge_moments *moments, uint64_t cols, uint64_t rows, bool expert);

/* ---- rows ---- */

/* Reads rows of a matrix, as out_features x in_features, in all inputs of its tensor. */
typedef struct moments_rows {
    const model_merge *job;
    const moments_matrix *matrix;
    const merge_tensor *tensor;
    size_t count;                /* of the tensor's inputs, with the base */
    organ_merge_reader *readers; /* count of them */
    unsigned char *scratch;
    float *values[ORGAN_MERGE_INPUTS + 1]; /* for each input: the rows read last */
    float *mean;                           /* of them */
    float *turned;                         /* stored rows of a transposed matrix; NULL: the matrix is not transposed */
    organ_buffers buffers;
} moments_rows;

/* Most rows of a call of organ_merge_rows_read. */
#define MOMENTS_ROWS ORGAN_MOMENTS_ROWS

organ_status organ_merge_rows_open(const model_merge *job, const moments_matrix *matrix, moments_rows *rows,
                                   organ_error *error);
void organ_merge_rows_close(moments_rows *rows);
/* Reads rows [first, first + count) of all inputs to rows->values, and computes their mean. Returns ORGAN_BAD_INPUT for
 * NaN and infinite values. */
organ_status organ_merge_rows_read(moments_rows *rows, size_t first, size_t count, organ_error *error);

/* Writes a matrix to the output and to the loaded layer: the mean plus the changes of group->fit, in which the matrix
 * has the number `index`; the mean alone if that is NULL. Ends the tensor's unit with its last matrix. */
organ_status organ_merge_write_matrix(moments_layer *layer, const moments_matrix *matrix, size_t index,
                                      moments_group *group, organ_error *error);

#endif
