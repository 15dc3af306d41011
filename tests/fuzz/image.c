// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/io/image.h"
#include "tests/fuzz/target.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int channels[4] = {0, 1, 3, 4};
    struct at_image image, small, back;
    struct at_png_text *texts;
    size_t n, bytes;
    uint8_t *png;
    if (at_image_parse(NULL, "fuzz", data, size, channels[size % 4], &image)) {
        if (image.width * image.height <= 65536 && at_image_cover(NULL, &image, 9, 5, &small)) {
            if (!at_png_encode(NULL, "t", &small, NULL, 0, &png, &bytes) ||
                !at_image_parse(NULL, "t", png, bytes, small.channels, &back) ||
                memcmp(small.pixels, back.pixels, (size_t)(9 * 5 * small.channels)) != 0)
                abort(); // what we write must read back the same
            at_free(png);
            at_image_finish(&back);
            at_image_finish(&small);
        }
        at_image_finish(&image);
    }
    if (at_png_parse_texts(NULL, "fuzz", data, size, &texts, &n))
        at_png_texts_free(&texts, n);
    return 0;
}
