// SPDX-License-Identifier: Apache-2.0
// What an op declares, once. An op is core/ops/<name>.c: its definition and, in the other half of the file, its host
// kernel, which is built once for each real type and instruction set (see README.md).
#ifndef CORE_OPS_OP_H
#define CORE_OPS_OP_H

#include "core/graph/graph.h"

#include <stddef.h>

struct at_lower; // core/vulkan/lower.h: turns one node into dispatches

// What a run of the node costs at least: arithmetic, and memory traffic with every tensor touched once.
struct at_cost {
    double flops, bytes;
};

// The matrix product that a node comes to: (m,n) = op(a) op(b), sums over k; op transposes where asked.
struct at_product_shape {
    bool ta, tb;
    int64_t m, n, k;
};

// What the gradient of one node is made from. `in` and `y` hold the node's inputs and output, recomputed where the plan
// asks for it; `dx[i]` is to be set for every i with need[i].
struct at_backward {
    struct at_graph *g;
    const struct at_node *node;
    struct at_node *in[AT_ARITY], *y, *dy;
    bool need[AT_ARITY];
    struct at_node *dx[AT_ARITY];
};

// How a node can be swallowed by the product that computes its first operand: y = act(alpha * acc + bias) + residual.
enum at_epilogue {
    AT_EPILOGUE_NONE,
    AT_EPILOGUE_BIAS,     // + in[1], one value a column
    AT_EPILOGUE_ACT,      // act attr.i[0] applied to in[0]
    AT_EPILOGUE_RESIDUAL, // + the other operand, of the same shape
};

// One test case of an op: random inputs of these shapes.
struct at_op_case {
    struct at_shape in[AT_ARITY]; // rank 0: absent
    struct at_attr attr;
    struct at_shape shape;  // for ops that need it
    float low, high;        // range of the inputs; both 0: -1 .. 1
    unsigned ints;          // bit i: input i is of AT_I32
    unsigned f16, bf16;     // bit i: input i is of that type, and so not differentiated
    unsigned whole;         // bit i: input i holds integers as floats (a mask of 0 and 1)
    int limit;              // integers are in 0 .. limit-1
    bool forward_only;      // skip the gradient (a form that only fusion makes)
    double tolerance;       // of float devices against the oracle, relative; 0: 2e-5. A reason stands beside it.
};

#define AT_NO_BACKWARD NULL // this op is not differentiable: building its gradient fails, by name

struct at_op {
    const char *name; // also of its tests and benches
    int id;           // AT_ID_<name>
    int required;     // the first inputs that must be present
    // Sets shape and dtype, and is the only place that rejects shapes: false with the reason in `why`.
    bool (*infer)(struct at_node *n, char *why, size_t size);
    void (*backward)(struct at_backward *b);
    // The host kernel's scratch memory in reals, for `threads` threads together. NULL: none.
    size_t (*scratch)(const struct at_node *n, int threads);
    // Appends the dispatches of the node. Vulkan scratch in bytes, NULL: none.
    bool (*vulkan)(struct at_lower *l);
    size_t (*vulkan_scratch)(const struct at_node *n);
    struct at_cost (*cost)(const struct at_node *n);
    // The node's arithmetic as one product, for benches. NULL: the op is none; false: this node is not a single one.
    bool (*product)(const struct at_node *n, struct at_product_shape *p);
    const struct at_op_case *cases;
    int case_count;
    unsigned inplace;      // bit i: the output may take the memory of input i if it dies here
    unsigned constant;     // bit i: input i is never differentiated (a target, indices)
    unsigned half;         // bit i: input i may be AT_F16 or AT_BF16
    bool alias;            // the output is input 0 under another shape: nothing runs
    bool updates;          // the output overwrites input 0
    bool cheap;            // recomputing it costs little beside keeping its output
    // Bit e (enum at_epilogue): a product that takes this epilogue: in[2] bias, attr.i[7] activation, in[3] residual,
    // applied in this order; an activation and a residual exclude each other.
    unsigned takes;
    enum at_epilogue epilogue;
};

// The table; op_list.h is generated from core/ops/meson.build.
enum at_op_id {
#define AT_OP(name) AT_ID_##name,
#include "core/ops/op_list.h"
#undef AT_OP
    AT_OP_COUNT
};
#define AT_OP(name) extern const struct at_op at_op_##name;
#include "core/ops/op_list.h"
#undef AT_OP
extern const struct at_op *const at_ops[AT_OP_COUNT];

// Helpers for the definitions.
#define AT_CASES(array) .cases = (array), .case_count = (int)(sizeof(array) / sizeof((array)[0]))
// Says why a shape is refused; returns false.
AT_PRINTF(3, 4) bool at_infer_fail(char *why, size_t size, const char *fmt, ...);
// y has the shape and dtype of in[0].
bool at_infer_same(struct at_node *n, char *why, size_t size);
// y and every present input have one shape.
bool at_infer_equal(struct at_node *n, char *why, size_t size);
// The type of a case's input.
enum at_dtype at_case_dtype(const struct at_op_case *c, int input);
// Bytes of the inputs and the output, each once, with 4 a real.
double at_cost_bytes(const struct at_node *n);
// `flops` per output element, every tensor touched once.
struct at_cost at_cost_elementwise(const struct at_node *n, double flops);

#endif
