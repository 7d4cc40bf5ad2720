#include "cli/workload.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/random.h"

namespace weft::cli {
namespace {

// Streams of the counter-based numbers.
constexpr uint64_t kInputStream = 1, kOutputStream = 2, kAnswerStream = 3;
// Logits of some tens shrink to tenths: the likeliest token is hardly likelier than the others.
constexpr float kFlatTemperature = 100.0f;

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

// The mean of min(X, cap) for log X normal of mean log(median).
double capped_mean(double median, double sigma, double cap) {
  const double mean = median * std::exp(0.5 * sigma * sigma);
  const double z = std::log(cap / median) / sigma;
  return mean * normal_cdf(z - sigma) + cap * normal_cdf(-z);
}

// In (0, 1].
double uniform(uint64_t bits) { return (static_cast<double>(bits >> 11) + 1.0) * 0x1p-53; }

// Of Box and Muller.
double normal(uint64_t seed, uint64_t stream, uint64_t index) {
  const double radius = std::sqrt(-2.0 * std::log(uniform(uniform_bits(seed, stream, 2 * index))));
  const double angle = 2.0 * std::numbers::pi * uniform(uniform_bits(seed, stream, 2 * index + 1));
  return radius * std::cos(angle);
}

}  // namespace

std::vector<Lengths> fixed_lengths(int64_t count, Lengths each) {
  return std::vector<Lengths>(static_cast<size_t>(count), each);
}

double median_of(const LengthMix& mix) {
  const auto cap = static_cast<double>(mix.cap);
  double low = 0.0, high = cap;  // the capped mean grows with the median
  for (int step = 0; step < 100; ++step) {
    const double middle = 0.5 * (low + high);
    (capped_mean(middle, mix.sigma, cap) < mix.mean ? low : high) = middle;
  }
  return high;
}

int64_t draw_length(const LengthMix& mix, uint64_t seed, uint64_t stream, uint64_t index) {
  const double length = median_of(mix) * std::exp(mix.sigma * normal(seed, stream, index));
  return static_cast<int64_t>(std::clamp(std::round(length), 1.0, static_cast<double>(mix.cap)));
}

std::vector<Lengths> chat_lengths(int64_t count, uint64_t seed) {
  std::vector<Lengths> lengths;
  for (uint64_t i = 0; i < static_cast<uint64_t>(count); ++i)
    lengths.push_back({draw_length(kChatPrompts, seed, kInputStream, i),
                       draw_length(kChatAnswers, seed, kOutputStream, i)});
  return lengths;
}

std::vector<int32_t> random_ids(int64_t count, uint64_t seed, uint64_t stream, int64_t vocab_size) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] =
        static_cast<int32_t>(uniform_bits(seed, stream, i) % static_cast<uint64_t>(vocab_size));
  return ids;
}

std::vector<int32_t> repeated_ids(int64_t count, uint64_t seed, uint64_t stream,
                                  int64_t vocab_size) {
  std::vector<int32_t> ids = random_ids(std::min(count, kPhraseTokens), seed, stream, vocab_size);
  ids.reserve(static_cast<size_t>(count));
  while (static_cast<int64_t>(ids.size()) < count) ids.push_back(ids[ids.size() - kPhraseTokens]);
  return ids;
}

engine::Request bench_request(std::vector<int32_t> prompt_ids, int64_t output_len, uint64_t salt) {
  engine::Request request;
  request.prompt_ids = std::move(prompt_ids);
  request.sampling.temperature = 0.0f;
  request.sampling.seed = 0;
  request.sampling.max_tokens = output_len;
  request.sampling.ignore_eos = true;
  request.cache_salt = salt;
  return request;
}

engine::Request random_request(std::vector<int32_t> prompt_ids, int64_t output_len, uint64_t salt,
                               uint64_t seed) {
  engine::Request request = bench_request(std::move(prompt_ids), output_len, salt);
  request.sampling.temperature = kFlatTemperature;
  request.sampling.seed = seed;
  return request;
}

engine::Request request_of(const std::string& text, const Lengths& lengths, uint64_t seed,
                           uint64_t number, int64_t vocab_size, uint64_t salt) {
  if (text == "repetitive")
    return bench_request(repeated_ids(lengths.input, seed, number, vocab_size), lengths.output,
                         salt);
  std::vector<int32_t> ids = random_ids(lengths.input, seed, number, vocab_size);
  if (text != "random") return bench_request(std::move(ids), lengths.output, salt);
  return random_request(std::move(ids), lengths.output, salt,
                        uniform_bits(seed, kAnswerStream, number));
}

}  // namespace weft::cli
