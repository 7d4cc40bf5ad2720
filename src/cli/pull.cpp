// weft pull NAME...: fetches models of the catalogue, or of a hub, into their cache folders.
#include <atomic>
#include <ostream>

#include "cli/fetch.h"
#include "cli/interrupt.h"
#include "cli/named_model.h"

namespace weft::cli {
namespace {

class PullCommand : public Command {
 public:
  PullCommand() {
    std::string known;
    for (const CatalogueEntry& entry : catalogue()) {
      known += (known.empty() ? "" : ", ") + entry.name;
    }
    options_.positional("NAME", &names_,
                        "user/repo[@revision][:quant] of a hub, or one of: " + known);
    options_.group("Fetching");
    options_.add("--python", &python_, {"PROGRAM", "the Python whose pip fetches"});
    options_.add("--quiet,-q", &quiet_, {"", "say nothing but errors"});
    options_.environment_only("HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE",
                              "the hub, and where its models are kept, as for huggingface_hub");
    options_.environment_only("XDG_CACHE_HOME",
                              "models are kept in weft/models below it (otherwise ~/.cache)");
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    // All names first: a mistyped one must not be told after minutes of fetching.
    for (const std::string& name : names_) {
      if (!is_hub_name(name)) require_entry(name);
    }
    for (const std::string& name : names_) {
      try {
        const std::string path = is_hub_name(name) ? pull_hub_model(name, context, quiet_)
                                                   : fetch_from_index(name, context);
        context.console.out << path << std::endl;
      } catch (const FetchStopped&) {
        context.console.err << "stopped; what was fetched whole is kept for the next time"
                            << std::endl;
        return kInterruptedExit;
      }
    }
    return 0;
  }

 private:
  std::string fetch_from_index(const std::string& name, const Context& context) const {
    const FetchOptions options{fetched_folder(context.environment), python_, quiet_};
    std::atomic<bool> stop{false};
    const InterruptAction interrupt(
        [](void* flag) { static_cast<std::atomic<bool>*>(flag)->store(true); }, &stop);
    return fetch_model(require_entry(name), options, context.console, stop).string();
  }

  OptionSet options_{"pull", "fetch a model into the cache folder"};
  std::vector<std::string> names_;
  std::string python_ = "python3";
  bool quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_pull_command() { return std::make_unique<PullCommand>(); }

}  // namespace weft::cli
