// SPDX-License-Identifier: Apache-2.0
// Inside core/io/image.c and png_*.c only.
#ifndef CORE_IO_IMAGE_DOC_H
#define CORE_IO_IMAGE_DOC_H

#include "core/io/image.h"

#include <png.h>

// libpng's memory, through core/base/alloc.h: what its memory pointer points to.
struct at_png_memory {
    size_t most;  // bytes of one block; libpng skips or refuses what asks for more
    bool starved; // there was none
};
png_voidp at_png_alloc(png_structp png, png_alloc_size_t size);
void at_png_free(png_structp png, png_voidp block);

AT_NODISCARD bool at_png_parse(struct at_log *log, const char *name, const void *bytes, size_t size, int channels,
                               struct at_image *image);

#endif
