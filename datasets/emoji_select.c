// SPDX-License-Identifier: Apache-2.0
// Which names a model learns.
#include "core/base/alloc.h"
#include "datasets/emoji.h"

#include <math.h>
#include <string.h>

#define THUMB 16 // side of the pictures that are compared

// Headings in order of preference. A subgroup may end in '*'; NULL is any. ending: only captions that end in these
// words. quota 0: no limit. max_words 0: the rule's.
static const struct choice {
    const char *group, *subgroup, *ending;
    size_t quota;
    int max_words;
} choices[] = {
    {"Animals & Nature", NULL, NULL, 0, 0},
    {"Food & Drink", NULL, NULL, 0, 0},
    {"Smileys & Emotion", "heart", "red heart", 0, 0}, // before its look-alikes
    {"Smileys & Emotion", "heart", "heart", 0, 2},
    {"Smileys & Emotion", "face-costume", NULL, 0, 0},
    {"Smileys & Emotion", "face-*", "face", 6, 2},
    {"Travel & Places", "sky & weather", NULL, 18, 1},
    {"Objects", "musical-instrument", NULL, 0, 0},
    {"Activities", "game", NULL, 8, 2},
    {"Activities", "sport", NULL, 8, 2},
    {"Objects", NULL, NULL, 0, 2},
    {"Activities", NULL, NULL, 0, 0},
    {"Travel & Places", NULL, NULL, 0, 0},
};

static bool heading_matches(const struct choice *c, const struct at_emoji *item)
{
    if (strcmp(c->group, item->group) != 0)
        return false;
    size_t n = c->subgroup ? strcspn(c->subgroup, "*") : 0;
    if (c->subgroup && c->subgroup[n] == '*')
        return strncmp(c->subgroup, item->subgroup, n) == 0;
    return !c->subgroup || strcmp(c->subgroup, item->subgroup) == 0;
}

// A drawing that may be taken.
struct candidate {
    size_t index;                   // into the set's items
    double distance;                // to the nearest taken one
    float thumb[THUMB * THUMB * 3]; // on white
    bool taken;
};

struct search {
    struct at_emoji_set *set;
    struct at_emoji_rule rule;
    struct candidate *all; // of the headings visited so far
    size_t count, capacity, taken;
    struct at_log *log;
};

static bool ends_in_words(const char *caption, const char *ending)
{
    size_t n = strlen(caption), m = strlen(ending);
    return n >= m && strcmp(caption + n - m, ending) == 0 && (n == m || caption[n - m - 1] == ' ');
}

static bool eligible(const struct search *s, const struct choice *c, size_t index)
{
    const struct at_emoji *item = &s->set->items[index];
    int words = c->max_words && c->max_words < s->rule.max_words ? c->max_words : s->rule.max_words;
    if (!heading_matches(c, item) || item->words == 0 || item->words > words)
        return false;
    if (c->ending && !ends_in_words(item->caption, c->ending))
        return false;
    for (size_t k = 0; k < s->count; k++)
        if (s->all[k].index == index || strcmp(s->set->items[s->all[k].index].caption, item->caption) == 0)
            return false;
    return true;
}

static double distance(const struct candidate *a, const struct candidate *b)
{
    double between = 0, ink = 1e-9;
    for (int i = 0; i < THUMB * THUMB * 3; i++) {
        double x = a->thumb[i], y = b->thumb[i];
        between += (x - y) * (x - y);
        ink += (1 - x) * (1 - x) + (1 - y) * (1 - y);
    }
    return sqrt(between / ink);
}

// Brings in the drawings under one heading.
static bool gather(struct search *s, const struct choice *c)
{
    for (size_t i = 0; i < s->set->count; i++) {
        if (!eligible(s, c, i))
            continue;
        if (!at_grow((void **)&s->all, &s->capacity, s->count + 1, sizeof(*s->all)))
            return at_fail_memory(s->log, (s->count + 1) * sizeof(*s->all));
        struct candidate *new = &s->all[s->count];
        struct at_emoji_set one = {.count = 1, .items = &s->set->items[i], .source = s->set->source};
        if (!at_emoji_prepare(s->log, &one) || !at_emoji_draw(s->log, one.items, &at_emoji_truth, THUMB, new->thumb))
            return false;
        new->index = i;
        new->taken = false;
        new->distance = INFINITY;
        for (size_t k = 0; k < s->count; k++)
            if (s->all[k].taken)
                new->distance = fmin(new->distance, distance(new, &s->all[k]));
        s->count++;
    }
    return true;
}

// Takes from the drawings brought in since `first`, the most different one each time.
static void take(struct search *s, size_t first, size_t quota)
{
    while (quota-- > 0 && s->taken < s->rule.count) {
        struct candidate *best = NULL;
        for (size_t k = first; k < s->count; k++)
            if (!s->all[k].taken && (!best || s->all[k].distance > best->distance))
                best = &s->all[k];
        if (!best || best->distance < s->rule.distance)
            return;
        best->taken = true;
        s->taken++;
        for (size_t k = first; k < s->count; k++)
            if (!s->all[k].taken)
                s->all[k].distance = fmin(s->all[k].distance, distance(&s->all[k], best));
    }
}

// Moves what was taken to the front, in the table's order, and frees the drawings of the rest.
static void keep_only_taken(struct search *s)
{
    struct at_emoji_set *set = s->set;
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++) {
        bool taken = false;
        for (size_t k = 0; k < s->count && !taken; k++)
            taken = s->all[k].taken && s->all[k].index == i;
        if (taken)
            set->items[kept++] = set->items[i];
        else
            at_free(set->items[i].glyph.rgba);
    }
    set->count = kept;
}

bool at_emoji_select(struct at_log *log, struct at_emoji_set *set, const struct at_emoji_rule *rule)
{
    struct search s = {.set = set, .rule = *rule, .log = log};
    s.rule.count = s.rule.count ? s.rule.count : 320;
    s.rule.max_words = s.rule.max_words ? s.rule.max_words : 3;
    s.rule.distance = s.rule.distance > 0 ? s.rule.distance : 0.25;
    bool ok = true;
    for (size_t c = 0; ok && c < sizeof(choices) / sizeof(choices[0]) && s.taken < s.rule.count; c++) {
        size_t first = s.count;
        ok = gather(&s, &choices[c]);
        if (ok)
            take(&s, first, choices[c].quota ? choices[c].quota : s.rule.count);
    }
    if (ok && s.taken == 0)
        ok = at_fail(log, AT_ERROR_INPUT, "no emoji meets the rule (at most %d words, distance %g)", s.rule.max_words,
                     s.rule.distance);
    if (ok && s.taken < s.rule.count)
        at_warn(log, "only %zu emoji meet the rule, %zu were asked for", s.taken, s.rule.count);
    if (ok)
        keep_only_taken(&s);
    at_free(s.all);
    return ok;
}
