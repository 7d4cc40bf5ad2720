// weft pack MODEL: writes the panels of each rank of a split as files that a run maps as they are.
#include <fmt/format.h>

#include <atomic>
#include <optional>
#include <ostream>

#include "base/counted.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/quantity.h"

namespace weft::cli {
namespace {

class PackCommand : public Command {
 public:
  PackCommand() {
    options_.group("Output");
    options_.add("--output,-o", &folder_,
                 {.unit = "FOLDER",
                  .help = "where the packed model goes",
                  .unset = "the model's name and split, in this folder",
                  .may_be_empty = false});
    options_.add("--force", &force_, {"", "replace a packed model that is there already"});
    options_.add("--quiet,-q", &quiet_, {"", "say nothing but errors and the folder's name"});
    model_.declare_split(&options_);
    options_.group("Work");
    options_.add("--threads,-t", &model_.engine.threads_per_rank,
                 {"N", "threads that make panels", "all cores"}, 1, 1024);
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    Console& console = context.console;
    engine::PackRequest request;
    request.engine = model_.resolve(context.environment);
    request.folder = folder_;
    request.replace = force_;
    std::atomic<bool> stop{false};
    const InterruptAction interrupt(
        [](void* flag) { static_cast<std::atomic<bool>*>(flag)->store(true); }, &stop);
    const engine::PackReport report = run(context, request, stop);
    if (report.stopped) {
      console.err << "stopped; nothing was left behind" << std::endl;
      return kInterruptedExit;
    }
    if (!quiet_)
      console.err << fmt::format("packed   {}, {}: panels of {} out of {}\n", report.topology,
                                 counted(report.num_ranks, "rank"), bytes_text(report.packed_bytes),
                                 bytes_text(report.model_bytes));
    console.out << report.folder << std::endl;
    return 0;
  }

 private:
  engine::PackReport run(const Context& context, const engine::PackRequest& request,
                         const std::atomic<bool>& stop) const {
    std::ostream says(quiet_ ? nullptr : context.console.err.rdbuf());
    std::optional<Progress> progress;  // begins when the engine knows how much there is
    int64_t seen = 0;
    const engine::PackReport report =
        context.engine.pack(request, [&](int64_t done, int64_t total) {
          if (!progress)
            progress.emplace(says, Progress::Options{"packing", total, Progress::Unit::kBytes,
                                                     context.console.err_is_terminal});
          progress->add(done - seen);
          seen = done;
          return !stop.load();
        });
    if (progress && !report.stopped) progress->finish();
    return report;
  }

  OptionSet options_{"pack", "write the panels of each rank, for a quick start"};
  ModelOptions model_;
  std::string folder_;
  bool force_ = false, quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_pack_command() { return std::make_unique<PackCommand>(); }

}  // namespace weft::cli
