// SPDX-License-Identifier: Apache-2.0
#include "core/io/image.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/image_doc.h"

#include <limits.h>
#include <string.h>

// The part of stb_image that core/io/stb_image.c builds.
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#include <stb/stb_image.h>

bool at_image_init(struct at_log *log, struct at_image *image, int width, int height, int channels)
{
    *image = (struct at_image){0};
    if (width < 1 || height < 1 || channels < 1 || channels > 4)
        return at_fail(log, AT_ERROR_FAILED, "an image cannot be %d x %d with %d channels", width, height, channels);
    size_t row = (size_t)width * (size_t)channels;
    uint8_t *pixels = at_calloc((size_t)height, row);
    if (!pixels)
        return at_fail_memory(log, row * (size_t)height);
    *image = (struct at_image){width, height, channels, pixels};
    return true;
}

void at_image_finish(struct at_image *image)
{
    at_free(image->pixels);
    *image = (struct at_image){0};
}

static bool is_png(const void *bytes, size_t size)
{
    return size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
}

// Whether the Huffman tables of a DHT segment, from its length field on, have at most the 256 codes there can be:
// stb_image 2.27 writes beyond its tables otherwise.
static bool tables_fit(const uint8_t *p, size_t size)
{
    if (size < 2)
        return true;
    size_t end = (size_t)p[0] << 8 | p[1];
    for (size_t at = 2; at < end && at < size;) {
        size_t codes = 0;
        for (size_t i = at + 1; i < at + 17 && i < size; i++)
            codes += p[i];
        if (codes > 256)
            return false;
        at += 17 + codes;
    }
    return true;
}

// Whether a JPEG has its end marker and tables that fit. stb_image makes up the rest of one that was cut short, which
// would go unnoticed.
static bool jpeg_is_sound(const uint8_t *p, size_t size)
{
    size_t at = 2;
    bool ended = false;
    while (size - at >= 4 && p[at] == 0xff && p[at + 1] != 0xda) { // segments before the first scan, by length
        size_t step = p[at + 1] == 0xff ? 1 : 2 + ((size_t)p[at + 2] << 8 | p[at + 3]);
        if (step > size - at || (p[at + 1] == 0xc4 && !tables_fit(p + at + 2, size - at - 2)))
            return false;
        at += step;
    }
    for (; size - at >= 2; at++) { // in a scan's data no 0xff precedes these bytes
        ended = ended || (p[at] == 0xff && p[at + 1] == 0xd9);
        if (p[at] == 0xff && p[at + 1] == 0xc4 && !tables_fit(p + at + 2, size - at - 2))
            return false;
    }
    return ended;
}

static uint32_t little_endian(const uint8_t *p, int n)
{
    uint32_t x = 0;
    while (n-- > 0)
        x = x << 8 | p[n];
    return x;
}

// The same for a BMP: rows are padded to 4 bytes, and bits per pixel stand at one of two places.
static bool bmp_is_whole(const uint8_t *p, size_t size, int width, int height)
{
    if (size < 30)
        return false;
    uint64_t bits = little_endian(p + (little_endian(p + 14, 4) == 12 ? 24 : 28), 2);
    uint64_t row = ((uint64_t)width * bits + 31) / 32 * 4;
    return little_endian(p + 10, 4) + row * (uint64_t)height <= size;
}

// Exactly these: stb_image takes other beginnings for a JPEG too, which jpeg_is_sound does not follow.
static bool is_jpeg(const void *bytes, size_t size)
{
    return size >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0;
}

static bool is_bmp(const void *bytes, size_t size)
{
    return size >= 2 && memcmp(bytes, "BM", 2) == 0;
}

static bool fail_cut(struct at_log *log, const char *name)
{
    return at_fail(log, AT_ERROR_INPUT, "%s: the picture is cut short or damaged; copy or download it again", name);
}

static bool parse_other(struct at_log *log, const char *name, const void *bytes, size_t size, int channels,
                        struct at_image *image)
{
    int width, height, have;
    bool jpeg = is_jpeg(bytes, size);
    if (jpeg && !jpeg_is_sound(bytes, size)) // before stb sees a byte of it
        return fail_cut(log, name);
    if (size > INT_MAX || (!jpeg && !is_bmp(bytes, size)))
        return at_fail(log, AT_ERROR_INPUT, "%s: not a PNG, JPEG or BMP picture; convert it to PNG", name);
    if (!stbi_info_from_memory(bytes, (int)size, &width, &height, &have))
        return at_fail(log, AT_ERROR_INPUT, "%s: this kind of picture cannot be read (%s); convert it to PNG", name,
                       stbi_failure_reason());
    if (width < 1 || height < 1 || (int64_t)width * height > AT_IMAGE_MAX_PIXELS)
        return at_fail(log, AT_ERROR_INPUT, "%s: %d x %d pixels; at most %d are accepted", name, width, height,
                       AT_IMAGE_MAX_PIXELS);
    if (!jpeg && !bmp_is_whole(bytes, size, width, height))
        return fail_cut(log, name);
    if (channels == 0)
        channels = have == 2 || have == 4 ? 4 : 3;
    uint8_t *pixels = stbi_load_from_memory(bytes, (int)size, &width, &height, &have, channels);
    if (!pixels && strcmp(stbi_failure_reason(), "outofmem") == 0)
        return at_fail_memory(log, (size_t)width * (size_t)height * (size_t)channels);
    if (!pixels)
        return at_fail(log, AT_ERROR_INPUT, "%s: damaged picture: %s", name, stbi_failure_reason());
    *image = (struct at_image){width, height, channels, pixels};
    return true;
}

bool at_image_parse(struct at_log *log, const char *name, const void *bytes, size_t size, int channels,
                    struct at_image *image)
{
    *image = (struct at_image){0};
    if (channels != 0 && channels != 1 && channels != 3 && channels != 4)
        return at_fail(log, AT_ERROR_FAILED, "%s: an image is read with 1, 3 or 4 channels, not %d", name, channels);
    if (size == 0)
        return at_fail(log, AT_ERROR_INPUT, "%s: the file is empty", name);
    return is_png(bytes, size) ? at_png_parse(log, name, bytes, size, channels, image)
                               : parse_other(log, name, bytes, size, channels, image);
}

bool at_image_read(struct at_log *log, const char *path, int channels, struct at_image *image)
{
    struct at_map map;
    *image = (struct at_image){0};
    if (!at_file_map(log, path, &map))
        return false;
    bool ok = at_image_parse(log, path, map.data, map.size, channels, image);
    at_file_unmap(&map);
    return ok;
}

static int big_endian(const uint8_t *p)
{
    uint32_t x = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    return x > INT_MAX ? 0 : (int)x;
}

bool at_image_read_size(struct at_log *log, const char *path, int *width, int *height)
{
    struct at_map map;
    int have;
    if (!at_file_map(log, path, &map))
        return false;
    *width = *height = 0;
    if (is_png(map.data, map.size) && map.size >= 24) {
        *width = big_endian(map.data + 16);
        *height = big_endian(map.data + 20);
    } else if (map.size <= INT_MAX &&
               (is_bmp(map.data, map.size) || (is_jpeg(map.data, map.size) && jpeg_is_sound(map.data, map.size)))) {
        if (!stbi_info_from_memory(map.data, (int)map.size, width, height, &have))
            *width = *height = 0;
    }
    at_file_unmap(&map);
    if (*width < 1 || *height < 1)
        return at_fail(log, AT_ERROR_INPUT, "%s: not a PNG, JPEG or BMP picture, or damaged; convert it to PNG", path);
    return true;
}

bool at_image_crop(struct at_log *log, const struct at_image *source, int x, int y, int width, int height,
                   struct at_image *out)
{
    *out = (struct at_image){0};
    if (x < 0 || y < 0 || width < 1 || height < 1 || width > source->width - x || height > source->height - y)
        return at_fail(log, AT_ERROR_FAILED, "the crop %d x %d at (%d, %d) leaves the image of %d x %d", width, height,
                       x, y, source->width, source->height);
    if (!at_image_init(log, out, width, height, source->channels))
        return false;
    size_t c = (size_t)source->channels, row = (size_t)width * c;
    for (int i = 0; i < height; i++)
        memcpy(out->pixels + (size_t)i * row,
               source->pixels + ((size_t)(y + i) * (size_t)source->width + (size_t)x) * c, row);
    return true;
}
