/* SPDX-License-Identifier: MIT */
#include "tests/kit/comma_locale.h"

#include <check.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file LC_NUMERIC as localedef of glibc writes it: a magic number, six offsets, and decimal point, separator of
 * thousands, grouping, both as wide characters, and the character set. */
static const unsigned char numeric[] =
    "\x14\x11\x03\x20\6\0\0\0\x20\0\0\0\x22\0\0\0\x24\0\0\0\x28\0\0\0\x2c\0\0\0\x30\0\0\0"
    ",\0.\0\3\3\0\0,\0\0\0.\0\0\0ANSI_X3.4-1968";

void comma_locale_begin(void)
{
    char folder[] = "/tmp/organ-comma-XXXXXX", inner[64], path[96], text[8];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(inner, sizeof inner, "%s/comma", folder);
    snprintf(path, sizeof path, "%s/LC_NUMERIC", inner);
    ck_assert_int_eq(mkdir(inner, 0700), 0);
    FILE *const out = fopen(path, "w");
    ck_assert(out && fwrite(numeric, 1, sizeof numeric, out) == sizeof numeric && fclose(out) == 0);
    setenv("LOCPATH", folder, 1);
    const char *const name = setlocale(LC_NUMERIC, "comma");
    unsetenv("LOCPATH");
    unlink(path);
    rmdir(inner);
    rmdir(folder);
    snprintf(text, sizeof text, "%.1f", strtod("2,5", NULL));
    ck_assert_msg(name && text[0] == '2' && text[1] == ',' && text[2] == '5', "no decimal comma: %s", text);
}
