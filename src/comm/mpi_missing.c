/* What stands in for comm/mpi.c in a build without MPI. */
#include "comm/transport.h"

#if !GM_HAVE_MPI

const gm_transport *gm_transport_mpi(void) { return NULL; }

#endif
