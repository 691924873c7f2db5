/* Endpoints: the table of endpoint_keys.def made into a parser. Keys with a point may also stand as nested objects. The file
 * is walked as raw text beside cJSON's tree, because a tree hides repeated keys. */
#include "mllm/endpoint.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/parse.h"

typedef enum value_type { TYPE_TEXT, TYPE_INT, TYPE_NUM, TYPE_BOOL, TYPE_CHOICE, TYPE_OBJECT } value_type;

static const struct key_info {
    const char *name;
    value_type type;
    size_t offset;
    const char *start, *names, *help; /* the default of a text or choice; what a choice may be */
    double number, least, most;       /* the default and range of a number; the default of a bool */
} keys[] = {
#define AT(field) offsetof(gm_mllm_endpoint, field)
#define GM_ENDPOINT_TEXT(field, key, start, help) { key, TYPE_TEXT, AT(field), start, NULL, help, 0, 0, 0 },
#define GM_ENDPOINT_INT(field, key, start, least, most, help) { key, TYPE_INT, AT(field), NULL, NULL, help, start, least, most },
#define GM_ENDPOINT_NUM(field, key, start, least, most, help) { key, TYPE_NUM, AT(field), NULL, NULL, help, start, least, most },
#define GM_ENDPOINT_BOOL(field, key, start, help) { key, TYPE_BOOL, AT(field), NULL, NULL, help, start, 0, 0 },
#define GM_ENDPOINT_CHOICE(field, key, start, names, help) { key, TYPE_CHOICE, AT(field), start, names, help, 0, 0, 0 },
#define GM_ENDPOINT_OBJECT(field, key, help) { key, TYPE_OBJECT, AT(field), "", NULL, help, 0, 0, 0 },
#include "mllm/endpoint_keys.def"
};

static const char *const key_names[] = {
#define GM_ENDPOINT_TEXT(field, key, start, help) key,
#define GM_ENDPOINT_INT(field, key, start, least, most, help) key,
#define GM_ENDPOINT_NUM(field, key, start, least, most, help) key,
#define GM_ENDPOINT_BOOL(field, key, start, help) key,
#define GM_ENDPOINT_CHOICE(field, key, start, names, help) key,
#define GM_ENDPOINT_OBJECT(field, key, help) key,
#include "mllm/endpoint_keys.def"
};

enum { KEYS = GM_LEN(keys), NAME_BYTES = 64 };

static void *field_of(gm_mllm_endpoint *e, const struct key_info *k) { return (char *)e + k->offset; }

/* ---- values ---- */

static gm_status set_text(gm_mllm_endpoint *e, const struct key_info *k, const char *text, size_t size, gm_err *err)
{
    char **field = field_of(e, k), *copy = gm_strndup(text, size);
    if (copy == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for \"%s\"", k->name);
    gm_free(*field);
    *field = copy;
    return GM_OK;
}

static bool set_choice(gm_mllm_endpoint *e, const struct key_info *k, const char *text)
{
    const size_t n = strlen(text);
    int32_t place = 0;
    for (const char *c = k->names;; place++) {
        const size_t m = strcspn(c, "|");
        if (n == m && memcmp(c, text, n) == 0) {
            *(int32_t *)field_of(e, k) = place;
            return true;
        }
        c += m;
        if (*c++ == '\0') return false;
    }
}

gm_status gm_mllm_endpoint_default(gm_mllm_endpoint *e, gm_err *err)
{
    *e = (gm_mllm_endpoint) { 0 };
    for (size_t i = 0; i < KEYS; i++) {
        const struct key_info *k = &keys[i];
        switch (k->type) {
        case TYPE_TEXT:
        case TYPE_OBJECT: {
            const gm_status status = set_text(e, k, k->start, strlen(k->start), err);
            if (status != GM_OK) {
                gm_mllm_endpoint_free(e);
                return status;
            }
            break;
        }
        case TYPE_INT: *(int64_t *)field_of(e, k) = (int64_t)k->number; break;
        case TYPE_NUM: *(double *)field_of(e, k) = k->number; break;
        case TYPE_BOOL: *(bool *)field_of(e, k) = k->number != 0.0; break;
        case TYPE_CHOICE: {
            const bool is_known = set_choice(e, k, k->start);
            assert(is_known);
            (void)is_known;
            break;
        }
        }
    }
    return GM_OK;
}

const char *gm_mllm_endpoint_name(const gm_mllm_endpoint *e) { return e->name[0] != '\0' ? e->name : e->url; }

double gm_mllm_endpoint_cost(const gm_mllm_endpoint *e, double tokens_in, double tokens_out)
{
    return (tokens_in * e->price_in + tokens_out * e->price_out) * 1e-6;
}

void gm_mllm_endpoint_free(gm_mllm_endpoint *e)
{
    for (size_t i = 0; i < KEYS; i++)
        if (keys[i].type == TYPE_TEXT || keys[i].type == TYPE_OBJECT) gm_free(*(char **)field_of(e, &keys[i]));
    *e = (gm_mllm_endpoint) { 0 };
}

/* `a whole number from 1 to 64`: for messages and the docs page. */
static gm_status describe(const struct key_info *k, gm_buffer *to, gm_err *err)
{
    switch (k->type) {
    case TYPE_TEXT: return gm_buffer_printf(to, err, "a text");
    case TYPE_INT: return gm_buffer_printf(to, err, "a whole number from %.0f to %.0f", k->least, k->most);
    case TYPE_NUM: return gm_buffer_printf(to, err, "a number from %.15g to %.15g", k->least, k->most);
    case TYPE_BOOL: return gm_buffer_printf(to, err, "true or false");
    case TYPE_OBJECT: return gm_buffer_printf(to, err, "an object");
    case TYPE_CHOICE: break;
    }
    GM_TRY(gm_buffer_printf(to, err, "one of "));
    for (const char *c = k->names; *c != '\0'; c++)
        GM_TRY(*c == '|' ? gm_buffer_add(to, ", ", 2, err) : gm_buffer_add(to, c, 1, err));
    return GM_OK;
}

/* What was found is not shown for texts: a key in the wrong place is the likeliest slip. */
static gm_status wrong_value(const struct key_info *k, const gm_json_member *m, gm_err *err)
{
    gm_buffer wanted = { 0 };
    gm_status status = describe(k, &wanted, err);
    const bool is_number = k->type == TYPE_INT || k->type == TYPE_NUM;
    const int shown = m->value_len > 40 ? 40 : (int)m->value_len;
    if (status == GM_OK && is_number && m->value[0] != '"')
        status = gm_fail(err, GM_ERR_CONFIG, "\"%s\": expected %s, found %.*s", k->name, wanted.data, shown, m->value);
    else if (status == GM_OK)
        status = gm_fail(err, GM_ERR_CONFIG, "\"%s\": expected %s", k->name, wanted.data);
    gm_buffer_free(&wanted);
    return status;
}

static gm_status set_value(gm_mllm_endpoint *e, const struct key_info *k, const gm_json_member *m, gm_err *err)
{
    cJSON *value = NULL;
    GM_TRY(gm_json_parse(m->value, m->value_len, &value, err));
    const double number = cJSON_IsNumber(value) ? value->valuedouble : NAN;
    const bool in_range = number >= k->least && number <= k->most;
    gm_status status = GM_OK;
    bool fits = true;
    switch (k->type) {
    case TYPE_TEXT:
        fits = cJSON_IsString(value);
        if (fits) status = set_text(e, k, value->valuestring, strlen(value->valuestring), err);
        break;
    case TYPE_INT:
        fits = in_range && number == floor(number);
        if (fits) *(int64_t *)field_of(e, k) = (int64_t)number;
        break;
    case TYPE_NUM:
        fits = in_range;
        if (fits) *(double *)field_of(e, k) = number;
        break;
    case TYPE_BOOL:
        fits = cJSON_IsBool(value);
        if (fits) *(bool *)field_of(e, k) = cJSON_IsTrue(value) != 0;
        break;
    case TYPE_CHOICE: fits = cJSON_IsString(value) && set_choice(e, k, value->valuestring); break;
    case TYPE_OBJECT:
        fits = cJSON_IsObject(value);
        if (fits) status = set_text(e, k, m->value, m->value_len, err);
        break;
    }
    cJSON_Delete(value);
    return fits ? status : wrong_value(k, m, err);
}

/* ---- the file ---- */

static gm_status unknown_key(const char *name, gm_err *err)
{
    const char *nearest = gm_nearest(name, key_names, KEYS);
    if (nearest == NULL) return gm_fail(err, GM_ERR_CONFIG, "unknown key \"%s\": docs/mllm.md lists all keys", name);
    return gm_fail(err, GM_ERR_CONFIG, "unknown key \"%s\": did you mean \"%s\"?", name, nearest);
}

static bool is_group(const char *name)
{
    const size_t n = strlen(name);
    for (size_t i = 0; i < KEYS; i++)
        if (strncmp(keys[i].name, name, n) == 0 && keys[i].name[n] == '.') return true;
    return false;
}

static gm_status walk(const char *prefix, const char *object, gm_mllm_endpoint *e, bool seen[KEYS], gm_err *err)
{
    gm_json_member m;
    for (const char *at = object; gm_json_next_member(&at, &m);) {
        char name[NAME_BYTES];
        const int n = snprintf(name, sizeof name, "%s%.*s", prefix, (int)(m.key_len > NAME_BYTES ? NAME_BYTES : m.key_len), m.key);
        size_t i = 0;
        while (i < KEYS && strcmp(keys[i].name, name) != 0) i++;
        if (i == KEYS && m.value[0] == '{' && is_group(name)) {
            name[n] = '.';
            name[n + 1] = '\0';
            GM_TRY(walk(name, m.value, e, seen, err));
            continue;
        }
        if (i == KEYS) return unknown_key(name, err);
        if (seen[i]) return gm_fail(err, GM_ERR_CONFIG, "key \"%s\" stands twice: leave one", name);
        seen[i] = true;
        GM_TRY(set_value(e, &keys[i], &m, err));
    }
    return GM_OK;
}

static bool has_prefix(const char *text, const char *prefix)
{
    for (; *prefix != '\0'; text++, prefix++)
        if (tolower((unsigned char)*text) != *prefix) return false;
    return true;
}

/* The part between the slashes and the path. */
static const char *authority_of(const char *url, size_t *n)
{
    const char *at = url + (has_prefix(url, "https://") ? 8 : 7);
    *n = strcspn(at, "/?#");
    return at;
}

/* A secret in an url would reach logs, reports and the cache. The messages do not repeat the url. */
static gm_status check_url(const char *url, gm_err *err)
{
    static const char *const secret[] = { "key=", "api_key=", "api-key=", "apikey=", "token=", "access_token=", "sig=", "password=" };
    if (url[0] == '\0') return GM_OK;
    if (!has_prefix(url, "https://") && !has_prefix(url, "http://"))
        return gm_fail(err, GM_ERR_CONFIG, "\"url\": expected it to begin with https:// or http://");
    for (const char *c = url; *c != '\0'; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7F) return gm_fail(err, GM_ERR_CONFIG, "\"url\": holds a blank or a control character");
    size_t n;
    const char *authority = authority_of(url, &n);
    if (n == 0) return gm_fail(err, GM_ERR_CONFIG, "\"url\": no host stands behind the slashes");
    if (memchr(authority, '@', n) != NULL)
        return gm_fail(err, GM_ERR_CONFIG, "\"url\": holds a user or password; put the key into an environment variable and name that as \"key_env\"");
    for (const char *c = strchr(url, '?'); c != NULL; c = strpbrk(c + 1, "&;"))
        for (size_t i = 0; i < GM_LEN(secret); i++)
            if (has_prefix(c + 1, secret[i]))
                return gm_fail(err, GM_ERR_CONFIG, "\"url\": holds \"%s\"; put the key into an environment variable and name that as \"key_env\"", secret[i]);
    return GM_OK;
}

static gm_status check_names(const gm_mllm_endpoint *e, gm_err *err)
{
    static const char token[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (e->key_env[strspn(e->key_env, token)] != '\0' || strlen(e->key_env) > NAME_BYTES)
        return gm_fail(err, GM_ERR_CONFIG, "\"key_env\": expected the name of an environment variable, not a key");
    if (e->key_header[0] == '\0' || e->key_header[strspn(e->key_header, token)] != '\0')
        return gm_fail(err, GM_ERR_CONFIG, "\"key_header\": expected the name of a header");
    if (e->max_tokens_key[0] == '\0') return gm_fail(err, GM_ERR_CONFIG, "\"max_tokens_key\": is empty");
    return GM_OK;
}

static bool is_loopback_address(const char *host, size_t n)
{
    const size_t digits = strspn(host, "0123456789.");
    return has_prefix(host, "127.") && (digits == n || host[digits] == ':');
}

bool gm_mllm_endpoint_is_local(const gm_mllm_endpoint *e)
{
    if (e->url[0] == '\0') return false;
    size_t n;
    const char *host = authority_of(e->url, &n);
    return is_loopback_address(host, n) || has_prefix(host, "[::1]") || (has_prefix(host, "localhost") && (n == 9 || host[9] == ':'));
}

gm_status gm_mllm_endpoint_check_key(const gm_mllm_endpoint *e, gm_err *err)
{
    size_t n;
    if (e->url[0] == '\0') return GM_OK; /* nowhere to send a key to */
    const char *host = authority_of(e->url, &n);
    if (e->key_env[0] == '\0' || has_prefix(e->url, "https://") || gm_mllm_endpoint_is_local(e) || e->allow_plain_key) return GM_OK;
    return gm_fail(err, GM_ERR_CONFIG, "%.*s: \"key_env\" asks for a key, and http shows it to all on the way: use https, or set \"allow_plain_key\"", (int)n, host);
}

gm_status gm_mllm_endpoint_parse(const char *place, const char *json, size_t size, gm_mllm_endpoint *e, gm_err *err)
{
    cJSON *tree = NULL;
    bool seen[KEYS] = { false };
    *e = (gm_mllm_endpoint) { 0 };
    gm_status status = gm_json_parse(json, size, &tree, err);
    if (status == GM_OK && !cJSON_IsObject(tree)) status = gm_fail(err, GM_ERR_CONFIG, "expected an object");
    if (status == GM_OK) status = gm_mllm_endpoint_default(e, err);
    if (status == GM_OK) status = walk("", json, e, seen, err);
    if (status == GM_OK) status = check_url(e->url, err);
    if (status == GM_OK) status = check_names(e, err);
    cJSON_Delete(tree);
    if (status == GM_OK) return GM_OK;
    gm_mllm_endpoint_free(e);
    return gm_fail_at(err, "%s", place);
}

gm_status gm_mllm_endpoint_read(const char *path, gm_mllm_endpoint *e, gm_err *err)
{
    char *text = NULL;
    size_t size = 0;
    *e = (gm_mllm_endpoint) { 0 };
    GM_TRY(gm_file_read(path, &text, &size, err));
    const gm_status status = gm_mllm_endpoint_parse(path, text, size, e, err);
    gm_free(text);
    return status;
}

gm_status gm_mllm_endpoint_markdown(gm_buffer *to, gm_err *err)
{
    GM_TRY(gm_buffer_printf(to, err, "| key | value | default | meaning |\n|---|---|---|---|\n"));
    for (size_t i = 0; i < KEYS; i++) {
        const struct key_info *k = &keys[i];
        GM_TRY(gm_buffer_printf(to, err, "| `%s` | ", k->name));
        GM_TRY(describe(k, to, err));
        if (k->type == TYPE_INT || k->type == TYPE_NUM)
            GM_TRY(gm_buffer_printf(to, err, " | %.15g | %s |\n", k->number, k->help));
        else if (k->type == TYPE_BOOL)
            GM_TRY(gm_buffer_printf(to, err, " | %s | %s |\n", k->number != 0.0 ? "true" : "false", k->help));
        else
            GM_TRY(gm_buffer_printf(to, err, " | %s | %s |\n", k->start, k->help));
    }
    return GM_OK;
}

/* ---- pictures ---- */

/* ReFineG shrinks by one factor and drops the fraction; Qwen's models want sides in multiples, rounded inward when they
 * shrink and outward when they grow, but never beyond image.max_side where a multiple fits into that. */
static int32_t side_of(int32_t side, double scale, int32_t multiple, double most)
{
    const double wanted = (double)side * scale, m = (double)multiple;
    const double parts = scale < 1.0 ? floor(wanted / m + 1e-9) : scale > 1.0 ? ceil(wanted / m - 1e-9) : nearbyint(wanted / m);
    const double sent = fmax(fmin(parts, floor(most / m)), 1.0) * m;
    return sent > 32768.0 ? 32768 : (int32_t)sent;
}

gm_mllm_view gm_mllm_view_of(const gm_mllm_endpoint *e, int32_t width, int32_t height)
{
    const int32_t longer = width > height ? width : height, multiple = (int32_t)e->picture_multiple;
    const double area = (double)width * (double)height, side = (double)e->picture_side / (double)longer;
    double scale = fmin(1.0, side);
    if (area * scale * scale < (double)e->picture_min) scale = fmin(sqrt((double)e->picture_min / area), side);
    if (area * scale * scale > (double)e->picture_max) scale = sqrt((double)e->picture_max / area);
    gm_mllm_view v = { .width = width, .height = height, .scale_x = scale, .scale_y = scale, .coordinates = (gm_mllm_coordinates)e->coordinates };
    v.sent_width = side_of(width, scale, multiple, (double)e->picture_side);
    v.sent_height = side_of(height, scale, multiple, (double)e->picture_side);
    if (multiple > 1) { /* sides move by up to a multiple, so each axis has a factor of its own */
        v.scale_x = (double)v.sent_width / (double)width;
        v.scale_y = (double)v.sent_height / (double)height;
    }
    return v;
}

static void factors(const gm_mllm_view *v, double *x, double *y)
{
    *x = *y = 1.0;
    if (v->coordinates == GM_MLLM_COORDINATES_RESIZED) *x = v->scale_x, *y = v->scale_y;
    if (v->coordinates == GM_MLLM_COORDINATES_THOUSANDTHS) *x = 1000.0 / (double)v->width, *y = 1000.0 / (double)v->height;
}

static int32_t whole(double x) { return (int32_t)fmax(-1e9, fmin(1e9, nearbyint(x))); }

void gm_mllm_box_to_prompt(const gm_mllm_view *v, gm_box box, int32_t out[4])
{
    double x, y;
    factors(v, &x, &y);
    out[0] = whole(box.x1 * x);
    out[1] = whole(box.y1 * y);
    out[2] = whole(box.x2 * x);
    out[3] = whole(box.y2 * y);
}

gm_box gm_mllm_box_from_answer(const gm_mllm_view *v, const double in[4])
{
    double x, y;
    factors(v, &x, &y);
    return (gm_box) { nearbyint(in[0] / x), nearbyint(in[1] / y), nearbyint(in[2] / x), nearbyint(in[3] / y) };
}
