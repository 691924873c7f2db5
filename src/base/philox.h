/* Philox4x32-10 (Salmon et al., SC 2011): the project's only source of random numbers, by counter, so that a number
 * depends on what it is for and never on order, batch, thread or rank. The counter layout is docs/conventions.md's:
 * (element / 4, draw, sample key, purpose), purpose = site | layer << 8 | position << 16; element e uses word e % 4.
 * Included by kernels as well: inline, no library call, no state. */
#ifndef GM_BASE_PHILOX_H
#define GM_BASE_PHILOX_H

#include <stdint.h>

typedef struct gm_philox4 { uint32_t word[4]; } gm_philox4;

/* Who draws: the one table of sites. Numbers are part of every result: append, never renumber. */
typedef enum gm_site {
    GM_SITE_EMBEDDING = 1,      /* dropout behind the embedding's norm; element = column */
    GM_SITE_ATTENTION = 2,      /* dropout of attention probabilities; element = head * 512 + key */
    GM_SITE_ATTENTION_OUT = 3,  /* dropout of the attention block's output */
    GM_SITE_FFN_OUT = 4,        /* dropout of the feed-forward block's output */
    GM_SITE_SPAN_HIDDEN = 5,    /* dropout of a span's hidden vector; position = start << 4 | width */
    GM_SITE_TAG_STATE = 6,      /* dropout of the word state before the CRF's emissions */
    GM_SITE_REGION_QUERY = 7,   /* dropout of an entity's query to the regions; position as that of its span */
    GM_SITE_SHUFFLE = 64,       /* order of samples in an epoch */
    GM_SITE_INIT = 65,          /* initial weights; sample key = FNV-1a of the tensor's name */
    GM_SITE_SYNTH = 66,         /* the synthesiser's choices */
    GM_SITE_TEST = 67,          /* inputs of tests and benchmarks */
    GM_SITE_PAINT = 68,         /* drawn images; sample key = FNV-1a of the name of the image */
    GM_SITE_BASELINE = 69,      /* the random region of an entity; element = start << 16 ^ end */
    GM_SITE_RETRY = 70,         /* waiting time before a request is sent again; draw = the try */
    GM_SITE_SPLIT = 71          /* which samples are for development */
} gm_site;

static inline uint32_t gm_purpose(uint32_t site, uint32_t layer, uint32_t position)
{
    return site | layer << 8 | position << 16;
}

static inline gm_philox4 gm_philox(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)p1;
        c2 = n2;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (gm_philox4){ { c0, c1, c2, c3 } };
}

/* [0, 1) in steps of 2^-24. */
static inline float gm_uniform(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

/* FNV-1a, 32 bits: the sample key of an id. */
static inline uint32_t gm_fnv1a(const char *text)
{
    uint32_t h = 2166136261u;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) h = (h ^ *c) * 16777619u;
    return h;
}

/* The four normal numbers N(0, 1) of one counter (Box-Muller, words (0,1) then (2,3)), in double for the reference. */
void gm_normal4(gm_philox4 bits, float out[4]);

/* A number below n (n > 0) for the i-th choice of a stream: unbiased enough for n < 2^31 (multiply and shift). */
static inline uint32_t gm_below(uint32_t word, uint32_t n) { return (uint32_t)((uint64_t)word * n >> 32); }

#endif
