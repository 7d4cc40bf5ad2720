#include "cli/comm_figures.h"

#include <algorithm>

namespace weft::cli {
namespace {

constexpr Collective kVerbs[] = {Collective::kAllReduce, Collective::kReduceScatter,
                                 Collective::kAllGather};

using Chosen = std::vector<const Contender*>;

template <typename Predicate>
Chosen choose(const std::vector<Contender>& contenders, const Predicate& predicate) {
  Chosen chosen;
  for (const Contender& contender : contenders)
    if (predicate(contender)) chosen.push_back(&contender);
  return chosen;
}

Chosen for_verb(const std::vector<Contender>& contenders, Collective verb) {
  return choose(contenders, [&](const Contender& contender) {
    return contender.is_default || verb == Collective::kAllReduce;
  });
}
Chosen for_barriers(const std::vector<Contender>& contenders) {
  return choose(contenders, [](const Contender& contender) { return contender.is_default; });
}
Chosen for_messages(const std::vector<Contender>& contenders) {
  return choose(contenders, [](const Contender& contender) { return contender.has_messages; });
}

// One run of each, then again: what else the machine does meanwhile meets all alike.
std::vector<double> in_turn(
    const Chosen& contenders, const CommPlan& plan,
    const std::function<double(comm::Communicator&, const CommPatience&)>& body) {
  const CommPatience once{.num_runs = 1, .run_ns = plan.patience.run_ns};
  std::vector<std::vector<double>> runs(contenders.size());
  for (int turn = 0; turn < plan.patience.num_runs; ++turn)
    for (size_t i = 0; i < contenders.size(); ++i)
      runs[i].push_back(
          contenders[i]->run([&](comm::Communicator& member) { return body(member, once); }));
  std::vector<double> medians;
  for (std::vector<double>& values : runs) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    medians.push_back(*middle);
    plan.on_figure();
  }
  return medians;
}

// Fills a series for each contender, size by size.
template <typename AnySeries, typename Body>
void measure_series(const Chosen& contenders, const CommPlan& plan, const AnySeries& kind,
                    std::vector<AnySeries>* all, const Body& body) {
  const size_t first = all->size();
  for (const Contender* contender : contenders) {
    AnySeries& series = all->emplace_back(kind);
    series.transport = contender->transport;
    series.algorithm = contender->algorithm;
  }
  for (const int64_t size : plan.sizes) {
    const std::vector<double> medians =
        in_turn(contenders, plan, [&](comm::Communicator& member, const CommPatience& patience) {
          return body(member, size, patience);
        });
    for (size_t i = 0; i < medians.size(); ++i) (*all)[first + i].seconds.push_back(medians[i]);
  }
}

}  // namespace

int64_t num_figures(const std::vector<Contender>& contenders, int num_ranks, size_t num_sizes) {
  const int64_t pairs = int64_t{num_ranks} * (num_ranks - 1) / 2;
  int64_t by_size = 1 + pairs * std::ssize(for_messages(contenders));
  for (const Collective verb : kVerbs) by_size += std::ssize(for_verb(contenders, verb));
  return std::ssize(for_barriers(contenders)) + by_size * static_cast<int64_t>(num_sizes);
}

CommFigures measure_comm(const std::vector<Contender>& contenders, int num_ranks,
                         const CommPlan& plan) {
  CommFigures figures{num_ranks, plan.sizes, {}, {}, {}, {}};
  CommPlan barriers = plan;
  barriers.sizes = {0};
  measure_series(for_barriers(contenders), barriers, Series{}, &figures.barriers,
                 [](comm::Communicator& member, int64_t, const CommPatience& patience) {
                   return barrier_seconds(member, patience);
                 });
  for (int first = 0; first < num_ranks; ++first)
    for (int second = first + 1; second < num_ranks; ++second)
      measure_series(for_messages(contenders), plan, PairSeries{{}, first, second}, &figures.pairs,
                     [=](comm::Communicator& member, int64_t size, const CommPatience& patience) {
                       return message_seconds(member, first, second, size, patience);
                     });
  std::vector<Series> copies;
  measure_series({&contenders.front()}, plan, Series{}, &copies,
                 [](comm::Communicator& member, int64_t size, const CommPatience& patience) {
                   return copy_seconds(member, size, patience);
                 });
  figures.copies = copies.front().seconds;
  for (const Collective verb : kVerbs)
    measure_series(for_verb(contenders, verb), plan, VerbSeries{{}, verb}, &figures.verbs,
                   [=](comm::Communicator& member, int64_t size, const CommPatience& patience) {
                     return collective_seconds(member, verb, size, patience);
                   });
  return figures;
}

std::optional<int64_t> two_shots_from(const CommFigures& figures, const std::string& transport) {
  const auto find = [&](std::string_view algorithm) -> const VerbSeries* {
    for (const VerbSeries& series : figures.verbs)
      if (series.transport == transport && series.algorithm == algorithm) return &series;
    return nullptr;
  };
  const VerbSeries *one = find("one shot"), *two = find("two shots");
  if (one == nullptr || two == nullptr) return {};
  size_t from = figures.sizes.size();
  while (from > 0 && two->seconds[from - 1] < one->seconds[from - 1]) --from;
  if (from == figures.sizes.size()) return {};
  return figures.sizes[from];
}

}  // namespace weft::cli
