/* Tests on a GPU machine: the module alone; nothing of the cpu backend is linked, so nothing but nvcc is needed. */
#include "tests/support/kernel_test.h"

int gmt_targets(gmt_target *to, int room) { return gmt_module_targets(to, room); }
