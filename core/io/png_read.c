// SPDX-License-Identifier: Apache-2.0
// PNG reading with libpng: pixels, and the text chunks.
#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "core/io/image_doc.h"

#include <png.h>
#include <stdio.h>
#include <string.h>

#define MOST_CHUNK ((size_t)64 << 20)

struct reader {
    const uint8_t *bytes;
    size_t size, at;
    char message[128];
    struct at_png_memory memory;
    png_structp png;
    png_infop info, end;
    png_bytep *rows; // pointers into the image
    struct at_image image;
};

static void on_error(png_structp png, png_const_charp message)
{
    struct reader *r = png_get_error_ptr(png);
    snprintf(r->message, sizeof(r->message), "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void read_bytes(png_structp png, png_bytep out, size_t n)
{
    struct reader *r = png_get_io_ptr(png);
    if (n > r->size - r->at)
        png_error(png, "the file is cut short");
    memcpy(out, r->bytes + r->at, n);
    r->at += n;
}

png_voidp at_png_alloc(png_structp png, png_alloc_size_t size)
{
    struct at_png_memory *memory = png_get_mem_ptr(png);
    if (size > memory->most)
        return NULL;
    void *block = at_calloc(size, 1);
    memory->starved = memory->starved || !block;
    return block;
}

void at_png_free(png_structp png, png_voidp block)
{
    (void)png;
    at_free(block);
}

static void finish(struct reader *r)
{
    png_destroy_read_struct(&r->png, &r->info, &r->end);
    at_free(r->rows);
    r->rows = NULL;
}

static bool start(struct reader *r, const void *bytes, size_t size)
{
    // A chunk whose length is a lie is only warned of by libpng, and allocated.
    *r = (struct reader){.bytes = bytes, .size = size, .memory.most = MOST_CHUNK + 4096};
    r->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, r, on_error, on_warning, &r->memory, at_png_alloc,
                                      at_png_free);
    r->info = r->png ? png_create_info_struct(r->png) : NULL;
    r->end = r->info ? png_create_info_struct(r->png) : NULL;
    if (!r->end)
        return false;
    png_set_read_fn(r->png, r, read_bytes);
    png_set_user_limits(r->png, AT_IMAGE_MAX_SIDE, AT_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(r->png, MOST_CHUNK);
    png_set_chunk_cache_max(r->png, 1000);
    return true;
}

// Asks libpng for 8-bit samples with 1, 3 or 4 channels; returns how many.
static int set_format(struct reader *r, int channels)
{
    int type = png_get_color_type(r->png, r->info);
    bool alpha = (type & PNG_COLOR_MASK_ALPHA) || png_get_valid(r->png, r->info, PNG_INFO_tRNS);
    if (channels == 0)
        channels = alpha ? 4 : 3;
    png_set_expand(r->png); // palettes, fewer bits than 8, transparent colours
    png_set_scale_16(r->png);
    if (channels > 1)
        png_set_gray_to_rgb(r->png);
    else
        png_set_rgb_to_gray_fixed(r->png, PNG_ERROR_ACTION_NONE, 29900, 58700); // Rec. 601, as Pillow's "L"
    if (channels < 4)
        png_set_strip_alpha(r->png);
    else if (!alpha)
        png_set_add_alpha(r->png, 255, PNG_FILLER_AFTER);
    png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    return channels;
}

// Everything that may longjmp; what must be freed afterwards is reached through `r` only.
static bool decode(struct reader *r, int channels, bool texts)
{
    if (setjmp(png_jmpbuf(r->png)))
        return false;
    if (!texts) // skip them unread
        png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep) "tEXt\0zTXt\0iTXt", 3);
    png_read_info(r->png, r->info);
    png_uint_32 width = png_get_image_width(r->png, r->info), height = png_get_image_height(r->png, r->info);
    if ((uint64_t)width * height > AT_IMAGE_MAX_PIXELS)
        png_error(r->png, "more pixels than are accepted");
    channels = set_format(r, channels);
    if (png_get_rowbytes(r->png, r->info) != (size_t)width * (size_t)channels)
        png_error(r->png, "an unexpected row size");
    if (at_image_init(NULL, &r->image, (int)width, (int)height, channels))
        r->rows = at_calloc(height, sizeof(*r->rows));
    r->memory.starved = r->memory.starved || !r->rows;
    if (!r->rows)
        return false;
    for (png_uint_32 y = 0; y < height; y++)
        r->rows[y] = r->image.pixels + (size_t)y * width * (size_t)channels;
    png_read_image(r->png, r->rows);
    png_read_end(r->png, r->end);
    return true;
}

static bool fail(const struct reader *r, struct at_log *log, const char *name)
{
    return r->memory.starved ? at_fail_memory(log, r->size)
                      : at_fail(log, AT_ERROR_INPUT, "%s: not a good PNG: %s", name, r->message);
}

bool at_png_parse(struct at_log *log, const char *name, const void *bytes, size_t size, int channels,
                  struct at_image *image)
{
    struct reader r;
    bool ok = start(&r, bytes, size) && decode(&r, channels, false);
    finish(&r);
    if (ok)
        *image = r.image;
    else
        at_image_finish(&r.image);
    return ok || fail(&r, log, name);
}

static char *from_latin1(const char *text)
{
    size_t n = strlen(text);
    char *utf8 = at_calloc(n + 1, 2), *out = utf8;
    for (size_t i = 0; utf8 && i < n; i++)
        out += at_utf8_put(out, (unsigned char)text[i]);
    return utf8;
}

static bool add_texts(struct reader *r, png_infop info, struct at_png_text **texts, size_t *n, size_t *capacity)
{
    png_textp list = NULL;
    int count = 0;
    png_get_text(r->png, info, &list, &count);
    for (int i = 0; i < count; i++) {
        bool wide = list[i].compression >= PNG_ITXT_COMPRESSION_NONE;
        const char *text = list[i].text ? list[i].text : "";
        if (wide && !at_utf8_valid(text, strlen(text))) {
            snprintf(r->message, sizeof(r->message), "a text chunk is not UTF-8");
            return false;
        }
        r->memory.starved = !at_grow((void **)texts, capacity, *n + 1, sizeof(**texts));
        if (r->memory.starved)
            return false;
        struct at_png_text *t = &(*texts)[*n];
        t->key = from_latin1(list[i].key);
        t->value = wide ? at_strdup(text) : from_latin1(text);
        *n += 1;
        r->memory.starved = !t->key || !t->value;
        if (r->memory.starved)
            return false;
    }
    return true;
}

bool at_png_parse_texts(struct at_log *log, const char *name, const void *bytes, size_t size,
                        struct at_png_text **texts, size_t *n_texts)
{
    struct reader r;
    size_t capacity = 0;
    *texts = NULL;
    *n_texts = 0;
    bool ok = start(&r, bytes, size) && decode(&r, 0, true); // the pixels too: libpng cannot skip them
    ok = ok && add_texts(&r, r.info, texts, n_texts, &capacity) && add_texts(&r, r.end, texts, n_texts, &capacity);
    finish(&r);
    at_image_finish(&r.image);
    if (!ok)
        at_png_texts_free(texts, *n_texts);
    return ok || fail(&r, log, name);
}

bool at_png_read_texts(struct at_log *log, const char *path, struct at_png_text **texts, size_t *n_texts)
{
    struct at_map map;
    *texts = NULL;
    *n_texts = 0;
    if (!at_file_map(log, path, &map))
        return false;
    bool ok = at_png_parse_texts(log, path, map.data, map.size, texts, n_texts);
    at_file_unmap(&map);
    return ok;
}

void at_png_texts_free(struct at_png_text **texts, size_t n_texts)
{
    for (size_t i = 0; *texts && i < n_texts; i++) {
        at_free((*texts)[i].key);
        at_free((*texts)[i].value);
    }
    at_free(*texts);
    *texts = NULL;
}
