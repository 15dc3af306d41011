// SPDX-License-Identifier: Apache-2.0
// One golden case of tests/golden/data/models (see README.md there): its tensors in attune's layout, its models on a
// device, and comparisons that print what they measured. A case that cannot be read ends the test as failed.
//
//     struct at_case c;
//     at_case_open(&c, argc, argv, "unet_sd1");
//     struct at_tensor x = at_case_tensor(&c, "0.x");
//     ok = at_case_close_to(&c, "0.y", got, 1);
//     at_case_finish(&c);
#ifndef TESTS_GOLDEN_CASE_H
#define TESTS_GOLDEN_CASE_H

#include "core/base/arena.h"
#include "core/graph/gradient.h"
#include "core/io/json.h"
#include "core/models/builder.h"

struct at_case {
    const char *name;
    struct at_log log;
    struct at_arena *arena; // of all values below
    struct at_device *dev;
    // Of max |difference| / max |expected|. loose: where beta / 2 = 1000 multiplies rounding errors. See noise.json.
    double tolerance, loose;
    struct at_safetensors *io;
    struct at_json_doc *configs[4]; // of the components that were opened
    int config_count;
};

// A float tensor on the host; images are channels last.
struct at_tensor {
    float *values;
    struct at_shape shape;
};

// Names of the devices a golden test can run on: the first argument of every test program; absent: cpu.
// Ends the program with 77 (skipped) where there is no such device.
void at_case_open(struct at_case *c, int argc, char **argv, const char *name);
void at_case_finish(struct at_case *c);
// "DATA/CASE/TAIL", in the arena. `name` NULL: this case.
const char *at_case_path(struct at_case *c, const char *name, const char *tail);
// config.json of a component folder of case `name` (NULL: this one); lives until the case is finished.
struct at_json at_case_config(struct at_case *c, const char *name, const char *folder);

// A tensor of io.safetensors: four dimensions (N,C,H,W) come as (N,H,W,C).
struct at_tensor at_case_tensor(struct at_case *c, const char *name);
bool at_case_has(const struct at_case *c, const char *name);
// An i32 tensor, and its element count.
const int32_t *at_case_ints(struct at_case *c, const char *name, int *count);
// Zeroed floats.
float *at_case_floats(struct at_case *c, int64_t n);

// Memory on the device for parameters that a build has declared, filled from BASE.safetensors of a folder.
struct at_case_weights {
    const char *of;     // case name; NULL: this one
    const char *folder; // "unet"; NULL: the case's own folder
    const char *base;   // "diffusion_pytorch_model"
    const char *prefix; // of the names in the file; NULL: none
    const char *const *ignored;
    bool trainable;
    enum at_weights weights; // types of what is frozen; 0: as the file has them, f16
};
void at_case_load(struct at_case *c, struct at_params *params, const struct at_case_weights *w);

// Whether max |got - expected| <= limit * max |expected|; prints the measured error.
bool at_case_close_to(struct at_case *c, const char *expected, const float *got, double limit);
bool at_case_close_to_doubles(struct at_case *c, const char *expected, const double *got, double limit);
// The same for parameters, or the gradients of the first replica: each is compared with PREFIX + its name, where the
// case has that tensor; every tensor whose name starts with PREFIX must have its parameter.
bool at_case_params_close(struct at_case *c, const struct at_params *params, const char *prefix, double limit);
bool at_case_gradients_close(struct at_case *c, const struct at_params *params, const char *prefix, double limit);

// Creates the executable form, or ends the test.
struct at_exec *at_case_exec(struct at_case *c, struct at_graph *g);
// Ends the test as failed unless ok.
void at_case_must(struct at_case *c, bool ok, const char *what);

#endif
