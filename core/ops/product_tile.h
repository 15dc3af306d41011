// SPDX-License-Identifier: Apache-2.0
// The tiles of a matrix product on a GPU. product.c chooses among them; tests/bench/radv_table.c lists what it can
// choose.
#ifndef CORE_OPS_PRODUCT_TILE_H
#define CORE_OPS_PRODUCT_TILE_H

#include <stdbool.h>
#include <stdint.h>

// The tile of y that a workgroup makes, the part of an invocation, the depth in shared memory (0: lean), and how fast
// it is beside the largest when nothing is wasted. A tile that loads much of an operand for what it computes has no
// registers to spare, and needs that operand four elements at a time.
struct at_product_tile {
    uint32_t bm, bn, tm, tn, bk;
    bool a_wide, b_wide; // needed
    double speed;
};

static const struct at_product_tile at_product_tiles[] = {
    {128, 128, 8, 8, 16, true, true, 1},  {64, 64, 8, 4, 16, false, false, 0.9},  {64, 16, 4, 4, 16, true, false, 0.7},
    {16, 64, 4, 4, 16, false, true, 0.7}, {32, 32, 4, 4, 16, false, false, 0.65},
};
#define AT_PRODUCT_TILES (sizeof(at_product_tiles) / sizeof(at_product_tiles[0]))

static inline uint32_t at_product_tile_threads(const struct at_product_tile *t)
{
    return t->bm / t->tm * (t->bn / t->tn);
}

static inline bool at_product_tile_takes(const struct at_product_tile *t, bool a_wide, bool b_wide)
{
    return (a_wide || !t->a_wide) && (b_wide || !t->b_wide);
}

#endif
