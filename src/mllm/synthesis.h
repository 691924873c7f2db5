/* Stage 1 of ReFineG: a language model writes sentences like a labelled one, and those that hold become training data (docs/synthesis.md).
 * An answer is read leniently, its sentences are judged strictly: names that do not stand in their text would teach the small model that
 * what stands there in their place is no entity. What comes out depends on the answers alone, not on the order in which they came. */
#ifndef GM_MLLM_SYNTHESIS_H
#define GM_MLLM_SYNTHESIS_H

#include "data/records.h"
#include "mllm/prompts.h"
#include "mllm/type_set.h"

typedef enum gm_synthesis_fault {
#define GM_SYNTHESIS_FAULT(name, meaning) GM_SYNTHESIS_##name,
#include "mllm/synthesis.def"
#undef GM_SYNTHESIS_FAULT
    GM_SYNTHESIS_FAULTS /* as a sentence's fault: none */
} gm_synthesis_fault;
extern const char *const gm_synthesis_names[GM_SYNTHESIS_FAULTS];

/* ---- asking ---- */

typedef struct gm_synthesis_order {
    gm_prompt prompts[2];           /* synthesis, synthesis_empty */
    const gm_type_set *types;
    int32_t sentences, more;        /* with the given entities, and with new ones; of a sample without entities their sum */
} gm_synthesis_order;

gm_status gm_synthesis_message(const gm_synthesis_order *o, const gm_record *sample, gm_prompt_message *to, gm_err *err);
/* JSON schema of an answer: the list, wrapped in an object as strict servers want it. gm_free it. */
gm_status gm_synthesis_schema(const gm_type_set *types, char **schema, gm_err *err);

/* ---- reading ---- */

typedef struct gm_synthesis_rules {
    const gm_type_set *types;
    int32_t min_words, max_words;   /* a letter of a script without blanks is a word */
    bool keeps_partial;             /* an entity that does not hold is left out, and its sentence is taken (as ReFineG's script does) */
} gm_synthesis_rules;

/* A sentence of an answer. */
typedef struct gm_sentence {
    char *text;
    int32_t number;                 /* its place in the answer, from 1 */
    gm_synthesis_fault fault;
    gm_record record;               /* tokens and entities; empty where there is a fault */
    int32_t retyped;                /* entities of unknown types that became the type for others */
    int32_t nested;                 /* names that stand only within longer ones, and got no entity */
    int32_t inside_words;           /* occurrences that begin or end inside a word, which is then marked as a whole */
    int32_t left_out;               /* entities, by keeps_partial */
} gm_sentence;

typedef struct gm_sentences {
    gm_sentence *items;
    size_t count, capacity;
} gm_sentences;

/* The sentences of an answer: a list in an object, alone, fenced or within prose; of an answer that was cut those that are whole. GM_ERR_DATA
 * where there is none. Appends to *to. */
gm_status gm_synthesis_read(const char *text, size_t size, const gm_synthesis_rules *rules, gm_sentences *to, gm_err *err);
void gm_sentences_free(gm_sentences *s); /* takes a zeroed one */

/* ---- putting together ---- */

/* Chooses the samples whose sentences are for development: the share of all, by the seed and their ids. Samples of one text stay together. */
gm_status gm_synthesis_split(const gm_records *samples, double share, uint64_t seed, bool *is_dev, gm_err *err);

typedef struct gm_synthesis_counts {
    int64_t made, kept, train, dev;
    int64_t of[GM_SYNTHESIS_FAULTS];
    int64_t entities, retyped, nested, inside_words, left_out; /* of the sentences kept */
} gm_synthesis_counts;

/* Goes through the sentences of all samples in their order, drops those that stood before, and moves the others to *train and *dev as records
 * <sample>-llm-<number>, which name the sample they were made from. */
gm_status gm_synthesis_collect(const gm_records *samples, gm_sentences *made, const bool *is_dev, gm_records *train, gm_records *dev,
                               gm_synthesis_counts *counts, gm_err *err);

#endif
