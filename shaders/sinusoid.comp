// SPDX-License-Identifier: Apache-2.0
// Sinusoidal embedding of t (n) -> y (n, 2 half): angles t r^i, i < half; [cos | sin] if flip, else [sin | cos].
// The angle must be right to 1e-6 where it is 1000, so it is made of two floats (Dekker 1971): power[k] holds the high
// and the low part of r^(2^k). half < 4096.
// Constants: 0 workgroup.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/grid.glsl"

layout(push_constant, std430) uniform Push
{
    F32 t, y;
    uint n, half_, flip, pad;
    vec2 power[12];
};

// a b as an unevaluated sum of two floats.
vec2 product(float a, float b)
{
    precise float p = a * b;
    precise float ca = 4097.0 * a, cb = 4097.0 * b;
    precise float ah = ca - (ca - a), bh = cb - (cb - b);
    precise float al = a - ah, bl = b - bh;
    precise float low = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    return vec2(p, low);
}

vec2 product2(vec2 a, vec2 b)
{
    vec2 p = product(a.x, b.x);
    precise float low = p.y + (a.x * b.y + a.y * b.x);
    precise float high = p.x + low;
    precise float rest = low - (high - p.x);
    return vec2(high, rest);
}

// sin and cos of the angle, with Cody & Waite's three parts of pi / 2.
vec2 sin_cos(vec2 angle)
{
    float k = round(angle.x * 0.636619772);
    precise float r = angle.x - k * 1.5703125;
    r = r - k * 4.837512969970703125e-4;
    r = (r - k * 7.54978995489188216e-8) + angle.y;
    float z = r * r;
    float s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
    float c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
    switch (int(k) & 3) {
    case 0:
        return vec2(s, c);
    case 1:
        return vec2(c, -s);
    case 2:
        return vec2(-s, -c);
    default:
        return vec2(-c, s);
    }
}

void main()
{
    for (uint e = grid_first(); e < n * half_; e += grid_step()) {
        uint row = e / half_, i = e % half_;
        vec2 f = vec2(t.v[row], 0);
        for (uint k = 0; k < 12; k++)
            if ((i >> k & 1) != 0)
                f = product2(f, power[k]);
        vec2 sc = sin_cos(f);
        uint at = row * 2 * half_ + i;
        y.v[at + (flip != 0 ? half_ : 0)] = sc.x;
        y.v[at + (flip != 0 ? 0 : half_)] = sc.y;
    }
}
