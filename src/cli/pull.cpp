// weft pull NAME...: fetches models of the catalogue into the cache folder.
#include <atomic>
#include <ostream>

#include "cli/fetch.h"
#include "cli/interrupt.h"

namespace weft::cli {
namespace {

class PullCommand : public Command {
 public:
  PullCommand() {
    std::string known;
    for (const CatalogueEntry& entry : catalogue()) {
      known += (known.empty() ? "" : ", ") + entry.name;
    }
    options_.positional("NAME", &names_, "one or more of: " + known);
    options_.group("Fetching");
    options_.add("--python", &python_, {"PROGRAM", "the Python whose pip fetches"});
    options_.add("--quiet,-q", &quiet_, {"", "say nothing but errors"});
    options_.environment_only("XDG_CACHE_HOME",
                              "models are kept in weft/models below it (otherwise ~/.cache)");
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    // All names first: a mistyped one must not be told after minutes of fetching.
    for (const std::string& name : names_) require_entry(name);
    const FetchOptions options{cache_folder(context.environment), python_, quiet_};
    std::atomic<bool> stop{false};
    const InterruptAction interrupt(
        [](void* flag) { static_cast<std::atomic<bool>*>(flag)->store(true); }, &stop);
    try {
      for (const std::string& name : names_) {
        const auto path = fetch_model(require_entry(name), options, context.console, stop);
        context.console.out << path.string() << std::endl;
      }
    } catch (const FetchStopped&) {
      context.console.err << "stopped; what was fetched whole is kept for the next time"
                          << std::endl;
      return kInterruptedExit;
    }
    return 0;
  }

 private:
  OptionSet options_{"pull", "fetch a model into the cache folder"};
  std::vector<std::string> names_;
  std::string python_ = "python3";
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_pull_command() { return std::make_unique<PullCommand>(); }

}  // namespace weft::cli
