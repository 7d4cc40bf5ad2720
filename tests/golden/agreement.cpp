#include "golden/agreement.h"

#include <algorithm>
#include <cctype>
#include <cmath>

namespace weft::golden {
namespace {

constexpr double kAbsentLogprob = -20.0;
// Below this, what is left for the bucket of all other ids is rounding of the stored values.
constexpr double kSmallestRest = 1e-6;

const engine::TokenLogprob* find(const LogprobList& list, int32_t id) {
  const auto it = std::find_if(list.begin(), list.end(), [&](const auto& e) { return e.id == id; });
  return it == list.end() ? nullptr : &*it;
}

}  // namespace

void Agreement::add(const Agreement& other) {
  num_positions += other.num_positions;
  num_agreed += other.num_agreed;
  kl_sum += other.kl_sum;
  num_absent += other.num_absent;
}

double Perplexity::ours() const { return std::exp(-logprob_sum / static_cast<double>(num_tokens)); }
double Perplexity::reference() const {
  return std::exp(-reference_sum / static_cast<double>(num_tokens));
}
double Perplexity::excess() const { return ours() / reference() - 1.0; }

double kl_of(const int32_t* ids, const float* logprobs, int64_t k, const LogprobList& ours,
             int64_t* num_absent) {
  double kl = 0, p_sum = 0, q_sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    const engine::TokenLogprob* entry = find(ours, ids[i]);
    if (entry == nullptr) ++*num_absent;
    const double log_p = logprobs[i];
    const double log_q = entry == nullptr ? kAbsentLogprob : static_cast<double>(entry->logprob);
    kl += std::exp(log_p) * (log_p - log_q);
    p_sum += std::exp(log_p);
    q_sum += std::exp(log_q);
  }
  const double p_rest = std::max(1.0 - p_sum, kSmallestRest);
  const double q_rest = std::max(1.0 - q_sum, kSmallestRest);
  return kl + p_rest * std::log(p_rest / q_rest);
}

std::vector<LogprobList> score(engine::Engine& engine, const std::vector<int32_t>& ids, int depth) {
  engine::Request request;
  request.prompt_ids = ids;
  request.sampling.max_tokens = 1;
  request.sampling.temperature = 0.0f;
  request.sampling.ignore_eos = true;
  request.sampling.prompt_logprobs = depth;
  std::vector<LogprobList> lists = engine.generate(request).prompt_logprobs;
  lists.erase(lists.begin());  // no position predicts the first id
  return lists;
}

Agreement compare_lists(const TopCase& c, const std::vector<LogprobList>& ours) {
  Agreement agreement;
  for (int64_t p = 0; p < c.num_positions; ++p) {
    const LogprobList& list = ours[static_cast<size_t>(p)];
    const int32_t* ids = &c.top_ids[static_cast<size_t>(p * c.k)];
    ++agreement.num_positions;
    agreement.num_agreed += list.front().id == ids[0] ? 1 : 0;
    agreement.kl_sum +=
        kl_of(ids, &c.top_logprobs[static_cast<size_t>(p * c.k)], c.k, list, &agreement.num_absent);
  }
  return agreement;
}

void add_perplexity(const TopCase& c, const std::vector<LogprobList>& ours, Perplexity& sum) {
  for (size_t p = 0; p + 1 < c.ids.size(); ++p) {
    const engine::TokenLogprob* next = find(ours[p], c.ids[p + 1]);
    sum.logprob_sum += next == nullptr ? kAbsentLogprob : static_cast<double>(next->logprob);
    sum.reference_sum += c.next_logprobs[p];
    ++sum.num_tokens;
  }
}

std::string as_test_name(std::string name) {
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

}  // namespace weft::golden
