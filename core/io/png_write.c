// SPDX-License-Identifier: Apache-2.0
// PNG writing with libpng, always into memory first.
#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "core/io/image_doc.h"

#include <stdio.h>
#include <string.h>

struct writer {
    void *bytes;
    size_t size, capacity;
    char message[128];
    struct at_png_memory memory;
    png_structp png;
    png_infop info;
    png_text *texts; // key and text are fresh copies
    size_t n_texts;
};

static void on_error(png_structp png, png_const_charp message)
{
    struct writer *w = png_get_error_ptr(png);
    snprintf(w->message, sizeof(w->message), "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void write_bytes(png_structp png, png_bytep data, size_t n)
{
    struct writer *w = png_get_io_ptr(png);
    w->memory.starved = w->memory.starved || !at_grow(&w->bytes, &w->capacity, w->size + n, 1);
    if (w->memory.starved)
        png_error(png, "out of memory");
    memcpy((uint8_t *)w->bytes + w->size, data, n);
    w->size += n;
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

// The text in Latin-1, or NULL when it has other characters (*fits false) or memory ran out.
static char *to_latin1(const char *text, bool *fits)
{
    size_t n = strlen(text), used = 0;
    char *out = at_calloc(n + 1, 1);
    *fits = true;
    for (size_t i = 0, step; out && i < n; i += step) {
        uint32_t code = 0;
        step = at_utf8_step(text + i, n - i, &code);
        if (step == 0 || code > 0xff) {
            *fits = false;
            at_free(out);
            return NULL;
        }
        out[used++] = (char)code;
    }
    return out;
}

static bool prepare_texts(struct at_log *log, const char *name, struct writer *w, const struct at_png_text *texts,
                          size_t n)
{
    bool fits;
    w->texts = at_calloc(n, sizeof(*w->texts));
    if (!w->texts)
        return at_fail_memory(log, n * sizeof(*w->texts));
    for (size_t i = 0; i < n; i++) {
        png_text *t = &w->texts[w->n_texts++];
        t->key = to_latin1(texts[i].key, &fits);
        if (!fits || (t->key && (strlen(t->key) < 1 || strlen(t->key) > 79)))
            return at_fail(log, AT_ERROR_FAILED,
                           "%s: \"%s\" cannot be the key of a PNG text (1 to 79 Latin characters)", name, texts[i].key);
        if (!at_utf8_valid(texts[i].value, strlen(texts[i].value)))
            return at_fail(log, AT_ERROR_FAILED, "%s: the PNG text \"%s\" is not UTF-8", name, texts[i].key);
        t->text = to_latin1(texts[i].value, &fits);
        t->compression = fits ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
        if (!fits)
            t->text = at_strdup(texts[i].value);
        if (!t->key || !t->text)
            return at_fail_memory(log, strlen(texts[i].value));
    }
    return true;
}

// Everything that may longjmp.
static bool encode(struct writer *w, const struct at_image *image)
{
    static const int type[5] = {[1] = PNG_COLOR_TYPE_GRAY, [3] = PNG_COLOR_TYPE_RGB, [4] = PNG_COLOR_TYPE_RGB_ALPHA};
    if (setjmp(png_jmpbuf(w->png)))
        return false;
    png_set_write_fn(w->png, w, write_bytes, flush_nothing);
    png_set_user_limits(w->png, 0x7fffffff, 0x7fffffff);
    png_set_IHDR(w->png, w->info, (png_uint_32)image->width, (png_uint_32)image->height, 8, type[image->channels],
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (w->n_texts)
        png_set_text(w->png, w->info, w->texts, (int)w->n_texts);
    png_write_info(w->png, w->info);
    for (int y = 0; y < image->height; y++)
        png_write_row(w->png, image->pixels + (size_t)y * (size_t)image->width * (size_t)image->channels);
    png_write_end(w->png, NULL);
    return true;
}

bool at_png_encode(struct at_log *log, const char *name, const struct at_image *image, const struct at_png_text *texts,
                   size_t n_texts, uint8_t **bytes, size_t *size)
{
    struct writer w = {.memory.most = SIZE_MAX};
    int c = image->channels;
    *bytes = NULL;
    *size = 0;
    if (image->width < 1 || image->height < 1 || (c != 1 && c != 3 && c != 4) || n_texts > INT32_MAX)
        return at_fail(log, AT_ERROR_FAILED, "%s: cannot write an image of %d x %d with %d channels", name,
                       image->width, image->height, c);
    bool ok = prepare_texts(log, name, &w, texts, n_texts);
    if (ok) {
        w.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &w, on_error, on_warning, &w.memory, at_png_alloc,
                                          at_png_free);
        w.info = w.png ? png_create_info_struct(w.png) : NULL;
        ok = w.info && encode(&w, image);
        if (!ok && w.memory.starved)
            at_fail_memory(log, w.size);
        else if (!ok)
            at_fail(log, AT_ERROR_FAILED, "%s: cannot encode the PNG: %s", name, w.message);
        png_destroy_write_struct(&w.png, &w.info);
    }
    for (size_t i = 0; i < w.n_texts; i++) {
        at_free(w.texts[i].key);
        at_free(w.texts[i].text);
    }
    at_free(w.texts);
    if (!ok) {
        at_free(w.bytes);
        return false;
    }
    *bytes = w.bytes;
    *size = w.size;
    return true;
}

bool at_png_write(struct at_log *log, const char *path, const struct at_image *image, const struct at_png_text *texts,
                  size_t n_texts)
{
    uint8_t *bytes;
    size_t size;
    if (!at_png_encode(log, path, image, texts, n_texts, &bytes, &size))
        return false;
    bool ok = at_file_replace(log, path, bytes, size);
    at_free(bytes);
    return ok;
}
