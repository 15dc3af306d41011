// SPDX-License-Identifier: Apache-2.0
// CLIPTextModel and CLIPTextModelWithProjection: hidden states, pooled output, clip skip, gradients of weights.
#include "core/models/clip.h"

#include "tests/golden/case.h"
#include "tests/harness.h"

struct network {
    struct at_graph *g;
    struct at_clip_inputs in;
    struct at_node *hidden, *pooled, *w;
};

static void build(struct at_case *c, struct network *n, struct at_params *params, const struct at_clip_config *config,
                  struct at_shape ids)
{
    n->g = at_graph_create(&c->log);
    at_case_must(c, n->g != NULL, "no memory");
    struct at_builder b = {.g = n->g, .params = params};
    n->in.ids = at_graph_input(n->g, "ids", ids, AT_I32);
    n->in.end = at_graph_input(n->g, "end", AT_SHAPE(ids.dim[0]), AT_I32);
    n->hidden = at_graph_output(n->g, at_clip_text(&b, config, &n->in, &n->pooled), "hidden");
    at_graph_output(n->g, n->pooled, "pooled");
}

static void add_gradient(struct at_case *c, struct network *n)
{
    at_graph_next_phase(n->g);
    n->w = at_graph_input(n->g, "w", n->hidden->shape, AT_F32);
    struct at_seed seed = {n->hidden, n->w};
    at_case_must(c, at_graph_backward(n->g, &(struct at_gradient_params){.seeds = &seed, .seed_count = 1}),
                 "no gradient");
}

struct prompts {
    const int32_t *ids;
    int32_t end[8];
    struct at_shape shape;
};

static struct prompts read_prompts(struct at_case *c, const struct at_clip_config *config)
{
    int count;
    struct prompts p = {.ids = at_case_ints(c, "ids", &count)};
    int rows = count / config->positions;
    at_case_must(c, rows <= 8, "too many prompts");
    p.shape = AT_SHAPE(rows, config->positions);
    for (int i = 0; i < rows; i++)
        p.end[i] = at_clip_end(config, p.ids + i * config->positions, config->positions);
    return p;
}

// Hidden states as `in` asks for them against `expected`, and the pooled output.
static void run_one(struct at_case *c, struct at_params *params, const struct at_clip_config *config,
                    const struct prompts *p, struct at_clip_inputs in, const char *expected, bool gradient)
{
    struct network n = {.in = in};
    build(c, &n, params, config, p->shape);
    if (gradient)
        add_gradient(c, &n);
    struct at_exec *e = at_case_exec(c, n.g);
    float *hidden = at_case_floats(c, at_shape_count(n.hidden->shape));
    float *pooled = at_case_floats(c, at_shape_count(n.pooled->shape));
    bool ok = at_exec_write(e, n.in.ids, p->ids) && at_exec_write(e, n.in.end, p->end) && at_exec_run(e, 0) &&
              at_exec_read(e, n.hidden, hidden) && at_exec_read(e, n.pooled, pooled);
    if (gradient)
        ok = ok && at_exec_write(e, n.w, at_case_tensor(c, "w").values) && at_exec_run(e, 1);
    at_case_must(c, ok, "the device failed");
    AT_CHECK(at_case_close_to(c, expected, hidden, c->tolerance));
    AT_CHECK(at_case_close_to(c, config->projection ? "text_embeds" : "pooler_output", pooled, c->tolerance));
    if (gradient)
        AT_CHECK(at_case_gradients_close(c, params, "grad.", c->tolerance));
    at_exec_destroy(&e);
    at_graph_destroy(&n.g);
}

// The model of case `of` (NULL: this one), trainable or with weights of a type.
static void run_case(struct at_case *c, const char *of, bool trainable, enum at_weights weights)
{
    struct at_clip_config config;
    at_case_must(c, at_clip_config_parse(at_case_config(c, of, "text_encoder"), &config), "config");
    struct at_safetensors *file = at_weights_open(&c->log, at_case_path(c, of, "text_encoder"), "model", NULL);
    config.bare = file && at_clip_bare(file);
    at_safetensors_destroy(&file);
    struct prompts p = read_prompts(c, &config);
    struct at_params *params = at_params_create(&c->log);
    struct network n = {0};
    build(c, &n, params, &config, p.shape);
    at_graph_destroy(&n.g);
    const char *const ignored[] = {"text_model.embeddings.position_ids", NULL};
    at_case_load(
        c, params,
        &(struct at_case_weights){.of = of, .folder = "text_encoder", .base = "model", .ignored = ignored,
                                  .trainable = trainable, .weights = weights});
    run_one(c, params, &config, &p, (struct at_clip_inputs){0}, "last_hidden_state", trainable);
    if (!of) {
        run_one(c, params, &config, &p, (struct at_clip_inputs){.skip = 1, .raw = true}, "hidden_2", false);
        run_one(c, params, &config, &p, (struct at_clip_inputs){.skip = 1}, "hidden_2_normed", false);
    }
    at_params_destroy(&params);
}

int main(int argc, char **argv)
{
    const char *const names[] = {"clip_legacy", "clip_modern", "clip_projection", "bf16"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct at_case c;
        at_case_open(&c, argc, argv, names[i]);
        at_test_name = names[i];
        if (strcmp(names[i], "bf16") == 0) {
            run_case(&c, "clip_modern", false, AT_WEIGHTS_BF16);
        } else {
            run_case(&c, NULL, true, AT_WEIGHTS_F32);
            run_case(&c, NULL, false, AT_WEIGHTS_STORED);
        }
        at_case_finish(&c);
    }
    return at_test_end();
}
