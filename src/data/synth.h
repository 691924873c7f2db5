/* Synthetic tweets from the project's own grammar and lexicons (synth_grammar.def, synth_lexicon.def), as records with
 * types PER LOC ORG OTHER. Most name a picture with its size, and boxes for the entities that can be seen in it; the
 * pictures themselves are drawn by `gmner paint`. For first runs and tests without a data set. */
#ifndef GM_DATA_SYNTH_H
#define GM_DATA_SYNTH_H

#include "data/records.h"

typedef struct gm_synth_options {
    const char *split;  /* train dev test: different sentences; dev and test also use names that train never has */
    uint64_t seed;
    int64_t first;      /* number of the first record, from 0 */
    int64_t count;
    bool is_hard;       /* more noise, more ambiguous and more unseen names */
} gm_synth_options;

/* Appends `count` records with ids synth-<split>-000000 ... to *all. A record depends on split, seed, is_hard and its
 * own number alone, so that any part of a set can be made again. An entity whose name was kept from training carries
 * the extra member "unseen":true. */
gm_status gm_synth(const gm_synth_options *o, gm_records *all, gm_err *err);

#endif
