// SPDX-License-Identifier: Apache-2.0
// Making a CLIP tokenizer from its files.
#include "core/text/clip_vocab.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "core/io/json.h"

#include <string.h>

enum { MAX_ID = 1 << 24, MAX_LENGTH = 4096 };

static const char *const default_bos = "<|startoftext|>", *const default_eos = "<|endoftext|>";

static bool read_vocab(struct at_clip_tokenizer *t, struct at_json vocab)
{
    if (!at_json_is_object(vocab))
        return at_json_fail(vocab, "expected an object of tokens and their ids");
    if (!at_clip_entries_reserve(t, at_json_count(vocab)))
        return at_fail_memory(t->log, at_json_count(vocab) * sizeof(struct at_clip_entry));
    for (struct at_json v = at_json_first(vocab); at_json_present(v); v = at_json_next(v)) {
        int64_t id;
        const char *key = at_json_key(v);
        if (!at_json_as_int(v, 0, MAX_ID, &id))
            return false;
        if (!at_clip_entry_add(t, key, strlen(key), (int32_t)id))
            return at_fail_memory(t->log, strlen(key));
        if (id >= t->size)
            t->size = (int32_t)id + 1;
    }
    return t->size > 0 || at_json_fail(vocab, "the vocabulary is empty");
}

// Adds the merge of two texts; false when a part or the whole is not in the vocabulary (or no memory).
static bool add_merge(struct at_clip_tokenizer *t, const char *left, size_t m, const char *right, size_t n,
                      int32_t rank)
{
    char small[256], *whole = m + n <= sizeof(small) ? small : at_calloc(m + n, 1);
    if (!whole)
        return false;
    memcpy(whole, left, m);
    memcpy(whole + m, right, n);
    struct at_clip_merge merge = {at_clip_entry_find(t, left, m), at_clip_entry_find(t, right, n), rank,
                                  at_clip_entry_find(t, whole, m + n)};
    if (whole != small)
        at_free(whole);
    if (merge.left < 0 || merge.right < 0 || merge.id < 0)
        return false;
    at_clip_merge_add(t, &merge);
    return true;
}

static bool add_merge_line(struct at_clip_tokenizer *t, const char *line, size_t n, int32_t rank)
{
    const char *space = memchr(line, ' ', n);
    return space && space > line && space < line + n - 1 &&
           add_merge(t, line, (size_t)(space - line), space + 1, (size_t)(line + n - space - 1), rank);
}

static bool read_merges_text(struct at_clip_tokenizer *t, const struct at_clip_files *files)
{
    struct at_clip_lines l = at_clip_lines(&files->merges);
    int32_t rank = 0;
    size_t most = at_clip_lines_count(&files->merges);
    if (!at_clip_merges_reserve(t, most))
        return at_fail_memory(t->log, most * sizeof(struct at_clip_merge));
    while (at_clip_lines_next(&l)) {
        if (!files->vocab.data && rank == AT_CLIP_MERGES)
            break; // OpenAI's list goes on behind what CLIP uses
        if (!add_merge_line(t, l.line, l.bytes, rank++))
            return at_fail(t->log, AT_ERROR_INPUT, files->vocab.data ? "%s/merges.txt:%zu: not a merge of two tokens of "
                           "vocab.json; the two files must belong together" : "%s:%zu: not a merge of two tokens",
                           files->name, l.number);
    }
    return true;
}

// tokenizer.json spells merges as "a b" or as ["a", "b"].
static bool read_merges_json(struct at_clip_tokenizer *t, struct at_json merges)
{
    int32_t rank = 0;
    if (!at_json_is_array(merges))
        return at_json_fail(merges, "expected a list of merges");
    if (!at_clip_merges_reserve(t, at_json_count(merges)))
        return at_fail_memory(t->log, at_json_count(merges) * sizeof(struct at_clip_merge));
    for (struct at_json m = at_json_first(merges); at_json_present(m); m = at_json_next(m)) {
        const char *left, *right;
        bool ok;
        if (at_json_is_string(m))
            ok = at_json_as_str(m, &left) && add_merge_line(t, left, strlen(left), rank++);
        else
            ok = at_json_count(m) == 2 && at_json_as_str(at_json_at(m, 0), &left) &&
                 at_json_as_str(at_json_at(m, 1), &right) &&
                 add_merge(t, left, strlen(left), right, strlen(right), rank++);
        if (!ok)
            return at_json_fail(m, "not a merge of two tokens of the vocabulary");
    }
    return true;
}

// Registers a token to be found whole; the last word on `normalized` counts.
static bool add_special(struct at_clip_tokenizer *t, const char *text, int32_t id, bool normalized)
{
    size_t n = strlen(text);
    int i = 0;
    while (i < t->special_count && (t->specials[i].bytes != n || memcmp(t->specials[i].text, text, n) != 0))
        i++;
    if (n == 0)
        return true;
    if (i == t->special_count) {
        char *copy = i < AT_CLIP_SPECIALS ? at_arena_alloc(t->arena, n + 1) : NULL;
        if (!copy)
            return at_fail(t->log, AT_ERROR_INPUT, "tokenizer: more than %d special tokens, or no memory",
                           AT_CLIP_SPECIALS);
        memcpy(copy, text, n);
        t->specials[t->special_count++] = (struct at_clip_special){.text = copy, .bytes = n};
    }
    t->specials[i].id = id;
    t->specials[i].normalized = normalized;
    return true;
}

// A special token is a string or an object with `content`; in special_tokens_map.json, else in tokenizer_config.json,
// else the default.
static bool read_role(struct at_clip_tokenizer *t, struct at_json config, struct at_json specials, const char *key,
                      const char *fallback, int32_t *id)
{
    struct at_json item = at_json_get(specials, key);
    const char *text = fallback;
    bool normalized = false;
    if (!at_json_present(item))
        item = at_json_get(config, key);
    if (at_json_is_string(item)) {
        if (!at_json_as_str(item, &text))
            return false;
    } else if (at_json_present(item)) {
        if (!at_json_is_object(item))
            return at_json_fail(item, "expected a token, or an object with its content");
        if (!at_json_str(item, "content", fallback, &text) || !at_json_bool(item, "normalized", true, &normalized))
            return false;
    }
    *id = at_clip_entry_find(t, text, strlen(text));
    if (*id < 0)
        return at_fail(t->log, AT_ERROR_INPUT, "tokenizer: the %s \"%.60s\" is not in the vocabulary", key, text);
    return add_special(t, text, *id, normalized);
}

// One entry of added_tokens (tokenizer.json) or added_tokens_decoder (tokenizer_config.json).
static bool read_added(struct at_clip_tokenizer *t, struct at_json item, int64_t id)
{
    const char *text;
    bool normalized;
    if (!at_json_is_object(item))
        return at_json_fail(item, "expected an object with the token's content");
    if (!at_json_str(item, "content", "", &text) || !at_json_bool(item, "normalized", true, &normalized))
        return false;
    if (id < 0 || id > MAX_ID)
        return at_json_fail(item, "token id out of range");
    if (id >= t->size)
        t->size = (int32_t)id + 1;
    return add_special(t, text, (int32_t)id, normalized);
}

static bool read_decoder(struct at_clip_tokenizer *t, struct at_json config)
{
    struct at_json decoder = at_json_get(config, "added_tokens_decoder");
    for (struct at_json v = at_json_first(decoder); at_json_present(v); v = at_json_next(v)) {
        const char *key = at_json_key(v);
        int64_t id = *key ? 0 : -1;
        for (; *key >= '0' && *key <= '9' && id <= MAX_ID; key++)
            id = id * 10 + (*key - '0');
        if (*key || !read_added(t, v, id))
            return *key ? at_json_fail(v, "the key must be a token id") : false;
    }
    return true;
}

static bool read_added_list(struct at_clip_tokenizer *t, struct at_json list)
{
    for (struct at_json v = at_json_first(list); at_json_present(v); v = at_json_next(v)) {
        int64_t id;
        if (!at_json_as_int(at_json_get(v, "id"), 0, MAX_ID, &id) || !read_added(t, v, id))
            return false;
    }
    return true;
}

static bool read_length(struct at_clip_tokenizer *t, struct at_json config)
{
    double length;
    if (!at_json_num(config, "model_max_length", 77, &length))
        return false;
    // transformers writes 1e30 for "no limit"; the text encoder then has CLIP's 77 positions.
    if (length > 1e6)
        length = 77;
    if (!(length >= 2 && length <= MAX_LENGTH))
        return at_json_fail(at_json_get(config, "model_max_length"), "%g must be 2 to %d", length, MAX_LENGTH);
    t->length = (size_t)length;
    return true;
}

struct sources {
    struct at_json_doc *vocab, *tokenizer, *config, *specials;
};

static struct at_json root_of(struct at_json_doc *doc)
{
    return doc ? at_json_root(doc) : (struct at_json){0};
}

// Whether a merge must make the token: it is longer than a character, and than one with the end of a word.
static bool needs_merge(const struct at_clip_entry *e)
{
    uint32_t code;
    bool end = e->bytes > 4 && memcmp(e->text + e->bytes - 4, "</w>", 4) == 0;
    size_t n = e->bytes - (end ? 4 : 0);
    return n > 0 && at_utf8_step(e->text, n, &code) < n;
}

// Where merges are missing words fall apart without a word said: a list that was cut short is refused.
static bool check_merges(const struct at_clip_tokenizer *t, const char *name)
{
    uint8_t *made = at_calloc((size_t)t->size, 1);
    if (!made)
        return at_fail_memory(t->log, (size_t)t->size);
    for (size_t i = 0; i < t->merge_slots; i++)
        if (t->merges[i].left >= 0)
            made[t->merges[i].id] = 1;
    for (int i = 0; i < t->special_count; i++)
        made[t->specials[i].id] = 1;
    size_t lacking = 0;
    const char *one = NULL;
    for (size_t i = 0; i < t->entry_slots; i++) {
        const struct at_clip_entry *e = &t->entries[i];
        if (!e->text || made[e->id] || !needs_merge(e))
            continue;
        lacking++;
        one = e->text;
    }
    at_free(made);
    if (lacking > AT_CLIP_SPECIALS)
        return at_fail(t->log, AT_ERROR_INPUT, "%s: %zu tokens of the vocabulary come from no merge, such as "
                       "\"%.40s\"; the merges are cut short: copy or download them again", name, lacking, one);
    if (lacking)
        at_warn(t->log, "%s: %zu tokens of the vocabulary come from no merge, such as \"%.40s\"; are the merges "
                "complete?", name, lacking, one);
    return true;
}

static bool read_all(struct at_clip_tokenizer *t, const struct at_clip_files *files, const struct sources *s)
{
    struct at_json config = root_of(s->config), specials = root_of(s->specials), whole = root_of(s->tokenizer);
    struct at_json model = at_json_get(whole, "model");
    const char *suffix;
    if (s->vocab || files->clip) {
        if (!(s->vocab ? read_vocab(t, at_json_root(s->vocab)) : at_clip_vocab_derive(t, files)) ||
            !read_merges_text(t, files))
            return false;
    } else {
        if (!at_json_str(model, "end_of_word_suffix", "", &suffix))
            return false;
        if (strcmp(suffix, "</w>") != 0)
            return at_fail(t->log, AT_ERROR_INPUT,
                           "%s/tokenizer.json: not a CLIP tokenizer (model.end_of_word_suffix is \"%.20s\", not </w>)",
                           files->name, suffix);
        if (!read_vocab(t, at_json_get(model, "vocab")) || !read_merges_json(t, at_json_get(model, "merges")))
            return false;
    }
    if (!read_role(t, config, specials, "bos_token", default_bos, &t->bos) ||
        !read_role(t, config, specials, "eos_token", default_eos, &t->eos) ||
        !read_role(t, config, specials, "unk_token", default_eos, &t->unk) ||
        !read_role(t, config, specials, "pad_token", default_eos, &t->pad) || !read_decoder(t, config) ||
        !read_added_list(t, at_json_get(whole, "added_tokens")) || !read_length(t, config))
        return false;
    at_clip_bytes_fill(t);
    return check_merges(t, files->name);
}

static bool parse(struct at_log *log, const struct at_clip_files *files, const struct at_clip_file *file,
                  const char *name, struct at_json_doc **doc)
{
    if (!file->data)
        return true;
    char *path = at_path_join(files->name, name);
    if (!path)
        return at_fail_memory(log, strlen(name));
    *doc = at_json_parse(log, path, file->data, file->bytes, NULL);
    at_free(path);
    return *doc != NULL;
}

struct at_clip_tokenizer *at_clip_tokenizer_create_from_memory(const struct at_clip_files *in, struct at_log *log)
{
    struct at_clip_files files = *in;
    struct sources s = {0};
    struct at_clip_tokenizer *t = NULL;
    bool pair = files.vocab.data && files.merges.data, ok = false;
    files.name = files.name ? files.name : "tokenizer";
    if (!pair)
        files.vocab.data = NULL;
    files.clip = files.clip && !pair && !files.tokenizer.data && files.merges.data;
    if (!pair && !files.clip && !files.tokenizer.data) {
        at_fail(log, AT_ERROR_INPUT, "%s: needs vocab.json and merges.txt, or tokenizer.json", files.name);
        return NULL;
    }
    t = at_calloc(1, sizeof(*t));
    if (!t || !(t->arena = at_arena_create())) {
        at_fail_memory(log, sizeof(*t));
        goto end;
    }
    t->log = log;
    ok = parse(log, &files, &files.vocab, "vocab.json", &s.vocab) &&
         (pair || files.clip || parse(log, &files, &files.tokenizer, "tokenizer.json", &s.tokenizer)) &&
         parse(log, &files, &files.config, "tokenizer_config.json", &s.config) &&
         parse(log, &files, &files.specials, "special_tokens_map.json", &s.specials) && read_all(t, &files, &s);
end:
    at_json_destroy(&s.vocab);
    at_json_destroy(&s.tokenizer);
    at_json_destroy(&s.config);
    at_json_destroy(&s.specials);
    if (!ok)
        at_clip_tokenizer_destroy(&t);
    return t;
}

void at_clip_tokenizer_destroy(struct at_clip_tokenizer **tokenizer)
{
    struct at_clip_tokenizer *t = tokenizer ? *tokenizer : NULL;
    if (!t)
        return;
    at_free(t->entries);
    at_free(t->merges);
    at_arena_destroy(&t->arena);
    at_free(t);
    *tokenizer = NULL;
}
