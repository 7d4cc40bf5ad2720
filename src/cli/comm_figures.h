// Every contender over every size, in turn: the figures of `weft bench comm`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/comm_bench.h"
#include "cli/comm_contenders.h"

namespace weft::cli {

// Of one verb, or of a message between two ranks; seconds [sizes].
struct Series {
  std::string transport, algorithm;
  std::vector<double> seconds;
};
struct VerbSeries : Series {
  Collective verb = Collective::kAllReduce;
};
struct PairSeries : Series {
  int first = 0, second = 1;
};

struct CommFigures {
  int num_ranks = 0;
  std::vector<int64_t> sizes;    // bytes
  std::vector<double> copies;    // seconds [sizes]: each rank copies so many bytes of its own
  std::vector<Series> barriers;  // one figure each
  std::vector<PairSeries> pairs;
  std::vector<VerbSeries> verbs;
};

// From what is measured by one turn after another, medians. on_figure is called after each.
// Collective over the processes of the contenders, of which the first is measured for copies.
struct CommPlan {
  std::vector<int64_t> sizes;
  CommPatience patience;  // num_runs: turns
  std::function<void()> on_figure;
};
CommFigures measure_comm(const std::vector<Contender>& contenders, int num_ranks,
                         const CommPlan& plan);
int64_t num_figures(const std::vector<Contender>& contenders, int num_ranks, size_t num_sizes);

// Bytes from which two shots are the faster all_reduce of a transport at every size measured;
// nothing where they are at none, or where it was not measured in both ways.
std::optional<int64_t> two_shots_from(const CommFigures& figures, const std::string& transport);

}  // namespace weft::cli
