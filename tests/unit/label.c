// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/io/image.h"
#include "core/io/label.h"
#include "tests/harness.h"

static struct at_fonts *fonts;

static int lines_of(const char *text, int width, int max_lines, int *widest)
{
    int w = -1, h = -1, one_w, one;
    struct at_label label = {.text = text, .size = 16, .width = width, .max_lines = max_lines};
    AT_CHECK(at_label_measure(fonts, &label, &w, &h));
    AT_CHECK(at_label_measure(fonts, &(struct at_label){.text = "x", .size = 16}, &one_w, &one) && one > 16);
    if (widest)
        *widest = w;
    return h / one;
}

static void text_is_wrapped(void)
{
    int w;
    AT_CHECK_INT(lines_of("", 100, 0, NULL), 0);
    AT_CHECK_INT(lines_of("one", 0, 0, NULL), 1);
    AT_CHECK_INT(lines_of("one\ntwo\n\nfour", 0, 0, NULL), 4);
    AT_CHECK_INT(lines_of("a red apple on a wooden table", 0, 0, NULL), 1);
    AT_CHECK(lines_of("a red apple on a wooden table", 100, 0, &w) >= 3);
    AT_CHECK(w <= 100 && w > 50);
    AT_CHECK_INT(lines_of("a red apple on a wooden table", 100, 2, &w), 2);
    AT_CHECK(w <= 100);
    AT_CHECK(lines_of("Donaudampfschifffahrtsgesellschaft", 100, 0, &w) >= 2); // one word, broken
    AT_CHECK(w <= 100);
    AT_CHECK(lines_of("\xff\xfe broken bytes \xc3", 100, 0, &w) >= 1);
}

// How many pixels are not white, and whether any has colour.
static int ink(const struct at_image *image, bool *coloured)
{
    int n = 0;
    *coloured = false;
    for (int i = 0; i < image->width * image->height; i++) {
        const uint8_t *p = image->pixels + i * image->channels;
        n += p[0] < 250;
        *coloured = *coloured || (image->channels >= 3 && (p[0] != p[1] || p[1] != p[2]));
    }
    return n;
}

static int draw(const char *text, int channels, int x, bool *coloured)
{
    struct at_image image = {0};
    if (!AT_CHECK(at_image_init(NULL, &image, 160, 40, channels)))
        return -1;
    memset(image.pixels, 255, (size_t)(160 * 40 * channels));
    struct at_label label = {.text = text, .size = 20};
    AT_CHECK(at_label_draw(fonts, &label, &image, x, 4));
    int n = ink(&image, coloured);
    at_image_finish(&image);
    return n;
}

static void ink_lands_in_the_image(void)
{
    bool coloured;
    int n = draw("Apple", 3, 4, &coloured);
    AT_CHECK(n > 100 && n < 1500 && !coloured);
    AT_CHECK(draw("Apple", 1, 4, &coloured) == n);
    AT_CHECK(draw("Apple", 4, 4, &coloured) == n);
    AT_CHECK_INT(draw("Apple", 3, 1000, &coloured), 0);
    int cut = draw("Apple", 3, -30, &coloured);
    AT_CHECK(cut > 0 && cut < n);
    AT_CHECK(draw("\xf0\x9f\x8d\x8e", 3, 4, &coloured) > 100 && coloured);            // red apple
    AT_CHECK(draw("\xe8\xb5\xa4\xe3\x81\x84", 3, 4, &coloured) > 100);                // Japanese
    AT_CHECK(draw("\xd8\xaa\xd9\x81\xd8\xa7\xd8\xad\xd8\xa9", 3, 4, &coloured) > 60); // Arabic
}

static void a_sequence_is_one_emoji(void)
{
    int one, family;
    lines_of("\xf0\x9f\x91\xa9", 0, 0, &one);                                // woman
    lines_of("\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80", 0, 0, &family); // woman astronaut
    AT_CHECK_INT(one, family);
}

static void without_fonts_labels_are_left_out(void)
{
    struct at_log silent = {.write = NULL, .level = AT_LEVEL_ERROR};
    const char *const none[] = {"/nonexistent", NULL};
    struct at_fonts *empty = at_fonts_open(&silent, none);
    int w = 7, h = 7;
    struct at_label label = {.text = "x"};
    struct at_image image = {0};
    AT_CHECK(empty && at_label_measure(empty, &label, &w, &h) && w == 0 && h == 0);
    AT_CHECK(at_label_draw(empty, &label, &image, 0, 0));
    at_fonts_close(&empty);
    AT_CHECK(!empty);
}

static void allocation_faults_are_reported(void)
{
    bool done = false;
    for (size_t n = 1; n < 100 && !done; n++) {
        struct at_label label = {.text = "one two three", .width = 40};
        int w, h;
        at_alloc_fail_at(n, false);
        bool ok = at_label_measure(fonts, &label, &w, &h);
        done = !at_alloc_failed();
        AT_CHECK(ok || !done);
        at_alloc_fail_at(0, false);
    }
    AT_CHECK(done);
}

int main(void)
{
    fonts = at_fonts_open(NULL, NULL);
    int w, h;
    if (!fonts || !at_label_measure(fonts, &(struct at_label){.text = "x"}, &w, &h) || h == 0)
        return AT_SKIP; // no fonts here
    AT_RUN(text_is_wrapped);
    AT_RUN(ink_lands_in_the_image);
    AT_RUN(a_sequence_is_one_emoji);
    AT_RUN(without_fonts_labels_are_left_out);
    AT_RUN(allocation_faults_are_reported);
    at_fonts_close(&fonts);
    return at_test_end();
}
