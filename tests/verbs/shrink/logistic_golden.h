/* SPDX-License-Identifier: MIT
 * Made by fixtures/make_experts_golden.py. */
/* clang-format off */
enum { LOGISTIC_SAMPLES = 6, LOGISTIC_CONTEXT = 48 };
static const uint64_t logistic_frequency[] = {
    77, 50, 75, 122, 148, 104, 198, 85, 163, 47,
    35, 48, 202, 41, 163, 39, 56, 63};
static const double logistic_sum[] = {
    522.588703, 270.073219, 390.651533, 647.654276, 642.787073, 717.117644, 992.495986, 477.117843, 761.215523, 281.056419,
    181.629295, 272.677001, 1120.92851, 184.410617, 856.234175, 225.916812, 307.808855, 380.613427};
static const double logistic_power[] = {
    21068.7915, 19345.1052, 21011.2863};
static const uint32_t logistic_removed[] = {
    1, 3, 4, 1, 1, 4};
static const double logistic_loss[] = {
    5325.07309, 14338.8409, 3486.74303, 9669.66841, 4185.17373, 8072.82564};
static const uint32_t logistic_kept[] = {
    0, 2, 4, 5, 0, 1, 3, 5, 0, 2,
    3, 5, 0, 2, 3, 4, 0, 2, 3, 5,
    0, 1, 3, 5, 0, 2, 3, 5, 0, 2,
    3, 5, 0, 2, 3, 5, 0, 2, 3, 5,
    0, 2, 4, 5, 0, 2, 4, 5};
