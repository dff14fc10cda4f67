/* SPDX-License-Identifier: MIT
 * Private to this room: the state of organ vocabulary. */
#ifndef ORGAN_VERBS_VOCABULARY_VOCABULARY_JOB_H
#define ORGAN_VERBS_VOCABULARY_VOCABULARY_JOB_H

#include "formats/tokenizer/kept_tokens.h"
#include "formats/tokenizer/token_groups.h"
#include "orchestrator/surgery/vocabulary/token_settings.h"
#include "orchestrator/surgery/vocabulary/token_tables.h"
#include "orchestrator/surgery/write/write.h"

#include <organ/cut.h>
#include <organ/stream.h>

/* A text that was encoded with the whole vocabulary. */
typedef struct vocabulary_text {
    const char *path;
    uint64_t bytes, tokens, distinct; /* distinct: number of different tokens */
    uint64_t digest;                  /* XXH3 of the ids */
    char bytes_digest[17];            /* XXH3 of the text */
} vocabulary_text;

/* Which tokens are kept besides those that the texts need. */
typedef enum vocabulary_extent {
    VOCABULARY_TEXTS,      /* no others */
    VOCABULARY_CHARACTERS, /* tokens of single characters */
    VOCABULARY_MERGES,     /* those of the first merges */
    VOCABULARY_BOTH,       /* both */
    VOCABULARY_ALL,        /* all tokens: only padding rows go */
    VOCABULARY_LIST        /* those of a list, and no others */
} vocabulary_extent;

/* A policy, and what it keeps. */
typedef struct vocabulary_policy {
    vocabulary_extent extent;
    uint64_t merges; /* of VOCABULARY_MERGES and VOCABULARY_BOTH */
    bool chosen;     /* the policy of the options */
    organ_kept_tokens kept;
    uint64_t rows, bytes; /* rows of the vocabulary, padding included; bytes of the tensors with these rows */
    uint64_t tokens;      /* of the second text */
    double dropped, most; /* probability of dropped tokens: mean and largest */
} vocabulary_policy;

enum { VOCABULARY_POLICIES = 10 };

typedef struct vocabulary_job {
    const organ_vocabulary_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model, *target; /* of a draft; NULL: none is named */
    organ_weights *weights;
    organ_tokenizer *tokenizer;
    organ_token_tables tables;
    organ_token_groups groups;
    vocabulary_text *texts;    /* options->text_count */
    vocabulary_text evaluated; /* the second text; path NULL: none */
    uint64_t *uses;            /* by id: occurrences in the texts */
    organ_kept_tokens base;    /* what texts and template need */
    uint32_t text_tokens;      /* different tokens of the texts */
    uint32_t template_tokens;  /* tokens that only the chat template needs */
    bool has_template;
    vocabulary_policy policies[VOCABULARY_POLICIES];
    size_t policy_count;
    uint32_t *listed; /* ids of --tokens */
    size_t listed_count;
    /* of an output: */
    organ_piece *pieces;
    size_t piece_count;
    organ_row_layout *layouts;          /* for each tensor */
    uint64_t buffer;                    /* bytes of the buffer of rows */
    uint64_t (*shapes)[ORGAN_ROW_RANK]; /* for each tensor: its shape in the output */
    uint32_t *ids, *new_ids;            /* kept ids; new id by id */
    organ_gguf_writer *gguf;
    json_t *settings;       /* changed settings */
    size_t scored, windows; /* tokens and windows of the second text that ran through the model */
    double started;
} vocabulary_job;

/* ---- vocabulary_texts.c ---- */

/* Reads the text at text->path, checks that it is text in UTF-8, encodes it with `tokenizer`, whose ids are below
 * job->groups.count, and sets all members of *text. Sets *ids to its text->tokens ids, which the caller frees, unless
 * `ids` is NULL. Returns ORGAN_BAD_INPUT, naming the file, for an empty or a binary file. */
organ_status organ_vocabulary_read(const vocabulary_job *job, organ_tokenizer *tokenizer, vocabulary_text *text,
                                   uint32_t **ids, organ_error *error);

/* Counts the tokens of the texts in job->texts and job->uses. */
organ_status organ_vocabulary_count_texts(vocabulary_job *job, organ_error *error);

/* Counts the tokens of the texts and keeps in job->base what texts and chat template need. */
organ_status organ_vocabulary_count(vocabulary_job *job, organ_error *error);

/* ---- vocabulary_policies.c ---- */

/* Returns the first option that is set of those that choose tokens to keep; NULL: none is. */
const char *organ_vocabulary_choice(const organ_vocabulary_options *options);

/* Fills the list of policies, with rows and bytes of each, and checks that the texts keep their ids with the tokens of
 * the chosen one. */
organ_status organ_vocabulary_policies(vocabulary_job *job, organ_error *error);

/* ---- vocabulary_evaluate.c ---- */

/* Sets tokens, dropped and most of each policy on the second text, if there is one. */
organ_status organ_vocabulary_evaluate(vocabulary_job *job, organ_error *error);

/* ---- vocabulary_list.c ---- */

/* Reads the ids of options->tokens into job->listed. Returns ORGAN_BAD_INPUT for a file that is no report of a smaller
 * vocabulary, for ids that do not ascend, and for a list of another tokenizer. */
organ_status organ_vocabulary_read_list(vocabulary_job *job, organ_error *error);

/* Takes the ids of a report that organ_kept_report_load loaded. Returns ORGAN_BAD_INPUT as organ_vocabulary_read_list.
 */
organ_status organ_vocabulary_take_list(vocabulary_job *job, const json_t *report, organ_error *error);

/* Returns the digest of the kept tokens' ids and texts, 16 hexadecimal digits, by which a list fits a tokenizer. */
json_t *organ_vocabulary_list_digest(const organ_tokenizer *tokenizer, const uint32_t *ids, size_t count);

/* ---- vocabulary_trim.c ---- */

/* Writes the model with the tokens of the chosen policy. */
organ_status organ_vocabulary_trim(vocabulary_job *job, json_t **report, organ_error *error);
void organ_vocabulary_trim_release(vocabulary_job *job);

/* ---- vocabulary_labels.c ---- */

/* Writes the model with a head of options->labels in place of its head. */
organ_status organ_vocabulary_label(vocabulary_job *job, json_t **report, organ_error *error);

/* ---- vocabulary_draft.c ---- */

/* Writes an EAGLE-3 draft with options->draft_head rows, or a list of as many tokens for a model with a block for
 * multi-token prediction. */
organ_status organ_vocabulary_draft(vocabulary_job *job, json_t **report, organ_error *error);

/* ---- vocabulary_files.c ---- */

/* Names of files that are not copied from the model to the output; the list ends with NULL. */
extern const char *const organ_vocabulary_left_out[];
/* Those with tokens that loaders do not read beside a tokenizer.json. */
#define ORGAN_TOKENIZERS_LEFT_OUT                                                                                      \
    "added_tokens.json", "merges.txt", "vocab.json", "vocab.txt", ORGAN_TOKENIZER_OTHERS, "spiece.model",              \
        "sentencepiece.bpe.model"

/* Writes a text file into the directory `to`. */
organ_status organ_vocabulary_write_text(const char *to, const char *name, const char *text, organ_error *error);

/* Writes the files of the tokenizer and those with ids into the directory `to`. */
organ_status organ_vocabulary_write_files(const vocabulary_job *job, const char *to, organ_error *error);

/* Opens the tokenizer of the output at `path` and compares its ids of the texts with those before. */
organ_status organ_vocabulary_check_output(const vocabulary_job *job, const char *path, organ_error *error);

/* Returns the settings with new ids. */
organ_token_settings organ_vocabulary_settings(const vocabulary_job *job);

/* ---- vocabulary_document.c ---- */

/* Returns the policy of the options. */
const vocabulary_policy *organ_vocabulary_chosen(const vocabulary_job *job);

/* Returns the parameters of the report; NULL if memory runs out. */
json_t *organ_vocabulary_parameters(const vocabulary_job *job);

/* Returns the members of the report that do not depend on the output; NULL if memory runs out. */
json_t *organ_vocabulary_members(const vocabulary_job *job);

/* Returns the report of a run without an output; NULL if memory runs out. */
json_t *organ_vocabulary_document(const vocabulary_job *job);

#endif
