// A job over any link: what join_job makes of MPI's, and tests of their own.
#pragma once

#include <memory>

#include "comm/job.h"
#include "comm/link.h"

namespace weft::comm {

// Collective: the processes introduce themselves to each other. Throws as join_job does.
std::unique_ptr<Job> make_job(std::unique_ptr<Link> link, const Introduction& self,
                              JobOptions options);

}  // namespace weft::comm
