// SPDX-License-Identifier: Apache-2.0
// Training runs with the tiny model: how they begin, stop, go on and fail.
#include "tests/pipeline/tiny.h"

#include "pipelines/checkpoint.h"

#include <signal.h>
#include <sys/wait.h>

static struct capture capture;
static struct at_device *dev;

static bool run_dpo(const struct at_train_dpo_params *p)
{
    return at_train_dpo(dev, p, capture_start(&capture));
}

static void begins_at_ln_2(void)
{
    struct at_train_dpo_params lora = tiny_dpo(scratch_path("lora"), 2), full = tiny_dpo(scratch_path("full"), 2);
    full.full = true;
    full.held_out = lora.held_out = 0.3;
    AT_CHECK(run_dpo(&lora));
    AT_CHECK_NEAR(tiny_metric(lora.train.run, 1, "loss"), 0.69314718, 1e-4);
    AT_CHECK_NEAR(tiny_metric(lora.train.run, 1, "accuracy"), 0.5, 0);
    AT_CHECK(run_dpo(&full));
    AT_CHECK_NEAR(tiny_metric(full.train.run, 1, "loss"), 0.69314718, 1e-6);
    AT_CHECK_NEAR(tiny_metric(full.train.run, 1, "accuracy"), 0.5, 0);
    AT_CHECK(tiny_metric(full.train.run, 2, "loss") != tiny_metric(full.train.run, 1, "loss"));
    AT_CHECK(at_file_exists(scratch_path("lora/held_out.json")));
    AT_CHECK(at_file_exists(scratch_path("full/unet/diffusion_pytorch_model.safetensors")));
}

// 2 + 2 steps are 4 steps, bit for bit.
static void goes_on_where_it_stopped(bool full, const char *whole, const char *halves)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path(whole), 4), b = tiny_dpo(scratch_path(halves), 2);
    a.full = b.full = full;
    AT_CHECK(run_dpo(&a) && run_dpo(&b));
    b.train.steps = 4;
    b.train.resume = true;
    AT_CHECK(run_dpo(&b));
    char x[256], y[256];
    snprintf(x, sizeof(x), "%s/checkpoint-000004/state.safetensors", a.train.run);
    snprintf(y, sizeof(y), "%s/checkpoint-000004/state.safetensors", b.train.run);
    AT_CHECK(tiny_same_files(x, y));
    AT_CHECK(tiny_same_metrics(a.train.run, b.train.run));
}

static void resumes_an_adapter(void)
{
    goes_on_where_it_stopped(false, "a1", "a2");
}

static void resumes_all_weights(void)
{
    goes_on_where_it_stopped(true, "f1", "f2");
}

static bool at_once(void *priv)
{
    (void)priv;
    return true;
}

static void an_interrupt_saves(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("stopped"), 5);
    p.train.interrupted = at_once;
    AT_CHECK(!run_dpo(&p));
    AT_CHECK_INT(capture.log.error, AT_ERROR_INTERRUPTED);
    AT_CHECK_INT(at_checkpoint_newest(p.train.run, NULL), 1);
}

static void refuses_the_wrong_run(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("lora"), 3);
    AT_CHECK(!run_dpo(&p)); // the folder holds a run
    AT_CHECK_INT(capture.log.error, AT_ERROR_USAGE);
    p.train.resume = true;
    p.train.seed = 6;
    AT_CHECK(!run_dpo(&p) && capture_says(&capture, "seed"));
    p = tiny_dpo(scratch_path("nothing"), 3);
    p.train.resume = true;
    AT_CHECK(!run_dpo(&p) && capture_says(&capture, "no checkpoint"));
}

static void a_coin_is_another_label(void)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path("coin1"), 3), b = tiny_dpo(scratch_path("coin2"), 3);
    struct at_train_dpo_params plain = tiny_dpo(scratch_path("plain"), 3);
    a.coin = b.coin = true;
    AT_CHECK(run_dpo(&a) && run_dpo(&b) && run_dpo(&plain));
    AT_CHECK(tiny_same_metrics(a.train.run, b.train.run));
    AT_CHECK(!tiny_same_metrics(a.train.run, plain.train.run));
}

static void accumulated_batches_are_one_batch(void)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path("acc1"), 2), b = tiny_dpo(scratch_path("acc2"), 2);
    a.batch = 4;
    b.train.accumulate = 2;
    AT_CHECK(run_dpo(&a) && run_dpo(&b));
    AT_CHECK_NEAR(tiny_metric(a.train.run, 2, "loss"), tiny_metric(b.train.run, 2, "loss"), 1e-4);
    AT_CHECK_NEAR(tiny_metric(a.train.run, 2, "grad_norm") / tiny_metric(b.train.run, 2, "grad_norm"), 1, 1e-3);
}

static void a_cache_changes_nothing(void)
{
    struct at_train_dpo_params a = tiny_dpo(scratch_path("cache1"), 2), b = tiny_dpo(scratch_path("cache2"), 2);
    a.cache = b.cache = scratch_path("latents");
    AT_CHECK(run_dpo(&a));
    struct at_train_dpo_params warm = tiny_dpo(scratch_path("cache3"), 2);
    warm.cache = a.cache;
    AT_CHECK(run_dpo(&warm));
    AT_CHECK(tiny_same_metrics(a.train.run, warm.train.run));
    char **names = NULL;
    size_t count = 0;
    AT_CHECK(at_dir_list(NULL, a.cache, &names, &count) && count > 0);
    if (count) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", a.cache, names[0]);
        AT_CHECK(at_file_replace(NULL, path, "broken", 6));
    }
    at_names_free(&names, count);
    AT_CHECK(run_dpo(&b)); // the broken one is encoded anew, in other company: equal but for rounding
    AT_CHECK_NEAR(tiny_metric(b.train.run, 2, "policy_win"), tiny_metric(a.train.run, 2, "policy_win"), 1e-5);
}

static void bad_pairs_are_named(void)
{
    const char *path = scratch_path("bad.jsonl");
    const char *text = "{\"prompt\": \"x\", \"win\": \"nowhere.png\", \"lose\": \"nothing.png\"}\n";
    AT_CHECK(at_file_replace(NULL, path, text, strlen(text)));
    struct at_train_dpo_params p = tiny_dpo(scratch_path("bad"), 1);
    p.pairs = path;
    AT_CHECK(!run_dpo(&p));
    AT_CHECK_INT(capture.log.error, AT_ERROR_INPUT);
    AT_CHECK(!at_dir_exists(p.train.run));
}

// A run that saves at every step is killed at some moment; what is left must load.
static void a_killed_run_goes_on(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("killed"), 400);
    p.train.save_every = 1;
    p.train.keep = 2;
    for (int round = 0; round < 4; round++) {
        int64_t before = at_checkpoint_newest(p.train.run, NULL);
        p.train.resume = before >= 0;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            // A team of OpenMP threads does not survive a fork: a program of its own.
            execl("/proc/self/exe", "train", "--killed", p.train.run, p.train.resume ? "1" : "0", (char *)NULL);
            _exit(127);
        }
        // Once it has saved something new, at a moment that differs from round to round.
        for (int wait = 0; wait < 3000 && at_checkpoint_newest(p.train.run, NULL) <= before; wait++)
            usleep(10000);
        usleep(13000 * (unsigned)round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    int64_t newest = at_checkpoint_newest(p.train.run, NULL);
    AT_CHECK(newest > 0);
    p.train.resume = true;
    p.train.steps = newest + 1;
    AT_CHECK(run_dpo(&p));
}

static void every_allocation_may_fail(void)
{
    int failures = 0;
    for (size_t n = 1; n < 200000; n += n / 8 + 1) {
        struct at_train_dpo_params p = tiny_dpo(scratch_path("faults"), 1);
        at_alloc_fail_at(n, false);
        bool ok = run_dpo(&p);
        bool happened = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(at_path_remove(NULL, p.train.run));
        if (!happened) {
            AT_CHECK(ok);
            break;
        }
        AT_CHECK(ok || capture.log.error != AT_ERROR_NONE);
        failures += !ok;
    }
    AT_CHECK(failures > 10);
}

// The child of a_killed_run_goes_on.
static int killed_child(const char *run, bool resume)
{
    struct at_train_dpo_params p = tiny_dpo(run, 400);
    p.train.save_every = 1;
    p.train.keep = 2;
    p.train.resume = resume;
    return run_dpo(&p) ? 0 : 1;
}

int main(int argc, char **argv)
{
    dev = tiny_device(capture_start(&capture), 2);
    if (argc == 4 && strcmp(argv[1], "--killed") == 0)
        return killed_child(argv[2], atoi(argv[3]) != 0);
    scratch_make();
    AT_RUN(begins_at_ln_2);
    AT_RUN(resumes_an_adapter);
    AT_RUN(resumes_all_weights);
    AT_RUN(an_interrupt_saves);
    AT_RUN(refuses_the_wrong_run);
    AT_RUN(a_coin_is_another_label);
    AT_RUN(accumulated_batches_are_one_batch);
    AT_RUN(a_cache_changes_nothing);
    AT_RUN(bad_pairs_are_named);
    AT_RUN(a_killed_run_goes_on);
    AT_RUN(every_allocation_may_fail);
    AT_CHECK(at_path_remove(NULL, scratch));
    at_device_close(&dev);
    return at_test_end();
}
