// SPDX-License-Identifier: Apache-2.0
// tests/golden/make_image.py made the pictures read here with Pillow.
#include "core/io/image.h"
#include "tests/unit/capture.h"

static const char *data_path(const char *name)
{
    static char path[512];
    const char *dir = getenv("AT_TEST_DATA");
    snprintf(path, sizeof(path), "%s/%s", dir ? dir : "tests/unit/data", name);
    return path;
}

static struct at_image formula(int channels)
{
    struct at_image image;
    AT_CHECK(at_image_init(NULL, &image, 24, 16, channels));
    uint8_t *p = image.pixels;
    for (int y = 0; y < 16; y++) {
        for (int x = 0; x < 24; x++, p += channels) {
            const int rgba[4] = {10 * x, 12 * y, 7 * x * y % 256, 255 - 8 * x};
            for (int c = 0; c < channels; c++)
                p[c] = (uint8_t)rgba[c];
        }
    }
    return image;
}

static int worst(const struct at_image *a, const struct at_image *b)
{
    if (a->width != b->width || a->height != b->height || a->channels != b->channels)
        return 999;
    int most = 0;
    for (int i = 0; i < a->width * a->height * a->channels; i++) {
        int d = abs(a->pixels[i] - b->pixels[i]);
        most = d > most ? d : most;
    }
    return most;
}

static void reads_every_format(void)
{
    static const struct {
        const char *file;
        int tolerance;
    } files[] = {{"rgb.png", 0}, {"rgb.bmp", 0}, {"rgb.jpg", 30}}; // the blue channel jumps, which JPEG smears
    struct at_image want = formula(3), got;
    for (int i = 0; i < 3; i++) {
        AT_CHECK(at_image_read(NULL, data_path(files[i].file), 0, &got));
        AT_CHECK(worst(&got, &want) <= files[i].tolerance);
        at_image_finish(&got);
        int w, h;
        AT_CHECK(at_image_read_size(NULL, data_path(files[i].file), &w, &h) && w == 24 && h == 16);
    }
    at_image_finish(&want);
    AT_CHECK(at_image_read(NULL, data_path("grey16.png"), 3, &got) && got.channels == 3);
    AT_CHECK(got.pixels[3 * 23] == 230 && got.pixels[3 * 23 + 2] == 230); // 23 * 2570 / 257
    at_image_finish(&got);
    AT_CHECK(at_image_read(NULL, data_path("grey16.png"), 4, &got) && got.pixels[4 * 5] == 50 && got.pixels[3] == 255);
    at_image_finish(&got);
    AT_CHECK(at_image_read(NULL, data_path("palette.png"), 0, &got) && got.channels == 3 && got.width == 24);
    at_image_finish(&got);
    AT_CHECK(at_image_read(NULL, data_path("rgb.png"), 1, &got) && got.channels == 1);
    AT_CHECK_NEAR(got.pixels[24 * 15 + 23], 0.299 * 230 + 0.587 * 180 + 0.114 * (7 * 23 * 15 % 256), 1);
    at_image_finish(&got);
}

static void damaged_pictures_are_refused(void)
{
    static const char *const files[] = {"rgb.png", "rgb.jpg", "rgb.bmp", "palette.png"};
    struct capture c;
    struct at_image image;
    for (int i = 0; i < 4; i++) {
        struct at_map map;
        AT_CHECK(at_file_map(NULL, data_path(files[i]), &map));
        for (size_t n = 0; n < map.size; n += n < 64 ? 1 : 37) { // cut short anywhere, it is never accepted
            capture_start(&c);
            bool ok = at_image_parse(&c.log, "cut", map.data, n, 0, &image);
            if (!AT_CHECK(!ok && c.log.error == AT_ERROR_INPUT && !image.pixels))
                printf("%s cut to %zu bytes\n", files[i], n);
            at_image_finish(&image);
        }
        at_file_unmap(&map);
    }
    static const uint8_t codes[30] = {255, 216, 255, 196, 0, 28, 0, 1, 255, 2}; // 258 codes: stb would write too far
    AT_CHECK(!at_image_parse(capture_start(&c), "t", codes, 30, 0, &image) && capture_says(&c, "cut short or damaged"));
    AT_CHECK(!at_image_read(capture_start(&c), data_path("python.safetensors"), 0, &image));
    AT_CHECK(capture_says(&c, "not a PNG, JPEG or BMP"));
    struct at_map map;
    AT_CHECK(at_file_map(NULL, data_path("rgb.png"), &map));
    uint8_t *bytes = at_calloc(map.size, 1);
    memcpy(bytes, map.data, map.size);
    bytes[map.size - 40] ^= 1; // the check sum of the pixels is wrong now
    AT_CHECK(!at_image_parse(capture_start(&c), "t", bytes, map.size, 0, &image) &&
             capture_says(&c, "t: not a good PNG"));
    at_free(bytes);
    at_file_unmap(&map);
}

static void texts_survive(void)
{
    static const struct at_png_text texts[] = {
        {(char *)(uintptr_t) "parameters", (char *)(uintptr_t) "caf\xc3\xa9\nSteps: 20"},
        {(char *)(uintptr_t) "attune", (char *)(uintptr_t) "{\"p\": \"\xe4\xb8\x80\xf0\x9f\x98\x80\"}"},
    };
    struct capture c;
    struct at_png_text *back;
    size_t n, size;
    uint8_t *bytes;
    struct at_image image = formula(4), again;
    const char *path = getenv("AT_KEEP") ? getenv("AT_KEEP") : scratch_path("a.png");
    AT_CHECK(at_png_write(NULL, path, &image, texts, 2));
    AT_CHECK(at_image_read(NULL, path, 0, &again) && worst(&image, &again) == 0);
    at_image_finish(&again);
    AT_CHECK(at_png_read_texts(NULL, path, &back, &n) && n == 2);
    for (size_t i = 0; i < n; i++) {
        AT_CHECK_STR(back[i].key, texts[i].key);
        AT_CHECK_STR(back[i].value, texts[i].value);
    }
    at_png_texts_free(&back, n);
    AT_CHECK(at_png_encode(NULL, "t", &image, texts, 2, &bytes, &size));
    AT_CHECK(memmem(bytes, size, "tEXtparameters\0caf\xe9\n", 20) && memmem(bytes, size, "iTXtattune", 10));
    at_free(bytes);
    AT_CHECK(at_png_read_texts(NULL, data_path("rgb.png"), &back, &n) && n == 4);
    AT_CHECK_STR(back[0].value, "a caf\xc3\xa9\nSteps: 20");
    AT_CHECK_INT(strlen(back[1].value), 300);
    AT_CHECK_STR(back[2].value, "\xe4\xb8\x80 kite \xf0\x9f\x98\x80");
    at_png_texts_free(&back, n);
    AT_CHECK(!at_png_read_texts(capture_start(&c), data_path("rgb.jpg"), &back, &n) &&
             capture_says(&c, "not a good PNG"));
    struct at_png_text bad = {texts[1].value, texts[1].value};
    AT_CHECK(!at_png_write(capture_start(&c), scratch_path("b.png"), &image, &bad, 1) &&
             strstr(c.text, "cannot be the key"));
    image.channels = 2;
    AT_CHECK(!at_png_write(NULL, scratch_path("b.png"), &image, NULL, 0) && !at_file_exists(scratch_path("b.png")));
    at_image_finish(&image);
}

// Pillow rounds to bytes between its two passes, we do not: hence 1.
static void resizes_like_pillow(void)
{
    static const struct {
        const char *file;
        int width, height, channels;
    } cases[] = {{"shrunk.png", 7, 5, 3}, {"grown.png", 50, 37, 3}, {"clear_shrunk.png", 7, 5, 4}};
    for (int i = 0; i < 3; i++) {
        struct at_image source = formula(cases[i].channels), got, want;
        AT_CHECK(at_image_read(NULL, data_path(cases[i].file), cases[i].channels, &want));
        AT_CHECK(at_image_resize(NULL, &source, cases[i].width, cases[i].height, &got));
        AT_CHECK(worst(&got, &want) <= (cases[i].channels == 4 ? 2 : 1)); // and again when it divides by alpha
        at_image_finish(&source);
        at_image_finish(&got);
        at_image_finish(&want);
    }
}

static void covers_and_crops(void)
{
    struct at_image source = formula(3), got;
    AT_CHECK(at_image_cover(NULL, &source, 24, 16, &got) && worst(&source, &got) == 0);
    at_image_finish(&got);
    AT_CHECK(at_image_cover(NULL, &source, 16, 16, &got) && got.width == 16 && got.height == 16);
    AT_CHECK(got.pixels[0] == 40 && got.pixels[3 * 15] == 190); // columns 4 .. 19
    at_image_finish(&got);
    AT_CHECK(at_image_cover(NULL, &source, 5, 9, &got) && got.width == 5 && got.height == 9);
    at_image_finish(&got);
    AT_CHECK(at_image_cover(NULL, &source, 100, 3, &got) && got.width == 100 && got.height == 3);
    at_image_finish(&got);
    AT_CHECK(at_image_resize(NULL, &source, 1, 1, &got));
    AT_CHECK_NEAR(got.pixels[0], 115, 1); // the mean of 10 x, as the filter is symmetric
    at_image_finish(&got);
    AT_CHECK(at_image_crop(NULL, &source, 23, 15, 1, 1, &got) && got.pixels[0] == 230 && got.pixels[1] == 180);
    at_image_finish(&got);
    AT_CHECK(!at_image_crop(NULL, &source, 1, 0, 24, 1, &got) && !at_image_crop(NULL, &source, 0, -1, 1, 1, &got));
    AT_CHECK(!at_image_resize(NULL, &source, 0, 5, &got) && !at_image_resize(NULL, &source, 40000, 5, &got));
    at_image_finish(&source);
}

static bool round_trip(void)
{
    struct at_image image = {0}, small = {0}, back = {0};
    struct at_png_text *texts = NULL, text = {(char *)(uintptr_t) "k", (char *)(uintptr_t) "v"};
    size_t size, n = 0;
    uint8_t *bytes = NULL;
    bool ok = at_image_read(NULL, data_path("rgb.jpg"), 3, &image) && at_image_cover(NULL, &image, 8, 8, &small) &&
              at_png_encode(NULL, "t", &small, &text, 1, &bytes, &size) &&
              at_image_parse(NULL, "t", bytes, size, 3, &back) &&
              at_png_parse_texts(NULL, "t", bytes, size, &texts, &n) && n == 1;
    at_free(bytes);
    at_png_texts_free(&texts, n);
    at_image_finish(&image);
    at_image_finish(&small);
    at_image_finish(&back);
    return ok;
}

static void survives_allocation_faults(void)
{
    fail_each_allocation(round_trip);
}

int main(void)
{
    scratch_make();
    AT_RUN(reads_every_format);
    AT_RUN(damaged_pictures_are_refused);
    AT_RUN(texts_survive);
    AT_RUN(resizes_like_pillow);
    AT_RUN(covers_and_crops);
    AT_RUN(survives_allocation_faults);
    scratch_remove();
    return at_test_end();
}
