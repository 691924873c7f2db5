/* embedding_bag: x[r] += the sum of table[index[r][k]] over the bag of row r: learned features added to states that are
 * there already, so nothing else is made and the gradient of x passes by untouched. Sums of a row are taken in order of k,
 * in float, and rounded once. Rows from *n_rows on are left as they are. Work per element: 1 read and 1 write of x and
 * `bag` additions, the table stays in the cache: bound by memory. */
#ifndef GM_EMBEDDING_BAG_H
#define GM_EMBEDDING_BAG_H

#include "kernels.h"

struct gm_embedding_bag {
    void *x;                  /* [capacity, width] */
    const uint8_t *index;     /* [capacity, bag] rows of the table; those behind *n_rows may point nowhere */
    const float *table;       /* [rows, width] */
    const int32_t *n_rows;
    int32_t capacity, width, bag, rows; /* rows at most 256 */
};

/* dtable[i] = the sum of dx[r] over all r and k with index[r][k] = i; added where `add`. Rows of the table that nobody
 * asked for get zero. In a fixed order: the same bits on every run. */
struct gm_embedding_bag_grad {
    const void *dx;           /* [capacity, width] */
    const uint8_t *index;
    float *dtable;            /* [rows, width] */
    bool add;
    const int32_t *n_rows;
    int32_t capacity, width, bag, rows;
};

#endif
