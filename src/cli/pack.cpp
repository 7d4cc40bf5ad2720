// weft pack MODEL: writes the panels of each rank of a split as files that a run maps as they are.
// weft pack FOLDER --verify: reads such files and compares their sums. (Here and not in `inspect`,
// which reads metadata only.)
#include <fmt/format.h>

#include <atomic>
#include <optional>
#include <ostream>

#include "base/counted.h"
#include "base/error.h"
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
    options_.add("--verify", &verify_,
                 {"", "write nothing: read the panels of the packed MODEL and compare their sums"});
    model_.declare_split(&options_);
    options_.group("Work");
    options_.add("--threads,-t", &model_.engine.threads_per_rank,
                 {"N", "threads that make or read panels", "all cores"}, 1, 1024);
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    std::atomic<bool> stop{false};
    const InterruptAction interrupt(
        [](void* flag) { static_cast<std::atomic<bool>*>(flag)->store(true); }, &stop);
    return verify_ ? verify(context, stop) : pack(context, stop);
  }

 private:
  int pack(const Context& context, const std::atomic<bool>& stop) const {
    Console& console = context.console;
    engine::PackRequest request;
    request.engine = model_.resolve(context, quiet_);
    request.folder = folder_;
    request.replace = force_;
    Bar bar(console, quiet_, "packing", stop);
    const engine::PackReport report = context.engine.pack(request, bar.on_bytes());
    if (report.stopped) {
      console.err << "stopped; nothing was left behind" << std::endl;
      return kInterruptedExit;
    }
    bar.finish();
    if (!quiet_)
      console.err << fmt::format("packed   {}, {}: panels of {} out of {}\n", report.topology,
                                 counted(report.num_ranks, "rank"), bytes_text(report.packed_bytes),
                                 bytes_text(report.model_bytes));
    console.out << report.folder << std::endl;
    return 0;
  }

  int verify(const Context& context, const std::atomic<bool>& stop) const {
    refuse_what_writes();
    Console& console = context.console;
    const engine::EngineOptions asked = model_.resolve(context, quiet_);
    Bar bar(console, quiet_, "verifying", stop);
    const engine::VerifyReport report =
        context.engine.verify(asked.model_path, asked.threads_per_rank, bar.on_bytes());
    if (report.stopped) {
      console.err << "stopped; not all panels were read" << std::endl;
      return kInterruptedExit;
    }
    bar.finish();
    if (!quiet_)
      console.err << fmt::format("verified {}: {} of panels are as they were packed\n",
                                 counted(report.num_ranks, "rank"), bytes_text(report.num_bytes));
    console.out << report.path << std::endl;
    return 0;
  }

  // Options that say how to write, where nothing is written.
  void refuse_what_writes() const {
    for (const char* option :
         {"--output", "--force", "--tensor-parallel-size", "--pipeline-parallel-size",
          "--pp-balance", "--tp-weights", "--stages"}) {
      if (options_.origin(option) == Origin::kFlag)
        throw Error(ErrorKind::kUsage, fmt::format("--verify and {} are both given", option),
                    "--verify writes nothing", "give one of the two");
    }
  }

  // Progress, which begins when the engine knows how much there is, and the wish to stop.
  class Bar {
   public:
    Bar(Console& console, bool quiet, std::string label, const std::atomic<bool>& stop)
        : says_(quiet ? nullptr : console.err.rdbuf()),
          is_terminal_(console.err_is_terminal),
          label_(std::move(label)),
          stop_(stop) {}

    engine::OnPack on_bytes() {
      return [this](int64_t done, int64_t total) {
        if (!progress_)
          progress_.emplace(says_,
                            Progress::Options{label_, total, Progress::Unit::kBytes, is_terminal_});
        progress_->add(done - seen_);
        seen_ = done;
        return !stop_.load();
      };
    }
    void finish() {
      if (progress_) progress_->finish();
    }

   private:
    std::ostream says_;
    bool is_terminal_;
    std::string label_;
    const std::atomic<bool>& stop_;
    std::optional<Progress> progress_;
    int64_t seen_ = 0;
  };

  OptionSet options_{"pack", "write the panels of each rank, for a quick start; verify them"};
  ModelOptions model_;
  std::string folder_;
  bool force_ = false, quiet_ = false, verify_ = false;
};

}  // namespace

std::unique_ptr<Command> make_pack_command() { return std::make_unique<PackCommand>(); }

}  // namespace weft::cli
