#include "base/philox.h"

#include <math.h>

void gm_normal4(gm_philox4 bits, float out[4])
{
    for (int pair = 0; pair < 2; pair++) {
        const double a = gm_uniform(bits.word[2 * pair]), b = gm_uniform(bits.word[2 * pair + 1]);
        const double r = sqrt(-2.0 * log(1.0 - a)), angle = 6.283185307179586476925286766559 * b;
        out[2 * pair] = (float)(r * cos(angle));
        out[2 * pair + 1] = (float)(r * sin(angle));
    }
}
