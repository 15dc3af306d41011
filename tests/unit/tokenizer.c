// SPDX-License-Identifier: Apache-2.0
// The CLIP tokenizer against transformers (tests/golden/make_tokenizer.py).
#include "core/text/clip_tokenizer.h"
#include "core/base/alloc.h"
#include "core/base/rng.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "core/text/unicode.h"
#include "tests/golden.h"
#include "tests/unit/capture.h"

enum { MAX = 512 };

static void quiet(void *priv, enum at_level level, const char *text)
{
    (void)level;
    snprintf(priv, 512, "%s", text);
}

static char message[512];
static struct at_log silent = {.write = quiet, .priv = message};

static const char *golden_dir(void)
{
    const char *dir = getenv("AT_TEST_GOLDEN");
    return dir ? dir : "tests/golden/data";
}

static void small_path(char path[4096], const char *name)
{
    snprintf(path, 4096, "%s/clip_small%s", golden_dir(), name);
}

// Every string of the golden file, its ids without truncation, and with truncation to 77.
static void check_strings(const struct at_clip_tokenizer *t, const cJSON *strings, const cJSON *rows)
{
    int n = cJSON_GetArraySize(strings);
    AT_CHECK(n > 60 && cJSON_GetArraySize(rows) == n);
    for (int i = 0; i < n; i++) {
        const char *text = cJSON_GetArrayItem(strings, i)->valuestring;
        const cJSON *row = cJSON_GetArrayItem(rows, i);
        int count = cJSON_GetArraySize(row), wrong = 0;
        int32_t ids[MAX], cut[77];
        struct at_clip_encoding e = {0}, f = {0};
        AT_CHECK(at_clip_tokenizer_encode(t, text, strlen(text), ids, MAX, &e));
        AT_CHECK(at_clip_tokenizer_encode(t, text, strlen(text), cut, 77, &f));
        AT_CHECK_INT(e.tokens, count);
        AT_CHECK_INT(f.tokens, count);
        AT_CHECK_INT(e.cut, strlen(text));
        AT_CHECK((f.cut < strlen(text)) == (count > 77));
        for (int k = 0; k < MAX; k++)
            wrong += ids[k] != (k < count ? (int32_t)at_golden_at(row, k) : at_clip_tokenizer_pad(t));
        for (int k = 0; k < 76; k++)
            wrong += cut[k] != ids[k] && !(k == count - 1);
        wrong += cut[76] != (count >= 77 ? at_clip_tokenizer_eos(t) : at_clip_tokenizer_pad(t));
        if (!AT_CHECK(wrong == 0)) {
            printf("  \"%s\":", text);
            for (size_t k = 0; k < e.tokens && k < 24; k++)
                printf(" %d/%g", ids[k], at_golden_at(row, (int)k));
            printf("\n");
        }
    }
}

static struct at_clip_file as_file(const cJSON *item, char **text)
{
    *text = item && !cJSON_IsNull(item) ? cJSON_PrintUnformatted(item) : NULL;
    return (struct at_clip_file){*text, *text ? strlen(*text) : 0};
}

static void the_small_vocabulary_matches_in_every_spelling(void)
{
    cJSON *root = at_golden_load("tokenizer.json"), *style;
    char path[4096];
    uint8_t *vocab = NULL, *merges = NULL;
    struct at_clip_files files = {0};
    small_path(path, "/vocab.json");
    AT_CHECK(at_file_read(&silent, path, 1 << 20, &vocab, &files.vocab.bytes));
    small_path(path, "/merges.txt");
    AT_CHECK(at_file_read(&silent, path, 1 << 20, &merges, &files.merges.bytes));
    files.vocab.data = (const char *)vocab;
    files.merges.data = (const char *)merges;
    int styles = 0;
    cJSON_ArrayForEach(style, cJSON_GetObjectItem(root, "small"))
    {
        char *config, *specials;
        files.config = as_file(cJSON_GetObjectItem(style, "config"), &config);
        files.specials = as_file(cJSON_GetObjectItem(style, "specials"), &specials);
        struct at_clip_tokenizer *t = at_clip_tokenizer_create_from_memory(&files, &silent);
        if (!AT_CHECK(t != NULL))
            printf("  %s: %s\n", style->string, message);
        if (t) {
            AT_CHECK_INT(at_clip_tokenizer_pad(t), cJSON_GetObjectItem(style, "pad")->valuedouble);
            AT_CHECK_INT(at_clip_tokenizer_length(t), 77);
            AT_CHECK_INT(at_clip_tokenizer_size(t), at_clip_tokenizer_eos(t) + 1);
            check_strings(t, cJSON_GetObjectItem(root, "strings"), cJSON_GetObjectItem(style, "ids"));
        }
        at_clip_tokenizer_destroy(&t);
        cJSON_free(config);
        cJSON_free(specials);
        styles++;
    }
    AT_CHECK_INT(styles, 4);
    at_free(vocab);
    at_free(merges);
    cJSON_Delete(root);
}

static void folders_load_with_either_kind_of_file(void)
{
    cJSON *root = at_golden_load("tokenizer.json");
    const cJSON *small = cJSON_GetObjectItem(root, "small");
    const char *const folders[][2] = {{"", "sd1"}, {"/saved", "sd2"}};
    for (int i = 0; i < 2; i++) {
        char path[4096];
        small_path(path, folders[i][0]);
        struct at_clip_tokenizer *t = at_clip_tokenizer_load(path, &silent);
        if (AT_CHECK(t != NULL))
            check_strings(t, cJSON_GetObjectItem(root, "strings"),
                          cJSON_GetObjectItem(cJSON_GetObjectItem(small, folders[i][1]), "ids"));
        else
            printf("  %s\n", message);
        at_clip_tokenizer_destroy(&t);
    }
    AT_CHECK(!at_clip_tokenizer_load("no/such/folder", &silent) && strstr(message, "vocab.json"));
    cJSON_Delete(root);
}

// The list published with CLIP, from which its vocabulary follows.
static void the_real_vocabulary_matches(void)
{
    const char *given = getenv("AT_CLIP_VOCAB");
    char path[4096];
    snprintf(path, sizeof(path), "%s/../../../../shared/data/clip/bpe_simple_vocab_16e6.txt.gz", golden_dir());
    given = given ? given : path;
    if (!at_file_exists(given)) {
        printf("skipped: set AT_CLIP_VOCAB to bpe_simple_vocab_16e6.txt.gz to check the real vocabulary\n");
        return;
    }
    struct at_clip_tokenizer *t = at_clip_tokenizer_load_clip(given, "<|endoftext|>", &silent);
    cJSON *root = at_golden_load("tokenizer.json");
    if (!AT_CHECK(t != NULL))
        printf("  %s\n", message);
    if (t) {
        AT_CHECK_INT(at_clip_tokenizer_bos(t), 49406);
        AT_CHECK_INT(at_clip_tokenizer_eos(t), 49407);
        AT_CHECK_INT(at_clip_tokenizer_pad(t), 49407);
        AT_CHECK_INT(at_clip_tokenizer_size(t), 49408);
        check_strings(t, cJSON_GetObjectItem(root, "strings"), cJSON_GetObjectItem(root, "real"));
        printf("real vocabulary checked\n");
    }
    at_clip_tokenizer_destroy(&t);
    cJSON_Delete(root);
}

// Merges alone, by themselves and in a folder, and the files that are written from them, make the same tokenizer.
static void merges_alone_are_enough(void)
{
    char path[4096];
    cJSON *root = at_golden_load("tokenizer.json");
    const cJSON *small = cJSON_GetObjectItem(root, "small");
    struct at_clip_tokenizer *t[3] = {0};
    scratch_make();
    small_path(path, "/merges.txt");
    t[0] = at_clip_tokenizer_load_clip(path, "<|endoftext|>", &silent);
    if (AT_CHECK(t[0] && at_clip_tokenizer_save(t[0], scratch)))
        t[1] = at_clip_tokenizer_load(scratch, &silent);
    AT_CHECK(at_path_remove(NULL, scratch_path("vocab.json")));
    t[2] = at_clip_tokenizer_load_clip(scratch, "<|endoftext|>", &silent);
    AT_CHECK(!at_clip_tokenizer_load(scratch, &silent)); // a folder of diffusers needs its vocabulary
    for (int i = 0; i < 3; i++) {
        if (AT_CHECK(t[i] != NULL))
            check_strings(t[i], cJSON_GetObjectItem(root, "strings"),
                          cJSON_GetObjectItem(cJSON_GetObjectItem(small, "sd1"), "ids"));
        at_clip_tokenizer_destroy(&t[i]);
    }
    small_path(path, "/merges.txt");
    t[0] = at_clip_tokenizer_load_clip(path, "!", &silent);
    AT_CHECK(t[0] && at_clip_tokenizer_pad(t[0]) == 0);
    at_clip_tokenizer_destroy(&t[0]);
    AT_CHECK(at_file_replace(NULL, scratch_path("bad"), "a b\nno_merge\n", 13));
    AT_CHECK(!at_clip_tokenizer_load_clip(scratch_path("bad"), "!", &silent) && strstr(message, "bad:2: not a merge"));
    AT_CHECK(at_file_replace(NULL, scratch_path("bad"), "\x1f\x8b\x08\0\0\0\0\0\0\3", 10));
    AT_CHECK(!at_clip_tokenizer_load_clip(scratch_path("bad"), "!", &silent) && strstr(message, "damaged or cut short"));
    scratch_remove();
    cJSON_Delete(root);
}

static uint64_t fnv(uint64_t h, uint32_t value)
{
    return (h ^ value) * 0x100000001b3u;
}

static void check_hash(const char *key, uint64_t hash)
{
    cJSON *root = at_golden_load("tokenizer.json");
    char text[32];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash);
    AT_CHECK_STR(text, cJSON_GetObjectItem(cJSON_GetObjectItem(root, "unicode"), key)->valuestring);
    cJSON_Delete(root);
}

// Over every code point: class and lower case as the tokenizers library has them.
static void unicode_classes_and_lower_case_match(void)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint32_t out[2];
        if (c >= 0xd800 && c < 0xe000)
            continue;
        h = fnv(h, (uint32_t)at_unicode_is_letter(c) + 2u * at_unicode_is_number(c) + 4u * at_unicode_is_space(c));
        size_t n = at_unicode_lower(c, out);
        for (size_t i = 0; i < n; i++)
            h = fnv(h, out[i]);
    }
    check_hash("classes_and_lower", h);
}

// Over 20,000 random sequences rich in marks and parts that compose.
static void composition_matches(void)
{
    static const uint32_t pools[][2] = {{0x61, 26},     {0x300, 0x70},   {0x1100, 0x100}, {0xac00, 11172},
                                        {0x900, 0x500}, {0x1e00, 0x200}, {0xf900, 0x200}, {0x1d15e, 0x70},
                                        {0xc0, 0x180},  {0x1f70, 16}};
    uint64_t h = 0xcbf29ce484222325u, x = 1;
    for (int k = 0; k < 20000; k++) {
        struct at_char text[6], out[6 * AT_NFC_GROWTH];
        for (uint32_t i = 0; i < 6; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            const uint32_t *pool = pools[(x >> 33) % 10];
            text[i] = (struct at_char){pool[0] + (uint32_t)((x >> 40) % pool[1]), i};
        }
        size_t n = at_unicode_nfc(text, 6, out);
        for (size_t i = 0; i < n; i++)
            h = fnv(h, out[i].code);
    }
    check_hash("nfc", h);
}

static struct at_clip_tokenizer *small_tokenizer(void)
{
    char path[4096];
    small_path(path, "");
    struct at_clip_tokenizer *t = at_clip_tokenizer_load(path, &silent);
    AT_CHECK(t != NULL);
    return t;
}

static void the_cut_is_where_the_lost_text_begins(void)
{
    struct at_clip_tokenizer *t = small_tokenizer();
    struct at_clip_encoding e;
    int32_t ids[8];
    const char text[] = "a red kite, red kite"; // a red kite , red kite
    AT_CHECK(t && at_clip_tokenizer_encode(t, text, strlen(text), ids, 6, &e));
    AT_CHECK_INT(e.tokens, 8);
    AT_CHECK_INT(e.cut, strlen("a red kite, "));
    AT_CHECK_INT(ids[5], at_clip_tokenizer_eos(t));
    const char accented[] = "e\xcc\x81 e\xcc\x81 \xc3\x89 kite"; // composed and lower-cased before
    AT_CHECK(at_clip_tokenizer_encode(t, accented, strlen(accented), ids, 4, &e));
    AT_CHECK(e.tokens > 4 && e.cut == strlen("e\xcc\x81 e\xcc\x81 "));
    AT_CHECK(at_clip_tokenizer_encode(t, text, strlen(text), ids, 2, &e));
    AT_CHECK(e.cut == 0 && ids[0] == at_clip_tokenizer_bos(t) && ids[1] == at_clip_tokenizer_eos(t));
    AT_CHECK(!at_clip_tokenizer_encode(t, text, strlen(text), ids, 1, &e));
    at_clip_tokenizer_destroy(&t);
}

// Among equal merges the leftmost goes first; among special tokens at one place the longest wins.
static void ties_break_as_they_must(void)
{
    static const char vocab[] =
        "{\"a\":0,\"a</w>\":1,\"aa\":2,\"<\":3,\"<</w>\":4,\"<|startoftext|>\":5,\"<|endoftext|>\":6}";
    static const char merges[] = "a a\n",
                      config[] = "{\"added_tokens_decoder\":{\"7\":{\"content\":\"<a\",\"normalized\":false},"
                                 "\"8\":{\"content\":\"<aa\",\"normalized\":false},"
                                 "\"9\":{\"content\":\"<\",\"normalized\":false}}}";
    struct at_clip_files files = {.vocab = {vocab, sizeof(vocab) - 1},
                                  .merges = {merges, sizeof(merges) - 1},
                                  .config = {config, sizeof(config) - 1}};
    struct at_clip_tokenizer *t = at_clip_tokenizer_create_from_memory(&files, &silent);
    struct at_clip_encoding e;
    int32_t ids[9];
    static const int32_t want[9] = {5, 2, 0, 1, 8, 1, 9, 7, 6};
    if (!AT_CHECK(t != NULL))
        return;
    AT_CHECK_INT(at_clip_tokenizer_size(t), 10);
    AT_CHECK(at_clip_tokenizer_encode(t, "aaaa <aaa <<a", 13, ids, 9, &e));
    for (int i = 0; i < 9; i++)
        AT_CHECK_INT(ids[i], want[i]);
    at_clip_tokenizer_destroy(&t);
}

static void invalid_bytes_are_replacement_characters(void)
{
    struct at_clip_tokenizer *t = small_tokenizer();
    struct at_clip_encoding e, f;
    int32_t a[77], b[77];
    const char bad[] = "red \xff\xc3 kite \xe2\x82",
               good[] = "red \xef\xbf\xbd\xef\xbf\xbd kite \xef\xbf\xbd\xef\xbf\xbd";
    AT_CHECK(at_clip_tokenizer_encode(t, bad, strlen(bad), a, 77, &e));
    AT_CHECK(at_clip_tokenizer_encode(t, good, strlen(good), b, 77, &f));
    AT_CHECK(e.tokens == f.tokens && memcmp(a, b, sizeof(a)) == 0);
    for (uint64_t k = 0; k < 2000; k++) { // noise: must only be safe
        char noise[64];
        for (uint64_t i = 0; i < 64; i++)
            noise[i] = (char)at_rng_below(5, AT_STREAM_MAKE, 64 * k + i, 256);
        AT_CHECK(at_clip_tokenizer_encode(t, noise, k % 65, a, 77, &e));
        for (int i = 0; i < 77; i++)
            AT_CHECK(a[i] >= 0 && a[i] < at_clip_tokenizer_size(t));
    }
    at_clip_tokenizer_destroy(&t);
}

static void long_text_is_slow_but_bounded(void)
{
    static char text[AT_CLIP_TEXT_MAX + 1];
    struct at_clip_tokenizer *t = small_tokenizer();
    struct at_clip_encoding e;
    int32_t ids[77];
    memset(text, 'e', sizeof(text));
    AT_CHECK(at_clip_tokenizer_encode(t, text, 8192, ids, 77, &e) && e.tokens > 77);
    AT_CHECK(!at_clip_tokenizer_encode(t, text, sizeof(text), ids, 77, &e) && strstr(message, "at most 32768"));
    at_clip_tokenizer_destroy(&t);
}

static void bad_files_are_named(void)
{
#define SPECIAL "\"<|startoftext|>\":2,\"<|endoftext|>\":3"
    static const char *const bad[][4] = {
        // vocab, merges, config, message
        {"[1]", "", "{}", "vocab.json"},
        {"{", "", "{}", "vocab.json"},
        {"{}", "", "{}", "the vocabulary is empty"},
        {"{\"a\":-1}", "", "{}", "vocab.json"},
        {"{\"a\":0}", "", "{}", "bos_token \"<|startoftext|>\" is not in the vocabulary"},
        {"{\"a\":0,\"b\":1," SPECIAL "}", "#version: 0.2\na b\n", "{}", "merges.txt:2"},
        {"{\"a\":0,\"ab\":1," SPECIAL "}", "a", "{}", "merges.txt:1"},
        {"{\"a\":0," SPECIAL "}", "", "{\"pad_token\":\"!\"}", "pad_token \"!\""},
        {"{\"a\":0," SPECIAL "}", "", "{\"pad_token\":7}", "pad_token"},
        {"{\"a\":0," SPECIAL "}", "", "{\"model_max_length\":1}", "model_max_length"},
        {"{\"a\":0," SPECIAL "}", "", "{\"added_tokens_decoder\":{\"x\":{}}}", "token id"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct at_clip_files files = {.vocab = {bad[i][0], strlen(bad[i][0])},
                                      .merges = {bad[i][1], strlen(bad[i][1])},
                                      .config = {bad[i][2], strlen(bad[i][2])}};
        struct at_clip_tokenizer *t = at_clip_tokenizer_create_from_memory(&files, &silent);
        AT_CHECK(t == NULL);
        if (!AT_CHECK(strstr(message, bad[i][3]) != NULL))
            printf("  %zu: %s\n", i, message);
        at_clip_tokenizer_destroy(&t);
    }
}

static void no_memory_is_a_clean_failure(void)
{
    static const char vocab[] = "{\"a\":0,\"b</w>\":1,\"ab</w>\":4," SPECIAL "}", merges[] = "a b</w>\n";
    struct at_clip_files files = {.vocab = {vocab, sizeof(vocab) - 1}, .merges = {merges, sizeof(merges) - 1}};
    for (size_t n = 1; n < 1000; n++) {
        int32_t ids[5];
        struct at_clip_encoding e;
        at_alloc_fail_at(n, false);
        struct at_clip_tokenizer *t = at_clip_tokenizer_create_from_memory(&files, &silent);
        bool ok = t && at_clip_tokenizer_encode(t, "AB", 2, ids, 5, &e), failed = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(failed == !ok);
        if (ok)
            AT_CHECK(ids[0] == 2 && ids[1] == 4 && ids[2] == 3 && ids[3] == 3 && ids[4] == 3 && e.tokens == 3);
        at_clip_tokenizer_destroy(&t);
        if (!failed)
            return;
    }
    AT_CHECK(!"an end to the faults");
}

int main(void)
{
    AT_RUN(unicode_classes_and_lower_case_match);
    AT_RUN(composition_matches);
    AT_RUN(the_small_vocabulary_matches_in_every_spelling);
    AT_RUN(folders_load_with_either_kind_of_file);
    AT_RUN(the_real_vocabulary_matches);
    AT_RUN(merges_alone_are_enough);
    AT_RUN(the_cut_is_where_the_lost_text_begins);
    AT_RUN(ties_break_as_they_must);
    AT_RUN(invalid_bytes_are_replacement_characters);
    AT_RUN(long_text_is_slow_but_bounded);
    AT_RUN(bad_files_are_named);
    AT_RUN(no_memory_is_a_clean_failure);
    return at_test_end();
}
