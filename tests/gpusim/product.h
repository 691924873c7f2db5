/* The matrix product behind cuBLAS and cuBLASLt: D = alpha op(A) op(B) + beta C and what an epilogue adds. */
#ifndef GM_SIM_PRODUCT_H
#define GM_SIM_PRODUCT_H

#include <cublasLt.h>
#include <stdint.h>

namespace emu {

struct Matrix {
    void *data;
    cudaDataType type;
    int64_t rows, cols, ld;
    bool row_major;
    size_t at(int64_t i, int64_t j) const { return (size_t)(row_major ? i * ld + j : j * ld + i); }
    size_t element_bytes() const { return type == CUDA_R_32F ? 4 : 2; }
    size_t bytes() const { return rows && cols ? (at(rows - 1, cols - 1) + 1) * element_bytes() : 0; }
};

struct Epilogue {
    int kind; /* cublasLtEpilogue_t */
    void *bias, *aux;
    cudaDataType bias_type;
    int64_t aux_ld;
};

struct Product {
    Matrix a, b, c, d;
    bool a_turned, b_turned;
    float alpha, beta;
    cublasComputeType_t compute;
    Epilogue epilogue;
    int64_t m() const { return d.rows; }
    int64_t n() const { return d.cols; }
    int64_t k() const { return a_turned ? a.rows : a.cols; }
};

bool product_fits(const Product &p); /* shapes, leading dimensions */
void product_run(const Product &p, const char *who);

} // namespace emu

#endif
