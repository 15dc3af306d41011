// SPDX-License-Identifier: Apache-2.0
// How a job is made to fit: with a job that takes what it is told to.
#include "pipelines/train/fit.h"

#include "core/cpu/cpu.h"
#include "core/graph/device.h"
#include "core/ops/build.h"
#include "tests/harness.h"
#include "tests/unit/capture.h"

static struct capture capture;
static struct at_device *dev;

// Thousands of reals: encoding before the training, by level of tiles; a step of a whole batch of 8, of which a part
// remains, of that half when pairs are taken apart, and of that a part when everything is computed again. Work beside
// that of the step: of a pair apart, and of a segment.
struct job {
    int encode[4], step, least;
    int apart, segment;
    int attempts;
};

// So many FLOPs on the dry device.
static bool work(struct at_device *dry, int flops, struct at_log *log)
{
    struct at_graph *g = at_graph_create(log);
    struct at_node *x = at_graph_input(g, "x", AT_SHAPE(1 + flops / 2, 1), AT_F32);
    at_graph_output(g, at_matmul(g, x, at_graph_input(g, "w", AT_SHAPE(1, 1), AT_F32), &(struct at_matmul_params){0}), "y");
    struct at_exec *exec = g ? at_exec_create(dry, g) : NULL;
    bool ok = exec && at_exec_run(exec, 0);
    at_exec_destroy(&exec);
    at_graph_destroy(&g);
    return ok;
}

static bool attempt(void *priv, struct at_device *dry, const struct at_fit *fit, struct at_log *log)
{
    struct job *j = priv;
    int step = j->step / fit->parts / (fit->apart ? 2 : 1), saved = fit->segments < 10 ? fit->segments : 10;
    int sizes[] = {j->encode[fit->tiling], step - (step - j->least) * saved / 10};
    j->attempts++;
    for (int i = 0; i < 2; i++) {
        struct at_store *s = at_store_create(dry, 1000 * sizes[i], AT_USE_TENSORS, log);
        if (!s)
            return false;
        at_store_destroy(&s);
    }
    return work(dry, (fit->apart ? j->apart : 0) + saved * j->segment, log);
}

static bool choose_way(struct job *j, int limit, int tilings, bool pairs, struct at_fit *fit)
{
    struct at_fit_params p = {.dev = dev, .limit = 4000 * (size_t)limit, .batch = 8, .pairs = pairs,
                              .tilings = tilings, .attempt = attempt, .priv = j};
    j->attempts = 0;
    capture_start(&capture);
    capture.log.level = AT_LEVEL_INFO;
    return at_fit_choose(&p, fit, &capture.log);
}

static bool choose(struct job *j, int limit, int tilings, struct at_fit *fit)
{
    return choose_way(j, limit, tilings, false, fit);
}

static void each_way_in_turn(void)
{
    struct job j = {.encode = {60, 50, 20, 10}, .step = 80, .least = 5};
    struct at_fit fit;
    AT_CHECK(choose(&j, 80, 4, &fit) && fit.parts == 1 && fit.segments == 0 && fit.tiling == 0);
    AT_CHECK_INT(j.attempts, 1);
    AT_CHECK(choose(&j, 79, 4, &fit) && fit.parts == 2 && fit.segments == 0 && fit.tiling == 0);
    AT_CHECK(choose(&j, 55, 4, &fit) && fit.parts == 2 && fit.segments == 0 && fit.tiling == 1);
    AT_CHECK(choose(&j, 30, 4, &fit) && fit.parts == 4 && fit.segments == 0 && fit.tiling == 2);
    AT_CHECK(choose(&j, 12, 4, &fit) && fit.parts == 8 && fit.segments == 0 && fit.tiling == 3);
    j.least = 1;
    j.step = 160;
    AT_CHECK(choose(&j, 12, 4, &fit) && fit.parts == 8 && fit.segments > 0 && fit.segments < 10 && fit.tiling == 3);
}

// One pair takes 40, or 20 apart, or 4 less for each segment computed again, or 2 less of one that is apart.
static void the_way_of_least_work_is_taken(void)
{
    struct job j = {.step = 320, .apart = 40, .segment = 10};
    struct at_fit fit;
    AT_CHECK(choose_way(&j, 40, 0, true, &fit) && fit.parts == 8 && !fit.apart && fit.segments == 0);
    AT_CHECK(choose_way(&j, 28, 0, true, &fit) && fit.parts == 8 && !fit.apart && fit.segments == 3);
    AT_CHECK(choose_way(&j, 20, 0, true, &fit) && fit.parts == 8 && fit.apart && fit.segments == 0);
    AT_CHECK(strstr(capture.text, "one after the other") != NULL);
    AT_CHECK(choose_way(&j, 16, 0, true, &fit) && fit.parts == 8 && !fit.apart && fit.segments == 6);
    j.segment = 20;
    AT_CHECK(choose_way(&j, 16, 0, true, &fit) && fit.parts == 8 && fit.apart && fit.segments == 2);
    AT_CHECK(choose_way(&j, 16, 0, false, &fit) && !fit.apart && fit.segments == 6);
    j.least = 10; // of a pair, all of it computed again
    AT_CHECK(!choose_way(&j, 8, 0, true, &fit));
    j.least = 4;
    j.segment = 50;
    j.encode[0] = 15;
    j.encode[1] = 5;
    AT_CHECK(choose_way(&j, 8, 2, true, &fit) && fit.apart && fit.segments == 8 && fit.tiling == 1);
}

static void a_refusal_says_what_would_help(void)
{
    struct job j = {.encode = {60, 50, 20, 10}, .step = 8, .least = 1};
    struct at_fit fit;
    AT_CHECK(!choose(&j, 9, 4, &fit));
    AT_CHECK_INT(capture.log.error, AT_ERROR_DEVICE);
    AT_CHECK(strstr(capture.text, "--vae-tile") == NULL);
    AT_CHECK(!choose(&j, 40, 1, &fit)); // tiles are forbidden
    AT_CHECK(strstr(capture.text, "--vae-tile auto") != NULL);
    AT_CHECK(!choose(&j, 40, 0, &fit)); // there is nothing to tile
    AT_CHECK(strstr(capture.text, "--vae-tile") == NULL && strstr(capture.text, "0.2 MiB are needed") != NULL);
}

int main(void)
{
    dev = at_cpu_open(&(struct at_cpu_params){.threads = 1}, capture_start(&capture));
    if (AT_CHECK(dev)) {
        AT_RUN(each_way_in_turn);
        AT_RUN(the_way_of_least_work_is_taken);
        AT_RUN(a_refusal_says_what_would_help);
    }
    at_device_close(&dev);
    return at_test_end();
}
