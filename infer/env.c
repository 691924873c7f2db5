/* gmner env: what a report of a bug must say about the program and the machine, collected so that nobody has to ask. It opens
 * no file of the user's, prints variables of a fixed list alone, and never fails because something is not there. */
#include "infer/env.h"

#include <stdio.h>

#include "base/cli.h"
#include "base/memory.h"

gm_status gm_env_add(gm_env *e, const char *section, const char *name, const char *value, const char *remedy, gm_err *err)
{
    GM_TRY(gm_grow((void **)&e->rows, &e->capacity, e->count, sizeof *e->rows, err));
    gm_env_row *row = &e->rows[e->count];
    *row = (gm_env_row){ .section = section, .name = name, .remedy = value == NULL ? remedy : NULL };
    if (value != NULL && (row->value = gm_strdup(value)) == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a report");
    e->count++;
    return GM_OK;
}

static gm_status add_program(gm_env *e, gm_err *err)
{
    GM_TRY(gm_env_add(e, "program", "version", GM_VERSION, NULL, err));
    GM_TRY(gm_env_add(e, "program", "commit", GM_COMMIT, NULL, err));
    GM_TRY(gm_env_add(e, "program", "compiler", GM_COMPILER " " __VERSION__, NULL, err));
    return gm_env_add(e, "program", "flags", GM_FLAGS, NULL, err);
}

static gm_status print_text(const gm_env *e, gm_buffer *to, gm_err *err)
{
    for (size_t i = 0; i < e->count; i++) {
        const gm_env_row *r = &e->rows[i];
        if (i == 0 || r->section != r[-1].section) GM_TRY(gm_buffer_printf(to, err, "%s%s\n", i > 0 ? "\n" : "", r->section));
        GM_TRY(gm_buffer_printf(to, err, "  %-34s ", r->name));
        if (r->value != NULL) GM_TRY(gm_buffer_printf(to, err, "%s\n", r->value));
        else GM_TRY(gm_buffer_printf(to, err, "-%s%s\n", r->remedy != NULL ? "   missing; Debian: " : "", r->remedy != NULL ? r->remedy : ""));
    }
    return GM_OK;
}

static gm_status print_value(const gm_env_row *r, gm_buffer *to, gm_err *err)
{
    if (r->value != NULL) return gm_buffer_json_string(to, r->value, err);
    if (r->remedy == NULL) return gm_buffer_printf(to, err, "null");
    GM_TRY(gm_buffer_printf(to, err, "{\"missing\": "));
    GM_TRY(gm_buffer_json_string(to, r->remedy, err));
    return gm_buffer_printf(to, err, "}");
}

/* {"section": {"name": "value", "name": null, "name": {"missing": "package"}}} */
static gm_status print_json(const gm_env *e, gm_buffer *to, gm_err *err)
{
    for (size_t i = 0; i < e->count; i++) {
        const gm_env_row *r = &e->rows[i];
        const bool opens = i == 0 || r->section != r[-1].section;
        if (opens) GM_TRY(gm_buffer_printf(to, err, "%s\"%s\": {\n", i == 0 ? "{\n" : "\n},\n", r->section));
        GM_TRY(gm_buffer_printf(to, err, "%s  ", opens ? "" : ",\n"));
        GM_TRY(gm_buffer_json_string(to, r->name, err));
        GM_TRY(gm_buffer_printf(to, err, ": "));
        GM_TRY(print_value(r, to, err));
    }
    return gm_buffer_printf(to, err, "\n}\n}\n");
}

static gm_status report(bool is_json, gm_err *err)
{
    gm_env e = { 0 };
    gm_buffer text = { 0 };
    gm_status status = add_program(&e, err);
    if (status == GM_OK) status = gm_env_libraries(&e, err);
    if (status == GM_OK) status = gm_env_machine(&e, err);
    if (status == GM_OK) status = is_json ? print_json(&e, &text, err) : print_text(&e, &text, err);
    if (status == GM_OK && fwrite(text.data, 1, text.size, stdout) != text.size)
        status = gm_fail(err, GM_ERR_IO, "stdout: the report of %zu bytes was not taken", text.size);
    for (size_t i = 0; i < e.count; i++) gm_free(e.rows[i].value);
    gm_free(e.rows);
    gm_buffer_free(&text);
    return status;
}

static int env_main(int argc, char **argv);
const gm_command gm_env_command = { "env", "tell version, libraries, machine and limits, for reports of bugs", "gmner env [--json]", env_main };

static int env_main(int argc, char **argv)
{
    gm_err err = { 0 };
    bool done = false, is_json = false;
    gm_option options[] = { { "json", GM_OPT_FLAG, &is_json, NULL, "print JSON; null and \"missing\" are what is not there", false } };
    gm_status status = gm_cli_parse(&gm_env_command, options, (int)GM_LEN(options), NULL, 0, NULL, argc, argv, &done, &err);
    if (status == GM_OK && !done) status = report(is_json, &err);
    return gm_cli_finish(&gm_env_command, status, &err);
}
