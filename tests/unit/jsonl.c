// SPDX-License-Identifier: Apache-2.0
#include "core/io/jsonl.h"
#include "tests/unit/capture.h"

static void rows_with_line_numbers(void)
{
    static const char text[] =
        "\xef\xbb\xbf{\"prompt\": \"a\"}\r\n\n  \n{\"prompt\": 3}\n[1]\n{\"x\": }\n{\"prompt\": \"b\"}";
    struct capture c;
    struct at_json row;
    const char *prompt;
    struct at_jsonl *lines = at_jsonl_parse(capture_start(&c), "d.jsonl", text, sizeof(text) - 1);
    AT_CHECK(at_jsonl_next(lines, &row) == AT_JSONL_ROW && at_json_str(row, "prompt", NULL, &prompt));
    AT_CHECK_STR(prompt, "a");
    AT_CHECK_INT(at_jsonl_line(lines), 1);
    AT_CHECK(at_jsonl_next(lines, &row) == AT_JSONL_ROW && !at_json_str(row, "prompt", NULL, &prompt));
    AT_CHECK(capture_says(&c, "d.jsonl:4: field \"prompt\": expected a string, found the number 3"));
    AT_CHECK(at_jsonl_next(lines, &row) == AT_JSONL_BAD && capture_says(&c, "d.jsonl:5: expected an object"));
    AT_CHECK(at_jsonl_next(lines, &row) == AT_JSONL_BAD && capture_says(&c, "d.jsonl:6:"));
    AT_CHECK(at_jsonl_next(lines, &row) == AT_JSONL_ROW && at_json_str(row, "prompt", NULL, &prompt));
    AT_CHECK_STR(prompt, "b");
    AT_CHECK_INT(at_jsonl_line(lines), 7);
    AT_CHECK(at_jsonl_next(lines, &row) == AT_JSONL_END && at_jsonl_next(lines, &row) == AT_JSONL_END);
    at_jsonl_destroy(&lines);
    at_jsonl_destroy(&lines);
}

static void files(void)
{
    struct at_json row;
    const char *path = scratch_path("a.jsonl");
    AT_CHECK(at_file_replace(NULL, path, "{\"a\":1}\n{\"a\":2}\n", 16));
    struct at_jsonl *lines = at_jsonl_open(NULL, path);
    int64_t sum = 0, a;
    while (at_jsonl_next(lines, &row) == AT_JSONL_ROW)
        sum += at_json_i64(row, "a", 0, &a) ? a : 100;
    AT_CHECK_INT(sum, 3);
    at_jsonl_destroy(&lines);
    AT_CHECK(!at_jsonl_open(NULL, scratch_path("none")));
    AT_CHECK(at_file_replace(NULL, path, "", 0));
    lines = at_jsonl_open(NULL, path);
    AT_CHECK(at_jsonl_next(lines, &row) == AT_JSONL_END);
    at_jsonl_destroy(&lines);
}

static bool read_all(void)
{
    struct at_json row;
    struct at_jsonl *lines = at_jsonl_parse(NULL, "d", "{\"a\":1}\n{\"a\":2}\n", 16);
    enum at_jsonl_step step = lines ? AT_JSONL_ROW : AT_JSONL_BAD;
    while (step == AT_JSONL_ROW)
        step = at_jsonl_next(lines, &row);
    at_jsonl_destroy(&lines);
    return step == AT_JSONL_END;
}

static void survives_allocation_faults(void)
{
    fail_each_allocation(read_all);
}

int main(void)
{
    scratch_make();
    AT_RUN(rows_with_line_numbers);
    AT_RUN(files);
    AT_RUN(survives_allocation_faults);
    scratch_remove();
    return at_test_end();
}
