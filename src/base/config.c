/* The configuration: one value a key of config_keys.def, each with where it came from. A value keeps its type from
 * the table; what does not fit is refused with the key's path, never replaced. Files are walked as raw text beside the
 * cJSON tree, because a tree hides repeated keys and rounds 64-bit seeds. */
#include "base/config.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/parse.h"

typedef enum key_type { TYPE_INT, TYPE_NUM, TYPE_BOOL, TYPE_STR, TYPE_U64, TYPE_CHOICE } key_type;

static const struct key_info {
    const char *name;
    key_type type;
    const char *def;
    double low, high;
    const char *choices, *help;
} keys[] = {
#define GM_KEY(id, name, type, def, low, high, choices, help) { name, TYPE_##type, def, low, high, choices, help },
#include "base/config_keys.def"
#undef GM_KEY
};

static const char *const key_names[] = {
#define GM_KEY(id, name, type, def, low, high, choices, help) name,
#include "base/config_keys.def"
#undef GM_KEY
};

typedef struct config_value {
    int64_t whole;
    uint64_t u64;
    double num;
    bool is_true;
    char *text;   /* STR and CHOICE; NULL until the default is set */
    char *origin; /* NULL: the default */
} config_value;

struct gm_config {
    config_value values[GM_KEY_COUNT];
};

static const uint64_t EXACT_IN_DOUBLE = UINT64_C(1) << 53;

/* ---- the nearest name ---- */

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL ? dot + 1 : name;
}

/* "epochs" and "trian.epochs" both mean train.epochs. */
static const char *nearest_key(const char *word)
{
    const char *nearest = gm_nearest(word, key_names, GM_KEY_COUNT);
    for (int k = 0; nearest == NULL && k < GM_KEY_COUNT; k++)
        if (strcmp(last_part(key_names[k]), last_part(word)) == 0) nearest = key_names[k];
    return nearest;
}

static gm_status unknown_key(const char *name, gm_err *err)
{
    const char *nearest = nearest_key(name);
    if (nearest == NULL)
        return gm_fail(err, GM_ERR_CONFIG, "unknown key \"%s\": docs/configuration.md lists all keys", name);
    return gm_fail(err, GM_ERR_CONFIG, "unknown key \"%s\": did you mean \"%s\"?", name, nearest);
}

static bool find_key(const char *name, size_t n, gm_key *key)
{
    for (int k = 0; k < GM_KEY_COUNT; k++)
        if (strlen(key_names[k]) == n && memcmp(key_names[k], name, n) == 0) {
            *key = (gm_key)k;
            return true;
        }
    return false;
}

/* ---- values ---- */

/* What the key takes, for messages and the docs page: `a whole number from 1 to 64`. */
static gm_status describe(const struct key_info *info, gm_buffer *to, gm_err *err)
{
    switch (info->type) {
    case TYPE_INT: return gm_buffer_printf(to, err, "a whole number from %.0f to %.0f", info->low, info->high);
    case TYPE_NUM: return gm_buffer_printf(to, err, "a number from %.15g to %.15g", info->low, info->high);
    case TYPE_BOOL: return gm_buffer_printf(to, err, "true or false");
    case TYPE_STR: return gm_buffer_printf(to, err, "a text");
    case TYPE_U64: return gm_buffer_printf(to, err, "a whole number from 0 to %" PRIu64, UINT64_MAX);
    case TYPE_CHOICE: break;
    }
    GM_TRY(gm_buffer_printf(to, err, "%s", strchr(info->choices, '|') != NULL ? "one of " : ""));
    for (const char *c = info->choices; *c != '\0'; c++)
        GM_TRY(*c == '|' ? gm_buffer_add(to, ", ", 2, err) : gm_buffer_add(to, c, 1, err));
    return GM_OK;
}

static gm_status wrong_value(const struct key_info *info, const char *found, gm_err *err)
{
    gm_buffer wanted = { 0 };
    gm_status status = describe(info, &wanted, err);
    if (status == GM_OK)
        status = gm_fail(err, GM_ERR_CONFIG, "%s: expected %s, found %.200s", info->name, wanted.data, found);
    gm_buffer_free(&wanted);
    return status;
}

static bool is_choice(const char *choices, const char *text)
{
    const size_t n = strlen(text);
    for (const char *c = choices;; c++) {
        const size_t m = strcspn(c, "|");
        if (n == m && memcmp(c, text, n) == 0) return true;
        c += m;
        if (*c == '\0') return false;
    }
}

static bool in_range(const struct key_info *info, double x) { return x >= info->low && x <= info->high; }

/* Gives key `k` the value that `text` spells. On failure the key keeps its value. */
static gm_status set_value(gm_config *c, gm_key k, const char *text, const char *origin, gm_err *err)
{
    const struct key_info *info = &keys[k];
    config_value value = { 0 };
    bool fits = true;
    switch (info->type) {
    case TYPE_INT: fits = gm_parse_int(text, &value.whole, NULL) == GM_OK && in_range(info, (double)value.whole); break;
    case TYPE_NUM: fits = gm_parse_num(text, &value.num, NULL) == GM_OK && in_range(info, value.num); break;
    case TYPE_U64: fits = gm_parse_u64(text, &value.u64, NULL) == GM_OK; break;
    case TYPE_BOOL:
        value.is_true = strcmp(text, "true") == 0;
        fits = value.is_true || strcmp(text, "false") == 0;
        break;
    case TYPE_CHOICE: fits = is_choice(info->choices, text); break;
    case TYPE_STR: break;
    }
    if (!fits) return wrong_value(info, text[0] != '\0' ? text : "nothing", err);
    const bool has_text = info->type == TYPE_STR || info->type == TYPE_CHOICE;
    if (has_text) value.text = gm_strdup(text);
    if (origin != NULL) value.origin = gm_strdup(origin);
    if ((has_text && value.text == NULL) || (origin != NULL && value.origin == NULL)) {
        gm_free(value.text);
        gm_free(value.origin);
        return gm_fail(err, GM_ERR_NOMEM, "out of memory for the configuration");
    }
    gm_free(c->values[k].text);
    gm_free(c->values[k].origin);
    c->values[k] = value;
    return GM_OK;
}

gm_status gm_config_create(gm_config **c, gm_err *err)
{
    gm_config *made = *c = gm_calloc(1, sizeof *made);
    if (made == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for the configuration");
    for (int k = 0; k < GM_KEY_COUNT; k++) {
        const gm_status status = set_value(made, (gm_key)k, keys[k].def, NULL, err);
        if (status != GM_OK) {
            gm_config_destroy(made);
            *c = NULL;
            return status;
        }
    }
    return GM_OK;
}

void gm_config_destroy(gm_config *c)
{
    if (c == NULL) return;
    for (int k = 0; k < GM_KEY_COUNT; k++) {
        gm_free(c->values[k].text);
        gm_free(c->values[k].origin);
    }
    gm_free(c);
}

gm_status gm_config_set(gm_config *c, const char *assignment, gm_err *err)
{
    gm_err scratch; /* gm_fail_at needs a message to put the place before */
    if (err == NULL) err = &scratch;
    const char *equals = strchr(assignment, '=');
    if (equals == NULL) return gm_fail(err, GM_ERR_CONFIG, "--set %s: expected key=value", assignment);
    gm_key k;
    gm_status status;
    if (find_key(assignment, (size_t)(equals - assignment), &k)) {
        status = set_value(c, k, equals + 1, "--set", err);
    } else {
        char *name = gm_strndup(assignment, (size_t)(equals - assignment));
        status = name != NULL ? unknown_key(name, err) : gm_fail(err, GM_ERR_NOMEM, "out of memory");
        gm_free(name);
    }
    return status == GM_OK ? GM_OK : gm_fail_at(err, "--set %s", assignment);
}

/* ---- files ---- */

typedef struct loading {
    gm_config *c;
    const char *path, *text, *origin;
    bool seen[GM_KEY_COUNT];
    gm_err *err;
} loading;

/* Puts path:line before the message. */
static gm_status at_line(const loading *l, const char *place)
{
    int line = 1;
    for (const char *p = l->text; p < place; p++) line += *p == '\n';
    return gm_fail_at(l->err, "%s:%d", l->path, line);
}

/* What kind of JSON value this is, for messages. */
static const char *kind_of(const char *value)
{
    switch (*value) {
    case '{': return "an object";
    case '[': return "an array";
    case '"': return "a text";
    case 't':
    case 'f': return "true or false";
    case 'n': return "null";
    default: return "a number";
    }
}

static bool fits_kind(key_type type, const char *value)
{
    const bool is_text = *value == '"', is_bool = *value == 't' || *value == 'f';
    const bool is_number = *value == '-' || (*value >= '0' && *value <= '9');
    switch (type) {
    case TYPE_STR:
    case TYPE_CHOICE: return is_text;
    case TYPE_BOOL: return is_bool;
    case TYPE_U64: return is_text || is_number;
    case TYPE_INT:
    case TYPE_NUM: return is_number;
    }
    return false;
}

/* The text of a JSON string with its quotes, or a copy of any other value as it stands; gm_malloc'ed. */
static gm_status decode(const char *value, size_t n, char **text, gm_err *err)
{
    cJSON *string = NULL;
    if (*value == '"') GM_TRY(gm_json_parse(value, n, &string, err));
    *text = string != NULL ? gm_strdup(string->valuestring) : gm_strndup(value, n);
    cJSON_Delete(string);
    return *text != NULL ? GM_OK : gm_fail(err, GM_ERR_NOMEM, "out of memory for a configuration value");
}

static gm_status load_leaf(loading *l, gm_key k, const gm_json_member *m)
{
    if (l->seen[k]) return gm_fail(l->err, GM_ERR_CONFIG, "key \"%s\" stands twice: leave one", key_names[k]);
    l->seen[k] = true;
    if (!fits_kind(keys[k].type, m->value)) return wrong_value(&keys[k], kind_of(m->value), l->err);
    char *text;
    GM_TRY(decode(m->value, m->value_len, &text, l->err));
    uint64_t seed;
    gm_status status;
    if (keys[k].type == TYPE_U64 && *m->value != '"' && gm_parse_u64(text, &seed, NULL) == GM_OK &&
        seed > EXACT_IN_DOUBLE)
        status =
            gm_fail(l->err, GM_ERR_CONFIG,
                    "%s: %s is beyond 2^53, where JSON programs round numbers: write it as a string, \"%s\": \"%s\"",
                    key_names[k], text, key_names[k], text);
    else
        status = set_value(l->c, k, text, l->origin, l->err);
    gm_free(text);
    return status;
}

static bool is_prefix(const char *path)
{
    const size_t n = strlen(path);
    for (int k = 0; k < GM_KEY_COUNT; k++)
        if (strncmp(key_names[k], path, n) == 0 && key_names[k][n] == '.') return true;
    return false;
}

/* True when an earlier member of the object has the same key. */
static bool stands_before(const char *object, const gm_json_member *m)
{
    gm_json_member earlier;
    for (const char *at = object; gm_json_next_member(&at, &earlier) && earlier.key != m->key;)
        if (earlier.key_len == m->key_len && memcmp(earlier.key, m->key, m->key_len) == 0) return true;
    return false;
}

static gm_status load_object(loading *l, const char *object, const char *prefix);

static gm_status load_member(loading *l, const char *object, const char *path, const gm_json_member *m)
{
    gm_key k;
    if (stands_before(object, m))
        gm_fail(l->err, GM_ERR_CONFIG, "key \"%s\" stands twice: leave one", path);
    else if (find_key(path, strlen(path), &k)) {
        if (load_leaf(l, k, m) == GM_OK) return GM_OK;
    } else if (*m->value == '{' && is_prefix(path)) {
        return load_object(l, m->value, path);
    } else {
        unknown_key(path, l->err);
    }
    return at_line(l, m->key);
}

/* Descends only where a key begins with the path so far, so the depth is bounded by the key names. */
static gm_status load_object(loading *l, const char *object, const char *prefix)
{
    gm_json_member m;
    for (const char *at = object; gm_json_next_member(&at, &m);) {
        char *name = NULL;
        gm_buffer path = { 0 };
        gm_status status = decode(m.key - 1, m.key_len + 2, &name, l->err);
        if (status == GM_OK)
            status = gm_buffer_printf(&path, l->err, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", name);
        if (status == GM_OK) status = load_member(l, object, path.data, &m);
        gm_buffer_free(&path);
        gm_free(name);
        GM_TRY(status);
    }
    return GM_OK;
}

gm_status gm_config_load(gm_config *c, const char *path, gm_err *err)
{
    gm_err scratch; /* as in gm_config_set */
    loading l = { .c = c, .path = path, .err = err != NULL ? err : &scratch };
    char *text = NULL;
    size_t size;
    cJSON *tree = NULL;
    gm_buffer origin = { 0 };
    GM_TRY(gm_file_read(path, &text, &size, l.err));
    gm_status status = gm_json_parse(text, size, &tree, l.err);
    if (status == GM_OK && !cJSON_IsObject(tree))
        status = gm_fail(l.err, GM_ERR_CONFIG, "expected an object, found %s", kind_of(text + strspn(text, " \t\r\n")));
    if (status != GM_OK) {
        gm_fail_at(l.err, "%s", path);
        goto out;
    }
    status = gm_buffer_printf(&origin, l.err, "file %s", path);
    if (status != GM_OK) goto out;
    l.text = text;
    l.origin = origin.data;
    status = load_object(&l, text, "");
out:
    cJSON_Delete(tree);
    gm_buffer_free(&origin);
    gm_free(text);
    return status;
}

/* ---- reading and printing ---- */

int64_t gm_config_int(const gm_config *c, gm_key key)
{
    assert(keys[key].type == TYPE_INT);
    return c->values[key].whole;
}

uint64_t gm_config_u64(const gm_config *c, gm_key key)
{
    assert(keys[key].type == TYPE_U64);
    return c->values[key].u64;
}

double gm_config_num(const gm_config *c, gm_key key)
{
    assert(keys[key].type == TYPE_NUM);
    return c->values[key].num;
}

bool gm_config_bool(const gm_config *c, gm_key key)
{
    assert(keys[key].type == TYPE_BOOL);
    return c->values[key].is_true;
}

const char *gm_config_str(const gm_config *c, gm_key key)
{
    assert(keys[key].type == TYPE_STR || keys[key].type == TYPE_CHOICE);
    return c->values[key].text;
}

/* The shortest decimal text that reads back as the same double. */
static void shortest(double x, char *text, size_t size)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, x);
        if (strtod(text, NULL) == x) return;
    }
}

/* The value as text; texts themselves are returned, numbers are written to `number`. */
static const char *spell(const gm_config *c, int k, char number[32])
{
    const config_value *v = &c->values[k];
    switch (keys[k].type) {
    case TYPE_INT: snprintf(number, 32, "%" PRId64, v->whole); return number;
    case TYPE_U64: snprintf(number, 32, "%" PRIu64, v->u64); return number;
    case TYPE_NUM: shortest(v->num, number, 32); return number;
    case TYPE_BOOL: return v->is_true ? "true" : "false";
    case TYPE_STR:
    case TYPE_CHOICE: break;
    }
    return v->text;
}

void gm_config_print(const gm_config *c, FILE *to)
{
    char number[32];
    for (int k = 0; k < GM_KEY_COUNT; k++) {
        const char *origin = c->values[k].origin;
        fprintf(to, "%s = %s   (%s)\n", key_names[k], spell(c, k, number), origin != NULL ? origin : "default");
    }
}

char *gm_config_json(const gm_config *c)
{
    gm_buffer b = { 0 };
    gm_status status = gm_buffer_printf(&b, NULL, "{");
    for (int k = 0; k < GM_KEY_COUNT && status == GM_OK; k++) {
        char number[32];
        const char *text = spell(c, k, number);
        const bool is_quoted = keys[k].type == TYPE_STR || keys[k].type == TYPE_CHOICE ||
                               (keys[k].type == TYPE_U64 && c->values[k].u64 > EXACT_IN_DOUBLE);
        status = gm_buffer_printf(&b, NULL, "%s\n  \"%s\": ", k > 0 ? "," : "", key_names[k]);
        if (status != GM_OK) break;
        status = is_quoted ? gm_buffer_json_string(&b, text, NULL) : gm_buffer_add(&b, text, strlen(text), NULL);
    }
    if (status == GM_OK) status = gm_buffer_printf(&b, NULL, "\n}\n");
    if (status != GM_OK) gm_buffer_free(&b);
    return b.data;
}

static void print_values(const struct key_info *info, FILE *to)
{
    switch (info->type) {
    case TYPE_INT: fprintf(to, "whole number, %.0f to %.0f", info->low, info->high); return;
    case TYPE_NUM: fprintf(to, "number, %.15g to %.15g", info->low, info->high); return;
    case TYPE_BOOL: fprintf(to, "`true`, `false`"); return;
    case TYPE_STR: fprintf(to, "text"); return;
    case TYPE_U64: fprintf(to, "whole number of 64 bits"); return;
    case TYPE_CHOICE: break;
    }
    for (const char *c = info->choices; *c != '\0';) {
        const int n = (int)strcspn(c, "|");
        fprintf(to, "%s`%.*s`", c > info->choices ? ", " : "", n, c);
        c += c[n] == '|' ? n + 1 : n;
    }
}

void gm_config_print_docs(FILE *to)
{
    fprintf(to, "# Configuration\n\n"
                "A configuration is a JSON object. Keys may be nested (`{\"train\": {\"lr\": 1e-4}}`) or dotted\n"
                "(`{\"train.lr\": 1e-4}`). Defaults come first, then the file given with `--config`, then each\n"
                "`--set key=value` in the order given. `--print-config` shows every value and where it came from.\n\n"
                "An unknown key, a key that stands twice in a file, a value of another type or one out of range is an\n"
                "error; nothing is replaced silently. Relative paths start at the working directory. A `seed` beyond\n"
                "2^53 is written as a string of digits, because JSON programs round larger numbers.\n\n"
                "| key | values | default | meaning |\n|---|---|---|---|\n");
    for (int k = 0; k < GM_KEY_COUNT; k++) {
        fprintf(to, "| `%s` | ", keys[k].name);
        print_values(&keys[k], to);
        fprintf(to, keys[k].def[0] != '\0' ? " | `%s` | %s |\n" : " | %s| %s |\n", keys[k].def, keys[k].help);
    }
}
