/* SPDX-License-Identifier: MIT
 * For tests: a model opened for the forward pass, and its expected logits. */
#ifndef FORWARD_RIG_H
#define FORWARD_RIG_H

#include <organ/forward.h>

#include <check.h>

typedef struct session {
    organ_topology *topology;
    organ_workers *workers;
    organ_engine engine;
    organ_model *model;
    organ_forward *forward;
} session;

#define ROOMY ((uint64_t)256 << 20)

/* Returns the status of the first failure; the session must be closed in any case. */
organ_status session_open(session *s, const char *path, unsigned threads, uint64_t memory, organ_error *error);
void session_close(session *s);

/* Returns logits of `rows` of the windows, rows x vocabulary, which the caller frees; NULL with an error. */
float *session_logits(session *s, const organ_windows *windows, const size_t *rows, size_t count, organ_error *error);

/* A reference written by fixtures/make_forward_golden.py. */
typedef struct expected {
    size_t tokens, rows, words;
    uint32_t *token;
    size_t *row;
    float *logits;
} expected;
expected expected_read(const char *path);
void expected_free(expected *e);

/* Returns the logits of the model at `path` for the tokens of `e`; the test ends on a failure. */
float *logits_of(const char *path, const expected *e, unsigned threads, uint64_t memory);
double farthest(const float *a, const float *b, size_t n);
/* Returns the mean Kullback-Leibler divergence of softmax(other) from softmax(donor) in nats; both have tokens x words
 * logits. */
double mean_divergence(const float *donor, const float *other, size_t tokens, size_t words);

/* Writes a tokenizer.json of single characters: '!' to '~' are tokens 0 to 93, followed by `extra` pairs of letters. */
void make_tokenizer(const char *path, unsigned extra);

Suite *acceptance_suite(void);
Suite *forward_faults_suite(void);
Suite *forward_past_suite(void);
Suite *cache_rounding_suite(void);
Suite *forward_packed_suite(void);
Suite *forward_stream_suite(void);
Suite *forward_experts_suite(void);
Suite *architectures_suite(void);
Suite *refused_configurations_suite(void);
Suite *hostile_configurations_suite(void);
Suite *hostile_keys_suite(void);

#endif
