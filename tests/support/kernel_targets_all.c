/* Tests of a full build: every instruction set of the cpu, then the module that GM_TEST_MODULE names, if any. */
#include "kernel_test.h"

int gmt_targets(gmt_target *to, int room)
{
    const int count = gmt_cpu_targets(to, room);
    return count + gmt_module_targets(to + count, room - count);
}
