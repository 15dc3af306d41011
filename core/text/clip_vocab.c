// SPDX-License-Identifier: Apache-2.0
#include "core/text/clip_vocab.h"

#include "core/base/alloc.h"
#include "core/base/utf8.h"

#include <string.h>

// A power of two with at least half of the slots free.
static size_t slots_for(size_t n)
{
    size_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

bool at_clip_entries_reserve(struct at_clip_tokenizer *t, size_t n)
{
    t->entry_slots = slots_for(n);
    t->entries = at_calloc(t->entry_slots, sizeof(*t->entries));
    return t->entries != NULL;
}

bool at_clip_merges_reserve(struct at_clip_tokenizer *t, size_t n)
{
    t->merge_slots = slots_for(n);
    t->merges = at_calloc(t->merge_slots, sizeof(*t->merges));
    for (size_t i = 0; t->merges && i < t->merge_slots; i++)
        t->merges[i].left = -1;
    return t->merges != NULL;
}

// FNV-1a.
static size_t hash_bytes(const char *text, size_t bytes)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return (size_t)(h ^ (h >> 32));
}

static struct at_clip_entry *entry_slot(const struct at_clip_tokenizer *t, const char *text, size_t bytes)
{
    size_t i = hash_bytes(text, bytes) & (t->entry_slots - 1);
    while (t->entries[i].text && (t->entries[i].bytes != bytes || memcmp(t->entries[i].text, text, bytes) != 0))
        i = (i + 1) & (t->entry_slots - 1);
    return &t->entries[i];
}

static struct at_clip_merge *merge_slot(const struct at_clip_tokenizer *t, int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(key >> 32) & (t->merge_slots - 1);
    while (t->merges[i].left >= 0 && (t->merges[i].left != left || t->merges[i].right != right))
        i = (i + 1) & (t->merge_slots - 1);
    return &t->merges[i];
}

bool at_clip_entry_add(struct at_clip_tokenizer *t, const char *text, size_t bytes, int32_t id)
{
    struct at_clip_entry *slot = entry_slot(t, text, bytes);
    if (slot->text)
        return true;
    char *copy = at_arena_alloc(t->arena, bytes + 1);
    if (!copy)
        return false;
    memcpy(copy, text, bytes);
    *slot = (struct at_clip_entry){copy, bytes, id};
    return true;
}

void at_clip_merge_add(struct at_clip_tokenizer *t, const struct at_clip_merge *merge)
{
    struct at_clip_merge *slot = merge_slot(t, merge->left, merge->right);
    if (slot->left < 0)
        *slot = *merge;
}

int32_t at_clip_entry_find(const struct at_clip_tokenizer *t, const char *text, size_t bytes)
{
    const struct at_clip_entry *slot = entry_slot(t, text, bytes);
    return slot->text ? slot->id : -1;
}

const struct at_clip_merge *at_clip_merge_find(const struct at_clip_tokenizer *t, int32_t left, int32_t right)
{
    const struct at_clip_merge *slot = merge_slot(t, left, right);
    return slot->left >= 0 ? slot : NULL;
}

static bool prints(uint32_t b)
{
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

size_t at_clip_byte_text(uint32_t b, char text[8])
{
    uint32_t spare = 256; // bytes that do not print are spelt with characters from here on
    for (uint32_t i = 0; i < b; i++)
        spare += !prints(i);
    return at_utf8_put(text, prints(b) ? b : spare);
}

void at_clip_bytes_fill(struct at_clip_tokenizer *t)
{
    for (uint32_t b = 0; b < 256; b++) {
        char text[8];
        size_t n = at_clip_byte_text(b, text);
        memcpy(text + n, "</w>", 4);
        int32_t inside = at_clip_entry_find(t, text, n), end = at_clip_entry_find(t, text, n + 4);
        t->byte[b] = inside >= 0 ? inside : t->unk;
        t->byte_end[b] = end >= 0 ? end : t->unk;
    }
}
