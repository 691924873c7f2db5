#include "patches/patches_op.h"

#include "patches/patches.h"

gm_status gm_op_patches(gm_tape *t, const gm_pack *images, const uint8_t *pixels, int32_t side, int32_t patch, gm_pixel_norm norm,
                        gm_pack **tokens, gm_tensor **y)
{
    if (patch < 1 || side < patch || side % patch != 0)
        return gm_fail(t->err, GM_ERR_SHAPE, "patches: images of %d pixels have no whole number of patches of %d", side, patch);
    const int32_t across = side / patch, rows = 1 + across * across;
    if ((int64_t)images->capacity * rows > INT32_MAX - 1)
        return gm_fail(t->err, GM_ERR_SHAPE, "patches: %d images have more than %d patches", images->capacity, INT32_MAX);
    int32_t *cu, *n;
    GM_TRY(gm_tape_low(t, (size_t)(images->capacity + 1) * sizeof *cu, &cu));
    GM_TRY(gm_tape_low(t, sizeof *n, &n));
    GM_TRY(gm_tape_note(t, sizeof **tokens, tokens));
    **tokens = (gm_pack){ .cu = cu, .n = n, .rows = images->rows * rows, .capacity = images->capacity * rows, .sequences = images->capacity };
    GM_TRY(gm_tape_tensor(t, *tokens, 3 * patch * patch, y));
    (*y)->requires_grad = false;
    gm_patches a = { .pixels = pixels, .out = (*y)->data, .cu = cu, .n_rows = n, .n_images = images->n, .images = images->capacity, .side = side, .patch = patch };
    for (int c = 0; c < 3; c++) {
        a.scale[c] = (float)(1.0 / (255.0 * (double)norm.std[c]));
        a.shift[c] = (float)(-(double)norm.mean[c] / (double)norm.std[c]);
    }
    return t->k->patches.forward(&a, t->dev);
}
