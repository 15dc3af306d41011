// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/capture.h"
#include "tools/options.h"
#include "tools/picture_file.h"
#include "tools/progress.h"

#include <math.h>

static const char *const kinds[] = {"constant", "linear", "cosine", NULL};

struct settings {
    bool flip, quiet;
    int steps, kind;
    int64_t many;
    uint64_t seed;
    double lr;
    float alpha;
    const char *out, *in, *note;
    struct at_texts prompts;
};

static const struct at_usage usage = {.name = "attune test", .summary = "s", .synopsis = "[options]", .example = "  e\n",
                                      .arguments = 1};

static void sizes(void)
{
    static const struct {
        const char *text;
        size_t bytes; // 0: refused
    } cases[] = {{"1", 1},          {"1000000", 1000000}, {"64K", 65536},      {"64kB", 65536},  {"512M", 512u << 20},
                 {"1.5GiB", 3u << 29}, {"2g", (size_t)2 << 30}, {"", 0},       {"G", 0},         {"8GB ", 0},
                 {"-1", 0},         {"8T", 0},            {"1e3", 0},          {"0x10", 0},      {"8Gi", 0},
                 {"1.2.3M", 0},     {"99999999999G", 0},  {"inf", 0},          {"8iB", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t bytes = 0;
        AT_CHECK(at_text_size(cases[i].text, &bytes) == (cases[i].bytes > 0));
        AT_CHECK_INT(bytes, cases[i].bytes);
    }
}

static struct at_options *table(struct settings *s, struct at_log *log)
{
    struct at_options *o = at_options_create(&usage, log);
    const struct at_option rows[] = {
        {"flip", 'f', AT_OPTION_FLAG, &s->flip, NULL, "h"},
        {"quiet", 'q', AT_OPTION_FLAG, &s->quiet, NULL, "h", .here = true},
        {"steps", 's', AT_OPTION_INT, &s->steps, "N", "h", .min = 1, .max = 1000},
        {"many", 0, AT_OPTION_I64, &s->many, "N", "h"},
        {"seed", 0, AT_OPTION_SEED, &s->seed, "N", "h"},
        {"lr", 0, AT_OPTION_REAL, &s->lr, "X", "h", .zero = "chosen", .min = 0, .max = 10},
        {"alpha", 0, AT_OPTION_FLOAT, &s->alpha, "X", "h", .min = 0, .max = INFINITY},
        {"out", 'o', AT_OPTION_TEXT, &s->out, "DIR", "h"},
        {"lr-input", 0, AT_OPTION_TEXT, &s->in, "DIR", "h"},
        {"note", 0, AT_OPTION_TEXT, &s->note, "TEXT", "h", .blank = true},
        {"kind", 0, AT_OPTION_CHOICE, &s->kind, "NAME", "h", .choices = kinds},
        {"prompt", 'p', AT_OPTION_LIST, &s->prompts, "TEXT", "h"},
        {0},
    };
    if (o)
        at_options_add(o, rows);
    return o;
}

#define WORDS 24

// Parses words ended by NULL. The options stay for the caller.
static enum at_parse parse(struct capture *c, struct settings *s, struct at_options **o, const char *const *words)
{
    static char copies[WORDS][128];
    char *argv[WORDS];
    int argc = 0;
    for (argv[argc++] = copies[0]; words[argc - 1]; argc++) {
        if (!AT_CHECK(argc < WORDS))
            return AT_PARSE_BAD;
        snprintf(copies[argc], sizeof(copies[argc]), "%s", words[argc - 1]);
        argv[argc] = copies[argc];
    }
    *o = table(s, capture_start(c));
    return *o ? at_options_parse(*o, argc, argv) : AT_PARSE_BAD;
}

#define PARSE(c, s, o, ...) parse(c, s, o, (const char *const[]){__VA_ARGS__, NULL})

static void forms(void)
{
    struct capture c;
    struct settings s = {.steps = 25, .quiet = true};
    struct at_options *o;
    AT_CHECK(PARSE(&c, &s, &o, "--steps=30", "-f", "--no-quiet", "--seed", "9007199254740992", "--lr", "5e-4", "-ofolder",
                   "word", "--kind", "cosine", "-p", "a", "--prompt", "-b", "--many", "-3") == AT_PARSE_OK);
    AT_CHECK(s.steps == 30 && s.flip && !s.quiet && s.seed == UINT64_C(9007199254740992) && s.lr == 5e-4);
    AT_CHECK_STR(s.out, "folder");
    AT_CHECK_INT(s.kind, 2);
    AT_CHECK_INT(s.many, -3);
    AT_CHECK_INT(s.prompts.count, 2);
    AT_CHECK_STR(s.prompts.items[1], "-b");
    AT_CHECK_INT(o->arguments.count, 1);
    AT_CHECK(at_options_given(o, "steps") && !at_options_given(o, "alpha"));
    at_options_destroy(&o);
    s = (struct settings){.flip = true};
    AT_CHECK(PARSE(&c, &s, &o, "--flip=false", "--lr_input", "x", "--note", "", "--", "--steps") == AT_PARSE_OK);
    AT_CHECK(!s.flip);
    AT_CHECK_STR(s.in, "x");
    AT_CHECK_STR(s.note, "");
    AT_CHECK_STR(o->arguments.items[0], "--steps");
    at_options_destroy(&o);
}

static void refuses(const char *word, const char *value, const char *part)
{
    struct capture c;
    struct settings s = {.steps = 25};
    struct at_options *o;
    AT_CHECK(parse(&c, &s, &o, (const char *const[]){word, value, NULL}) == AT_PARSE_BAD);
    AT_CHECK_INT(c.log.error, AT_ERROR_USAGE);
    if (!AT_CHECK(strstr(c.text, part) != NULL))
        printf("\"%s\" is not in \"%s\"\n", part, c.text);
    at_options_destroy(&o);
}

static void slips_are_named(void)
{
    refuses("--step", "3", "did you mean --steps?");
    refuses("--kinds=x", NULL, "unknown option --kinds=x; did you mean --kind?");
    refuses("-z", NULL, "unknown option -z");
    refuses("--no-steps", NULL, "unknown option --no-steps");
    refuses("--steps", NULL, "--steps needs a value");
    refuses("--steps", "--flip", "--steps needs a value");
    refuses("--steps", "3x", "\"3x\" is not a whole number");
    refuses("--steps", "", "is not a whole number");
    refuses("--steps", " 3", "is not a whole number");
    refuses("--steps", "0x10", "is not a whole number");
    refuses("--steps", "0", "from 1 to 1000");
    refuses("--steps", "99999999999999999999", "is not a whole number");
    refuses("--seed", "-1", "out of range");
    refuses("--seed", "9007199254740993", "out of range");
    refuses("--lr", "nan", "is not a number");
    refuses("--lr", "1e999", "is not a number");
    refuses("--lr", "11", "a number from 0 to 10");
    refuses("--alpha", "-1", "of at least 0");
    refuses("--alpha", "1e39", "out of range");
    refuses("--out", "", "--out: the value is empty");
    refuses("--kind", "cosin", "did you mean cosine?");
    refuses("--flip=yes", NULL, "neither true nor false");
    refuses("-fx", NULL, "takes no value");
    refuses("a", "b", "unexpected argument \"b\"");
}

// With this text as the config file, and words after it.
static enum at_parse with_config(struct capture *c, struct settings *s, struct at_options **o, const char *text,
                                 const char *word)
{
    AT_CHECK(at_file_replace(NULL, scratch_path("c.json"), text, strlen(text)));
    return PARSE(c, s, o, "--config", scratch_path("c.json"), word);
}

static void config_and_command_line(void)
{
    struct capture c;
    struct settings s = {.steps = 25};
    struct at_options *o;
    const char *text = "{\"steps\": 7, \"lr_input\": \"x\", \"flip\": true, \"prompt\": [\"a\", \"b\"], \"kind\": "
                       "\"linear\", \"lr\": 0.25, \"out\": null}";
    AT_CHECK(with_config(&c, &s, &o, text, "--steps=8") == AT_PARSE_OK);
    AT_CHECK(s.steps == 8 && s.flip && s.lr == 0.25 && s.kind == 1 && s.prompts.count == 2 && !s.out);
    AT_CHECK_STR(s.in, "x");
    AT_CHECK(at_options_given(o, "flip") && !at_options_given(o, "out"));
    // What is in force reads back to the same.
    struct at_json_doc *doc = at_options_json(o);
    struct settings again = {.steps = 1};
    struct at_options *p;
    AT_CHECK(doc && at_json_save(doc, scratch_path("d.json"), true));
    AT_CHECK(PARSE(&c, &again, &p, "--config", scratch_path("d.json")) == AT_PARSE_OK);
    AT_CHECK(again.steps == 8 && again.flip && again.lr == 0.25 && again.kind == 1 && again.prompts.count == 2);
    at_json_destroy(&doc);
    at_options_destroy(&p);
    at_options_destroy(&o);
    s = (struct settings){0};
    AT_CHECK(with_config(&c, &s, &o, "{\"prompt\": [\"a\", \"b\"]}", "-pc") == AT_PARSE_OK);
    AT_CHECK_INT(s.prompts.count, 1); // the command line replaces a list
    at_options_destroy(&o);
    s = (struct settings){0};
    AT_CHECK(with_config(&c, &s, &o, "{\"prompt\": \"one\"}", "-q") == AT_PARSE_OK);
    AT_CHECK_INT(s.prompts.count, 1);
    at_options_destroy(&o);
}

static void refuses_config(const char *text, const char *part)
{
    struct capture c;
    struct settings s = {.steps = 25};
    struct at_options *o;
    AT_CHECK(with_config(&c, &s, &o, text, "-q") == AT_PARSE_BAD);
    if (!AT_CHECK(capture_says(&c, part)))
        printf("config %s\n", text);
    AT_CHECK(strstr(c.text, "c.json") != NULL);
    at_options_destroy(&o);
}

static void configs_are_checked(void)
{
    refuses_config("{\"step\": 3}", "field \"step\": unknown option; did you mean \"steps\"?");
    refuses_config("{\"quiet\": true}", "unknown option");
    refuses_config("{\"config\": \"x\"}", "unknown option");
    refuses_config("{\"flip\": \"False\"}", "field \"flip\": expected true or false, found the string \"False\"");
    refuses_config("{\"steps\": \"3\"}", "field \"steps\"");
    refuses_config("{\"steps\": 0}", "from 1 to 1000");
    refuses_config("{\"steps\": 1.5}", "field \"steps\"");
    refuses_config("{\"lr\": 11}", "a number from 0 to 10");
    refuses_config("{\"kind\": \"cos\"}", "is not one of constant, linear, cosine");
    refuses_config("{\"prompt\": [1]}", "field \"prompt[0]\"");
    refuses_config("{\"out\": \"\"}", "empty");
    refuses_config("[]", "expected an object");
    refuses_config("{\"steps\": 3", "ends too early");
    struct capture c;
    struct settings s = {0};
    struct at_options *o;
    AT_CHECK(PARSE(&c, &s, &o, "--config", "/nowhere/c.json") == AT_PARSE_BAD);
    AT_CHECK(capture_says(&c, "/nowhere/c.json"));
    at_options_destroy(&o);
}

static bool parse_once(void)
{
    struct capture c;
    struct settings s = {0};
    struct at_options *o = NULL;
    bool ok = PARSE(&c, &s, &o, "--config", scratch_path("d.json"), "-p", "x", "word") == AT_PARSE_OK;
    struct at_json_doc *doc = ok ? at_options_json(o) : NULL;
    char *text = doc ? at_json_text(doc, false) : NULL;
    ok = text != NULL;
    at_free(text);
    at_json_destroy(&doc);
    at_options_destroy(&o);
    return ok;
}

static void survives_no_memory(void)
{
    fail_each_allocation(parse_once);
}

static void progress_lines(void)
{
    struct at_progress p = {.what = "sampling", .unit = "image"};
    char text[256];
    at_progress_text(text, sizeof(text), &p, 3, 40, 0, NULL);
    AT_CHECK_STR(text, "sampling 3/40 images");
    at_progress_text(text, sizeof(text), &p, 3.9, 40, 2.5, "loss 0.5");
    AT_CHECK_STR(text, "sampling 3/40 images, 2.5 images/s, 15 s left, loss 0.5");
    at_progress_text(text, sizeof(text), &p, 30, 40, 0.05, NULL);
    AT_CHECK_STR(text, "sampling 30/40 images, 20.0 s/image, 3 min 20 s left");
    at_progress_text(text, sizeof(text), &p, 40, 40, 2.5, NULL);
    AT_CHECK_STR(text, "sampling 40/40 images, 2.5 images/s");
    p.unit = NULL;
    at_progress_text(text, sizeof(text), &p, 30, 100, 2, NULL);
    AT_CHECK_STR(text, "sampling 30%, 35 s left");
}

static void name_is(const char *prompt, const char *expected)
{
    char *name = at_picture_name(7, 42, prompt);
    AT_CHECK_STR(name, expected);
    at_free(name);
}

static void picture_names(void)
{
    name_is("A red kite!", "00007-42-a-red-kite.png");
    name_is("../../etc/passwd", "00007-42-etc-passwd.png");
    name_is("H\xc3\xb6hle \xff x", "00007-42-h\xc3\xb6hle-x.png");
    name_is("!!!", "00007-42.png");
    name_is("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xf0\x9f\x90\xbb tail",
            "00007-42-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xf0\x9f\x90\xbb.png");
    int64_t number = 0;
    AT_CHECK(at_picture_next_number(NULL, scratch_path("none"), &number) && number == 1);
    AT_CHECK(at_file_replace(NULL, scratch_path("00041-1-x.png"), "", 0));
    AT_CHECK(at_file_replace(NULL, scratch_path("99999.png"), "", 0)); // no such name of ours
    AT_CHECK(at_picture_next_number(NULL, scratch, &number));
    AT_CHECK_INT(number, 42);
}

static void model_words(void)
{
    struct capture c;
    struct at_loaded l;
    const char *more[] = {"d.safetensors:2"};
    struct at_texts loras = {more, 1, 1};
    AT_CHECK(at_loaded_parse(capture_start(&c), "sd15+runs/a:0.5+b.safetensors", &loras, &l));
    AT_CHECK_STR(l.path, "sd15");
    AT_CHECK_INT(l.count, 3);
    AT_CHECK_STR(l.files[0].path, "runs/a");
    AT_CHECK_NEAR(l.files[0].scale, 0.5, 0);
    AT_CHECK_NEAR(l.files[1].scale, 1, 0);
    AT_CHECK_NEAR(l.files[2].scale, 2, 0);
    char *label = at_loaded_label(&l);
    AT_CHECK_STR(label, "sd15 + a:0.5 + b.safetensors + d.safetensors:2");
    at_free(label);
    at_loaded_finish(&l);
    AT_CHECK(at_loaded_parse(capture_start(&c), "embedded+x", NULL, &l) && !l.path && l.count == 1);
    at_loaded_finish(&l);
    AT_CHECK(at_loaded_parse(capture_start(&c), "+x:2", NULL, &l) && !l.path && l.count == 1 && l.files[0].scale == 2);
    at_loaded_finish(&l);
    AT_CHECK(at_loaded_parse(capture_start(&c), "+", NULL, &l) && !l.path && l.count == 0);
    at_loaded_finish(&l);
    AT_CHECK(!at_loaded_parse(capture_start(&c), "m+", NULL, &l));
    at_loaded_finish(&l);
    AT_CHECK(!at_loaded_parse(capture_start(&c), "m+x:strong", NULL, &l));
    AT_CHECK(strstr(c.text, "\"strong\" is not a strength") != NULL);
    at_loaded_finish(&l);
}

static void picture_texts(void)
{
    struct at_loaded l = {.count = 1, .sha256 = "0123456789abcdef"};
    char model[] = "models/a, b", lora[] = "runs/warm/pytorch_lora_weights.safetensors";
    l.path = model;
    l.files[0] = (struct at_lora_file){.path = lora, .scale = 1, .sha256 = "fedcba9876543210"};
    struct at_device dev = {.kind = "cpu", .name = "C"};
    struct at_picture_note note = {.prompt = "a kite", .negative = "dark", .seed = 7, .steps = 20, .width = 64,
                                   .height = 32, .sampler = AT_SAMPLER_DPMPP_2M, .karras = true, .cfg = 7.5,
                                   .cfg_rescale = 0.5, .clip_skip = 1, .rng = AT_RNG_TORCH, .loaded = &l, .dev = &dev};
    char *text = at_picture_parameters(&note);
    AT_CHECK_STR(text, "a kite\nNegative prompt: dark\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, CFG rescale: 0.5, Seed: 7, Size: 64x32, "
                       "Model hash: 0123456789, Model: \"a, b\", Lora hashes: \"warm: fedcba987654\", Eta: 0, Clip skip: 2, RNG: CPU, Version: "
                       "attune " AT_VERSION);
    at_free(text);
    text = at_picture_json(NULL, &note);
    AT_CHECK(text && strstr(text, "\"seed\":7") && strstr(text, "\"rng\":\"torch\"") && strstr(text, "\"unet_sha256\":\"0123456789abcdef\""));
    at_free(text);
}

int main(void)
{
    scratch_make();
    AT_RUN(sizes);
    AT_RUN(forms);
    AT_RUN(slips_are_named);
    AT_RUN(config_and_command_line);
    AT_RUN(configs_are_checked);
    AT_RUN(survives_no_memory);
    AT_RUN(progress_lines);
    AT_RUN(picture_names);
    AT_RUN(model_words);
    AT_RUN(picture_texts);
    scratch_remove();
    return at_test_end();
}
