// SPDX-License-Identifier: Apache-2.0
#include "core/base/suggest.h"

#include <string.h>

#define MAX_WORD 64

static size_t normalise(unsigned char out[MAX_WORD], const char *word)
{
    size_t n = 0;
    for (; n < MAX_WORD && word[n]; n++) {
        char c = word[n];
        out[n] = (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c == '-' ? '_' : c);
    }
    return n;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t at_edit_distance(const char *a, const char *b)
{
    unsigned char x[MAX_WORD], y[MAX_WORD];
    size_t n = normalise(x, a), m = normalise(y, b);
    size_t rows[3][MAX_WORD + 1]; // the rows i - 2, i - 1 and i of the table, i modulo 3
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = least(last[j], now[j - 1]) + 1;
            best = least(best, last[j - 1] + (x[i - 1] != y[j - 1]));
            if (i > 1 && j > 1 && x[i - 1] == y[j - 2] && x[i - 2] == y[j - 1])
                best = least(best, before[j - 2] + 1);
            now[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *at_suggest(const char *word, const char *const *choices, size_t n)
{
    const char *nearest = NULL;
    if (strlen(word) >= MAX_WORD)
        return NULL;
    size_t found = 1 + least(strlen(word), MAX_WORD) / 3; // one slip, and one more for every three letters
    for (size_t i = 0; i < n; i++) {
        size_t d = at_edit_distance(word, choices[i]);
        if (d < found + (nearest == NULL) && d < least(strlen(word), strlen(choices[i]))) {
            found = d;
            nearest = choices[i];
        }
    }
    return nearest;
}
