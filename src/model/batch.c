#include "model/batch.h"

#include <string.h>

#include "base/memory.h"
#include "cross_entropy/cross_entropy.h"

/* Capacities are multiples of these: products of few shapes, few plans. A plan of the cpu is cheap beside rows that are
 * computed for nothing: 16 instead of 64 takes 3 % from a step. */
enum { HOST_UNIT = 16, DEVICE_UNIT = 64 };

int32_t gm_batch_capacity(const gm_batch *b, int32_t rows)
{
    const int32_t unit = b->dev == NULL || b->dev->memory->is_host ? HOST_UNIT : DEVICE_UNIT;
    return (rows + unit - 1) / unit * unit;
}

static gm_status take_gold(gm_sample *s, const gm_labels *labels, gm_err *err)
{
    const gm_record *r = s->record;
    if (r->entity_count == 0) return GM_OK;
    s->gold = gm_calloc((size_t)r->entity_count, sizeof *s->gold);
    if (s->gold == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the gold of \"%s\"", r->id);
    for (int32_t i = 0; i < r->entity_count; i++) {
        const gm_entity *e = &r->entities[i];
        const int32_t type = gm_labels_find(labels, e->type);
        if (type < 0) return gm_fail(err, GM_ERR_DATA, "record \"%s\": entities[%d] has the type \"%s\", which the model does not know", r->id, i, e->type);
        if (e->end < s->text.words) s->gold[s->gold_count++] = (gm_span){ e->start, e->end, type };
    }
    return GM_OK;
}

static gm_status take_shapes(gm_sample *s, gm_err *err)
{
    s->shape = gm_malloc((size_t)s->text.words);
    if (s->shape == NULL && s->text.words > 0) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the words of \"%s\"", s->record->id);
    for (int32_t i = 0; i < s->text.words; i++) s->shape[i] = (uint8_t)gm_shape_of(s->record->tokens[i]);
    return GM_OK;
}

gm_status gm_sample_make(gm_sample *s, const gm_record *r, const gm_tokenizer *tokenizer, const gm_labels *labels, int32_t max_len,
                         bool with_gold, gm_err *err)
{
    *s = (gm_sample){ .record = r, .key = gm_fnv1a(r->id) };
    if (gm_tokenizer_sentence(tokenizer, r->tokens, r->token_count, max_len, &s->text, err) != GM_OK) return gm_fail_at(err, "record \"%s\"", r->id);
    gm_status status = take_shapes(s, err);
    if (status == GM_OK && with_gold) status = take_gold(s, labels, err);
    if (status != GM_OK) gm_sample_free(s);
    return status;
}

void gm_sample_free(gm_sample *s)
{
    gm_encoded_free(&s->text);
    gm_free(s->gold);
    gm_free(s->gold_fine);
    gm_free(s->shape);
    gm_picture_free(&s->picture);
    *s = (gm_sample){ 0 };
}

static void count_sample(gm_dataset *d, const gm_sample *s)
{
    d->pieces += s->text.count;
    d->words += s->text.words;
    d->entities += s->record->entity_count;
    d->cut_sentences += s->text.is_cut;
    d->cut_words += s->record->token_count - s->text.words;
    d->lost_to_cut += s->record->entity_count - s->gold_count;
    for (int32_t i = 0; i < s->gold_count; i++) d->lost_to_width += s->gold[i].end - s->gold[i].start >= GM_SPAN_WIDTHS;
}

gm_status gm_dataset_make(gm_dataset *d, gm_records *records, const gm_tokenizer *tokenizer, const gm_labels *labels, int32_t max_len, gm_err *err)
{
    *d = (gm_dataset){ .records = *records };
    *records = (gm_records){ 0 };
    d->samples = gm_calloc(d->records.count, sizeof *d->samples);
    gm_status status = d->samples != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for %zu samples", d->records.count);
    for (size_t i = 0; i < d->records.count && status == GM_OK; i++) {
        status = gm_sample_make(&d->samples[i], &d->records.items[i], tokenizer, labels, max_len, true, err);
        if (status == GM_OK) count_sample(d, &d->samples[i]);
    }
    if (status != GM_OK) gm_dataset_free(d);
    return status;
}

static gm_status name_fine(gm_sample *s, const gm_labels *fine, gm_err *err)
{
    const gm_record *r = s->record;
    int32_t k = 0;
    if (s->gold_count == 0) return GM_OK;
    s->gold_fine = gm_malloc((size_t)s->gold_count);
    if (s->gold_fine == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the gold of \"%s\"", r->id);
    for (int32_t i = 0; i < r->entity_count; i++) {
        const gm_entity *e = &r->entities[i];
        const int32_t type = e->fine != NULL ? gm_labels_find(fine, e->fine) : GM_NO_LABEL;
        if (type < 0) return gm_fail(err, GM_ERR_DATA, "record \"%s\": entities[%d] has the fine type \"%s\", which the model does not know", r->id, i, e->fine);
        if (e->end < s->text.words) s->gold_fine[k++] = (uint8_t)type;
    }
    return GM_OK;
}

gm_status gm_dataset_name_fine(gm_dataset *d, const gm_labels *fine, gm_err *err)
{
    for (size_t i = 0; i < d->records.count && fine->count > 0; i++) GM_TRY(name_fine(&d->samples[i], fine, err));
    return GM_OK;
}

void gm_dataset_free(gm_dataset *d)
{
    for (size_t i = 0; d->samples != NULL && i < d->records.count; i++) gm_sample_free(&d->samples[i]);
    gm_free(d->samples);
    gm_records_free(&d->records);
    *d = (gm_dataset){ 0 };
}

gm_status gm_touched_make(gm_touched *t, int32_t vocabulary, gm_err *err)
{
    *t = (gm_touched){ .vocabulary = vocabulary };
    t->stamp = gm_calloc((size_t)vocabulary, sizeof *t->stamp);
    t->slot = gm_calloc((size_t)vocabulary, sizeof *t->slot);
    if (t->stamp != NULL && t->slot != NULL) return GM_OK;
    gm_touched_free(t);
    return gm_fail(err, GM_ERR_NOMEM, "out of memory for a vocabulary of %d", vocabulary);
}

void gm_touched_begin(gm_touched *t)
{
    t->count = 0;
    t->now++;
}

void gm_touched_free(gm_touched *t)
{
    gm_free(t->stamp);
    gm_free(t->slot);
    gm_free(t->row);
    *t = (gm_touched){ 0 };
}

static gm_status touch(gm_touched *t, int32_t id, int32_t *slot, gm_err *err)
{
    if (t->stamp[id] != t->now) {
        GM_TRY(gm_grow((void **)&t->row, &t->capacity, (size_t)t->count, sizeof *t->row, err));
        t->stamp[id] = t->now;
        t->slot[id] = t->count;
        t->row[t->count++] = id;
    }
    *slot = t->slot[id];
    return GM_OK;
}

/* The arrays of a batch while they are filled; the batch shows them as constants. */
typedef struct arrays {
    int32_t *counts;              /* tokens, words */
    int32_t *ids, *slot, *first_piece, *word_row, *tag, *cu_tokens, *cu_words;
    gm_token *token, *word, *first;
    uint32_t *key, *draw;
    uint8_t *label, *token_shape, *word_shape;
} arrays;

/* Hands out 64-byte aligned pieces of the block, or only adds up their sizes while block is NULL. */
static void *piece(char *block, size_t *at, size_t bytes)
{
    void *here = block != NULL ? block + *at : NULL;
    *at += (bytes + 63) / 64 * 64;
    return here;
}

static size_t lay_out(arrays *a, char *block, int32_t sequences, int32_t tokens, int32_t words)
{
    const size_t b = (size_t)sequences, n = (size_t)tokens, m = (size_t)words, i32 = sizeof(int32_t);
    size_t at = 0;
    a->counts = piece(block, &at, 2 * i32);
    a->ids = piece(block, &at, n * i32);
    a->slot = piece(block, &at, n * i32);
    a->token = piece(block, &at, n * sizeof(gm_token));
    a->cu_tokens = piece(block, &at, (b + 1) * i32);
    a->first_piece = piece(block, &at, m * i32);
    a->word_row = piece(block, &at, m * i32);
    a->word = piece(block, &at, m * sizeof(gm_token));
    a->first = piece(block, &at, m * sizeof(gm_token));
    a->cu_words = piece(block, &at, (b + 1) * i32);
    a->tag = piece(block, &at, m * i32);
    a->label = piece(block, &at, m * GM_SPAN_WIDTHS);
    a->token_shape = piece(block, &at, n * GM_SHAPE_BAG);
    a->word_shape = piece(block, &at, m * GM_SHAPE_BAG);
    a->key = piece(block, &at, b * i32);
    a->draw = piece(block, &at, b * i32);
    return at;
}

/* Class of every span that starts at the sentence's words, none before gold is put in. */
static void fill_labels(const gm_sample *s, uint8_t *label)
{
    for (int32_t i = 0; i < s->text.words; i++)
        for (int32_t w = 0; w < GM_SPAN_WIDTHS; w++) label[i * GM_SPAN_WIDTHS + w] = i + w < s->text.words ? 0 : 255;
    for (int32_t k = 0; k < s->gold_count; k++) {
        const gm_span g = s->gold[k];
        if (g.end - g.start < GM_SPAN_WIDTHS) label[g.start * GM_SPAN_WIDTHS + g.end - g.start] = (uint8_t)(g.type + 1);
    }
}

/* The shapes of word i and of its neighbours; i -1: of a piece that belongs to no word, which is shown none. */
static void put_bag(const gm_sample *s, int32_t i, uint8_t *bag)
{
    for (int32_t k = 0; k < GM_SHAPE_BAG; k++) {
        const int32_t at = i + k - GM_SHAPE_BAG / 2;
        const gm_shape shape = i >= 0 && at >= 0 && at < s->text.words ? (gm_shape)s->shape[at] : GM_SHAPE_NONE;
        bag[k] = (uint8_t)(k * GM_SHAPES + (int32_t)shape);
    }
}

static void fill_shapes(const gm_sample *s, uint8_t *of_tokens, uint8_t *of_words)
{
    int32_t word = -1; /* that of piece i */
    for (int32_t i = 0; i < s->text.count; i++) {
        if (word + 1 < s->text.words && s->text.first_piece[word + 1] == i) word++;
        put_bag(s, i + 1 < s->text.count ? word : -1, of_tokens + (size_t)i * GM_SHAPE_BAG);
    }
    for (int32_t i = 0; i < s->text.words; i++) put_bag(s, i, of_words + (size_t)i * GM_SHAPE_BAG);
}

static gm_status fill_sequence(arrays *a, int32_t b, const gm_sample *s, const gm_batch_options *o, gm_err *err)
{
    const int32_t at = a->cu_tokens[b], word_at = a->cu_words[b];
    for (int32_t i = 0; i < s->text.count; i++) {
        a->ids[at + i] = a->slot[at + i] = s->text.ids[i];
        a->token[at + i] = (gm_token){ b, i };
        if (o->touched != NULL) GM_TRY(touch(o->touched, s->text.ids[i], &a->slot[at + i], err));
    }
    for (int32_t i = 0; i < s->text.words; i++) {
        a->first_piece[word_at + i] = at + s->text.first_piece[i];
        a->word_row[word_at + i] = word_at + i;
        a->word[word_at + i] = (gm_token){ b, i };
        a->first[word_at + i] = (gm_token){ b, s->text.first_piece[i] };
    }
    fill_shapes(s, a->token_shape + (size_t)at * GM_SHAPE_BAG, a->word_shape + (size_t)word_at * GM_SHAPE_BAG);
    fill_labels(s, a->label + (size_t)word_at * GM_SPAN_WIDTHS);
    gm_tags_encode(o->scheme, s->gold, s->gold_count, a->tag + word_at, s->text.words);
    a->key[b] = s->key;
    a->draw[b] = o->draws != NULL ? o->draws[b] : o->draw;
    a->cu_tokens[b + 1] = at + s->text.count;
    a->cu_words[b + 1] = word_at + s->text.words;
    return GM_OK;
}

gm_status gm_batch_reserve(gm_batch *b, int32_t sequences, int32_t tokens, int32_t words, gm_err *err)
{
    arrays a;
    return gm_mirror_make(&b->block, lay_out(&a, NULL, sequences, gm_batch_capacity(b, tokens), gm_batch_capacity(b, words)), b->dev, err);
}

static int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

gm_status gm_batch_fill(gm_batch *b, const gm_sample *const *samples, int32_t count, gm_batch_options o, gm_err *err)
{
    int32_t tokens = 0, words = 0;
    for (int32_t i = 0; i < count; i++) {
        tokens += samples[i]->text.count;
        words += samples[i]->text.words;
    }
    const int32_t token_room = o.is_exact ? tokens : gm_batch_capacity(b, most(tokens, o.tokens)),
                  word_room = o.is_exact ? words : gm_batch_capacity(b, most(words, o.words)), sequences = most(count, o.sequences);
    arrays a;
    const size_t bytes = lay_out(&a, NULL, sequences, token_room, word_room);
    if (bytes > b->block.bytes) GM_TRY(gm_mirror_make(&b->block, bytes + bytes / 2, b->dev, err)); /* the largest batches come early or never: few growths */
    lay_out(&a, b->block.host, sequences, token_room, word_room);
    memset(b->block.host, 0, bytes);
    a.counts[0] = tokens;
    a.counts[1] = words;
    for (int32_t i = 0; i < count; i++) GM_TRY(fill_sequence(&a, i, samples[i], &o, err));
    for (int32_t i = count; i < sequences; i++) {
        a.cu_tokens[i + 1] = tokens;
        a.cu_words[i + 1] = words;
    }
    b->word_cu = a.cu_words;
    b->sentences = count;
    lay_out(&a, b->block.device, sequences, token_room, word_room);
    b->tokens = (gm_pack){ a.cu_tokens, a.token, &a.counts[0], a.key, a.draw, tokens, token_room, sequences };
    b->words = (gm_pack){ a.cu_words, a.word, &a.counts[1], a.key, a.draw, words, word_room, sequences };
    b->firsts = b->words;
    b->firsts.token = a.first;
    b->word_row = a.word_row;
    b->ids = a.ids;
    b->slot = a.slot;
    b->first_piece = a.first_piece;
    b->span_label = a.label;
    b->tag = a.tag;
    b->token_shape = a.token_shape;
    b->word_shape = a.word_shape;
    return gm_mirror_send(&b->block, bytes, b->dev);
}

void gm_batch_free(gm_batch *b)
{
    gm_mirror_free(&b->block, b->dev);
    gm_mirror_free(&b->scene.block, b->dev);
    *b = (gm_batch){ .dev = b->dev };
}
