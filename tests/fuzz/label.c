// SPDX-License-Identifier: Apache-2.0
// A prompt as text in a picture. Bytes: size, width, lines, channels and place; then the text.
#include "core/io/image.h"
#include "core/io/label.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"

#define SIDE 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct at_fonts *fonts; // those that are installed
    static const int channels[4] = {1, 3, 4, 3};
    struct at_log log = {.write = at_log_drop};
    if (size < 4)
        return 0;
    if (!fonts && !(fonts = at_fonts_open(&log, NULL)))
        abort();
    uint8_t pixels[SIDE * SIDE * 4 + 1] = {0};
    struct at_image image = {.width = SIDE, .height = SIDE, .channels = channels[data[3] % 4], .pixels = pixels};
    char *text = at_calloc(size - 3, 1);
    int width, height;
    if (!text)
        abort();
    memcpy(text, data + 4, size - 4);
    struct at_label label = {.text = text, .size = data[0] % 40 ? 4 + data[0] % 40 : 0, .width = data[1], .max_lines = data[2] % 5,
                             .align = (enum at_label_align)(data[3] / 4 % 3)};
    if (!at_label_measure(fonts, &label, &width, &height) || width < 0 || height < 0 ||
        !at_label_draw(fonts, &label, &image, data[3] % 90 - 20, data[2] % 90 - 20) || pixels[SIDE * SIDE * 4])
        abort();
    at_free(text);
    return 0;
}
