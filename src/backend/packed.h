/* The layout in which the CPU's own product reads weights in prediction: panels of GM_PANEL outputs, each with the weights of
 * one input side by side (in bf16 of two inputs, as one instruction takes them). Outputs behind the last one weigh zero. */
#ifndef GM_BACKEND_PACKED_H
#define GM_BACKEND_PACKED_H

#include "device.h"

enum { GM_PANEL = 32 };

/* fp32: [panel][in][GM_PANEL]; bf16: [panel][in / 2][GM_PANEL][2]. 0 where there is no such layout: bf16 takes inputs in pairs. */
size_t gm_packed_bytes(gm_float_type type, int32_t out, int32_t in);
/* w [out, in] into `packed`, shared out to `threads`. */
void gm_pack_weight(gm_float_type type, const void *w, int32_t out, int32_t in, void *packed, int threads);

/* Whether so many rows are multiplied by packed weights. Where oneDNN has tiles (AMX) it is faster in bf16 from some rows on;
 * elsewhere our product is its equal for many rows and far ahead for few, and its bits depend on nothing but the row. */
bool gm_packed_serves(gm_float_type type, int32_t rows);

#endif
