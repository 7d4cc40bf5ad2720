#include "serve/prompt_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "serve/answering_client.h"

namespace weft::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Lists of prompts against one engine that runs 4 answers, and 16 places.
class PromptFeedTest : public testing::Test {
 protected:
  struct List {
    List(const std::shared_ptr<OpenAiService>& service, Admission& admission, size_t count)
        : feed(service, std::make_shared<Admission::Ticket>(*admission.enter(1, &refusal))) {
      EXPECT_TRUE(feed.enter(1, &refusal));
      EXPECT_TRUE(feed.charge(std::vector<int64_t>(count, 10), &refusal, "prompt"));
      feed.start([this](size_t prompt) {
        asked.push_back(prompt);
        return 100 + prompt;
      });
    }
    Admission::Refusal refusal;
    std::vector<size_t> asked;
    PromptFeed feed;
  };
  std::unique_ptr<List> list_of(size_t count) {
    return std::make_unique<List>(service_, admission_, count);
  }

  std::shared_ptr<AnsweringClient> client_ = std::make_shared<AnsweringClient>();
  Admission admission_{{.max_answers = 16, .max_tokens = 1000}};
  std::shared_ptr<OpenAiService> service_ =
      std::make_shared<OpenAiService>(client_, &admission_, OpenAiOptions{});
};

TEST_F(PromptFeedTest, EachPlaceGoesToTheNextPrompt) {
  const auto list = list_of(6);
  EXPECT_THAT(list->asked, ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(admission_.num_answers(), 4);
  EXPECT_EQ(admission_.num_tokens(), 40);
  list->feed.answered(2);
  EXPECT_EQ(list->asked.back(), 4u);
  list->feed.answered(0);  // whose place is the request's own
  EXPECT_EQ(list->asked.back(), 5u);
  list->feed.answered(1);
  list->feed.answered(3);
  EXPECT_EQ(list->asked.size(), 6u);
  EXPECT_EQ(admission_.num_answers(), 2);
  list->feed.leave();
  EXPECT_EQ(admission_.num_answers(), 0);
  EXPECT_EQ(admission_.num_tokens(), 0);
}

TEST_F(PromptFeedTest, WhoHasMoreThanItsShareGivesItUp) {
  const auto one = list_of(100), two = list_of(100);
  EXPECT_EQ(one->asked.size(), 4u);
  EXPECT_EQ(two->asked.size(), 1u);
  one->feed.answered(3);  // its place is free, and not its own any more
  EXPECT_EQ(one->asked.size(), 4u);
  one->feed.answered(2);
  EXPECT_EQ(one->asked.size(), 4u);
  two->feed.answered(0);
  EXPECT_THAT(two->asked, ElementsAre(0, 1, 2));
  EXPECT_EQ(admission_.num_answers(), 4);
  one->feed.answered(1);  // of two places that are its own
  EXPECT_EQ(one->asked.size(), 5u);
  two->feed.leave();
  one->feed.answered(0);
  EXPECT_EQ(one->asked.size(), 8u);
}

// Everybody else has come in meanwhile: a list still goes on, one at a time.
TEST_F(PromptFeedTest, AListGoesOnWhereAllPlacesAreTaken) {
  Admission::Refusal refusal;
  const auto others = admission_.enter(15, &refusal);
  const auto list = list_of(3);
  EXPECT_THAT(list->asked, ElementsAre(0));
  list->feed.answered(0);
  list->feed.answered(1);
  EXPECT_THAT(list->asked, ElementsAre(0, 1, 2));
}

TEST_F(PromptFeedTest, NothingIsAskedForOnceItIsCancelled) {
  const auto list = list_of(9);
  list->feed.cancel();
  EXPECT_THAT(client_->cancelled(), ElementsAre(100, 101, 102, 103));
  list->feed.answered(0);
  EXPECT_EQ(list->asked.size(), 4u);
  EXPECT_TRUE(list->feed.is_cancelled());
  list->feed.cancel();
  EXPECT_EQ(client_->cancelled().size(), 4u);
}

}  // namespace
}  // namespace weft::serve
