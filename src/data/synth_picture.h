/* What a synthetic tweet's picture would show: its name and size, and boxes for the entities that can be seen in it. */
#ifndef GM_DATA_SYNTH_PICTURE_H
#define GM_DATA_SYNTH_PICTURE_H

#include "data/records.h"

/* Some records get no picture. In the others each entity can be seen with a chance of its type, mostly once; boxes are of
 * whole pixels and hardly overlap. The choices depend on seed, number and purpose alone; the text is not looked at. */
gm_status gm_synth_picture(uint64_t seed, uint32_t number, uint32_t purpose, gm_record *r, gm_err *err);

#endif
