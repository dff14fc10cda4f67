/* SPDX-License-Identifier: MIT
 * Embeds files of the source tree in the program, byte for byte; the assembler reads them. */
#ifndef ORGAN_BASE_EMBEDDED_H
#define ORGAN_BASE_EMBEDDED_H

/* Embeds the file at `path` in the program. `symbol` becomes an array of the file's bytes, and `symbol`_end the address
 * after the last one; the byte there is zero, so a text file is a string. `path` is relative to the root of the source
 * tree, where the compiler is called; build.ninja must list the file as a dependency of the source. */
#define ORGAN_EMBEDDED(symbol, path)                                                                                   \
    extern const char symbol[] __attribute__((visibility("hidden")));                                                  \
    extern const char symbol##_end[] __attribute__((visibility("hidden")));                                            \
    __asm__(".pushsection .rodata\n.global " #symbol "\n.hidden " #symbol "\n" #symbol ":\n.incbin \"" path "\"\n"     \
            ".global " #symbol "_end\n.hidden " #symbol "_end\n" #symbol "_end:\n.byte 0\n.popsection\n");

#endif
