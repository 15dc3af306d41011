// SPDX-License-Identifier: Apache-2.0
// IEEE binary16 and bfloat16 in portable C, round to nearest even.
#ifndef CORE_BASE_HALF_H
#define CORE_BASE_HALF_H

#include <stdint.h>

uint16_t at_f16_from_f32(float x);
float at_f32_from_f16(uint16_t h);
uint16_t at_bf16_from_f32(float x);
float at_f32_from_bf16(uint16_t h);
// Towards odd: whatever half this float is then rounded to, the double has been rounded to once.
float at_f32_odd_from_f64(double x);

#endif
