/* What stands in for peers.c in a build without NCCL. */
#include "backend/cuda/peers.h"

#if !GM_HAVE_NCCL

gm_module_peers gm_cuda_peers(void) { return (gm_module_peers){ 0 }; }

#endif
