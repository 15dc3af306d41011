// SPDX-License-Identifier: Apache-2.0
#include "pipelines/bench/bench_model.h"

#include "core/base/alloc.h"
#include "core/base/clock.h"
#include "core/base/rng.h"
#include "core/cpu/cpu.h"
#include "core/optim/optimizer.h"
#include "pipelines/model/condition.h"
#include "pipelines/model/denoiser.h"
#include "pipelines/model/text.h"
#include "pipelines/objectives/objective.h"
#include "pipelines/sample/sample.h"
#include "pipelines/train/dpo_network.h"

#include <stdlib.h>
#include <string.h>

#define RUNS AT_BENCH_RUNS
#define CFG 4

struct bench {
    struct at_device *dev;
    struct at_bench_model_params *p;
    struct at_log *log;
    struct at_model *m;
    int side; // of the latents
    float *x, *t, *rows, *y, *target, *image; // of 2 batches
    double took[RUNS], worked[RUNS]; // wall-clock and processor seconds of the runs
    int runs;
    double last; // when the step before ended
};

// One task: what is opened once and run often.
struct task {
    const char *name, *unit;
    bool (*run)(struct bench *b, void *priv); // NULL: timed by other means, and not profiled
    void *priv;
    double flops;
    size_t before; // device memory before it was opened
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Workers report at the same time.
static void collect(void *priv, const struct at_node *node, double seconds)
{
    struct at_bench_task *task = priv;
    struct at_bench_share *s = &task->ops[node->op->id];
    struct at_cost cost = node->op->cost(node);
#pragma omp critical(at_bench_collect)
    {
        s->seconds += seconds;
        s->cost.flops += cost.flops;
        s->cost.bytes += cost.bytes;
        s->runs++;
    }
}

// One more run, op by op; the sums are scaled to the task's time.
static bool profile(struct bench *b, const struct task *t, struct at_bench_task *task)
{
    if (!t->run || strcmp(b->dev->kind, "cpu") != 0)
        return true;
    at_cpu_profile(b->dev, collect, task);
    bool ok = t->run(b, t->priv);
    at_cpu_profile(b->dev, NULL, NULL);
    double sum = 0;
    for (int i = 0; i < AT_OP_COUNT; i++)
        sum += task->ops[i].seconds;
    for (int i = 0; i < AT_OP_COUNT && sum > 0; i++)
        task->ops[i].seconds *= task->seconds / sum;
    return ok;
}

static bool finish(struct bench *b, const struct task *t, struct at_bench_task *task)
{
    qsort(b->took, (size_t)b->runs, sizeof(*b->took), by_value);
    task->name = t->name;
    task->unit = t->unit;
    task->items = b->p->batch;
    task->seconds = b->took[b->runs / 2];
    task->flops = t->flops;
    task->arena = b->dev->peak - t->before;
    if (!profile(b, t, task))
        return false;
    if (!b->p->take(b->p->priv, task))
        return at_fail(b->log, AT_ERROR_INTERRUPTED, "the bench was interrupted");
    return true;
}

// Device memory from here on is the task's.
static size_t begin(struct bench *b)
{
    b->dev->peak = b->dev->allocated;
    return b->dev->allocated;
}

// The first run warms up.
static bool measure(struct bench *b, const struct task *t)
{
    struct at_bench_task task = {0};
    if (!t->run(b, t->priv))
        return false;
    int least = b->p->runs ? b->p->runs : 3;
    double start = at_clock(), last = start, before = at_clock_processor();
    for (b->runs = 0; b->runs < least || (!b->p->runs && b->runs < RUNS && last - start < b->p->seconds); b->runs++) {
        if (!t->run(b, t->priv))
            return false;
        b->took[b->runs] = at_clock() - last;
        b->worked[b->runs] = at_clock_processor() - before;
        last += b->took[b->runs];
        before += b->worked[b->runs];
    }
    qsort(b->worked, (size_t)b->runs, sizeof(*b->worked), by_value);
    task.processor = b->worked[b->runs / 2];
    return finish(b, t, &task);
}

static bool run_denoiser(struct bench *b, void *priv)
{
    return at_denoiser_run(priv, b->x, b->t, b->rows, b->y);
}

static bool bench_denoiser(struct bench *b, double *flops)
{
    struct task t = {"denoiser", "image", run_denoiser, .before = begin(b)};
    struct at_denoiser_params p = {.batch = b->p->batch, .height = b->side, .width = b->side};
    struct at_denoiser *d = at_denoiser_create(b->m, &p);
    t.priv = d;
    t.flops = *flops = d ? at_denoiser_flops(d) * b->p->batch : 0;
    bool ok = d && measure(b, &t);
    at_denoiser_destroy(&d);
    return ok;
}

static bool step_done(void *priv, double done)
{
    struct bench *b = priv;
    double end = at_clock();
    (void)done;
    if (b->runs >= 0 && b->runs < RUNS) // the first one has the text and the compiling in it
        b->took[b->runs] = end - b->last;
    b->runs++;
    b->last = end;
    return true;
}

// Sampling as it is, with its steps timed; `steps` of them.
static bool sample(struct bench *b, int steps)
{
    struct at_sample_item *items = at_calloc((size_t)b->p->batch, sizeof(*items));
    if (!items)
        return at_fail_memory(b->log, sizeof(*items));
    for (int i = 0; i < b->p->batch; i++)
        items[i] = (struct at_sample_item){.prompt = "", .negative = "", .seed = (uint64_t)i};
    struct at_sample_params p = {.items = items, .count = b->p->batch, .batch = b->p->batch, .steps = steps, .cfg = CFG,
                                 .width = b->p->size, .height = b->p->size, .progress = step_done, .priv = b};
    b->runs = -1;
    bool ok = at_sample(b->m, &p, b->image, NULL);
    at_free(items);
    return ok;
}

// Its ops are those of the denoiser.
static bool bench_sampling(struct bench *b, double flops)
{
    int runs = b->m->unet.guidance_dim ? 1 : 2; // of the denoiser a step and image
    struct task t = {.name = "sampling step with guidance", .unit = "image", .flops = runs * flops, .before = begin(b)};
    struct at_bench_task task = {0};
    int steps = (int)(b->p->seconds / (runs * b->took[b->runs / 2]));
    return sample(b, steps < 3 ? 4 : steps < RUNS ? steps + 1 : RUNS) && finish(b, &t, &task);
}

static bool run_decode(struct bench *b, void *priv)
{
    (void)priv;
    return at_model_decode(b->m, b->x, b->p->batch, b->side, b->side, b->image);
}

static bool bench_decode(struct bench *b)
{
    struct task t = {.name = "decoding", .unit = "image", .run = run_decode, .before = begin(b)};
    if (!run_decode(b, NULL))
        return false;
    t.flops = at_model_decode_flops(b->m) * b->p->batch;
    return measure(b, &t);
}

// A step of Diffusion-DPO: the two networks, the objective and the optimiser.
struct dpo {
    struct at_lora *lora;
    struct at_captions *captions;
    struct at_dpo_network *network;
    struct at_optimizer *optimizer;
    int64_t step;
};

static bool run_dpo(struct bench *b, void *priv)
{
    struct dpo *d = priv;
    int n = 2 * b->p->batch;
    struct at_dpo_batch in = {.x = b->x, .target = b->target, .t = b->t};
    float m[2][2 * AT_BENCH_PAIRS], seeds[2 * AT_BENCH_PAIRS];
    double error[2][2 * AT_BENCH_PAIRS], dm[2 * AT_BENCH_PAIRS];
    if (!at_dpo_network_run(d->network, &in, m[1], m[0]))
        return false;
    for (int i = 0; i < n; i++) {
        error[0][i] = (double)m[0][i];
        error[1][i] = (double)m[1][i];
    }
    struct at_objective_params objective = {.method = AT_OBJECTIVE_DPO};
    struct at_objective_batch batch = {.pairs = (size_t)b->p->batch, .policy = error[1], .reference = error[0]};
    struct at_objective_result result;
    if (!at_objective_evaluate(&objective, &batch, dm, &result, NULL, b->log))
        return false;
    for (int i = 0; i < n; i++)
        seeds[i] = (float)dm[i];
    return at_dpo_network_backward(d->network, &in, seeds) &&
           at_optimizer_step(d->optimizer, ++d->step, 1e-6, 1, NULL);
}

static bool open_dpo(struct bench *b, struct dpo *d)
{
    int n = 2 * b->p->batch;
    struct at_lora_params lora = {.replicas = at_spread_replicas(b->dev, n)};
    struct at_optimizer_params adamw = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1};
    struct at_captions_params told = {.items = n};
    if (!(d->lora = at_lora_create(b->m, &lora)) || !(d->captions = at_captions_create(b->m, &told)))
        return false;
    for (int i = 0; i < n; i++)
        at_captions_tell(d->captions, i, b->rows + (size_t)i * at_condition_floats(&b->m->unet, at_text_tokens(b->m)));
    struct at_dpo_network_params p = {.dev = b->dev, .m = b->m, .adapter = &d->lora->part[AT_COMPONENT_UNET],
                                      .captions = d->captions, .side = b->side, .items = n,
                                      .recompute = {.cheap = true}};
    return (d->network = at_dpo_network_create(&p, b->log)) &&
           (d->optimizer = at_optimizer_create(&d->lora->part[AT_COMPONENT_UNET].params, 1, &adamw, b->log));
}

static bool bench_dpo(struct bench *b)
{
    struct dpo d = {0};
    struct task t = {.name = "DPO step, LoRA of rank 8", .unit = "pair", .run = run_dpo, .priv = &d};
    t.before = begin(b);
    bool ok = open_dpo(b, &d);
    if (ok) {
        t.flops = at_dpo_network_flops(d.network);
        ok = measure(b, &t);
    }
    at_optimizer_destroy(&d.optimizer);
    at_dpo_network_destroy(&d.network);
    at_captions_destroy(&d.captions);
    at_lora_destroy(&d.lora);
    return ok;
}

// The empty prompt (noise where no task needs the text encoder), guidance and a whole picture.
static bool tell(struct bench *b, size_t n)
{
    int tokens = at_text_tokens(b->m);
    size_t floats = at_condition_floats(&b->m->unet, tokens);
    float *text = at_calloc(at_text_floats(b->m), sizeof(float));
    struct at_sizes sizes = at_sizes_whole(b->p->size, b->p->size);
    bool ok = (text && (b->rows = at_calloc(n * floats, sizeof(float)))) || at_fail_memory(b->log, n * floats);
    if (ok && !b->m->text[0].params)
        at_rng_normal(text, at_text_floats(b->m), 0, AT_STREAM_MAKE, 0);
    else
        ok = ok && at_text_embed(b->m, (const char *[]){""}, 1, NULL, text);
    for (size_t i = 0; ok && i < n; i++)
        at_condition_fill(&b->m->unet, tokens, &(struct at_condition){text, &sizes, CFG}, b->rows + i * floats);
    at_free(text);
    return ok;
}

// Noise in place of latents, pairs of which share nothing: the work is the same.
static bool allocate(struct bench *b)
{
    size_t n = 2 * (size_t)b->p->batch, side = (size_t)b->side, pixels = (size_t)b->p->size;
    size_t latent = side * side * (size_t)b->m->unet.in_channels;
    bool ok = (b->x = at_calloc(n * latent, sizeof(float))) && (b->target = at_calloc(n * latent, sizeof(float))) &&
              (b->y = at_calloc(n * latent, sizeof(float))) && (b->t = at_calloc(n, sizeof(float))) &&
              (b->image = at_calloc(n * pixels * pixels * 3, sizeof(float)));
    if (!ok)
        at_fail_memory(b->log, n * (3 * latent + pixels * pixels * 3) * sizeof(float));
    for (size_t i = 0; ok && i < n; i++) {
        b->t[i] = (float)(i * 997 % 1000);
        at_rng_normal(b->x + i * latent, latent, 0, AT_STREAM_LATENT, i);
        at_rng_normal(b->target + i * latent, latent, 0, AT_STREAM_NOISE, i);
    }
    return ok && tell(b, n);
}

// Of these only sizes are needed.
static unsigned weightless(unsigned kinds)
{
    unsigned parts = kinds & AT_BENCH_SAMPLING ? 0 : AT_PART_TEXT;
    parts |= kinds & (AT_BENCH_DECODE | AT_BENCH_SAMPLING) ? 0 : AT_PART_VAE;
    return parts | (kinds == AT_BENCH_DECODE ? AT_PART_UNET : 0);
}

static bool open_model(struct bench *b)
{
    struct at_bench_model_params *p = b->p;
    int height;
    if (p->batch < 0 || p->batch > AT_BENCH_PAIRS)
        return at_fail(b->log, AT_ERROR_USAGE, "batch %d: must be 1 to %d", p->batch, AT_BENCH_PAIRS);
    p->kinds = p->kinds ? p->kinds : AT_BENCH_DECODE | AT_BENCH_DENOISER | AT_BENCH_SAMPLING | AT_BENCH_DPO;
    struct at_model_params model = {
        .path = p->model, .reading = p->reading, .untrained = p->untrained, .weightless = weightless(p->kinds)};
    if (!(b->m = at_model_open(b->dev, &model, b->log)))
        return false;
    struct at_sample_params size = {.width = p->size, .height = p->size};
    if (!at_sample_size(b->m, &size, &p->size, &height))
        return false;
    b->side = p->size / at_vae_factor(&b->m->vae);
    int fit = 64 * 64 / (b->side * b->side);
    p->batch = p->batch ? p->batch : fit < 1 ? 1 : fit > 16 ? 16 : fit;
    p->seconds = p->seconds > 0 ? p->seconds : 2;
    return allocate(b);
}

bool at_bench_model(struct at_device *dev, struct at_bench_model_params *params)
{
    struct bench b = {.dev = dev, .p = params, .log = dev->log};
    double flops = 0;
    bool ok = open_model(&b);
    if (ok && params->kinds & AT_BENCH_DECODE)
        ok = bench_decode(&b);
    if (ok && params->kinds & (AT_BENCH_DENOISER | AT_BENCH_SAMPLING))
        ok = bench_denoiser(&b, &flops);
    if (ok && params->kinds & AT_BENCH_SAMPLING)
        ok = bench_sampling(&b, flops);
    if (ok && params->kinds & AT_BENCH_DPO)
        ok = bench_dpo(&b);
    at_model_destroy(&b.m);
    float *const buffers[] = {b.x, b.t, b.rows, b.y, b.target, b.image};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++)
        at_free(buffers[i]);
    return ok || at_fail_unsaid(dev->log);
}
