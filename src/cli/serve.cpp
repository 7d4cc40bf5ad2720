// weft serve MODEL: an HTTP server of the OpenAI API, until Ctrl-C or SIGTERM.
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ostream>
#include <string_view>

#include "base/counted.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/foreground.h"
#include "cli/interrupt.h"
#include "cli/load_engine.h"
#include "cli/model_options.h"
#include "cli/named_model.h"
#include "cli/serve_options.h"
#include "cli/text_table.h"
#include "fleet/fingerprint.h"
#include "fleet/local_engine.h"
#include "parallel/rank_count.h"
#include "serve/cpu_shares.h"
#include "serve/gateway.h"
#include "serve/limits_table.h"

namespace weft::cli {
namespace {

// How often the engine is looked after.
constexpr int kWatchMs = 200;
// What the page's timeline shows at most; 1 MB a rank.
constexpr int64_t kKeptEvents = 50'000, kKeptSteps = 5'000;
constexpr int kCutExit = 1;

// Wakes who waits for it from a signal handler.
class Bell {
 public:
  Bell() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) throw Error(ErrorKind::kMemory, "no event descriptor is left");
  }
  ~Bell() { close(fd_); }
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;

  static void ring(void* bell) {
    const uint64_t one = 1;
    // It is full only where it has rung already.
    if (write(static_cast<Bell*>(bell)->fd_, &one, sizeof one) < 0) return;
  }
  bool wait(int milliseconds) {
    pollfd ready{fd_, POLLIN, 0};
    return poll(&ready, 1, milliseconds) > 0;
  }

 private:
  int fd_;
};

// Every connection is a descriptor; the usual limit of 1,024 is meant for other programs.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// Whoever reads the log may leave or stand still: that is no reason to end an answer.
class ServersLog {
 public:
  ServersLog(std::string_view level, LogForm form) {
    signal(SIGPIPE, SIG_IGN);
    start_log(level, form);
  }
  ~ServersLog() { finish_log(kPatience); }
  ServersLog(const ServersLog&) = delete;
  ServersLog& operator=(const ServersLog&) = delete;

 private:
  static constexpr std::chrono::milliseconds kPatience{1000};  // with who reads the last lines
};

std::string beyond(const serve::Limit& limit) {
  if (limit.status == serve::kNoStart) return "the server does not start";
  if (limit.status == serve::kEndsConnection) return "the connection ends";
  return std::to_string(limit.status);
}

class ServeCommand : public Command {
 public:
  ServeCommand() {
    model_.engine.num_kept_events = kKeptEvents;
    model_.engine.num_kept_steps = kKeptSteps;
    model_.declare(&options_);
    model_.declare_scheduling(&options_);
    serve_.declare(&options_);
  }

  OptionSet& options() override { return options_; }

  int execute(const Context& context) override {
    if (serve_.show_limits) return print_limits(context.console);
    const ServersLog log(serve_.log_level, serve_.log_json ? LogForm::kJson : LogForm::kText);
    raise_descriptor_limit();
    serve::Gateway gateway(serve_.resolve());  // a port that is taken is known before the load
    const engine::EngineOptions engine_options = model_.resolve(context, serve_.quiet);
    const serve::CpuShares cpus = share_cpus(engine_options);
    const std::shared_ptr<fleet::EngineClient> engine = [&] {
      const serve::BoundTo ranks(cpus.ranks);
      return load(context, engine_options);
    }();
    Bell bell;
    const InterruptAction interrupt(&Bell::ring, &bell);  // until here a signal ends the program
    const OwnForeground foreground(STDIN_FILENO);
    {
      const serve::BoundTo network(cpus.network);
      gateway.start(engine);
    }
    announce(gateway, *engine, context.console);
    return serve_until_asked(gateway, *engine, bell);
  }

 private:
  std::shared_ptr<fleet::EngineClient> load(const Context& context,
                                            const engine::EngineOptions& engine_options) const {
    fleet::LocalEngineOptions options;
    options.name = public_name(model_.model.empty() ? model_.hf_repo : model_.model);
    options.fingerprint = fleet::fingerprint(engine_options);
    options.engine = engine_options;
    // Two may be late before /ready says that no step is taken.
    options.probe_ns = serve_.step_limit_s * 1'000'000'000 / 3;
    return fleet::LocalEngine::start(std::move(options), [&](const engine::EngineOptions& wanted) {
      return load_engine(context, wanted, {}, serve_.quiet);
    });
  }

  static serve::CpuShares share_cpus(const engine::EngineOptions& options) {
    std::vector<int> named;
    for (const std::vector<int>& device : parse_devices(options.devices))
      named.insert(named.end(), device.begin(), device.end());
    return serve::share_cpus(usable_cpus(), named, parallel::num_ranks(options.topology),
                             options.threads_per_rank,
                             options.placement == engine::Placement::kPooled);
  }

  int print_limits(Console& console) const {
    const serve::GatewayOptions gateway = serve_.resolve();
    TextTable table({"<limit", "<value", "<of what", "<beyond it"});
    for (const serve::Limit& limit : serve::limits_table(gateway.http, gateway.queue))
      table.add_row({limit.name, limit.value, limit.what, beyond(limit)});
    for (const std::string& line : table.lines()) console.out << line << "\n";
    return 0;
  }

  void announce(const serve::Gateway& gateway, const fleet::EngineClient& engine,
                Console& console) const {
    if (!gateway.is_local() && !serve_.has_keys())
      log_warn(
          "whoever reaches {} may use this server: there are no keys (--api-key, --api-key-file), "
          "and it listens beyond this machine (--host {})",
          serve_.address(gateway.port()), serve_.host);
    if (!gateway.is_local() && serve_.has_keys() && serve_.tls_certificate_file.empty())
      log_warn("keys travel in the clear beyond this machine: --ssl-certfile speaks TLS");
    if (serve_.quiet) return;
    const std::string address = serve_.address(gateway.port());
    const std::string name =
        serve_.served_model_names.empty() ? engine.card().name : serve_.served_model_names.front();
    const bool is_socket = !serve_.unix_path.empty();
    const std::string& certificate = serve_.tls_certificate_file;
    const std::string curl = is_socket
                                 ? "curl --unix-socket " + serve_.unix_path + " http://localhost"
                             : certificate.empty() ? "curl " + address
                                                   : "curl --cacert " + certificate + " " + address;
    std::ostream& out = console.err;
    out << fmt::format("serving  {} at {}{}, process {}; Ctrl-C or SIGTERM ends it\n", name,
                       address, is_socket ? "" : "/v1", getpid());
    if (!is_socket) out << fmt::format("page     {}/\n", address);
    if (gateway.admin_port() > 0)
      out << fmt::format(
          "admin    http://127.0.0.1:{}/status, and POST /pause, /resume, /drain, "
          "/reset_prefix_cache\n",
          gateway.admin_port());
    if (!serve_.admin_unix_path.empty())
      out << fmt::format(
          "admin    curl --unix-socket {} http://localhost/status, and POST /pause, /resume, "
          "/drain, /reset_prefix_cache\n",
          serve_.admin_unix_path);
    out << fmt::format(
        "try      {}/v1/chat/completions -H 'Content-Type: application/json'{} -d "
        "'{{\"messages\":[{{\"role\":\"user\",\"content\":\"What is the capital of "
        "Japan?\"}}]}}'\n",
        curl, serve_.has_keys() ? " -H \"Authorization: Bearer $KEY\"" : "");
    out.flush();
  }

  int serve_until_asked(serve::Gateway& gateway, const fleet::EngineClient& engine,
                        Bell& bell) const {
    while (!bell.wait(kWatchMs) && !gateway.is_asked_to_drain()) {
      const fleet::Status status = engine.status();
      if (!status.alive) give_up(gateway, status);
    }
    log_info("draining: {} in hand, {} s at most; once more ends at once",
             counted(gateway.num_working(), "request"), serve_.drain_timeout_s);
    const serve::Drained drained = gateway.drain(static_cast<double>(serve_.drain_timeout_s));
    gateway.stop();
    return report(drained);
  }

  int report(const serve::Drained& drained) const {
    const auto [num_cut, num_left, num_slow] = drained;
    if (num_left > 0)
      log_info("{} left before the end of their answers", counted(num_left, "client"));
    if (num_slow > 0)
      log_warn("{} dropped: their clients did not read", counted(num_slow, "answer"));
    if (num_cut > 0) {
      log_warn("{} ended with an error after {} s (--drain-timeout)", counted(num_cut, "answer"),
               serve_.drain_timeout_s);
      return kCutExit;
    }
    log_info("drained: every {}answer was given whole", num_left + num_slow > 0 ? "other " : "");
    return 0;
  }

  // Whoever started this must see that it failed, and start it again.
  [[noreturn]] void give_up(serve::Gateway& gateway, const fleet::Status& status) const {
    constexpr double kSecondsForErrors = 2;  // that running requests are told
    gateway.drain(kSecondsForErrors);
    gateway.stop();
    if (status.failure) throw Error(*status.failure);
    throw Error(ErrorKind::kCommunication, "the engine is lost");
  }

  OptionSet options_{"serve", "answer requests of the OpenAI API over HTTP, and show a page"};
  ModelOptions model_;
  ServeOptions serve_;
};

}  // namespace

std::unique_ptr<Command> make_serve_command() { return std::make_unique<ServeCommand>(); }

}  // namespace weft::cli
