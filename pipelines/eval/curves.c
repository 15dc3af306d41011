// SPDX-License-Identifier: Apache-2.0
#include "pipelines/eval/curves.h"

#include "core/base/alloc.h"
#include "core/io/file.h"
#include "core/io/jsonl.h"

#include <math.h>
#include <string.h>

void at_curve_finish(struct at_curve *curve)
{
    at_free(curve->name);
    at_free(curve->steps);
    at_free(curve->values);
    *curve = (struct at_curve){0};
}

void at_curves_finish(struct at_curves *curves)
{
    for (size_t i = 0; i < curves->count; i++)
        at_curve_finish(&curves->list[i]);
    curves->count = 0;
}

const struct at_curve *at_curves_find(const struct at_curves *curves, const char *name)
{
    for (size_t i = 0; i < curves->count; i++)
        if (strcmp(curves->list[i].name, name) == 0)
            return &curves->list[i];
    return NULL;
}

double at_curves_last(const struct at_curves *curves, const char *name)
{
    const struct at_curve *curve = at_curves_find(curves, name);
    return curve && curve->count ? curve->values[curve->count - 1] : NAN;
}

static bool add_value(struct at_log *log, struct at_curve *curve, double step, double value)
{
    if (!at_grow((void **)&curve->steps, &curve->capacity, curve->count + 1, sizeof(double)) ||
        !at_grow((void **)&curve->values, &curve->values_capacity, curve->count + 1, sizeof(double)))
        return at_fail_memory(log, (curve->count + 1) * sizeof(double));
    curve->steps[curve->count] = step;
    curve->values[curve->count++] = value;
    return true;
}

static bool add_number(struct at_log *log, struct at_curves *curves, const char *name, double step, double value)
{
    size_t i = 0;
    while (i < curves->count && strcmp(curves->list[i].name, name) != 0)
        i++;
    if (i == AT_CURVES)
        return true;
    if (i == curves->count) {
        curves->list[i].name = at_strdup(name);
        if (!curves->list[i].name)
            return at_fail_memory(log, strlen(name));
        curves->count++;
    }
    return add_value(log, &curves->list[i], step, value);
}

static bool add_row(struct at_log *log, struct at_curves *curves, struct at_json row)
{
    double step, value;
    struct at_json first;
    bool ok = at_json_need(row, "step", &first) && at_json_as_num(first, &step);
    for (struct at_json v = at_json_first(row); ok && v.item; v = at_json_next(v))
        if (at_json_is_number(v) && strcmp(at_json_key(v), "step") != 0)
            ok = at_json_as_num(v, &value) && add_number(log, curves, at_json_key(v), step, value);
    return ok;
}

bool at_curves_read(struct at_log *log, const char *run, struct at_curves *curves)
{
    *curves = (struct at_curves){0};
    char *path = at_path_join(run, "metrics.jsonl");
    if (!path)
        return at_fail_memory(log, strlen(run));
    struct at_jsonl *lines = at_jsonl_open(log, path);
    struct at_json row;
    enum at_jsonl_step step = AT_JSONL_END;
    bool ok = lines != NULL;
    while (ok && (step = at_jsonl_next(lines, &row)) == AT_JSONL_ROW)
        ok = add_row(log, curves, row);
    ok = ok && step == AT_JSONL_END;
    at_jsonl_destroy(&lines);
    at_free(path);
    if (!ok)
        at_curves_finish(curves);
    return ok;
}

bool at_curve_smooth(struct at_log *log, const struct at_curve *curve, size_t window, struct at_curve *out)
{
    *out = (struct at_curve){0};
    bool ok = true;
    for (size_t i = 0; ok && i < curve->count; i += window) {
        size_t end = i + window < curve->count ? i + window : curve->count;
        double step = 0, value = 0;
        for (size_t j = i; j < end; j++) {
            step += curve->steps[j] / (double)(end - i);
            value += curve->values[j] / (double)(end - i);
        }
        ok = add_value(log, out, step, value);
    }
    if (!ok)
        at_curve_finish(out);
    return ok;
}
