/* Fuzzes a prompt's file; the first byte chooses its kind. What is refused names its place; what is taken can be filled, and what was
 * put in, which looks like a placeholder itself, stands in the message as often as the file asks for it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mllm/prompts.h"

static const char filling[] = "{entity}\x01";

static void check(int holds)
{
    if (!holds) abort();
}

static size_t count_in(const char *text)
{
    size_t n = 0;
    for (const char *at = text; at != NULL && (at = strstr(at, filling)) != NULL; at += strlen(filling)) n++;
    return n;
}

static void check_filled(const gm_prompt *p, size_t written)
{
    gm_prompt_value *values = calloc(p->count + 1, sizeof *values);
    char (*names)[64] = calloc(p->count + 1, sizeof *names);
    gm_prompt_message m;
    gm_err err = { 0 };
    size_t wanted = written, found = 0;
    check(values != NULL && names != NULL);
    for (size_t i = 0; i < p->count; i++) {
        if (!p->pieces[i].is_placeholder) continue;
        snprintf(names[i], sizeof names[i], "%.*s", (int)p->pieces[i].size, p->pieces[i].text);
        wanted++;
    }
    for (size_t i = 0; i < p->count; i++) values[i] = (gm_prompt_value) { .name = names[i], .text = filling };
    check(gm_prompt_fill(p, values, p->count, &m, &err) == GM_OK);
    found = m.system != NULL ? count_in(m.system) : 0;
    for (int32_t i = 0; i < m.part_count; i++) found += count_in(m.parts[i].text);
    check(found == wanted);
    gm_prompt_message_free(&m);
    free(values);
    free(names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gm_prompt p;
    gm_err err = { 0 };
    if (size == 0) return 0;
    const gm_prompt_kind kind = (gm_prompt_kind)(data[0] % GM_PROMPTS);
    const gm_status status = gm_prompt_parse(kind, "here", (const char *)data + 1, size - 1, &p, &err);
    if (status != GM_OK) {
        check(err.status == status && strstr(err.text, "here") == err.text);
        return 0;
    }
    if (memchr(data + 1, '\x01', size - 1) == NULL) check_filled(&p, 0);
    gm_prompt_free(&p);
    return 0;
}
