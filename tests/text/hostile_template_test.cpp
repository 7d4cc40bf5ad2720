// A chat template comes with the model file. Whatever it holds, the process must live on: each case
// here once ended it, or took all memory, or hours.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <future>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error.h"
#include "text/text.h"

namespace weft::text {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

constexpr size_t kMaxSourceBytes = 65536;
// A run is given 5 seconds; the rest is for slow machines.
constexpr std::chrono::seconds kTimeout{20};

std::string repeated(std::string_view text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

// "ok", or the error that compiling and rendering ends with; fails after kTimeout.
std::string outcome_of(const std::string& source) {
  const auto start = std::chrono::steady_clock::now();
  std::string outcome = "ok";
  try {
    ChatTemplate::compile(source, "", "")->render_json("[]", false, {});
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kModel);
    outcome = error.summary() + ": " + error.why();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, kTimeout) << source.substr(0, 80);
  return outcome;
}

// The most that this program has held since it was started. (The maximum of getrusage is that of
// the program before it in the same process, too.)
int64_t peak_memory_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) / 1024;
  return -1;
}

// Freed memory that AddressSanitizer keeps from being used again, by default.
#if defined(__SANITIZE_ADDRESS__)
constexpr int64_t kQuarantineMib = 256;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr int64_t kQuarantineMib = 256;
#else
constexpr int64_t kQuarantineMib = 0;
#endif
#else
constexpr int64_t kQuarantineMib = 0;
#endif

TEST(HostileTemplate, SourcesOverTheLimitAreRefusedWithBothSizes) {
  EXPECT_EQ(outcome_of(std::string(kMaxSourceBytes, 'x')), "ok");
  const std::string refused = outcome_of(std::string(kMaxSourceBytes + 1, 'x'));
  EXPECT_THAT(refused, HasSubstr("65537"));
  EXPECT_THAT(refused, HasSubstr("65536"));
}

// Chains of constants fold in one pass; each used to overflow the stack.
TEST(HostileTemplate, LongChainsCompile) {
  EXPECT_EQ(outcome_of("{{ 1" + repeated("+1", 32000) + " }}"), "ok");
  EXPECT_EQ(outcome_of("{{ " + repeated("not ", 16000) + "1 }}"), "ok");
  EXPECT_EQ(outcome_of("{{ " + repeated("-", 65000) + "1 }}"), "ok");
  EXPECT_EQ(outcome_of("{{ x" + repeated("|e", 32000) + " }}"), "ok");
  EXPECT_EQ(outcome_of("{% if x %}" + repeated("{% elif x %}", 5000) + "{% endif %}"), "ok");
  EXPECT_THAT(outcome_of("{{ x" + repeated(".a", 32000) + " }}"), HasSubstr("undefined"));
  EXPECT_THAT(outcome_of("{{ x" + repeated("()", 32000) + " }}"), HasSubstr("unknown"));
}

// The compiler is quadratic in a chain that it cannot fold.
TEST(HostileTemplate, SlowCompilationsAreCutOff) {
  EXPECT_THAT(outcome_of("{{ " + repeated("-", 65000) + "x }}"),
              AnyOf("ok", HasSubstr("takes too long")));
}

TEST(HostileTemplate, DeepNestingIsRefused) {
  for (const std::string_view open : {"(", "[", "{1:", "x[", "x("}) {
    const std::string nested = "{{ " + repeated(open, 65000 / open.size()) + " }}";
    EXPECT_THAT(outcome_of(nested), HasSubstr("recursion")) << open;
  }
  EXPECT_THAT(outcome_of(repeated("{% if 1 %}", 6000)), HasSubstr("recursion"));
  EXPECT_THAT(outcome_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
              HasSubstr("recursion"));
}

TEST(HostileTemplate, HugeRequestsAreErrors) {
  for (const std::string source :
       {"{{ 'x'|indent(99999999999999) }}", "{{ 'x'|indent(18446744073709551615) }}",
        "{{ '{:>99999999999999}'.format('a') }}", "{{ '%99999999999d'|format(1) }}",
        "{{ 'x' * 10**12 }}", "{{ 'x' * 100000000 }}", "{{ [1] * 10**12 }}",
        "{{ ([1] * 100000000)|list|length }}", "{{ range(10**12) }}", "{{ [1]|batch(10**12, 0) }}",
        "{{ [1]|slice(10**12)|list }}", "{{ 'x'|center(10**12) }}", "{{ 'x'.ljust(10**12) }}",
        "{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}"}) {
    EXPECT_NE(outcome_of(source), "ok") << source;
  }
}

// Strings that double without end, in a program that has done nothing else. Ends it, with 0 where
// each was stopped and the memory of all stayed in bounds.
[[noreturn]] void double_without_end() {
  const int64_t before = peak_memory_mib();
  bool is_well = before > 0;
  int64_t bound = kQuarantineMib;
  for (const std::string_view doubled :
       {"n.s ~ n.s", "n.s + n.s", "n.s|replace('x', 'xx')", "[n.s, n.s]|join"}) {
    const std::string outcome =
        outcome_of(fmt::format("{{% set n = namespace(s='x') %}}{{% for i in range(60) %}}"
                               "{{% set n.s = {} %}}{{% endfor %}}{{{{ n.s }}}}",
                               doubled));
    is_well = is_well && outcome.find("too much memory") != std::string::npos &&
              outcome.find("32 MiB") != std::string::npos;
    // A run that is given 32 MiB holds six times as much at most, and may be left with it
    // (src/text/rust/src/confinement.rs).
    bound += 6 * 32;
    std::cerr << doubled << ": " << outcome << "; " << peak_memory_mib() - before << " MiB of "
              << bound << '\n';
  }
  is_well = is_well && peak_memory_mib() - before < bound;
  _exit(is_well && !testing::Test::HasFailure() ? 0 : 1);
}

// In a process of its own, whose peak is that of these runs alone.
TEST(HostileTemplateDeathTest, DoublingIsCutOffByItsMemory) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(double_without_end(), testing::ExitedWithCode(0), "");
}

// Values may nest as deep as memory allows, and are dropped, compared and written by recursion.
TEST(HostileTemplate, DeepValuesAreDroppedAndCompared) {
  const std::string nest =
      "{% set n = namespace(s=[1]) %}{% for i in range(100000) %}"
      "{% set n.s = [n.s] %}{% endfor %}";
  EXPECT_THAT(outcome_of(nest), AnyOf("ok", HasSubstr("takes too long")));
  for (const std::string_view use : {"n.s == [n.s]", "n.s ~ 1", "n.s", "{n.s: 1}|length"}) {
    outcome_of(fmt::format("{}{{{{ {} }}}}", nest, use));
  }
}

TEST(HostileTemplate, EndlessRunsAreCutOff) {
  EXPECT_THAT(outcome_of("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
                         "{% endfor %}"),
              AnyOf(HasSubstr("fuel"), HasSubstr("too long")));
  // Steps that take a millisecond each: few enough for the fuel, too slow for the clock.
  EXPECT_THAT(outcome_of("{% set s = 'x' * 1000000 %}{% for i in range(100000) %}"
                         "{% set t = s|replace('xx', 'yz') %}{% endfor %}"),
              HasSubstr("takes too long: it was given 5 seconds"));
}

TEST(HostileTemplate, ReasonsAreShortened) {
  EXPECT_LT(outcome_of("{{ raise_exception('x' * 1000000) }}").size(), 3000u);
}

// The result, or what the error says.
std::string rendered(const ChatTemplate& chat, const std::string& messages) {
  try {
    return chat.render_json(messages, false, {});
  } catch (const Error& error) {
    return error.summary() + ": " + error.why();
  }
}

// One that asks for more than six times its bound cannot be taken back, and is lost: a template
// whose own steps do that is held to three of them.
TEST(HostileTemplate, WaitsAfterThreeRunsThatCannotEnd) {
  const auto chat =
      ChatTemplate::compile("{{ ('x' * messages[0]) ~ ('y' * messages[0]) }}", "", "");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(rendered(*chat, "[2]"), "xxyy");
    EXPECT_THAT(rendered(*chat, "[90000000]"), HasSubstr("too much memory"));
  }
  EXPECT_THAT(rendered(*chat, "[2]"), HasSubstr("try again later"));
  try {
    chat->render_json("[2]", false, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBusy);
  }
}

// One that asks for more than twice its bound runs on beside its caller, ends where its memory is
// looked at next, and gives all back: any number of them is no reason to refuse others for good.
TEST(HostileTemplate, RunsThatAskForTooMuchAtOnceEnd) {
  const auto chat = ChatTemplate::compile("{{ 'x' * messages[0] }}", "", "");
  for (int i = 0; i < 12 && !HasFailure(); ++i) {
    EXPECT_THAT(rendered(*chat, "[40000000]"), HasSubstr("it may hold"));
    for (int j = 0; j < 1000 && rendered(*chat, "[2]") != "xx"; ++j)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(rendered(*chat, "[2]"), "xx");
  }
}

// Nothing that a conversation holds can switch its template off for others.
TEST(HostileTemplate, RendersOnAfterConversationsThatTakeTooMuch) {
  const auto chat = ChatTemplate::compile("{{ messages|tojson(indent=64) }}", "", "");
  std::string deep = repeated("[", 100) + "0";
  deep += repeated(",0", 200'000) + repeated("]", 100);
  for (int i = 0; i < 6; ++i)
    EXPECT_THAT(rendered(*chat, deep), HasSubstr("too much memory for this conversation"));
  EXPECT_EQ(rendered(*chat, "[]"), "[]");
  const auto written =
      ChatTemplate::compile("{% for i in range(99999) %}{{ messages }}{% endfor %}", "", "");
  for (int i = 0; i < 6; ++i)
    EXPECT_THAT(rendered(*written, R"([")" + std::string(4096, 'x') + R"("])"),
                HasSubstr("too much memory"));
  EXPECT_THAT(rendered(*written, "[]"), HasSubstr("[][]"));
}

// The shapes of JSON that cost the most for their length.
TEST(HostileTemplate, ConversationsOfManySmallValuesRender) {
  const auto chat =
      ChatTemplate::compile("{{ messages|length }} {{ messages|tojson|length }}", "", "");
  for (const std::string item :
       {"0", "[]", "{}", "\"\"", "{\"\":0}", "[[[]]]", "{\"\":{\"\":{}}}"}) {
    const auto count_per_item = static_cast<size_t>(
        1 + std::ranges::count_if(item, [](char c) { return c == '[' || c == '{' || c == ':'; }));
    const size_t count = (size_t{255} << 10) / count_per_item;
    const std::string messages = "[" + item + repeated("," + item, count - 1) + "]";
    EXPECT_THAT(rendered(*chat, messages), testing::StartsWith(std::to_string(count) + " "))
        << item;
  }
  EXPECT_THAT(rendered(*chat, "[0" + repeated(",0", 256 << 10) + "]"), HasSubstr("values"));
}

// A run that was left behind ends where it writes something next, and is counted no longer.
TEST(HostileTemplate, RunsLeftBehindGiveTheirPlacesBack) {
  const auto chat = ChatTemplate::compile(
      "{% set s = 'x' * 1000000 %}{% for i in range(messages[0]) %}"
      "{% set t = s|replace('xx', 'yz') %}{{ '' }}{% endfor %}{{ messages[0] }}",
      "", "");
  std::vector<std::future<std::string>> renders;
  for (int i = 0; i < 3; ++i)
    renders.push_back(std::async(std::launch::async, [&] { return rendered(*chat, "[90000]"); }));
  for (auto& render : renders) EXPECT_THAT(render.get(), HasSubstr("too long"));
  for (int i = 0; i < 300 && rendered(*chat, "[1]") != "1"; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(rendered(*chat, "[1]"), "1");
}

// The bound grows with the conversation: a long one is no attack.
TEST(HostileTemplate, LongConversationsRender) {
  const auto chat = ChatTemplate::compile(
      "{% set n = namespace(s='') %}{% for m in messages %}{% set n.s = n.s ~ m.content %}"
      "{% endfor %}{{ n.s|trim }}",
      "", "");
  const std::vector<Message> messages(20, {"user", std::string(512 << 10, 'x')});
  EXPECT_EQ(chat->render(messages, false).size(), size_t{20} * (512 << 10));
}

// Other threads allocate and render as they like while runs are abandoned beside them.
TEST(HostileTemplate, HoldsUpNoOtherThread) {
  const auto chat = ChatTemplate::compile("{{ messages|length }}", "", "");
  std::vector<std::future<std::string>> renders;
  for (int i = 0; i < 4; ++i) {
    renders.push_back(std::async(std::launch::async, [&] {
      for (int j = 0; j < 50; ++j) chat->render_json("[1, 2]", false, {});
      return outcome_of("{{ 'x'|indent(99999999999999) }}");
    }));
  }
  for (auto& render : renders) EXPECT_THAT(render.get(), HasSubstr("too much memory"));
}

}  // namespace
}  // namespace weft::text
