/* Stands in for cJSON on a GPU machine that lacks it: the part that reads, with cJSON's names and meaning.
 * gm_json_parse has checked a text before it comes here, so the parser takes what it gets for well-formed. */
#ifndef GM_STANDIN_CJSON_H
#define GM_STANDIN_CJSON_H

#include <stddef.h>

typedef int cJSON_bool;
typedef struct cJSON {
    struct cJSON *next, *child;
    int type;
    char *valuestring, *string; /* string: its key in an object */
    double valuedouble;
    int valueint;
} cJSON;
typedef struct cJSON_Hooks {
    void *(*malloc_fn)(size_t bytes);
    void (*free_fn)(void *block);
} cJSON_Hooks;

enum { cJSON_False = 1, cJSON_True = 2, cJSON_NULL = 4, cJSON_Number = 8, cJSON_String = 16, cJSON_Array = 32, cJSON_Object = 64 };

void cJSON_InitHooks(cJSON_Hooks *hooks);
cJSON *cJSON_ParseWithLength(const char *text, size_t size);
void cJSON_Delete(cJSON *item);
char *cJSON_PrintUnformatted(const cJSON *item);
void cJSON_free(void *block);
int cJSON_GetArraySize(const cJSON *item);
cJSON *cJSON_GetArrayItem(const cJSON *item, int index);
cJSON *cJSON_GetObjectItemCaseSensitive(const cJSON *item, const char *key);
cJSON_bool cJSON_HasObjectItem(const cJSON *item, const char *key);
char *cJSON_GetStringValue(const cJSON *item);
double cJSON_GetNumberValue(const cJSON *item);
cJSON_bool cJSON_Compare(const cJSON *a, const cJSON *b, cJSON_bool case_sensitive);
cJSON_bool cJSON_IsBool(const cJSON *item);
cJSON_bool cJSON_IsFalse(const cJSON *item);
cJSON_bool cJSON_IsTrue(const cJSON *item);
cJSON_bool cJSON_IsNull(const cJSON *item);
cJSON_bool cJSON_IsNumber(const cJSON *item);
cJSON_bool cJSON_IsString(const cJSON *item);
cJSON_bool cJSON_IsArray(const cJSON *item);
cJSON_bool cJSON_IsObject(const cJSON *item);
#define cJSON_ArrayForEach(element, array) for (element = (array) != NULL ? (array)->child : NULL; element != NULL; element = element->next)

#endif
