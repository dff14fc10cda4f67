/* SPDX-License-Identifier: MIT
 * Finds the models below the root and in the stores of the jail by the names of their files; opens no file. */
#ifndef ORGAN_MODEL_SCAN_H
#define ORGAN_MODEL_SCAN_H

#include "orchestrator/serve/http/http.h"

/* The kind of a model, judged by the names of its files. */
typedef enum organ_found_kind {
    ORGAN_FOUND_DIRECTORY, /* safetensors with an index, or one model.safetensors */
    ORGAN_FOUND_ORGANS,    /* an organ directory: manifest.json */
    ORGAN_FOUND_ADAPTER,   /* adapter_config.json and adapter_model.safetensors */
    ORGAN_FOUND_GGUF,      /* one file, or all files of a split model; its path is that of the first file */
    ORGAN_FOUND_FILE       /* a .safetensors file in a directory that is not a model itself */
} organ_found_kind;

/* Returns the name of the kind in the list: "safetensors directory", "GGUF". */
const char *organ_found_kind_name(organ_found_kind kind);

typedef struct organ_found_model {
    char *path; /* below the root; "." if the root is a model; or the name of a model in a store */
    organ_found_kind kind;
    uint64_t bytes;   /* size of the files with its weights */
    size_t files;     /* number of these files */
    int64_t modified; /* latest change of them, in seconds since 1970 */
    char *summary;    /* JSON, set when the model is read; NULL before */
    bool requested;   /* a request waits for its summary */
} organ_found_model;

typedef struct organ_found_models {
    organ_found_model *models; /* ordered by path */
    size_t count, capacity;
    bool cut; /* the list is incomplete: the scan has reached a limit on folders, levels, entries or models */
} organ_found_models;

/* Scans the root and the stores into *found, for the caller to release with organ_found_release. Skips folders that
 * cannot be read. Returns ORGAN_IO if memory runs out, or if the root cannot be read; *found is empty then. */
organ_status organ_model_scan(const organ_jail *jail, organ_found_models *found, organ_error *error);
void organ_found_release(organ_found_models *found);

#endif
