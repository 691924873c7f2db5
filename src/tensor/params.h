/* Parameters of a model: declared by name, then laid out in blocks by group of learning rate and decay, so that one AdamW
 * and one sum serve a group. The word-embedding table is a class of its own: only rows that a step touches get gradients
 * and updates. Files keep Hugging Face names: a parameter may be made of several tensors of a file (q, k and v). */
#ifndef GM_PARAMS_H
#define GM_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device.h"
#include "tensor/safetensors.h"

enum { GM_PARAM_MAX_PARTS = 3 };

typedef enum gm_init_kind { GM_INIT_ZERO, GM_INIT_ONE, GM_INIT_NORMAL, GM_INIT_UNIFORM } gm_init_kind;

typedef struct gm_param_spec {
    const char *part[GM_PARAM_MAX_PARTS]; /* names in files, NULL behind the last; equal shares of the rows */
    int32_t rows, cols;                   /* of all parts together; cols 1 = a vector in files */
    gm_rate rate;
    bool decays;
    bool is_table;                        /* gradients by touched row; at most one a model */
    bool is_frozen;                       /* carried along, never trained */
    bool is_vector;                       /* written to files with one dimension */
    int32_t side;                         /* > 0: a convolution's weight, in files [rows, cols / side^2, side, side] */
    gm_init_kind init;
    float sigma;                          /* of NORMAL, or half the range of UNIFORM */
} gm_param_spec;

typedef struct gm_param {
    gm_param_spec spec;                   /* names are the store's */
    float *value, *m, *v;                 /* [rows, cols] in host memory; m and v NULL when frozen */
    float *average;                       /* the same shape; NULL unless gm_params_keep_average made it */
    const float *master;                  /* the values as kernels read them: `value` itself on the cpu */
    const void *weight;                   /* the same in the activations' type, for products */
    const void *packed;                   /* `weight` in the layout of backend/packed.h; NULL but behind gm_params_pack */
    size_t count;                         /* rows x cols */
    size_t offset;                        /* of its gradient in the dense block */
    int32_t index, parts;
} gm_param;

typedef struct gm_group { gm_rate rate; bool decays; size_t offset, count; } gm_group;

enum { GM_MAX_GROUPS = 2 * GM_RATE_COUNT };

/* Values and moments of all parameters: dense groups in one block each, [dense_count], the table's rows in another. */
typedef struct gm_param_blocks { float *value, *m, *v, *table_value, *table_m, *table_v, *frozen; } gm_param_blocks;

typedef struct gm_params {
    gm_param **items;                     /* [count] in the order of declaration */
    int32_t count;
    size_t capacity;
    gm_param *table;                      /* NULL without one */
    gm_group group[GM_MAX_GROUPS];        /* contiguous in the dense block, in this order */
    int32_t groups;
    size_t dense_count;                   /* floats of all groups */
    size_t frozen_count;
    gm_param_blocks host, device;         /* one and the same until gm_params_place, and on the cpu */
    float *average, *table_average;       /* [dense_count] and the table's, in host memory; NULL without */
    void *copy, *frozen_copy;             /* [dense_count] of device.value and [frozen_count] of device.frozen in bf16; NULL in fp32 */
    void *packed;                         /* what items' `packed` point into; NULL without */
    gm_device *placed;                    /* whose memory the device's blocks lie in; NULL: the host's */
} gm_params;

void gm_params_init_empty(gm_params *ps);
void gm_params_destroy(gm_params *ps); /* before the device that it was placed on */
/* Declares a parameter; *p stays valid until destroy. */
gm_status gm_params_add(gm_params *ps, const gm_param_spec *spec, gm_param **p, gm_err *err);
/* Lays out and allocates all declared ones; moments are zero. with_moments false in prediction. */
gm_status gm_params_allocate(gm_params *ps, bool with_moments, gm_err *err);

/* Copies values (and moments, where there are some) to the device, whose kernels read and write them there from now on.
 * fetch brings them back into the host's blocks. On the cpu the blocks stay where they are; in bf16
 * it gets a copy as well. */
gm_status gm_params_place(gm_params *ps, gm_device *dev);
gm_status gm_params_fetch(gm_params *ps);
gm_status gm_params_fetch_weights(gm_params *ps); /* fetch without the moments */
/* For prediction on the cpu, behind gm_params_place: copies of the matrices as products read them fastest. They are not kept up
 * to date: call it again, or gm_params_unpack, where weights change. Elsewhere it does nothing. */
gm_status gm_params_pack(gm_params *ps, gm_err *err);
void gm_params_unpack(gm_params *ps);
void gm_params_unplace(gm_params *ps); /* frees the device's blocks; the host's serve again, as they are */

/* Initial values of the parameters declared from `first` on: each number depends on the seed, the tensor's name and its
 * index alone. */
void gm_params_randomise(gm_params *ps, int32_t first, uint64_t seed);
/* Reads the first `count` declared parameters from tensors called prefix + name (older files say gamma and beta of a norm);
 * a missing one is an error that names it. */
gm_status gm_params_load(gm_params *ps, int32_t count, const gm_safetensors *st, const char *prefix, gm_err *err);
/* The same for `count` parameters from `first` on whose names begin with `ours`: in the file they begin with `theirs` instead. */
gm_status gm_params_load_as(gm_params *ps, int32_t first, int32_t count, const gm_safetensors *st, const char *ours, const char *theirs, gm_err *err);
gm_status gm_params_save(const gm_params *ps, const char *path, const char *const *metadata, int32_t metadata_count, gm_err *err);

/* An average of the weights, kept beside them in host memory; frozen ones have none. */
gm_status gm_params_keep_average(gm_params *ps, gm_err *err); /* zero at first */
/* average += rate (weight - average), for the host's weights; the same bits for any number of threads. */
void gm_params_average(gm_params *ps, float rate, int threads);
/* Weights and averages change places, for kernels as well; weights of a device come to the host first. Twice is as never. */
gm_status gm_params_swap_average(gm_params *ps);

/* AdamW's moments, as exp_avg.NAME and exp_avg_sq.NAME, and averages, where they are kept, as average.NAME. */
gm_status gm_params_save_moments(const gm_params *ps, const char *path, gm_err *err);
gm_status gm_params_load_moments(gm_params *ps, const gm_safetensors *st, gm_err *err);

#endif
