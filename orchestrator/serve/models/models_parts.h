/* SPDX-License-Identifier: MIT
 * A catalog: one model in the server's memory, its tensors (without weights) and JSON descriptions, in one block of
 * known size. */
#ifndef ORGAN_SERVE_MODELS_MODELS_PARTS_H
#define ORGAN_SERVE_MODELS_MODELS_PARTS_H

#include "orchestrator/serve/http/http.h"

#include <jansson.h>
#include <organ/models.h>

/* Immutable after its creation except `users`, so any thread may read it. */
typedef struct organ_catalog {
    size_t bytes; /* size of this block, which contains all data; freeing it returns all memory to the system */
    size_t count, file_count;    /* number of tensors and of files */
    const organ_tensor *tensors; /* in file order; .file is an index into `files` */
    const char *const *files;    /* names */
    const char *details;         /* JSON: description of the model without its tensors */
    size_t details_length;       /* in bytes */
    const char *summary;         /* JSON: {format, architecture, tensors, elements, bytes, files} */
    unsigned users;              /* reference count; only the model cache changes it, under its lock */
} organ_catalog;

/* Reads the headers of the model at `absolute` into a new catalog; messages and descriptions contain `path`, its name
 * for clients, instead. Reading needs about four times the memory of the block. Returns 0, or an HTTP status: 422 not a
 * model, or malformed; 507 the block would have more than `max` bytes; 500 a system call failed. */
unsigned organ_catalog_read(const char *absolute, const char *path, size_t max, organ_catalog **catalog,
                            organ_error *error);
/* Converts `block` to a catalog. It is a copy of a block that another process created at the address `base`. Checks all
 * members, so that no use of the catalog reads outside of the block or fails to make JSON, and relocates the pointers.
 * Returns false if the block is not a valid catalog, or if memory runs out (which organ_memory_refusals counts); the
 * block is unusable then. The caller frees the block in both cases. */
bool organ_catalog_adopt(void *block, size_t bytes, uint64_t base);
void organ_catalog_free(organ_catalog *catalog); /* NULL is allowed */

/* ---- models below the root and in the stores of the jail, found by names of files alone ---- */

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

/* ---- the server's end of the process that reads models ---- */

/* The server's end of the process that reads models. The process is started when the first model is read,
 * and again after it has ended. */

typedef struct organ_reader organ_reader;

typedef struct organ_reader_options {
    const char *program; /* path of the program to start, which runs as a worker if ORGAN_WORKER_WORD is its first
                          * argument. NULL, for fuzzing: this process reads models */
    const struct organ_jail *jail; /* has the directories that the process may read */
    uint64_t memory;  /* address space in bytes that the process may use in addition to that at its start */
    unsigned seconds; /* time limit for reading one model */
} organ_reader_options;

/* Creates a reader without starting its process. Returns ORGAN_IO if the program cannot be opened or memory runs out;
 * *reader is NULL then. */
organ_status organ_reader_create(const organ_reader_options *options, organ_reader **reader, organ_error *error);
void organ_reader_destroy(organ_reader *reader); /* NULL is allowed */

/* Reads the headers of the model at `absolute` into a new catalog: runs organ_catalog_read in the process that reads
 * models, or in this process without options.program. Messages contain `path`, the model's name for clients, instead of
 * `absolute`. `max` limits the bytes of the catalog's block.
 *
 * Returns 0, or an HTTP status: those of organ_catalog_read; 422 also if the process ended while it read the model, or
 * exceeded the time limit and was killed; 507 also if it ran out of memory; 500 also if its answer is not a catalog, or
 * if the process cannot be started. Only one thread may call it. */
unsigned organ_reader_read(organ_reader *reader, const char *absolute, const char *path, size_t max,
                           organ_catalog **catalog, organ_error *error);

/* Aborts the current reading and prevents any further one. Thread-safe. */
void organ_reader_stop(organ_reader *reader);

/* Writes metrics in Prometheus' text format: memory and time that the process uses, with their limits; numbers of
 * processes started, ended while reading, and killed for exceeding the time. */
void organ_reader_metrics(organ_reader *reader, FILE *out);

/* ---- catalogs of the models below the root ---- */

/* Keeps catalogs of the models below the root, each until a file of the model changes or the memory is
 * needed for others. Two threads do the slow work: one scans the root for models; the other reads models one at a time,
 * so that the memory for reading is needed only once. No other thread waits for them. */

typedef struct organ_model_cache organ_model_cache;

/* Creates the cache of models. `reading` has the options of the process that reads models; `max` is the largest size in
 * bytes of all cached catalogs, of which the least recently used are evicted first. The threads of the cache call
 * `on_change` with `context` after each scan and each read. Returns ORGAN_IO if a thread or the reader cannot be
 * created; *cache is NULL then. */
organ_status organ_model_cache_create(const organ_jail *jail, const organ_reader_options *reading, size_t max,
                                      void (*on_change)(void *context), void *context, organ_model_cache **cache,
                                      organ_error *error);
/* Stops the cache: no further scan or read begins, and `on_change` is not called any more. Aborts the current read. */
void organ_model_cache_stop(organ_model_cache *cache);
void organ_model_cache_destroy(organ_model_cache *cache); /* NULL is allowed */

typedef struct organ_model_cache_page {
    /* array of {path, kind, bytes, files, modified}, each with the members of the catalog's summary, or "fault" if the
     * model could not be read, or "pending": true if it was not read yet; for the caller to release */
    json_t *models;
    size_t total; /* number of models that match the search, on all pages */
    bool cut;     /* the scan has reached one of its limits: the list is incomplete */
    /* a scan is due or running, or a model of this page is still to be read: a later list may contain more */
    bool looking;
} organ_model_cache_page;

/* Lists, from the last scan, the models whose paths contain `search` in any case (NULL: all), ordered by path: at most
 * `limit` of them, without the first `offset`. Starts a new scan if the last one ended more than two seconds plus twice
 * its duration ago, and requests the summaries that the listed models lack. Never blocks. Returns ORGAN_IO if memory
 * runs out, or the error of the last scan unless page->looking is true. After an error page->models is NULL. */
organ_status organ_model_cache_list(organ_model_cache *cache, const char *search, size_t offset, size_t limit,
                                    organ_model_cache_page *page, organ_error *error);

/* Finds the catalog of the model at `path`, for the caller to release with organ_model_cache_give_back. Looks at one
 * directory only, for changes, and never waits for a read. Returns 0 with the catalog. If the model is not read yet,
 * queues it and returns 202; `on_change` is called after the read. Otherwise returns the HTTP status of an error: that
 * of organ_jail_input; 422: not a model, or malformed; 507: too large for the cache or for reading; 503: too many
 * models wait to be read. *model is NULL unless 0 is returned. */
unsigned organ_model_cache_get(organ_model_cache *cache, const char *path, const organ_catalog **model,
                               organ_error *error);
void organ_model_cache_give_back(organ_model_cache *cache, const organ_catalog *model); /* NULL is allowed */

/* Writes the usage of the cache, and the metrics of the process that reads models, in Prometheus' text format. */
void organ_model_cache_metrics(organ_model_cache *cache, FILE *out);

/* ---- the description of a whole model, of bounded size for any number of tensors ---- */

/* Largest number of rows in each list of a description, and of layers that are listed individually. */
#define ORGAN_DETAILS_MAX 4096u

/* ---- one page of the tensors of a model, filtered and sorted ---- */

/* A page ends with the tensor that makes it longer than this, even if more tensors were requested. */
#define ORGAN_TENSOR_PAGE_BYTES (1u << 20)

/* The order of tensors in a page. */
typedef enum organ_tensor_key {
    ORGAN_BY_FILE,
    ORGAN_BY_NAME,
    ORGAN_BY_BYTES,
    ORGAN_BY_ELEMENTS,
    ORGAN_BY_LAYER,
    ORGAN_TENSOR_KEYS
} organ_tensor_key;
extern const char *const organ_tensor_keys[ORGAN_TENSOR_KEYS]; /* "file", "name", "bytes", "elements", "layer" */

typedef struct organ_tensor_query {
    /* filters: a glob (fnmatch) of names; a role, such as "q_proj" or "experts.gate_proj"; a group of roles; NULL:
     * any */
    const char *match, *role, *group;
    int64_t layer; /* filter; -1: any */
    organ_tensor_key key;
    bool down;              /* descending order */
    uint64_t offset, limit; /* number of tensors to skip, and largest number in the page */
} organ_tensor_query;

/* Writes to *json a page of tensors, {"total", "offset", "bytes", "next", "tensors"}, as text for the caller to free.
 * "total" and "bytes" are the number and size of all matching tensors; "next" is the offset of the next page, or null.
 * Needs four bytes of memory for each tensor of the model if the order is not that of the files. Returns ORGAN_IO if
 * memory runs out. */
organ_status organ_tensor_page(const organ_catalog *model, const organ_tensor_query *query, char **json,
                               organ_error *error);

/* ---- the worker ---- */

/* The worker: the process that reads models for the server, so that a crash in a reader of files does not affect the
 * server. It executes the same program, with a socket as descriptor 3 and directories (the root and the stores) as
 * descriptors from 4 on. It can only read files below these. model_reader.c is the server's end of the socket. */

enum { ORGAN_WORKER_SOCKET = 3, ORGAN_WORKER_FOLDER = 4 /* and following */ };

/* The arguments of the worker after "organ": this word, the bytes of address space that it may use in addition to those
 * at its start, and the number of directories. ORGAN_WORKER_WORDS is argc: it counts "organ" too. */
#define ORGAN_WORKER_WORD "--read-models-for-a-server"
enum { ORGAN_WORKER_WORDS = 4 };

/* Protocol of the socket: the worker first sends an answer whose status reports whether it is confined. Then the server
 * sends questions, each followed by its two paths; the worker sends an answer to each, followed by its block. */
/* Asks the worker to read a model. */
typedef struct organ_worker_question {
    uint64_t max;                        /* largest size of the block in bytes */
    uint32_t absolute_bytes, path_bytes; /* lengths of the arguments `absolute` and `path` of organ_catalog_read */
} organ_worker_question;

typedef struct organ_worker_answer {
    uint32_t status;    /* result of organ_catalog_read; in the first answer: 0, or the errno that kept the worker from
                           confining itself */
    uint32_t no_memory; /* 1 if reading failed because memory ran out */
    uint64_t bytes, base; /* size of the block with the catalog, 0 after an error; its address in the worker */
    char message[sizeof((organ_error *)NULL)->message];
} organ_worker_answer;

enum { ORGAN_WORKER_LONGEST_PATH = 1 << 16 }; /* bytes, with a NUL */

/* The type of organ_catalog_read. */
typedef unsigned organ_catalog_reader(const char *absolute, const char *path, size_t max, organ_catalog **catalog,
                                      organ_error *error);

/* Returns true if the program was started as a worker. */
bool organ_worker_is_requested(int argc, char *const *argv);
/* Confines the process and answers questions until the server closes the socket; then ends the process, so it does not
 * return. `read` is organ_catalog_read, except in tests. */
int organ_worker_run(char *const *argv, organ_catalog_reader *read);

#endif
