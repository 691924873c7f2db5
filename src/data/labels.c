/* Entity types and tags. Reading tags follows one of four rules that differ in what an I- without its B- means, and a B- without its E-; the
 * project's own is lenient, which gives the published entity counts. */
#include "data/labels.h"

#include <string.h>

#include "base/memory.h"

void gm_labels_free(gm_labels *l)
{
    for (int32_t i = 0; i < l->count; i++) gm_free(l->names[i]);
    *l = (gm_labels) { 0 };
}

gm_status gm_labels_add(gm_labels *l, const char *name, size_t n, gm_err *err)
{
    if (n == 0) return gm_fail(err, GM_ERR_DATA, "type %d has an empty name", l->count + 1);
    for (size_t i = 0; i < n; i++)
        if (name[i] == ' ' || name[i] == '\t')
            return gm_fail(err, GM_ERR_DATA, "the type \"%.*s\" holds white space", (int)n, name);
    char *copy = gm_strndup(name, n);
    if (copy == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the types");
    gm_status status = GM_OK;
    if (gm_labels_find(l, copy) >= 0)
        status = gm_fail(err, GM_ERR_DATA, "the type \"%s\" stands twice", copy);
    else if (l->count == GM_MAX_TYPES)
        status = gm_fail(err, GM_ERR_DATA, "\"%s\" is one type too many: at most %d", copy, GM_MAX_TYPES);
    if (status != GM_OK) {
        gm_free(copy);
        return status;
    }
    l->names[l->count++] = copy;
    return GM_OK;
}

gm_status gm_labels_parse(const char *list, gm_labels *l, gm_err *err)
{
    *l = (gm_labels) { 0 };
    for (const char *at = list;; at++) {
        const size_t n = strcspn(at, ",");
        const gm_status status = gm_labels_add(l, at, n, err);
        if (status != GM_OK) {
            gm_labels_free(l);
            return status;
        }
        at += n;
        if (*at == '\0') return GM_OK;
    }
}

int32_t gm_labels_find(const gm_labels *l, const char *type)
{
    for (int32_t i = 0; i < l->count; i++)
        if (strcmp(l->names[i], type) == 0) return i;
    return -1;
}

const char *gm_labels_of_format(const char *format)
{
    static const char *const table[][2] = {
        { "twitter-gmner", "PER,LOC,ORG,OTHER" },
        { "synth", "PER,LOC,ORG,OTHER" },
        { "twitter-fmnerg", "PER,location,building,organization,product,art,event,other" },
        { "ccks", "aircraft,vehicle,weapon,vessel,location,other" },
    };
    for (size_t i = 0; i < GM_LEN(table); i++)
        if (strcmp(table[i][0], format) == 0) return table[i][1];
    return NULL;
}

bool gm_tag_split(const char *tag, char *letter, const char **type)
{
    *letter = tag[0];
    *type = "";
    if (strcmp(tag, "O") == 0) return true;
    if (tag[0] == '\0' || strchr("BIES", tag[0]) == NULL || tag[1] != '-' || tag[2] == '\0') return false;
    *type = tag + 2;
    return true;
}

/* Reading tags from left to right: the spans so far, and whether the last one can still grow. */
typedef struct reading {
    gm_span *out;
    int32_t count;
    bool is_open;
} reading;

static void begin(reading *r, int32_t at, int32_t type, bool stays_open)
{
    r->out[r->count++] = (gm_span) { at, at, type };
    r->is_open = stays_open;
}

/* The last span grows no more; by the rule of whole entities one that lacks its end was none. */
static void leave(reading *r, gm_bio_rule rule)
{
    if (rule == GM_BIO_WHOLE && r->is_open) r->count--;
    r->is_open = false;
}

static void step(reading *r, char letter, int32_t type, int32_t at, gm_bio_rule rule)
{
    if (letter == 'O') {
        leave(r, rule);
    } else if (letter == 'B' || letter == 'S') {
        leave(r, rule);
        begin(r, at, type, letter == 'B');
    } else if (r->is_open && (rule == GM_BIO_ANY_I || r->out[r->count - 1].type == type)) {
        r->out[r->count - 1].end = at;
        r->is_open = letter == 'I';
    } else if (rule == GM_BIO_LENIENT) {
        begin(r, at, type, letter == 'I');
    } else {
        leave(r, rule);
    }
}

gm_status gm_bio_decode_text(const char *const *tag, int32_t n, const gm_labels *l, gm_bio_rule rule, gm_span *out,
                             int32_t *count, gm_err *err)
{
    reading r = { .out = out };
    *count = 0;
    for (int32_t i = 0; i < n; i++) {
        char letter;
        const char *name;
        if (!gm_tag_split(tag[i], &letter, &name))
            return gm_fail(err, GM_ERR_DATA, "word %d: \"%s\" is not a tag; expected O or B-, I-, E-, S- and a type", i,
                           tag[i]);
        const int32_t type = letter == 'O' ? -1 : gm_labels_find(l, name);
        if (letter != 'O' && type < 0)
            return gm_fail(err, GM_ERR_DATA, "word %d: the type of \"%s\" is unknown", i, tag[i]);
        step(&r, letter, type, i, rule);
    }
    leave(&r, rule);
    *count = r.count;
    return GM_OK;
}

static const char *letters_of(gm_tag_scheme s) { return s == GM_TAGS_BIO ? "BI" : "BIES"; }
static int32_t width_of(gm_tag_scheme s) { return s == GM_TAGS_BIO ? 2 : 4; }

static char letter_of(gm_tag_scheme s, int32_t tag) { return tag == 0 ? 'O' : letters_of(s)[(tag - 1) % width_of(s)]; }
static int32_t type_of(gm_tag_scheme s, int32_t tag) { return tag == 0 ? -1 : (tag - 1) / width_of(s); }

int32_t gm_tag_count(gm_tag_scheme s, int32_t types) { return 1 + width_of(s) * types; }

void gm_tags_encode(gm_tag_scheme s, const gm_span *spans, int32_t count, int32_t *tag, int32_t n)
{
    for (int32_t i = 0; i < n; i++) tag[i] = 0;
    for (int32_t k = 0; k < count; k++) {
        const gm_span *p = &spans[k];
        if (p->start < 0 || p->end >= n) continue; /* half a name, cut off with a long sentence, is no name */
        const int32_t first = 1 + width_of(s) * p->type;
        for (int32_t i = p->start; i <= p->end; i++) tag[i] = first + (i > p->start);
        if (s == GM_TAGS_BIOES) tag[p->end] = first + (p->start == p->end ? 3 : 2);
    }
}

int32_t gm_tags_decode(gm_tag_scheme s, const int32_t *tag, int32_t n, gm_span *out)
{
    reading r = { .out = out };
    for (int32_t i = 0; i < n; i++) step(&r, letter_of(s, tag[i]), type_of(s, tag[i]), i, GM_BIO_LENIENT);
    return r.count;
}

bool gm_tag_allowed(gm_tag_scheme s, int32_t from, int32_t to)
{
    const char before = from < 0 ? 'O' : letter_of(s, from), after = to < 0 ? 'O' : letter_of(s, to);
    const bool is_open = before == 'B' || before == 'I', goes_on = after == 'I' || after == 'E';
    if (goes_on) return is_open && type_of(s, from) == type_of(s, to);
    return s == GM_TAGS_BIO || !is_open;
}
