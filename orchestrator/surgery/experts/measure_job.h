/* SPDX-License-Identifier: MIT
 * What the parts of a measurement share: measure.c walks, outputs.c takes what experts give of a chunk, products.c
 * keeps it, measure_rows.c adds it up, greedy.c removes expert after expert. */
#ifndef ORGAN_EXPERT_MEASURE_JOB_H
#define ORGAN_EXPERT_MEASURE_JOB_H

#include "orchestrator/stream/direct_file.h"
#include "orchestrator/surgery/along_text/along_text.h"
#include "orchestrator/surgery/experts/measure.h"

/* Of each token the products f_i . f_j of what all experts give it, i <= j, row by row, in FP32: in memory, or in a
 * scratch file. */
typedef struct organ_expert_products {
    size_t experts, tokens;
    float *all;             /* NULL: they are in the file */
    organ_direct_file file; /* path NULL: none */
} organ_expert_products;

size_t organ_expert_products_count(size_t experts); /* of a token */
organ_status organ_expert_products_open(size_t experts, size_t tokens, const char *scratch,
                                        organ_expert_products *products, organ_error *error);
void organ_expert_products_close(organ_expert_products *products);
/* Where those of tokens from `token` on are to be made: in place, or in `room`; then organ_expert_products_keep, with
 * as many. */
float *organ_expert_products_place(const organ_expert_products *products, size_t token, float *room);
organ_status organ_expert_products_keep(organ_expert_products *products, size_t token, size_t count, const float *room,
                                        organ_error *error);
/* Those of a token, perhaps in `room`; NULL with an error. Any thread. */
const float *organ_expert_products_of(const organ_expert_products *products, size_t token, float *room,
                                      organ_error *error);
/* Of what two choices of `used` experts give a token, the square of the difference; `b` NULL: of nothing. Both by
 * number of expert; `room` for as many as both have. */
typedef struct organ_expert_difference {
    unsigned expert;
    double weight;
} organ_expert_difference;
double organ_expert_products_apart(const float *products, size_t experts, const organ_choice *a, const organ_choice *b,
                                   unsigned used, organ_expert_difference *room);

/* What a worker works in. */
typedef struct organ_expert_worker {
    float *square;   /* experts x experts */
    float *products; /* of a token */
    float *values;   /* of a router */
    bool *kept;
    organ_choice *chosen;
    organ_expert_difference *differences;
    void *scratch; /* of kernels->product */
} organ_expert_worker;

struct organ_expert_measure {
    organ_expert_measure_options options;
    organ_expert_scores *scores;
    organ_targets targets; /* none: layers are measured as a whole */
    organ_along_options walk;
    organ_along_work work;
    organ_along_text *along;
    const organ_forward_config *config;
    json_t *identity;
    const char *file;
    size_t tokens, chunk_tokens, chunks; /* of this rank; of a chunk at most; of all ranks */
    size_t batch;                        /* tokens of which all experts are computed at once */
    organ_expert_worker *workers;
    organ_expert_products products;
    /* of the layer that is measured: */
    bool open; /* it is */
    organ_router router;
    size_t next;         /* tokens that chunks before had */
    float *normed;       /* of a chunk: chunk_tokens x hidden */
    float *logits;       /* tokens x experts */
    organ_choice *dense; /* tokens x used: what works on them */
    double *norms;       /* chunk_tokens x used: of what these give */
    size_t *places;      /* batch: of rows that an expert works on, among the norms */
    double *powers;      /* chunk_tokens: of what the layer gives, squared */
    float *outputs;      /* experts x batch x hidden; without the loss 2 x batch x hidden */
    float *made;         /* batch x products: before they are kept */
    double *rows;        /* of each chunk of all ranks sums over its tokens: organ_expert_row_width() numbers */
    uint32_t *owner;     /* of each chunk, the rank that has it */
};

/* sum, frequency for each expert, and the power; or an increase for each expert, and the loss. */
size_t organ_expert_row_width(const organ_expert_measure *measure);
/* The row of this rank's chunk from token `token` on. */
double *organ_expert_row_of(const organ_expert_measure *measure, size_t token);
/* All ranks learn the rows of all; sums over the chunks, in their order, to `sums`. */
organ_status organ_expert_rows_sum(organ_expert_measure *measure, const char *where, double *sums, organ_error *error);

/* What the chunk that has just gone through the layer adds: its row and, with the loss, its products. */
organ_status organ_expert_outputs_take(organ_expert_measure *measure, const organ_along_layer *layer, size_t tokens,
                                       organ_error *error);

/* The order in which the experts of the layer go. */
organ_status organ_expert_greedy(organ_expert_measure *measure, int32_t number, organ_expert_layer *layer,
                                 organ_error *error);
uint64_t organ_expert_greedy_memory(const organ_forward_config *config, uint64_t tokens);

#endif
