/* SPDX-License-Identifier: MIT
 * Settings that hold ids of tokens or numbers of rows: members of config.json, generation_config.json and files of
 * processors, and key-values of GGUF. One table (token_settings.c) lists their names. */
#ifndef ORGAN_SURGERY_VOCABULARY_TOKEN_SETTINGS_H
#define ORGAN_SURGERY_VOCABULARY_TOKEN_SETTINGS_H

#include "formats/base/json.h"
#include "formats/gguf/file.h"

#include <organ/models.h>

/* Visits the ids in settings. */
typedef struct organ_token_settings {
    uint32_t count;          /* ids of the vocabulary before */
    uint64_t rows;           /* rows of the embedding before */
    const uint32_t *new_ids; /* by id: the new id, or UINT32_MAX for a token that goes; NULL: ids are only collected */
    uint64_t new_rows;       /* rows of the embedding afterwards */
    /* names of settings, ending with NULL, that the caller sets itself; NULL: none */
    const char *const *apart;
    uint64_t draft_rows; /* of organ_token_settings_edit_draft: rows of the head of a draft afterwards */
    /* Gets each id that must stay: all but those of tokens that generation suppresses. NULL: no id is collected. */
    organ_status (*keep)(void *context, uint32_t id, organ_error *error);
    void *context;
    json_t *changes; /* gets {"where", "key", "before", "after"} of each changed setting; NULL: not listed */
} organ_token_settings;

/* Collects the ids in the settings of a model: config.json and the files of organ_token_files, or key-values. */
organ_status organ_token_settings_collect(const organ_token_settings *settings, const organ_model *model,
                                          organ_error *error);

/* Sets the new ids and the new number of rows. Returns ORGAN_BAD_INPUT, naming file and setting, for an id that is no
 * token of the vocabulary or goes, for a number of rows that the embedding does not have, for a setting whose name
 * looks like that of an id and is not in the table, and for settings that no renumbering can follow: tables of n-grams,
 * vocabularies of codes, offsets. Settings of the last two kinds are no error if all ids stay the same, those of the
 * last one if the number of rows does, too. */
organ_status organ_token_settings_edit(const organ_token_settings *settings, organ_json_edit *config,
                                       organ_error *error);
organ_status organ_token_settings_edit_keys(const organ_token_settings *settings, const organ_model *model,
                                            organ_gguf_writer *writer, organ_error *error);

/* Sets the number of rows of the head in the config.json of a draft, which has fewer rows than its target has tokens.
 */
organ_status organ_token_settings_edit_draft(const organ_token_settings *settings, organ_json_edit *config,
                                             organ_error *error);

/* Names of files with such settings next to config.json. The array ends with NULL. */
#define ORGAN_TOKEN_FILES "generation_config.json", "processor_config.json", "preprocessor_config.json"
extern const char *const organ_token_files[];

#endif
