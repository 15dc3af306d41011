// SPDX-License-Identifier: Apache-2.0
#include "pipelines/rewards/truth.h"

#include "core/base/alloc.h"
#include "core/base/suggest.h"

#include <string.h>

#define DRAW_SIDE 128 // pixels a true picture is drawn with before it is reduced

struct at_truth {
    struct at_emoji_set *set;
    float *pictures; // (set->count, 16, 16, 3)
};

// How much of pixel i (of `from`) lies in cell c (of `to`), in pixels.
static double share(int i, int c, int from, int to)
{
    double cell = (double)from / to, low = c * cell, high = low + cell;
    double a = i > low ? i : low, b = i + 1 < high ? i + 1 : high;
    return b > a ? b - a : 0;
}

static void reduce_cell(const float *rgb, int width, int height, int cx, int cy, double sum[3])
{
    int x0 = cx * width / AT_TRUTH_SIDE, x1 = ((cx + 1) * width - 1) / AT_TRUTH_SIDE;
    int y0 = cy * height / AT_TRUTH_SIDE, y1 = ((cy + 1) * height - 1) / AT_TRUTH_SIDE;
    double area = 0;
    sum[0] = sum[1] = sum[2] = 0;
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            double part = share(x, cx, width, AT_TRUTH_SIDE) * share(y, cy, height, AT_TRUTH_SIDE);
            const float *p = rgb + 3 * ((size_t)y * (size_t)width + (size_t)x);
            area += part;
            for (int c = 0; c < 3; c++)
                sum[c] += part * (double)p[c];
        }
    for (int c = 0; c < 3; c++)
        sum[c] /= area;
}

void at_truth_reduce(const float *rgb, int width, int height, float *out)
{
    for (int y = 0; y < AT_TRUTH_SIDE; y++)
        for (int x = 0; x < AT_TRUTH_SIDE; x++) {
            double mean[3];
            reduce_cell(rgb, width, height, x, y, mean);
            for (int c = 0; c < 3; c++)
                out[3 * (y * AT_TRUTH_SIDE + x) + c] = (float)mean[c];
        }
}

double at_truth_error(const float *a, const float *b)
{
    double sum = 0;
    for (int i = 0; i < AT_TRUTH_VALUES; i++) {
        double d = 2 * ((double)a[i] - (double)b[i]); // 0 .. 1 to -1 .. 1
        sum += d * d;
    }
    return sum / AT_TRUTH_VALUES;
}

static bool draw_all(struct at_log *log, struct at_truth *truth)
{
    float *large = at_calloc((size_t)DRAW_SIDE * DRAW_SIDE * 3, sizeof(*large));
    truth->pictures = at_calloc(truth->set->count * AT_TRUTH_VALUES, sizeof(*truth->pictures));
    bool ok = (large && truth->pictures) || at_fail_memory(log, truth->set->count * AT_TRUTH_VALUES * sizeof(float));
    for (size_t i = 0; ok && i < truth->set->count; i++) {
        ok = at_emoji_draw(log, &truth->set->items[i], &at_emoji_truth, DRAW_SIDE, large);
        if (ok)
            at_truth_reduce(large, DRAW_SIDE, DRAW_SIDE, truth->pictures + i * AT_TRUTH_VALUES);
    }
    at_free(large);
    return ok;
}

struct at_truth *at_truth_open(struct at_log *log, const struct at_emoji_rule *rule)
{
    static const struct at_emoji_rule embedded = {0};
    struct at_truth *truth = at_calloc(1, sizeof(*truth));
    if (!truth) {
        (void)at_fail_memory(log, sizeof(*truth));
        return NULL;
    }
    truth->set = at_emoji_open(log, &(struct at_emoji_params){0});
    if (!truth->set || !at_emoji_select(log, truth->set, rule ? rule : &embedded) || !draw_all(log, truth))
        at_truth_close(&truth);
    return truth;
}

void at_truth_close(struct at_truth **truth)
{
    if (!*truth)
        return;
    at_emoji_close(&(*truth)->set);
    at_free((*truth)->pictures);
    at_free(*truth);
    *truth = NULL;
}

const struct at_emoji_set *at_truth_names(const struct at_truth *truth)
{
    return truth->set;
}

static void fail_unknown(struct at_log *log, const struct at_truth *truth, const char *prompt)
{
    const char **names = at_calloc(truth->set->count, sizeof(*names));
    const char *near = NULL;
    for (size_t i = 0; names && i < truth->set->count; i++)
        names[i] = truth->set->items[i].caption;
    if (names)
        near = at_suggest(prompt, names, truth->set->count);
    (void)at_fail(log, AT_ERROR_INPUT,
                  "prompt \"%s\": no true picture to compare with; use one of the %zu emoji names that the embedded "
                  "model learned%s%s%s",
                  prompt, truth->set->count, near ? ", such as \"" : "", near ? near : "", near ? "\"" : "");
    at_free(names);
}

const float *at_truth_find(struct at_log *log, const struct at_truth *truth, const char *prompt)
{
    const struct at_emoji *item = at_emoji_find(truth->set, prompt);
    if (!item) {
        fail_unknown(log, truth, prompt);
        return NULL;
    }
    return truth->pictures + (size_t)(item - truth->set->items) * AT_TRUTH_VALUES;
}

size_t at_truth_rank(struct at_log *log, const struct at_truth *truth, const char *prompt, const float *rgb, int width,
                     int height)
{
    const float *right = at_truth_find(log, truth, prompt);
    if (!right)
        return 0;
    float small[AT_TRUTH_VALUES];
    at_truth_reduce(rgb, width, height, small);
    double own = at_truth_error(small, right);
    size_t rank = 1;
    for (size_t i = 0; i < truth->set->count; i++) {
        const float *other = truth->pictures + i * AT_TRUTH_VALUES;
        rank += other != right && at_truth_error(small, other) <= own;
    }
    return rank;
}
