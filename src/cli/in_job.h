// The program as one of several processes that a launcher started together: the first one is the
// program, the others run ranks of the engines that it loads, and say nothing but what went wrong.
#pragma once

#include <string>
#include <vector>

#include "cli/commands.h"
#include "comm/job.h"

namespace weft::cli {

// run_program in such a process: joins the job, and leaves it or ends all of it. Never throws.
int run_in_job(const comm::Launch& launch, const std::vector<std::string>& arguments,
               const Context& context);

}  // namespace weft::cli
