// What the offline benches ask of an engine: numbers of tokens, and prompts of random ids. All of
// it follows from a seed, so that two runs, or two engines, are asked the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace weft::cli {

// Tokens of one request.
struct Lengths {
  int64_t input = 0, output = 0;
};

std::vector<Lengths> fixed_lengths(int64_t count, Lengths each);

// A log-normal distribution of whole numbers from 1 to `cap`, of a mean that the cap is a part of:
// what is beyond it counts as the cap, and the median is set so that the mean is right.
struct LengthMix {
  double mean = 0, sigma = 1.0;
  int64_t cap = 1024;
};
// The median of the distribution before it is cut.
double median_of(const LengthMix& mix);
int64_t draw_length(const LengthMix& mix, uint64_t seed, uint64_t stream, uint64_t index);

// Lengths as public traces of chats have them: prompts of 220 and answers of 180 tokens in the
// mean, sigma 1.
inline constexpr LengthMix kChatPrompts{220.0}, kChatAnswers{180.0};
std::vector<Lengths> chat_lengths(int64_t count, uint64_t seed);

// Ids of [0, vocab_size).
std::vector<int32_t> random_ids(int64_t count, uint64_t seed, uint64_t stream, int64_t vocab_size);

// A phrase of kPhraseTokens of such ids, over and over.
inline constexpr int64_t kPhraseTokens = 16;
std::vector<int32_t> repeated_ids(int64_t count, uint64_t seed, uint64_t stream,
                                  int64_t vocab_size);

// Greedy, and to its full length: what is measured does not hang on what is said.
engine::Request bench_request(std::vector<int32_t> prompt_ids, int64_t output_len, uint64_t salt);
// The same, but every token is about as likely as any other: text that nobody guesses ahead, where
// greedy answers of small models repeat themselves before long.
engine::Request random_request(std::vector<int32_t> prompt_ids, int64_t output_len, uint64_t salt,
                               uint64_t seed);

// What a bench's requests of equal lengths say.
inline const std::vector<std::string> kWorkloadTexts = {"fixed", "repetitive", "random"};
// One of them, the number-th: random ids; a phrase over and over; or random ids answered by others.
engine::Request request_of(const std::string& text, const Lengths& lengths, uint64_t seed,
                           uint64_t number, int64_t vocab_size, uint64_t salt);

}  // namespace weft::cli
