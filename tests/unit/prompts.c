// SPDX-License-Identifier: Apache-2.0
#include "datasets/prompts.h"
#include "tests/unit/capture.h"

static char all[4096]; // every message

static void gather(void *priv, enum at_level level, const char *text)
{
    size_t used = strlen(all);
    capture_write(priv, level, text);
    snprintf(all + used, sizeof(all) - used, "%s\n", text);
}

static struct at_prompts read_text(struct capture *c, const char *name, const char *text)
{
    struct at_prompts p;
    capture_start(c)->write = gather;
    all[0] = '\0';
    if (!at_prompts_parse(&c->log, name, text, strlen(text), &p))
        AT_CHECK(p.count == 0 && !p.items && !p.strings);
    return p;
}

static void refuses(const char *name, const char *text, const char *part)
{
    struct capture c;
    struct at_prompts p = read_text(&c, name, text);
    if (!AT_CHECK(p.count == 0))
        printf("accepted: %s\n", text);
    if (!AT_CHECK(strstr(all, part) != NULL))
        printf("\"%s\" is not in \"%s\"\n", part, all);
    AT_CHECK_INT(c.log.error, AT_ERROR_INPUT);
    at_prompts_finish(&p);
}

static void reads_lines(void)
{
    struct capture c;
    struct at_prompts p = read_text(&c, "f.txt",
                                    "\xef\xbb\xbf# a comment\r\n\r\n  a red kite \r\n"
                                    "a -- b, state-of-the-art --n blurry, dark --w 512 --h 256 --d 7 --s 30 --l 4.5\n"
                                    "\t# another\n#1 fan\nCaf\xc3\xa9 --N x --D 9007199254740992 --ss k_euler_a");
    AT_CHECK_INT(p.count, 3);
    if (p.count == 3) {
        AT_CHECK_STR(p.items[0].text, "a red kite");
        AT_CHECK(!p.items[0].negative && !p.items[0].has_seed && !p.items[0].has_cfg && !p.items[0].width);
        AT_CHECK_INT(p.items[0].line, 3);
        AT_CHECK(p.items[1].sampler == AT_SAMPLER_CONFIG && p.items[2].sampler == AT_SAMPLER_EULER_ANCESTRAL);
        AT_CHECK_STR(p.items[1].text, "a -- b, state-of-the-art");
        AT_CHECK_STR(p.items[1].negative, "blurry, dark");
        AT_CHECK_INT(p.items[1].width, 512);
        AT_CHECK_INT(p.items[1].height, 256);
        AT_CHECK_INT(p.items[1].seed, 7);
        AT_CHECK_INT(p.items[1].steps, 30);
        AT_CHECK_NEAR(p.items[1].cfg, 4.5, 0);
        AT_CHECK(p.items[1].has_seed && p.items[1].has_cfg);
        AT_CHECK_STR(p.items[2].text, "Caf\xc3\xa9");
        AT_CHECK_STR(p.items[2].negative, "x");
        AT_CHECK_INT(p.items[2].line, 7);
    }
    at_prompts_finish(&p);
}

static void names_what_is_wrong(void)
{
    refuses("f.txt", "", "f.txt: there is no prompt in it");
    refuses("f.txt", "\xef\xbb\xbf# only a comment\r\n \r\n", "there is no prompt");
    refuses("f.txt", "good\nbad --s 0", "f.txt:2: option --s: \"0\" is not a whole number from 1 to 1000");
    refuses("f.txt", "bad --s 1001", "1001");
    refuses("f.txt", "bad --w 5x", "option --w: \"5x\"");
    refuses("f.txt", "bad --h -8", "option --h: \"-8\"");
    refuses("f.txt", "bad --d 99999999999999999999", "option --d");
    refuses("f.txt", "bad --l nan", "option --l: \"nan\"");
    refuses("f.txt", "bad --l", "option --l: \"\"");
    refuses("f.txt", "bad --foo 3", "unknown option --foo");
    refuses("f.txt", "bad --x", "unknown option --x");
    refuses("f.txt", "bad --cn a.png", "option --cn is not supported");
    refuses("f.txt", "bad --ss heun", "option --ss: \"heun\" is not a sampler here");
    refuses("f.json", "[{\"prompt\": \"bad\", \"sampler\": \"heun\"}]", "\"heun\" is not a sampler here");
    refuses("f.txt", "--n blurry", "f.txt:1: there is no prompt before the options");
    refuses("f.txt", "a\nb\xff\n", "f.txt:2: the line is not UTF-8");
    refuses("f.txt", "a --s 0\nb --s 0\n", "f.txt: 2 problems");
    refuses("f.toml", "[prompt]", "TOML");
    struct capture c;
    struct at_prompts p;
    AT_CHECK(!at_prompts_parse(capture_start(&c), "f.txt", "a\0b", 3, &p));
    AT_CHECK(!at_prompts_read(capture_start(&c), "/nowhere/f.txt", &p));
    AT_CHECK(capture_says(&c, "/nowhere/f.txt"));
}

static void reads_json(void)
{
    struct capture c;
    struct at_prompts p = read_text(&c, "f.json",
                                    "[\"#1 fan --n x\", {\"prompt\": \" kite \", \"negative_prompt\": \"blurry\", "
                                    "\"width\": 64, \"height\": 32, \"seed\": 5, \"sample_steps\": 3, \"scale\": 2.5}, "
                                    "{\"prompt\": \"b\", \"steps\": 4, \"cfg\": 0, \"negative\": \"\"}]");
    AT_CHECK_INT(p.count, 3);
    if (p.count == 3) {
        AT_CHECK_STR(p.items[0].text, "#1 fan --n x");
        AT_CHECK_STR(p.items[1].text, "kite");
        AT_CHECK_STR(p.items[1].negative, "blurry");
        AT_CHECK(p.items[1].width == 64 && p.items[1].height == 32 && p.items[1].seed == 5 && p.items[1].steps == 3);
        AT_CHECK_NEAR(p.items[1].cfg, 2.5, 0);
        AT_CHECK(p.items[2].steps == 4 && p.items[2].has_cfg && p.items[2].cfg == 0 && !p.items[2].has_seed);
    }
    at_prompts_finish(&p);
    p = read_text(&c, "f.JSON", "{\"prompts\": [\"a\", \"b\"]}");
    AT_CHECK_INT(p.count, 2);
    at_prompts_finish(&p);
    refuses("f.json", "[]", "there is no prompt");
    refuses("f.json", "{}", "prompts");
    refuses("f.json", "3", "array");
    refuses("f.json", "[3]", "field \"[0]\"");
    refuses("f.json", "[\"a\", {\"seed\": 1}]", "field \"[1]\": the prompt is missing");
    refuses("f.json", "[\" \\t\"]", "missing or empty");
    refuses("f.json", "[{\"prompt\": \"a\", \"seeds\": 1}]", "seeds");
    refuses("f.json", "[{\"prompt\": \"a\", \"seed\": -1}]", "seed");
    refuses("f.json", "[{\"prompt\": \"a\", \"width\": \"64\"}]", "width");
    refuses("f.json", "[{\"prompt\": \"a\", \"scale\": -1}]", "scale");
    refuses("f.json", "[{\"prompt\": \"a\",]", "f.json:1:");
}

static bool read_both(void)
{
    static const char text[] = "a --n b --s 4\nc\n", json[] = "[\"a\", {\"prompt\": \"b\", \"negative\": \"c\"}]";
    struct at_prompts p = {0}, q = {0};
    bool ok = at_prompts_parse(NULL, "f.txt", text, sizeof(text) - 1, &p) && p.count == 2 &&
              at_prompts_parse(NULL, "f.json", json, sizeof(json) - 1, &q) && q.count == 2;
    at_prompts_finish(&p);
    at_prompts_finish(&q);
    return ok;
}

static void survives_no_memory(void)
{
    fail_each_allocation(read_both);
}

int main(void)
{
    AT_RUN(reads_lines);
    AT_RUN(names_what_is_wrong);
    AT_RUN(reads_json);
    AT_RUN(survives_no_memory);
    return at_test_end();
}
