/* SPDX-License-Identifier: MIT
 * Files of the tree inside the program, byte for byte, by the assembler. */
#ifndef ORGAN_EMBEDDED_H
#define ORGAN_EMBEDDED_H

#include <stdio.h>

/* Embeds the file at `path` in the program. `symbol` becomes an array of its bytes, `symbol`_end the address after its
 * last byte, where there is a zero byte. The path begins at the root of the tree, where the compiler is called; the
 * file must be listed in the line of the source in build.ninja. */
#define ORGAN_EMBEDDED(symbol, path)                                                                                   \
    extern const char symbol[] __attribute__((visibility("hidden")));                                                  \
    extern const char symbol##_end[] __attribute__((visibility("hidden")));                                            \
    __asm__(".pushsection .rodata\n.global " #symbol "\n.hidden " #symbol "\n" #symbol ":\n.incbin \"" path "\"\n"     \
            ".global " #symbol "_end\n.hidden " #symbol "_end\n" #symbol "_end:\n.byte 0\n.popsection\n");

/* Prints a text with placeholders up to its next line "@@" and returns the text after that line. */
const char *organ_embedded_part(FILE *out, const char *text);

#endif
