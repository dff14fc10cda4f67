/* SPDX-License-Identifier: MIT
 * quantize for GGUF: matrices become blocks of one of ggml's types, in one file that llama.cpp reads. What the parts of
 * a quantisation to GGUF block types share: quantize_gguf.c plans and runs it, quantize_gguf_pass.c makes the blocks,
 * quantize_gguf_along.c those that go by a text, quantize_gguf_document.c tells of them. */
#ifndef ORGAN_QUANTIZE_GGUF_JOB_H
#define ORGAN_QUANTIZE_GGUF_JOB_H

#include "formats/imatrix/imatrix.h"
#include "formats/weights/weights.h"
#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/output/targets.h"
#include "orchestrator/surgery/precision/gptq.h"
#include "orchestrator/surgery/precision/quantize.h"
#include "orchestrator/surgery/write/write.h"

/* Of all schemes, for messages. */
#define ORGAN_GGUF_SCHEMES "q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k"

/* Whether the scheme is one of these. */
bool organ_quantize_is_gguf(const char *scheme);

/* organ_quantize_model for them. */
organ_status organ_quantize_gguf(const organ_quantize_options *options, const organ_engine *engine,
                                 const organ_progress *progress, json_t **report, organ_error *error);

typedef struct organ_gguf_scheme {
    const char *name;
    organ_dtype dtype;
    organ_dtype narrow; /* for rows that are no whole blocks of it; the same where there is none */
    int64_t file_type;  /* as llama.cpp numbers files */
} organ_gguf_scheme;

/* Sums over values. */
typedef struct organ_gguf_loss {
    double squares, error_squares;   /* of the values, of what they lost */
    double weighted, error_weighted; /* the same with the weights of an imatrix */
} organ_gguf_loss;

/* A target. */
typedef struct organ_gguf_part {
    organ_weight weight; /* by itself, whatever its name is like */
    uint64_t rows, cols; /* of a matrix of it */
    organ_dtype dtype;   /* that it gets */
    bool falls_back;     /* since its rows are no whole blocks of the one that was meant */
    bool is_head;        /* which gets a type of its own */
    size_t piece;        /* of the output; its unit has the same number */
    const char *entry;   /* of the imatrix; NULL: none */
    uint64_t unreached;  /* experts that no token of its text reached */
    uint64_t experts;    /* as organ_experts_beside */
    organ_gguf_loss loss;
    /* By a text, over all its matrices, of which so many have their blocks. */
    bool by_text;
    uint64_t made;
    double energy, gptq_loss, output_loss; /* as in organ_gptq */
    uint64_t tokens;                       /* of a stack those of the matrix with the fewest */
    bool block_diagonal;
    json_t *fallback; /* numbers of experts that were calibrated on all tokens; NULL: none */
} organ_gguf_part;

/* A target that stays as it is. */
typedef struct organ_gguf_left {
    const organ_tensor *tensor;
    char why[96];
} organ_gguf_left;

typedef struct organ_gguf_job {
    const organ_quantize_options *options;
    const organ_gguf_scheme *scheme;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_targets targets;
    organ_imatrix *imatrix; /* NULL: none */
    char digest[17];        /* of it */
    organ_gguf_writer *writer;
    organ_shard_piece *pieces;
    organ_unit *units; /* one for each piece; item: the part */
    size_t piece_count;
    organ_gguf_part *parts;
    size_t part_count;
    organ_gguf_left *left;
    size_t left_count;
    organ_along_options walk;
    organ_along_work work;
    organ_targets aimed;      /* the tensors that go by the text, */
    organ_gguf_part **texted; /* and their parts */
    organ_along_text *along;  /* NULL: none does */
    organ_gptq_inputs inputs; /* of the calibration that was used last */
    organ_plan plan;          /* of a dry run: the work beside reading and writing */
    organ_writing *run;       /* while the passes run, */
    organ_gguf_part **todo;   /* and the parts that are not done, by the items of a pass */
} organ_gguf_job;

/* Puts the blocks of all parts that do not go by a text into place. */
organ_status organ_gguf_pass(organ_gguf_job *job, organ_error *error);
/* Adds the memory and the work of that to job->plan. */
organ_status organ_gguf_foresee_pass(organ_gguf_job *job, organ_error *error);

/* Opens the text; the parts are known. What it leaves out of them, embeddings and head, stays with the pass. */
organ_status organ_gguf_open_text(organ_gguf_job *job, organ_error *error);
/* Puts the blocks of all other parts into place, layer by layer along the text. */
organ_status organ_gguf_along(organ_gguf_job *job, organ_error *error);
void organ_gguf_close_text(organ_gguf_job *job);

size_t organ_gguf_row_bytes(const organ_gguf_part *part);
/* What the columns of a matrix of the part weigh by the imatrix, and the roots of that. */
organ_status organ_gguf_weigh(const organ_gguf_job *job, const organ_gguf_part *part, uint64_t matrix, float *weights,
                              float *roots, organ_error *error);
/* Adds what some rows of values lose; `back` is what their blocks mean, `roots` NULL without an imatrix. Both are gone
 * afterwards. */
void organ_gguf_lose(const organ_kernels *kernels, float *values, float *back, const float *roots, size_t rows,
                     size_t cols, organ_gguf_loss *loss);
organ_status organ_gguf_refuse_values(const organ_gguf_part *part, organ_error *error);

/* For the journal: what a part has besides its bytes. */
json_t *organ_gguf_results(const organ_gguf_part *part);
bool organ_gguf_recall(void *job, size_t part, const json_t *results);

json_t *organ_gguf_parameters(void *job);
json_t *organ_gguf_identity(void *job);
json_t *organ_gguf_document(void *job, const organ_writing *made);

#endif
