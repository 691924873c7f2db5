/* The cache in SQLite: write-ahead log, so that readers and one writer go on side by side; commits are in groups, and wait for
 * no disk (synchronous = NORMAL): a killed process loses nothing that was committed. */
#include "mllm/cache.h"

#include <string.h>

#include "base/memory.h"
#include "mllm/sha256.h"

gm_mllm_key gm_mllm_key_of(const char *endpoint, const char *body, size_t body_bytes)
{
    gm_mllm_key key;
    gm_sha256 h;
    gm_sha256_begin(&h);
    gm_sha256_add(&h, endpoint, strlen(endpoint) + 1); /* with its NUL, so that no part can move into the other */
    gm_sha256_add(&h, body, body_bytes);
    gm_sha256_end(&h, key.byte);
    return key;
}

#if GM_HAVE_SQLITE3

#include <sqlite3.h>

enum { VERSION = 2, BUSY_MS = 30000 };

typedef enum query {
    QUERY_GET, QUERY_SENDING, QUERY_PUT, QUERY_DROP, QUERY_COUNT, QUERY_BEGIN, QUERY_COMMIT,
    QUERY_BURY, QUERY_FORGET, QUERY_SPENT, QUERY_HELD, QUERY_SPEND, QUERY_HOLD,
    QUERIES
} query;

static const char *const sql[QUERIES] = {
    [QUERY_GET] = "SELECT text, refusal, is_cut, tokens_in, tokens_out, latency FROM answer WHERE key = ?1",
    [QUERY_SENDING] = "INSERT OR IGNORE INTO sending (key) VALUES (?1)",
    [QUERY_PUT] = "INSERT OR IGNORE INTO answer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, CAST(strftime('%s', 'now') AS INTEGER))",
    [QUERY_DROP] = "DELETE FROM sending WHERE key = ?1",
    [QUERY_COUNT] = "SELECT count(*) FROM answer",
    [QUERY_BEGIN] = "BEGIN IMMEDIATE",
    [QUERY_COMMIT] = "COMMIT",
    [QUERY_BURY] = "INSERT INTO budget SELECT name, 0, sum(tokens), sum(cost) FROM held"
                   " WHERE name = ?1 AND owner <> ?2 AND time < strftime('%s', 'now') - ?3 GROUP BY name"
                   " ON CONFLICT (name) DO UPDATE SET tokens = tokens + excluded.tokens, cost = cost + excluded.cost",
    [QUERY_FORGET] = "DELETE FROM held WHERE name = ?1 AND owner <> ?2 AND time < strftime('%s', 'now') - ?3",
    [QUERY_SPENT] = "SELECT calls, tokens, cost FROM budget WHERE name = ?1",
    [QUERY_HELD] = "SELECT 0, coalesce(sum(tokens), 0), coalesce(sum(cost), 0) FROM held WHERE name = ?1 AND owner <> ?2",
    [QUERY_SPEND] = "INSERT INTO budget VALUES (?1, ?3, ?4, ?5) ON CONFLICT (name) DO UPDATE SET calls = calls + ?3, tokens = tokens + ?4, cost = cost + ?5",
    [QUERY_HOLD] = "INSERT OR REPLACE INTO held VALUES (?1, ?2, ?4, ?5, CAST(strftime('%s', 'now') AS INTEGER))",
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS answer (key BLOB PRIMARY KEY, id TEXT NOT NULL, text TEXT NOT NULL, refusal TEXT NOT NULL,"
    " is_cut INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, latency REAL NOT NULL, time INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS sending (key BLOB PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS budget (name TEXT PRIMARY KEY, calls INTEGER NOT NULL, tokens REAL NOT NULL, cost REAL NOT NULL);"
    "CREATE TABLE IF NOT EXISTS held (name TEXT, owner INTEGER, tokens REAL NOT NULL, cost REAL NOT NULL, time INTEGER NOT NULL,"
    " PRIMARY KEY (name, owner));"
    "PRAGMA user_version = 2;";

struct gm_mllm_cache {
    sqlite3 *db;
    sqlite3_stmt *statement[QUERIES];
    char *path;
    int patience_ms;
};

static gm_status failed(gm_mllm_cache *c, const char *what, gm_err *err)
{
    const int code = c->db != NULL ? sqlite3_errcode(c->db) : SQLITE_NOMEM;
    const char *text = c->db != NULL ? sqlite3_errmsg(c->db) : "out of memory";
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
        return gm_fail(err, GM_ERR_FORMAT, "%s: %s: %s; is it the cache of another program? Name another file", c->path, what, text);
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        return gm_fail(err, GM_ERR_IO, "%s: %s: another process has kept it locked for %g s; end that one, or name another file", c->path, what,
                       1e-3 * c->patience_ms);
    if (code == SQLITE_NOMEM) return gm_fail(err, GM_ERR_NOMEM, "%s: %s: %s", c->path, what, text);
    return gm_fail(err, GM_ERR_IO, "%s: %s: %s", c->path, what, text);
}

static gm_status run(gm_mllm_cache *c, const char *text, const char *what, gm_err *err)
{
    return sqlite3_exec(c->db, text, NULL, NULL, NULL) == SQLITE_OK ? GM_OK : failed(c, what, err);
}

static gm_status version_of(gm_mllm_cache *c, int *version, gm_err *err)
{
    sqlite3_stmt *s = NULL;
    *version = 0;
    const bool read = sqlite3_prepare_v2(c->db, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    const gm_status status = read ? GM_OK : failed(c, "cannot be read", err);
    if (read) *version = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return status;
}

/* SQLite does not wait for others here: where two make the same new file, one of them is told at once that it is locked
 * (test many_processes_make_one_cache). */
static gm_status use_log(gm_mllm_cache *c, gm_err *err)
{
    enum { PAUSE_MS = 10 };
    for (int waited = 0; sqlite3_exec(c->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL) != SQLITE_OK; waited += PAUSE_MS) {
        if (sqlite3_errcode(c->db) != SQLITE_BUSY || waited >= c->patience_ms) return failed(c, "cannot be opened", err);
        sqlite3_sleep(PAUSE_MS);
    }
    return run(c, "PRAGMA synchronous = NORMAL", "cannot be opened", err);
}

/* Processes that open a new file at the same moment take turns: the schema is made inside a transaction. */
static gm_status make_tables(gm_mllm_cache *c, gm_err *err)
{
    int version;
    GM_TRY(use_log(c, err));
    GM_TRY(version_of(c, &version, err));
    if (version >= VERSION) return GM_OK;
    GM_TRY(run(c, "BEGIN IMMEDIATE", "cannot be written", err));
    gm_status status = version_of(c, &version, err);
    if (status == GM_OK && version < VERSION) status = run(c, schema, "cannot be written", err);
    if (status != GM_OK) {
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
        return status;
    }
    return run(c, "COMMIT", "cannot be written", err);
}

static gm_status open_file(gm_mllm_cache *c, bool is_read_only, gm_err *err)
{
    const int mode = is_read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    int version;
    if (sqlite3_open_v2(c->path, &c->db, mode | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) return failed(c, "cannot be opened", err);
    gm_mllm_cache_set_patience(c, BUSY_MS);
    if (!is_read_only) GM_TRY(make_tables(c, err));
    GM_TRY(version_of(c, &version, err));
    if (version != VERSION)
        return gm_fail(err, GM_ERR_FORMAT, "%s: the cache has version %d, this release knows %d: name another file", c->path, version, VERSION);
    for (int q = 0; q < QUERIES; q++)
        if (sqlite3_prepare_v3(c->db, sql[q], -1, SQLITE_PREPARE_PERSISTENT, &c->statement[q], NULL) != SQLITE_OK)
            return failed(c, "is not a cache of answers", err);
    return GM_OK;
}

gm_status gm_mllm_cache_open(const char *path, bool is_read_only, gm_mllm_cache **to, gm_err *err)
{
    gm_mllm_cache *c = gm_calloc(1, sizeof *c);
    *to = NULL;
    if (c == NULL || (c->path = gm_strdup(path)) == NULL) {
        gm_free(c);
        return gm_fail(err, GM_ERR_NOMEM, "%s: out of memory", path);
    }
    const gm_status status = open_file(c, is_read_only, err);
    if (status != GM_OK) {
        gm_mllm_cache_close(c);
        return status;
    }
    *to = c;
    return GM_OK;
}

void gm_mllm_cache_close(gm_mllm_cache *c)
{
    if (c == NULL) return;
    for (int q = 0; q < QUERIES; q++) sqlite3_finalize(c->statement[q]);
    sqlite3_close(c->db);
    gm_free(c->path);
    gm_free(c);
}

void gm_mllm_cache_set_patience(gm_mllm_cache *c, int32_t milliseconds)
{
    c->patience_ms = milliseconds;
    sqlite3_busy_timeout(c->db, milliseconds);
}

/* A statement with its key; its last use is over. */
static sqlite3_stmt *with_key(gm_mllm_cache *c, query q, const gm_mllm_key *key)
{
    sqlite3_stmt *s = c->statement[q];
    sqlite3_reset(s);
    sqlite3_bind_blob(s, 1, key->byte, (int)sizeof key->byte, SQLITE_TRANSIENT);
    return s;
}

static gm_status step(gm_mllm_cache *c, sqlite3_stmt *s, const char *what, gm_err *err)
{
    const int code = sqlite3_step(s);
    if (code == SQLITE_DONE) {
        sqlite3_reset(s);
        return GM_OK;
    }
    const gm_status status = failed(c, what, err);
    sqlite3_reset(s);
    return status;
}

gm_status gm_mllm_cache_get(gm_mllm_cache *c, const gm_mllm_key *key, bool *have, gm_mllm_cached *to, gm_err *err)
{
    static const char *const nothing = "";
    sqlite3_stmt *s = with_key(c, QUERY_GET, key);
    const int code = sqlite3_step(s);
    *have = code == SQLITE_ROW;
    if (code == SQLITE_DONE) {
        sqlite3_reset(s);
        return GM_OK;
    }
    if (code != SQLITE_ROW) return failed(c, "cannot be read", err);
    const char *text = (const char *)sqlite3_column_text(s, 0), *refusal = (const char *)sqlite3_column_text(s, 1);
    *to = (gm_mllm_cached) {
        .text = text != NULL ? text : nothing,
        .text_bytes = (size_t)sqlite3_column_bytes(s, 0),
        .refusal = refusal != NULL ? refusal : nothing,
        .is_cut = sqlite3_column_int(s, 2) != 0,
        .tokens_in = sqlite3_column_int64(s, 3),
        .tokens_out = sqlite3_column_int64(s, 4),
        .latency_s = sqlite3_column_double(s, 5),
    };
    return GM_OK;
}

gm_status gm_mllm_cache_begin(gm_mllm_cache *c, gm_err *err)
{
    sqlite3_reset(c->statement[QUERY_GET]); /* a reader left open would hold the log and see old answers */
    return step(c, c->statement[QUERY_BEGIN], "cannot be written", err);
}

gm_status gm_mllm_cache_sending(gm_mllm_cache *c, const gm_mllm_key *key, bool *was_sent, gm_err *err)
{
    GM_TRY(step(c, with_key(c, QUERY_SENDING, key), "cannot be written", err));
    *was_sent = sqlite3_changes(c->db) == 0;
    return GM_OK;
}

gm_status gm_mllm_cache_put(gm_mllm_cache *c, const gm_mllm_key *key, const char *id, const gm_mllm_cached *a, gm_err *err)
{
    sqlite3_stmt *s = with_key(c, QUERY_PUT, key);
    if (a->text_bytes > INT32_MAX) return gm_fail(err, GM_ERR_DATA, "%s: an answer of %zu bytes is too long to keep", c->path, a->text_bytes);
    sqlite3_bind_text(s, 2, id, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 3, a->text, (int)a->text_bytes, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 4, a->refusal, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int(s, 5, a->is_cut);
    sqlite3_bind_int64(s, 6, a->tokens_in);
    sqlite3_bind_int64(s, 7, a->tokens_out);
    sqlite3_bind_double(s, 8, a->latency_s);
    GM_TRY(step(c, s, "cannot be written", err));
    return gm_mllm_cache_drop(c, key, err);
}

gm_status gm_mllm_cache_drop(gm_mllm_cache *c, const gm_mllm_key *key, gm_err *err)
{
    return step(c, with_key(c, QUERY_DROP, key), "cannot be written", err);
}

gm_status gm_mllm_cache_commit(gm_mllm_cache *c, gm_err *err) { return step(c, c->statement[QUERY_COMMIT], "cannot be written", err); }

void gm_mllm_cache_rollback(gm_mllm_cache *c)
{
    for (int q = 0; q < QUERIES; q++) sqlite3_reset(c->statement[q]);
    if (sqlite3_get_autocommit(c->db) == 0) sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- shared budgets ---- */

static sqlite3_stmt *with_purse(gm_mllm_cache *c, query q, const gm_mllm_purse *p)
{
    sqlite3_stmt *s = c->statement[q];
    const int known = sqlite3_bind_parameter_count(s);
    sqlite3_reset(s);
    sqlite3_bind_text(s, 1, p->name, -1, SQLITE_TRANSIENT);
    if (known >= 2) sqlite3_bind_int64(s, 2, p->owner);
    if (known == 3) sqlite3_bind_double(s, 3, p->dead_after_s);
    return s;
}

static gm_status read_spending(gm_mllm_cache *c, query q, const gm_mllm_purse *p, gm_mllm_spending *to, gm_err *err)
{
    sqlite3_stmt *s = with_purse(c, q, p);
    const int code = sqlite3_step(s);
    *to = (gm_mllm_spending) { 0 };
    if (code == SQLITE_ROW) *to = (gm_mllm_spending) { sqlite3_column_int64(s, 0), sqlite3_column_double(s, 1), sqlite3_column_double(s, 2) };
    const gm_status status = code == SQLITE_ROW || code == SQLITE_DONE ? GM_OK : failed(c, "cannot be read", err);
    sqlite3_reset(s);
    return status;
}

gm_status gm_mllm_cache_look(gm_mllm_cache *c, const gm_mllm_purse *p, gm_mllm_spending *spent, gm_mllm_spending *held_by_others, gm_err *err)
{
    GM_TRY(step(c, with_purse(c, QUERY_BURY, p), "cannot be written", err));
    GM_TRY(step(c, with_purse(c, QUERY_FORGET, p), "cannot be written", err));
    GM_TRY(read_spending(c, QUERY_SPENT, p, spent, err));
    return read_spending(c, QUERY_HELD, p, held_by_others, err);
}

static gm_status write_spending(gm_mllm_cache *c, query q, const gm_mllm_purse *p, const gm_mllm_spending *what, gm_err *err)
{
    sqlite3_stmt *s = with_purse(c, q, p);
    sqlite3_bind_int64(s, 3, what->calls);
    sqlite3_bind_double(s, 4, what->tokens);
    sqlite3_bind_double(s, 5, what->cost);
    return step(c, s, "cannot be written", err);
}

gm_status gm_mllm_cache_charge(gm_mllm_cache *c, const gm_mllm_purse *p, const gm_mllm_spending *add, const gm_mllm_spending *held, gm_err *err)
{
    GM_TRY(write_spending(c, QUERY_SPEND, p, add, err));
    return write_spending(c, QUERY_HOLD, p, held, err);
}

gm_status gm_mllm_cache_count(gm_mllm_cache *c, int64_t *answers, gm_err *err)
{
    sqlite3_stmt *s = c->statement[QUERY_COUNT];
    const bool have = sqlite3_step(s) == SQLITE_ROW;
    const gm_status status = have ? GM_OK : failed(c, "cannot be read", err);
    *answers = have ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return status;
}

#else

gm_status gm_mllm_cache_open(const char *path, bool is_read_only, gm_mllm_cache **to, gm_err *err)
{
    (void)is_read_only;
    *to = NULL;
    return gm_fail(err, GM_ERR_MISSING, "%s: a cache of answers needs SQLite, which this build lacks: install libsqlite3-dev and build again", path);
}

/* Nothing below can be reached: no cache was ever opened. */
static gm_status missing(gm_err *err) { return gm_fail(err, GM_ERR_MISSING, "this build lacks SQLite"); }
void gm_mllm_cache_close(gm_mllm_cache *c) { (void)c; }
void gm_mllm_cache_set_patience(gm_mllm_cache *c, int32_t milliseconds) { (void)c, (void)milliseconds; }
gm_status gm_mllm_cache_look(gm_mllm_cache *c, const gm_mllm_purse *p, gm_mllm_spending *spent, gm_mllm_spending *held_by_others, gm_err *err)
{
    (void)c, (void)p, (void)spent, (void)held_by_others;
    return missing(err);
}
gm_status gm_mllm_cache_charge(gm_mllm_cache *c, const gm_mllm_purse *p, const gm_mllm_spending *add, const gm_mllm_spending *held, gm_err *err)
{
    (void)c, (void)p, (void)add, (void)held;
    return missing(err);
}
gm_status gm_mllm_cache_get(gm_mllm_cache *c, const gm_mllm_key *key, bool *have, gm_mllm_cached *to, gm_err *err)
{
    (void)c, (void)key, (void)have, (void)to;
    return missing(err);
}
gm_status gm_mllm_cache_begin(gm_mllm_cache *c, gm_err *err)
{
    (void)c;
    return missing(err);
}
gm_status gm_mllm_cache_sending(gm_mllm_cache *c, const gm_mllm_key *key, bool *was_sent, gm_err *err)
{
    (void)c, (void)key, (void)was_sent;
    return missing(err);
}
gm_status gm_mllm_cache_put(gm_mllm_cache *c, const gm_mllm_key *key, const char *id, const gm_mllm_cached *answer, gm_err *err)
{
    (void)c, (void)key, (void)id, (void)answer;
    return missing(err);
}
gm_status gm_mllm_cache_drop(gm_mllm_cache *c, const gm_mllm_key *key, gm_err *err)
{
    (void)c, (void)key;
    return missing(err);
}
gm_status gm_mllm_cache_commit(gm_mllm_cache *c, gm_err *err)
{
    (void)c;
    return missing(err);
}
void gm_mllm_cache_rollback(gm_mllm_cache *c) { (void)c; }
gm_status gm_mllm_cache_count(gm_mllm_cache *c, int64_t *answers, gm_err *err)
{
    (void)c, (void)answers;
    return missing(err);
}

#endif
