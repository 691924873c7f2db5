/* Synthetic tweets: one random walk through the grammar a record, then the noise of hurried writing. Every choice is a
 * Philox word counted from the record's own number, so a record never depends on the ones before it. */
#include "data/synth.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/philox.h"
#include "data/synth_picture.h"

enum {
    MOST_WORDS = 256,
    MOST_ENTITIES = 64,
    WORD_BYTES = 96,
    DEEPEST = 32,     /* beyond this the grammar is wrong */
    NESTING_ENDS = 5, /* from this depth on GM_NEST rules are not taken */
    KEPT_IN = 4       /* one name in so many is kept from training */
};

typedef enum line_kind { ENTITY, NAMES, WORDS, RULE, NEST } line_kind;
typedef struct line {
    line_kind kind;
    const char *symbol;
    int32_t weight;
    const char *text;
} line;

static const line lines[] = {
#define GM_ENTITY(symbol, type) { ENTITY, #symbol, 0, type },
#define GM_NAMES(symbol, list) { NAMES, #symbol, 1, list },
#define GM_WORDS(symbol, list) { WORDS, #symbol, 1, list },
#define GM_RULE(symbol, weight, text) { RULE, #symbol, weight, text },
#define GM_NEST(symbol, weight, text) { NEST, #symbol, weight, text },
#define GM_SHORT(word, form)
#include "data/synth_lexicon.def"
#include "data/synth_grammar.def"
#undef GM_ENTITY
#undef GM_NAMES
#undef GM_WORDS
#undef GM_RULE
#undef GM_NEST
#undef GM_SHORT
};

static const struct {
    const char *word, *form;
} short_forms[] = {
#define GM_ENTITY(symbol, type)
#define GM_NAMES(symbol, list)
#define GM_WORDS(symbol, list)
#define GM_SHORT(word, form) { word, form },
#include "data/synth_lexicon.def"
#undef GM_ENTITY
#undef GM_NAMES
#undef GM_WORDS
#undef GM_SHORT
};

static const char *const splits[] = { "train", "dev", "test" };
enum { OF_PICTURE = 2 }; /* bit of a purpose: pictures have a stream of their own, which leaves the text as it is */

/* One way to continue: a name, a word or the right side of a rule. */
typedef struct choice {
    const char *text;
    size_t length, symbol;
    int32_t weight;
    line_kind kind;
    bool is_ambiguous, is_kept; /* kept: from training */
} choice;

typedef struct symbol {
    const char *name, *type;
} symbol; /* type: of the entity it makes, or NULL */

typedef struct grammar {
    symbol *symbols;
    size_t symbol_count, symbol_capacity;
    choice *choices; /* those of one symbol stand together: first[symbol] .. first[symbol + 1] */
    size_t count, capacity;
    size_t *first;
} grammar;

typedef struct word {
    char text[WORD_BYTES];
    bool is_fixed;
} word; /* fixed: part of a link, a handle or a tag */
typedef struct mark {
    int32_t start, end;
    const char *type;
    bool is_unseen;
} mark;

typedef enum apostrophe { APOSTROPHE_KEPT, APOSTROPHE_APART, APOSTROPHE_CURLY, APOSTROPHE_DROPPED } apostrophe;
typedef enum casing { CASE_NORMAL, CASE_LOWER, CASE_UPPER, CASE_TITLE } casing;

/* The tweet being written. */
typedef struct draft {
    const grammar *g;
    const gm_synth_options *o;
    uint32_t number, purpose, drawn;
    bool is_train;
    casing casing;
    apostrophe apostrophe;
    bool is_hasty; /* abbreviations and typing errors */
    bool is_inside, wants_kept, has_kept, glues;
    int32_t count, mark_count;
    word words[MOST_WORDS];
    mark marks[MOST_ENTITIES];
} draft;

static char lower(char c) { return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }
static char upper(char c) { return (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c); }
static bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool same_text(const char *a, size_t n, const char *b) { return strncmp(a, b, n) == 0 && b[n] == '\0'; }

static bool same_folded(const char *a, size_t n, const char *b)
{
    for (size_t i = 0; i < n; i++) {
        if (lower(a[i]) != lower(b[i])) return false; /* also ends at b's NUL: names hold none */
    }
    return b[n] == '\0';
}

/* ---- the grammar ---- */

/* By its text alone, so that a name which stands in several lists is kept from all of them. */
static bool is_kept_name(const char *text, size_t n)
{
    char folded[WORD_BYTES] = { 0 };
    for (size_t i = 0; i < n && i + 1 < sizeof folded; i++) folded[i] = lower(text[i]);
    return gm_fnv1a(folded) % KEPT_IN == 0;
}

static bool find_symbol(const grammar *g, const char *name, size_t n, size_t *at)
{
    for (*at = 0; *at < g->symbol_count; (*at)++) {
        if (same_text(name, n, g->symbols[*at].name)) return true;
    }
    return false;
}

static gm_status add_choice(grammar *g, size_t at, const line *from, const char *text, size_t n, gm_err *err)
{
    GM_TRY(gm_grow((void **)&g->choices, &g->capacity, g->count, sizeof *g->choices, err));
    choice c = { .text = text, .length = n, .symbol = at, .weight = from->weight, .kind = from->kind };
    if (c.kind == NAMES) {
        c.is_ambiguous = text[0] == '*';
        c.text += c.is_ambiguous;
        c.length -= c.is_ambiguous;
        c.is_kept = is_kept_name(c.text, c.length);
    }
    g->choices[g->count++] = c;
    return GM_OK;
}

static gm_status add_line(grammar *g, const line *from, gm_err *err)
{
    size_t at;
    if (!find_symbol(g, from->symbol, strlen(from->symbol), &at)) {
        GM_TRY(gm_grow((void **)&g->symbols, &g->symbol_capacity, at, sizeof *g->symbols, err));
        g->symbols[g->symbol_count++] = (symbol) { .name = from->symbol };
    }
    if (from->kind == ENTITY) {
        g->symbols[at].type = from->text;
        return GM_OK;
    }
    if (from->kind == RULE || from->kind == NEST) return add_choice(g, at, from, from->text, strlen(from->text), err);
    for (const char *item = from->text;; item++) {
        const size_t n = strcspn(item, "|");
        GM_TRY(add_choice(g, at, from, item, n, err));
        item += n;
        if (*item == '\0') return GM_OK;
    }
}

/* Puts the choices of one symbol side by side, in the order of the files. */
static gm_status sort_choices(grammar *g, gm_err *err)
{
    choice *sorted = gm_calloc(g->count, sizeof *sorted);
    g->first = gm_calloc(g->symbol_count + 1, sizeof *g->first);
    if (sorted == NULL || g->first == NULL) {
        gm_free(sorted);
        return gm_fail(err, GM_ERR_NOMEM, "synth: no memory for %zu rules", g->count);
    }
    size_t next = 0;
    for (size_t s = 0; s < g->symbol_count; s++) {
        g->first[s] = next;
        for (size_t i = 0; i < g->count; i++) {
            if (g->choices[i].symbol == s) sorted[next++] = g->choices[i];
        }
    }
    g->first[g->symbol_count] = next;
    gm_free(g->choices);
    g->choices = sorted;
    return GM_OK;
}

/* Every symbol that a rule names exists, and every list of names has some for training and some kept from it: then no
 * walk can fail, and a slip in the files shows at the first call. */
static gm_status check_grammar(const grammar *g, gm_err *err)
{
    for (size_t s = 0; s < g->symbol_count; s++) {
        size_t names[2] = { 0, 0 };
        for (size_t i = g->first[s]; i < g->first[s + 1]; i++) {
            const choice *c = &g->choices[i];
            if (c->kind == NAMES) names[c->is_kept]++;
            for (const char *brace = c->text;
                 (brace = memchr(brace, '{', c->length - (size_t)(brace - c->text))) != NULL;) {
                size_t at;
                brace++;
                const size_t n = strcspn(brace, "}");
                if (!find_symbol(g, brace, n, &at) || g->first[at] == g->first[at + 1])
                    return gm_fail(err, GM_ERR_DATA, "synth grammar: %s names {%.*s}, which has no rule",
                                   g->symbols[s].name, (int)n, brace);
            }
        }
        if ((names[0] == 0) != (names[1] == 0))
            return gm_fail(err, GM_ERR_DATA,
                           "synth lexicon: %s has %zu names for training and %zu kept from it; it needs both",
                           g->symbols[s].name, names[0], names[1]);
    }
    return GM_OK;
}

static gm_status make_grammar(grammar *g, gm_err *err)
{
    for (size_t i = 0; i < GM_LEN(lines); i++) GM_TRY(add_line(g, &lines[i], err));
    GM_TRY(sort_choices(g, err));
    return check_grammar(g, err);
}

static void free_grammar(grammar *g)
{
    gm_free(g->symbols);
    gm_free(g->choices);
    gm_free(g->first);
}

/* ---- drawing ---- */

static uint32_t below(draft *d, uint32_t n)
{
    const uint32_t i = d->drawn++;
    return gm_below(gm_philox(d->o->seed, i / 4, 0, d->number, d->purpose).word[i % 4], n);
}

static bool chance(draft *d, uint32_t percent, uint32_t percent_hard)
{
    return below(d, 100) < (d->o->is_hard ? percent_hard : percent);
}

static bool may_take(const draft *d, const choice *c, int depth, bool only_ambiguous)
{
    if (c->kind == NAMES) return c->is_kept == d->wants_kept && (c->is_ambiguous || !only_ambiguous);
    if (c->kind == NEST) return depth < NESTING_ENDS;
    return !only_ambiguous;
}

/* Draws one of the symbol's choices by weight. Names with several readings are few, so some draws are among them. */
static const choice *pick(draft *d, size_t at, int depth)
{
    const choice *from = &d->g->choices[d->g->first[at]], *end = &d->g->choices[d->g->first[at + 1]];
    uint32_t all = 0, ambiguous = 0;
    for (const choice *c = from; c < end; c++) {
        if (may_take(d, c, depth, false)) all += (uint32_t)c->weight;
        if (c->kind == NAMES && may_take(d, c, depth, true)) ambiguous += (uint32_t)c->weight;
    }
    const bool is_only = ambiguous > 0 && chance(d, 33, 55);
    uint32_t left = below(d, is_only ? ambiguous : all);
    for (const choice *c = from; c < end; c++) {
        if (!may_take(d, c, depth, is_only) || (is_only && c->kind != NAMES)) continue;
        if (left < (uint32_t)c->weight) return c;
        left -= (uint32_t)c->weight;
    }
    return from;
}

/* ---- writing words ---- */

static gm_status push_word(draft *d, const char *text, size_t n, gm_err *err)
{
    if (n == 0) return GM_OK;
    if (d->count == MOST_WORDS || n >= WORD_BYTES)
        return gm_fail(err, GM_ERR_DATA, "synth grammar: record %u is longer than %d words or has a word of %zu bytes",
                       (unsigned)d->number, (int)MOST_WORDS, n);
    word *w = &d->words[d->count++];
    memcpy(w->text, text, n);
    w->text[n] = '\0';
    w->is_fixed = same_text(text, n, "RT");
    return GM_OK;
}

static gm_status glue_word(draft *d, const char *text, size_t n, gm_err *err)
{
    word *w = &d->words[d->count - 1];
    const size_t before = strlen(w->text);
    d->glues = false;
    if (before + n >= WORD_BYTES)
        return gm_fail(err, GM_ERR_DATA, "synth grammar: \"%s\" grows beyond %d bytes", w->text, (int)WORD_BYTES);
    memcpy(w->text + before, text, n);
    w->text[before + n] = '\0';
    w->is_fixed = true;
    return GM_OK;
}

/* "can't" and "'s" as this writer has them: whole, in pieces as tokenised tweets often are, or without the mark. */
static gm_status push_apostrophe(draft *d, const char *text, size_t n, size_t at, gm_err *err)
{
    const char *rest = text + at + 1;
    const size_t rest_n = n - at - 1;
    if (d->apostrophe == APOSTROPHE_KEPT || rest_n == 0) return push_word(d, text, n, err);
    if (d->apostrophe == APOSTROPHE_DROPPED && at > 0 && n < WORD_BYTES) {
        char whole[WORD_BYTES];
        memcpy(whole, text, at);
        memcpy(whole + at, rest, rest_n);
        return push_word(d, whole, n - 1, err);
    }
    GM_TRY(push_word(d, text, at, err));
    if (d->apostrophe == APOSTROPHE_CURLY) GM_TRY(push_word(d, "\xE2\x80\x99", 3, err));
    if (d->apostrophe == APOSTROPHE_APART) GM_TRY(push_word(d, "'", 1, err));
    return push_word(d, rest, rest_n, err);
}

static gm_status write_word(draft *d, const char *text, size_t n, gm_err *err)
{
    if (d->glues && d->count > 0) return glue_word(d, text, n, err);
    if (!d->is_inside && d->is_hasty) {
        for (size_t i = 0; i < GM_LEN(short_forms); i++) {
            if (!same_text(text, n, short_forms[i].word)) continue;
            if (chance(d, 40, 60)) return push_word(d, short_forms[i].form, strlen(short_forms[i].form), err);
        }
    }
    const char *mark_at = memchr(text, '\'', n);
    return mark_at != NULL ? push_apostrophe(d, text, n, (size_t)(mark_at - text), err) : push_word(d, text, n, err);
}

static gm_status expand(draft *d, size_t at, int depth, gm_err *err);

/* "#" and all words that the symbol gives as one, "NewYork", which is then the entity. */
static gm_status write_hashtag(draft *d, size_t at, int depth, gm_err *err)
{
    GM_TRY(push_word(d, "#", 1, err));
    const int32_t start = d->count, marks = d->mark_count;
    GM_TRY(expand(d, at, depth, err));
    char joined[WORD_BYTES] = { 0 };
    size_t n = 0;
    const bool is_lower = chance(d, 30, 60);
    const int32_t from = d->mark_count > marks ? d->marks[marks].start : start; /* leaves out the article of a name */
    for (int32_t i = from; i < d->count; i++) {
        const char *text = d->words[i].text;
        for (size_t k = 0; text[k] != '\0' && n + 1 < sizeof joined; k++) {
            if (!is_letter(text[k]) && !is_digit(text[k])) continue;
            joined[n++] = is_lower ? lower(text[k]) : k == 0 ? upper(text[k]) : text[k];
        }
    }
    d->count = start;
    GM_TRY(push_word(d, joined, n, err));
    d->words[start].is_fixed = true;
    if (d->mark_count > marks) d->marks[marks].start = d->marks[marks].end = start;
    return GM_OK;
}

/* The right side of a rule, or a name of several words. */
static gm_status write_text(draft *d, const char *text, size_t length, int depth, gm_err *err)
{
    for (size_t i = 0; i < length;) {
        size_t n = 0, at;
        while (i + n < length && text[i + n] != ' ') n++;
        const bool is_tag = n > 2 && text[i] == '#' && text[i + 1] == '{';
        if (is_tag || text[i] == '{') {
            const size_t open = i + (is_tag ? 2 : 1);
            if (!find_symbol(d->g, text + open, n - (open - i) - 1, &at))
                return gm_fail(err, GM_ERR_DATA, "synth grammar: \"%.*s\" names an unknown symbol", (int)length, text);
            GM_TRY(is_tag ? write_hashtag(d, at, depth, err) : expand(d, at, depth, err));
        } else if (n == 1 && text[i] == '~') {
            d->glues = true;
        } else {
            GM_TRY(write_word(d, text + i, n, err));
        }
        i += n + 1;
    }
    return GM_OK;
}

/* The words from `start` on as one text; false where they are longer than any name. */
static bool join_words(const draft *d, int32_t start, int32_t end, char text[WORD_BYTES * 4])
{
    size_t n = 0;
    for (int32_t i = start; i < end; i++) {
        const size_t length = strlen(d->words[i].text);
        if (n + length + 2 > WORD_BYTES * 4) return false;
        if (i > start) text[n++] = ' ';
        memcpy(text + n, d->words[i].text, length);
        n += length;
    }
    text[n] = '\0';
    return true;
}

/* Whether the name from `start` on must be drawn again: it stands in this tweet already, or it is a name of the lexicon
 * on the other side of the wall between training and the rest, for parts can make up a name that stands in another
 * list whole (Emma + Watson). */
static bool is_misplaced(const draft *d, int32_t start)
{
    char text[WORD_BYTES * 4], before[WORD_BYTES * 4];
    if (!join_words(d, start, d->count, text)) return true;
    for (int32_t m = 0; m < d->mark_count; m++) {
        if (join_words(d, d->marks[m].start, d->marks[m].end + 1, before) && same_folded(before, strlen(before), text))
            return true;
    }
    for (size_t i = 0; i < d->g->count; i++) {
        const choice *c = &d->g->choices[i];
        if (c->kind == NAMES && c->is_kept != d->wants_kept && same_folded(c->text, c->length, text)) return true;
    }
    return false;
}

static gm_status write_entity(draft *d, size_t at, int depth, gm_err *err)
{
    const int32_t start = d->count;
    if (d->mark_count == MOST_ENTITIES)
        return gm_fail(err, GM_ERR_DATA, "synth grammar: record %u has more than %d entities", (unsigned)d->number,
                       (int)MOST_ENTITIES);
    d->wants_kept = !d->is_train && chance(d, 45, 70);
    d->is_inside = true;
    for (int tries = 0; tries == 0 || is_misplaced(d, start); tries++) {
        if (tries == 100)
            return gm_fail(err, GM_ERR_DATA, "synth lexicon: %s gives only misplaced names", d->g->symbols[at].name);
        d->count = start;
        d->has_kept = false;
        GM_TRY(expand(d, at, depth, err));
    }
    d->is_inside = false;
    d->wants_kept = false;
    /* The article of "the Alps" is written, but annotators leave it out. */
    const bool has_article = d->count - start > 1 && strcmp(d->words[start].text, "the") == 0;
    d->marks[d->mark_count++] = (mark) { start + has_article, d->count - 1, d->g->symbols[at].type, d->has_kept };
    return GM_OK;
}

static gm_status expand(draft *d, size_t at, int depth, gm_err *err)
{
    if (depth > DEEPEST)
        return gm_fail(err, GM_ERR_DATA, "synth grammar: %s nests without end", d->g->symbols[at].name);
    if (d->g->symbols[at].type != NULL && !d->is_inside) return write_entity(d, at, depth, err);
    const choice *c = pick(d, at, depth);
    if (c->kind == NAMES && c->is_kept) d->has_kept = true;
    return write_text(d, c->text, c->length, depth + 1, err);
}

/* ---- noise ---- */

static void to_lower(char *text)
{
    for (; *text; text++) *text = lower(*text);
}

static void to_upper(char *text)
{
    for (; *text; text++) *text = upper(*text);
}

/* Swaps two inner letters, drops one or doubles one; words with anything but plain letters stay as they are. */
static void misspell(draft *d, char text[WORD_BYTES])
{
    const size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        if (!is_letter(text[i])) return;
    }
    if (n < 5 || n + 2 > WORD_BYTES) return;
    const size_t at = 1 + below(d, (uint32_t)n - 3);
    switch (below(d, 3)) {
    case 0: {
        const char c = text[at];
        text[at] = text[at + 1];
        text[at + 1] = c;
        break;
    }
    case 1: memmove(text + at, text + at + 1, n - at); break;
    default: memmove(text + at + 1, text + at, n - at + 1);
    }
}

/* "good" -> "goodddd" */
static void stretch(draft *d, char text[WORD_BYTES])
{
    size_t n = strlen(text);
    if (n < 2 || n + 5 > WORD_BYTES || !is_letter(text[n - 1])) return;
    for (uint32_t more = 2 + below(d, 3); more > 0; more--, n++) text[n] = text[n - 1];
    text[n] = '\0';
}

static int32_t mark_of(const draft *d, int32_t at)
{
    for (int32_t m = 0; m < d->mark_count; m++) {
        if (at >= d->marks[m].start && at <= d->marks[m].end) return m;
    }
    return -1;
}

static void roughen_words(draft *d)
{
    for (int32_t i = 0; i < d->count; i++) {
        word *w = &d->words[i];
        if (w->is_fixed) continue;
        const bool is_name = mark_of(d, i) >= 0;
        if (is_name ? chance(d, 1, 4) : d->is_hasty && chance(d, 3, 6)) misspell(d, w->text);
        if (!is_name && d->is_hasty && chance(d, 2, 4)) stretch(d, w->text);
    }
}

/* Some writers do not lift a name, others shout it. */
static void case_names(draft *d)
{
    for (int32_t m = 0; m < d->mark_count; m++) {
        const uint32_t how = below(d, 100), low = d->o->is_hard ? 30 : 10;
        for (int32_t i = d->marks[m].start; i <= d->marks[m].end; i++) {
            if (d->words[i].is_fixed) continue;
            if (how < low)
                to_lower(d->words[i].text);
            else if (how < low + 4)
                to_upper(d->words[i].text);
        }
    }
}

static void case_sentence(draft *d)
{
    const bool lifts = below(d, 100) < 75;
    bool begins = true;
    for (int32_t i = 0; i < d->count; i++) {
        char *text = d->words[i].text;
        if (strchr(".!?:", text[0]) != NULL && text[1] == '\0') begins = true;
        if (d->words[i].is_fixed) continue;
        if (lifts && strcmp(text, "i") == 0) to_upper(text);
        if (!is_letter(text[0])) continue;
        if (lifts && begins) text[0] = upper(text[0]);
        begins = false;
    }
}

static void set_case(draft *d)
{
    case_names(d);
    if (d->casing == CASE_NORMAL) case_sentence(d);
    for (int32_t i = 0; i < d->count; i++) {
        char *text = d->words[i].text;
        if (d->words[i].is_fixed) continue;
        if (d->casing == CASE_LOWER)
            to_lower(text);
        else if (d->casing == CASE_UPPER)
            to_upper(text);
        else if (d->casing == CASE_TITLE)
            text[0] = upper(text[0]);
    }
}

/* ---- records ---- */

static void choose_style(draft *d)
{
    const uint32_t letters = below(d, 100), mark_form = below(d, 100);
    const uint32_t low = d->o->is_hard ? 30 : 13;
    d->casing = letters < low        ? CASE_LOWER
                : letters < low + 3  ? CASE_UPPER
                : letters < low + 11 ? CASE_TITLE
                                     : CASE_NORMAL;
    d->apostrophe = mark_form < 35   ? APOSTROPHE_KEPT
                    : mark_form < 75 ? APOSTROPHE_APART
                    : mark_form < 90 ? APOSTROPHE_CURLY
                                     : APOSTROPHE_DROPPED;
    d->is_hasty = chance(d, 35, 60);
}

static gm_status write_tweet(draft *d, uint32_t number, gm_err *err)
{
    size_t tweet;
    d->number = number;
    d->drawn = 0;
    d->count = d->mark_count = 0;
    d->is_inside = d->wants_kept = d->glues = false;
    choose_style(d);
    if (!find_symbol(d->g, "tweet", 5, &tweet))
        return gm_fail(err, GM_ERR_DATA, "synth grammar: there is no rule for tweet");
    GM_TRY(expand(d, tweet, 0, err));
    set_case(d);
    roughen_words(d);
    return GM_OK;
}

static gm_status copy_record(const draft *d, gm_record *r, gm_err *err)
{
    char id[64];
    snprintf(id, sizeof id, "synth-%s-%06u", d->o->split, (unsigned)d->number);
    r->id = gm_strdup(id);
    r->tokens = gm_calloc((size_t)d->count, sizeof *r->tokens);
    r->entities = gm_calloc((size_t)d->mark_count, sizeof *r->entities);
    bool is_whole = r->id != NULL && r->tokens != NULL && r->entities != NULL;
    for (int32_t i = 0; is_whole && i < d->count; i++) {
        r->tokens[i] = gm_strdup(d->words[i].text);
        r->token_count = i + 1;
        is_whole = r->tokens[i] != NULL;
    }
    for (int32_t i = 0; is_whole && i < d->mark_count; i++) {
        const mark *m = &d->marks[i];
        gm_entity *e = &r->entities[r->entity_count++];
        *e = (gm_entity) { .start = m->start, .end = m->end, .score = NAN, .region_score = NAN,
                           .uncertainty = gm_no_uncertainty };
        e->type = gm_strdup(m->type);
        e->extra = m->is_unseen ? gm_strdup("\"unseen\":true") : NULL;
        is_whole = e->type != NULL && (e->extra != NULL || !m->is_unseen);
    }
    return is_whole ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "synth: no memory for record %s", id);
}

static gm_status check_options(const gm_synth_options *o, uint32_t *split, gm_err *err)
{
    for (*split = 0; *split < GM_LEN(splits) && (o->split == NULL || strcmp(o->split, splits[*split]) != 0);
         (*split)++) {}
    if (*split == GM_LEN(splits))
        return gm_fail(err, GM_ERR_USAGE, "synth: the split is \"%s\"; it is train, dev or test",
                       o->split ? o->split : "");
    if (o->first < 0 || o->count < 0 || o->first > UINT32_MAX || o->count > (int64_t)UINT32_MAX + 1 - o->first)
        return gm_fail(err, GM_ERR_USAGE, "synth: %lld records from number %lld on; numbers lie between 0 and %u",
                       (long long)o->count, (long long)o->first, (unsigned)UINT32_MAX);
    return GM_OK;
}

gm_status gm_synth(const gm_synth_options *o, gm_records *all, gm_err *err)
{
    uint32_t split;
    GM_TRY(check_options(o, &split, err));
    gm_status status = GM_OK;
    grammar g = { 0 };
    draft *d = gm_calloc(1, sizeof *d);
    if (d == NULL) return gm_fail(err, GM_ERR_NOMEM, "synth: no memory for a tweet");
    *d = (draft) { .g = &g, .o = o, .is_train = split == 0, .purpose = gm_purpose(GM_SITE_SYNTH, split, o->is_hard) };
    const uint32_t of_picture = gm_purpose(GM_SITE_SYNTH, split, (uint32_t)o->is_hard | OF_PICTURE);
    if ((status = make_grammar(&g, err)) != GM_OK) goto out;
    for (int64_t i = 0; i < o->count && status == GM_OK; i++) {
        gm_record r = { 0 };
        status = write_tweet(d, (uint32_t)(o->first + i), err);
        if (status == GM_OK) status = copy_record(d, &r, err);
        if (status == GM_OK) status = gm_synth_picture(o->seed, d->number, of_picture, &r, err);
        if (status == GM_OK) status = gm_records_add(all, &r, err);
        if (status != GM_OK) gm_record_free(&r);
    }
out:
    free_grammar(&g);
    gm_free(d);
    return status;
}
