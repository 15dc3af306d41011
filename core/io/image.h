// SPDX-License-Identifier: Apache-2.0
// 8-bit images: reading PNG (libpng), JPEG and baseline BMP (stb_image), writing PNG with text, resizing.
#ifndef CORE_IO_IMAGE_H
#define CORE_IO_IMAGE_H

#include "core/base/log.h"

#include <stdint.h>

// Rows from the top, no padding: pixel (x, y) channel c is pixels[(y * width + x) * channels + c].
struct at_image {
    int width, height;
    int channels; // 1 grey, 3 RGB, 4 RGBA (alpha not multiplied in)
    uint8_t *pixels;
};

// Largest accepted image: this side, and this many pixels.
#define AT_IMAGE_MAX_SIDE 32768
#define AT_IMAGE_MAX_PIXELS 67108864

// A zeroed (black, transparent) image. at_image_finish frees its pixels and zeroes it; a zeroed one is fine.
AT_NODISCARD bool at_image_init(struct at_log *log, struct at_image *image, int width, int height, int channels);
void at_image_finish(struct at_image *image);

// Decodes a file. `channels`: 1, 3 or 4; 0 gives 4 if the file has transparency, else 3. Dropping alpha drops it, it is
// not blended. 16-bit samples are scaled to 8; gamma and colour profiles are ignored, and so is EXIF orientation.
AT_NODISCARD bool at_image_read(struct at_log *log, const char *path, int channels, struct at_image *image);
// The same from memory; `name` stands in messages.
AT_NODISCARD bool at_image_parse(struct at_log *log, const char *name, const void *bytes, size_t size, int channels,
                                 struct at_image *image);
// Only the size, from the file's first bytes.
AT_NODISCARD bool at_image_read_size(struct at_log *log, const char *path, int *width, int *height);

// A PNG's text chunk, both UTF-8.
struct at_png_text {
    char *key;   // 1 .. 79 characters of Latin-1
    char *value; // written as tEXt if it is Latin-1, else as iTXt
};
// Replaces the file `path`. texts may be NULL if n_texts is 0.
AT_NODISCARD bool at_png_write(struct at_log *log, const char *path, const struct at_image *image,
                               const struct at_png_text *texts, size_t n_texts);
// The same into fresh memory, freed with at_free (say for a page that embeds it).
AT_NODISCARD bool at_png_encode(struct at_log *log, const char *name, const struct at_image *image,
                                const struct at_png_text *texts, size_t n_texts, uint8_t **bytes, size_t *size);
// The text chunks (tEXt, zTXt, iTXt) of a PNG, before and after the pixels, in file order; freed with
// at_png_texts_free. A file of another kind is an error.
AT_NODISCARD bool at_png_read_texts(struct at_log *log, const char *path, struct at_png_text **texts, size_t *n_texts);
AT_NODISCARD bool at_png_parse_texts(struct at_log *log, const char *name, const void *bytes, size_t size,
                                     struct at_png_text **texts, size_t *n_texts);
void at_png_texts_free(struct at_png_text **texts, size_t n_texts);

// Fresh images; the source stays as it is. Resize: bilinear, widened to the area of a target pixel when shrinking
// (antialiased, as Pillow's BILINEAR). Colours are weighted by alpha.
AT_NODISCARD bool at_image_resize(struct at_log *log, const struct at_image *source, int width, int height,
                                  struct at_image *out);
AT_NODISCARD bool at_image_crop(struct at_log *log, const struct at_image *source, int x, int y, int width, int height,
                                struct at_image *out);
// Scales so that width x height is just covered, then cuts out the middle; where of a picture of that size it begins.
void at_image_cover_at(int source_width, int source_height, int width, int height, int *left, int *top);
AT_NODISCARD bool at_image_cover(struct at_log *log, const struct at_image *source, int width, int height,
                                 struct at_image *out);

#endif
