// SPDX-License-Identifier: Apache-2.0
// Byte-pair vocabularies, and the tokenizer of the embedded model's recipe.
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/io/file.h"
#include "core/text/clip_tokenizer.h"
#include "datasets/bpe.h"
#include "datasets/emoji_tokenizer.h"
#include "pipelines/model/model.h"
#include "tests/harness.h"

#include <stdlib.h>
#include <unistd.h>

static struct at_log quiet = {.level = AT_LEVEL_ERROR};
static char folder[] = "/tmp/attune-bpe-XXXXXX";

static void hush(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    (void)level;
    (void)text;
}

static struct at_clip_tokenizer *trained(const char *const *captions, size_t count, size_t max_merges, size_t *merges)
{
    char *dir = at_path_join(folder, "tokenizer");
    struct at_bpe *bpe =
        at_bpe_train(&quiet, &(struct at_bpe_params){.captions = captions, .count = count, .max_merges = max_merges});
    struct at_clip_tokenizer *t = NULL;
    if (AT_CHECK(bpe != NULL) && AT_CHECK(at_bpe_save(bpe, dir, 16)))
        t = at_clip_tokenizer_load(dir, &quiet);
    if (bpe && merges)
        *merges = at_bpe_merges(bpe);
    if (AT_CHECK(t != NULL))
        AT_CHECK_INT(at_clip_tokenizer_size(t), at_bpe_size(bpe));
    at_bpe_destroy(&bpe);
    at_free(dir);
    return t;
}

static size_t tokens(const struct at_clip_tokenizer *t, const char *text, int32_t ids[16])
{
    struct at_clip_encoding e = {0};
    AT_CHECK(at_clip_tokenizer_encode(t, text, strlen(text), ids, 16, &e));
    return e.tokens;
}

// By hand: "low" 3, "lower" 1. l+o, 4 times, is first; then lo+w</w>, 3 times; then all that is left occurs once, and
// the lower ids win, letters before what was merged: e+r</w>, w+er</w>, lo+wer</w>.
static void by_hand(void)
{
    static const char *const captions[] = {"low low", "lower", "LOW"};
    size_t merges = 0;
    struct at_clip_tokenizer *t = trained(captions, 3, 0, &merges);
    uint8_t *text = NULL;
    size_t size = 0;
    char *path = at_path_join(folder, "tokenizer/merges.txt");
    AT_CHECK(at_file_read(&quiet, path, 1000, &text, &size));
    AT_CHECK_STR((char *)text, "#version: 0.2\nl o\nlo w</w>\ne r</w>\nw er</w>\nlo wer</w>\n");
    AT_CHECK_INT(merges, 5);
    int32_t ids[16];
    if (t) {
        AT_CHECK_INT(at_clip_tokenizer_size(t), 519);
        AT_CHECK_INT(at_clip_tokenizer_bos(t), 517);
        AT_CHECK_INT(at_clip_tokenizer_eos(t), 518);
        AT_CHECK_INT(at_clip_tokenizer_pad(t), 518);
        AT_CHECK_INT(at_clip_tokenizer_length(t), 16);
        AT_CHECK_INT(tokens(t, "low lower", ids), 4);
        AT_CHECK_INT(ids[1], 513);
        AT_CHECK_INT(ids[2], 516);
        AT_CHECK_INT(tokens(t, "q!", ids), 4); // unseen: its bytes
        AT_CHECK_INT(ids[1], 256 + 'q' - 33);
        AT_CHECK_INT(ids[2], 256);
    }
    at_clip_tokenizer_destroy(&t);
    at_free(text);
    at_free(path);
}

// Text of every kind becomes one token a word; words that share pieces in many ways may make one token twice.
static void whole_words(void)
{
    static const char *const captions[] = {"aaaaaaa aaaa aaa", "abcabcab cababcc bcacbab", "na\xc3\xafve caf\xc3\xa9",
                                           "\xe6\x97\xa5\xe6\x9c\xac !!", "banana bandana ananab"};
    static const size_t expected[] = {5, 5, 4, 4, 5};
    struct at_clip_tokenizer *t = trained(captions, 5, 0, NULL);
    int32_t ids[16];
    for (size_t i = 0; t && i < 5; i++)
        AT_CHECK_INT(tokens(t, captions[i], ids), expected[i]);
    at_clip_tokenizer_destroy(&t);
    t = trained(captions, 5, 3, NULL);
    if (t)
        AT_CHECK_INT(at_clip_tokenizer_size(t), 512 + 3 + 2);
    at_clip_tokenizer_destroy(&t);
}

// Words of few letters, where merges overlap in every way: each still ends as one token.
static void dense_words(void)
{
    enum { WORDS = 120, LENGTH = 14 };
    static char text[WORDS][LENGTH + 1];
    const char *captions[WORDS];
    for (size_t i = 0; i < WORDS; i++) {
        size_t n = 1 + at_rng_below(5, 1, i, LENGTH);
        for (size_t k = 0; k < n; k++)
            text[i][k] = (char)('a' + at_rng_below(5, 2, i * LENGTH + k, 2 + i % 2));
        captions[i] = text[i];
    }
    struct at_clip_tokenizer *t = trained(captions, WORDS, 0, NULL);
    int32_t ids[16];
    for (size_t i = 0; t && i < WORDS; i++)
        AT_CHECK_INT(tokens(t, captions[i], ids), 3);
    at_clip_tokenizer_destroy(&t);
}

static void bad_input(void)
{
    struct at_log log = {.write = hush};
    static const char *const blank[] = {" ", ""};
    AT_CHECK(at_bpe_train(&log, &(struct at_bpe_params){.captions = blank, .count = 2}) == NULL);
    AT_CHECK_INT(log.error, AT_ERROR_INPUT);
    static const char *const one[] = {"cat"};
    struct at_bpe *bpe = at_bpe_train(&log, &(struct at_bpe_params){.captions = one, .count = 1});
    char *dir = at_path_join(folder, "taken"), *file = at_path_join(dir, "unet.safetensors");
    AT_CHECK(bpe && !at_bpe_save(bpe, dir, 2));
    AT_CHECK(at_dir_make(&quiet, dir) && at_file_replace(&quiet, file, "x", 1));
    AT_CHECK(bpe && !at_bpe_save(bpe, dir, 16)); // would remove what is there
    AT_CHECK(at_file_exists(file));
    at_free(dir);
    at_free(file);
    at_bpe_destroy(&bpe);
}

static void no_memory(void)
{
    struct at_log log = {.write = hush};
    static const char *const captions[] = {"red heart", "red apple"};
    char *dir = at_path_join(folder, "memory");
    bool done = false;
    for (size_t n = 1; !done && n < 20000; n += n < 400 ? 1 : 37) {
        at_alloc_fail_at(n, false);
        struct at_bpe *bpe = at_bpe_train(&log, &(struct at_bpe_params){.captions = captions, .count = 2});
        bool saved = bpe && at_bpe_save(bpe, dir, 8);
        done = !at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(saved || !done);
        AT_CHECK(!saved || at_dir_exists(dir));
        at_bpe_destroy(&bpe);
    }
    AT_CHECK(done);
    at_free(dir);
}

static void same_file(const char *recipe, const char *made, const char *name)
{
    char *a = at_path_join(recipe, name), *b = at_path_join(made, name);
    uint8_t *x = NULL, *y = NULL;
    size_t m = 0, n = 0;
    bool ok = at_file_read(&quiet, a, 1 << 20, &x, &m) && at_file_read(&quiet, b, 1 << 20, &y, &n);
    if (!AT_CHECK(ok && m == n && memcmp(x, y, m) == 0))
        printf("  %s differs from what the captions give\n", a);
    at_free(x);
    at_free(y);
    at_free(a);
    at_free(b);
}

// The recipe's tokenizer is what the captions of the embedded model give, byte for byte; every caption fits.
static void recipe(void)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"};
    const char *data = getenv("AT_TEST_DATA");
    if (!at_file_exists(AT_EMOJI_FONT) || !at_file_exists(AT_EMOJI_TABLE)) {
        printf("SKIP recipe: no font or no table\n");
        return;
    }
    struct at_bpe *bpe = NULL;
    struct at_emoji_set *set = at_emoji_open(&quiet, &(struct at_emoji_params){0});
    char *made = at_path_join(folder, "emoji"),
         *kept = at_path_join(data ? data : "tests/unit/data", "../../../datasets/emoji/recipe/tokenizer");
    if (AT_CHECK(set && at_emoji_select(&quiet, set, &(struct at_emoji_rule){0}) &&
                 (bpe = at_emoji_tokenizer(&quiet, set, 0)) && at_bpe_save(bpe, made, AT_EMOJI_TOKENS))) {
        for (size_t i = 0; i < 4; i++)
            same_file(kept, made, names[i]);
        struct at_clip_tokenizer *t = at_clip_tokenizer_load(kept, &quiet);
        int32_t ids[16];
        for (size_t i = 0; AT_CHECK(t != NULL) && i < set->count; i++)
            AT_CHECK_INT(tokens(t, set->items[i].caption, ids), set->items[i].words + 2);
        at_clip_tokenizer_destroy(&t);
    }
    at_bpe_destroy(&bpe);
    at_emoji_close(&set);
    at_free(made);
    at_free(kept);
}

static int64_t weights(const struct at_params *params)
{
    int64_t sum = 0;
    for (int i = 0; i < params->count; i++)
        sum += at_shape_count(params->list[i].shape);
    return sum;
}

// The recipe's configs open as a model, and its text encoder fits its tokenizer.
static void recipe_opens(void)
{
    const char *data = getenv("AT_TEST_DATA");
    char *path = at_path_join(data ? data : "tests/unit/data", "../../../datasets/emoji/recipe");
    struct at_device *dev = at_cpu_open(&(struct at_cpu_params){.threads = 1}, &quiet);
    struct at_model *m =
        dev ? at_model_open(dev, &(struct at_model_params){.path = path, .untrained = true}, &quiet) : NULL;
    if (AT_CHECK(m != NULL)) {
        AT_CHECK_INT(m->text[0].config.vocab, at_clip_tokenizer_size(m->text[0].tokenizer));
        AT_CHECK_INT(m->text[0].config.eos, at_clip_tokenizer_eos(m->text[0].tokenizer));
        AT_CHECK_INT(m->text[0].config.positions, at_clip_tokenizer_length(m->text[0].tokenizer));
        AT_CHECK_INT(m->unet.sample_size * at_vae_factor(&m->vae), 64);
        AT_CHECK_INT(m->unet.in_channels, m->vae.latent_channels);
        AT_CHECK_INT(weights(m->unet_params) + weights(m->vae_params) + weights(m->text[0].params), 7731999);
    }
    at_model_destroy(&m);
    at_device_close(&dev);
    at_free(path);
}

int main(void)
{
    if (!AT_CHECK(mkdtemp(folder) != NULL))
        return 1;
    AT_RUN(by_hand);
    AT_RUN(whole_words);
    AT_RUN(dense_words);
    AT_RUN(bad_input);
    AT_RUN(no_memory);
    AT_RUN(recipe);
    AT_RUN(recipe_opens);
    AT_CHECK(at_path_remove(&quiet, folder));
    return at_test_end();
}
