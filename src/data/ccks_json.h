/* The files of the CCKS 2025 task on grounded entities, as its authors publish and take them: texts {"id": {"text"}}, and entities
 * {"id": [{"name", "label", "bnd": {"xmin", "ymin", "xmax", "ymax"} or null}]}, by name and not by place. A record keeps its text as the member
 * "text", so that names are written as slices of it and come back as they were. */
#ifndef GM_DATA_CCKS_JSON_H
#define GM_DATA_CCKS_JSON_H

#include "data/readers.h"

/* `entities` may be NULL. Every occurrence of a name in its text becomes an entity, with all boxes that are given for the name and its label.
 * Counts names and boxes for which there is no place. An id without a text, an id twice, a box without an inside: errors that name the id. */
gm_status gm_ccks_json_read(const char *texts, const char *entities, gm_records *all, gm_import_counts *counts, gm_err *err);

/* The entities of all records in that form, each different one once: the first box of an entity, as the task takes them, or all, an
 * entry each. */
gm_status gm_ccks_json_write(const gm_records *all, bool has_all_boxes, gm_buffer *to, gm_err *err);

#endif
