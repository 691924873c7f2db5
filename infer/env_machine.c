/* The machine as programs see it: what it has, and what the batch system or a container leaves of that. Nothing here fails
 * because a file is not there: systems differ, and what is missing is itself an answer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "backend/backend.h"
#include "infer/env.h"

/* The first line of a file that begins with `start` ("": the first line), without start, blanks, colon and quotes; false where there is none. */
static bool find_line(const char *path, const char *start, char *to, size_t size)
{
    char line[1024];
    bool found = false;
    FILE *f = fopen(path, "re");
    if (f == NULL) return false;
    while (!found && fgets(line, (int)sizeof line, f) != NULL) {
        if (strncmp(line, start, strlen(start)) != 0) continue;
        const char *at = line + strlen(start);
        at += strspn(at, " \t:=\"");
        (void)snprintf(to, size, "%.*s", (int)strcspn(at, "\"\r\n"), at);
        found = true;
    }
    (void)fclose(f);
    return found;
}

static gm_status add_line(gm_env *e, const char *section, const char *name, const char *path, const char *start, gm_err *err)
{
    char text[512];
    return gm_env_add(e, section, name, find_line(path, start, text, sizeof text) ? text : NULL, NULL, err);
}

static gm_status add_system(gm_env *e, gm_err *err)
{
    struct utsname u;
    char text[512];
    GM_TRY(add_line(e, "system", "release", "/etc/os-release", "PRETTY_NAME", err));
    const bool known = uname(&u) == 0;
    if (known) (void)snprintf(text, sizeof text, "%.100s %.200s %.100s", u.sysname, u.release, u.machine);
    GM_TRY(gm_env_add(e, "system", "kernel", known ? text : NULL, NULL, err));
    return gm_env_add(e, "system", "libc", gnu_get_libc_version(), NULL, err);
}

static gm_status add_processor(gm_env *e, gm_err *err)
{
    char text[64];
    const char *sets[4];
    cpu_set_t mine;
    GM_TRY(add_line(e, "processor", "model", "/proc/cpuinfo", "model name", err));
    (void)snprintf(text, sizeof text, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    GM_TRY(gm_env_add(e, "processor", "cores", text, NULL, err));
    const bool bound = sched_getaffinity(0, sizeof mine, &mine) == 0;
    if (bound) (void)snprintf(text, sizeof text, "%d", CPU_COUNT(&mine));
    GM_TRY(gm_env_add(e, "processor", "cores of this process", bound ? text : NULL, NULL, err));
    text[0] = '\0';
    const int count = gm_backend_isas(sets);
    for (int i = 0; i < count; i++) {
        const size_t n = strlen(text);
        (void)snprintf(text + n, sizeof text - n, "%s%s", i > 0 ? " " : "", sets[i]);
    }
    GM_TRY(gm_env_add(e, "processor", "instruction sets", text, NULL, err));
    return gm_env_add(e, "processor", "bf16", gm_backend_has_bf16() ? "yes" : "no", NULL, err);
}

/* A limit of this process's control group: in version 2 that of the group itself, in a container the root's. */
static gm_status add_group_limit(gm_env *e, const char *name, const char *file, const char *old, gm_err *err)
{
    char group[512] = "", path[1200], text[128];
    bool found = false;
    if (find_line("/proc/self/cgroup", "0::", group, sizeof group)) {
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", strcmp(group, "/") == 0 ? "" : group, file);
        found = find_line(path, "", text, sizeof text);
    }
    if (!found) {
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup/%s", file);
        found = find_line(path, "", text, sizeof text) || find_line(old, "", text, sizeof text);
    }
    return gm_env_add(e, "memory", name, found ? text : NULL, NULL, err);
}

static gm_status add_memory(gm_env *e, gm_err *err)
{
    GM_TRY(add_line(e, "memory", "total", "/proc/meminfo", "MemTotal", err));
    GM_TRY(add_line(e, "memory", "available", "/proc/meminfo", "MemAvailable", err));
    GM_TRY(add_group_limit(e, "limit of the control group", "memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", err));
    return add_group_limit(e, "processor time of the control group", "cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", err);
}

/* Version of NCCL where the loader finds it, without linking it: 2.28.9 says 22809. */
static gm_status add_nccl(gm_env *e, gm_err *err)
{
    char text[32];
    int version = 0;
    int (*get)(int *) = NULL;
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (library != NULL) *(void **)&get = dlsym(library, "ncclGetVersion");
    const bool known = get != NULL && get(&version) == 0;
    if (known) (void)snprintf(text, sizeof text, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    if (library != NULL) (void)dlclose(library);
    return gm_env_add(e, "gpu", "nccl", known ? text : NULL, "libnccl2 of the CUDA toolkit (several GPUs)", err);
}

static gm_status add_gpu(gm_env *e, gm_err *err)
{
    gm_backend backend;
    gm_device device;
    gm_err why = { 0 };
    GM_TRY(add_line(e, "gpu", "driver", "/proc/driver/nvidia/version", "NVRM version", err));
    gm_status status = gm_backend_open("cuda", "auto", GM_FP32, &backend, &why);
    if (status == GM_OK) status = gm_device_create(&backend, 1, &device, &why);
    if (status == GM_OK) gm_device_destroy(&device);
    GM_TRY(gm_env_add(e, "gpu", "cuda", status == GM_OK ? backend.library : why.text, NULL, err));
    return add_nccl(e, err);
}

/* Only names that stand here are looked up: a report must never carry a key of somebody's. */
static gm_status add_variables(gm_env *e, gm_err *err)
{
    static const char *const names[] = {
        "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA",
        "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "NCCL_DEBUG", "NCCL_SOCKET_IFNAME", "NCCL_IB_DISABLE", "NCCL_P2P_DISABLE", "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK", "SLURM_JOB_ID", "SLURM_JOB_NUM_NODES", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_CPUS_PER_TASK", "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_COUNT", "SLURM_RESTART_COUNT", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_ARENA_MAX", "TMPDIR", "LANG", "LC_ALL",
    };
    for (size_t i = 0; i < GM_LEN(names); i++) {
        const char *value = getenv(names[i]);
        if (value != NULL) GM_TRY(gm_env_add(e, "variables", names[i], value, NULL, err));
    }
    return GM_OK;
}

gm_status gm_env_machine(gm_env *e, gm_err *err)
{
    GM_TRY(add_system(e, err));
    GM_TRY(add_processor(e, err));
    GM_TRY(add_memory(e, err));
    GM_TRY(add_gpu(e, err));
    return add_variables(e, err);
}
