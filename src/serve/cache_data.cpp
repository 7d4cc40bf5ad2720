#include "serve/cache_data.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "serve/aside.h"
#include "serve/error_object.h"

namespace weft::serve {
namespace {

using Json = nlohmann::ordered_json;

int64_t us(int64_t ns) { return ns / 1000; }

Json sum_json(const cache::PrefixSum& sum) {
  return {{"runs", sum.num_runs},
          {"blocks", sum.num_blocks},
          {"tokens", sum.num_tokens},
          {"used", sum.num_held_blocks}};
}

// Whose it is has been forgotten where there is no name.
bool is_of(const std::string& principal, std::string_view viewer) {
  return !principal.empty() && principal == viewer;
}

Json runs_json(const fleet::PrefixSnapshot& snapshot, std::string_view viewer) {
  Json rows = Json::array();
  for (size_t i = 0; i < snapshot.outline.runs.size(); ++i) {
    const cache::PrefixRun& run = snapshot.outline.runs[i];
    rows.push_back({{"block", run.block},
                    {"parent", run.parent},
                    {"blocks", run.num_blocks},
                    {"tokens", run.num_tokens},
                    {"sequences", run.num_sequences},
                    {"new", run.is_new},
                    {"idle_since_us", us(run.idle_since)},
                    {"mine", is_of(snapshot.run_principals[i], viewer)},
                    {"more", sum_json(run.not_told)}});
  }
  return rows;
}

Json owners_json(const fleet::PrefixSnapshot& snapshot, std::string_view viewer) {
  cache::PrefixSum mine, others, unknown = snapshot.outline.other_shares;
  for (size_t i = 0; i < snapshot.outline.shares.size(); ++i) {
    const std::string& principal = snapshot.share_principals[i];
    cache::PrefixSum& sum = principal.empty() ? unknown : principal == viewer ? mine : others;
    sum.add(snapshot.outline.shares[i].sum);
  }
  return {{"principal", viewer},
          {"mine", sum_json(mine)},
          {"others", sum_json(others)},
          {"unknown", sum_json(unknown)}};
}

void refuse_look(Exchange& exchange) {
  respond_error(exchange, {.status = 503, .message = "The cache cannot be looked at now."});
}

}  // namespace

std::string cache_json(const fleet::PrefixSnapshot& snapshot, int64_t block_size,
                       std::string_view viewer, int64_t now) {
  const cache::PrefixOutline& outline = snapshot.outline;
  const Json json = {{"now_us", us(now)},
                     {"made_us", us(snapshot.made_ns)},
                     {"enabled", outline.enabled},
                     {"block_size", block_size},
                     {"published", outline.num_published},
                     {"unpublished", outline.num_unpublished},
                     {"not_seen", outline.num_blocks_not_seen},
                     {"owners", owners_json(snapshot, viewer)},
                     {"runs", runs_json(snapshot, viewer)},
                     {"more", sum_json(outline.not_told)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Route cache_route(EngineOf engine, std::shared_ptr<TaskPool> pool) {
  return [engine = std::move(engine), pool = std::move(pool)](std::shared_ptr<Exchange> exchange) {
    const std::shared_ptr<fleet::EngineClient> client = engine_or_refuse(engine, *exchange);
    if (!client) return;
    // The client may keep what waits for it longer than the pool lives.
    const std::weak_ptr<TaskPool> weak_pool = pool;
    const int64_t block_size = client->card().block_size;
    try {
      client->prefixes([exchange, weak_pool,
                        block_size](std::shared_ptr<const fleet::PrefixSnapshot> snapshot) {
        const std::shared_ptr<TaskPool> threads = weak_pool.lock();
        if (!snapshot || !threads) return refuse_look(*exchange);
        aside(threads.get(), [snapshot, block_size](const std::shared_ptr<Exchange>& asked) {
          respond_page_json(
              *asked, cache_json(*snapshot, block_size, asked->request().principal.name, now_ns()));
        })(exchange);
      });
    } catch (const Error&) {
      refuse_look(*exchange);
    }
  };
}

}  // namespace weft::serve
