/* Ranks that talk by NCCL, on the simulator's: the test starts itself as two and as four processes, which meet by a file or by
 * MPI, and judges how they end. Blocks lie in host memory, in device memory, or both. */
#define _POSIX_C_SOURCE 200809L
#include "tests/support/support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/file.h"
#include "base/philox.h"
#include "base/progress.h"
#include "comm/comm.h"
#include "comm/transport.h"

enum { NUMBERS = 5003, MOST = 4, SECONDS = 60, FEW_SECONDS = 5, LEFT_BY_SIGNAL = 200 };

static const char *program, *what;
static gm_comm *comm;
static int32_t rank, size;
static gm_err err;
static gm_backend backend;
static gm_device device;

/* ---- what a rank does ---- */

#define CHECK(condition)                                                                                                    \
    do {                                                                                                                    \
        if (!(condition)) {                                                                                                 \
            fprintf(stderr, "%s, rank %d of %d, line %d: %s: %s\n", what, rank, size, __LINE__, #condition, err.text);      \
            _exit(1);                                                                                                       \
        }                                                                                                                   \
    } while (0)
#define GOOD(call) CHECK((call) == GM_OK)

static float number(int32_t of_rank, uint32_t i) { return gm_uniform(gm_philox(5, i, (uint32_t)of_rank, 0, GM_SITE_TEST).word[0]) - 0.5f; }

static void open_device(void)
{
    const char *name = getenv("GM_TEST_DEVICE");
    GOOD(gm_backend_open(name != NULL ? name : "sim", "auto", GM_FP32, &backend, &err));
    GOOD(gm_device_create(&backend, 1, &device, &err));
}

/* The sums of the tree over ranks, to the bit; as MPI gives them. */
static void host_blocks(void)
{
    static float x[NUMBERS], scratch[NUMBERS + MOST], part[MOST][NUMBERS];
    float *parts[MOST];
    for (int32_t r = 0; r < size; r++) parts[r] = part[r];
    for (int32_t r = 0; r < size; r++)
        for (uint32_t i = 0; i < NUMBERS; i++) part[r][i] = number(r, i);
    memcpy(x, part[rank], sizeof x);
    gm_tree_sum(parts, size, NUMBERS);
    GOOD(gm_comm_sum(comm, x, NUMBERS, scratch, &err));
    CHECK(memcmp(x, part[0], sizeof x) == 0);
    int64_t counts[2] = { rank + 1, ((int64_t)1 << 60) + rank };
    GOOD(gm_comm_sum_counts(comm, counts, 2, &err));
    CHECK(counts[0] == (int64_t)size * (size + 1) / 2 && counts[1] == (int64_t)size * ((int64_t)1 << 60) + (int64_t)size * (size - 1) / 2);
    size_t bytes[MOST];
    char mine[3 * MOST], all[3 * MOST * MOST];
    for (int32_t r = 0; r < size; r++) bytes[r] = 3 * (size_t)r + 1;
    memset(mine, 'a' + rank, sizeof mine);
    GOOD(gm_comm_gather(comm, mine, bytes, all, &err));
    size_t at = 0;
    for (int32_t r = 0; r < size; r++)
        for (size_t i = 0; i < bytes[r]; i++) CHECK(all[at++] == 'a' + r);
    for (int32_t root = 0; root < size; root++) {
        int32_t word = rank == root ? 7 * root : -1;
        GOOD(gm_comm_broadcast(comm, root, &word, sizeof word, &err));
        CHECK(word == 7 * root);
    }
    GOOD(gm_comm_barrier(comm, &err));
    GOOD(gm_comm_agree(comm, GM_OK, &err));
    CHECK(gm_comm_agree(comm, rank == 1 ? gm_fail(&err, GM_ERR_DATA, "broken line") : GM_OK, &err) == GM_ERR_DATA);
    CHECK(strstr(err.text, "rank 1 (process ") != NULL && strstr(err.text, "broken line") != NULL);
}

static float *device_block(const float *values)
{
    void *block;
    GOOD(device.memory->alloc(&device, NUMBERS * sizeof(float), &block));
    GOOD(device.memory->upload(&device, block, values, NUMBERS * sizeof(float)));
    return block;
}

/* Numbers that the device's stream has still to write are sent, and what comes is there for its next work. A block of host
 * memory travels in the same group; the groups' starts come before all waits. */
static void device_blocks(void)
{
    enum { GROUPS = 3 };
    static float own[NUMBERS], got[NUMBERS];
    float *out[GROUPS], *in[GROUPS][MOST];
    char word[GROUPS][MOST] = { { 0 } }, mine = (char)('a' + rank);
    open_device();
    for (int g = 0; g < GROUPS; g++)
        for (int32_t r = 0; r < size; r++) in[g][r] = device_block(own);
    GOOD(device.memory->sync(&device));
    CHECK(gm_comm_takes_device_memory(comm));
    gm_comm_follow(comm, &device);
    for (uint32_t i = 0; i < NUMBERS; i++) own[i] = number(rank, i);
    const gm_comm_counts before = gm_comm_traffic(comm);
    for (int g = 0; g < GROUPS; g++) {
        out[g] = device_block(own);
        GOOD(device.memory->fill(&device, out[g], g, sizeof(float))); /* all but the first number are the upload's */
        for (int32_t r = 0; r < size; r++) {
            if (r == rank) continue;
            GOOD(gm_comm_receive(comm, r, g, in[g][r], NUMBERS * sizeof(float), &err));
            GOOD(gm_comm_receive(comm, r, g, &word[g][r], 1, &err));
            GOOD(gm_comm_send(comm, r, g, out[g], NUMBERS * sizeof(float), GM_TRAFFIC_DENSE, &err));
            GOOD(gm_comm_send(comm, r, g, &mine, 1, GM_TRAFFIC_OTHER, &err));
        }
        GOOD(gm_comm_start(comm, g, &err));
        GOOD(gm_comm_progress(comm, &err));
    }
    for (int g = GROUPS - 1; g >= 0; g--) {
        GOOD(gm_comm_wait(comm, g, &err));
        for (int32_t r = 0; r < size; r++) {
            if (r == rank) continue;
            GOOD(device.memory->download(&device, got, in[g][r], sizeof got));
            GOOD(device.memory->sync(&device));
            float first;
            memset(&first, g, sizeof first);
            CHECK(memcmp(got, &first, sizeof first) == 0 && word[g][r] == (char)('a' + r));
            for (uint32_t i = 1; i < NUMBERS; i++) CHECK(got[i] == number(r, i));
        }
    }
    CHECK(gm_comm_traffic(comm).sent[GM_TRAFFIC_DENSE] - before.sent[GM_TRAFFIC_DENSE] == (int64_t)(size - 1) * GROUPS * NUMBERS * (int64_t)sizeof(float));
}

static void device_blocks_want_a_stream(void)
{
    static float zeros[NUMBERS];
    open_device();
    float *block = device_block(zeros);
    GOOD(device.memory->sync(&device));
    GOOD(gm_comm_send(comm, 1 - rank, 0, block, sizeof(float), GM_TRAFFIC_DENSE, &err));
    GOOD(gm_comm_receive(comm, 1 - rank, 0, block + 1, sizeof(float), &err));
    CHECK(gm_comm_wait(comm, 0, &err) == GM_ERR_USAGE);
    CHECK(strstr(err.text, "gm_comm_follow") != NULL);
    CHECK(gm_comm_barrier(comm, &err) == GM_ERR_DEVICE); /* what has failed stays failed */
    CHECK(strstr(err.text, "an earlier transfer has failed") != NULL);
}

static void a_rank_that_hangs(void)
{
    if (rank == 1) raise(SIGSTOP); /* rank 0's parent ends it */
    const double start = gm_now_s();
    CHECK(gm_comm_barrier(comm, &err) == GM_ERR_DEVICE);
    CHECK(strstr(err.text, "no answer for") != NULL && strstr(err.text, "rank 1 (process ") != NULL);
    CHECK(gm_now_s() - start < SECONDS);
    gm_comm_abort(comm, 42);
}

static void a_rank_that_dies(void)
{
    if (rank == 1) {
        sleep(1); /* the others are in */
        raise(SIGKILL);
    }
    CHECK(gm_comm_barrier(comm, &err) == GM_ERR_DEVICE);
    CHECK(strstr(err.text, "rank 1 is gone") != NULL);
    gm_comm_abort(comm, 42);
}

static const struct { const char *name; void (*run)(void); } cases[] = {
    { "host", host_blocks },
    { "late", host_blocks },
    { "device", device_blocks },
    { "unfollowed", device_blocks_want_a_stream },
    { "hang", a_rank_that_hangs },
    { "die", a_rank_that_dies },
};

/* Arguments: the case, rank, size, file; "mpi" instead of a rank: as mpirun says. */
static int be_a_rank(char **argument)
{
    const char *name = getenv("GM_TEST_DEVICE");
    const bool is_mpi = strcmp(argument[1], "mpi") == 0;
    const bool is_impatient = strcmp(argument[0], "hang") == 0 || strcmp(argument[0], "late") == 0;
    const gm_comm_options o = { .kind = "nccl", .timeout_s = is_impatient ? FEW_SECONDS : SECONDS, .device = name != NULL ? name : "sim", .rank = is_mpi ? 0 : (int32_t)strtol(argument[1], NULL, 10),
                                .size = is_mpi ? 0 : (int32_t)strtol(argument[2], NULL, 10), .file = is_mpi ? NULL : argument[3] };
    what = argument[0];
    alarm(2 * SECONDS);
    if (gm_comm_open_as(&o, &comm, &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 3;
    }
    rank = gm_comm_rank(comm);
    size = gm_comm_size(comm);
    for (size_t i = 0; i < GM_LEN(cases); i++)
        if (strcmp(what, cases[i].name) == 0) cases[i].run();
    gm_comm_close(comm);
    gm_device_destroy(&device);
    return 0;
}

/* ---- this process ---- */

static char file[300], said[8192];

/* Standard error of the ranks is kept in `said`. */
static pid_t begin_rank(const char *name, int32_t of, int32_t count, int to)
{
    char rank_text[16], size_text[16];
    snprintf(rank_text, sizeof rank_text, "%d", of);
    snprintf(size_text, sizeof size_text, "%d", count);
    const pid_t child = fork();
    if (child != 0) return child;
    dup2(to, 2);
    execl(program, program, name, rank_text, size_text, file, (char *)NULL);
    _exit(127);
}

static int ended(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? LEFT_BY_SIGNAL : WEXITSTATUS(status);
}

/* Starts ranks first .. end - 1 of `count`; code[r] is how they ended. When rank 0 has, a rank that was stopped is killed. */
static void run(const char *name, int32_t first, int32_t end, int32_t count, int *code)
{
    pid_t child[MOST];
    FILE *out = tmpfile();
    assert_non_null(out);
    fflush(NULL);
    for (int32_t r = first; r < end; r++) child[r] = begin_rank(name, r, count, fileno(out));
    code[first] = ended(child[first]);
    for (int32_t r = first + 1; r < end; r++) {
        if (strcmp(name, "hang") == 0 && r == 1) kill(child[r], SIGKILL);
        code[r] = ended(child[r]);
    }
    rewind(out);
    said[fread(said, 1, sizeof said - 1, out)] = '\0';
    fclose(out);
}

static void assert_said(const char *part)
{
    if (strstr(said, part) == NULL) fail_msg("the ranks said \"%s\", not \"%s\"", said, part);
}

static void all_end_well(const char *name, int32_t count)
{
    int code[MOST];
    run(name, 0, count, count, code);
    for (int32_t r = 0; r < count; r++)
        if (code[r] != 0) fail_msg("%s: rank %d of %d ended with %d: %s", name, r, count, code[r], said);
    assert_false(gm_path_exists(file));
}

static void blocks_of_host_memory(void **state)
{
    (void)state;
    all_end_well("host", 2);
    all_end_well("host", 4);
}

static void blocks_of_device_memory(void **state)
{
    (void)state;
    all_end_well("device", 2);
    all_end_well("device", 4);
}

static void work_on_streams_runs_late(void **state)
{
    (void)state;
    setenv("GM_SIM_ASYNC", "1", 1);
    all_end_well("device", 2);
    all_end_well("host", 2);
    unsetenv("GM_SIM_ASYNC");
}

static void device_memory_without_a_stream_is_refused(void **state)
{
    (void)state;
    all_end_well("unfollowed", 2);
}

static void a_hanging_rank_is_noticed(void **state)
{
    int code[MOST];
    (void)state;
    run("hang", 0, 3, 3, code);
    assert_int_equal(code[0], 42);
    assert_int_equal(code[1], LEFT_BY_SIGNAL);
    assert_int_not_equal(code[2], 0);
}

static void a_dead_rank_is_named(void **state)
{
    int code[MOST];
    (void)state;
    run("die", 0, 3, 3, code);
    assert_int_equal(code[0], 42);
    assert_int_equal(code[1], LEFT_BY_SIGNAL);
    assert_int_equal(code[2], 42);
}

static void two_ranks_on_one_gpu_are_refused(void **state)
{
    int code[MOST];
    (void)state;
    setenv("GM_SIM_DEVICES", "1", 1);
    run("host", 0, 2, 2, code);
    unsetenv("GM_SIM_DEVICES");
    assert_int_equal(code[0], 3);
    assert_int_equal(code[1], 3);
    assert_said("rank 0 of 2 needs a GPU of its own and NCCL (--device sim");
    assert_said("Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 0; start at most one process a GPU");
}

static void more_ranks_than_gpus_are_refused(void **state)
{
    int code[MOST];
    (void)state;
    setenv("GM_SIM_DEVICES", "2", 1);
    run("host", 2, 3, 3, code);
    unsetenv("GM_SIM_DEVICES");
    assert_int_equal(code[2], 3);
    assert_said("process 3 of this machine has no GPU of its own: there are 2; start at most one process a GPU");
}

/* What is found in the folder is older than all ranks. */
static void leftovers_of_another_run_are_not_believed(void **state)
{
    char path[320], old[GM_PEER_ID_BYTES + 2 * 16];
    (void)state;
    memset(old, 'x', sizeof old);
    assert_ok(gm_file_write(file, old, sizeof old, &err));
    snprintf(path, sizeof path, "%s.1", file);
    assert_ok(gm_file_write(path, old, 16, &err));
    all_end_well("host", 2);
}

static void ranks_that_do_not_come_are_named(void **state)
{
    int code[MOST];
    (void)state;
    run("late", 0, 2, 3, code);
    assert_int_equal(code[0], 3);
    assert_int_equal(code[1], 3);
    assert_said("of 3 ranks 2 did not come in time (comm.timeout_s)");
    assert_said("rank 0 of 3 did not answer in time (comm.timeout_s)");
    run("late", 1, 2, 2, code);
    assert_int_equal(code[1], 3);
    assert_said("rank 0 of 2 did not answer in time");
}

static void mpi_tells_who_is_who(void **state)
{
    char command[2048];
    (void)state;
    if (gm_transport_mpi() == NULL || system("mpirun --version > /dev/null 2>&1") != 0) skip();
    gmt_allow_mpirun();
    for (int count = 2; count <= 4; count += 2) {
        snprintf(command, sizeof command, "exec mpirun --oversubscribe -np %d '%s' device mpi", count, program);
        assert_int_equal(system(command), 0);
    }
}

static void refuse(gm_comm_options o, gm_status expected, const char *part)
{
    gm_comm *c;
    o.kind = "nccl";
    assert_int_equal(gm_comm_open_as(&o, &c, &err), expected);
    assert_null(c);
    if (strstr(err.text, part) == NULL) fail_msg("the message is \"%s\", not \"%s\"", err.text, part);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    refuse((gm_comm_options){ .device = "sim" }, GM_ERR_USAGE, "which of how many processes is this? Start it by mpirun");
    refuse((gm_comm_options){ .device = "sim", .rank = 2, .size = 2, .file = "x" }, GM_ERR_USAGE, "rank 2 of 2: ranks are 0 to 1");
    refuse((gm_comm_options){ .device = "sim", .rank = 1, .size = 2 }, GM_ERR_USAGE, "meet by a file: name one by --comm-file");
    refuse((gm_comm_options){ .device = "cpu", .rank = 1, .size = 2, .file = "x" }, GM_ERR_USAGE, "--device cpu has no module");
    setenv("RANK", "1", 1);
    setenv("WORLD_SIZE", "2", 1);
    refuse((gm_comm_options){ .device = "sim" }, GM_ERR_USAGE, "2 processes without MPI meet by a file");
    unsetenv("RANK");
    unsetenv("WORLD_SIZE");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_host_memory),
        cmocka_unit_test(blocks_of_device_memory),
        cmocka_unit_test(work_on_streams_runs_late),
        cmocka_unit_test(device_memory_without_a_stream_is_refused),
        cmocka_unit_test(a_hanging_rank_is_noticed),
        cmocka_unit_test(a_dead_rank_is_named),
        cmocka_unit_test(two_ranks_on_one_gpu_are_refused),
        cmocka_unit_test(more_ranks_than_gpus_are_refused),
        cmocka_unit_test(leftovers_of_another_run_are_not_believed),
        cmocka_unit_test(ranks_that_do_not_come_are_named),
        cmocka_unit_test(mpi_tells_who_is_who),
        cmocka_unit_test(what_is_missing_is_named),
    };
    const gm_module *module;
    program = argv[0];
    if (argc > 2) return be_a_rank(argv + 1);
    if (gm_backend_module("sim", &module, &err) != GM_OK || module->peers.library == NULL) {
        fprintf(stderr, "skipped: the simulator is missing, or nccl.h was when it was built\n");
        return 77;
    }
    snprintf(file, sizeof file, "%s/meeting", gmt_temp_dir());
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
