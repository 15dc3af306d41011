// SPDX-License-Identifier: Apache-2.0
// Encoding: special tokens, normalisation, splitting, merging.
#include "core/text/clip_tokenizer.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"
#include "core/text/clip_vocab.h"
#include "core/text/unicode.h"

#include <limits.h>
#include <string.h>

struct encoder {
    const struct at_clip_tokenizer *t;
    int32_t *ids;                             // content tokens only
    size_t room;                              // for that many
    size_t count;                             // tokens so far, kept or not
    size_t cut;                               // source byte of the first token that found no room
    struct at_char *plain, *composed, *lower; // scratch; see reserve
    int32_t *symbol, *rank;                   // of one word; rank of the merge with the next
    uint32_t *at;                             // source byte of each symbol
};

static void put(struct encoder *e, int32_t id, size_t at)
{
    if (e->count < e->room)
        e->ids[e->count] = id;
    else if (e->count == e->room)
        e->cut = at;
    e->count++;
}

static int32_t rank_of(const struct encoder *e, size_t i)
{
    const struct at_clip_merge *merge = at_clip_merge_find(e->t, e->symbol[i], e->symbol[i + 1]);
    return merge ? merge->rank : INT32_MAX;
}

// Merges the n symbols of a word, best rank first and leftmost among equals, and puts what is left.
static void merge_word(struct encoder *e, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        e->rank[i] = rank_of(e, i);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (e->rank[i] < e->rank[best])
                best = i;
        if (e->rank[best] == INT32_MAX)
            break;
        e->symbol[best] = at_clip_merge_find(e->t, e->symbol[best], e->symbol[best + 1])->id;
        size_t rest = n - best - 2; // symbols after the pair
        memmove(e->symbol + best + 1, e->symbol + best + 2, rest * sizeof(*e->symbol));
        memmove(e->at + best + 1, e->at + best + 2, rest * sizeof(*e->at));
        memmove(e->rank + best, e->rank + best + 1, rest * sizeof(*e->rank));
        n--;
        if (best + 1 < n)
            e->rank[best] = rank_of(e, best);
        if (best > 0)
            e->rank[best - 1] = rank_of(e, best - 1);
    }
    for (size_t i = 0; i < n; i++)
        put(e, e->symbol[i], e->at[i]);
}

static void put_word(struct encoder *e, const struct at_char *text, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        char utf8[4];
        size_t width = at_utf8_put(utf8, text[i].code);
        for (size_t k = 0; k < width; k++) {
            bool last = i + 1 == n && k + 1 == width;
            unsigned char b = (unsigned char)utf8[k];
            e->symbol[bytes] = last ? e->t->byte_end[b] : e->t->byte[b];
            e->at[bytes++] = text[i].at;
        }
    }
    merge_word(e, bytes);
}

// Characters of `what` (ASCII) that stand at the start of text: all of them, or 0.
static size_t match(const struct at_char *text, size_t n, const char *what)
{
    size_t length = strlen(what);
    for (size_t i = 0; i < length; i++)
        if (i >= n || text[i].code != (unsigned char)what[i])
            return 0;
    return length;
}

static size_t contraction(const struct at_char *text, size_t n)
{
    static const char *const all[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    size_t length = 0;
    for (size_t i = 0; !length && i < sizeof(all) / sizeof(all[0]); i++)
        length = match(text, n, all[i]);
    return length;
}

static bool is_other(uint32_t code)
{
    return !at_unicode_is_space(code) && !at_unicode_is_letter(code) && !at_unicode_is_number(code);
}

// Length of the word at the start of text, which is not a space.
static size_t word_length(const struct at_char *text, size_t n)
{
    size_t length = contraction(text, n);
    if (length)
        return length;
    length = 1;
    if (at_unicode_is_number(text[0].code))
        return 1;
    bool letter = at_unicode_is_letter(text[0].code);
    while (length < n && (letter ? at_unicode_is_letter(text[length].code) : is_other(text[length].code)))
        length++;
    return length;
}

static void split(struct encoder *e, const struct at_char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        if (at_unicode_is_space(text[i].code)) {
            i++;
            continue;
        }
        // The names of the special tokens, where they are not special (say in capitals), stand apart in three words.
        size_t literal = match(text + i, n - i, "<|startoftext|>");
        literal = literal ? literal : match(text + i, n - i, "<|endoftext|>");
        if (literal) {
            put_word(e, text + i, 2);
            put_word(e, text + i + 2, literal - 4);
            put_word(e, text + i + literal - 2, 2);
        }
        size_t length = literal ? literal : word_length(text + i, n - i);
        if (!literal)
            put_word(e, text + i, length);
        i += length;
    }
}

// The longest special token at the start of text, or NULL; *length in characters.
static const struct at_clip_special *special_at(const struct encoder *e, const struct at_char *text, size_t n,
                                                bool normalized, size_t *length)
{
    const struct at_clip_special *best = NULL;
    for (int s = 0; s < e->t->special_count; s++) {
        const struct at_clip_special *special = &e->t->specials[s];
        size_t used = 0, i = 0;
        while (special->normalized == normalized && used < special->bytes && i < n) {
            uint32_t code;
            size_t width = at_utf8_step(special->text + used, special->bytes - used, &code);
            if (width == 0 || code != text[i].code)
                break;
            used += width;
            i++;
        }
        if (used == special->bytes && special->normalized == normalized && (!best || special->bytes > best->bytes)) {
            best = special;
            *length = i;
        }
    }
    return best;
}

// Hands the stretches between special tokens to `next`, and puts the tokens themselves.
static void between_specials(struct encoder *e, const struct at_char *text, size_t n, bool normalized,
                             void (*next)(struct encoder *, const struct at_char *, size_t))
{
    size_t start = 0;
    for (size_t i = 0; i < n;) {
        size_t length = 0;
        const struct at_clip_special *special = special_at(e, text + i, n - i, normalized, &length);
        if (!special) {
            i++;
            continue;
        }
        next(e, text + start, i - start);
        put(e, special->id, text[i].at);
        i += length;
        start = i;
    }
    next(e, text + start, n - start);
}

static void normalize(struct encoder *e, const struct at_char *text, size_t n)
{
    size_t length = at_unicode_nfc(text, n, e->composed), lowered = 0;
    for (size_t i = 0; i < length; i++) {
        uint32_t code[2];
        size_t k = at_unicode_lower(e->composed[i].code, code);
        for (size_t j = 0; j < k; j++)
            e->lower[lowered++] = (struct at_char){code[j], e->composed[i].at};
    }
    between_specials(e, e->lower, lowered, true, split);
}

static size_t decode(const char *text, size_t bytes, struct at_char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes;) {
        uint32_t code;
        size_t width = at_utf8_step(text + i, bytes - i, &code);
        out[n++] = (struct at_char){width ? code : 0xfffd, (uint32_t)i};
        i += width ? width : 1;
    }
    return n;
}

// A text of n bytes has at most n characters, AT_NFC_GROWTH times that after NFC, twice that in lower case, and four
// bytes for each of these.
static void *reserve(struct encoder *e, size_t n)
{
    size_t nfc = AT_NFC_GROWTH * n, low = 2 * nfc, bytes = 4 * low;
    char *block = at_calloc((n + nfc + low) * sizeof(struct at_char) + 3 * bytes * sizeof(int32_t) + 1, 1);
    if (!block)
        return NULL;
    e->plain = (struct at_char *)(void *)block;
    e->composed = e->plain + n;
    e->lower = e->composed + nfc;
    e->symbol = (int32_t *)(void *)(e->lower + low);
    e->rank = e->symbol + bytes;
    e->at = (uint32_t *)(void *)(e->rank + bytes);
    return block;
}

bool at_clip_tokenizer_encode(const struct at_clip_tokenizer *t, const char *text, size_t bytes, int32_t *ids,
                              size_t max, struct at_clip_encoding *out)
{
    struct encoder e = {.t = t, .ids = ids + 1, .room = max - 2, .cut = bytes};
    if (max < 2)
        return at_fail(t->log, AT_ERROR_USAGE, "a token sequence needs room for its start and end");
    if (bytes > AT_CLIP_TEXT_MAX)
        return at_fail(t->log, AT_ERROR_INPUT, "the text has %zu bytes; at most %d are taken (\"%.40s...\")", bytes,
                       AT_CLIP_TEXT_MAX, text);
    void *scratch = reserve(&e, bytes);
    if (!scratch)
        return at_fail_memory(t->log, bytes);
    between_specials(&e, e.plain, decode(text, bytes, e.plain), false, normalize);
    at_free(scratch);
    size_t kept = e.count < e.room ? e.count : e.room;
    ids[0] = t->bos;
    ids[1 + kept] = t->eos;
    for (size_t i = kept + 2; i < max; i++)
        ids[i] = t->pad;
    *out = (struct at_clip_encoding){.tokens = e.count + 2, .cut = e.cut};
    return true;
}

size_t at_clip_tokenizer_length(const struct at_clip_tokenizer *t)
{
    return t->length;
}

int32_t at_clip_tokenizer_bos(const struct at_clip_tokenizer *t)
{
    return t->bos;
}

int32_t at_clip_tokenizer_eos(const struct at_clip_tokenizer *t)
{
    return t->eos;
}

int32_t at_clip_tokenizer_pad(const struct at_clip_tokenizer *t)
{
    return t->pad;
}

int32_t at_clip_tokenizer_size(const struct at_clip_tokenizer *t)
{
    return t->size;
}
