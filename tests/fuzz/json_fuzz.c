/* Fuzzes gm_json_parse. What it takes must be walked member by member inside the text, and a string written by
 * gm_buffer_json_string must read back as itself. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static void check(int holds)
{
    if (!holds) abort();
}

static void check_members(const char *text, size_t size)
{
    gm_json_member m;
    gm_err err;
    for (const char *at = text; gm_json_next_member(&at, &m);) {
        cJSON *key = NULL, *value = NULL;
        check(m.key > text && m.value > m.key && m.value + m.value_len < text + size);
        check(gm_json_parse(m.key - 1, m.key_len + 2, &key, &err) == GM_OK && cJSON_IsString(key));
        check(gm_json_parse(m.value, m.value_len, &value, &err) == GM_OK);
        cJSON_Delete(key);
        cJSON_Delete(value);
        if (*m.value == '{') check_members(m.value, m.value_len);
    }
}

static void check_string(const char *text)
{
    gm_buffer b = { 0 };
    gm_err err;
    cJSON *again = NULL;
    check(gm_buffer_json_string(&b, text, &err) == GM_OK);
    check(gm_json_parse(b.data, b.size, &again, &err) == GM_OK && strcmp(again->valuestring, text) == 0);
    cJSON_Delete(again);
    gm_buffer_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON *value = NULL;
    gm_err err;
    const char *text = (const char *)data;
    const gm_status status = gm_json_parse(text, size, &value, &err);
    check(status == GM_OK || (status == GM_ERR_FORMAT && value == NULL && strlen(err.text) > 4));
    if (status == GM_OK && cJSON_IsObject(value)) check_members(text, size);
    if (status == GM_OK && cJSON_IsString(value)) check_string(value->valuestring);
    cJSON_Delete(value);
    return 0;
}
