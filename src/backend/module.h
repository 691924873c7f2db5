/* What a device module (cuda, sim) exports: one function, gm_module_open, that gives this table. The module is loaded with
 * RTLD_LOCAL, so its names never meet the program's. */
#ifndef GM_BACKEND_MODULE_H
#define GM_BACKEND_MODULE_H

#include "backend/device_memory.h"
#include "kernels.h"

enum { GM_MODULE_ABI = 3, GM_PEER_ID_BYTES = 128 };

/* A block of device or of host memory that a rank sends to another or gets from it. */
typedef struct gm_peer_move { int32_t peer; bool is_send; void *block; size_t bytes; } gm_peer_move;

/* Processes with a GPU each that exchange blocks by NCCL, on a stream of their own. Nothing but close waits: what takes time is
 * asked for until it is done. */
typedef struct gm_module_peers {
    const char *library;      /* "NCCL 2.28.9"; NULL: the module was built without, and the rest is NULL as well */
    gm_status (*make_id)(char id[GM_PEER_ID_BYTES], gm_err *err); /* by one rank, for all */
    gm_status (*open)(const char id[GM_PEER_ID_BYTES], int32_t rank, int32_t size, void **peers, gm_err *err);
    gm_status (*ready)(void *peers, bool *is_ready, gm_err *err); /* all have come: before that nothing can begin */
    /* Blocks are exchanged at the same time, those with one peer in their order. What stands on the stream of `behind` (NULL:
     * none of the blocks is in device memory) comes first. *batch stays NULL while the one before is still being begun. */
    gm_status (*begin)(void *peers, const gm_device *behind, const gm_peer_move *move, int32_t count, void **batch, gm_err *err);
    gm_status (*end)(void *peers, void *batch, bool *is_done, gm_err *err); /* forgets the batch when it is done */
    void (*close)(void *peers, bool is_finished); /* else what is under way is given up; takes NULL */
} gm_module_peers;

typedef struct gm_module {
    int32_t abi;              /* GM_MODULE_ABI */
    const char *name;         /* "cuda", "sim" */
    const char *library;      /* of matrix products, with its version: for run.json */
    gm_kernels kernels[GM_PRECISION_COUNT];
    gm_device_memory memory;
    /* GM_ERR_DEVICE without a usable GPU, with the reason. Makes stream, plans and workspace; err is kept in the device. */
    gm_status (*device_create)(gm_device *dev, gm_err *err);
    void (*device_destroy)(gm_device *dev);
    int64_t (*plan_count)(const gm_device *dev);
    /* All that is put on the device's stream between begin and end is recorded, not run: only kernels, fills and copies
     * within the device, whose plans all exist. end gives the graph, also to release after a failure in between. */
    gm_status (*graph_begin)(gm_device *dev);
    gm_status (*graph_end)(gm_device *dev, void **graph);
    gm_status (*graph_run)(gm_device *dev, void *graph);
    void (*graph_release)(gm_device *dev, void *graph); /* takes NULL */
    /* All devices of this process are the GPU of this number from now on; where there is one alone, that one. Without this: 0.
     * CUDA_VISIBLE_DEVICES numbers them. */
    gm_status (*choose_gpu)(int32_t number, gm_err *err);
    gm_module_peers peers;
} gm_module;

typedef const gm_module *(*gm_module_open_fn)(void);

#endif
