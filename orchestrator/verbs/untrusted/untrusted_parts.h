/* SPDX-License-Identifier: MIT
 * The parts that sources of `organ inspect --untrusted` call in each other. The verb checks a download: a model that a
 * user has fetched and does not trust. Each check adds findings to a list. */
#ifndef ORGAN_VERBS_UNTRUSTED_UNTRUSTED_PARTS_H
#define ORGAN_VERBS_UNTRUSTED_UNTRUSTED_PARTS_H

#include "formats/base/arena.h"
#include "formats/base/json.h"

#include <jansson.h>
#include <limits.h>
#include <organ/base.h>
#include <organ/models.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- findings ---- */

typedef enum organ_finding_kind {
    ORGAN_FINDING_PICKLE,
    ORGAN_FINDING_PROGRAM,
    ORGAN_FINDING_REMOTE_CODE,
    ORGAN_FINDING_TEMPLATE,
    ORGAN_FINDING_HEADER,
    ORGAN_FINDING_TENSOR,
    ORGAN_FINDING_LINK,
    ORGAN_FINDING_NAME,
    ORGAN_FINDING_TOKENIZER,
    ORGAN_FINDING_MODEL,
    ORGAN_FINDING_CONFIG,
    ORGAN_FINDING_DEVICE,
    ORGAN_FINDING_ARCHIVE,
    ORGAN_FINDING_UNREAD,
    ORGAN_FINDING_NO_WEIGHTS,
    ORGAN_FINDING_KINDS
} organ_finding_kind;

/* The findings that were added so far. */
typedef struct organ_findings {
    json_t *list;                       /* rows of the report, in the order of the files; at most 200 of each kind */
    size_t counts[ORGAN_FINDING_KINDS]; /* includes findings that are not listed */
    const char *file;                   /* the file that is examined: its path within the download */
    /* first failure of the system, such as too many open files: organ_untrusted then makes no report */
    organ_error failure;
} organ_findings;

/* Adds a finding about findings->file, with a formatted sentence. `where` is the place in the file, such as a key or a
 * line; "" for the whole file. A kind that has 200 findings in the list is only counted in findings->counts. */
void organ_findings_add(organ_findings *findings, organ_finding_kind kind, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds an error that a reader of findings->file returned. A fault of the content becomes a finding of `kind`, a file
 * that cannot be read a finding "unread". A failure of the system (organ_is_system_failure) says nothing about the
 * file: the first one becomes findings->failure. A lack of memory is only reported to organ_memory_refusals. Does
 * nothing for ORGAN_OK. */
void organ_findings_add_error(organ_findings *findings, organ_finding_kind kind, const organ_error *error);

/* Returns whether `message` is the sentence of a finding in the list, possibly after the name of a file. */
bool organ_findings_have(const organ_findings *findings, const char *message);

/* Returns the number of all findings, including those that are only counted. */
size_t organ_findings_count(const organ_findings *findings);

/* Returns the rows {"kind", "severity", "title", "why", "findings"} of the kinds with at least one finding, in the
 * order of the enum. */
json_t *organ_findings_kinds(const organ_findings *findings);

/* ---- the format of a file, by its first bytes and its name ---- */

/* The format selects further checks. */
typedef enum organ_content {
    ORGAN_CONTENT_OTHER,       /* no further check */
    ORGAN_CONTENT_SAFETENSORS, /* by its first bytes or its name */
    ORGAN_CONTENT_GGUF,        /* by its first bytes or its name */
    ORGAN_CONTENT_JSON,        /* by its name */
    ORGAN_CONTENT_TEMPLATE,    /* by its name */
    ORGAN_CONTENT_YAML         /* by its name */
} organ_content;

/* Determines the format of the open file of `size` bytes; `name` is the name by which loaders find it. Adds a finding
 * for a pickle, program or archive, recognised by its first bytes (whatever its name) or by its name. Unpacks nothing.
 * `bare`: the file has only the numbers of a tensor, whose first bytes can have any value, so only patterns that
 * numbers do not produce by chance are findings, and the result is ORGAN_CONTENT_OTHER. */
organ_content organ_content_check(organ_findings *findings, const char *name, int fd, uint64_t size, bool bare);

/* ---- regular expressions whose matching time can grow exponentially with the text ---- */

/* Returns why a backtracking engine may need very long for this pattern of `length` bytes, as the predicate of a
 * sentence ("repeats an unlimited repetition"); NULL if there is no such risk. Detects unlimited repetitions within a
 * repeated group ("(a+)+"), counts of a thousand and more, groups nested deeper than 256, and patterns of more than 64
 * KiB. */
const char *organ_pattern_risk(const char *pattern, size_t length);

/* ---- walking the directory of a download and examining its files ---- */

/* Counts of the entries that the walk has visited. */
typedef struct organ_scanned_folder {
    uint64_t files, directories, links; /* regular files, directories, symbolic links */
    uint64_t bytes;                     /* sum of the sizes of the files */
    uint64_t weights;         /* safetensors and GGUF files, whose headers were checked; included in `files` */
    uint64_t git_directories; /* directories named .git, which are skipped */
} organ_scanned_folder;

/* ---- tokenizers that need much more memory or time than any real one ---- */

/* Returns whether a JSON file of that name belongs to a tokenizer, so that organ_growth_check has a check for it. */
bool organ_growth_is_tokenizer(const char *name);

/* Adds findings for the JSON file `name` of a tokenizer: more words, merges and added tokens than any real tokenizer
 * has, ids far above the number of words, long words, slow regular expressions, and replacements that
 * lengthen a text greatly. */
void organ_growth_check(organ_findings *findings, const char *name, const organ_json_source *text);

/* Adds findings for the key-values tokenizer.ggml.* of a GGUF file: too many or too long words, too many merges, lists
 * whose type or length differs from what readers assume, and byte tokens that name no byte ("<0x-1>"). */
void organ_growth_check_gguf(organ_findings *findings, const organ_gguf *gguf);

/* ---- members of all objects of a JSON text of any size, without a tree ---- */

/* Depth of nested objects and lists up to which organ_json_key.path is complete. */
enum { ORGAN_JSON_KEYS_DEPTH = 64 };

/* A member of an object, as organ_json_keys passes it to the callback. */
typedef struct organ_json_key {
    const organ_json_source *text;
    const char *name; /* of the member, at most 64 bytes, with its escapes decoded */
    char path[400];   /* names of the enclosing members and its own, as written, joined by dots; truncated if longer */
    size_t value;     /* offset of the first byte of its value in the text */
} organ_json_key;

/* The callback of organ_json_keys; `key` is valid during the call only. */
typedef void organ_json_key_found(void *context, const organ_json_key *key);

/* Calls `callback` for each member whose name has at most 64 bytes, in every object and in the order of the text.
 * Malformed JSON is allowed: only strings, colons and brackets are interpreted. Below a depth of ORGAN_JSON_KEYS_DEPTH
 * paths are incomplete. */
void organ_json_keys(const organ_json_source *text, organ_json_key_found *callback, void *context);

/* Returns the offset after the value that begins at `at`. If the value is longer than `max` bytes, returns an offset
 * that is `max` bytes or more after `at`. */
size_t organ_json_value_end(const organ_json_source *text, size_t at, size_t max);

/* ---- targets of symbolic links ---- */

/* Finds the targets of symbolic links in a download, within a base directory. organ_link_follow resolves a link one
 * component of its path at a time, by directory descriptors and with O_NOFOLLOW, so that a process that changes the
 * files meanwhile cannot make it open a file outside of the base. */

/* The base: the directory that links must not leave. It is the download itself or, if `store`, the entry of the Hugging
 * Face cache that contains it (models--ORG--NAME, with the folders blobs and snapshots). */
typedef struct organ_link_base {
    int fd;     /* its open descriptor; -1: none */
    char *path; /* absolute and without links; allocated */
    bool store; /* it has the folders of a cache entry */
    bool named; /* with `store`: its name has the form that the cache gives its entries */
} organ_link_base;

/* Returns whether the open directory `fd` has the folders of a cache entry, blobs and snapshots. */
bool organ_link_is_store(int fd);

/* Makes the open directory `fd`, whose path is `path`, a base. The base gets a duplicate of the descriptor and takes
 * over `path`, which is allocated (NULL: the caller ran out of memory). Returns false with errno on failure.
 * organ_link_base_close frees the base in any case. */
bool organ_link_base_open(organ_link_base *base, int fd, char *path);

/* Sets *base to the cache entry whose folder `snapshots` contains the directory `root`, an absolute path without links.
 * If there is none, sets base->fd to -1 and errno to 0; on failure, base->fd to -1 and errno to the reason. The caller
 * closes *base in any case. */
void organ_link_find_store(const char *root, organ_link_base *base);
void organ_link_base_close(organ_link_base *base);

/* The end of a chain of links, relative to the base. */
typedef enum organ_link_end {
    ORGAN_LINK_LEAVES,  /* outside the base: by ".." or by an absolute path; or, in a base with `store` but not `named`,
                         * at a file that is not in blobs or snapshots */
    ORGAN_LINK_NOWHERE, /* the target does not exist or cannot be opened; errno has the reason */
    ORGAN_LINK_DIRECTORY,
    ORGAN_LINK_FILE /* at a file, a pipe or a device */
} organ_link_end;

/* The target of a link. */
typedef struct organ_link_target {
    char path[PATH_MAX];     /* relative to the base, without links; "" for the base itself */
    int folder;              /* ORGAN_LINK_FILE: an open directory that the caller closes; else -1 */
    char name[NAME_MAX + 1]; /* ORGAN_LINK_FILE: name of the file in that directory */
} organ_link_target;

/* Follows `path`, relative to the base, and every link in it, at most 40 links and 64 nested directories. Sets *target
 * in any case. With ORGAN_LINK_NOWHERE errno has the reason. */
organ_link_end organ_link_follow(const organ_link_base *base, const char *path, organ_link_target *target);

/* ---- checking chat templates, which are Jinja programs, without running them ---- */

/* Adds findings for constructs that a chat template does not need: names and attributes that give access to the
 * interpreter, also if assembled from parts or escaped; the filter attr; other templates; ranges and products of more
 * than a limit. `where` names the template in findings->file (NULL or "": the file is the template). Each kind of
 * construct has one finding, with the line where it occurs first. */
void organ_template_check(organ_findings *findings, const char *where, const char *text, size_t length);

/* ---- misleading names of files ---- */

/* Adds findings for the name of findings->file; `name` is its last component. A name is misleading if it has invalid
 * UTF-8, an invisible character, a character that changes the direction of writing, or a letter of another script that
 * resembles a Latin one. It is also misleading if it resembles the name of a standard file, ends with a space or a dot,
 * or begins with a space. */
void organ_names_check(organ_findings *findings, const char *name);

/* ---- checking safetensors and GGUF files, indexes, and whole models ---- */

/* Adds a finding for each fault in the header of an open safetensors file of `size` bytes, and in the names of its
 * tensors. */
void organ_weights_check_safetensors(organ_findings *findings, int fd, uint64_t size);

/* Adds a finding for each fault in the header of an open GGUF file of `size` bytes, in the names of its tensors, in its
 * chat templates and in its tokenizer. `data`: the file also has the data of the tensors; false: it is a header that
 * organ extract has stored. */
void organ_weights_check_gguf(organ_findings *findings, int fd, uint64_t size, bool data);

/* Reads the index at `path` and adds a finding for each shard that it names and that does not exist in the directory
 * `folder`, or one if the index cannot be read. */
void organ_weights_check_index(organ_findings *findings, const char *path, const char *folder);

/* Opens the model at `path` like any verb and adds a finding for each problem that is not yet among the findings. */
void organ_weights_check_model(organ_findings *findings, const char *path);

/* ---- members of configuration files (JSON and YAML) that make a loader run code ---- */

/* Adds a finding for each member of a JSON file, at any depth, that makes a loader run code (auto_map,
 * trust_remote_code and others), and checks chat templates in it. A file of at most 1 MiB that is not
 * strict JSON also gets a finding. */
void organ_config_check(organ_findings *findings, const organ_json_source *text);

/* Adds a finding for each construct of a YAML text that makes a loader run Python: the tag !!python, and the keys
 * _target_ and trust_remote_code. */
void organ_yaml_check(organ_findings *findings, const char *text, size_t length);

#endif
