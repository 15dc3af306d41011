// SPDX-License-Identifier: Apache-2.0
#include "core/text/unicode.h"

#include "core/text/unicode_tables.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

// Hangul syllables are composed by arithmetic (The Unicode Standard, 3.12).
enum { S_BASE = 0xac00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11a7, L_N = 19, V_N = 21, T_N = 28 };

static bool in_ranges(const struct code_range *table, size_t n, uint32_t code)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (code > table[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && code >= table[low].first;
}

bool at_unicode_is_letter(uint32_t code)
{
    return in_ranges(letters, COUNT(letters), code);
}

bool at_unicode_is_number(uint32_t code)
{
    return in_ranges(numbers, COUNT(numbers), code);
}

bool at_unicode_is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || code == ' ' || code == 0x85 || code == 0xa0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
           code == 0x3000;
}

size_t at_unicode_lower(uint32_t code, uint32_t out[2])
{
    out[0] = code;
    if (code == 0x130) { // capital I with a dot: i and a combining dot
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    size_t low = 0, high = COUNT(lower);
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (code > lower[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    const struct lower_range *r = &lower[low];
    if (low < COUNT(lower) && code >= r->first && (code - r->first) % r->step == 0)
        out[0] = (uint32_t)((int64_t)code + r->delta);
    return 1;
}

static uint32_t combining_class(uint32_t code)
{
    size_t low = 0, high = COUNT(classes);
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (code > classes[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < COUNT(classes) && code >= classes[low].first ? classes[low].value : 0;
}

static size_t decompose(uint32_t code, uint32_t at, struct at_char *out)
{
    if (code >= S_BASE && code < S_BASE + L_N * V_N * T_N) {
        uint32_t s = code - S_BASE, t = s % T_N;
        out[0] = (struct at_char){L_BASE + s / (V_N * T_N), at};
        out[1] = (struct at_char){V_BASE + s / T_N % V_N, at};
        out[2] = (struct at_char){T_BASE + t, at};
        return t ? 3 : 2;
    }
    size_t low = 0, high = COUNT(decompositions);
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (code > decompositions[mid].code)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == COUNT(decompositions) || decompositions[low].code != code) {
        out[0] = (struct at_char){code, at};
        return 1;
    }
    size_t n = decompose(decompositions[low].first, at, out); // at most three deep
    if (decompositions[low].second)
        out[n++] = (struct at_char){decompositions[low].second, at};
    return n;
}

// The character that a and b compose to, or 0.
static uint32_t compose(uint32_t a, uint32_t b)
{
    if (a >= L_BASE && a < L_BASE + L_N && b >= V_BASE && b < V_BASE + V_N)
        return S_BASE + ((a - L_BASE) * V_N + (b - V_BASE)) * T_N;
    if (a >= S_BASE && a < S_BASE + L_N * V_N * T_N && (a - S_BASE) % T_N == 0 && b > T_BASE && b < T_BASE + T_N)
        return a + (b - T_BASE);
    for (size_t i = 0; i < COUNT(decompositions); i++)
        if (decompositions[i].second == b && decompositions[i].first == a && decompositions[i].composes)
            return decompositions[i].code;
    return 0;
}

// Stable order of combining marks by class.
static void order(struct at_char *text, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct at_char mark = text[i];
        uint32_t value = combining_class(mark.code);
        size_t j = i;
        for (; value && j > 0 && combining_class(text[j - 1].code) > value; j--)
            text[j] = text[j - 1];
        text[j] = mark;
    }
}

size_t at_unicode_nfc(const struct at_char *text, size_t n, struct at_char *out)
{
    size_t length = 0, kept = 0, starter = 0;
    bool have_starter = false;
    uint32_t last = 0; // class of the last character kept after the starter
    for (size_t i = 0; i < n; i++)
        length += decompose(text[i].code, text[i].at, out + length);
    order(out, length);
    for (size_t i = 0; i < length; i++) {
        uint32_t value = combining_class(out[i].code), whole = 0;
        bool adjacent = kept == starter + 1;
        // Blocked if something between it and the starter has a class not lower.
        if (have_starter && (adjacent || (last < value && last != 0)) && out[i].code >= 0x300)
            whole = compose(out[starter].code, out[i].code);
        if (whole) {
            out[starter].code = whole;
            continue;
        }
        if (value == 0) {
            starter = kept;
            have_starter = true;
        }
        last = value;
        out[kept++] = out[i];
    }
    return kept;
}
