#include "base/error.h"
#include "comm/mpi_link.h"

namespace weft::comm {

std::unique_ptr<Link> make_mpi_link(const Launch& launch, std::chrono::milliseconds) {
  throw Error(
      ErrorKind::kCommunication,
      fmt::format("{} started several processes, but this weft was built without MPI",
                  launch.launcher),
      "processes find each other through Open MPI alone",
      "install Debian's libopenmpi-dev and build again (-DWEFT_MPI=on says what is missing)");
}

}  // namespace weft::comm
