// SPDX-License-Identifier: Apache-2.0
#include "datasets/bpe.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/utf8.h"
#include "core/io/file.h"
#include "core/io/json.h"
#include "core/text/clip_tokenizer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, ALPHABET = 2 * BYTES, MAX_TOKENS = 1 << 20 };

static const char *const start_token = "<|startoftext|>", *const end_token = "<|endoftext|>", *const word_end = "</w>";

// A number for each pair of ids, by open addressing.
struct pair {
    int32_t left, right; // left < 0: a free slot
    int64_t value;
};

struct pairs {
    struct pair *slots;
    size_t capacity, count; // capacity: a power of two
};

struct merge {
    int32_t left, right, result;
};

// A word that occurs in the captions, as it stands after the merges so far.
struct word {
    size_t first; // in the trainer's symbols
    int32_t *symbols;
    size_t length;
    int64_t count;
};

struct at_bpe {
    struct at_log *log;
    struct at_arena *arena; // texts of the tokens
    const char **tokens;
    size_t token_count, token_capacity;
    struct merge *merges;
    size_t merge_count, merge_capacity;
};

struct trainer {
    struct at_bpe *bpe;
    int32_t *symbols; // of all captions
    size_t symbol_count, symbol_capacity;
    struct word *words;
    size_t word_count, word_capacity;
    struct pairs ranks, counts; // index of a pair's merge; occurrences of a pair
};

static struct pair *pair_slot(const struct pairs *pairs, int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(key >> 32) & (pairs->capacity - 1);
    while (pairs->slots[i].left >= 0 && (pairs->slots[i].left != left || pairs->slots[i].right != right))
        i = (i + 1) & (pairs->capacity - 1);
    return &pairs->slots[i];
}

static bool pairs_init(struct pairs *pairs, size_t capacity)
{
    *pairs = (struct pairs){.slots = at_calloc(capacity, sizeof(*pairs->slots)), .capacity = capacity};
    for (size_t i = 0; pairs->slots && i < capacity; i++)
        pairs->slots[i].left = -1;
    return pairs->slots != NULL;
}

// The slot of a pair, a new one with value 0 if there is none yet; NULL when out of memory.
static struct pair *pair_add(struct pairs *pairs, int32_t left, int32_t right)
{
    if (2 * pairs->count >= pairs->capacity) {
        struct pairs bigger;
        if (!pairs_init(&bigger, pairs->capacity ? 2 * pairs->capacity : 1024))
            return NULL;
        for (size_t i = 0; i < pairs->capacity; i++)
            if (pairs->slots[i].left >= 0)
                *pair_slot(&bigger, pairs->slots[i].left, pairs->slots[i].right) = pairs->slots[i];
        bigger.count = pairs->count;
        at_free(pairs->slots);
        *pairs = bigger;
    }
    struct pair *slot = pair_slot(pairs, left, right);
    if (slot->left < 0) {
        *slot = (struct pair){left, right, 0};
        pairs->count++;
    }
    return slot;
}

static void pairs_clear(struct pairs *pairs)
{
    for (size_t i = 0; i < pairs->capacity; i++)
        pairs->slots[i].left = -1;
    pairs->count = 0;
}

// Adds a token of two texts joined, or finds it; *id is its number.
static bool add_token(struct at_bpe *bpe, const char *left, const char *right, int32_t *id)
{
    size_t m = strlen(left), n = strlen(right);
    for (size_t i = 0; i < bpe->token_count; i++) {
        const char *token = bpe->tokens[i];
        if (strncmp(token, left, m) == 0 && strcmp(token + m, right) == 0) {
            *id = (int32_t)i;
            return true;
        }
    }
    if (bpe->token_count == MAX_TOKENS)
        return at_fail(bpe->log, AT_ERROR_INPUT, "tokenizer: more than %d tokens; set a limit on merges", MAX_TOKENS);
    char *text = at_arena_alloc(bpe->arena, m + n + 1);
    if (!text || !at_grow((void **)&bpe->tokens, &bpe->token_capacity, bpe->token_count + 1, sizeof(*bpe->tokens)))
        return at_fail_memory(bpe->log, m + n);
    memcpy(text, left, m);
    memcpy(text + m, right, n + 1);
    *id = (int32_t)bpe->token_count;
    bpe->tokens[bpe->token_count++] = text;
    return true;
}

// CLIP's spelling of bytes: those that print as themselves, then the rest with the characters from U+0100 on.
static bool add_alphabet(struct at_bpe *bpe)
{
    for (uint32_t i = 0; i < ALPHABET; i++) {
        uint32_t k = i % BYTES, code = k < 94    ? 33 + k
                                       : k < 106 ? 161 + k - 94
                                       : k < 188 ? 174 + k - 106
                                                 : 256 + k - 188;
        char text[5] = {0};
        int32_t id;
        at_utf8_put(text, code);
        if (!add_token(bpe, text, i < BYTES ? "" : word_end, &id))
            return false;
    }
    return true;
}

static struct at_json_doc *vocabulary(const struct at_bpe *bpe)
{
    struct at_json_doc *doc = at_json_create(bpe->log, false);
    if (!doc)
        return NULL;
    for (size_t i = 0; i < bpe->token_count; i++)
        at_json_put_int(at_json_root(doc), bpe->tokens[i], (int64_t)i);
    at_json_put_int(at_json_root(doc), start_token, (int64_t)bpe->token_count);
    at_json_put_int(at_json_root(doc), end_token, (int64_t)bpe->token_count + 1);
    return doc;
}

// The tokenizer without merges: it splits texts into words and words into the alphabet.
static struct at_clip_tokenizer *speller(const struct at_bpe *bpe)
{
    struct at_json_doc *doc = vocabulary(bpe);
    char *text = doc ? at_json_text(doc, false) : NULL;
    struct at_clip_tokenizer *t = NULL;
    if (text) {
        struct at_clip_files files = {.vocab = {text, strlen(text)}, .merges = {"", 0}, .name = "alphabet"};
        t = at_clip_tokenizer_create_from_memory(&files, bpe->log);
    }
    at_free(text);
    at_json_destroy(&doc);
    return t;
}

// Appends the words of a caption.
static bool add_caption(struct trainer *t, const struct at_clip_tokenizer *spell, const char *caption)
{
    struct at_log *log = t->bpe->log;
    struct at_clip_encoding e;
    int32_t two[2];
    if (!at_clip_tokenizer_encode(spell, caption, strlen(caption), two, 2, &e))
        return false;
    if (!at_grow((void **)&t->symbols, &t->symbol_capacity, t->symbol_count + e.tokens, sizeof(*t->symbols)))
        return at_fail_memory(log, e.tokens * sizeof(*t->symbols));
    int32_t *ids = t->symbols + t->symbol_count;
    if (!at_clip_tokenizer_encode(spell, caption, strlen(caption), ids, e.tokens, &e))
        return false;
    size_t first = 0; // of the word
    for (size_t i = 0; i < e.tokens; i++) {
        bool special = ids[i] >= ALPHABET;
        if (!special && ids[i] < BYTES)
            continue;
        if (!special) {
            if (!at_grow((void **)&t->words, &t->word_capacity, t->word_count + 1, sizeof(*t->words)))
                return at_fail_memory(log, sizeof(*t->words));
            t->words[t->word_count++] =
                (struct word){.first = t->symbol_count + first, .length = i + 1 - first, .count = 1};
        }
        first = i + 1;
    }
    t->symbol_count += e.tokens;
    return true;
}

static int by_symbols(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    size_t n = (x->length < y->length ? x->length : y->length) * sizeof(*x->symbols);
    int order = memcmp(x->symbols, y->symbols, n);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

static bool collect_words(struct trainer *t, const struct at_bpe_params *p)
{
    struct at_clip_tokenizer *spell = speller(t->bpe);
    bool ok = spell != NULL;
    for (size_t i = 0; ok && i < p->count; i++)
        ok = add_caption(t, spell, p->captions[i]);
    at_clip_tokenizer_destroy(&spell);
    if (!ok || t->word_count == 0)
        return ok && at_fail(t->bpe->log, AT_ERROR_INPUT, "tokenizer: no words in the %zu captions", p->count);
    for (size_t i = 0; i < t->word_count; i++)
        t->words[i].symbols = t->symbols + t->words[i].first;
    qsort(t->words, t->word_count, sizeof(*t->words), by_symbols);
    size_t kept = 0;
    for (size_t i = 1; i < t->word_count; i++) {
        if (by_symbols(&t->words[kept], &t->words[i]) == 0)
            t->words[kept].count++;
        else
            t->words[++kept] = t->words[i];
    }
    t->word_count = kept + 1;
    return true;
}

// Applies the merges to a word as the tokenizer does: the earliest merge first, leftmost among equals.
static void merge_word(const struct trainer *t, struct word *w)
{
    while (w->length > 1) {
        size_t at = 0;
        int64_t best = INT64_MAX;
        for (size_t i = 0; i + 1 < w->length; i++) {
            const struct pair *rank = pair_slot(&t->ranks, w->symbols[i], w->symbols[i + 1]);
            if (rank->left >= 0 && rank->value < best) {
                best = rank->value;
                at = i;
            }
        }
        if (best == INT64_MAX)
            return;
        w->symbols[at] = t->bpe->merges[best].result;
        memmove(w->symbols + at + 1, w->symbols + at + 2, (w->length - at - 2) * sizeof(*w->symbols));
        w->length--;
    }
}

// The most frequent pair of neighbours into *best; left < 0 if every word is one token.
static bool count_pairs(struct trainer *t, struct pair *best)
{
    pairs_clear(&t->counts);
    *best = (struct pair){.left = -1};
    for (size_t i = 0; i < t->word_count; i++) {
        for (size_t k = 0; k + 1 < t->words[i].length; k++) {
            struct pair *p = pair_add(&t->counts, t->words[i].symbols[k], t->words[i].symbols[k + 1]);
            if (!p)
                return at_fail_memory(t->bpe->log, t->counts.capacity * sizeof(*p));
            p->value += t->words[i].count;
        }
    }
    for (size_t i = 0; i < t->counts.capacity; i++) {
        const struct pair *p = &t->counts.slots[i];
        bool lower = p->left < best->left || (p->left == best->left && p->right < best->right);
        if (p->left >= 0 && (p->value > best->value || (p->value == best->value && lower)))
            *best = *p;
    }
    return true;
}

static bool add_merge(struct trainer *t, const struct pair *pair)
{
    struct at_bpe *bpe = t->bpe;
    struct merge merge = {.left = pair->left, .right = pair->right};
    if (!add_token(bpe, bpe->tokens[pair->left], bpe->tokens[pair->right], &merge.result))
        return false;
    struct pair *rank = pair_add(&t->ranks, pair->left, pair->right);
    if (!rank || !at_grow((void **)&bpe->merges, &bpe->merge_capacity, bpe->merge_count + 1, sizeof(merge)))
        return at_fail_memory(bpe->log, sizeof(merge));
    rank->value = (int64_t)bpe->merge_count;
    bpe->merges[bpe->merge_count++] = merge;
    return true;
}

static bool learn(struct trainer *t, size_t max_merges)
{
    while (max_merges == 0 || t->bpe->merge_count < max_merges) {
        struct pair best;
        if (!count_pairs(t, &best))
            return false;
        if (best.left < 0)
            return true;
        if (!add_merge(t, &best))
            return false;
        for (size_t i = 0; i < t->word_count; i++)
            merge_word(t, &t->words[i]);
    }
    return true;
}

struct at_bpe *at_bpe_train(struct at_log *log, const struct at_bpe_params *params)
{
    struct at_bpe *bpe = at_calloc(1, sizeof(*bpe));
    struct trainer t = {.bpe = bpe};
    bool ok = bpe != NULL && (bpe->arena = at_arena_create()) != NULL;
    if (!ok)
        at_fail_memory(log, sizeof(*bpe));
    if (ok) {
        bpe->log = log;
        ok = (pairs_init(&t.ranks, 1024) && pairs_init(&t.counts, 1024)) || at_fail_memory(log, sizeof(struct pair));
    }
    ok = ok && add_alphabet(bpe) && collect_words(&t, params) && learn(&t, params->max_merges);
    at_free(t.symbols);
    at_free(t.words);
    at_free(t.ranks.slots);
    at_free(t.counts.slots);
    if (!ok)
        at_bpe_destroy(&bpe);
    return bpe;
}

void at_bpe_destroy(struct at_bpe **bpe)
{
    struct at_bpe *b = bpe ? *bpe : NULL;
    if (!b)
        return;
    at_arena_destroy(&b->arena);
    at_free(b->tokens);
    at_free(b->merges);
    at_free(b);
    *bpe = NULL;
}

size_t at_bpe_size(const struct at_bpe *bpe)
{
    return bpe->token_count + 2;
}

size_t at_bpe_merges(const struct at_bpe *bpe)
{
    return bpe->merge_count;
}

// Saves a document under a name in a folder and destroys it.
static bool save_json(struct at_json_doc *doc, const char *dir, const char *name)
{
    char *path = doc ? at_path_join(dir, name) : NULL;
    bool ok = path && at_json_save(doc, path, true);
    at_free(path);
    at_json_destroy(&doc);
    return ok;
}

static void put_specials(struct at_json into)
{
    at_json_put_str(into, "bos_token", start_token);
    at_json_put_str(into, "eos_token", end_token);
    at_json_put_str(into, "pad_token", end_token);
    at_json_put_str(into, "unk_token", end_token);
}

static struct at_json_doc *special_tokens(struct at_log *log)
{
    struct at_json_doc *doc = at_json_create(log, false);
    if (doc)
        put_specials(at_json_root(doc));
    return doc;
}

static struct at_json_doc *tokenizer_config(struct at_log *log, int length)
{
    struct at_json_doc *doc = at_json_create(log, false);
    if (!doc)
        return NULL;
    struct at_json root = at_json_root(doc);
    at_json_put_bool(root, "add_prefix_space", false);
    put_specials(root);
    at_json_put_bool(root, "do_lower_case", true);
    at_json_put_str(root, "errors", "replace");
    at_json_put_int(root, "model_max_length", length);
    at_json_put_str(root, "tokenizer_class", "CLIPTokenizer");
    return doc;
}

static bool save_merges(const struct at_bpe *bpe, const char *dir)
{
    char *path = at_path_join(dir, "merges.txt");
    struct at_file_writer *w = path ? at_file_writer_create(bpe->log, path) : NULL;
    static const char head[] = "#version: 0.2\n";
    bool ok = w && at_file_writer_put(w, head, strlen(head));
    for (size_t i = 0; ok && i < bpe->merge_count; i++) {
        const char *left = bpe->tokens[bpe->merges[i].left], *right = bpe->tokens[bpe->merges[i].right];
        ok = at_file_writer_put(w, left, strlen(left)) && at_file_writer_put(w, " ", 1) &&
             at_file_writer_put(w, right, strlen(right)) && at_file_writer_put(w, "\n", 1);
    }
    ok = ok && at_file_writer_commit(w);
    at_file_writer_destroy(&w);
    at_free(path);
    return ok;
}

// Whether the folder is not there, or holds no more than a tokenizer.
static bool may_replace(struct at_log *log, const char *dir)
{
    static const char *const own[] = {
        "vocab.json",       "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json"};
    char **names = NULL;
    size_t count = 0;
    bool ok = true;
    if (!at_dir_exists(dir))
        return at_dir_writable(log, dir);
    if (!at_dir_list(log, dir, &names, &count))
        return false;
    for (size_t i = 0; ok && i < count; i++) {
        ok = false;
        for (size_t k = 0; k < sizeof(own) / sizeof(own[0]); k++)
            ok = ok || strcmp(names[i], own[k]) == 0;
        if (!ok)
            at_fail(log, AT_ERROR_INPUT, "%s: holds %s, which is not of a tokenizer; choose a folder of its own", dir,
                    names[i]);
    }
    at_names_free(&names, count);
    return ok;
}

bool at_bpe_save(const struct at_bpe *bpe, const char *dir, int length)
{
    if (length < 3)
        return at_fail(bpe->log, AT_ERROR_USAGE, "tokenizer: a length of %d leaves no room for text; use 3 or more",
                       length);
    if (!may_replace(bpe->log, dir))
        return false;
    char *part = at_dir_replace_begin(bpe->log, dir);
    bool ok = part && save_json(vocabulary(bpe), part, "vocab.json") && save_merges(bpe, part) &&
              save_json(tokenizer_config(bpe->log, length), part, "tokenizer_config.json") &&
              save_json(special_tokens(bpe->log), part, "special_tokens_map.json") &&
              at_dir_replace_commit(bpe->log, dir);
    if (part && !ok && !at_path_remove(bpe->log, part))
        at_warn(bpe->log, "%s: an unfinished folder is left", part);
    at_free(part);
    return ok;
}
