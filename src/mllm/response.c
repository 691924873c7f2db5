/* Responses of chat completions, and of servers that are not well. Nothing here trusts a field: error bodies come in four
 * shapes and as plain text, and an error may come with status 200. */
#include "mllm/response.h"

#include <ctype.h>
#include <string.h>

#include "base/memory.h"

/* What a body says that its status does not. Looked for in the error's text, lower case; the first that is found counts. */
static const struct sign {
    const char *words;
    gm_mllm_meaning meaning;
} signs[] = {
    { "insufficient_quota", GM_MLLM_MEANS_STOP },
    { "credit_balance", GM_MLLM_MEANS_STOP },
    { "credit balance is too low", GM_MLLM_MEANS_STOP },
    { "billing_hard_limit", GM_MLLM_MEANS_STOP },
    { "insufficient balance", GM_MLLM_MEANS_STOP },
    { "invalid_api_key", GM_MLLM_MEANS_STOP },
    { "incorrect api key", GM_MLLM_MEANS_STOP },
    { "invalid api key", GM_MLLM_MEANS_STOP },
    { "authentication_error", GM_MLLM_MEANS_STOP },
    { "model_not_found", GM_MLLM_MEANS_STOP },
    { "exceed_context_size", GM_MLLM_MEANS_NEVER },
    { "context_length_exceeded", GM_MLLM_MEANS_NEVER },
    { "context length", GM_MLLM_MEANS_NEVER },
    { "context size", GM_MLLM_MEANS_NEVER },
    { "content_filter", GM_MLLM_MEANS_NEVER },
    { "content_policy", GM_MLLM_MEANS_NEVER },
    { "data_inspection_failed", GM_MLLM_MEANS_NEVER },
    { "invalid_request_error", GM_MLLM_MEANS_NEVER },
    { "not_supported_error", GM_MLLM_MEANS_NEVER },
    { "not supported", GM_MLLM_MEANS_NEVER },
    { "does not support", GM_MLLM_MEANS_NEVER },
    { "unsupported", GM_MLLM_MEANS_NEVER },
    { "mmproj", GM_MLLM_MEANS_NEVER },
    { "json.exception", GM_MLLM_MEANS_NEVER },
    { "jsondecodeerror", GM_MLLM_MEANS_NEVER },
    { "failed to parse", GM_MLLM_MEANS_NEVER },
    { "validation error", GM_MLLM_MEANS_NEVER },
    { "invalid image", GM_MLLM_MEANS_NEVER },
    { "failed to load image", GM_MLLM_MEANS_NEVER },
    { "failed to decode image", GM_MLLM_MEANS_NEVER },
};

enum { SHOWN = 300 }; /* bytes of a server's text that are repeated in ours */

static gm_mllm_meaning meaning_of_status(long status)
{
    switch (status) {
    case 408:
    case 409:
    case 425:
    case 429: return GM_MLLM_MEANS_AGAIN;
    case 401:
    case 402:
    case 404:
    case 405:
    case 407: return GM_MLLM_MEANS_STOP;
    case 500: return GM_MLLM_MEANS_ERROR;
    case 501:
    case 505: return GM_MLLM_MEANS_NEVER;
    default: break;
    }
    if (status >= 500) return GM_MLLM_MEANS_AGAIN;
    return status >= 400 ? GM_MLLM_MEANS_NEVER : GM_MLLM_MEANS_STOP; /* 3xx: the url is not where completions are */
}

static bool contains(const char *text, const char *words)
{
    const size_t n = strlen(words);
    for (; *text != '\0'; text++) {
        size_t i = 0;
        while (i < n && text[i] != '\0' && tolower((unsigned char)text[i]) == words[i]) i++;
        if (i == n) return true;
    }
    return false;
}

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(v) ? v->valuestring : "";
}

/* One line: what a server says must not break the log, nor fill it. */
static gm_status add_line(gm_buffer *to, const char *text, size_t size, gm_err *err)
{
    char line[SHOWN];
    size_t n = 0;
    for (size_t i = 0; i < size && n < sizeof line; i++) {
        const unsigned char c = (unsigned char)text[i];
        const bool is_blank = c <= ' ' || c == 0x7F;
        if (is_blank && (n == 0 || line[n - 1] == ' ')) continue;
        line[n++] = is_blank ? ' ' : (char)c;
    }
    size_t bad;
    if (!gm_utf8_valid(line, n, &bad)) n = bad; /* a character cut in the middle, or no text at all */
    while (n > 0 && line[n - 1] == ' ') n--;
    return gm_buffer_add(to, line, n, err);
}

/* {"error":{"message","type","code"}}, {"error":"text"}, {"object":"error","message"}, {"detail":...}: message, type and
 * code in one text. */
static gm_status error_text(const cJSON *body, gm_buffer *to, gm_err *err)
{
    static const char *const fields[] = { "message", "type", "code", "param" };
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(body, "error"), *detail = cJSON_GetObjectItemCaseSensitive(body, "detail");
    if (cJSON_IsString(error)) return gm_buffer_printf(to, err, "%s", error->valuestring);
    if (cJSON_IsString(detail)) return gm_buffer_printf(to, err, "%s", detail->valuestring);
    if (detail != NULL && !cJSON_IsObject(error)) {
        char *printed = cJSON_PrintUnformatted(detail);
        if (printed == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a response");
        const gm_status status = gm_buffer_printf(to, err, "validation error: %s", printed);
        cJSON_free(printed);
        return status;
    }
    const cJSON *from = cJSON_IsObject(error) ? error : body;
    for (size_t i = 0; i < GM_LEN(fields); i++) {
        const char *text = text_of(from, fields[i]);
        if (text[0] != '\0') GM_TRY(gm_buffer_printf(to, err, "%s%s", to->size > 0 ? "; " : "", text));
    }
    return GM_OK;
}

static gm_status read_error(long status, const cJSON *json, const char *body, size_t size, gm_mllm_response *r, gm_err *err)
{
    gm_buffer said = { 0 };
    gm_status result = gm_buffer_add(&said, "", 0, err);
    if (result == GM_OK && cJSON_IsObject(json)) result = error_text(json, &said, err);
    const char *nul = size > 0 ? memchr(body, '\0', size) : NULL;
    if (result == GM_OK && said.size == 0) result = gm_buffer_add(&said, body, nul != NULL ? (size_t)(nul - body) : size, err);
    if (result == GM_OK) {
        r->meaning = meaning_of_status(status);
        /* Where the status speaks of the server's state, only what ends the run counts beside it. */
        const gm_mllm_meaning least = r->meaning == GM_MLLM_MEANS_AGAIN ? GM_MLLM_MEANS_STOP : GM_MLLM_MEANS_NEVER;
        for (size_t i = 0; i < GM_LEN(signs); i++)
            if (signs[i].meaning >= least && signs[i].meaning > r->meaning && contains(said.data, signs[i].words)) {
                r->meaning = signs[i].meaning;
                break;
            }
        result = gm_buffer_printf(&r->why, err, "HTTP %ld%s", status, said.size > 0 ? ": " : "");
    }
    if (result == GM_OK) result = add_line(&r->why, said.data, said.size, err);
    gm_buffer_free(&said);
    return result;
}

static int64_t count_of(const cJSON *usage, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(usage, name);
    if (!cJSON_IsNumber(v) || !(v->valuedouble >= 0.0) || v->valuedouble > 1e12) return 0;
    return (int64_t)v->valuedouble;
}

/* A string, or a list of parts whose texts are joined. */
static gm_status add_content(const cJSON *content, gm_buffer *to, gm_err *err)
{
    if (cJSON_IsString(content)) return gm_buffer_add(to, content->valuestring, strlen(content->valuestring), err);
    const cJSON *part;
    cJSON_ArrayForEach(part, content) {
        const char *text = text_of(part, "text");
        GM_TRY(gm_buffer_add(to, text, strlen(text), err));
    }
    return GM_OK;
}

static gm_status read_answer(const cJSON *json, gm_mllm_response *r, gm_err *err)
{
    const cJSON *choice = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "choices"), 0);
    const cJSON *message = cJSON_GetObjectItemCaseSensitive(choice, "message");
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(message, "content");
    const cJSON *usage = cJSON_GetObjectItemCaseSensitive(json, "usage");
    const char *finish = text_of(choice, "finish_reason"), *refusal = text_of(message, "refusal");
    r->tokens_in = count_of(usage, "prompt_tokens");
    r->tokens_out = count_of(usage, "completion_tokens");
    r->is_cut = strcmp(finish, "length") == 0;
    r->meaning = GM_MLLM_MEANS_ANSWER;
    if (refusal[0] != '\0' || strcmp(finish, "content_filter") == 0) {
        r->meaning = GM_MLLM_MEANS_NEVER;
        r->is_refusal = true;
        GM_TRY(gm_buffer_printf(&r->why, err, "the model would not answer (%s)%s", refusal[0] != '\0' ? "refusal" : finish, refusal[0] != '\0' ? ": " : ""));
        return add_line(&r->why, refusal, strlen(refusal), err);
    }
    if (cJSON_IsString(content) || cJSON_IsArray(content)) return add_content(content, &r->text, err);
    if (cJSON_IsNull(content) && r->is_cut) return GM_OK; /* all its tokens went into thoughts: an empty answer, cut */
    r->meaning = GM_MLLM_MEANS_AGAIN;
    return gm_buffer_printf(&r->why, err, "the response has no choices[0].message.content");
}

/* The status that a gateway hides in an error with HTTP 200. */
static long hidden_status(const cJSON *json)
{
    const cJSON *code = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, "error"), "code");
    if (code == NULL) code = cJSON_GetObjectItemCaseSensitive(json, "code");
    if (!cJSON_IsNumber(code) || !(code->valuedouble >= 400.0) || code->valuedouble > 599.0) return 500;
    return (long)code->valuedouble;
}

static bool is_error(const cJSON *json)
{
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(json, "error");
    return cJSON_IsObject(error) || cJSON_IsString(error) || strcmp(text_of(json, "object"), "error") == 0;
}

static gm_status clear(gm_mllm_response *r, gm_err *err)
{
    const gm_buffer text = r->text, why = r->why;
    *r = (gm_mllm_response) { .text = text, .why = why };
    r->text.size = r->why.size = 0;
    GM_TRY(gm_buffer_add(&r->text, "", 0, err));
    return gm_buffer_add(&r->why, "", 0, err);
}

gm_status gm_mllm_response_read(long http_status, const char *body, size_t size, gm_mllm_response *r, gm_err *err)
{
    cJSON *json = NULL;
    gm_err parse = { 0 };
    GM_TRY(clear(r, err));
    gm_status status = gm_json_parse(body, size, &json, &parse);
    if (status == GM_ERR_NOMEM) return gm_fail(err, status, "%s", parse.text);
    if (http_status < 200 || http_status > 299) {
        status = read_error(http_status, json, body, size, r, err);
    } else if (status != GM_OK || !cJSON_IsObject(json)) {
        r->meaning = GM_MLLM_MEANS_AGAIN;
        status = gm_buffer_printf(&r->why, err, "the response is no JSON object (%.120s)", status != GM_OK ? parse.text : "it is another value");
    } else if (is_error(json)) {
        status = read_error(hidden_status(json), json, body, size, r, err);
    } else {
        status = read_answer(json, r, err);
    }
    cJSON_Delete(json);
    return status;
}

void gm_mllm_response_free(gm_mllm_response *r)
{
    gm_buffer_free(&r->text);
    gm_buffer_free(&r->why);
}

void gm_mllm_hide(char *text, size_t size, const char *secret)
{
    const size_t n = secret != NULL ? strlen(secret) : 0;
    if (n < 4) return;
    for (size_t i = 0; i + n <= size; i++)
        if (memcmp(text + i, secret, n) == 0) memset(text + i, '*', n);
}
