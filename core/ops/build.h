// SPDX-License-Identifier: Apache-2.0
// One function an op: appends it to a graph. This list is the engine's vocabulary, with formulas and shapes.
// All follow graph.h: a NULL input gives NULL, errors stick to the graph. "rows" are all dimensions but the last.
#ifndef CORE_OPS_BUILD_H
#define CORE_OPS_BUILD_H

#include "core/graph/graph.h"

enum at_act {
    AT_ACT_NONE,
    AT_ACT_SILU,       // x sigmoid(x)
    AT_ACT_GELU,       // x (1 + erf(x / sqrt 2)) / 2
    AT_ACT_QUICK_GELU, // x sigmoid(1.702 x)
    AT_ACT_RELU,       // max(x, 0); slope 0 at 0
    AT_ACT_TANH,
};

// --- products -------------------------------------------------------------------------------------------------------
// y = alpha op(a) op(b). a is read as a matrix (rows, last), b too; op transposes where asked. y is (rows.., n) with
// a's leading dimensions, or (m,n) if a is transposed. Linear layer: at_matmul(x, w (out,in), .tb = true).
struct at_matmul_params {
    bool ta, tb;
    float alpha; // 0: 1
};
struct at_node *at_matmul(struct at_graph *g, struct at_node *a, struct at_node *b, const struct at_matmul_params *p);

// x (N,H,W,C), w (O,KH,KW,C) -> (N,H',W',O), H' = (H + top + bottom - KH) / stride + 1, zero padding.
struct at_conv_params {
    int stride; // 0: 1
    int top, left, bottom, right;
};
struct at_node *at_conv2d(struct at_graph *g, struct at_node *x, struct at_node *w, const struct at_conv_params *p);
// Adjoints of conv2d: dx of shape `x_shape` from dy and w; dw of shape `w_shape` from dy and x.
struct at_node *at_conv2d_dx(struct at_graph *g, struct at_node *dy, struct at_node *w, struct at_shape x_shape,
                             const struct at_attr *conv);
struct at_node *at_conv2d_dw(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_shape w_shape,
                             const struct at_attr *conv);

// Multi-head attention: q (N,Lq,D), k and v (N,Lk,D), heads dividing D -> (N,Lq,D);
// per head softmax(scale q k^T) v. causal: query i sees keys 0 .. i.
struct at_attention_params {
    int heads;
    float scale; // 0: 1 / sqrt(D / heads)
    bool causal;
};
struct at_node *at_attention(struct at_graph *g, struct at_node *q, struct at_node *k, struct at_node *v,
                             const struct at_attention_params *p);
// [dq | dk | dv] in one vector, from q, k, v, y, dy.
struct at_node *at_attention_bwd(struct at_graph *g, struct at_node *q, struct at_node *k, struct at_node *v,
                                 struct at_node *y, struct at_node *dy, const struct at_attr *attention);

// --- elementwise ----------------------------------------------------------------------------------------------------
struct at_node *at_add(struct at_graph *g, struct at_node *a, struct at_node *b);
struct at_node *at_mul(struct at_graph *g, struct at_node *a, struct at_node *b);
// a x + b
struct at_node *at_scale(struct at_graph *g, struct at_node *x, float a, float b);
struct at_node *at_act(struct at_graph *g, struct at_node *x, enum at_act act);
// dy act'(x)
struct at_node *at_act_bwd(struct at_graph *g, struct at_node *dy, struct at_node *x, enum at_act act);
// x (..,2C) = [h | gate] -> h gelu(gate), (..,C)
struct at_node *at_geglu(struct at_graph *g, struct at_node *x);
struct at_node *at_geglu_bwd(struct at_graph *g, struct at_node *dy, struct at_node *x);
// sum += x, in place; sum is a leaf.
struct at_node *at_accumulate(struct at_graph *g, struct at_node *sum, struct at_node *x);

// --- broadcasts and reductions: x is read as (outer, middle, C) -----------------------------------------------------
// y = x + b, b (C) or, per sample, (N,C) with N = x's first dimension.
struct at_node *at_bias(struct at_graph *g, struct at_node *x, struct at_node *b);
// Sum over the middle: (N,..,C) -> (N,C) if `per_sample`, else (..,C) -> (C).
struct at_node *at_sum_rows(struct at_graph *g, struct at_node *x, bool per_sample);
// y[n,..] = x[n,..] s[n]: s (N).
struct at_node *at_scale_rows(struct at_graph *g, struct at_node *x, struct at_node *s);

// --- normalisation --------------------------------------------------------------------------------------------------
// act(group_norm(x)): x (N,..,C), statistics over everything of a sample but the group; gamma, beta (C); act NONE or SILU.
struct at_norm_params {
    int groups;
    float eps;
    enum at_act act;
};
struct at_node *at_group_norm(struct at_graph *g, struct at_node *x, struct at_node *gamma, struct at_node *beta,
                              const struct at_norm_params *p);
// Of each group mean and 1 / sqrt(variance + eps), (N,groups,2); attr of the norm. at_group_norm makes them.
struct at_node *at_group_norm_stats(struct at_graph *g, struct at_node *x, const struct at_attr *norm);
// (N,2,C): of each sample what is summed for its gradients; over samples [dgamma | dbeta].
struct at_node *at_group_norm_sums(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_node *gamma,
                                   struct at_node *beta, struct at_node *stats, const struct at_attr *norm);
struct at_node *at_group_norm_dx(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_node *gamma,
                                 struct at_node *beta, struct at_node *stats, struct at_node *sums,
                                 const struct at_attr *norm);
// Over the last dimension.
struct at_node *at_layer_norm(struct at_graph *g, struct at_node *x, struct at_node *gamma, struct at_node *beta,
                              float eps);
struct at_node *at_layer_norm_dx(struct at_graph *g, struct at_node *dy, struct at_node *x, struct at_node *gamma,
                                 float eps);
struct at_node *at_layer_norm_dw(struct at_graph *g, struct at_node *dy, struct at_node *x, float eps);

// --- shape ----------------------------------------------------------------------------------------------------------
// The same elements, or `count` of them from element `offset` on, under another shape. Nothing runs.
// A weight in host memory as a tensor of the device, of the same type.
struct at_node *at_fetch(struct at_graph *g, struct at_node *x);
struct at_node *at_view(struct at_graph *g, struct at_node *x, int64_t offset, struct at_shape shape);
// Channels [first, first + count) of the last dimension.
struct at_node *at_slice(struct at_graph *g, struct at_node *x, int64_t first, int64_t count);
// Adjoint of slice: x placed at channel `first` among `channels`, zero elsewhere.
struct at_node *at_unslice(struct at_graph *g, struct at_node *x, int64_t first, int64_t channels);
// Joins the last dimension.
struct at_node *at_concat(struct at_graph *g, struct at_node *a, struct at_node *b);
// Nearest neighbour to (N,h,w,C): y[i,j] = x[floor(i H / h), floor(j W / w)].
struct at_node *at_upsample(struct at_graph *g, struct at_node *x, int64_t h, int64_t w);
struct at_node *at_upsample_bwd(struct at_graph *g, struct at_node *dy, int64_t h, int64_t w);
// Difference along image axis 1 (height) or 2 (width): y[i] = x[i + 1] - x[i], one smaller there.
struct at_node *at_diff(struct at_graph *g, struct at_node *x, int axis);
struct at_node *at_diff_bwd(struct at_graph *g, struct at_node *dy, int axis);

// --- lookups and embeddings -----------------------------------------------------------------------------------------
// table (V,D), ids (..) integers in 0 .. V-1 -> (..,D). An id outside is read as 0.
struct at_node *at_embed(struct at_graph *g, struct at_node *table, struct at_node *ids);
struct at_node *at_embed_bwd(struct at_graph *g, struct at_node *dy, struct at_node *ids, int64_t rows);
// Sinusoidal embedding of t (N) -> (N,dim): frequencies exp(-ln(10000) i / (dim/2 - shift)), i < dim/2;
// [cos | sin] if flip, else [sin | cos] (diffusers get_timestep_embedding; dim even).
struct at_sinusoid_params {
    int dim;
    bool flip;
    float shift;
};
struct at_node *at_sinusoid(struct at_graph *g, struct at_node *t, const struct at_sinusoid_params *p);
// Row index[n] of sample n: x (N,L,D), index (N) -> (N,D).
struct at_node *at_pick(struct at_graph *g, struct at_node *x, struct at_node *index);
struct at_node *at_pick_bwd(struct at_graph *g, struct at_node *dy, struct at_node *index, int64_t length);

// --- errors, one value a sample: y (N,..) against a constant target -> (N) ------------------------------------------
// Mean over the sample of mask (y - target)^2 / mean of mask; mask optional, of y's shape without its channels.
struct at_node *at_sq_err(struct at_graph *g, struct at_node *y, struct at_node *target, struct at_node *mask);
struct at_node *at_sq_err_bwd(struct at_graph *g, struct at_node *dm, struct at_node *y, struct at_node *target,
                              struct at_node *mask);
// Mean |y - target|; gradient sign(y - target), 0 at 0.
struct at_node *at_abs_err(struct at_graph *g, struct at_node *y, struct at_node *target);
struct at_node *at_abs_err_bwd(struct at_graph *g, struct at_node *dm, struct at_node *y, struct at_node *target);

// --- diagonal Gaussian of an autoencoder: moments (..,2C) = [mean | logvar], logvar clamped to -30 .. 20 ------------
// mean + exp(logvar / 2) noise
struct at_node *at_gaussian_sample(struct at_graph *g, struct at_node *moments, struct at_node *noise);
struct at_node *at_gaussian_sample_bwd(struct at_graph *g, struct at_node *dz, struct at_node *moments,
                                       struct at_node *noise);
// KL to a standard normal, summed over a sample -> (N).
struct at_node *at_gaussian_kl(struct at_graph *g, struct at_node *moments);
struct at_node *at_gaussian_kl_bwd(struct at_graph *g, struct at_node *dkl, struct at_node *moments);

// --- optimisers: in place on flat vectors ---------------------------------------------------------------------------
// AdamW (Loshchilov & Hutter 2019; torch.optim.AdamW): updates w given gradient, and moments packed as state (2,n).
// scalars (8): lr, beta1, beta2, eps, weight decay, 1 - beta1^t, 1 - beta2^t, gradient scale.
// `moments` is updated by at_adamw_moments first.
struct at_node *at_adamw_moments(struct at_graph *g, struct at_node *moments, struct at_node *grad,
                                 struct at_node *scalars);
struct at_node *at_adamw(struct at_graph *g, struct at_node *w, struct at_node *moments, struct at_node *scalars);
// average += (1 - decay) (w - average); scalars (1): decay.
struct at_node *at_ema(struct at_graph *g, struct at_node *average, struct at_node *w, struct at_node *scalars);
// x = value, in place.
struct at_node *at_fill(struct at_graph *g, struct at_node *x, float value);
// Sum of squares -> (1).
struct at_node *at_sq_norm(struct at_graph *g, struct at_node *x);

#endif
