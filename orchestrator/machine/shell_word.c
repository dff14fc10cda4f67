/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/shell_word.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

void organ_shell_word(FILE *out, const char *s)
{
    bool plain = *s != '\0', control = false;
    for (const char *p = s; *p; p++) {
        plain = plain && (isalnum((unsigned char)*p) || strchr("_-./,:=+@%", *p));
        control = control || (unsigned char)*p < 0x20 || *p == 0x7F;
    }
    if (plain) {
        fputs(s, out);
        return;
    }
    fputs(control ? "$'" : "'", out);
    for (; *s; s++) {
        if (control && ((unsigned char)*s < 0x20 || *s == 0x7F))
            fprintf(out, "\\%03o", (unsigned char)*s);
        else if (control && (*s == '\\' || *s == '\''))
            fprintf(out, "\\%c", *s);
        else
            fputs(*s == '\'' ? "'\\''" : (char[]){*s, '\0'}, out);
    }
    fputc('\'', out);
}
