#include "cli/in_job.h"

#include <fmt/format.h>
#include <signal.h>

#include <ostream>

#include "base/error.h"
#include "cli/version.h"
#include "engine/crew.h"
#include "engine/numerics.h"

namespace weft::cli {
namespace {

// What the bits depend on but the cache's type, which the first process tells the others.
comm::Introduction introduction(const Context& context) {
  return {fmt::format("{} ({})", version(), commit()),
          fmt::format("weft{}/{}", engine::kArithmeticVersion, engine::kKernelClass),
          std::string(context.engine.isa()), ""};
}

int run_first(engine::Crew& crew, const std::vector<std::string>& arguments,
              const Context& context) {
  EngineDoor door = context.engine;
  door.load = [&](const engine::EngineOptions& options, const engine::OnLoad& on_load,
                  const engine::OnOpen& on_open) { return crew.load(options, on_load, on_open); };
  const int code = run_program(arguments, {context.console, context.environment, door});
  // After these every engine has ended in order, and so do the others.
  if (code == 0 || code == 1 || code == kInterruptedExit) crew.dismiss();
  return code;
}

int run_joined(comm::Job& job, const std::vector<std::string>& arguments, const Context& context) {
  engine::Crew crew(job);
  if (job.process() == 0) return run_first(crew, arguments, context);
  crew.follow();
  return 0;
}

int say(const Context& context, ErrorKind kind, std::string_view what) {
  context.console.err << "weft: " << what << std::endl;
  return static_cast<int>(kind);
}

// job: the others are told what went wrong here; null: there is none yet.
template <typename Body>
int code_of(const Context& context, comm::Job* job, const Body& body) {
  try {
    return body();
  } catch (const Error& error) {
    if (job != nullptr)
      job->abort(fmt::format("process {} ({}): {}", job->process(), job->peer(job->process()).host,
                             error.summary()));
    return say(context, error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    return say(context, ErrorKind::kMemory, "out of memory");
  } catch (const std::exception& error) {
    return say(context, ErrorKind::kInternal, fmt::format("internal error: {}", error.what()));
  }
}

}  // namespace

int run_in_job(const comm::Launch& launch, const std::vector<std::string>& arguments,
               const Context& context) {
  // The launcher's word that another process is lost (comm/job.h). Commands that end on it by
  // themselves take it back while they run.
  signal(SIGTERM, SIG_IGN);
  std::unique_ptr<comm::Job> job;
  const int joined = code_of(context, nullptr, [&] {
    job = comm::join_job(launch, introduction(context));
    return 0;
  });
  if (joined != 0) return joined;
  if (job->process() != 0) signal(SIGINT, SIG_IGN);  // the first one ends them
  int code = code_of(context, job.get(), [&] { return run_joined(*job, arguments, context); });
  const bool in_order = code == 0 || code == 1 || code == kInterruptedExit;
  if (in_order) {
    const int left = code_of(context, nullptr, [&] {
      job->leave();
      return 0;
    });
    if (left == 0) return code;
    code = left;
  }
  context.console.out.flush();
  job->end(code);
}

}  // namespace weft::cli
