// SPDX-License-Identifier: Apache-2.0
// Whole jobs while memory runs out, the disk fills up or the process is killed: an error that says so, or the result;
// never a crash, and the last good checkpoint loads.
#include "tests/pipeline/pipes.h"

#include "core/base/rng.h"
#include "pipelines/train/checkpoint.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

static struct capture capture;
static struct at_device *dev;

// --- memory -----------------------------------------------------------------------------------------------------------

static bool draw_with(const char *model)
{
    static float pixels[TINY_SIDE * TINY_SIDE * 3];
    struct at_log *log = capture_start(&capture);
    struct at_device *cpu = at_cpu_open(&(struct at_cpu_params){.threads = 2}, log);
    struct at_model *m = cpu ? at_model_open(cpu, &(struct at_model_params){.path = model}, log) : NULL;
    struct at_sample_item item = {.prompt = "a red ball", .seed = 1};
    struct at_sample_params p = {.items = &item, .count = 1, .steps = 1, .cfg = 2};
    bool ok = m && at_sample(m, &p, pixels, NULL);
    at_model_destroy(&m);
    at_device_close(&cpu);
    return ok;
}

static bool draw_one(void)
{
    return draw_with(tiny_path("model"));
}

static bool draw_sdxl(void)
{
    return draw_with(pipes_path("xl"));
}

static bool train_one(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("faults"), 1);
    p.cache = scratch_path("faults/cache");
    p.held_out = 0.3;
    return at_train_dpo(dev, &p, capture_start(&capture));
}

// Every failing allocation makes the job fail and say so. The first `all` are tried one by one, then about 1 in `thin`.
static void fail_allocations(const char *what, bool (*work)(void), size_t all, size_t thin)
{
    size_t n = 1, tried = 0;
    for (;; n += n < all ? 1 : thin + n % 7) { // the remainder keeps it off the rhythm of loops
        at_alloc_fail_at(n, false);
        bool ok = work(), happened = at_alloc_failed();
        at_alloc_fail_at(0, false);
        int broken = tiny_left_over(scratch);
        if (!AT_CHECK(broken == 0))
            printf("%d files left over after: %s\n", broken, capture.text);
        AT_CHECK(at_path_remove(NULL, scratch_path("faults")));
        if (!happened) {
            AT_CHECK(ok);
            break;
        }
        tried++;
        if (ok || capture.log.error == AT_ERROR_NONE) {
            printf("FAIL %s: allocation %zu failed, and the job %s\n", what, n, ok ? "went on" : "said nothing");
            at_test_failures++;
        }
    }
    printf("%s: %zu of %zu allocations failed\n", what, tried, n);
    AT_CHECK(tried > 50);
}

static void memory_runs_out_while_drawing(void)
{
    fail_allocations("sample", draw_one, 60, 97);
}

static void memory_runs_out_while_drawing_with_sdxl(void)
{
    fail_allocations("sample with SDXL", draw_sdxl, 200, 197);
}

static void memory_runs_out_while_training(void)
{
    fail_allocations("train", train_one, 60, 331);
}

// --- disk -------------------------------------------------------------------------------------------------------------

// Two steps, then a third whose save must fail; then, with room again, the third.
static void a_save_fails(const char *run, bool (*fill)(void), void (*free_up)(void), const char *reason)
{
    struct at_train_dpo_params p = tiny_dpo(run, 2);
    if (!AT_CHECK(at_train_dpo(dev, &p, capture_start(&capture)))) {
        printf("%s\n", capture.text);
        return;
    }
    p.train.resume = true;
    p.train.steps = 3;
    AT_CHECK(fill());
    bool ok = at_train_dpo(dev, &p, capture_start(&capture));
    free_up();
    AT_CHECK(!ok);
    AT_CHECK_INT(capture.log.error, AT_ERROR_FAILED);
    if (!AT_CHECK(strstr(capture.text, run) != NULL && strstr(capture.text, reason) != NULL))
        printf("message: \"%s\"\n", capture.text);
    AT_CHECK_INT(tiny_left_over(run), 0);
    AT_CHECK_INT(at_checkpoint_newest(run, NULL), 2);
    AT_CHECK(at_train_dpo(dev, &p, capture_start(&capture)));
    AT_CHECK_INT(at_checkpoint_newest(run, NULL), 3);
}

static bool limit_files(void)
{
    struct rlimit l;
    signal(SIGXFSZ, SIG_IGN);
    bool ok = getrlimit(RLIMIT_FSIZE, &l) == 0;
    l.rlim_cur = 5000; // settings and metrics fit, an adapter does not
    return ok && setrlimit(RLIMIT_FSIZE, &l) == 0;
}

static void unlimit_files(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_FSIZE, &l) == 0)
        l.rlim_cur = l.rlim_max;
    AT_CHECK(setrlimit(RLIMIT_FSIZE, &l) == 0);
}

static void a_file_grows_too_large(void)
{
    char run[256];
    snprintf(run, sizeof(run), "%s", scratch_path("limited"));
    a_save_fails(run, limit_files, unlimit_files, "safetensors");
}

static char disk[256]; // a file system of half a megabyte

static bool fill_disk(void)
{
    char path[300];
    static const char zeros[4096];
    snprintf(path, sizeof(path), "%s/filler", disk);
    FILE *f = fopen(path, "w");
    while (f && fwrite(zeros, sizeof(zeros), 1, f) == 1 && fflush(f) == 0)
        ;
    return f && (fclose(f), true);
}

static void empty_disk(void)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/filler", disk);
    AT_CHECK(at_path_remove(NULL, path));
}

static void the_disk_is_full(void)
{
    char run[300];
    snprintf(disk, sizeof(disk), "%s", scratch_path("disk"));
    AT_CHECK(at_dir_make(NULL, disk));
    if (mount("tmpfs", disk, "tmpfs", 0, "size=512k") != 0) {
        printf("no file system can be mounted here: only the limit on files was tried\n");
        return;
    }
    snprintf(run, sizeof(run), "%s/run", disk);
    a_save_fails(run, fill_disk, empty_disk, "No space left on device");
    AT_CHECK(umount(disk) == 0);
}

// --- kill -9 ----------------------------------------------------------------------------------------------------------

#define KILLS 15

static struct at_train_dpo_params killed_job(const char *run, bool resume)
{
    struct at_train_dpo_params p = tiny_dpo(run, 100000);
    p.train.save_every = 1;
    p.train.keep = 2;
    p.train.resume = resume;
    p.train.batch = 1;
    p.flip = false;
    return p;
}

// Runs this program with --killed, as a team of OpenMP threads does not survive a fork, and kills it some time after
// its first save.
static void run_and_kill(const char *run, int round)
{
    int64_t before = at_checkpoint_newest(run, NULL);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "faults", "--killed", run, before >= 0 ? "1" : "0", (char *)NULL);
        _exit(127);
    }
    int status = 0, waited = 0;
    while (waited < 30000 && at_checkpoint_newest(run, NULL) <= before && waitpid(child, &status, WNOHANG) == 0) {
        usleep(1000);
        waited++;
    }
    AT_CHECK(at_checkpoint_newest(run, NULL) > before); // it went on from what was there
    if (round % 3) // two rounds of three: while it saves
        for (waited = 0; waited < 20000 && tiny_left_over(run) == 0; waited++)
            usleep(100);
    usleep((useconds_t)at_rng_below(9, AT_STREAM_MAKE, (uint64_t)round, round % 3 ? 2000 : 60000));
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    AT_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void killed_runs_go_on(void)
{
    char run[256];
    int cut = 0;
    snprintf(run, sizeof(run), "%s", scratch_path("killed"));
    for (int round = 0; round < KILLS; round++) {
        run_and_kill(run, round);
        cut += tiny_left_over(run) > 0;
    }
    int64_t newest = at_checkpoint_newest(run, NULL);
    struct at_train_dpo_params p = killed_job(run, true);
    p.train.steps = newest + 1;
    AT_CHECK(at_train_dpo(dev, &p, capture_start(&capture)));
    AT_CHECK_INT(tiny_left_over(run), 0);
    // Nothing was lost or done twice: a run that nobody disturbed is the same.
    char whole[256], a[512], b[512];
    snprintf(whole, sizeof(whole), "%s", scratch_path("whole"));
    p = killed_job(whole, false);
    p.train.steps = newest + 1;
    p.train.save_every = 0;
    AT_CHECK(at_train_dpo(dev, &p, capture_start(&capture)));
    snprintf(a, sizeof(a), "%s/checkpoint-%06d/state.safetensors", run, (int)newest + 1);
    snprintf(b, sizeof(b), "%s/checkpoint-%06d/state.safetensors", whole, (int)newest + 1);
    AT_CHECK(tiny_same_files(a, b));
    AT_CHECK(tiny_same_metrics(run, whole));
    AT_CHECK(cut > 0);
    printf("killed %d times, %d times in the middle of a save; %d steps\n", KILLS, cut, (int)newest);
}

static int killed_child(const char *run, bool resume)
{
    struct at_train_dpo_params p = killed_job(run, resume);
    return at_train_dpo(dev, &p, capture_start(&capture)) ? 0 : 1;
}

int main(int argc, char **argv)
{
    // A file system that is mounted below vanishes with this process.
    bool apart = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    dev = tiny_device(capture_start(&capture), 2);
    if (argc == 4 && strcmp(argv[1], "--killed") == 0)
        return killed_child(argv[2], atoi(argv[3]) != 0);
    scratch_make();
    AT_RUN(memory_runs_out_while_drawing);
    AT_RUN(memory_runs_out_while_drawing_with_sdxl);
    AT_RUN(memory_runs_out_while_training);
    AT_RUN(a_file_grows_too_large);
    if (apart)
        AT_RUN(the_disk_is_full);
    AT_RUN(killed_runs_go_on);
    scratch_remove();
    at_device_close(&dev);
    return at_test_end();
}
