// SPDX-License-Identifier: Apache-2.0
// Activation functions and their derivatives. `kind` counts as enum at_act of core/ops/build.h.
#ifndef LIB_ACT_GLSL
#define LIB_ACT_GLSL

const uint ACT_NONE = 0, ACT_SILU = 1, ACT_GELU = 2, ACT_QUICK_GELU = 3, ACT_RELU = 4, ACT_TANH = 5;

float act_sigmoid(float x)
{
    return 1.0 / (1.0 + exp(clamp(-x, -80.0, 80.0)));
}

// Abramowitz & Stegun 7.1.26, near 0 the Maclaurin series: the absolute error is below 4e-7.
float act_erf(float x)
{
    float a = abs(x), s = a * a, t = 1.0 / (1.0 + 0.3275911 * a);
    float p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    float small = a * (1.128379167 + s * (-0.3761263890 + s * (0.1128379167 + s * (-0.02686617064 +
                                                                                   s * 0.005223977625))));
    float y = a < 0.5 ? small : 1.0 - p * exp(-min(s, 80.0));
    return x < 0.0 ? -y : y;
}

// The normal distribution function.
float act_cdf(float x)
{
    return 0.5 * (1.0 + act_erf(x * 0.70710678));
}

float act_gelu(float x)
{
    return x * act_cdf(x);
}

float act_gelu_slope(float x)
{
    return act_cdf(x) + x * 0.39894228 * exp(-min(0.5 * x * x, 80.0));
}

// By exp(-2 |x|), near 0 by the Maclaurin series: the relative error is below 4e-7.
float act_tanh(float x)
{
    float s = x * x, t = exp(-min(2.0 * abs(x), 80.0)), far = (1.0 - t) / (1.0 + t);
    float near = x * (1.0 + s * (-0.333333333 + s * (0.133333333 + s * (-0.0539682540 + s * 0.0218694885))));
    return s < 0.09 ? near : x < 0.0 ? -far : far;
}

float act_apply(uint kind, float x)
{
    if (kind == ACT_SILU)
        return x * act_sigmoid(x);
    if (kind == ACT_GELU)
        return act_gelu(x);
    if (kind == ACT_QUICK_GELU)
        return x * act_sigmoid(1.702 * x);
    if (kind == ACT_RELU)
        return x < 0.0 ? 0.0 : x;
    if (kind == ACT_TANH)
        return act_tanh(x);
    return x;
}

float act_slope(uint kind, float x)
{
    if (kind == ACT_GELU)
        return act_gelu_slope(x);
    if (kind == ACT_NONE)
        return 1.0;
    if (kind == ACT_RELU)
        return x <= 0.0 ? 0.0 : 1.0;
    if (kind == ACT_TANH) {
        float y = act_tanh(x);
        return (1.0 - y) * (1.0 + y);
    }
    float k = kind == ACT_SILU ? 1.0 : 1.702;
    float p = act_sigmoid(k * x);
    return p * (1.0 + k * x * (1.0 - p));
}

#endif
