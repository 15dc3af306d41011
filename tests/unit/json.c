// SPDX-License-Identifier: Apache-2.0
#include "core/io/json.h"
#include "tests/unit/capture.h"

static struct at_json_doc *parse(struct capture *c, const char *text)
{
    return at_json_parse(capture_start(c), "f.json", text, strlen(text), NULL);
}

static void refuses(const char *text, const char *message)
{
    struct capture c;
    struct at_json_doc *doc = parse(&c, text);
    if (!AT_CHECK(!doc))
        printf("accepted: %s\n", text);
    AT_CHECK(capture_says(&c, message));
    at_json_destroy(&doc);
}

static void syntax_errors_have_a_place(void)
{
    refuses("", "f.json:1:1");
    refuses("{\"a\": 1,\n \"b\" 2}", "f.json:2:");
    refuses("{\"a\": 1}\n x", "f.json:2:2: something follows");
    refuses("[1, 2", "ends too early");
    refuses("", "there is nothing in it");
    refuses("{\"\xc3\xa9\": \"\xff\"}", "f.json:1:8: a byte that is not UTF-8");
    refuses("{\"a\": \"b\nc\"}", "control character");
    refuses("{\"a\": \"b", "f.json:1:7: the string that starts here");
    refuses("{\"a\\u0000b\": 1}", "\\u0000");
    refuses("{\"a\": {\"x\": 1, \"y\": 2, \"x\": 3}}", "field \"a.x\": the key occurs twice");
    refuses("{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"a\":1}", "occurs twice");
    refuses("[01]", "not a number");
    refuses("[1.]", "not a number");
    refuses("[-]", "not a number");
    refuses("[1e+]", "not a number");
    refuses("[\"\\ud800\"]", "f.json:1:");
    refuses("[nan]", "f.json:1:2");
    refuses("[1,]", "f.json:1:");
    refuses("[1]\x01", "does not allow outside");
    char deep[200];
    memset(deep, '[', 199);
    deep[199] = '\0';
    refuses(deep, "f.json:1:65: objects or arrays are nested too deeply");
}

static void limits_hold(void)
{
    struct capture c;
    AT_CHECK(!at_json_parse(capture_start(&c), "f", "[1,2,3]", 7, &(struct at_json_limits){.values = 3}));
    AT_CHECK(capture_says(&c, "too many values"));
    AT_CHECK(!at_json_parse(capture_start(&c), "f", "[1,2,3]", 7, &(struct at_json_limits){.bytes = 6}));
    AT_CHECK(capture_says(&c, "7 bytes of JSON"));
}

static void typed_members(void)
{
    struct capture c;
    struct at_json_doc *doc = parse(&c, "\xef\xbb\xbf{\"flag\": true, \"n\": -3, \"x\": 2.5e-1, \"s\": \"\\u00e9\", "
                                        "\"nil\": null, \"list\": [320, 640], \"kind\": \"linear\", \"seed\": "
                                        "9007199254740992, \"o\": {\"deep\": [1, {\"k\": 7}]}}");
    struct at_json root = at_json_root(doc), o;
    bool flag;
    int n, list[3] = {0}, kind;
    int64_t seed;
    size_t count = 99;
    double x;
    const char *s;
    AT_CHECK(at_json_bool(root, "flag", false, &flag) && flag);
    AT_CHECK(at_json_bool(root, "absent", true, &flag) && flag);
    AT_CHECK(at_json_int(root, "n", 5, -3, 3, &n) && n == -3);
    AT_CHECK(at_json_int(root, "nil", 5, 0, 3, &n) && n == 5);
    AT_CHECK(at_json_num(root, "x", 0, &x) && x == 0.25);
    AT_CHECK(at_json_str(root, "s", NULL, &s));
    AT_CHECK_STR(s, "\xc3\xa9");
    AT_CHECK(at_json_i64(root, "seed", 0, &seed) && seed == INT64_C(9007199254740992));
    AT_CHECK(at_json_ints(root, "absent", 0, 9, list, 3, &count) && count == 99);
    AT_CHECK(at_json_ints(root, "list", 1, 4096, list, 3, &count) && count == 2 && list[0] == 320 && list[1] == 640);
    static const char *const kinds[] = {"scaled_linear", "linear", NULL};
    AT_CHECK(at_json_enum(root, "kind", kinds, 0, &kind) && kind == 1);
    AT_CHECK(at_json_object(root, "o", &o) && at_json_present(o));
    AT_CHECK_INT(at_json_count(root), 9);
    AT_CHECK_STR(at_json_key(at_json_next(at_json_first(root))), "n");
    struct at_json k = at_json_get(at_json_at(at_json_get(o, "deep"), 1), "k");
    AT_CHECK(!at_json_fail(k, "no"));
    AT_CHECK_STR(c.text, "f.json: field \"o.deep[1].k\": no");
    at_json_destroy(&doc);
    AT_CHECK(!doc);
}

// As diffusers writes "lambda_min_clipped": -Infinity into scheduler_config.json.
static void infinity_is_read_as_python_writes_it(void)
{
    static const char text[] = "{\"low\": -Infinity, \"list\": [Infinity], \"n\": 1}";
    struct capture c;
    struct at_json_doc *doc = parse(&c, text);
    struct at_json root = at_json_root(doc);
    double x;
    AT_CHECK(doc && at_json_is_infinite(at_json_get(root, "low")) && !at_json_is_infinite(at_json_get(root, "n")));
    AT_CHECK(at_json_is_infinite(at_json_at(at_json_get(root, "list"), 0)));
    AT_CHECK(doc && !at_json_num(root, "low", 0, &x) && capture_says(&c, "\"low\": expected a number"));
    at_json_destroy(&doc);
    static const char *const bad[] = {"{\"a\": -Infinit}", "{\"a\": Infinity0}", "{\"a\": +Infinity}", "-Infinit"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        AT_CHECK(!parse(&c, bad[i]));
}

static void wrong_types_name_the_field(void)
{
    static const char text[] = "{\"flag\": \"False\", \"n\": 2.5, \"big\": 1e16, \"inf\": 1e999, \"list\": [1, \"2\"], "
                               "\"kind\": \"liner\", \"o\": []}";
    static const char *const kinds[] = {"scaled_linear", "linear", NULL};
    struct capture c;
    struct at_json_doc *doc = parse(&c, text);
    struct at_json root = at_json_root(doc), o;
    bool flag;
    int n, list[2];
    int64_t big;
    size_t count;
    double x;
    AT_CHECK(!at_json_bool(root, "flag", true, &flag));
    AT_CHECK(capture_says(&c, "f.json: field \"flag\": expected true or false, found the string \"False\""));
    AT_CHECK(!at_json_int(root, "n", 0, 0, 9, &n) && capture_says(&c, "\"n\": expected an integer"));
    AT_CHECK(!at_json_i64(root, "big", 0, &big) && capture_says(&c, "\"big\""));
    AT_CHECK(at_json_is_infinite(at_json_get(root, "inf")) && !at_json_is_infinite(at_json_get(root, "big")));
    AT_CHECK(!at_json_num(root, "inf", 0, &x) && capture_says(&c, "\"inf\": expected a number"));
    AT_CHECK(!at_json_ints(root, "list", 0, 9, list, 2, &count) && capture_says(&c, "\"list[1]\""));
    AT_CHECK(!at_json_ints(root, "list", 0, 9, list, 1, &count) && capture_says(&c, "2 elements; at most 1"));
    AT_CHECK(!at_json_enum(root, "kind", kinds, 0, &n) && capture_says(&c, "did you mean \"linear\""));
    AT_CHECK(!at_json_object(root, "o", &o) && capture_says(&c, "expected an object, found an array"));
    AT_CHECK(!at_json_need(root, "gone", &o) && capture_says(&c, "\"gone\" is missing"));
    static const char *const keys[] = {"flag", "n", "bigger", "inf", "list", "kind", NULL};
    c.messages = 0;
    AT_CHECK(!at_json_check_keys(root, keys));
    AT_CHECK_INT(c.messages, 2); // big and o
    AT_CHECK(capture_says(&c, "field \"o\": unknown key"));
    at_json_destroy(&doc);
    doc = parse(&c, "{\"n\": 10}");
    AT_CHECK(!at_json_int(at_json_root(doc), "n", 0, 0, 9, &n));
    AT_CHECK(capture_says(&c, "expected an integer from 0 to 9, found the number 10"));
    static const char *const near[] = {"m", "batch_size", NULL};
    AT_CHECK(!at_json_check_keys(at_json_root(doc), near) && capture_says(&c, "unknown key"));
    at_json_destroy(&doc);
}

static void writes_what_it_reads(void)
{
    struct at_json_doc *doc = at_json_create(NULL, false);
    struct at_json root = at_json_root(doc), list = at_json_put_array(root, "list");
    at_json_put_num(root, "third", 1.0 / 3);
    at_json_put_num(root, "tenth", 0.1);
    at_json_put_num(root, "nan", NAN);
    at_json_put_float(root, "f", 0.1f);
    at_json_put_int(root, "i", INT64_MIN);
    at_json_put_bool(list, NULL, true);
    at_json_put_str(list, NULL, "a\"\n\xff");
    at_json_put_str(at_json_put_object(list, NULL), "none", NULL);
    char *text = at_json_text(doc, false);
    AT_CHECK_STR(text, "{\"list\":[true,\"a\\\"\\n\xef\xbf\xbd\",{\"none\":null}],\"third\":0.3333333333333333,"
                       "\"tenth\":0.1,\"nan\":null,\"f\":0.1,\"i\":-9223372036854775808}");
    struct at_json_doc *back = at_json_parse(NULL, "back", text, strlen(text), NULL);
    struct at_json_doc *copy = at_json_create(NULL, true);
    at_json_put_copy(at_json_root(copy), NULL, at_json_get(at_json_root(back), "third"));
    char *again = at_json_text(copy, false);
    AT_CHECK_STR(again, "[0.3333333333333333]");
    at_free(text);
    at_free(again);
    at_json_put_bool(root, NULL, true); // an object's member without a key is a mistake
    AT_CHECK(!at_json_text(doc, false));
    at_json_destroy(&doc);
    at_json_destroy(&back);
    at_json_destroy(&copy);
}

static bool round_trip(void)
{
    static const char text[] =
        "{\"a\":[1,2,{\"b\":\"c\"}],\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1}";
    struct at_json_doc *doc = at_json_parse(NULL, "f", text, sizeof(text) - 1, NULL), *copy = NULL;
    char *out = NULL;
    if (doc && (copy = at_json_create(NULL, true))) {
        at_json_put_copy(at_json_root(copy), NULL, at_json_root(doc));
        at_json_put_str(at_json_root(copy), NULL, "\xff");
        out = at_json_text(copy, true);
    }
    at_json_destroy(&doc);
    at_json_destroy(&copy);
    at_free(out);
    return out != NULL;
}

static void survives_allocation_faults(void)
{
    fail_each_allocation(round_trip);
}

int main(void)
{
    AT_RUN(syntax_errors_have_a_place);
    AT_RUN(limits_hold);
    AT_RUN(typed_members);
    AT_RUN(infinity_is_read_as_python_writes_it);
    AT_RUN(wrong_types_name_the_field);
    AT_RUN(writes_what_it_reads);
    AT_RUN(survives_allocation_faults);
    return at_test_end();
}
