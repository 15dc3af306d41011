// SPDX-License-Identifier: Apache-2.0
#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/io/file.h"
#include "core/io/json.h"
#include "datasets/emoji.h"
#include "datasets/emoji_table.h"
#include "datasets/imagefolder.h"
#include "tests/harness.h"

#include <stdlib.h>
#include <unistd.h>

static struct at_emoji_set *set;
static char last[1024];

static void keep_text(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    (void)level;
    snprintf(last, sizeof(last), "%s", text);
}

static struct at_log quiet = {.write = keep_text};

static void captions_are_plain_words(void)
{
    static const struct {
        const char *name, *caption;
        int words;
    } cases[] = {{"red apple", "red apple", 2},
                 {"T-Rex", "t rex", 2},
                 {"man\xe2\x80\x99s shoe", "mans shoe", 2},
                 {"pi\xc3\xb1"
                  "ata",
                  "pinata", 1},
                 {"keycap: 10", "keycap 10", 2},
                 {"\xf0\x9f\x8d\x8e", "", 0}};
    struct at_arena *arena = at_arena_create();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int words = -1;
        AT_CHECK_STR(at_emoji_caption(arena, cases[i].name, &words), cases[i].caption);
        AT_CHECK_INT(words, cases[i].words);
    }
    at_arena_destroy(&arena);
}

static void read_text(const char *text, const char *complaint)
{
    char path[] = "/tmp/attune-table-XXXXXX";
    int fd = mkstemp(path);
    AT_CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    struct at_arena *arena = at_arena_create();
    struct at_emoji *items = NULL;
    size_t count = 0;
    last[0] = 0;
    bool ok = at_emoji_table_read(&quiet, path, arena, &items, &count);
    AT_CHECK(ok == !complaint);
    AT_CHECK(!complaint || strstr(last, complaint));
    AT_CHECK(!ok || (count == 1 && strcmp(items[0].caption, "red apple") == 0));
    at_free(items);
    at_arena_destroy(&arena);
    unlink(path);
}

#define HEAD "# group: Food & Drink\n# subgroup: food-fruit\n"

static void table_errors_name_the_line(void)
{
    read_text(HEAD "1F34E ; fully-qualified # x E0.6 red apple\n263A ; unqualified # x E0.6 face\n", NULL);
    read_text(HEAD "1F34E fully-qualified\n", ":3: no ';' and '#'");
    read_text(HEAD "1F34G ; fully-qualified # x E0.6 red apple\n", ":3: bad code points");
    read_text(HEAD "D800 ; fully-qualified # x E0.6 red apple\n", ":3: bad code points");
    read_text(HEAD "1F34E ; fully-qualified # x red apple\n", ":3: no emoji version");
    read_text(HEAD "1F34E ; fully-qualified # x Enan red apple\n", ":3: no emoji version");
    read_text(HEAD "1F34E ; fully-qualified # x E0.6\n", ":3: no name");
    read_text("1F34E ; fully-qualified # x E0.6 red apple\n", ":1: a row before");
    read_text("# nothing\n", "no fully-qualified emoji");
}

static void missing_files_name_the_package(void)
{
    AT_CHECK(!at_emoji_open(&quiet, &(struct at_emoji_params){.font = "/nonexistent/f.ttf"}));
    AT_CHECK(strstr(last, "fonts-noto-color-emoji") && strstr(last, "/nonexistent/f.ttf"));
    AT_CHECK(!at_emoji_open(&quiet, &(struct at_emoji_params){.table = "/nonexistent/t.txt"}));
    AT_CHECK(strstr(last, "unicode-data") && strstr(last, "/nonexistent/t.txt"));
}

static void allocation_faults_are_reported(void)
{
    for (size_t n = 1; n < 8; n++) {
        at_alloc_fail_at(n, true);
        struct at_emoji_set *none = at_emoji_open(&quiet, &(struct at_emoji_params){0});
        AT_CHECK(!none || !at_alloc_failed());
        at_alloc_fail_at(0, false);
        at_emoji_close(&none);
    }
}

static void sequences_are_one_glyph(void)
{
    AT_CHECK(set->count > 3400);
    AT_CHECK(at_emoji_find(set, "keycap 1") && at_emoji_find(set, "flag japan"));
    AT_CHECK(at_emoji_find(set, "heart on fire")); // a ZWJ sequence
    AT_CHECK(at_emoji_find(set, "thumbs up medium skin tone"));
}

static void selection_is_distinct_and_split(void)
{
    AT_CHECK(at_emoji_select(NULL, set, &(struct at_emoji_rule){0}));
    AT_CHECK_INT(set->count, 320);
    size_t held = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct at_emoji *e = &set->items[i];
        AT_CHECK(e->words >= 1 && e->words <= 3 && at_emoji_find(set, e->caption) == e);
        AT_CHECK(e->glyph.width > 0 && e->glyph.width <= 136);
        held += e->held_out;
    }
    AT_CHECK(held > 140 && held < 180);
    AT_CHECK(at_emoji_find(set, "red apple") && at_emoji_find(set, "red heart"));
}

static double mean(const float *rgb, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += rgb[i] / n;
    return sum;
}

static void drawings_are_centred_coloured_and_clipped(void)
{
    static float a[64 * 64 * 3], b[64 * 64 * 3];
    const struct at_emoji *apple = at_emoji_find(set, "red apple");
    AT_CHECK(at_emoji_draw(NULL, apple, &at_emoji_truth, 64, a));
    const float *middle = a + 3 * (32 * 64 + 32);
    AT_CHECK(middle[0] > 0.6f && middle[1] < 0.4f && middle[2] < 0.4f);
    for (int i = 0; i < 64 * 3; i++)
        AT_CHECK_NEAR(a[i], 1, 1e-3); // nothing in the first row but the filter's tail
    struct at_emoji_view view = at_emoji_truth;
    view.saturation = 0;
    AT_CHECK(at_emoji_draw(NULL, apple, &view, 64, b));
    for (int i = 0; i < 64 * 64; i++)
        AT_CHECK_NEAR(b[3 * i], b[3 * i + 1], 1e-5);
    // The same picture at half the size is its 2x2 mean, but for what the filter does to edges.
    AT_CHECK(at_emoji_draw(NULL, apple, &at_emoji_truth, 32, b));
    AT_CHECK_NEAR(mean(a, 64 * 64 * 3), mean(b, 32 * 32 * 3), 2e-3);
    view = (struct at_emoji_view){.scale = 0.5, .dx = 0.9, .saturation = 1, .background = {0.5f, 0.25f, 1}};
    AT_CHECK(at_emoji_draw(NULL, apple, &view, 64, b)); // out of sight
    for (int i = 0; i < 64 * 64; i++)
        AT_CHECK(b[3 * i] == 0.5f && b[3 * i + 1] == 0.25f && b[3 * i + 2] == 1);
    AT_CHECK(!at_emoji_draw(&quiet, apple, &at_emoji_truth, 0, b));
}

static void samples_depend_on_seed_and_index_alone(void)
{
    static float a[32 * 32 * 3], b[32 * 32 * 3];
    struct at_emoji_view va, vb;
    const struct at_emoji *e = at_emoji_sample(NULL, set, 32, 5, 1234567, a, &va);
    AT_CHECK(e == &set->items[1234567 % set->count]);
    AT_CHECK(at_emoji_sample(NULL, set, 32, 5, 1234567, b, &vb) == e && memcmp(a, b, sizeof(a)) == 0);
    AT_CHECK(at_emoji_sample(NULL, set, 32, 6, 1234567, b, &vb) == e && memcmp(a, b, sizeof(a)) != 0);
    double sat = 0, white = 0, low = 9, high = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        struct at_emoji_view v = at_emoji_view(1, i);
        AT_CHECK(v.scale >= 0.8 && v.scale <= 1 && fabs(v.dx) <= (1 - v.scale) / 2);
        sat += v.saturation / 2000;
        low = fmin(low, v.saturation), high = fmax(high, v.saturation);
        white += v.background[0] + v.background[1] + v.background[2] == 3;
    }
    AT_CHECK_NEAR(sat, 0.8, 0.05);
    AT_CHECK(low < 0.27 && low >= 0.25 && high > 1.38 && high <= 1.4);
    AT_CHECK_NEAR(white / 2000, 0.75, 0.05);
}

static void exports_are_an_imagefolder(void)
{
    char dir[] = "/tmp/attune-emoji-XXXXXX", path[64];
    struct at_imagefolder folder;
    struct at_json_doc *names = NULL;
    AT_CHECK(mkdtemp(dir) && at_emoji_export(NULL, set, &(struct at_emoji_export){dir, 5, 16, 3}));
    if (AT_CHECK(at_imagefolder_read(NULL, dir, &(struct at_imagefolder_params){0}, &folder))) {
        AT_CHECK_INT(folder.count, 5);
        AT_CHECK_STR(folder.rows[4].text, set->items[4].caption);
    }
    at_imagefolder_finish(&folder);
    snprintf(path, sizeof(path), "%s/names.json", dir);
    names = at_json_load(NULL, path);
    if (AT_CHECK(names)) {
        size_t train = at_json_count(at_json_get(at_json_root(names), "train"));
        AT_CHECK_INT(train + at_json_count(at_json_get(at_json_root(names), "held_out")), set->count);
    }
    at_json_destroy(&names);
    AT_CHECK(!at_emoji_export(&quiet, set, &(struct at_emoji_export){dir, 5, 16, 3}) && strstr(last, "not empty"));
    AT_CHECK(!at_emoji_export(&quiet, set, &(struct at_emoji_export){dir, 5, 4, 3}) && strstr(last, "size 4"));
    AT_CHECK(at_path_remove(NULL, dir));
}

int main(void)
{
    AT_RUN(captions_are_plain_words);
    AT_RUN(table_errors_name_the_line);
    AT_RUN(missing_files_name_the_package);
    set = at_emoji_open(NULL, &(struct at_emoji_params){0});
    if (!set && access(AT_EMOJI_FONT, R_OK) != 0)
        return AT_SKIP; // the fonts are not installed
    if (!AT_CHECK(set))
        return at_test_end();
    AT_RUN(sequences_are_one_glyph);
    AT_RUN(selection_is_distinct_and_split);
    AT_RUN(drawings_are_centred_coloured_and_clipped);
    AT_RUN(samples_depend_on_seed_and_index_alone);
    AT_RUN(exports_are_an_imagefolder);
    AT_RUN(allocation_faults_are_reported);
    at_emoji_close(&set);
    AT_CHECK(!set);
    return at_test_end();
}
