// SPDX-License-Identifier: Apache-2.0
// make-single NAME FILE: a tiny checkpoint in one file, of tests/golden/data/single.
#include "tests/golden/single.h"

int main(int argc, char **argv)
{
    struct single_model m;
    if (argc != 3 || !single_load(&m, argv[1], true) || !single_write(&m, argv[2], NULL, NULL, 0, NULL))
        return 1;
    single_finish(&m);
    return 0;
}
