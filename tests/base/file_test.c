/* Files that are cut, missing, read-only or on a full disk; and the promise that a failed write leaves the old file.
 * rename, renameat2 and fsync stand in this program under their own names, so that each can fail on demand. */
#include "base_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/file.h"

static int exchange_errno;       /* 0: the real exchange */
static int rename_fails_at = -1; /* the rename call that fails with EIO; -1: none */
static int fsync_fails, fsync_count;

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    if (exchange_errno != 0) {
        errno = exchange_errno;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int rename(const char *from, const char *to)
{
    if (rename_fails_at >= 0 && rename_fails_at-- == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int fsync(int fd)
{
    fsync_count++;
    if (fsync_fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

static int reset(void **state)
{
    (void)state;
    exchange_errno = 0;
    rename_fails_at = -1;
    fsync_fails = fsync_count = 0;
    return 0;
}

/* folder/name; one of four texts that take turns. */
static const char *in(const char *folder, const char *name)
{
    static char paths[4][512];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void assert_holds(const char *path, const char *want)
{
    gm_err err;
    char *bytes;
    size_t size;
    assert_ok(gm_file_read(path, &bytes, &size, &err));
    assert_string_equal(bytes, want);
    assert_int_equal(size, strlen(want));
    gm_free(bytes);
}

static void write_text(const char *path, const char *text) { gmt_write_file(path, text, strlen(text)); }

/* ---- reading ---- */

static void whole_file_is_read_with_its_nul_bytes(void **state)
{
    (void)state;
    gm_err err;
    char *bytes, *big = gm_malloc(300000);
    size_t size;
    const char *path = in(gmt_temp_dir(), "f");
    for (int i = 0; i < 300000; i++) big[i] = (char)(i * 7);
    const size_t sizes[] = { 0, 1, 65534, 65535, 65536, 131071, 300000 }; /* around the reader's blocks */
    for (size_t i = 0; i < GM_LEN(sizes); i++) {
        gmt_write_file(path, big, sizes[i]);
        assert_ok(gm_file_read(path, &bytes, &size, &err));
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(bytes, big, size);
        assert_int_equal(bytes[size], 0);
        gm_free(bytes);
    }
    gm_free(big);
}

static void missing_file_and_folder_are_named(void **state)
{
    (void)state;
    gm_err err;
    char *bytes;
    size_t size;
    gm_lines l;
    const char *folder = gmt_temp_dir(), *missing = in(folder, "none.json");
    assert_fails(gm_file_read(missing, &bytes, &size, &err), GM_ERR_IO, "none.json: cannot open: No such file");
    assert_null(bytes);
    assert_fails(gm_file_read(folder, &bytes, &size, &err), GM_ERR_IO, "Is a directory");
    assert_null(bytes);
    assert_fails(gm_lines_open(&l, missing, &err), GM_ERR_IO, "none.json: cannot open");
    gm_lines_close(&l);
}

static gm_status read_big(void *path, gm_err *err)
{
    char *bytes;
    size_t size;
    const gm_status status = gm_file_read(path, &bytes, &size, err);
    gm_free(bytes);
    return status;
}

static gm_status read_lines(void *path, gm_err *err)
{
    gm_lines l;
    bool have;
    gm_status status = gm_lines_open(&l, path, err);
    do {
        if (status == GM_OK) status = gm_lines_next(&l, &have, err);
    } while (status == GM_OK && have);
    gm_lines_close(&l);
    return status;
}

static void reading_survives_each_failed_allocation(void **state)
{
    (void)state;
    char *path = gm_strdup(in(gmt_temp_dir(), "big")), *big = gm_calloc(1, 200000);
    memset(big, 'x', 200000);
    gmt_write_file(path, big, 200000);
    fail_each_allocation(read_big, path);
    fail_each_allocation(read_lines, path);
    gm_free(big);
    gm_free(path);
}

static void lines_of_every_ending(void **state)
{
    (void)state;
    static const char text[] = "one\ntwo\r\n\n\r\nfi\rve\nnul\0in\nlast";
    static const struct {
        const char *line;
        size_t n;
    } want[] = {
        { "one", 3 }, { "two", 3 }, { "", 0 }, { "", 0 }, { "fi\rve", 5 }, { "nul\0in", 6 }, { "last", 4 },
    };
    gm_err err;
    gm_lines l;
    bool have;
    const char *path = in(gmt_temp_dir(), "lines");
    gmt_write_file(path, text, sizeof text - 1);
    assert_ok(gm_lines_open(&l, path, &err));
    for (size_t i = 0; i < GM_LEN(want); i++) {
        assert_ok(gm_lines_next(&l, &have, &err));
        assert_true(have);
        assert_int_equal(l.number, i + 1);
        assert_int_equal(l.length, want[i].n);
        assert_memory_equal(l.line, want[i].line, want[i].n + 1);
    }
    assert_ok(gm_lines_next(&l, &have, &err));
    assert_false(have);
    gm_lines_close(&l);
    gm_lines_close(&l);
}

static void folder_opened_as_lines_fails_when_read(void **state)
{
    (void)state;
    gm_err err;
    gm_lines l;
    bool have;
    assert_ok(gm_lines_open(&l, gmt_temp_dir(), &err));
    assert_fails(gm_lines_next(&l, &have, &err), GM_ERR_IO, "cannot read: Is a directory");
    assert_false(have);
    gm_lines_close(&l);
}

/* ---- writing ---- */

static void file_appears_only_at_commit(void **state)
{
    (void)state;
    gm_err err;
    gm_out o;
    const char *folder = gmt_temp_dir(), *path = in(folder, "out"), *part = in(folder, "out.part");
    write_text(path, "old");
    assert_ok(gm_out_open(&o, path, &err));
    assert_ok(gm_out_write(&o, "new ", 4, &err));
    assert_ok(gm_out_printf(&o, &err, "%d", 7));
    assert_true(gm_path_exists(part));
    assert_holds(path, "old");
    assert_ok(gm_out_commit(&o, &err));
    assert_holds(path, "new 7");
    assert_false(gm_path_exists(part));
    assert_int_equal(fsync_count, 2); /* the file and its folder */
    gm_out_abort(&o);
    assert_holds(path, "new 7");
}

static void aborted_file_leaves_the_old_one(void **state)
{
    (void)state;
    gm_err err;
    gm_out o;
    const char *folder = gmt_temp_dir(), *path = in(folder, "out");
    write_text(path, "old");
    assert_ok(gm_out_open(&o, path, &err));
    assert_ok(gm_out_write(&o, "half", 4, &err));
    gm_out_abort(&o);
    gm_out_abort(&o);
    assert_holds(path, "old");
    assert_false(gm_path_exists(in(folder, "out.part")));
}

static void failed_sync_or_rename_leaves_the_old_file(void **state)
{
    (void)state;
    const char *folder = gmt_temp_dir(), *path = in(folder, "out");
    for (int way = 0; way < 2; way++) {
        gm_err err;
        gm_out o;
        write_text(path, "old");
        assert_ok(gm_out_open(&o, path, &err));
        assert_ok(gm_out_write(&o, "new", 3, &err));
        fsync_fails = way == 0;
        rename_fails_at = way == 1 ? 0 : -1;
        assert_fails(gm_out_commit(&o, &err), GM_ERR_IO, "out: cannot");
        reset(NULL);
        assert_holds(path, "old");
        assert_false(gm_path_exists(in(folder, "out.part")));
    }
}

/* A disk that is full after 1000 bytes: the limit on file sizes gives EFBIG where a full disk gives ENOSPC. */
static void full_disk_leaves_the_old_file(void **state)
{
    (void)state;
    gm_err err;
    gm_out o;
    const char *folder = gmt_temp_dir(), *path = in(folder, "out");
    static const char block[100000];
    struct rlimit was, small;
    write_text(path, "old");
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    small = was;
    small.rlim_cur = 1000;
    setrlimit(RLIMIT_FSIZE, &small);
    assert_ok(gm_out_open(&o, path, &err));
    const gm_status write = gm_out_write(&o, block, sizeof block, &err);
    const gm_err write_err = err;
    const gm_status commit = gm_out_commit(&o, &err); /* even if the caller forgot to look */
    assert_ok(gm_out_open(&o, path, &(gm_err) { 0 }));
    gm_out_write(&o, block, 2000, NULL); /* stays in the buffer: only the commit can notice */
    const gm_status late = gm_out_commit(&o, NULL);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(write, GM_ERR_IO);
    assert_non_null(strstr(write_err.text, "out: cannot write: File too large"));
    assert_int_equal(commit, GM_ERR_IO);
    assert_int_equal(late, GM_ERR_IO);
    assert_holds(path, "old");
    assert_false(gm_path_exists(in(folder, "out.part")));
}

static void device_is_written_directly_and_its_full_disk_reported(void **state)
{
    (void)state;
    gm_err err;
    gm_out o;
    assert_ok(gm_out_open(&o, "/dev/full", &err));
    assert_ok(gm_out_write(&o, "x", 1, &err));
    assert_fails(gm_out_commit(&o, &err), GM_ERR_IO, "/dev/full: cannot write: No space left");
    assert_ok(gm_out_open(&o, "/dev/null", &err));
    assert_ok(gm_out_write(&o, "x", 1, &err));
    assert_ok(gm_out_commit(&o, &err));
    struct stat info;
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode)); /* not replaced by a file */
}

static void dash_is_stdout(void **state)
{
    (void)state;
    gm_err err;
    gm_out o;
    caught c;
    catch_start(&c, STDOUT_FILENO);
    assert_ok(gm_out_open(&o, "-", &err));
    assert_ok(gm_out_printf(&o, &err, "result %d\n", 1));
    assert_ok(gm_out_commit(&o, &err));
    assert_string_equal(catch_end(&c), "result 1\n");
}

static void closed_stdout_is_reported(void **state)
{
    (void)state;
    gm_err err;
    gm_out o;
    fflush(stdout);
    const int saved = dup(STDOUT_FILENO), full = open("/dev/full", O_WRONLY);
    dup2(full, STDOUT_FILENO);
    assert_ok(gm_out_open(&o, "-", &err));
    assert_ok(gm_out_write(&o, "x", 1, &err));
    const gm_status status = gm_out_commit(&o, &err);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(full);
    clearerr(stdout);
    assert_int_equal(status, GM_ERR_IO);
    assert_non_null(strstr(err.text, "stdout: cannot write"));
}

/* Permissions do not bind the superuser, so the child becomes nobody first. */
static void read_only_folder_is_refused(void **state)
{
    (void)state;
    const char *folder = gmt_temp_dir(), *path = in(folder, "out");
    assert_int_equal(chmod(folder, 0555), 0);
    const pid_t child = fork();
    if (child == 0) {
        gm_err err = { 0 };
        gm_out o;
        if (geteuid() == 0 && setuid(65534) != 0) _exit(3);
        const bool refused =
            gm_out_open(&o, path, &err) == GM_ERR_IO && strstr(err.text, "out.part: cannot create: Permission denied");
        const bool no_folder =
            gm_make_dirs(path, &err) == GM_ERR_IO && strstr(err.text, "out: cannot make the folder: Permission denied");
        _exit(refused && no_folder ? 0 : 1);
    }
    int result;
    waitpid(child, &result, 0);
    chmod(folder, 0755);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void folder_in_the_way_is_refused(void **state)
{
    (void)state;
    gm_err err;
    gm_out o;
    assert_fails(gm_out_open(&o, gmt_temp_dir(), &err), GM_ERR_IO, "it is a folder");
    assert_fails(gm_out_open(&o, in(gmt_temp_dir(), "no/such/out"), &err), GM_ERR_IO, "cannot create: No such file");
}

static gm_status write_file(void *path, gm_err *err)
{
    gm_out o;
    GM_TRY(gm_out_open(&o, path, err));
    return gm_out_commit(&o, err);
}

static void writing_survives_each_failed_allocation(void **state)
{
    (void)state;
    const char *folder = gmt_temp_dir();
    char *path = gm_strdup(in(folder, "out"));
    fail_each_allocation(write_file, path);
    assert_false(gm_path_exists(in(folder, "out.part")));
    gm_free(path);
}

/* ---- paths and folders ---- */

static void joined_paths(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "", "b", "b" }, { "a", "/b", "/b" }, { "/", "b", "/b" },
    };
    for (size_t i = 0; i < GM_LEN(cases); i++) {
        char *path = gm_path_join(cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        gm_free(path);
    }
}

static void folders_are_made_to_any_depth(void **state)
{
    (void)state;
    gm_err err;
    const char *folder = gmt_temp_dir();
    assert_ok(gm_make_dirs(in(folder, "a/b//c/"), &err));
    assert_ok(gm_make_dirs(in(folder, "a/b/c"), &err));
    assert_true(gm_path_is_dir(in(folder, "a/b/c")));
    write_text(in(folder, "file"), "x");
    assert_fails(gm_make_dirs(in(folder, "file/d"), &err), GM_ERR_IO, "file: cannot make the folder");
    assert_false(gm_path_is_dir(in(folder, "file")));
}

static void removed_tree_follows_no_link(void **state)
{
    (void)state;
    gm_err err;
    const char *folder = gmt_temp_dir(), *outside = gmt_temp_dir();
    write_text(in(outside, "kept"), "x");
    assert_ok(gm_make_dirs(in(folder, "t/a/b"), &err));
    write_text(in(folder, "t/a/f"), "x");
    assert_int_equal(symlink(outside, in(folder, "t/a/link")), 0);
    assert_ok(gm_remove_tree(in(folder, "t"), &err));
    assert_false(gm_path_exists(in(folder, "t")));
    assert_holds(in(outside, "kept"), "x");
    assert_ok(gm_remove_tree(in(folder, "t"), &err));
}

/* A checkpoint folder `part` with a file and a file below it, and an older one under the final name. */
static const char *two_folders(bool has_old)
{
    gm_err err;
    const char *folder = gmt_temp_dir();
    assert_ok(gm_make_dirs(in(folder, "new.part/sub"), &err));
    write_text(in(folder, "new.part/f"), "new");
    write_text(in(folder, "new.part/sub/g"), "new too");
    if (has_old) {
        assert_ok(gm_make_dirs(in(folder, "last"), &err));
        write_text(in(folder, "last/f"), "old");
        write_text(in(folder, "last/only_old"), "old");
    }
    fsync_count = 0;
    return folder;
}

static void assert_new_stands_alone(const char *folder)
{
    assert_holds(in(folder, "last/f"), "new");
    assert_holds(in(folder, "last/sub/g"), "new too");
    assert_false(gm_path_exists(in(folder, "last/only_old")));
    assert_false(gm_path_exists(in(folder, "new.part")));
    assert_false(gm_path_exists(in(folder, "last.old.part")));
}

static void folder_is_replaced_in_every_way(void **state)
{
    (void)state;
    static const struct {
        bool has_old;
        int exchange;
    } ways[] = { { false, 0 }, { true, 0 }, { true, EINVAL }, { true, ENOSYS } };
    for (size_t i = 0; i < GM_LEN(ways); i++) {
        gm_err err;
        const char *folder = two_folders(ways[i].has_old);
        exchange_errno = ways[i].exchange;
        assert_ok(gm_dir_replace(in(folder, "new.part"), in(folder, "last"), &err));
        assert_int_equal(fsync_count, 5); /* two files, their two folders, the parent */
        assert_new_stands_alone(folder);
    }
}

static void folder_named_with_a_slash_is_replaced_too(void **state)
{
    (void)state;
    gm_err err;
    const char *folder = two_folders(true);
    exchange_errno = EINVAL;
    assert_ok(gm_dir_replace(in(folder, "new.part/"), in(folder, "last/"), &err));
    assert_new_stands_alone(folder);
}

static void failed_replacement_keeps_the_old_folder(void **state)
{
    (void)state;
    gm_err err;
    for (int k = 0; k < 2; k++) { /* either rename of the fallback */
        const char *folder = two_folders(true);
        exchange_errno = EINVAL;
        rename_fails_at = k;
        assert_fails(gm_dir_replace(in(folder, "new.part"), in(folder, "last"), &err), GM_ERR_IO, "last: cannot");
        assert_holds(in(folder, "last/f"), "old");
        assert_holds(in(folder, "new.part/f"), "new");
        reset(NULL);
    }
    const char *folder = two_folders(true);
    fsync_fails = 1;
    assert_fails(gm_dir_replace(in(folder, "new.part"), in(folder, "last"), &err), GM_ERR_IO, "cannot sync");
    assert_holds(in(folder, "last/f"), "old");
    reset(NULL);
    exchange_errno = EACCES;
    assert_fails(gm_dir_replace(in(folder, "new.part"), in(folder, "last"), &err), GM_ERR_IO,
                 "cannot be replaced: Permission denied");
    assert_holds(in(folder, "last/f"), "old");
}

/* The state a crash between the fallback's renames leaves; the next replacement clears it. */
static void replacement_after_a_crash_between_renames(void **state)
{
    (void)state;
    gm_err err;
    const char *folder = two_folders(true);
    rename(in(folder, "last"), in(folder, "last.old.part"));
    assert_ok(gm_dir_replace(in(folder, "new.part"), in(folder, "last"), &err));
    assert_new_stands_alone(folder);
}

static void replacement_by_nothing_is_refused(void **state)
{
    (void)state;
    gm_err err;
    const char *folder = gmt_temp_dir();
    assert_fails(gm_dir_replace(in(folder, "none.part"), in(folder, "last"), &err), GM_ERR_IO, "none.part");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, reset, reset)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(whole_file_is_read_with_its_nul_bytes),
        CASE(missing_file_and_folder_are_named),
        CASE(reading_survives_each_failed_allocation),
        CASE(lines_of_every_ending),
        CASE(folder_opened_as_lines_fails_when_read),
        CASE(file_appears_only_at_commit),
        CASE(aborted_file_leaves_the_old_one),
        CASE(failed_sync_or_rename_leaves_the_old_file),
        CASE(full_disk_leaves_the_old_file),
        CASE(device_is_written_directly_and_its_full_disk_reported),
        CASE(dash_is_stdout),
        CASE(closed_stdout_is_reported),
        CASE(read_only_folder_is_refused),
        CASE(folder_in_the_way_is_refused),
        CASE(writing_survives_each_failed_allocation),
        CASE(joined_paths),
        CASE(folders_are_made_to_any_depth),
        CASE(removed_tree_follows_no_link),
        CASE(folder_is_replaced_in_every_way),
        CASE(folder_named_with_a_slash_is_replaced_too),
        CASE(failed_replacement_keeps_the_old_folder),
        CASE(replacement_after_a_crash_between_renames),
        CASE(replacement_by_nothing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
