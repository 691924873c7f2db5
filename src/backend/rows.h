/* Included once for each instruction set with ROWS_OF(op) naming the row and FILL the function's name: declares the rows
 * that its kernels export and defines the function that puts them into a table. */
#define GM_KERNEL(op) extern const gm_##op##_row ROWS_OF(op);
#define GM_KERNEL_FORWARD(op) GM_KERNEL(op)
#include "kernels.def"
#undef GM_KERNEL
static void FILL(gm_kernels *k)
{
#define GM_KERNEL(op) k->op = ROWS_OF(op);
#include "kernels.def"
#undef GM_KERNEL
#undef GM_KERNEL_FORWARD
}
#undef ROWS_OF
#undef FILL
