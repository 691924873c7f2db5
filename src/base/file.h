/* Files: read whole, read by line, written beside and renamed. Every message names the path. */
#ifndef GM_BASE_FILE_H
#define GM_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

/* Reads a whole file; *bytes is gm_malloc'ed, ends with an extra NUL, and is the caller's. */
gm_status gm_file_read(const char *path, char **bytes, size_t *size, gm_err *err);

/* One line after another, of any length, without its "\n" (and "\r" before it). */
typedef struct gm_lines {
    FILE *file;
    const char *path;  /* for messages */
    char *line;        /* the current line, NUL-ended, valid until the next call */
    size_t length, capacity;
    int64_t number;    /* 1-based */
} gm_lines;
gm_status gm_lines_open(gm_lines *l, const char *path, gm_err *err); /* "-" is stdin */
gm_status gm_lines_next(gm_lines *l, bool *have, gm_err *err);
void gm_lines_close(gm_lines *l); /* takes a zeroed or closed one */

/* A file written beside its name as `path.part`, synced and renamed by commit. "-" is stdout; a device or pipe is
 * written directly. */
typedef struct gm_out {
    FILE *file;
    char *path, *part;
} gm_out;
gm_status gm_out_open(gm_out *o, const char *path, gm_err *err);
gm_status gm_out_write(gm_out *o, const void *bytes, size_t size, gm_err *err);
gm_status gm_out_printf(gm_out *o, gm_err *err, const char *format, ...) GM_PRINTF(3, 4);
gm_status gm_out_commit(gm_out *o, gm_err *err); /* flush, fsync, rename; closes in any case */
void gm_out_abort(gm_out *o);                    /* removes the part; takes a closed or zeroed one */

/* All of a file at once, beside its name and renamed; in a folder that is there. */
gm_status gm_file_write(const char *path, const void *bytes, size_t size, gm_err *err);
gm_status gm_file_write_in(const char *folder, const char *name, const void *bytes, size_t size, gm_err *err);

bool gm_path_exists(const char *path);
bool gm_path_is_dir(const char *path);
gm_status gm_make_dirs(const char *path, gm_err *err); /* mkdir -p */
char *gm_path_join(const char *folder, const char *name); /* gm_malloc'ed; NULL when out of memory */
/* Makes folder `part` take the name `final` in one atomic step (renameat2 exchange; two renames where the file system
 * has no exchange) and removes what stood there. All is synced first. A crash between the two renames leaves both
 * folders complete: the new one as `part`, the old one as `final`.old.part; whoever finds no `final` may take either. */
gm_status gm_dir_replace(const char *part, const char *final, gm_err *err);
gm_status gm_remove_tree(const char *path, gm_err *err); /* a folder of plain files and folders; missing is fine */

#endif
