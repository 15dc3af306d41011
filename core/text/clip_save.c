// SPDX-License-Identifier: Apache-2.0
// Writing a CLIP tokenizer as the files that transformers reads.
#include "core/text/clip_vocab.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/json.h"

#include <stdlib.h>
#include <string.h>

static bool save(struct at_json_doc **doc, const char *dir, const char *name, bool ok)
{
    char *path = *doc ? at_path_join(dir, name) : NULL;
    ok = ok && path && at_json_save(*doc, path, strcmp(name, "vocab.json") != 0);
    at_free(path);
    at_json_destroy(doc);
    return ok;
}

// The text of every id; NULL where there is none.
static const char **list_texts(const struct at_clip_tokenizer *t)
{
    const char **texts = at_calloc((size_t)t->size, sizeof(*texts));
    for (size_t i = 0; texts && i < t->entry_slots; i++)
        if (t->entries[i].text)
            texts[t->entries[i].id] = t->entries[i].text;
    for (int i = 0; texts && i < t->special_count; i++)
        if (t->specials[i].id < t->size && !texts[t->specials[i].id])
            texts[t->specials[i].id] = t->specials[i].text;
    return texts;
}

static bool save_vocab(const struct at_clip_tokenizer *t, const char *const *texts, const char *dir)
{
    struct at_json_doc *doc = at_json_create(t->log, false);
    for (int32_t id = 0; doc && id < t->size; id++)
        if (texts[id])
            at_json_put_int(at_json_root(doc), texts[id], id);
    return save(&doc, dir, "vocab.json", true);
}

static int by_rank(const void *a, const void *b)
{
    const struct at_clip_merge *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static bool save_merges(const struct at_clip_tokenizer *t, const char *const *texts, const char *dir)
{
    struct at_clip_merge *list = at_calloc(t->merge_slots + 1, sizeof(*list));
    char *path = at_path_join(dir, "merges.txt");
    struct at_file_writer *w = path ? at_file_writer_create(t->log, path) : NULL;
    size_t count = 0;
    bool ok = list && w && at_file_writer_put(w, "#version: 0.2\n", 14);
    for (size_t i = 0; ok && i < t->merge_slots; i++)
        if (t->merges[i].left >= 0)
            list[count++] = t->merges[i];
    if (count)
        qsort(list, count, sizeof(*list), by_rank);
    for (size_t i = 0; ok && i < count; i++) {
        const char *left = texts[list[i].left], *right = texts[list[i].right];
        ok = at_file_writer_put(w, left, strlen(left)) && at_file_writer_put(w, " ", 1) &&
             at_file_writer_put(w, right, strlen(right)) && at_file_writer_put(w, "\n", 1);
    }
    ok = ok && at_file_writer_commit(w);
    at_file_writer_destroy(&w);
    at_free(path);
    at_free(list);
    return ok;
}

static void put_special(struct at_json root, const struct at_clip_tokenizer *t, const char *key, const char *text, int32_t id)
{
    bool normalized = false;
    for (int i = 0; i < t->special_count; i++)
        normalized = normalized || (t->specials[i].id == id && t->specials[i].normalized);
    struct at_json v = at_json_put_object(root, key);
    at_json_put_str(v, "content", text);
    at_json_put_bool(v, "normalized", normalized);
}

bool at_clip_tokenizer_save(const struct at_clip_tokenizer *t, const char *dir)
{
    const char **texts = list_texts(t);
    bool ok = texts && at_dir_make(t->log, dir) && save_vocab(t, texts, dir) && save_merges(t, texts, dir);
    struct at_json_doc *config = ok ? at_json_create(t->log, false) : NULL;
    struct at_json_doc *specials = config ? at_json_create(t->log, false) : NULL;
    struct at_json root = at_json_root(specials);
    if (specials) {
        at_json_put_str(at_json_root(config), "tokenizer_class", "CLIPTokenizer");
        at_json_put_int(at_json_root(config), "model_max_length", (int64_t)t->length);
        put_special(root, t, "bos_token", texts[t->bos], t->bos);
        put_special(root, t, "eos_token", texts[t->eos], t->eos);
        put_special(root, t, "unk_token", texts[t->unk], t->unk);
        put_special(root, t, "pad_token", texts[t->pad], t->pad);
    }
    ok = save(&config, dir, "tokenizer_config.json", ok && specials) && save(&specials, dir, "special_tokens_map.json", ok);
    at_json_destroy(&specials);
    at_free(texts);
    return ok || at_fail_unsaid(t->log);
}
