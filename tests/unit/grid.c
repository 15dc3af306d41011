// SPDX-License-Identifier: Apache-2.0
#include "pipelines/sample/grid.h"

#include "core/io/file.h"
#include "core/io/image.h"
#include "core/io/label.h"
#include "tests/harness.h"

#include <stdlib.h>

#define MANY 500

static struct at_image small, other;
static const struct at_image *cells[MANY];
static char said[1024];

static void keep_text(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    (void)level;
    snprintf(said, sizeof(said), "%s", text);
}

static struct at_log quiet = {.write = keep_text};

static void cells_are_enlarged_and_placed(void)
{
    struct at_grid g = {.rows = 2, .columns = 3, .images = cells, .scale = 4};
    struct at_image page;
    AT_CHECK_INT(at_grid_pages(NULL, &g), 1);
    if (!AT_CHECK(at_grid_draw(NULL, &g, 0, &page)))
        return;
    AT_CHECK_INT(page.width, 3 * 32 + 2 * 6 + 2 * 10);
    AT_CHECK_INT(page.height, 2 * 32 + 6 + 2 * 10);
    const uint8_t *first = page.pixels + 3 * (10 * page.width + 10);
    AT_CHECK(first[0] == 200 && first[1] == 0 && first[3 * 31] == 200 && first[3 * 32] == 255);
    at_image_finish(&page);
    g.scale = 0; // at least 128 pixels
    AT_CHECK(at_grid_draw(NULL, &g, 0, &page) && page.width == 3 * 128 + 2 * 6 + 2 * 10);
    at_image_finish(&page);
    AT_CHECK(!at_grid_draw(&quiet, &g, 1, &page));
}

static void five_hundred_pictures_make_pages(void)
{
    struct at_grid tall = {.rows = MANY, .columns = 1, .images = cells, .scale = 4, .max_side = 400};
    AT_CHECK_INT(at_grid_pages(NULL, &tall), 50); // ten of 32 + 6 pixels in 380
    tall.max_rows = 7;
    AT_CHECK_INT(at_grid_pages(NULL, &tall), 72);
    struct at_grid wide = {.rows = 1, .columns = MANY, .images = cells, .scale = 4, .max_side = 400};
    AT_CHECK_INT(at_grid_pages(NULL, &wide), 50);
    struct at_image page;
    AT_CHECK(at_grid_draw(NULL, &tall, 71, &page) && page.height == 3 * 38 - 6 + 20); // 500 = 71 * 7 + 3
    at_image_finish(&page);
    AT_CHECK(at_grid_draw(NULL, &wide, 49, &page) && page.width <= 400 && page.height == 52);
    at_image_finish(&page);
}

static void labels_take_room(void)
{
    const char *side[] = {"a red apple", "\xe8\xb5\xa4\xe3\x81\x84 \xf0\x9f\x8d\x8e"}, *top[] = {"base", "tuned"};
    struct at_grid g = {
        .rows = 2, .columns = 2, .images = cells, .row_labels = side, .column_labels = top, .title = "T"};
    struct at_image bare, labelled;
    AT_CHECK(at_grid_draw(NULL, &g, 0, &bare)); // no fonts, no labels
    g.fonts = at_fonts_open(&quiet, NULL);
    if (AT_CHECK(g.fonts && at_grid_draw(NULL, &g, 0, &labelled)) && labelled.width > bare.width) {
        AT_CHECK(labelled.height > bare.height + 30);
        int ink = 0;
        for (int i = 0; i < labelled.width * 30; i++)
            ink += labelled.pixels[3 * i] < 128;
        AT_CHECK(ink > 5); // the title
    }
    at_image_finish(&bare);
    at_image_finish(&labelled);
    at_fonts_close(&g.fonts);
}

static void what_cannot_be_drawn_is_refused(void)
{
    struct at_grid g = {.rows = 1, .columns = 3, .images = cells, .max_side = 40};
    AT_CHECK_INT(at_grid_pages(&quiet, &g), 0);
    AT_CHECK(strstr(said, "exceed"));
    const struct at_image *mixed[] = {&small, &other}, *none[] = {NULL, NULL};
    g = (struct at_grid){.rows = 1, .columns = 2, .images = mixed};
    AT_CHECK(at_grid_pages(&quiet, &g) == 0 && strstr(said, "column 2"));
    g.images = none;
    AT_CHECK(at_grid_pages(&quiet, &g) == 0 && strstr(said, "no picture"));
    mixed[1] = NULL;
    g.images = mixed;
    AT_CHECK_INT(at_grid_pages(&quiet, &g), 1);
}

static void pages_are_written(void)
{
    char dir[] = "/tmp/attune-grid-XXXXXX", path[64];
    struct at_grid g = {.rows = 3, .columns = 2, .images = cells, .max_rows = 2, .smooth = true};
    size_t pages = 0;
    AT_CHECK(mkdtemp(dir) && at_grid_write(NULL, &g, dir, "grid", &pages));
    AT_CHECK_INT(pages, 2);
    snprintf(path, sizeof(path), "%s/grid-002.png", dir);
    AT_CHECK(at_file_exists(path));
    AT_CHECK(at_path_remove(NULL, dir));
}

int main(void)
{
    if (!AT_CHECK(at_image_init(NULL, &small, 8, 8, 3) && at_image_init(NULL, &other, 8, 9, 3)))
        return at_test_end();
    for (int i = 0; i < 64; i++)
        small.pixels[3 * i] = 200;
    for (int i = 0; i < MANY; i++)
        cells[i] = &small;
    AT_RUN(cells_are_enlarged_and_placed);
    AT_RUN(five_hundred_pictures_make_pages);
    AT_RUN(labels_take_room);
    AT_RUN(what_cannot_be_drawn_is_refused);
    AT_RUN(pages_are_written);
    at_image_finish(&small);
    at_image_finish(&other);
    return at_test_end();
}
