// MPI as a link. Which of its two sources is built is CMake's choice (WEFT_MPI): mpi_link.cpp, or
// mpi_missing.cpp, whose only word is an error that names the package.
#pragma once

#include <chrono>
#include <memory>

#include "comm/job.h"
#include "comm/link.h"

namespace weft::comm {

// Initialises MPI, once a process. Throws Error(kCommunication).
std::unique_ptr<Link> make_mpi_link(const Launch& launch, std::chrono::milliseconds deadline);

}  // namespace weft::comm
