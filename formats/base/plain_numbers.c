/* SPDX-License-Identifier: MIT */
#include "formats/base/plain_numbers.h"

#include <locale.h>
#include <pthread.h>
#include <stdlib.h>

static locale_t plain;
static void make_plain(void) { plain = newlocale(LC_ALL_MASK, "C", NULL); } /* a constant of glibc: no allocation */

static locale_t plain_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_plain);
    return plain;
}

double organ_strtod(const char *text, char **end) { return strtod_l(text, end, plain_locale()); }
float organ_strtof(const char *text, char **end) { return strtof_l(text, end, plain_locale()); }

int organ_vsnprintf(char *out, size_t size, const char *format, va_list args)
{
    const locale_t before = uselocale(plain_locale());
    const int length = vsnprintf(out, size, format, args);
    uselocale(before);
    return length;
}

int organ_vasprintf(char **text, const char *format, va_list args)
{
    const locale_t before = uselocale(plain_locale());
    const int length = vasprintf(text, format, args);
    uselocale(before);
    return length;
}

json_t *organ_json_vsprintf(const char *format, va_list args)
{
    const locale_t before = uselocale(plain_locale());
    json_t *const text = json_vsprintf(format, args);
    uselocale(before);
    return text;
}

int organ_snprintf(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int length = organ_vsnprintf(out, size, format, args);
    va_end(args);
    return length;
}

int organ_fprintf(FILE *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const locale_t before = uselocale(plain_locale());
    const int length = vfprintf(out, format, args);
    uselocale(before);
    va_end(args);
    return length;
}

json_t *organ_json_sprintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_t *const text = organ_json_vsprintf(format, args);
    va_end(args);
    return text;
}
