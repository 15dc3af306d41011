// SPDX-License-Identifier: Apache-2.0
// Whole jobs on the Vulkan device while one of its calls fails, under the validation layer: an error of the right kind,
// never a crash, and nothing half-written.
#include "tests/pipeline/tiny.h"

#include "core/vulkan/device.h"
#include "core/vulkan/executor.h"

static struct capture capture;

// Closes the device; false if it broke a rule.
static bool close_clean(struct at_device **dev)
{
    size_t errors = *dev ? at_vk_validation_errors(at_vulkan_device(*dev), NULL) : 0;
    at_device_close(dev);
    return errors == 0;
}

static struct at_device *open_device(void)
{
    return at_vulkan_open(&(struct at_vulkan_params){.select = getenv("ATTUNE_TEST_DEVICE")}, capture_start(&capture));
}

static bool draw_one(void)
{
    static float pixels[TINY_SIDE * TINY_SIDE * 3];
    struct at_device *dev = open_device();
    struct at_model *m =
        dev ? at_model_open(dev, &(struct at_model_params){.path = tiny_path("model")}, dev->log) : NULL;
    struct at_sample_item item = {.prompt = "a red ball", .seed = 1};
    struct at_sample_params p = {.items = &item, .count = 1, .steps = 1, .cfg = 2};
    bool ok = m && at_sample(m, &p, pixels, NULL);
    at_model_destroy(&m);
    AT_CHECK(close_clean(&dev));
    return ok;
}

static bool train_one(void)
{
    struct at_train_dpo_params p = tiny_dpo(scratch_path("faults"), 1);
    struct at_device *dev = open_device();
    p.cache = scratch_path("faults/cache");
    p.held_out = 0.3;
    bool ok = dev && at_train_dpo(dev, &p, dev->log);
    AT_CHECK(close_clean(&dev));
    return ok;
}

// Every failing call makes the job fail and say so. Later ones are thinned out: the first are those of opening the
// device, which unit/vulkan tries one by one.
static void fail_calls(const char *what, bool (*work)(void))
{
    size_t n = 1, tried = 0;
    for (;; n += 1 + n / 8 + n % 7) { // the remainder keeps it off the rhythm of loops
        at_vk_fail_at(n, tried % 2 ? AT_VK_FAULT_LOST : AT_VK_FAULT_MEMORY);
        bool ok = work(), happened = at_vk_failed();
        at_vk_fail_at(0, AT_VK_FAULT_MEMORY);
        if (!AT_CHECK(tiny_left_over(scratch) == 0))
            printf("files are left over after: %s\n", capture.text);
        AT_CHECK(at_path_remove(NULL, scratch_path("faults")));
        if (!happened) {
            if (!AT_CHECK(ok))
                printf("%s: %s\n", what, capture.text);
            break;
        }
        tried++;
        if (ok || capture.log.error != AT_ERROR_DEVICE) {
            printf("FAIL %s: call %zu failed, and the job %s (kind %d): %s\n", what, n, ok ? "went on" : "failed",
                   (int)capture.log.error, capture.text);
            at_test_failures++;
        }
    }
    printf("%s: %zu of %zu calls failed\n", what, tried, n);
    AT_CHECK(tried > 10);
}

static void calls_fail_while_drawing(void)
{
    fail_calls("sample", draw_one);
}

static void calls_fail_while_training(void)
{
    fail_calls("train", train_one);
}

int main(void)
{
    setenv("ATTUNE_VK_VALIDATE", "1", 1);
    struct at_device *dev = open_device();
    if (!dev) {
        printf("skipped: %s\n", capture.text);
        return AT_SKIP;
    }
    at_device_close(&dev);
    scratch_make();
    AT_RUN(calls_fail_while_drawing);
    AT_RUN(calls_fail_while_training);
    scratch_remove();
    return at_test_end();
}
