// MPI's own collectives and messages behind a Communicator, to be measured beside Weft's.
//
// It blocks without a deadline, sees no abort, and while it lives it has MPI for itself: this
// process can neither send nor say that it is alive. For `weft bench comm`, and nothing else.
// Included by the sources that need mpi.h anyway.
#pragma once

#include <memory>
#include <mutex>

#include "comm/comm.h"
#include "comm/mpi_library.h"

namespace weft::comm {

// Collective. calls: of MPI, held as long as the member lives. What is split from it ends before
// it.
std::unique_ptr<Communicator> make_mpi_member(MPI_Comm processes,
                                              std::unique_lock<std::timed_mutex> calls);

}  // namespace weft::comm
