// SPDX-License-Identifier: Apache-2.0
#include "pipelines/train/train.h"

#include <math.h>
#include <string.h>

void at_metrics_add(struct at_metrics *m, const char *name, double value)
{
    int i = 0;
    while (i < m->count && strcmp(m->list[i].name, name) != 0)
        i++;
    if (i == AT_METRICS)
        return;
    if (i == m->count) {
        m->list[m->count].name = name;
        m->list[m->count].sum = 0;
        m->list[m->count++].count = 0;
    }
    m->list[i].sum += value;
    m->list[i].count++;
}

double at_metrics_get(const struct at_metrics *m, const char *name)
{
    for (int i = 0; i < m->count; i++)
        if (strcmp(m->list[i].name, name) == 0)
            return m->list[i].sum / m->list[i].count;
    return NAN;
}
