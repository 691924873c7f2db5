/* Configuration: one key table (config_keys.def) makes the parser, --print-config, --help and docs/configuration.md.
 * Default, then file, then --set key=value. An unknown or repeated key is an error with its JSON path and the nearest name. */
#ifndef GM_BASE_CONFIG_H
#define GM_BASE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/parse.h"
#include "base/status.h"

typedef enum gm_key {
#define GM_KEY(id, name, type, def, low, high, choices, help) GM_KEY_##id,
#include "config_keys.def"
#undef GM_KEY
    GM_KEY_COUNT
} gm_key;

typedef struct gm_config gm_config;

gm_status gm_config_create(gm_config **c, gm_err *err); /* all defaults */
void gm_config_destroy(gm_config *c);
gm_status gm_config_load(gm_config *c, const char *path, gm_err *err);           /* nested objects or dotted keys */
gm_status gm_config_set(gm_config *c, const char *assignment, gm_err *err);      /* "train.lr=1e-4"; a later one wins */

int64_t gm_config_int(const gm_config *c, gm_key key);
uint64_t gm_config_u64(const gm_config *c, gm_key key);  /* seed: all 64 bits */
double gm_config_num(const gm_config *c, gm_key key);
bool gm_config_bool(const gm_config *c, gm_key key);
const char *gm_config_str(const gm_config *c, gm_key key); /* "" when unset; the configuration's */

/* One line a key: name = value (default | file PATH | --set). */
void gm_config_print(const gm_config *c, FILE *to);
/* The effective configuration as a JSON object that gm_config_load reads back; gm_malloc'ed. */
char *gm_config_json(const gm_config *c);
/* The key table as the markdown page docs/configuration.md. */
void gm_config_print_docs(FILE *to);

#endif
