// SPDX-License-Identifier: Apache-2.0
// tests/golden/make_safetensors.py made the files read here, and checks the one written here (kept where AT_KEEP says).
#include "core/io/safetensors.h"
#include "tests/unit/capture.h"

static const char *data_path(const char *name)
{
    static char path[512];
    const char *dir = getenv("AT_TEST_DATA");
    snprintf(path, sizeof(path), "%s/%s", dir ? dir : "tests/unit/data", name);
    return path;
}

static void reads_what_python_wrote(void)
{
    static const uint64_t shape[2] = {2, 3};
    static const struct {
        const char *name;
        double factor;
    } ramps[] = {{"f32", 1}, {"f16", 3}, {"bf16", 5}, {"f64", 0.25}};
    struct capture c;
    struct at_safetensors *st = at_safetensors_open(capture_start(&c), data_path("python.safetensors"));
    if (!AT_CHECK(st))
        return;
    AT_CHECK_INT(at_safetensors_count(st), 8);
    AT_CHECK_STR(at_safetensors_at(st, 0)->name, "bf16");
    AT_CHECK(!at_safetensors_at(st, 8));
    AT_CHECK_STR(at_safetensors_metadata(st, "format"), "pt");
    AT_CHECK_INT(at_safetensors_metadata_count(st), 2);
    for (int i = 0; i < 4; i++) {
        float values[6];
        const struct at_st_tensor *t = at_safetensors_need(st, ramps[i].name, shape, 2);
        AT_CHECK(t && t->elements == 6 && at_safetensors_to_f32(st, t, values));
        for (int j = 0; j < 6; j++)
            AT_CHECK_NEAR(values[j], (j - 2.5) * ramps[i].factor, 0);
    }
    float seven = 0;
    const struct at_st_tensor *t = at_safetensors_need(st, "scalar", NULL, 0);
    AT_CHECK(t && at_safetensors_to_f32(st, t, &seven) && seven == 7);
    t = at_safetensors_find(st, "empty");
    AT_CHECK(t && t->rank == 2 && t->shape[1] == 4 && t->elements == 0 && t->data &&
             at_safetensors_to_f32(st, t, NULL));
    t = at_safetensors_find(st, "odd.u8");
    AT_CHECK(t && t->bytes == 3 && t->data[2] == 3);
    AT_CHECK(!at_safetensors_to_f32(st, t, &seven) && capture_says(&c, "\"odd.u8\" has the type U8"));
    AT_CHECK(!at_safetensors_need(st, "bf61", shape, 2) && capture_says(&c, "the nearest is \"bf16\""));
    AT_CHECK(!at_safetensors_need(st, "f32", shape, 1) && capture_says(&c, "has the shape [2, 3], expected [2]"));
    at_safetensors_destroy(&st);
    AT_CHECK(!st);
}

static bool write_file(const char *path, float *values, float first)
{
    static const uint64_t matrix[2] = {2, 10000}, vector[1] = {999}, flat[1] = {20000}, empty[2] = {3, 0},
                          three[1] = {3};
    for (int i = 0; i < 20000; i++)
        values[i] = (float)(i - 10000) / 7;
    values[0] = first;
    const struct at_st_item items[] = {
        {.name = "f.raw", .dtype = AT_ST_U8, .rank = 1, .shape = three, .raw = "\1\2\3"},
        {.name = "b.f16", .dtype = AT_ST_F16, .rank = 1, .shape = vector, .data = values},
        {.name = "c.bf16", .dtype = AT_ST_BF16, .rank = 1, .shape = flat, .data = values},
        {.name = "a.f32", .dtype = AT_ST_F32, .rank = 2, .shape = matrix, .data = values},
        {.name = "e.empty", .dtype = AT_ST_BF16, .rank = 2, .shape = empty, .data = values},
        {.name = "d.scalar", .dtype = AT_ST_F32, .data = values},
    };
    const struct at_st_text metadata[] = {{"note", "\xc3\xa9 \"quoted\"\n"}, {"format", "pt"}};
    return at_safetensors_write(NULL, path, &(struct at_st_content){.items = items, .count = 6, .metadata = metadata,
                                                                    .metadata_count = 2});
}

static void reads_what_it_wrote(void)
{
    static float values[20000], back[20000];
    const char *path = getenv("AT_KEEP") ? getenv("AT_KEEP") : scratch_path("w.safetensors");
    AT_CHECK(write_file(path, values, -10000.0f / 7));
    struct at_safetensors *st = at_safetensors_open(NULL, path);
    if (!AT_CHECK(st))
        return;
    const struct at_st_tensor *t = at_safetensors_find(st, "a.f32");
    AT_CHECK(t && at_safetensors_to_f32(st, t, back) && memcmp(values, back, sizeof(back)) == 0);
    AT_CHECK((uintptr_t)t->data % 8 == 0);
    t = at_safetensors_find(st, "c.bf16");
    AT_CHECK(t && at_safetensors_to_f32(st, t, back));
    for (int i = 0; i < 20000; i++)
        if (fabsf(back[i] - values[i]) > fabsf(values[i]) / 256)
            AT_CHECK_NEAR(back[i], values[i], fabsf(values[i]) / 256);
    const uint8_t *order[6] = {at_safetensors_find(st, "a.f32")->data,  at_safetensors_find(st, "d.scalar")->data,
                               at_safetensors_find(st, "c.bf16")->data, at_safetensors_find(st, "e.empty")->data,
                               at_safetensors_find(st, "b.f16")->data,  at_safetensors_find(st, "f.raw")->data};
    for (int i = 1; i < 6; i++)
        AT_CHECK(order[i - 1] <= order[i]); // widest type first, then the name
    AT_CHECK_STR(at_safetensors_metadata(st, "note"), "\xc3\xa9 \"quoted\"\n");
    at_safetensors_destroy(&st);
    AT_CHECK(!write_file(scratch_path("inf.safetensors"), values, 70000)); // F16 ends at 65504
    AT_CHECK(!at_file_exists(scratch_path("inf.safetensors")));
}

#define GIVEN 200000 // values, more than the writer asks for at once

struct giving {
    const struct at_st_item *items;
    uint64_t next[2], most, told;
    bool refuse, stop;
};

static float given(size_t item, uint64_t i)
{
    return (float)((int64_t)i - GIVEN / 2) / (item ? 8 : 7);
}

static bool give(void *priv, const struct at_st_item *item, uint64_t first, size_t n, float *out)
{
    struct giving *g = priv;
    size_t k = (size_t)(item - g->items);
    AT_CHECK(first == g->next[k]); // in order, each once
    g->next[k] = first + n;
    g->most = n > g->most ? n : g->most;
    for (size_t i = 0; i < n; i++)
        out[i] = given(k, first + i);
    return !g->refuse || first == 0;
}

static bool tell(void *priv, uint64_t bytes)
{
    struct giving *g = priv;
    AT_CHECK(bytes > g->told);
    g->told = bytes;
    return !g->stop;
}

// Values that are asked for when they are written make the file that values in memory make, and none if they fail.
static void asks_for_values(void)
{
    static float values[2][GIVEN];
    static const uint64_t shape[1] = {GIVEN};
    struct at_st_item items[2] = {{.name = "a", .dtype = AT_ST_F16, .rank = 1, .shape = shape},
                                  {.name = "b", .dtype = AT_ST_F32, .rank = 1, .shape = shape}};
    char path[2][256];
    struct giving g = {.items = items};
    struct at_st_content content = {.items = items, .count = 2, .give = give, .written = tell, .priv = &g};
    snprintf(path[0], sizeof(path[0]), "%s", scratch_path("given.safetensors"));
    snprintf(path[1], sizeof(path[1]), "%s", scratch_path("held.safetensors"));
    AT_CHECK(at_safetensors_write(NULL, path[0], &content));
    AT_CHECK(g.next[0] == GIVEN && g.next[1] == GIVEN && g.most < GIVEN && g.told >= 1 << 20);
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < GIVEN; i++)
            values[k][i] = given(k, i);
        items[k].data = values[k];
    }
    AT_CHECK(at_safetensors_write(NULL, path[1], &(struct at_st_content){.items = items, .count = 2}));
    struct at_map a, b;
    if (AT_CHECK(at_file_map(NULL, path[0], &a) && at_file_map(NULL, path[1], &b)))
        AT_CHECK(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
    at_file_unmap(&a);
    at_file_unmap(&b);
    for (int i = 0; i < 2; i++) {
        items[0].data = items[1].data = NULL;
        g = (struct giving){.items = items, .refuse = i == 0, .stop = i == 1};
        AT_CHECK(!at_safetensors_write(NULL, scratch_path("never.safetensors"), &content));
    }
    char **names;
    size_t n, left = 0;
    AT_CHECK(at_dir_list(NULL, scratch, &names, &n));
    for (size_t i = 0; i < n; i++)
        left += strstr(names[i], "never") != NULL;
    AT_CHECK_INT(left, 0);
    at_names_free(&names, n);
}

static void refuses_what_it_cannot_write(void)
{
    static const uint64_t one[1] = {1}, huge[2] = {UINT64_MAX, 2};
    static const float x[1] = {1};
    struct capture c;
    const char *path = scratch_path("bad.safetensors");
    struct at_st_item twice[2] = {{"a", AT_ST_F32, 1, one, x, NULL}, {"a", AT_ST_F16, 1, one, x, NULL}};
    AT_CHECK(!at_safetensors_write(capture_start(&c), path, &(struct at_st_content){.items = twice, .count = 2}));
    AT_CHECK(strstr(c.text, "two tensors are named"));
    struct at_st_item item = {"a", AT_ST_I64, 1, one, x, NULL};
    AT_CHECK(!at_safetensors_write(&c.log, path, &(struct at_st_content){.items = &item, .count = 1}));
    AT_CHECK(strstr(c.text, "not I64"));
    item = (struct at_st_item){"__metadata__", AT_ST_F32, 1, one, x, NULL};
    AT_CHECK(!at_safetensors_write(&c.log, path, &(struct at_st_content){.items = &item, .count = 1}));
    item = (struct at_st_item){"a", AT_ST_F32, 2, huge, x, NULL};
    AT_CHECK(!at_safetensors_write(&c.log, path, &(struct at_st_content){.items = &item, .count = 1}));
    AT_CHECK(strstr(c.text, "too large") && !at_file_exists(path));
}

// A file of this header and `bytes` bytes of data.
static struct at_safetensors *parse(struct capture *c, const char *header, size_t bytes)
{
    static uint8_t file[4096];
    size_t n = strlen(header);
    memset(file, 0, sizeof(file));
    file[0] = (uint8_t)n;
    file[1] = (uint8_t)(n >> 8);
    memcpy(file + 8, header, n);
    return at_safetensors_parse(capture_start(c), "t", file, 8 + n + bytes);
}

static void damaged_files_are_refused(void)
{
    static const struct {
        const char *header;
        size_t bytes;
        const char *message; // NULL: accepted
    } cases[] = {
        {"{}", 0, NULL},
        {"{}   ", 0, NULL},
        {"{}", 1, "the file holds 1"},
        {" {}", 0, "does not begin with {"},
        {"", 0, "does not begin with {"},
        {"[]", 0, "does not begin with {"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, NULL},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[0,0]}}", 0, NULL},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1, NULL},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, "fill whole bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "need 4 bytes, the file holds 3"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "begins at 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "\"a\": the shape needs 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "data_offsets[1]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "shape[0]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "shape[0]"},
        {"{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not a safetensors type"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "\"dtype\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "expected two offsets"},
        {"{\"a\":7}", 4, "field \"a\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,16],\"data_offsets\":[0,0]}}", 0, "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4503599627370496,1024],\"data_offsets\":[0,0]}}", 0, "too large"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
         2, "twice"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
         3, "\"b\" begins at 1"},
        {"{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
         "\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
         4, NULL},
        {"{\"__metadata__\":{\"a\":\"b\"}}", 0, NULL},
        {"{\"__metadata__\":{\"a\":1}}", 0, "\"__metadata__.a\": expected a string"},
        {"{\"__metadata__\":[]}", 0, "object of strings"},
        {"{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "u0000"},
    };
    struct capture c;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct at_safetensors *st = parse(&c, cases[i].header, cases[i].bytes);
        bool ok = cases[i].message ? !st && capture_says(&c, cases[i].message) : st != NULL;
        if (!AT_CHECK(ok))
            printf("header %s\n", cases[i].header);
        at_safetensors_destroy(&st);
    }
    static const uint8_t huge[16] = {255, 255, 255, 255, 255, 255, 255, 255, '{'};
    AT_CHECK(!at_safetensors_parse(capture_start(&c), "t", huge, 16) && capture_says(&c, "not a safetensors file"));
    AT_CHECK(!at_safetensors_parse(capture_start(&c), "t", huge, 7) && capture_says(&c, "too short"));
}

// A pickle is called one; a header whose length begins with the same bytes is none.
static void pickles_are_called_so(void)
{
    static char long_header[8 + 0x10280] = {(char)0x80, 2, 1, 0, 0, 0, 0, 0, '{', '}'};
    static const struct {
        const char *bytes;
        size_t size;
        const char *said;
    } files[] = {{"PK\3\4\0\0\0\0\0\0archive/data.pkl", 26, "f: this is a pickle"},
                 {"\x80\2}q\1X\5\0\0\0hello", 15, "can run any code in it"},
                 {"GGUF\3\0\0\0\0\0", 10, "this is a GGUF file"},
                 {"a text", 6, "6 bytes is too short"}};
    struct capture c;
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        AT_CHECK(!at_safetensors_parse(capture_start(&c), "f", files[i].bytes, files[i].size));
        AT_CHECK(capture_says(&c, files[i].said));
    }
    memset(long_header + 10, ' ', sizeof(long_header) - 10);
    struct at_safetensors *st = at_safetensors_parse(capture_start(&c), "f", long_header, sizeof(long_header));
    AT_CHECK(st && at_safetensors_count(st) == 0);
    at_safetensors_destroy(&st);
}

static void sharded_sets(void)
{
    float x[6];
    struct capture c;
    char dir[512];
    snprintf(dir, sizeof(dir), "%s", data_path("."));
    struct at_safetensors *st = at_weights_open(capture_start(&c), dir, "shard", NULL);
    if (AT_CHECK(st)) {
        AT_CHECK_INT(at_safetensors_count(st), 3);
        const struct at_st_tensor *t = at_safetensors_find(st, "c");
        AT_CHECK(t && at_safetensors_to_f32(st, t, x) && x[5] == 4.5f);
        AT_CHECK(strstr(t->file, "shard-00002-of-00002"));
    }
    at_safetensors_destroy(&st);
    AT_CHECK(!at_weights_open(capture_start(&c), dir, "none", NULL) && capture_says(&c, "no none.safetensors"));
    AT_CHECK(!at_weights_open(capture_start(&c), dir, "shard", "fp16") && capture_says(&c, "no shard.fp16.safe"));

    static const char *const bad[][2] = {
        {"{\"weight_map\": {\"x\": \"../a.safetensors\"}}", "not the name of a file"},
        {"{\"weight_map\": {\"f32\": \"p.safetensors\", \"gone\": \"p.safetensors\"}}", "\"gone\", which the index"},
        {"{\"weight_map\": {\"x\": \"absent.safetensors\"}}", "No such file"},
        {"{\"weight_map\": {\"x\": 3}}", "\"weight_map.x\": expected a string"},
        {"{}", "\"weight_map\" is missing"},
    };
    struct at_map map;
    AT_CHECK(at_file_map(NULL, data_path("python.safetensors"), &map));
    AT_CHECK(at_file_replace(NULL, scratch_path("p.safetensors"), map.data, map.size));
    AT_CHECK(at_file_replace(NULL, scratch_path("v.fp16.safetensors"), map.data, map.size));
    at_file_unmap(&map);
    for (size_t i = 0; i < 5; i++) {
        AT_CHECK(at_file_replace(NULL, scratch_path("m.safetensors.index.json"), bad[i][0], strlen(bad[i][0])));
        AT_CHECK(!at_weights_open(capture_start(&c), scratch, "m", NULL) && capture_says(&c, bad[i][1]));
    }
    static const char one[] = "{\"weight_map\": {\"f32\": \"p.safetensors\"}}";
    AT_CHECK(at_file_replace(NULL, scratch_path("m.safetensors.index.json"), one, strlen(one)));
    st = at_weights_open(NULL, scratch, "m", NULL);
    AT_CHECK(st && at_safetensors_count(st) == 1 && at_safetensors_find(st, "f32"));
    at_safetensors_destroy(&st);
    st = at_weights_open(NULL, scratch, "v", NULL); // falls back to the fp16 variant
    AT_CHECK(st && at_safetensors_count(st) == 8);
    at_safetensors_destroy(&st);
}

// python.safetensors: "f32" is (2,3) with i - 2.5.
static void views_show_other_names(void)
{
    struct capture c;
    struct at_safetensors *st = at_safetensors_open(capture_start(&c), data_path("python.safetensors"));
    struct at_safetensors *view = st ? at_safetensors_view(st) : NULL, *again;
    const struct at_st_tensor *from = st ? at_safetensors_find(st, "f32") : NULL;
    float x[6];
    if (!AT_CHECK(view && from))
        return;
    AT_CHECK(at_safetensors_view_add(view, &(struct at_st_pick){.from = from, .name = "whole"}) &&
             at_safetensors_view_add(view, &(struct at_st_pick){.from = from, .name = "row", .first = 1, .rows = 1}) &&
             at_safetensors_view_add(view, &(struct at_st_pick){.from = from, .name = "conv", .rank = 4}) &&
             at_safetensors_view_add(view, &(struct at_st_pick){.from = from, .name = "turned", .transpose = true}));
    AT_CHECK(at_safetensors_view_end(view) && at_safetensors_count(view) == 4);
    AT_CHECK(!at_safetensors_view_add(view, &(struct at_st_pick){.from = from, .first = 1, .rows = 2}) &&
             capture_says(&c, "\"f32\" has too few rows"));
    AT_CHECK(!at_safetensors_view_add(view, &(struct at_st_pick){.from = from, .rank = 1}) &&
             capture_says(&c, "has a kernel larger than 1"));
    again = at_safetensors_view(view);
    AT_CHECK(again && at_safetensors_view_add(again, &(struct at_st_pick){.from = at_safetensors_find(view, "turned")}) &&
             at_safetensors_view_add(again, &(struct at_st_pick){.from = from, .name = "turned"}));
    AT_CHECK(!at_safetensors_view_end(again) && capture_says(&c, "\"f32\" and \"f32\" are both the weight turned"));
    at_safetensors_destroy(&st); // the views stay
    at_safetensors_destroy(&view);
    const struct at_st_tensor *t = at_safetensors_at(again, 0);
    AT_CHECK(t && t->rank == 2 && (t->shape[0] == 3 || t->shape[1] == 3));
    t = t && t->shape[0] == 3 ? t : at_safetensors_at(again, 1);
    AT_CHECK(t && t->shape[0] == 3 && t->shape[1] == 2 && at_safetensors_to_f32(again, t, x));
    for (int i = 0; i < 6; i++)
        AT_CHECK_NEAR(x[i], i % 2 * 3 + i / 2 - 2.5, 0);
    AT_CHECK_STR(at_st_origin(t), "f32");
    at_safetensors_destroy(&again);
}

static void views_share_their_bytes(void)
{
    static const uint64_t row[2] = {1, 3}, conv[4] = {2, 3, 1, 1};
    struct at_safetensors *st = at_safetensors_open(NULL, data_path("python.safetensors")), *view = at_safetensors_view(st);
    const struct at_st_tensor *from = at_safetensors_find(st, "f32"), *t;
    AT_CHECK(at_safetensors_view_add(view, &(struct at_st_pick){.from = from, .name = "b", .first = 1, .rows = 1}) &&
             at_safetensors_view_add(view, &(struct at_st_pick){.from = from, .name = "a", .rank = 4}) &&
             at_safetensors_view_end(view));
    AT_CHECK((t = at_safetensors_need(view, "b", row, 2)) && t->data == from->data + 12 && t->bytes == 12);
    AT_CHECK((t = at_safetensors_need(view, "a", conv, 4)) && t->data == from->data && t->elements == 6);
    at_safetensors_destroy(&view);
    AT_CHECK(at_safetensors_find(st, "f32") == from); // the file stays
    at_safetensors_destroy(&st);
}

static bool open_shards(void)
{
    struct at_safetensors *st = at_safetensors_open_index(NULL, data_path("shard.safetensors.index.json"));
    bool ok = st != NULL;
    at_safetensors_destroy(&st);
    return ok;
}

static bool write_small(void)
{
    static float values[20000];
    return write_file(scratch_path("fault.safetensors"), values, 0);
}

static void survives_allocation_faults(void)
{
    fail_each_allocation(open_shards);
    fail_each_allocation(write_small);
}

int main(void)
{
    scratch_make();
    AT_RUN(reads_what_python_wrote);
    AT_RUN(reads_what_it_wrote);
    AT_RUN(asks_for_values);
    AT_RUN(refuses_what_it_cannot_write);
    AT_RUN(damaged_files_are_refused);
    AT_RUN(pickles_are_called_so);
    AT_RUN(sharded_sets);
    AT_RUN(views_show_other_names);
    AT_RUN(views_share_their_bytes);
    AT_RUN(survives_allocation_faults);
    scratch_remove();
    return at_test_end();
}
