/* SPDX-License-Identifier: MIT
 * A locale with a decimal comma, which the test makes itself: a minimal Debian has none. */
#ifndef ORGAN_TEST_COMMA_LOCALE_H
#define ORGAN_TEST_COMMA_LOCALE_H

/* Makes the comma the decimal point of the process's printf and strtod, and checks that it is. Ends the test if that
 * fails. setlocale(LC_NUMERIC, "C") undoes it. */
void comma_locale_begin(void);

#endif
