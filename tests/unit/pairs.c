// SPDX-License-Identifier: Apache-2.0
#include "datasets/pairs.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "datasets/imagefolder.h"
#include "tests/harness.h"

#include <stdlib.h>

static char dir[] = "/tmp/attune-pairs-XXXXXX";
static char said[16384];

static void keep_text(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    (void)level;
    size_t n = strlen(said);
    snprintf(said + n, sizeof(said) - n, "%s\n", text);
}

static struct at_log quiet = {.level = AT_LEVEL_INFO, .write = keep_text};

static const char *in(const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void write_text(const char *name, const char *text)
{
    AT_CHECK(at_file_replace(NULL, in(name), text, strlen(text)));
}

static void write_picture(const char *name, int width, int height, int value)
{
    struct at_image image;
    if (!AT_CHECK(at_image_init(NULL, &image, width, height, 3)))
        return;
    memset(image.pixels, value, (size_t)width * (size_t)height * 3);
    AT_CHECK(at_png_write(NULL, in(name), &image, NULL, 0));
    at_image_finish(&image);
}

static bool parse(const char *text, struct at_pairs *pairs)
{
    said[0] = 0;
    return at_pairs_parse(&quiet, "d/p.jsonl", text, strlen(text), pairs);
}

static void labels_swap_and_ties_are_dropped(void)
{
    struct at_pairs p;
    if (!AT_CHECK(parse("{\"prompt\":\"x\",\"win\":\"a.png\",\"lose\":\"b.png\"}\n\n"
                        "{\"prompt\":\"y\",\"win\":\"a.png\",\"lose\":\"/b.png\",\"label\":0}\n"
                        "{\"prompt\":\"z\",\"win\":\"a.png\",\"lose\":\"b.png\",\"label\":0.5}\n"
                        "{\"caption\":\"w\",\"jpg_0\":\"c.jpg\",\"jpg_1\":\"d.jpg\",\"label_0\":1,\"label_1\":0}",
                        &p)))
        return;
    AT_CHECK_INT(p.count, 3);
    AT_CHECK_INT(p.ties, 1);
    AT_CHECK_STR(p.items[0].win, "d/a.png");
    AT_CHECK_STR(p.items[1].win, "/b.png");
    AT_CHECK_STR(p.items[1].lose, "d/a.png");
    AT_CHECK_STR(p.items[2].win, "d/c.jpg");
    AT_CHECK_STR(p.items[2].prompt, "w");
    AT_CHECK_INT(p.items[2].line, 5);
    at_pairs_finish(&p);
}

static void every_problem_names_its_line(void)
{
    struct at_pairs p;
    AT_CHECK(!parse("{\"prompt\":\"x\",\"win\":\"a.png\",\"loose\":\"b.png\"}\n"
                    "{\"prompt\":\"\",\"win\":\"a.png\",\"lose\":\"b.png\"}\n"
                    "{\"prompt\":\"x\",\"win\":3,\"lose\":\"b.png\"}\n"
                    "{\"prompt\":\"x\",\"win\":\"a.png\",\"lose\":\"b.png\",\"label\":NaN}\n"
                    "{\"prompt\":\"x\",\"win\":\"a.png\",\"lose\":\"b.png\",\"label\":\"1\"}\n"
                    "{\"prompt\":\"x\",\"win\":\"a.png\",\"lose\":\"b.png\",\"label\":2}\n"
                    "{\"prompt\":\"x\",\"win\":\"a.png\",\"lose\":\"a.png\"}\n"
                    "{\"caption\":\"x\",\"jpg_0\":\"a.png\",\"jpg_1\":\"b.png\"}\n"
                    "[1]\n",
                    &p));
    static const char *const wanted[] = {"d/p.jsonl:1: field \"lose\": missing; was \"loose\" meant?",
                                         "d/p.jsonl:2: field \"prompt\": empty",
                                         "d/p.jsonl:3: field \"win\": not a string",
                                         "d/p.jsonl:4",
                                         "d/p.jsonl:5: field \"label\": not a number",
                                         "d/p.jsonl:6: field \"label\": 2 is no verdict",
                                         "d/p.jsonl:7: field \"lose\": the same file",
                                         "d/p.jsonl:8: field \"label_0\": missing",
                                         "d/p.jsonl:9",
                                         "d/p.jsonl: 9 problems"};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        if (!AT_CHECK(strstr(said, wanted[i])))
            printf("  no \"%s\" in:\n%s", wanted[i], said);
    AT_CHECK(p.count == 0 && !p.items);
    AT_CHECK(!parse("", &p) && strstr(said, "no pair in it"));
    AT_CHECK(!parse("{\"prompt\":\"z\",\"win\":\"a\",\"lose\":\"b\",\"label\":0.5}", &p) && strstr(said, "a tie"));
    char many[2000] = "";
    for (int i = 0; i < 100; i++)
        strcat(many, "{\"win\":1}\n");
    AT_CHECK(!parse(many, &p) && strstr(said, "or more problems"));
}

static void pictures_are_looked_at(void)
{
    write_picture("a.png", 8, 8, 10);
    write_picture("b.png", 8, 8, 20);
    write_picture("c.png", 8, 9, 20);
    write_picture("a2.png", 8, 8, 10);
    write_text("bad.png", "\x89PNG nonsense");
    write_text("good.jsonl", "{\"prompt\":\"x\",\"win\":\"a.png\",\"lose\":\"b.png\"}\n");
    write_text("bad.jsonl", "{\"prompt\":\"x\",\"win\":\"a.png\",\"lose\":\"c.png\"}\n"
                            "{\"prompt\":\"x\",\"win\":\"a.png\",\"lose\":\"a2.png\"}\n"
                            "{\"prompt\":\"x\",\"win\":\"bad.png\",\"lose\":\"b.png\"}\n"
                            "{\"prompt\":\"x\",\"win\":\"a.png\",\"lose\":\"gone.png\"}\n");
    struct at_pairs p;
    said[0] = 0;
    AT_CHECK(!at_pairs_read(&quiet, in("bad.jsonl"), &(struct at_pairs_params){0}, &p));
    AT_CHECK(strstr(said, "bad.jsonl:1: field \"lose\"") && strstr(said, "8 x 9 pixels"));
    AT_CHECK(strstr(said, "bad.jsonl:2: field \"lose\"") && strstr(said, "the same picture"));
    AT_CHECK(strstr(said, "bad.jsonl:3: field \"win\"") && strstr(said, "does not decode"));
    AT_CHECK(strstr(said, "bad.jsonl:4: field \"lose\"") && strstr(said, "no such file"));
    AT_CHECK(strstr(said, "4 problems") || strstr(said, "5 problems"));
    struct at_image win, lose;
    if (!AT_CHECK(at_pairs_read(&quiet, in("good.jsonl"), &(struct at_pairs_params){0}, &p)))
        return;
    if (AT_CHECK(at_pair_load(NULL, &p.items[0], 4, &win, &lose))) {
        AT_CHECK(win.width == 4 && lose.height == 4 && win.pixels[0] == 10 && lose.pixels[47] == 20);
        at_image_finish(&win);
        at_image_finish(&lose);
    }
    at_pairs_finish(&p);
    AT_CHECK(!at_pairs_read(&quiet, in("missing.jsonl"), &(struct at_pairs_params){0}, &p));
}

static void folders_are_matched_by_name(void)
{
    struct at_pairs p;
    AT_CHECK(at_dir_make(NULL, in("k/w")) && at_dir_make(NULL, in("k/l")));
    write_picture("k/w/1.png", 8, 8, 1);
    write_picture("k/l/1.png", 8, 8, 2);
    write_text("k/w/1.txt", " a red kite \r\n");
    said[0] = 0;
    if (AT_CHECK(at_pairs_read(&quiet, in("k"), &(struct at_pairs_params){0}, &p))) {
        AT_CHECK_INT(p.count, 1);
        AT_CHECK_STR(p.items[0].prompt, "a red kite");
        AT_CHECK(strstr(p.items[0].win, "/w/1.png") && strstr(p.items[0].lose, "/l/1.png"));
    }
    at_pairs_finish(&p);
    write_picture("k/w/2.png", 8, 8, 1);
    write_picture("k/l/3.png", 8, 8, 1);
    AT_CHECK(!at_pairs_read(&quiet, in("k"), &(struct at_pairs_params){0}, &p));
    AT_CHECK(strstr(said, "w/2.png: no picture") && strstr(said, "l/3.png: no picture") && strstr(said, "2 problems"));
    AT_CHECK(!at_pairs_read(&quiet, dir, &(struct at_pairs_params){0}, &p) && strstr(said, "neither"));
}

static void imagefolder_comes_back(void)
{
    struct at_imagefolder f;
    struct at_image image;
    AT_CHECK(at_image_init(NULL, &image, 4, 4, 3));
    struct at_imagefolder_writer *w = at_imagefolder_create(&quiet, in("set"));
    if (!AT_CHECK(w && at_imagefolder_add(w, "1.png", &image, "a \"quoted\" \xc3\xa9") && at_imagefolder_commit(w)))
        return;
    at_imagefolder_destroy(&w);
    at_image_finish(&image);
    if (AT_CHECK(at_imagefolder_read(&quiet, in("set"), &(struct at_imagefolder_params){0}, &f))) {
        AT_CHECK_INT(f.count, 1);
        AT_CHECK_STR(f.rows[0].text, "a \"quoted\" \xc3\xa9");
    }
    at_imagefolder_finish(&f);
    said[0] = 0;
    AT_CHECK(!at_imagefolder_create(&quiet, in("set")) && strstr(said, "not empty"));
    write_text("set/metadata.jsonl",
               "{\"file_name\":\"1.png\"}\n{\"file_name\":\"2.png\",\"text\":\"x\"}\n"
               "{\"file_name\":\"../a.png\",\"text\":\"x\"}\n{\"file_name\":\"bad.png\",\"text\":\"x\"}\n");
    write_text("set/bad.png", "no");
    AT_CHECK(!at_imagefolder_read(&quiet, in("set"), &(struct at_imagefolder_params){0}, &f));
    AT_CHECK(strstr(said, "metadata.jsonl:1: field \"text\": missing") &&
             strstr(said, "metadata.jsonl:2: field \"file_name\": no such"));
    AT_CHECK(strstr(said, "metadata.jsonl:3: field \"file_name\": \"../a.png\" lies outside"));
    AT_CHECK(strstr(said, "metadata.jsonl:4: field \"file_name\"") && strstr(said, "does not decode"));
    said[0] = 0;
    AT_CHECK(!at_imagefolder_read(&quiet, dir, &(struct at_imagefolder_params){0}, &f) &&
             strstr(said, "metadata.jsonl"));
}

static void allocation_faults_leave_nothing(void)
{
    bool done = false;
    for (size_t n = 1; n < 200 && !done; n++) {
        struct at_pairs p;
        at_alloc_fail_at(n, false);
        done = at_pairs_read(NULL, in("good.jsonl"), &(struct at_pairs_params){0}, &p) && !at_alloc_failed();
        at_alloc_fail_at(0, false);
        at_pairs_finish(&p);
    }
    AT_CHECK(done);
}

int main(void)
{
    if (!AT_CHECK(mkdtemp(dir)))
        return at_test_end();
    AT_RUN(labels_swap_and_ties_are_dropped);
    AT_RUN(every_problem_names_its_line);
    AT_RUN(pictures_are_looked_at);
    AT_RUN(folders_are_matched_by_name);
    AT_RUN(imagefolder_comes_back);
    AT_RUN(allocation_faults_leave_nothing);
    AT_CHECK(at_path_remove(NULL, dir));
    return at_test_end();
}
