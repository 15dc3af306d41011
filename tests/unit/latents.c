// SPDX-License-Identifier: Apache-2.0
#include "datasets/latents.h"

#include "core/base/alloc.h"
#include "core/io/safetensors.h"
#include "tests/unit/capture.h"

static struct capture c;

static void write_file(const char *path, const char *name, const uint64_t *shape, int rank, const float *values,
                       const char *about)
{
    struct at_st_item item = {.name = name, .dtype = AT_ST_F32, .rank = rank, .shape = shape, .data = values};
    struct at_st_text text = {"attune", about};
    AT_CHECK(at_safetensors_write(capture_start(&c), path, &(struct at_st_content){&item, 1, &text, about != NULL}));
}

static void comes_back_as_it_was(void)
{
    float values[2 * 6 * 4];
    for (int i = 0; i < 48; i++)
        values[i] = (float)i / 7;
    struct at_latents l = {.count = 2, .height = 3, .width = 2, .channels = 4, .values = values}, back;
    const char *text = "{\"prompts\":[\"a kite\",\"\"],\"negative\":\"dull\",\"steps\":7,\"cfg\":1.5,"
                       "\"model\":{\"unet_sha256\":\"abc\"}}", *path = scratch_path("l.safetensors");
    l.about = at_json_parse(capture_start(&c), "about", text, strlen(text), NULL);
    AT_CHECK(at_latents_write(&c.log, path, &l) && at_latents_read(&c.log, path, &back));
    AT_CHECK(back.count == 2 && back.height == 3 && back.width == 2 && back.channels == 4 && back.steps == 7);
    AT_CHECK(memcmp(back.values, values, sizeof(values)) == 0);
    AT_CHECK_STR(back.prompts[0], "a kite");
    AT_CHECK_STR(back.prompts[1], "");
    AT_CHECK_STR(back.negative, "dull");
    AT_CHECK_STR(back.unet_sha256, "abc");
    AT_CHECK_NEAR(back.cfg, 1.5, 0);
    at_latents_finish(&back);
    at_json_destroy(&l.about);
}

// As another program would write it: planes, no word about them, one picture.
static void planes_of_one_picture(void)
{
    const float planes[2 * 3] = {1, 2, 3, 10, 20, 30};
    struct at_latents l;
    write_file(scratch_path("p.safetensors"), "latents", (const uint64_t[]){2, 1, 3}, 3, planes, NULL);
    AT_CHECK(at_latents_read(&c.log, scratch_path("p.safetensors"), &l));
    AT_CHECK(l.count == 1 && l.channels == 2 && l.height == 1 && l.width == 3 && !l.prompts && !l.negative && !l.steps);
    const float want[] = {1, 10, 2, 20, 3, 30};
    AT_CHECK(l.values && memcmp(l.values, want, sizeof(want)) == 0);
    at_latents_finish(&l);
}

static void refused(const char *name, const uint64_t *shape, int rank, const float *values, const char *about,
                    const char *reason)
{
    struct at_latents l;
    write_file(scratch_path("bad.safetensors"), name, shape, rank, values, about);
    AT_CHECK(!at_latents_read(capture_start(&c), scratch_path("bad.safetensors"), &l) && !l.values);
    AT_CHECK_INT(c.log.error, AT_ERROR_INPUT);
    if (!AT_CHECK(strstr(c.text, reason) != NULL))
        printf("message: \"%s\"\n", c.text);
}

static void what_is_wrong_is_named(void)
{
    const float one[2] = {1, 2}, bad[2] = {1, NAN};
    const uint64_t two[] = {2, 1, 1, 1}, flat[] = {2}, none[] = {1, 0, 4, 4};
    refused("noise", two, 4, one, NULL, "there is no tensor \"latents\"");
    refused("latents", flat, 1, one, NULL, "has 1 dimensions");
    refused("latents", none, 4, one, NULL, "none of them 0");
    refused("latents", two, 4, bad, NULL, "value 1 of \"latents\" is not finite");
    refused("latents", two, 4, one, "[", "metadata \"attune\"");
    refused("latents", two, 4, one, "[]", "expected an object");
    refused("latents", two, 4, one, "{\"prompts\":[\"a\"]}", "1 prompts for 2 latents");
    refused("latents", two, 4, one, "{\"prompts\":\"a\"}", "prompts");
    refused("latents", two, 4, one, "{\"prompts\":[\"a\",3]}", "prompts[1]");
    refused("latents", two, 4, one, "{\"steps\":0}", "steps");
    refused("latents", two, 4, one, "{\"model\":{\"unet_sha256\":5}}", "unet_sha256");
    struct at_latents l;
    AT_CHECK(!at_latents_read(capture_start(&c), scratch_path("missing.safetensors"), &l) && !l.values);
}

static void memory_runs_out(void)
{
    const float planes[2] = {1, 2};
    write_file(scratch_path("m.safetensors"), "latents", (const uint64_t[]){2, 1, 1, 1}, 4, planes,
               "{\"prompts\":[\"a\",\"b\"]}");
    for (size_t n = 1;; n++) {
        struct at_latents l;
        at_alloc_fail_at(n, false);
        bool ok = at_latents_read(capture_start(&c), scratch_path("m.safetensors"), &l), failed = at_alloc_failed();
        at_alloc_fail_at(0, false);
        AT_CHECK(ok == !failed);
        at_latents_finish(&l);
        if (!failed)
            break;
    }
}

int main(void)
{
    scratch_make();
    AT_RUN(comes_back_as_it_was);
    AT_RUN(planes_of_one_picture);
    AT_RUN(what_is_wrong_is_named);
    AT_RUN(memory_runs_out);
    scratch_remove();
    return at_test_end();
}
