/* SPDX-License-Identifier: MIT
 * Made by fixtures/make_experts_golden.py. */
/* clang-format off */
enum { LOGISTIC_SAMPLES = 6, LOGISTIC_CONTEXT = 48 };
static const uint64_t logistic_frequency[] = {
    77, 50, 75, 122, 148, 104, 198, 85, 163, 47,
    35, 48};
static const double logistic_sum[] = {
    522.588717, 270.073229, 390.651551, 647.654285, 642.787073, 717.117641, 992.495921, 477.11784, 761.21553, 281.05642,
    181.629299, 272.677005};
static const double logistic_power[] = {
    21068.7922, 19345.1042};
static const uint32_t logistic_removed[] = {
    1, 3, 4, 1};
static const double logistic_loss[] = {
    5325.07308, 14338.8407, 3486.74333, 9669.66761};
static const uint32_t logistic_kept[] = {
    0, 2, 4, 5, 0, 1, 3, 5, 0, 2,
    3, 5, 0, 2, 3, 4, 0, 2, 3, 5,
    0, 1, 3, 5, 0, 2, 3, 5, 0, 2,
    3, 5};
