/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/untrusted/pattern.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* Limits: bytes of a pattern, depth of nested groups, largest count of a repetition; MANY is the count from which on a
 * repeated group is as risky as one with unlimited repetitions. */
enum { LONGEST = 65536, DEPTH = 256, COUNT_MAX = 1000, MANY = 10 };

/* Quantifiers are such as "*", "+?" or "{2,5}". */
typedef struct quantifier {
    size_t length;     /* bytes of its text; 0: there is no quantifier */
    unsigned long max; /* largest number of repetitions; with `endless` the smallest, 0 for "*" and "+" */
    bool endless;      /* without an upper limit */
    bool possessive;   /* never gives up a match again ("*+"), so that it causes no backtracking */
} quantifier;

static bool read_count(const char *p, size_t remaining, quantifier *q)
{
    char *end;
    if (remaining < 3 || *p != '{' || !((p[1] >= '0' && p[1] <= '9') || p[1] == ','))
        return false;
    q->max = strtoul(p + 1, &end, 10);
    if (*end == ',') {
        const char *const second = end + 1;
        q->endless = *second == '}';
        q->max = q->endless ? q->max : strtoul(second, &end, 10);
        end = q->endless ? (char *)(uintptr_t)second : end;
    }
    if (*end != '}' || (size_t)(end - p) >= remaining)
        return false;
    q->length = (size_t)(end - p) + 1;
    return true;
}

static quantifier quantifier_at(const char *p, size_t remaining)
{
    quantifier q = {0};
    if (remaining > 0 && (*p == '*' || *p == '+'))
        q = (quantifier){.length = 1, .endless = true};
    else if (remaining > 0 && *p == '?')
        q = (quantifier){.length = 1, .max = 1};
    else
        read_count(p, remaining, &q);
    if (q.length && q.length < remaining && (p[q.length] == '+' || p[q.length] == '?')) {
        q.possessive = p[q.length] == '+';
        q.length++;
    }
    return q;
}

/* The character class "[...]" may contain other classes. Returns `length` if it does not end. */
static size_t class_end(const char *p, size_t at, size_t length)
{
    size_t depth = 0;
    for (; at < length; at++) {
        if (p[at] == '\\')
            at++;
        else if (p[at] == '[')
            depth++;
        else if (p[at] == ']' && --depth == 0)
            return at + 1;
    }
    return length;
}

const char *organ_pattern_risk(const char *pattern, size_t length)
{
    bool endless[DEPTH + 1] = {false}; /* for each open group: it contains an unlimited repetition; [0] the pattern */
    size_t depth = 0;
    if (length > LONGEST)
        return "is longer than 64 KiB";
    for (size_t at = 0; at < length;) {
        const char c = pattern[at];
        bool inner = false; /* the current item is a group that contains an unlimited repetition */
        if (c == '(') {
            if (depth == DEPTH)
                return "has groups within groups beyond 256";
            endless[++depth] = false;
            at++;
            at += at < length && pattern[at] == '?'; /* the '?' of "(?:" is not a quantifier */
            continue;
        }
        if (c == ')' && depth > 0)
            inner = endless[depth--];
        if (c == '[')
            at = class_end(pattern, at, length);
        else
            at += c == '\\' ? 2 : 1;
        const quantifier q = at < length ? quantifier_at(pattern + at, length - at) : (quantifier){0};
        at += q.length;
        if (q.max >= COUNT_MAX)
            return "counts to a thousand or more";
        if (inner && !q.possessive && (q.endless || q.max >= MANY))
            return "repeats an unlimited repetition";
        endless[depth] |= (inner || q.endless) && !q.possessive;
    }
    return NULL;
}
