#include "fleet/engine_client.h"

#include <gtest/gtest.h>

namespace weft::fleet {
namespace {

engine::RequestLimits limits() {
  return {.vocab_size = 100, .max_model_len = 32, .context_length = 32};
}

TEST(CheckGenerate, HoldsEveryNumberOfAMessageToTheEnginesLimits) {
  Generate request;
  request.prompt_ids = {1, 2, 3};
  EXPECT_NO_THROW(check_generate(request, limits()));
  request.prompt_ids = {1, 100};
  EXPECT_THROW(check_generate(request, limits()), Error);
  request.prompt_ids.assign(33, 1);
  EXPECT_THROW(check_generate(request, limits()), Error);
  request.prompt_ids = {1};
  request.sampling.bad_words = {{-1}};
  EXPECT_THROW(check_generate(request, limits()), Error);
}

}  // namespace
}  // namespace weft::fleet
