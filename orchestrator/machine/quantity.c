/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/quantity.h"

#include "formats/base/format_rest.h"

#include <ctype.h>
#include <math.h>
#include <organ/machine.h>
#include <string.h>
#include <strings.h>
#include <time.h>

__extension__ typedef unsigned __int128 wide; /* fits a 63-bit number, or 18 decimals, times 2^60 */

/* Returns the bytes of a unit ("", "K", "MB", "GiB", ...), or 0 if the text is not a unit. */
static wide unit_bytes(const char *unit)
{
    static const char letters[] = "kmgtpe";
    if (*unit == '\0' || strcasecmp(unit, "b") == 0)
        return 1;
    const char *letter = strchr(letters, *unit | 0x20); /* in lower case */
    const char *rest = unit + 1;
    const bool decimal = strcasecmp(rest, "b") == 0;
    if (!letter || (*rest != '\0' && !decimal && strcasecmp(rest, "ib") != 0))
        return 0;
    wide bytes = 1;
    for (const char *k = letters; k <= letter; k++)
        bytes *= decimal ? 1000 : 1024;
    return bytes;
}

/* Does not depend on the locale. */
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Intermediate values have 128 bits. */
bool organ_quantity_parse(const char *text, uint64_t *bytes)
{
    wide whole = 0, part = 0, scale = 1;
    bool blank = false; /* at the end */
    if (!is_digit(*text))
        return false;
    for (; is_digit(*text); text++) {
        whole = whole * 10 + (unsigned)(*text - '0');
        if (whole > INT64_MAX)
            return false;
    }
    const bool fraction = *text == '.';
    if (fraction && !is_digit(*++text))
        return false;
    for (; fraction && is_digit(*text); text++)
        if (scale < 1000000000000000000u) { /* further decimals are less than a byte in any unit */
            part = part * 10 + (unsigned)(*text - '0');
            scale *= 10;
        }
    if (*text == ' ')
        blank = *++text == '\0';
    const wide unit = unit_bytes(text);
    if (blank || unit == 0 || (fraction && unit == 1))
        return false;
    const wide total = whole * unit + part * unit / scale;
    if (total > INT64_MAX)
        return false;
    *bytes = (uint64_t)total;
    return true;
}

static uint64_t divide_to_nearest(uint64_t value, uint64_t divisor)
{
    return value / divisor + (value % divisor >= divisor - divisor / 2);
}

/* Writes `tenths` tenths of a unit with one decimal, or none if `whole`. */
static char *tenths_text(uint64_t tenths, bool whole, const char *unit, char out[16])
{
    if (whole)
        snprintf(out, 16, "%u %s", (unsigned)(tenths / 10), unit);
    else
        snprintf(out, 16, "%u.%u %s", (unsigned)(tenths / 10), (unsigned)(tenths % 10), unit);
    return out;
}

char *organ_quantity_text(uint64_t bytes, char out[16])
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    const size_t last = sizeof units / sizeof units[0] - 1;
    if (bytes < 1000) {
        snprintf(out, 16, "%u B", (unsigned)bytes);
        return out;
    }
    uint64_t unit = 1000;
    size_t k = 0;
    for (; k < last && divide_to_nearest(bytes, unit) >= 1000; k++)
        unit *= 1000;
    const uint64_t tenths = divide_to_nearest(bytes, unit / 10);
    if (tenths < 1000)
        return tenths_text(tenths, /*whole=*/false, units[k], out);
    return tenths_text(10 * divide_to_nearest(bytes, unit), /*whole=*/true, units[k], out);
}

char *organ_memory_text(uint64_t bytes, char out[16])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    const size_t last = sizeof units / sizeof units[0] - 1;
    if (bytes < 1024) {
        snprintf(out, 16, "%u B", (unsigned)bytes);
        return out;
    }
    /* an amount that is whole tenths of a unit is written exactly, in the largest such unit; units[k] is 2^(10 (k + 1))
     */
    for (size_t k = last + 1; k-- > 0;) {
        const wide tenths = (wide)bytes * 10 >> 10 * (k + 1);
        if (tenths >= 10 && tenths < 100000 && tenths << 10 * (k + 1) == (wide)bytes * 10)
            return tenths_text((uint64_t)tenths, tenths % 10 == 0, units[k], out);
    }
    size_t k = 0;
    uint64_t unit = 1024;
    for (; k < last && divide_to_nearest(bytes, unit) >= 1024; k++)
        unit *= 1024;
    const uint64_t tenths = (uint64_t)(((wide)bytes * 10 + unit / 2) / unit);
    if (tenths < 1000)
        return tenths_text(tenths, /*whole=*/false, units[k], out);
    return tenths_text(10 * divide_to_nearest(bytes, unit), /*whole=*/true, units[k], out);
}

/* Writes amount x 1024^unit bytes in the largest of the units K, M, G and T that divides them. */
static char *option_text(uint64_t amount, size_t unit, char out[24])
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    for (; amount > 0 && amount % 1024 == 0 && unit + 1 < sizeof units / sizeof *units; unit++)
        amount /= 1024;
    snprintf(out, 24, "%llu%s", (unsigned long long)amount, units[unit]);
    return out;
}

char *organ_quantity_option(uint64_t bytes, char out[24])
{
    const size_t unit = bytes < (uint64_t)10 << 20 ? 1 : 2;
    const uint64_t each = (uint64_t)1 << 10 * unit;
    return option_text(bytes / each + (bytes % each > 0), unit, out);
}

/* The rounded value decides the form, so that no text reads "10.00 s", "60.0 s" or "59 min 60 s". */
char *organ_duration_text(double seconds, char out[24])
{
    if (!(seconds >= 0 && seconds < 1e12)) {
        snprintf(out, 24, "unknown");
        return out;
    }
    const uint64_t hundredths = (uint64_t)(seconds * 100 + 0.5);
    const uint64_t tenths = (uint64_t)(seconds * 10 + 0.5);
    const uint64_t whole = (uint64_t)(seconds + 0.5);
    const uint64_t minutes = (uint64_t)(seconds / 60 + 0.5);
    if (hundredths < 1000)
        snprintf(out, 24, "%u.%02u s", (unsigned)(hundredths / 100), (unsigned)(hundredths % 100));
    else if (tenths < 600)
        snprintf(out, 24, "%u.%u s", (unsigned)(tenths / 10), (unsigned)(tenths % 10));
    else if (whole < 3600)
        snprintf(out, 24, "%u min %02u s", (unsigned)(whole / 60), (unsigned)(whole % 60));
    else
        snprintf(out, 24, "%u h %02u min", (unsigned)(minutes / 60), (unsigned)(minutes % 60));
    return out;
}

char *organ_count_text(uint64_t count, char out[32])
{
    char digits[24];
    const size_t length = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    char *end = out;
    for (size_t k = 0; k < length; k++) {
        if (k > 0 && (length - k) % 3 == 0)
            *end++ = ',';
        *end++ = digits[k];
    }
    *end = '\0';
    return out;
}

const char *organ_quantity_unit(double bytes, double *factor)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    size_t k = 0;
    for (*factor = 1; bytes * *factor >= 1000 && k + 1 < sizeof units / sizeof *units; k++)
        *factor /= 1000;
    return units[k];
}

#define MAX ((uint64_t)1 << 62) /* bytes: result if no amount fits */

/* Doubles the number until it fits and then bisects; `fits` must be monotonic. */
uint64_t organ_memory_enough(uint64_t given, organ_memory_fits *fits, void *context)
{
    uint64_t low = given, high = given + 1;
    while (high < MAX && !fits(context, high)) {
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        *(fits(context, middle) ? &high : &low) = middle;
    }
    return high < MAX ? high : MAX;
}

organ_status organ_memory_refuse(organ_error *error, uint64_t given, uint64_t enough, const char *what, ...)
{
    char text[400], have[24], option[24];
    ORGAN_FORMAT_REST(text, what);
    return organ_fail(error, ORGAN_USAGE, "--memory %s is too little for %s; --memory %s is enough",
                      option_text(given, 0, have), text, organ_quantity_option(enough, option));
}

/* Amounts of bytes are found in a message by the words before and after them. */
static const char enough_ends[] = " is enough", offer_begins[] = " is enough, or ",
                  offer_ends[] = " with --scratch DIR";

/* Returns 0 if there is no such amount, and for errors other than ORGAN_USAGE. */
static uint64_t amount_between(const organ_error *error, const char *before, const char *after)
{
    char option[24];
    uint64_t bytes = 0;
    const char *at = error->status == ORGAN_USAGE ? error->message : NULL, *last = NULL;
    while (at && (at = strstr(at, before)) != NULL)
        last = at += strlen(before);
    const char *const end = last ? strstr(last, after) : NULL;
    if (!end || (size_t)(end - last) >= sizeof option)
        return 0;
    snprintf(option, sizeof option, "%.*s", (int)(end - last), last);
    return organ_quantity_parse(option, &bytes) ? bytes : 0;
}

uint64_t organ_memory_named(const organ_error *error) { return amount_between(error, "; --memory ", enough_ends); }

uint64_t organ_memory_with_blocks(const organ_error *error)
{
    return amount_between(error, "(`moments` blocks needs ", " in all");
}

uint64_t organ_memory_with_scratch(const organ_error *error) { return amount_between(error, offer_begins, offer_ends); }

/* If the message does not mention --scratch, returns the bytes that it calls enough for --memory. */
static uint64_t bytes_with_scratch(const organ_error *error)
{
    const uint64_t offered = organ_memory_with_scratch(error);
    return offered ? offered : organ_memory_named(error);
}

void organ_memory_offer_scratch(organ_error *error, uint64_t enough)
{
    char option[24];
    uint64_t advised = 0;
    char *const before = strstr(error->message, offer_begins);
    if (before) /* an earlier offer: only its beginning stays, which is that of both texts */
        before[strlen(enough_ends)] = '\0';
    const size_t length = strlen(error->message);
    if (organ_quantity_parse(organ_quantity_option(enough, option), &advised) && advised < organ_memory_named(error))
        snprintf(error->message + length, sizeof error->message - length, ", or %s%s", option, offer_ends);
}

/* If both messages name bytes, the larger of their bytes_with_scratch is enough for both parts of the task with
 * --scratch. */
organ_status organ_memory_refuse_both(organ_error *error, const organ_error *other)
{
    const uint64_t mine = bytes_with_scratch(error), others = bytes_with_scratch(other);
    if (other->status && (!error->status || organ_memory_named(other) > organ_memory_named(error)))
        *error = *other;
    if (mine && others)
        organ_memory_offer_scratch(error, mine > others ? mine : others);
    return error->status;
}

organ_status organ_memory_check_also(organ_status (*check)(void *context, organ_error *error), void *context,
                                     organ_error *error)
{
    organ_error other = {0};
    if (error->status && !organ_memory_named(error))
        return error->status;
    check(context, &other);
    return organ_memory_refuse_both(error, &other);
}

double organ_seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double organ_rounded_seconds(double seconds) { return round(seconds * 1000.0) / 1000.0; }

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
