/* SPDX-License-Identifier: MIT
 * Strings built by one printf-like call, or by writing to a FILE. */
#ifndef ORGAN_BASE_TEXT_H
#define ORGAN_BASE_TEXT_H

#include "formats/base/arena.h"
#include "formats/base/owned.h"

#include <organ/base.h>
#include <sha1.h>
#include <sha2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Formats like printf into a new string, which the caller frees. Returns NULL if memory is exhausted, which counts
 * as a refusal (organ_memory_refusals). */
char *organ_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A FILE that writes to memory. The structure must not be moved, because the stream contains its address. A
 * successful open must be followed by finish or discard. ftell works, fseek does not. Unlike with open_memstream, a
 * write that gets no memory sets the stream's error flag. */
typedef struct organ_text {
    FILE *out;
    char *data;            /* text up to the last fflush, NUL-terminated; NULL if it is empty */
    size_t size, capacity; /* bytes without the NUL; allocated bytes */
    bool in_rows;          /* `data` is an array of formats/base/rows.h */
} organ_text;

/* Opens an empty text, which the caller writes through text->out. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_text_open(organ_text *text, organ_error *error);
/* Opens a text that may have megabytes: `data` is an array of formats/base/rows.h, which moves to a file when
 * it becomes large. The caller releases the string of organ_text_finish or organ_text_end with organ_rows_free, and
 * calls organ_rows_passed in the loop that writes. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_text_open_rows(organ_text *text, organ_error *error);
/* Closes the stream and sets *string to the whole text with a NUL, which the caller frees. If memory was exhausted,
 * *string is NULL and the status ORGAN_IO, and a refusal is counted (organ_memory_refusals). */
organ_status organ_text_finish(organ_text *text, char **string, organ_error *error);
/* Closes the stream and releases the text. */
void organ_text_discard(organ_text *text);
/* Calls organ_text_finish if `error` is not set. Otherwise calls organ_text_discard and leaves *string unchanged.
 * Returns the status of `error`. */
organ_status organ_text_end(organ_text *text, char **string, organ_error *error);

/* ---- UTF-8, and the characters that messages must not print ---- */

/* Returns the length of the valid UTF-8 sequence that begins at s, or 0 if it is invalid; overlong forms and
 * surrogates are invalid. The text must be NUL-terminated. */
size_t organ_utf8_length(const unsigned char *s);

/* Returns the same length as organ_utf8_length, and sets *code to the character, which is undefined if the length is
 * 0. */
size_t organ_utf8_decode(const unsigned char *s, uint32_t *code);

/* Decodes like organ_utf8_decode, for text without a NUL: reads at most `remaining` bytes. */
size_t organ_utf8_within(const void *s, size_t remaining, uint32_t *code);

/* Returns true for characters that can harm a terminal's display: C0 and C1 controls, and invisible marks that
 * reorder or break a line (U+061C, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069, U+FEFF). Messages, tables and
 * logs all use this list. */
bool organ_utf8_hidden(uint32_t code);

/* Returns the length of the white-space character at s (a character that Python's str.isspace accepts), or 0 for any
 * other character. The text must be NUL-terminated. */
size_t organ_utf8_space(const unsigned char *s);

/* Returns true if the whole string is valid UTF-8. */
bool organ_utf8_valid(const char *s);

/* Returns true if all `bytes` bytes of the text are valid UTF-8. The text may contain NUL and needs none at its end. */
bool organ_utf8_valid_within(const char *text, size_t bytes);

/* Removes user and password from every http or https URL in the text; from a text that is such a URL, query and
 * fragment, too, which may contain a token. Every message and every text of a document passes through one of both. */
void organ_text_hide_passwords(char *text);
void organ_text_hide_secrets(char *text);

/* ---- comparison functions for qsort and bsearch ---- */

/* Orders two numbers, smallest first; each is computed twice. */
#define ORGAN_ORDER(a, b) (((a) > (b)) - ((a) < (b)))
/* Joins the orders by several keys, main key first: returns the first one that is not 0. */
static inline int organ_first_order(const int *orders, size_t count)
{
    while (count > 1 && *orders == 0) {
        orders++;
        count--;
    }
    return *orders;
}
#define ORGAN_ORDERS(...)                                                                                              \
    organ_first_order((const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))
/* Orders texts by their bytes; the elements are of type char * or const char *. */
int organ_order_texts(const void *a, const void *b);
/* Orders numbers of type double, smallest first. None may be NaN. */
int organ_order_numbers(const void *a, const void *b);

/* ---- paths, file names and words ---- */

/* Returns true if `name` ends with `end` and is longer than `end`. */
bool organ_ends_with(const char *name, const char *end);

/* If the first *length bytes of `name` end with `end` and are longer than `end`, reduces *length by the length of
 * `end` and returns true. Otherwise returns false. */
bool organ_cut_end(const char *name, size_t *length, const char *end);

/* Returns true if `name` equals `words` or ends with "." followed by `words`. */
bool organ_ends_in_words(const char *name, const char *words);

/* Returns true if `word` equals one of `words`, a list that NULL terminates. */
bool organ_is_one_of(const char *word, const char *const *words);

/* Returns the last segment of the path: the part after the last '/', or the whole path. */
const char *organ_path_name(const char *path);

/* Returns the length of the path without trailing slashes; 1 for "/". */
size_t organ_path_length(const char *path);

/* Returns true if the path is `folder` or below it; compares the strings only. `folder` must not end with a slash,
 * unless it is "/". */
bool organ_path_is_inside(const char *path, const char *folder);

/* Returns true for a relative path that cannot lead out of its folder: its segments are not empty, and it is valid
 * UTF-8 of at most 2000 bytes without control characters and backslashes. No segment begins with a dot or, with
 * `hidden`, is
 * "." or "..". */
bool organ_path_stays_inside(const char *path, bool hidden);

/* Returns "directory/name" in the arena, without doubling a '/' at the end of `directory`; NULL if there is no
 * memory. */
char *organ_path_join(organ_arena *arena, const char *directory, const char *name);

/* Returns the one of the `count` names that is most similar to `typed`, or NULL if no name is similar. A name is
 * similar if it differs in few letters (wrong, swapped, missing or added), or if `typed` has at least 2 bytes and the
 * name begins with it. Words of more than 96 bytes are similar to none. */
const char *organ_nearest(const char *typed, const char *const *names, size_t count);

/* Writes a suggestion for the end of a message to `hint` and returns it: "; did you mean '--beta'?", with "--" as
 * `before`; "" if no name is similar. */
#define ORGAN_HINT_ROOM 200
const char *organ_nearest_hint(const char *typed, const char *const *names, size_t count, const char *before,
                               char hint[ORGAN_HINT_ROOM]);

/* ---- SHA-256 and SHA-1 (FIPS 180-4), computed by libmd ---- */

/* Hugging Face's hub identifies the content of files by them. SHA-1 is for the names of git's objects; it detects
 * faults of a transfer, but not an adversary. */

/* A running digest; organ_digest_begin sets all members. */
typedef struct organ_digest {
    bool is_sha1; /* SHA-1 instead of SHA-256 */
    union {
        SHA1_CTX sha1;
        SHA2_CTX sha256;
    };
} organ_digest;

/* Starts a digest of no bytes: SHA-1 if `is_sha1`, else SHA-256. */
void organ_digest_begin(organ_digest *digest, bool is_sha1);
/* Appends `count` bytes to the stream. */
void organ_digest_add(organ_digest *digest, const void *bytes, size_t count);

/* Ends the digest and writes it as 64 lower-case hexadecimal digits (40 for SHA-1) and a NUL. */
#define ORGAN_DIGEST_TEXT 65
void organ_digest_end(organ_digest *digest, char text[ORGAN_DIGEST_TEXT]);

/* ---- libraries that are loaded on first use, so that other runs start faster ---- */

/* A list of a library's functions, F(SYMBOL, MEMBER) for each, makes the members of a structure of function pointers
 * and the names of the symbols. */
#define ORGAN_LIBRARY_MEMBER(symbol, member) __typeof__(symbol) *member;
#define ORGAN_LIBRARY_NAME(symbol, member)   #symbol,

/* Loads the shared library `file` and stores the addresses of the `count` functions `names` in the same order in
 * `functions`, a structure of function pointers. The library is never unloaded. Returns ORGAN_IO if it is not
 * installed or lacks one of the functions. */
organ_status organ_library_load(const char *file, const char *const *names, size_t count, void *functions,
                                organ_error *error);

#endif
