/* SPDX-License-Identifier: MIT */
#include <organ/machine.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

__extension__ typedef unsigned __int128 wide; /* fits a 63-bit number, or 18 decimals, times 2^40 */

/* Returns k for a unit of 2^k bytes ("", "K", "MiB", ...), or -1 if the text is not a unit. */
static int unit_shift(const char *unit)
{
    static const char letters[] = "kmgt";
    if (*unit == '\0' || strcasecmp(unit, "b") == 0)
        return 0;
    const char *letter = strchr(letters, *unit | 0x20);
    const char *rest = unit + 1;
    if (!letter || (*rest != '\0' && strcasecmp(rest, "b") != 0 && strcasecmp(rest, "ib") != 0))
        return -1;
    return 10 * (int)(letter - letters + 1);
}

/* Does not depend on the locale. */
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Intermediate values have 128 bits. */
bool organ_quantity_parse(const char *text, uint64_t *bytes)
{
    wide whole = 0, part = 0, scale = 1;
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
    const int shift = unit_shift(text);
    if (shift < 0 || (fraction && shift == 0))
        return false;
    const wide total = (whole << shift) + (part << shift) / scale;
    if (total > INT64_MAX)
        return false;
    *bytes = (uint64_t)total;
    return true;
}

static uint64_t divide_to_nearest(uint64_t value, uint64_t divisor)
{
    return value / divisor + (value % divisor >= divisor - divisor / 2);
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
        snprintf(out, 16, "%u.%u %s", (unsigned)(tenths / 10), (unsigned)(tenths % 10), units[k]);
    else
        snprintf(out, 16, "%u %s", (unsigned)divide_to_nearest(bytes, unit), units[k]);
    return out;
}

char *organ_quantity_option(uint64_t bytes, char out[24])
{
    const bool small = bytes < (uint64_t)10 << 20;
    const uint64_t unit = (uint64_t)1 << (small ? 10 : 20);
    snprintf(out, 24, "%llu%c", (unsigned long long)(bytes / unit + (bytes % unit > 0)), small ? 'K' : 'M');
    return out;
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
