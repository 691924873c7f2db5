/* Files: a name appears only when its content is complete and on the disk. Whatever goes wrong on the way leaves the
 * old file as it was and nothing beside it. */
#define _GNU_SOURCE /* renameat2 */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

/* Names the path, what was tried and the system's reason. Call it before anything else can change errno. */
static gm_status io_error(gm_err *err, const char *path, const char *what)
{
    return gm_fail(err, GM_ERR_IO, "%s: %s: %s", path, what, strerror(errno));
}

static gm_status no_memory(gm_err *err, const char *path)
{
    return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory", path);
}

static gm_status read_all(FILE *file, const char *path, char **bytes, size_t *size, gm_err *err)
{
    size_t capacity = 0;
    for (;;) {
        if (capacity - *size < 2) { /* one byte to read and one for the NUL */
            const size_t wanted = capacity ? capacity * 2 : 65536;
            char *moved = wanted > capacity ? gm_realloc(*bytes, wanted) : NULL;
            if (moved == NULL) return no_memory(err, path);
            *bytes = moved;
            capacity = wanted;
        }
        const size_t n = fread(*bytes + *size, 1, capacity - *size - 1, file);
        if (n == 0) break;
        *size += n;
    }
    if (ferror(file)) return io_error(err, path, "cannot read");
    (*bytes)[*size] = '\0';
    return GM_OK;
}

gm_status gm_file_read(const char *path, char **bytes, size_t *size, gm_err *err)
{
    *bytes = NULL;
    *size = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL) return io_error(err, path, "cannot open");
    const gm_status status = read_all(file, path, bytes, size, err);
    fclose(file);
    if (status != GM_OK) {
        gm_free(*bytes);
        *bytes = NULL;
        *size = 0;
    }
    return status;
}

gm_status gm_lines_open(gm_lines *l, const char *path, gm_err *err)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    *l = (gm_lines) { .path = is_stdin ? "stdin" : path };
    l->file = is_stdin ? stdin : fopen(path, "rb");
    if (l->file == NULL) return io_error(err, path, "cannot open");
    return GM_OK;
}

gm_status gm_lines_next(gm_lines *l, bool *have, gm_err *err)
{
    int c;
    *have = false;
    l->length = 0;
    while ((c = getc_unlocked(l->file)) != EOF) {
        if (gm_grow((void **)&l->line, &l->capacity, l->length + 1, 1, err) != GM_OK) /* room for the NUL, too */
            return gm_fail(err, GM_ERR_NOMEM, "%s:%lld: out of memory for a line of more than %zu bytes", l->path,
                           (long long)l->number + 1, l->length);
        if (c == '\n') break;
        l->line[l->length++] = (char)c;
    }
    if (c == EOF && ferror(l->file)) return io_error(err, l->path, "cannot read");
    if (c == EOF && l->length == 0) return GM_OK;
    if (c == '\n' && l->length > 0 && l->line[l->length - 1] == '\r') l->length--;
    l->line[l->length] = '\0';
    l->number++;
    *have = true;
    return GM_OK;
}

void gm_lines_close(gm_lines *l)
{
    if (l->file != NULL && l->file != stdin) fclose(l->file);
    gm_free(l->line);
    *l = (gm_lines) { 0 };
}

static void forget(gm_out *o)
{
    gm_free(o->path);
    gm_free(o->part);
    *o = (gm_out) { 0 };
}

/* "last/" and ".part" give "last.part". */
static char *with_suffix(const char *path, const char *suffix)
{
    size_t n = strlen(path);
    const size_t m = strlen(suffix);
    while (n > 1 && path[n - 1] == '/') n--;
    char *longer = gm_malloc(n + m + 1);
    if (longer == NULL) return NULL;
    memcpy(longer, path, n);
    memcpy(longer + n, suffix, m + 1);
    return longer;
}

/* A device or a pipe cannot be replaced by a renamed file (and /dev/null must not be): it is written directly. */
static bool is_replaceable(const char *path)
{
    struct stat info;
    return stat(path, &info) != 0 || S_ISREG(info.st_mode) || S_ISDIR(info.st_mode);
}

gm_status gm_out_open(gm_out *o, const char *path, gm_err *err)
{
    *o = (gm_out) { 0 };
    const bool is_stdout = strcmp(path, "-") == 0;
    if (gm_path_is_dir(path)) return gm_fail(err, GM_ERR_IO, "%s: cannot write: it is a folder", path);
    const bool has_part = !is_stdout && is_replaceable(path);
    o->path = gm_strdup(is_stdout ? "stdout" : path);
    if (has_part) o->part = with_suffix(path, ".part");
    gm_status status = GM_OK;
    if (o->path == NULL || (has_part && o->part == NULL)) {
        status = no_memory(err, path);
    } else {
        o->file = is_stdout ? stdout : fopen(has_part ? o->part : o->path, "wb");
        if (o->file == NULL) status = io_error(err, has_part ? o->part : o->path, "cannot create");
    }
    if (status != GM_OK) forget(o);
    return status;
}

gm_status gm_out_write(gm_out *o, const void *bytes, size_t size, gm_err *err)
{
    if (fwrite(bytes, 1, size, o->file) != size) return io_error(err, o->path, "cannot write");
    return GM_OK;
}

gm_status gm_out_printf(gm_out *o, gm_err *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vfprintf(o->file, format, args);
    va_end(args);
    if (n < 0) return io_error(err, o->path, "cannot write");
    return GM_OK;
}

/* fsync of a file or folder by its name. */
static gm_status sync_path(const char *path, gm_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return io_error(err, path, "cannot open to sync");
    gm_status status = GM_OK;
    if (fsync(fd) != 0) status = io_error(err, path, "cannot sync");
    close(fd);
    return status;
}

/* Makes a rename in the folder that holds `path` last. */
static gm_status sync_parent(const char *path, gm_err *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    char *parent = n > 0 ? gm_strndup(path, n) : gm_strdup(".");
    if (parent == NULL) return no_memory(err, path);
    const gm_status status = sync_path(parent, err);
    gm_free(parent);
    return status;
}

/* Closes the file in any case; a write that failed earlier is found again here. */
static gm_status finish_file(gm_out *o, gm_err *err)
{
    const bool had_error = ferror(o->file) != 0;
    gm_status status = GM_OK;
    if (fflush(o->file) != 0)
        status = io_error(err, o->path, "cannot write");
    else if (had_error)
        status = gm_fail(err, GM_ERR_IO, "%s: cannot write: an earlier write failed", o->path);
    else if (o->part != NULL && fsync(fileno(o->file)) != 0)
        status = io_error(err, o->path, "cannot sync");
    if (o->file != stdout && fclose(o->file) != 0 && status == GM_OK) status = io_error(err, o->path, "cannot close");
    o->file = NULL;
    return status;
}

gm_status gm_out_commit(gm_out *o, gm_err *err)
{
    gm_status status = finish_file(o, err);
    if (o->part != NULL) {
        if (status == GM_OK && rename(o->part, o->path) != 0) status = io_error(err, o->path, "cannot take its name");
        if (status == GM_OK)
            status = sync_parent(o->path, err);
        else
            unlink(o->part);
    }
    forget(o);
    return status;
}

void gm_out_abort(gm_out *o)
{
    if (o->file != NULL && o->file != stdout) fclose(o->file);
    if (o->part != NULL) unlink(o->part);
    forget(o);
}

gm_status gm_file_write(const char *path, const void *bytes, size_t size, gm_err *err)
{
    gm_out out = { 0 };
    gm_status status = gm_out_open(&out, path, err);
    if (status == GM_OK) status = gm_out_write(&out, bytes, size, err);
    if (status == GM_OK) status = gm_out_commit(&out, err);
    gm_out_abort(&out);
    return status;
}

gm_status gm_file_write_in(const char *folder, const char *name, const void *bytes, size_t size, gm_err *err)
{
    char *path = gm_path_join(folder, name);
    if (path == NULL) return gm_fail(err, GM_ERR_NOMEM, "out of memory for a path");
    const gm_status status = gm_file_write(path, bytes, size, err);
    gm_free(path);
    return status;
}

bool gm_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool gm_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

gm_status gm_make_dirs(const char *path, gm_err *err)
{
    char *copy = gm_strdup(path);
    if (copy == NULL) return no_memory(err, path);
    gm_status status = GM_OK;
    for (char *c = copy; status == GM_OK && *c != '\0';) {
        while (*c == '/') c++;
        while (*c != '\0' && *c != '/') c++;
        const char end = *c;
        *c = '\0';
        if (mkdir(copy, 0777) != 0) {
            const int reason = errno; /* the look below has an errno of its own */
            const bool is_there = gm_path_is_dir(copy);
            errno = reason;
            if (!is_there) status = io_error(err, copy, "cannot make the folder");
        }
        *c = end;
    }
    gm_free(copy);
    return status;
}

char *gm_path_join(const char *folder, const char *name)
{
    const size_t n = strlen(folder), m = strlen(name);
    if (n == 0 || name[0] == '/') return gm_strdup(name);
    const size_t slash = folder[n - 1] != '/';
    char *path = gm_malloc(n + slash + m + 1);
    if (path == NULL) return NULL;
    memcpy(path, folder, n);
    memcpy(path + n, "/", slash);
    memcpy(path + n + slash, name, m + 1);
    return path;
}

typedef gm_status (*visit)(const char *path, const struct stat *info, gm_err *err);

static gm_status walk(const char *path, visit visitor, gm_err *err);

static gm_status walk_entries(const char *path, visit visitor, gm_err *err)
{
    DIR *folder = opendir(path);
    if (folder == NULL) return io_error(err, path, "cannot open the folder");
    gm_status status = GM_OK;
    while (status == GM_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL) {
            if (errno != 0) status = io_error(err, path, "cannot read the folder");
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char *below = gm_path_join(path, entry->d_name);
        status = below != NULL ? walk(below, visitor, err) : no_memory(err, path);
        gm_free(below);
    }
    closedir(folder);
    return status;
}

/* Visits all below `path`, then `path`. Links are visited, never followed. */
static gm_status walk(const char *path, visit visitor, gm_err *err)
{
    struct stat info;
    if (lstat(path, &info) != 0) return io_error(err, path, "cannot look at it");
    if (S_ISDIR(info.st_mode)) GM_TRY(walk_entries(path, visitor, err));
    return visitor(path, &info, err);
}

static gm_status sync_visit(const char *path, const struct stat *info, gm_err *err)
{
    return S_ISREG(info->st_mode) || S_ISDIR(info->st_mode) ? sync_path(path, err) : GM_OK;
}

static gm_status remove_visit(const char *path, const struct stat *info, gm_err *err)
{
    if ((S_ISDIR(info->st_mode) ? rmdir(path) : unlink(path)) != 0) return io_error(err, path, "cannot remove");
    return GM_OK;
}

gm_status gm_remove_tree(const char *path, gm_err *err)
{
    struct stat info;
    if (lstat(path, &info) != 0 && errno == ENOENT) return GM_OK;
    return walk(path, remove_visit, err);
}

/* Where the file system knows no exchange: `final` steps aside as `old`, `part` takes the name. A crash between the
 * two renames leaves no `final`, but both folders complete: the new one as `part`, the old one as `old`. */
static gm_status replace_in_two(const char *part, const char *final, const char *old, gm_err *err)
{
    GM_TRY(gm_remove_tree(old, err));
    if (rename(final, old) != 0) return io_error(err, final, "cannot step aside");
    if (rename(part, final) != 0) {
        const gm_status status = io_error(err, final, "cannot take its name");
        (void)rename(old, final); /* if this fails too, the message above stands and `old` still holds the folder */
        return status;
    }
    GM_TRY(sync_parent(final, err));
    return gm_remove_tree(old, err);
}

gm_status gm_dir_replace(const char *part, const char *final, gm_err *err)
{
    GM_TRY(walk(part, sync_visit, err));
    char *old = with_suffix(final, ".old.part");
    if (old == NULL) return no_memory(err, final);
    gm_status status = GM_OK;
    if (!gm_path_exists(final)) {
        if (rename(part, final) != 0) status = io_error(err, final, "cannot take its name");
        if (status == GM_OK) status = sync_parent(final, err);
        if (status == GM_OK) status = gm_remove_tree(old, err); /* left by a crash between the two renames */
    } else if (renameat2(AT_FDCWD, part, AT_FDCWD, final, RENAME_EXCHANGE) == 0) {
        status = sync_parent(final, err);
        if (status == GM_OK) status = gm_remove_tree(part, err);
    } else if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP) {
        status = replace_in_two(part, final, old, err);
    } else {
        status = io_error(err, final, "cannot be replaced");
    }
    gm_free(old);
    return status;
}
