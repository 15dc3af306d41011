// SPDX-License-Identifier: Apache-2.0
#include "core/base/suggest.h"
#include "core/base/utf8.h"
#include "tests/harness.h"

static void distances(void)
{
    AT_CHECK_INT(at_edit_distance("", ""), 0);
    AT_CHECK_INT(at_edit_distance("", "abc"), 3);
    AT_CHECK_INT(at_edit_distance("kitten", "sitting"), 3);
    AT_CHECK_INT(at_edit_distance("sitting", "kitten"), 3);
    AT_CHECK_INT(at_edit_distance("betas", "beats"), 1); // a swap
    AT_CHECK_INT(at_edit_distance("ca", "abc"), 3);      // restricted: no edit inside a swap
    AT_CHECK_INT(at_edit_distance("Max-Steps", "max_steps"), 0);
    char a[201], b[201];
    memset(a, 'a', 200);
    memset(b, 'b', 200);
    a[200] = b[200] = '\0';
    AT_CHECK_INT(at_edit_distance(a, b), 64);
}

static void suggestions(void)
{
    static const char *const keys[] = {"steps", "seed", "sampler", "learning_rate", "cfg"};
    AT_CHECK_STR(at_suggest("stesp", keys, 5), "steps");
    AT_CHECK_STR(at_suggest("learning-rat", keys, 5), "learning_rate");
    AT_CHECK_STR(at_suggest("LEARNINGRATE", keys, 5), "learning_rate");
    AT_CHECK_STR(at_suggest("sampeler", keys, 5), "sampler");
    AT_CHECK(!at_suggest("banana", keys, 5));
    AT_CHECK(!at_suggest("x", keys, 5));
    AT_CHECK(!at_suggest("", keys, 5));
    AT_CHECK(!at_suggest("steps", keys, 0));
}

static void utf8_accepts_what_is_well_formed_and_nothing_else(void)
{
    uint32_t code;
    char out[4];
    for (uint32_t c = 1; c < 0x110000; c += c < 0x10200 ? 1 : 97) {
        size_t n = at_utf8_put(out, c), m = at_utf8_step(out, 4, &code);
        bool surrogate = c >= 0xd800 && c < 0xe000;
        if (surrogate ? m != 0 : m != n || code != c)
            AT_CHECK_INT(c, -1);
        if (!surrogate && at_utf8_step(out, n - 1, NULL) != 0)
            AT_CHECK_INT(c, -2);
    }
    AT_CHECK(at_utf8_valid("a\xc3\xa9\xf0\x9f\x98\x80", 7));
    AT_CHECK(!at_utf8_valid("\xc0\x80", 2));         // overlong
    AT_CHECK(!at_utf8_valid("\xe0\x80\x80", 3));     // overlong
    AT_CHECK(!at_utf8_valid("\xf4\x90\x80\x80", 4)); // beyond the last code point
    AT_CHECK(!at_utf8_valid("a\x80", 2));
}

int main(void)
{
    AT_RUN(distances);
    AT_RUN(suggestions);
    AT_RUN(utf8_accepts_what_is_well_formed_and_nothing_else);
    return at_test_end();
}
