/* SPDX-License-Identifier: MIT
 * For tests: fixtures/architectures/inputs.tsv (fixtures/make_arch_inputs.py), the greatest magnitudes of what the
 * modules of transformers read on the text of each reference. */
#ifndef GOLDEN_INPUTS_H
#define GOLDEN_INPUTS_H

#include <stddef.h>

/* A matrix, with its number in brackets if it is one of a stack, or the keys or values of a layer ("keys.0"). */
typedef struct golden_place {
    char name[200];
    double expected, measured; /* magnitudes; below 0: none */
} golden_place;

typedef struct golden_inputs {
    golden_place *items;
    size_t count;
} golden_inputs;

/* Lists the references of the table, outside of tests too; returns their number, 0 if there is no table. */
enum { GOLDEN_REFERENCES = 256 };
int golden_references(char names[GOLDEN_REFERENCES][64]);

/* Reads the rows of a reference; the caller frees the items. */
golden_inputs golden_read(const char *reference);

/* Returns the place of that name, which is added if the table has none. */
golden_place *golden_place_of(golden_inputs *all, const char *name);

/* Returns the magnitude in the table; the test ends if there is none. */
double golden_of(golden_inputs *all, const char *name);

/* Writes a tokenizer.json whose token k, for k < 256, is the character U+4E00 + k, and the text of these tokens. */
void golden_write_text(const char *tokenizer, const char *text, const unsigned *tokens, size_t count);

#endif
