/* Any bytes as a model's sentences: those that are taken are records that can be written and read again, as tagged text as well, and whose
 * entities do not overlap. The first byte chooses the rules. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/tagged.h"
#include "mllm/synthesis.h"

static void check(gm_sentence *s, const gm_synthesis_rules *rules)
{
    static char id[] = "x";
    gm_err err;
    gm_buffer line = { 0 }, tagged = { 0 };
    gm_record *r = &s->record, again;
    if (s->fault != GM_SYNTHESIS_FAULTS) {
        if (r->token_count != 0 || r->entity_count != 0) abort();
        return;
    }
    if (r->token_count == 0 || (s->left_out > 0 && !rules->keeps_partial)) abort();
    for (int32_t k = 0; k < r->entity_count; k++)
        if (r->entities[k].start < (k > 0 ? r->entities[k - 1].end + 1 : 0) || r->entities[k].end < r->entities[k].start) abort();
    r->id = id;
    if (gm_record_write(r, &line, &err) != GM_OK || gm_record_parse(line.data, line.size, &again, &err) != GM_OK) abort();
    if (again.token_count != r->token_count || again.entity_count != r->entity_count) abort();
    if (gm_tagged_write(r, &tagged, &err) != GM_OK) abort();
    r->id = NULL;
    gm_record_free(&again);
    gm_buffer_free(&line);
    gm_buffer_free(&tagged);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gm_type_set sets[2];
    gm_err err = { 0 };
    gm_sentences got = { 0 };
    if (sets[0].shown.count == 0 &&
        (gm_type_set_parse("vessel,location,other", &sets[0], &err) != GM_OK || gm_type_set_parse("person/actor,person/artist", &sets[1], &err) != GM_OK))
        abort();
    if (size == 0) return 0;
    const gm_synthesis_rules rules = { .types = &sets[data[0] & 1], .min_words = 1 + (data[0] >> 4), .max_words = 40, .keeps_partial = data[0] & 2 };
    const gm_status status = gm_synthesis_read((const char *)data + 1, size - 1, &rules, &got, &err);
    if (status == GM_OK ? got.count == 0 : err.text[0] == '\0') abort();
    for (size_t i = 0; i < got.count; i++) check(&got.items[i], &rules);
    gm_sentences_free(&got);
    return 0;
}
