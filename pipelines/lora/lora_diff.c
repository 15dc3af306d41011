// SPDX-License-Identifier: Apache-2.0
#include "pipelines/lora/lora_diff.h"

#include "core/base/alloc.h"

#include <math.h>

// The halves of a layer, a row for each place: down (in * taps, rank), turned around, and up (out, rank).
struct halves {
    float *down, *up, *turn;
    int64_t in, out;
    int rank;
    double scale;
};

static bool read_halves(const struct at_lora_data *d, const struct at_lora_layer *l, struct halves *h)
{
    int64_t in = l->in * l->kernel * l->kernel;
    *h = (struct halves){.in = in, .out = l->out, .rank = l->rank, .scale = (double)l->alpha / l->rank,
                         .down = at_calloc((size_t)(in * l->rank), sizeof(float)),
                         .turn = at_calloc((size_t)(in * l->rank), sizeof(float)),
                         .up = at_calloc((size_t)(l->out * l->rank), sizeof(float))};
    if (!h->down || !h->turn || !h->up)
        return at_fail_memory(d->log, (size_t)(in * l->rank) * sizeof(float));
    if (!at_lora_data_read(d, l->down, h->turn) || !at_lora_data_read(d, l->up, h->up))
        return false;
    for (int r = 0; r < l->rank; r++)
        for (int64_t i = 0; i < in; i++)
            h->down[i * l->rank + r] = h->turn[r * in + i];
    return true;
}

static void free_halves(struct halves *h)
{
    at_free(h->down);
    at_free(h->turn);
    at_free(h->up);
}

// out (ra,rb) = a^T b of a (n,ra) and b (n,rb)
static void gram(const float *a, int ra, const float *b, int rb, int64_t n, double *out)
{
    for (int64_t i = 0; i < (int64_t)ra * rb; i++)
        out[i] = 0;
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < ra; i++) {
            double x = (double)a[k * ra + i], *row = out + (int64_t)i * rb;
            const float *y = b + k * rb;
            for (int j = 0; j < rb; j++)
                row[j] += x * (double)y[j];
        }
}

// <s U D, t V E> through two matrices (ra,rb) in `work`.
static double product(const struct halves *a, const struct halves *b, double *work)
{
    int64_t n = (int64_t)a->rank * b->rank;
    double *down = work, *up = work + n, sum = 0;
    gram(a->down, a->rank, b->down, b->rank, a->in, down);
    gram(a->up, a->rank, b->up, b->rank, a->out, up);
    for (int64_t i = 0; i < n; i++)
        sum += down[i] * up[i];
    return a->scale * b->scale * sum;
}

bool at_lora_layer_distance(const struct at_lora_data *a, const struct at_lora_layer *la, const struct at_lora_data *b,
                            const struct at_lora_layer *lb, struct at_lora_distance *out)
{
    struct halves x = {0}, y = {0};
    *out = (struct at_lora_distance){0};
    if (la->in != lb->in || la->out != lb->out || la->kernel != lb->kernel)
        return at_fail(a->log, AT_ERROR_INPUT, "%s: the layer has other sizes in %s than in %s", la->id, a->path,
                       b->path);
    int most = la->rank > lb->rank ? la->rank : lb->rank;
    double *work = at_calloc(2 * (size_t)most * (size_t)most, sizeof(*work));
    bool ok = (work || at_fail_memory(a->log, 2 * (size_t)most * (size_t)most * sizeof(*work))) &&
              read_halves(a, la, &x) && read_halves(b, lb, &y);
    if (ok) {
        double aa = product(&x, &x, work), bb = product(&y, &y, work), ab = product(&x, &y, work);
        double larger = sqrt(fmax(fmax(aa, bb), 0));
        out->a = sqrt(fmax(aa, 0));
        out->b = sqrt(fmax(bb, 0));
        out->difference = sqrt(fmax(aa - 2 * ab + bb, 0));
        out->relative = larger > 0 ? out->difference / larger : 0;
    }
    free_halves(&x);
    free_halves(&y);
    at_free(work);
    return ok;
}
