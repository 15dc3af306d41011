// SPDX-License-Identifier: Apache-2.0
#include "core/optim/lr.h"
#include "tests/golden.h"

static void quiet(void *priv, enum at_level level, const char *text)
{
    (void)priv;
    (void)level;
    (void)text;
}

static struct at_log silent = {.write = quiet};

static void factors_match_diffusers(void)
{
    cJSON *root = at_golden_load("lr.json"), *row;
    int rows = 0;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(root, "rows"))
    {
        struct at_lr lr = {.warmup = (int64_t)cJSON_GetObjectItem(row, "warmup")->valuedouble,
                           .total = (int64_t)cJSON_GetObjectItem(row, "total")->valuedouble};
        const cJSON *factors = cJSON_GetObjectItem(row, "factors");
        AT_CHECK(at_lr_kind_parse(cJSON_GetObjectItem(row, "name")->valuestring, &lr.kind, &silent));
        AT_CHECK(at_lr_validate(&lr, &silent));
        for (int i = 0; i < cJSON_GetArraySize(factors); i++)
            AT_CHECK_NEAR(at_lr_factor(&lr, i), at_golden_at(factors, i), 1e-11);
        rows++;
    }
    AT_CHECK_INT(rows, 16);
    cJSON_Delete(root);
}

static void the_floor_holds_to_the_end_and_beyond(void)
{
    for (int kind = AT_LR_LINEAR; kind <= AT_LR_COSINE; kind++) {
        struct at_lr lr = {.kind = (enum at_lr_kind)kind, .warmup = 10, .total = 110, .floor = 0.1};
        AT_CHECK_NEAR(at_lr_factor(&lr, 0), 0, 0);
        AT_CHECK_NEAR(at_lr_factor(&lr, 10), 1, 1e-15);
        AT_CHECK_NEAR(at_lr_factor(&lr, 60), 0.55, 1e-12);
        AT_CHECK_NEAR(at_lr_factor(&lr, 110), 0.1, 1e-15);
        AT_CHECK_NEAR(at_lr_factor(&lr, 100000), 0.1, 1e-15);
    }
}

static void nonsense_is_refused(void)
{
    enum at_lr_kind kind;
    AT_CHECK(!at_lr_kind_parse("cosin", &kind, &silent));
    AT_CHECK(!at_lr_validate(&(struct at_lr){.warmup = -1}, &silent));
    AT_CHECK(!at_lr_validate(&(struct at_lr){.kind = AT_LR_COSINE, .warmup = 5, .total = 5}, &silent));
    AT_CHECK(!at_lr_validate(&(struct at_lr){.floor = 1.5}, &silent));
    AT_CHECK(at_lr_validate(&(struct at_lr){.warmup = 5}, &silent));
}

int main(void)
{
    AT_RUN(factors_match_diffusers);
    AT_RUN(the_floor_holds_to_the_end_and_beyond);
    AT_RUN(nonsense_is_refused);
    return at_test_end();
}
