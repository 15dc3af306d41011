// SPDX-License-Identifier: Apache-2.0
// Counter-based randomness: Philox4x32-10 (Salmon et al., SC11). A draw is a pure function of (seed, stream, index), so
// the noise of sample i does not depend on device, batch size or order.
#ifndef CORE_BASE_RNG_H
#define CORE_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

// The purposes that draw numbers. One stream each, so that one purpose never shifts another.
enum at_stream {
    AT_STREAM_LATENT = 1, // initial noise of a sample
    AT_STREAM_STEP,       // noise a sampler adds on its way
    AT_STREAM_NOISE,      // forward-process noise in training
    AT_STREAM_TIME,       // timesteps in training
    AT_STREAM_DATA,       // order of the data
    AT_STREAM_DROPOUT,    // caption dropout
    AT_STREAM_FLIP,       // horizontal flips
    AT_STREAM_POSTERIOR,  // the autoencoder's posterior
    AT_STREAM_INIT,       // initial weights
    AT_STREAM_MAKE,       // procedural data
    AT_STREAM_BOOTSTRAP,  // resampling in statistics
    AT_STREAM_LABEL,      // coin labels of a control
};

// Four 32-bit draws at counter `index`.
void at_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4]);
// Uniform in [0, 1), 53 bits.
double at_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index);
// Uniform in 0 .. n-1 (n > 0).
uint64_t at_rng_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n);
// n standard normals (Box-Muller); element j of sample `sample` is the same however the elements are batched.
// A sample owns counters sample * 2^32 ...; n < 2^33.
void at_rng_normal(float *out, size_t n, uint64_t seed, uint64_t stream, uint64_t sample);
// A permutation of 0 .. n-1 (Fisher-Yates) into out.
void at_rng_shuffle(uint32_t *out, uint32_t n, uint64_t seed, uint64_t stream, uint64_t round);

#endif
