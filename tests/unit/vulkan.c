// SPDX-License-Identifier: Apache-2.0
// The Vulkan layer on whatever device is there (Mesa's lavapipe at least), under the validation layer.
#include "core/base/alloc.h"
#include "core/vulkan/command.h"
#include "core/vulkan/device.h"
#include "core/vulkan/measure.h"
#include "core/vulkan/memory.h"
#include "core/vulkan/pipeline.h"
#include "core/vulkan/timer.h"
#include "tests/harness.h"

#include <dirent.h>
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <unistd.h>

struct record {
    char first[512];
};

static void keep_first(void *priv, enum at_level level, const char *text)
{
    struct record *record = priv;
    if (level == AT_LEVEL_ERROR && !record->first[0])
        snprintf(record->first, sizeof(record->first), "%s", text);
}

static struct record record;
static struct at_log log_ = {.write = keep_first, .priv = &record};
static struct at_vk_device *dev;

static void clear_log(void)
{
    record.first[0] = 0;
    log_.error = AT_ERROR_NONE;
}

// The failure that just happened was of this kind, and its text names `part`.
static void check_failure(enum at_error kind, const char *part)
{
    AT_CHECK_INT(log_.error, kind);
    if (!AT_CHECK(strstr(record.first, part) != NULL))
        printf("  the log says \"%s\", expected \"%s\" in it\n", record.first, part);
    clear_log();
}

static void check_clean(void)
{
    AT_CHECK_STR(record.first, "");
    clear_log();
    AT_CHECK_INT(at_vk_validation_errors(dev, NULL), 0);
}

struct copy_push {
    uint64_t src, dst;
    uint32_t n, pad;
};

static struct at_vk_dispatch_params copy_params(const struct copy_push *push, const uint32_t *constants,
                                                const char *kernel, uint64_t groups)
{
    struct at_vk_dispatch_params p = {
        .kernel = kernel, .constants = constants, .constant_count = 2, .push = push, .push_size = sizeof(*push)};
    at_vk_grid(dev, groups, p.groups);
    return p;
}

// Runs one dispatch and waits.
static bool run_once(const struct at_vk_dispatch_params *p)
{
    struct at_vk_commands *c = at_vk_commands_begin(dev, NULL);
    bool ok = c && at_vk_dispatch(c, p) && at_vk_commands_end(c) && at_vk_run(c);
    at_vk_commands_destroy(&c);
    return ok;
}

// Copies n elements of `bytes` each into the middle of a guarded buffer, and looks at every byte.
static void copy_case(const char *kernel, size_t bytes, uint32_t n, uint32_t wide, uint64_t groups)
{
    enum { GUARD = 64, MOST = 4096 };
    static unsigned char in[4 * MOST], out[4 * MOST + 2 * GUARD];
    size_t size = n * bytes;
    for (size_t i = 0; i < size; i++)
        in[i] = (unsigned char)(1 + (i * 37 + i / 251) % 127); // no NaN in any type
    memset(out, 0xee, sizeof(out));
    struct at_vk_buffer *a = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = size, .name = "in"});
    struct at_vk_buffer *b =
        at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = size + 2 * GUARD, .name = "out"});
    bool ok = a && b && at_vk_buffer_write(a, 0, in, size) && at_vk_buffer_write(b, 0, out, size + 2 * GUARD);
    if (ok) {
        struct copy_push push = {at_vk_buffer_address(a), at_vk_buffer_address(b) + GUARD, n, 0};
        uint32_t constants[2] = {at_vk_workgroup(dev, 64), wide};
        struct at_vk_dispatch_params p = copy_params(&push, constants, kernel, groups);
        ok = run_once(&p) && at_vk_buffer_read(b, 0, out, size + 2 * GUARD);
    }
    AT_CHECK(ok);
    AT_CHECK(memcmp(out + GUARD, in, size) == 0);
    for (size_t i = 0; i < GUARD; i++)
        AT_CHECK(out[i] == 0xee && out[GUARD + size + i] == 0xee);
    at_vk_buffer_destroy(&a);
    at_vk_buffer_destroy(&b);
}

static void copies_of_any_size_stay_inside(void)
{
    static const struct {
        const char *kernel;
        size_t bytes;
    } kinds[] = {{"copy_f32", 4}, {"copy_f16", 2}, {"copy_bf16", 2}};
    static const uint32_t sizes[] = {1, 3, 4, 127, 1025};
    for (size_t k = 0; k < 3; k++)
        for (size_t s = 0; s < 5 && at_vk_kernel_supported(dev, kinds[k].kernel, NULL); s++)
            for (uint32_t wide = 0; wide < 2; wide++)
                copy_case(kinds[k].kernel, kinds[k].bytes, sizes[s], wide, 1 + s);
    check_clean();
}

static void a_grid_may_be_folded_over_and_under_its_work(void)
{
    copy_case("copy_f32", 4, 1025, 0, 1);             // fewer invocations than elements
    copy_case("copy_f32", 4, 1025, 0, 65536 * 2 + 1); // more groups than one direction may hold
    uint32_t xyz[3];
    const uint32_t *most = at_vk_device_info(dev)->max_groups;
    static const uint64_t groups[] = {1, 65535, 65536, 1000003, (uint64_t)1 << 33};
    for (size_t i = 0; i < 5; i++) {
        at_vk_grid(dev, groups[i], xyz);
        AT_CHECK((uint64_t)xyz[0] * xyz[1] * xyz[2] >= groups[i]);
        AT_CHECK((uint64_t)xyz[0] * xyz[1] * xyz[2] <= groups[i] + groups[i] / 64);
        AT_CHECK(xyz[0] <= most[0] && xyz[1] <= most[1] && xyz[2] <= most[2]);
    }
    check_clean();
}

struct fma_push {
    uint64_t dst;
    uint32_t n, rounds;
    float a, b;
};

static void constants_and_push_constants_reach_the_kernel(void)
{
    struct at_vk_buffer *host =
        at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = 400, .host = true, .name = "host"});
    if (!AT_CHECK(host && at_vk_buffer_map(host)))
        return;
    float *y = at_vk_buffer_map(host);
    size_t before = at_vk_pipeline_count(dev);
    for (uint32_t workgroup = 1; workgroup <= at_vk_workgroup(dev, 32); workgroup *= 2) {
        for (int i = 0; i < 100; i++)
            y[i] = -1;
        struct fma_push push = {at_vk_buffer_address(host), 99, 1, 2.0f, 0.25f};
        struct at_vk_dispatch_params p = {.kernel = "fma_peak_f32",
                                          .constants = &workgroup,
                                          .constant_count = 1,
                                          .push = &push,
                                          .push_size = sizeof(push),
                                          .groups = {3, 1, 1}};
        AT_CHECK(run_once(&p) && run_once(&p)); // the second time the pipeline is there already
        for (int i = 0; i < 99; i++)            // four chains of four lanes start at i & 7, + 1, + 2, + 3
            AT_CHECK_NEAR(y[i], 4 * (2 * (4 * (i & 7) + 6) + 4 * 0.25), 1e-4);
        AT_CHECK(y[99] == -1);
    }
    size_t made = 0;
    for (uint32_t workgroup = 1; workgroup <= at_vk_workgroup(dev, 32); workgroup *= 2)
        made++;
    AT_CHECK_INT(at_vk_pipeline_count(dev), before + made);
    at_vk_buffer_destroy(&host);
    check_clean();
}

static void bf16_survives_load_and_store(void)
{
    // Every bf16 goes through load and store unchanged; copy_bf16 wide and narrow take different paths.
    enum { N = 65536 };
    static uint16_t in[N], out[N];
    for (uint32_t i = 0; i < N; i++)
        in[i] = (uint16_t)i;
    struct at_vk_buffer *a = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = sizeof(in)});
    struct at_vk_buffer *b = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = sizeof(in)});
    bool ok = a && b && at_vk_buffer_write(a, 0, in, sizeof(in));
    for (uint32_t wide = 0; ok && wide < 2 && at_vk_kernel_supported(dev, "copy_bf16", NULL); wide++) {
        struct copy_push push = {at_vk_buffer_address(a), at_vk_buffer_address(b), N, 0};
        uint32_t constants[2] = {at_vk_workgroup(dev, 64), wide};
        struct at_vk_dispatch_params p = copy_params(&push, constants, "copy_bf16", 64);
        ok = run_once(&p) && at_vk_buffer_read(b, 0, out, sizeof(out));
        for (uint32_t i = 0; ok && i < N; i++) {
            bool nan = (i & 0x7fff) > 0x7f80;
            bool denormal = !(i & 0x7f80) && (i & 0x7f); // a device may flush these
            if (nan ? (out[i] & 0x7fff) <= 0x7f80 : out[i] != i && !(denormal && !(out[i] & 0x7fff)))
                AT_CHECK_INT(out[i], i);
        }
    }
    AT_CHECK(ok);
    at_vk_buffer_destroy(&a);
    at_vk_buffer_destroy(&b);
    check_clean();
}

// y[0] is copied to y[1], then y[1] to y[2] and so on: right only if every barrier holds, also across submissions.
static void recordings_run_again_and_in_order(void)
{
    enum { N = 40 };
    float y[N] = {0};
    struct at_vk_buffer *b = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = sizeof(y)});
    struct at_vk_commands *c = at_vk_commands_begin(dev, &(struct at_vk_commands_params){.max_dispatches = 7});
    bool ok = b && c;
    uint32_t constants[2] = {1, 0};
    for (uint32_t i = 0; ok && i + 1 < N; i++) {
        struct copy_push push = {at_vk_buffer_address(b) + 4 * i, at_vk_buffer_address(b) + 4 * i + 4, 1, 0};
        struct at_vk_dispatch_params p = copy_params(&push, constants, "copy_f32", 1);
        ok = at_vk_dispatch(c, &p);
        at_vk_barrier(c);
    }
    ok = ok && at_vk_commands_end(c);
    if (AT_CHECK(ok))
        AT_CHECK_INT(at_vk_commands_submissions(c), (N - 1 + 6) / 7);
    for (int round = 1; ok && round <= 3; round++) {
        uint64_t ticket = 0, again = 0;
        y[0] = (float)round;
        ok = at_vk_buffer_write(b, 0, y, 4) && at_vk_submit(c, &ticket) && at_vk_submit(c, &again) &&
             at_vk_wait(dev, ticket) && at_vk_wait(dev, again) && at_vk_buffer_read(b, 0, y, sizeof(y));
        AT_CHECK(again > ticket);
        for (int i = 0; i < N; i++)
            AT_CHECK(y[i] == (float)round);
    }
    AT_CHECK(ok);
    at_vk_commands_destroy(&c);
    // By FLOPs: each dispatch fills a submission.
    c = at_vk_commands_begin(dev, &(struct at_vk_commands_params){.max_flops = 10});
    struct copy_push push = {at_vk_buffer_address(b), at_vk_buffer_address(b) + 4, 1, 0};
    struct at_vk_dispatch_params p = copy_params(&push, constants, "copy_f32", 1);
    p.flops = 11;
    ok = c && at_vk_dispatch(c, &p) && at_vk_dispatch(c, &p) && at_vk_dispatch(c, &p);
    AT_CHECK(ok);
    AT_CHECK_INT(at_vk_commands_submissions(c), 3);
    at_vk_commands_destroy(&c); // never ended
    at_vk_buffer_destroy(&b);
    check_clean();
}

static void copies_fills_and_timestamps_are_recorded(void)
{
    uint32_t words[64];
    struct at_vk_buffer *b = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = sizeof(words)});
    struct at_vk_timer *timer = at_vk_device_info(dev)->timestamp_bits ? at_vk_timer_create(dev, 2) : NULL;
    struct at_vk_commands *c = at_vk_commands_begin(dev, NULL);
    bool ok = b && c && (!timer || at_vk_timestamp(c, timer, 0)) && at_vk_fill(c, b, 0, 128, 7) &&
              at_vk_fill(c, b, 128, 128, 9);
    if (ok)
        at_vk_barrier(c);
    ok = ok && at_vk_copy(c, b, 0, b, 132, 8) && (!timer || at_vk_timestamp(c, timer, 1)) && at_vk_commands_end(c) &&
         at_vk_run(c) && at_vk_buffer_read(b, 0, words, sizeof(words));
    AT_CHECK(ok);
    for (int i = 0; i < 64; i++)
        AT_CHECK_INT(words[i], i < 32 || i == 33 || i == 34 ? 7 : 9);
    double seconds = -1;
    if (timer) {
        AT_CHECK(at_vk_timer_read(timer, 0, 1, &seconds));
        AT_CHECK(seconds >= 0 && seconds < 10);
        AT_CHECK(!at_vk_timer_read(timer, 0, 2, &seconds));
        check_failure(AT_ERROR_FAILED, "timestamp 2");
    }
    at_vk_commands_destroy(&c);
    at_vk_timer_destroy(&timer);
    at_vk_buffer_destroy(&b);
    check_clean();
}

static void misuse_is_refused_with_words(void)
{
    struct at_vk_buffer *b = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = 16});
    unsigned char bytes[32] = {0};
    AT_CHECK(b && !at_vk_buffer_write(b, 8, bytes, 9));
    check_failure(AT_ERROR_FAILED, "outside a buffer of 16");
    AT_CHECK(!at_vk_buffer_read(b, UINT64_MAX, bytes, 1));
    check_failure(AT_ERROR_FAILED, "outside");
    AT_CHECK(!at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = 0, .name = "nothing"}));
    check_failure(AT_ERROR_DEVICE, "nothing of 0 bytes");
    uint32_t constants[2] = {1, 0};
    struct copy_push push = {0};
    struct at_vk_dispatch_params p = copy_params(&push, constants, "no_such_kernel", 1);
    AT_CHECK(!run_once(&p));
    check_failure(AT_ERROR_FAILED, "no kernel \"no_such_kernel\"");
    p.kernel = "copy_f32";
    constants[0] = at_vk_device_info(dev)->max_workgroup + 1;
    AT_CHECK(!run_once(&p));
    check_failure(AT_ERROR_DEVICE, "copy_f32 wants");
    struct at_vk_commands *c = at_vk_commands_begin(dev, NULL);
    AT_CHECK(c && !at_vk_submit(c, NULL));
    check_failure(AT_ERROR_FAILED, "has not ended");
    AT_CHECK(!at_vk_fill(c, b, 2, 4, 0));
    check_failure(AT_ERROR_FAILED, "whole words");
    AT_CHECK(!at_vk_commands_end(c) && !at_vk_run(c));
    check_failure(AT_ERROR_FAILED, "failed cannot be submitted");
    at_vk_commands_destroy(&c);
    at_vk_buffer_destroy(&b);
    check_clean();
}

// The device as it is when these variables are set; NULL sets none.
static bool reopen(const char *name, const char *value)
{
    at_vk_device_close(&dev);
    if (name)
        setenv(name, value, 1);
    dev = at_vk_device_open(&(struct at_vk_device_params){.log = &log_});
    if (name)
        unsetenv(name);
    return dev != NULL;
}

static void forced_limits_hold(void)
{
    static float x[3000], y[3000];
    for (int i = 0; i < 3000; i++)
        x[i] = (float)i;
    if (AT_CHECK(reopen("ATTUNE_VK_MAX_ALLOC", "4096"))) {
        AT_CHECK_INT(at_vk_device_info(dev)->max_buffer, 4096);
        AT_CHECK(!at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = 4097}));
        check_failure(AT_ERROR_DEVICE, "1 to 4096 bytes");
        struct at_vk_pool *pool = at_vk_pool_create(dev, 0, "pieces");
        struct at_vk_slice s[3] = {{0}};
        for (int i = 0; pool && i < 3; i++)
            AT_CHECK(at_vk_pool_alloc(pool, 1500, &s[i]) && s[i].offset % 256 == 0 && s[i].size == 1500);
        AT_CHECK(s[0].buffer == s[1].buffer && s[1].buffer != s[2].buffer && s[1].offset >= 1500);
        AT_CHECK(pool && !at_vk_pool_alloc(pool, 5000, &s[0]));
        check_failure(AT_ERROR_DEVICE, "pieces of 5000 bytes");
        at_vk_pool_destroy(&pool);
        AT_CHECK_INT(at_vk_memory_usage(dev).device, 0);
        AT_CHECK(at_vk_memory_usage(dev).device_peak >= 8192);
        check_clean();
    }
    // A staging buffer smaller than the data: the copies go in pieces. Its size is that of the largest buffer.
    if (AT_CHECK(reopen("ATTUNE_VK_MAX_ALLOC", "12K"))) {
        struct at_vk_buffer *b = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = sizeof(x)});
        AT_CHECK(b && at_vk_buffer_write(b, 0, x, sizeof(x)) && at_vk_buffer_read(b, 0, y, sizeof(y)));
        AT_CHECK(memcmp(x, y, sizeof(x)) == 0);
        at_vk_buffer_destroy(&b);
        check_clean();
    }
    if (AT_CHECK(reopen("ATTUNE_VK_HEAP", "1M"))) {
        AT_CHECK_INT(at_vk_device_info(dev)->memory, 1 << 20);
        struct at_vk_buffer *a = at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = 600000});
        AT_CHECK(a && !at_vk_buffer_create(dev, &(struct at_vk_buffer_params){.size = 600000, .name = "the rest"}));
        check_failure(AT_ERROR_DEVICE, "out of device memory: the rest needs");
        at_vk_buffer_destroy(&a);
        AT_CHECK(!reopen("ATTUNE_VK_HEAP", " -1"));
        check_failure(AT_ERROR_USAGE, "ATTUNE_VK_HEAP= -1");
        AT_CHECK(!reopen("ATTUNE_VK_HEAP", "1 apple"));
        check_failure(AT_ERROR_USAGE, "ATTUNE_VK_HEAP=1 apple");
    }
    if (AT_CHECK(reopen("ATTUNE_VK_MAX_WORKGROUP", "48"))) {
        AT_CHECK_INT(at_vk_workgroup(dev, 256), 32);
        copy_case("copy_f32", 4, 1025, 1, 3);
    }
    if (AT_CHECK(reopen("ATTUNE_VK_NO_SUBGROUP", "1")))
        AT_CHECK(at_vk_device_info(dev)->subgroup == 1 && !at_vk_device_info(dev)->subgroup_arithmetic);
    AT_CHECK(reopen(NULL, NULL));
    check_clean();
}

static void devices_are_chosen_by_number_and_name(void)
{
    struct at_vk_info *infos = NULL;
    size_t n = 0;
    AT_CHECK(at_vk_enumerate(&log_, &infos, &n) && n > 0);
    for (size_t i = 0; i < n; i++) {
        char text[24];
        snprintf(text, sizeof(text), "%zu", i);
        if (infos[i].missing[0])
            continue;
        struct at_vk_device *one = at_vk_device_open(&(struct at_vk_device_params){.log = &log_, .select = text});
        if (AT_CHECK(one != NULL))
            AT_CHECK_STR(at_vk_device_info(one)->name, infos[i].name);
        at_vk_device_close(&one);
        char part[8] = "";
        for (size_t j = 0; j < 7 && infos[i].name[j]; j++) // in capitals
            part[j] =
                infos[i].name[j] >= 'a' && infos[i].name[j] <= 'z' ? (char)(infos[i].name[j] - 32) : infos[i].name[j];
        one = at_vk_device_open(&(struct at_vk_device_params){.log = &log_, .select = part});
        AT_CHECK(one != NULL);
        at_vk_device_close(&one);
    }
    at_free(infos);
    AT_CHECK(!at_vk_device_open(&(struct at_vk_device_params){.log = &log_, .select = "no such device"}));
    check_failure(AT_ERROR_USAGE, "answers to \"no such device\"");
    AT_CHECK(!at_vk_device_open(&(struct at_vk_device_params){.log = &log_, .select = "99"}));
    check_failure(AT_ERROR_USAGE, "\"99\"");
    check_clean();
}

static bool uses_memory(struct at_vk_device *one)
{
    uint32_t word = 7, back = 0;
    struct at_vk_buffer *b = at_vk_buffer_create(one, &(struct at_vk_buffer_params){.size = 4, .name = "word"});
    bool ok = b && at_vk_buffer_write(b, 0, &word, 4) && at_vk_buffer_read(b, 0, &back, 4) && back == word;
    at_vk_buffer_destroy(&b);
    return ok;
}

// Whichever of two devices is opened or closed first, and whichever of them has the validation layer.
static void devices_do_not_share_the_layer(void)
{
    for (int order = 0; order < 4; order++) {
        struct at_vk_device *two[2];
        for (int i = 0; i < 2; i++) {
            bool layer = (order & 1) == i;
            setenv("ATTUNE_VK_VALIDATE", layer ? "1" : "0", 1);
            two[i] = at_vk_device_open(&(struct at_vk_device_params){.log = &log_});
        }
        setenv("ATTUNE_VK_VALIDATE", "1", 1);
        AT_CHECK(two[0] && uses_memory(two[0]) && two[1] && uses_memory(two[1]));
        at_vk_device_close(&two[order / 2]);
        AT_CHECK(two[!(order / 2)] && uses_memory(two[!(order / 2)]));
        at_vk_device_close(&two[!(order / 2)]);
    }
    check_clean();
}

// That the layer looks for hazards at all: every other test relies on it.
static void a_missing_barrier_is_an_error(void)
{
    struct at_vk_device *one = at_vk_device_open(&(struct at_vk_device_params){.log = &log_});
    struct at_vk_buffer_params p = {.size = 256};
    struct at_vk_buffer *a = one ? at_vk_buffer_create(one, &p) : NULL, *b = one ? at_vk_buffer_create(one, &p) : NULL;
    struct at_vk_commands *c = one ? at_vk_commands_begin(one, NULL) : NULL;
    bool validating = false;
    AT_CHECK(a && b && c && at_vk_fill(c, a, 0, 256, 7) && at_vk_copy(c, a, 0, b, 0, 256) && at_vk_commands_end(c) && at_vk_run(c));
    size_t errors = one ? at_vk_validation_errors(one, &validating) : 0;
    AT_CHECK(errors > 0 || !validating);
    if (validating)
        check_failure(AT_ERROR_FAILED, "HAZARD");
    at_vk_commands_destroy(&c);
    at_vk_buffer_destroy(&a);
    at_vk_buffer_destroy(&b);
    at_vk_device_close(&one);
    clear_log();
}

static void without_vulkan_the_log_says_what_to_install(void)
{
    struct at_vk_info *infos = NULL;
    size_t n = 0;
    setenv("ATTUNE_VK_DISABLE", "1", 1);
    AT_CHECK(!at_vk_enumerate(&log_, &infos, &n) && !infos && n == 0);
    check_failure(AT_ERROR_DEVICE, "ATTUNE_VK_DISABLE");
    unsetenv("ATTUNE_VK_DISABLE");
    static const char *const names[] = {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}; // newer loaders read the first, older the second
    char *kept[2];
    for (int i = 0; i < 2; i++) {
        kept[i] = getenv(names[i]) ? at_strdup(getenv(names[i])) : NULL;
        setenv(names[i], "/nonexistent.json", 1);
    }
    AT_CHECK(!at_vk_device_open(&(struct at_vk_device_params){.log = &log_}));
    check_failure(AT_ERROR_DEVICE, "mesa-vulkan-drivers");
    for (int i = 0; i < 2; i++) {
        if (kept[i])
            setenv(names[i], kept[i], 1);
        else
            unsetenv(names[i]);
        at_free(kept[i]);
    }
}

// The whole life of a device; true if every part of it worked.
static bool scenario(void)
{
    float x[100], y[100] = {0};
    for (int i = 0; i < 100; i++)
        x[i] = (float)i;
    struct at_vk_device *one = at_vk_device_open(&(struct at_vk_device_params){.log = &log_});
    if (!one)
        return false;
    struct at_vk_buffer *a = at_vk_buffer_create(one, &(struct at_vk_buffer_params){.size = sizeof(x)});
    struct at_vk_buffer *b = at_vk_buffer_create(one, &(struct at_vk_buffer_params){.size = sizeof(x)});
    bool stamps = at_vk_device_info(one)->timestamp_bits > 0;
    struct at_vk_timer *timer = stamps ? at_vk_timer_create(one, 2) : NULL;
    struct at_vk_commands *c = at_vk_commands_begin(one, &(struct at_vk_commands_params){.max_dispatches = 1});
    bool ok = a && b && c && (timer || !stamps) && at_vk_buffer_write(a, 0, x, sizeof(x));
    if (ok) {
        struct copy_push push = {at_vk_buffer_address(a), at_vk_buffer_address(b), 100, 0};
        uint32_t constants[2] = {1, 0};
        struct at_vk_dispatch_params p = {.kernel = "copy_f32",
                                          .constants = constants,
                                          .constant_count = 2,
                                          .push = &push,
                                          .push_size = sizeof(push),
                                          .groups = {100, 1, 1}};
        ok = (!timer || at_vk_timestamp(c, timer, 0)) && at_vk_dispatch(c, &p) && at_vk_dispatch(c, &p) &&
             (!timer || at_vk_timestamp(c, timer, 1)) && at_vk_commands_end(c) && at_vk_run(c) &&
             at_vk_buffer_read(b, 0, y, sizeof(y));
        double seconds;
        ok = ok && (!timer || at_vk_timer_read(timer, 0, 1, &seconds));
    }
    ok = ok && memcmp(x, y, sizeof(x)) == 0;
    at_vk_timer_destroy(&timer);
    at_vk_commands_destroy(&c);
    at_vk_buffer_destroy(&a);
    at_vk_buffer_destroy(&b);
    AT_CHECK_INT(at_vk_memory_usage(one).device, 0);
    AT_CHECK_INT(at_vk_validation_errors(one, NULL), 0);
    at_vk_device_close(&one);
    return ok;
}

static void every_vulkan_call_may_fail(void)
{
    size_t n = 1;
    for (bool done = false; !done && n < 500; n++) {
        at_vk_fail_at(n, n % 2 ? AT_VK_FAULT_MEMORY : AT_VK_FAULT_LOST);
        bool ok = scenario();
        done = !at_vk_failed();
        at_vk_fail_at(0, AT_VK_FAULT_MEMORY);
        if (!AT_CHECK(ok == done))
            printf("  at call %zu: %s\n", n, record.first);
        if (!done)
            AT_CHECK_INT(log_.error, AT_ERROR_DEVICE);
        if (strstr(record.first, "Vulkan validation"))
            AT_CHECK_STR(record.first, "no error of the validation layer");
        clear_log();
    }
    AT_CHECK(n > 20 && n < 500);
    printf("%zu Vulkan calls failed in turn\n", n - 2);
}

static void every_allocation_may_fail(void)
{
    size_t n = 1;
    for (bool done = false; !done && n < 500; n++) {
        at_alloc_fail_at(n, false);
        bool ok = scenario();
        done = !at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(!done || ok);
        clear_log();
    }
    AT_CHECK(n > 8 && n < 500);
}

// The one file in the folder `cache`/attune, or "".
static const char *cache_file(const char *cache)
{
    static char path[1024];
    char folder[512];
    path[0] = 0;
    snprintf(folder, sizeof(folder), "%s/attune", cache);
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (strncmp(e->d_name, "pipelines-", 10) == 0)
            snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
    if (dir)
        closedir(dir);
    return path;
}

static long file_size(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        return -1;
    long n = ftell(f);
    fclose(f);
    return n;
}

// A cache that is cut short, changed in any place, or not ours is ignored; the next close replaces it.
static void a_damaged_pipeline_cache_is_ignored(const char *cache)
{
    AT_CHECK(scenario());
    const char *path = cache_file(cache);
    long size = file_size(path);
    if (!AT_CHECK(size > 40))
        return;
    static const long places[] = {0, 9, 20, 35, 45, 58, 70, -1};
    for (int i = 0; i < 9; i++) {
        FILE *f = fopen(path, "r+b");
        if (i == 8) {
            AT_CHECK(f && ftruncate(fileno(f), size / 2) == 0);
        } else if (AT_CHECK(f != NULL)) {
            fseek(f, places[i], places[i] < 0 ? SEEK_END : SEEK_SET);
            int byte = fgetc(f);
            fseek(f, -1, SEEK_CUR);
            fputc(byte ^ 0x55, f);
        }
        if (f)
            fclose(f);
        AT_CHECK(scenario());
        AT_CHECK_INT(file_size(path), size);
    }
    check_clean();
}

static void ceilings_are_measured(void)
{
    struct at_vk_ceilings c;
    AT_CHECK(at_vk_measure(dev, &c));
    AT_CHECK(c.copy > 1e7 && c.copy < 1e14 && c.fma > 1e7 && c.fma < 1e15);
    printf("%s: copy %.1f GB/s, FMA %.1f GFLOP/s\n", at_vk_device_info(dev)->name, c.copy * 1e-9, c.fma * 1e-9);
    check_clean();
}

static void remove_cache(const char *cache)
{
    char folder[512];
    for (const char *path = cache_file(cache); path[0] && remove(path) == 0;)
        path = cache_file(cache);
    snprintf(folder, sizeof(folder), "%s/attune", cache);
    rmdir(folder);
    rmdir(cache);
}

// Keeps a library for good, so that a leak checker can tell the driver's memory from ours after it was closed.
static int keep_loaded(struct dl_phdr_info *info, size_t size, void *priv)
{
    (void)size;
    (void)priv;
    if (info->dlpi_name[0] == '/')
        (void)dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NODELETE);
    return 0;
}

int main(void)
{
    char cache[] = "/tmp/attune-test-XXXXXX";
    setenv("ATTUNE_VK_VALIDATE", "1", 1);
    if (!mkdtemp(cache) || setenv("XDG_CACHE_HOME", cache, 1) != 0)
        return 1;
    dev = at_vk_device_open(&(struct at_vk_device_params){.log = &log_});
    if (!dev) {
        printf("skipped: %s\n", record.first);
        remove_cache(cache);
        return AT_SKIP;
    }
    dl_iterate_phdr(keep_loaded, NULL);
    bool validating;
    (void)at_vk_validation_errors(dev, &validating);
    printf("%s, validation %s\n", at_vk_device_info(dev)->name, validating ? "on" : "OFF");
    AT_RUN(copies_of_any_size_stay_inside);
    AT_RUN(a_grid_may_be_folded_over_and_under_its_work);
    AT_RUN(constants_and_push_constants_reach_the_kernel);
    AT_RUN(bf16_survives_load_and_store);
    AT_RUN(recordings_run_again_and_in_order);
    AT_RUN(copies_fills_and_timestamps_are_recorded);
    AT_RUN(misuse_is_refused_with_words);
    AT_RUN(forced_limits_hold);
    AT_RUN(devices_are_chosen_by_number_and_name);
    AT_RUN(devices_do_not_share_the_layer);
    AT_RUN(a_missing_barrier_is_an_error);
    AT_RUN(without_vulkan_the_log_says_what_to_install);
    AT_RUN(every_vulkan_call_may_fail);
    AT_RUN(every_allocation_may_fail);
    at_test_name = "a_damaged_pipeline_cache_is_ignored";
    a_damaged_pipeline_cache_is_ignored(cache);
    AT_RUN(ceilings_are_measured);
    at_vk_device_close(&dev);
    remove_cache(cache);
    return at_test_end();
}
