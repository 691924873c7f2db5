/* Ranks that talk: the test starts itself by mpirun with 2 and with 4 processes, more than there may be processors, and each
 * of them runs the cases below. Alone it checks that nothing of MPI is started. */
#define _POSIX_C_SOURCE 200809L
#include "tests/support/support.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/memory.h"
#include "base/philox.h"
#include "base/progress.h"
#include "comm/comm.h"
#include "comm/gather_op.h"
#include "comm/transport.h"

enum { NUMBERS = 1237, ROWS = 3, COLS = 5, MOST_RANKS = 8 };

static gm_comm *comm;
static int32_t rank, size;
static gm_err err;

static float number(int32_t of_rank, uint32_t i) { return gm_uniform(gm_philox(5, i, (uint32_t)of_rank, 0, GM_SITE_TEST).word[0]) - 0.5f; }

/* The tree written out: the sum of [first, end) is that of its largest power-of-two part and of the rest. */
static float tree(uint32_t i, int32_t first, int32_t end)
{
    int32_t half = 1;
    if (end - first == 1) return number(first, i);
    while (2 * half < end - first) half *= 2;
    return tree(i, first, first + half) + tree(i, first + half, end);
}

static void sums_are_those_of_the_tree(void **state)
{
    static float x[NUMBERS], scratch[NUMBERS + MOST_RANKS];
    (void)state;
    for (int64_t count = NUMBERS; count > 0; count = count > 3 ? 3 : count - 1) { /* also fewer numbers than ranks */
        for (uint32_t i = 0; i < count; i++) x[i] = number(rank, i);
        assert_ok(gm_comm_sum(comm, x, count, scratch, &err));
        for (uint32_t i = 0; i < count; i++) {
            const float want = tree(i, 0, size);
            if (memcmp(&x[i], &want, sizeof want) != 0) fail_msg("number %u of %lld: %.9g, expected %.9g", i, (long long)count, (double)x[i], (double)want);
        }
    }
}

static void a_tree_of_any_size_is_pairs_of_pairs(void **state)
{
    (void)state;
    for (int32_t count = 1; count <= 13; count++) {
        float value[13], *part[13];
        for (int32_t r = 0; r < count; r++) {
            value[r] = number(r, 7);
            part[r] = &value[r];
        }
        gm_tree_sum(part, count, 1);
        const float want = tree(7, 0, count);
        assert_memory_equal(part[0], &want, sizeof want);
    }
}

static void counts_are_summed_exactly(void **state)
{
    int64_t x[2] = { rank + 1, ((int64_t)1 << 60) + rank };
    (void)state;
    assert_ok(gm_comm_sum_counts(comm, x, 2, &err));
    assert_true(x[0] == (int64_t)size * (size + 1) / 2);
    assert_true(x[1] == (int64_t)size * ((int64_t)1 << 60) + (int64_t)size * (size - 1) / 2);
}

static void blocks_of_any_size_are_gathered_in_order(void **state)
{
    size_t bytes[MOST_RANKS];
    char mine[MOST_RANKS * 3], all[MOST_RANKS * MOST_RANKS * 3];
    (void)state;
    for (int32_t r = 0; r < size; r++) bytes[r] = (size_t)r * 3; /* rank 0 brings nothing */
    memset(mine, 'a' + rank, sizeof mine);
    assert_ok(gm_comm_gather(comm, mine, bytes, all, &err));
    size_t at = 0;
    for (int32_t r = 0; r < size; r++)
        for (size_t i = 0; i < bytes[r]; i++) assert_int_equal(all[at++], 'a' + r);
}

static void every_root_broadcasts(void **state)
{
    (void)state;
    for (int32_t root = 0; root < size; root++) {
        double x[100];
        for (int i = 0; i < 100; i++) x[i] = rank == root ? root + i / 7.0 : NAN;
        assert_ok(gm_comm_broadcast(comm, root, x, sizeof x, &err));
        for (int i = 0; i < 100; i++) assert_true(x[i] == root + i / 7.0);
    }
}

static void a_barrier_waits_for_the_last(void **state)
{
    (void)state;
    assert_ok(gm_comm_barrier(comm, &err));
    const double start = gm_now_s();
    if (rank == 0) nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
    assert_ok(gm_comm_barrier(comm, &err));
    assert_true(gm_now_s() - start > 0.15);
    assert_true(rank == 0 || gm_comm_traffic(comm).wait_s > 0.15);
}

/* Large enough that a transfer needs both sides at work; the group begun last is waited for first. */
static void groups_are_waited_for_one_by_one(void **state)
{
    enum { LARGE = 300000 };
    static int32_t out[2][LARGE], in[2][MOST_RANKS][LARGE];
    (void)state;
    const gm_comm_counts before = gm_comm_traffic(comm);
    for (int g = 0; g < 2; g++)
        for (int32_t i = 0; i < LARGE; i++) out[g][i] = i * (g + 1) + rank;
    for (int g = 0; g < 2; g++)
        for (int32_t r = 0; r < size; r++) {
            if (r == rank) continue;
            assert_ok(gm_comm_receive(comm, r, g, in[g][r], sizeof in[g][r], &err));
            assert_ok(gm_comm_send(comm, r, g, out[g], sizeof out[g], g == 0 ? GM_TRAFFIC_DENSE : GM_TRAFFIC_ROWS, &err));
            assert_ok(gm_comm_progress(comm, &err));
        }
    for (int g = 1; g >= 0; g--) {
        assert_ok(gm_comm_wait(comm, g, &err));
        for (int32_t r = 0; r < size; r++)
            for (int32_t i = 0; i < LARGE && r != rank; i++)
                if (in[g][r][i] != i * (g + 1) + r) fail_msg("group %d, rank %d, number %d", g, r, i);
    }
    const gm_comm_counts after = gm_comm_traffic(comm);
    for (int k = 0; k < 2; k++) assert_true(after.sent[k] - before.sent[k] == (int64_t)(size - 1) * (int64_t)sizeof out[0]);
}

/* A loss of rank r over all rows: sum of sin(w y), w its own. */
static double weight(int32_t of_rank, int32_t i) { return 0.3 + 0.1 * of_rank + 0.05 * (i % 7); }

typedef struct seen { gm_tensor *y; } seen;

static double loss_of(const float *all, int32_t of_rank)
{
    double sum = 0.0;
    for (int32_t i = 0; i < size * ROWS * COLS; i++) sum += sin(weight(of_rank, i) * (double)all[i]);
    return sum;
}

static double loss_of_all(const float *all)
{
    double sum = 0.0;
    for (int32_t r = 0; r < size; r++) sum += loss_of(all, r);
    return sum;
}

static gm_status loss_backward(gm_tape *t, void *pointer)
{
    const seen *s = pointer;
    void *dy;
    GM_TRY(gm_tape_grad(t, s->y, &dy, NULL));
    for (int32_t i = 0; i < size * ROWS * COLS; i++)
        ((float *)dy)[i] = (float)(weight(rank, i) * cos(weight(rank, i) * (double)((float *)s->y->data)[i]));
    return GM_OK;
}

static void set_up_tape(gm_backend *backend, gm_device *device, gm_arena *arena, gm_arena *notes, gm_tape *tape, gm_grads *grads)
{
    assert_ok(gm_backend_open("cpu", "auto", GM_FP32, backend, &err));
    assert_ok(gm_device_create(backend, 1, device, &err));
    assert_ok(gm_arena_init(arena, 1 << 20, &err));
    assert_ok(gm_arena_init(notes, 1 << 20, &err));
    *tape = (gm_tape){ .dev = device, .arena = arena, .notes = notes, .err = &err };
    gm_tape_begin(tape, grads, 0.0f, NULL);
}

/* Each rank moves each of its own numbers a little and sees what that does to the losses of all. */
static void gather_agrees_with_differences(void **state)
{
    gm_backend backend;
    gm_device device;
    gm_arena arena, notes;
    gm_tape tape;
    gm_grads grads = { 0 };
    gm_tensor *x, *y;
    const int32_t rows = ROWS;
    const gm_pack pack = { .n = &rows, .rows = ROWS, .capacity = ROWS, .sequences = 1 };
    float all[MOST_RANKS * ROWS * COLS];
    (void)state;
    set_up_tape(&backend, &device, &arena, &notes, &tape, &grads);
    assert_ok(gm_tape_tensor(&tape, &pack, COLS, &x));
    for (uint32_t i = 0; i < ROWS * COLS; i++) ((float *)x->data)[i] = number(rank, i);
    assert_ok(gm_op_gather_ranks(&tape, comm, x, &y));
    for (int32_t r = 0; r < size; r++)
        for (uint32_t i = 0; i < ROWS * COLS; i++) all[r * ROWS * COLS + (int32_t)i] = number(r, i);
    assert_int_equal(y->rows, size * ROWS);
    assert_memory_equal(y->data, all, (size_t)(size * ROWS * COLS) * sizeof(float));
    const seen s = { y };
    assert_ok(gm_tape_push(&tape, loss_backward, &s, sizeof s));
    assert_ok(gm_tape_backward(&tape));
    for (int32_t i = 0; i < ROWS * COLS; i++) {
        float *at = &all[rank * ROWS * COLS + i];
        const float kept = *at, up = kept + 0x1p-10f, down = kept - 0x1p-10f;
        *at = up;
        const double above = loss_of_all(all);
        *at = down;
        const double want = (above - loss_of_all(all)) / ((double)up - (double)down), got = (double)((float *)x->grad)[i];
        *at = kept;
        if (fabs(got - want) > 1e-5) fail_msg("rank %d, number %d: gradient %.9g, by differences %.9g", rank, i, got, want);
    }
    gm_arena_destroy(&arena);
    gm_arena_destroy(&notes);
    gm_device_destroy(&device);
}

static void gather_of_unequal_rows_is_refused_by_all(void **state)
{
    gm_backend backend;
    gm_device device;
    gm_arena arena, notes;
    gm_tape tape;
    gm_tensor *x, *y;
    const int32_t rows = rank == 0 ? ROWS : ROWS + 1;
    const gm_pack pack = { .n = &rows, .rows = rows, .capacity = rows, .sequences = 1 };
    (void)state;
    set_up_tape(&backend, &device, &arena, &notes, &tape, NULL);
    assert_ok(gm_tape_tensor(&tape, &pack, COLS, &x));
    assert_int_equal(gm_op_gather_ranks(&tape, comm, x, &y), GM_ERR_SHAPE);
    assert_non_null(strstr(err.text, "gather over ranks: ["));
    gm_arena_destroy(&arena);
    gm_arena_destroy(&notes);
    gm_device_destroy(&device);
}

/* The last case of all: behind it the ranks only end. */
static void all_hear_of_the_lowest_that_failed(void **state)
{
    char name[32];
    (void)state;
    assert_ok(gm_comm_agree(comm, GM_OK, &err));
    assert_false(gm_comm_is_agreed(comm));
    const gm_status own = rank > 0 ? gm_fail(&err, GM_ERR_DATA, "broken line %d", rank) : GM_OK;
    assert_int_equal(gm_comm_agree(comm, own, &err), GM_ERR_DATA);
    snprintf(name, sizeof name, "rank 1 (process ");
    assert_true(strncmp(err.text, name, strlen(name)) == 0);
    assert_non_null(strstr(err.text, "): broken line 1"));
    assert_true(gm_comm_is_agreed(comm));
}

/* What a rank does that was started with "hang": the last one sleeps, the others say who does. */
static int hang(void)
{
    if (rank == size - 1) {
        raise(SIGSTOP);
        return 1;
    }
    char want[32];
    snprintf(want, sizeof want, "rank %d (process ", size - 1);
    const bool good = gm_comm_barrier(comm, &err) == GM_ERR_DEVICE && strstr(err.text, want) != NULL && strstr(err.text, "rank 0") == NULL;
    if (!good) fprintf(stderr, "the hanging rank was not named: %s\n", err.text);
    if (rank == 0) gm_comm_abort(comm, good ? 42 : 1);
    sleep(10); /* rank 0 ends this one as well */
    return 1;
}

static int run_rank(const char *what)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_tree),           cmocka_unit_test(counts_are_summed_exactly),
        cmocka_unit_test(blocks_of_any_size_are_gathered_in_order), cmocka_unit_test(every_root_broadcasts),
        cmocka_unit_test(a_barrier_waits_for_the_last),         cmocka_unit_test(groups_are_waited_for_one_by_one),
        cmocka_unit_test(gather_agrees_with_differences),       cmocka_unit_test(gather_of_unequal_rows_is_refused_by_all),
        cmocka_unit_test(all_hear_of_the_lowest_that_failed),
    };
    if (gm_comm_open("auto", strcmp(what, "hang") == 0 ? 1.0 : 60.0, &comm, &err) != GM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    rank = gm_comm_rank(comm);
    size = gm_comm_size(comm);
    if (strcmp(what, "hang") == 0) return hang();
    const int failed = cmocka_run_group_tests_name(rank == 0 ? "rank 0" : "another rank", tests, NULL, NULL);
    if (failed != 0) gm_comm_abort(comm, 1);
    gm_comm_close(comm);
    return failed != 0;
}

static int mpirun(const char *self, int processes, const char *what)
{
    char command[2048];
    snprintf(command, sizeof command, "exec mpirun --oversubscribe -np %d '%s' %s", processes, self, what);
    const int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *program;

static void two_and_four_ranks_pass(void **state)
{
    (void)state;
    assert_int_equal(mpirun(program, 2, "pass"), 0);
    assert_int_equal(mpirun(program, 4, "pass"), 0);
}

static void one_rank_of_mpirun_passes_alone(void **state)
{
    (void)state;
    assert_int_equal(mpirun(program, 1, "one"), 0);
}

static void a_rank_that_hangs_is_named_and_all_end(void **state)
{
    (void)state;
    assert_int_equal(mpirun(program, 3, "hang"), 42);
}

/* Without a launcher. */
static void alone_nothing_is_started(void **state)
{
    gm_comm *c;
    float x = 3.0f, scratch[2], all;
    const size_t bytes = sizeof x;
    int64_t n = 5;
    (void)state;
    assert_ok(gm_comm_open("auto", 1.0, &c, &err));
    assert_null(c);
    assert_ok(gm_comm_open("none", 1.0, &c, &err));
    assert_null(c);
    assert_int_equal(gm_comm_size(c), 1);
    assert_int_equal(gm_comm_rank(c), 0);
    assert_ok(gm_comm_barrier(c, &err));
    assert_ok(gm_comm_sum(c, &x, 1, scratch, &err));
    assert_ok(gm_comm_sum_counts(c, &n, 1, &err));
    assert_ok(gm_comm_gather(c, &x, &bytes, &all, &err));
    assert_ok(gm_comm_broadcast(c, 0, &x, bytes, &err));
    assert_ok(gm_comm_wait(c, 0, &err));
    assert_true(x == 3.0f && all == 3.0f && n == 5);
    assert_int_equal(gm_comm_agree(c, gm_fail(&err, GM_ERR_DATA, "own"), &err), GM_ERR_DATA);
    assert_string_equal(err.text, "own");
    gm_comm_close(c);
}

static void what_is_no_kind_is_refused(void **state)
{
    gm_comm *c;
    (void)state;
    assert_int_equal(gm_comm_open("tcp", 1.0, &c, &err), GM_ERR_USAGE);
    assert_non_null(strstr(err.text, "--comm is none, mpi, nccl or auto, not \"tcp\""));
    assert_int_equal(gm_comm_open("nccl", 1.0, &c, &err), GM_ERR_USAGE); /* tests/device/comm_device_test.c has the rest */
    assert_non_null(strstr(err.text, "which of how many processes is this?"));
    if (gm_transport_mpi() == NULL) {
        assert_int_equal(gm_comm_open("mpi", 1.0, &c, &err), GM_ERR_MISSING);
        assert_non_null(strstr(err.text, "libopenmpi-dev"));
    }
}

static void copies_of_srun_are_refused(void **state)
{
    gm_comm *c;
    (void)state;
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    assert_int_equal(gm_comm_open("auto", 1.0, &c, &err), GM_ERR_USAGE);
    assert_non_null(strstr(err.text, "srun --mpi=pmix"));
    assert_ok(gm_comm_open("none", 1.0, &c, &err));
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    assert_ok(gm_comm_open("auto", 1.0, &c, &err));
    unsetenv("SLURM_STEP_NUM_TASKS");
}

static int run_one_rank(void)
{
    float x = 3.0f, scratch[2];
    if (gm_comm_open("auto", 5.0, &comm, &err) != GM_OK || comm == NULL) return 1;
    const bool good = gm_comm_size(comm) == 1 && gm_comm_sum(comm, &x, 1, scratch, &err) == GM_OK && x == 3.0f && gm_comm_barrier(comm, &err) == GM_OK;
    gm_comm_close(comm);
    return !good;
}

static bool can_launch(void)
{
    const char *require = getenv("GM_REQUIRE");
    const bool is_required = require != NULL && strstr(require, "mpi") != NULL;
    if (gm_transport_mpi() != NULL && system("mpirun --version > /dev/null 2>&1") == 0) return true;
    fprintf(stderr, "%s: several ranks: this build lacks MPI or there is no mpirun\n", is_required ? "failed (GM_REQUIRE names mpi)" : "skipped");
    exit(is_required ? 1 : 77);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest alone[] = { cmocka_unit_test(alone_nothing_is_started), cmocka_unit_test(what_is_no_kind_is_refused),
                                        cmocka_unit_test(copies_of_srun_are_refused), cmocka_unit_test(a_tree_of_any_size_is_pairs_of_pairs) };
    const struct CMUnitTest together[] = { cmocka_unit_test(one_rank_of_mpirun_passes_alone), cmocka_unit_test(two_and_four_ranks_pass),
                                           cmocka_unit_test(a_rank_that_hangs_is_named_and_all_end) };
    if (argc > 1) return strcmp(argv[1], "one") == 0 ? run_one_rank() : run_rank(argv[1]);
    program = argv[0];
    if (cmocka_run_group_tests(alone, NULL, NULL) != 0) return 1;
    if (!can_launch()) return 77;
    gmt_allow_mpirun();
    return cmocka_run_group_tests(together, NULL, NULL) != 0;
}
