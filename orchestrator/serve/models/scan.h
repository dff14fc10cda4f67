/* SPDX-License-Identifier: MIT
 * Which models lie below the root. Only names, sizes and times are looked at here. */
#ifndef ORGAN_MODEL_SCAN_H
#define ORGAN_MODEL_SCAN_H

#include "orchestrator/serve/http/http.h"

/* What the files say by their names. */
typedef enum organ_found_kind {
    ORGAN_FOUND_DIRECTORY, /* safetensors with an index, or one model.safetensors */
    ORGAN_FOUND_ORGANS,    /* an organ directory: manifest.json */
    ORGAN_FOUND_ADAPTER,   /* adapter_config.json and adapter_model.safetensors */
    ORGAN_FOUND_GGUF,      /* one file, or the first of a split one */
    ORGAN_FOUND_FILE       /* one .safetensors that belongs to none of the others */
} organ_found_kind;

const char *organ_found_kind_name(organ_found_kind kind);

typedef struct organ_found_model {
    char *path; /* below the root; "." if the root is a model */
    organ_found_kind kind;
    uint64_t bytes; /* of its weights */
    size_t files;
    int64_t modified; /* of the newest, seconds since 1970 */
    char *summary;    /* JSON, set when the model is read; NULL before */
    bool wanted;      /* somebody waits for it */
} organ_found_model;

typedef struct organ_found_models {
    organ_found_model *models; /* ordered by path */
    size_t count, room;
    bool cut; /* there is more below the root than is looked at: folders, depth or models */
} organ_found_models;

/* Folders that cannot be read are passed over. ORGAN_IO without memory, or if the root cannot be read. */
organ_status organ_model_scan(const organ_jail *jail, organ_found_models *found, organ_error *error);
void organ_found_free(organ_found_models *found);

#endif
