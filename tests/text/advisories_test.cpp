// What broke elsewhere, tried on templates, grammars and answers: docs/advisories.md says which
// advisory each test stands for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/byte_tokenizer.h"
#include "text/grammar.h"
#include "text/text.h"
#include "text/tool_calls.h"

namespace weft::text {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string outcome_of(const std::string& source) {
  try {
    return ChatTemplate::compile(source, "<s>", "</s>")
        ->render_json(R"([{"role":"user","content":"x"}])", false, {});
  } catch (const Error& error) {
    return "refused: " + error.summary() + error.why();
  }
}

// What templates of hostile model files held, and what Jinja's sandbox let through.
TEST(Advisories, TemplatesReachNothingOutside) {
  setenv("WEFT_SECRET", "never-told", 1);
  for (const char* source :
       {"{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__.__base__.__subclasses__()[104].__init__.__globals__['sys'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__.__globals__.__builtins__ }}",
        "{{ lipsum.__globals__['os'].environ }}",
        "{{ joiner.__init__.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ get_flashed_messages.__globals__ }}",
        "{{ config.items() }}",
        "{{ request.environ }}",
        "{{ messages|attr('__class__') }}",
        "{{ messages.__class__ }}",
        "{{ 'x'.format.__globals__ }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as p %}{{ p }}",
        "{% extends '/etc/passwd' %}",
        "{% from 'os' import environ %}{{ environ }}",
        "{{ open('/etc/passwd').read() }}",
        "{{ get_env('WEFT_SECRET') }}",
        "{{ env.WEFT_SECRET }}",
        "{{ environ }}",
        "{{ debug() }}",
        "{{ strftime_now('%n' * 2000) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ eval('1') }}",
        "{{ exec('1') }}"}) {
    const std::string outcome = outcome_of(source);
    EXPECT_THAT(outcome, Not(HasSubstr("root:"))) << source;
    EXPECT_THAT(outcome, Not(HasSubstr("never-told"))) << source;
    EXPECT_THAT(outcome, Not(HasSubstr("<class"))) << source;
    EXPECT_THAT(outcome, Not(HasSubstr("uid="))) << source;
  }
  EXPECT_THAT(outcome_of("{{ open('/etc/passwd') }}"), HasSubstr("refused"));
  EXPECT_THAT(outcome_of("{% include '/etc/passwd' %}"), HasSubstr("refused"));
}

// A folder that stands for everything that a process may write to by default.
class OwnFolder {
 public:
  OwnFolder() : path_(fs::temp_directory_path() / "weft-advisories-XXXXXX") {
    std::string name = path_.string();
    path_ = mkdtemp(name.data());
    for (const char* variable : kVariables) {
      const char* const value = getenv(variable);
      values_.push_back(value == nullptr ? std::nullopt : std::optional<std::string>(value));
      setenv(variable, path_.c_str(), 1);
    }
    before_ = fs::current_path();
    fs::current_path(path_);
  }
  ~OwnFolder() {
    fs::current_path(before_);
    fs::remove_all(path_);
    for (size_t i = 0; i < std::size(kVariables); ++i)
      values_[i] ? setenv(kVariables[i], values_[i]->c_str(), 1) : unsetenv(kVariables[i]);
  }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;

  std::vector<std::string> files() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(path_))
      found.push_back(entry.path().string());
    return found;
  }

 private:
  static constexpr const char* kVariables[] = {"HOME", "TMPDIR", "XDG_CACHE_HOME"};
  std::vector<std::optional<std::string>> values_;
  fs::path path_, before_;
};

TEST(Advisories, GrammarsLeaveNothingOnDisk) {
  const OwnFolder folder;
  const auto compiler =
      GrammarCompiler::make(ByteTokenizer(), 288, std::vector<int32_t>{ByteTokenizer::kEnd});
  for (int i = 0; i < 50; ++i) {
    const std::string number = std::to_string(i);
    compiler->compile({GrammarSpec::Kind::kRegex, "a{" + number + "}b"});
    compiler->compile({GrammarSpec::Kind::kJsonSchema, R"({"const":)" + number + "}"});
  }
  EXPECT_THAT(folder.files(), IsEmpty());
}

// Expressions where a literal should be: no format evaluates anything, and what is no literal is
// no call.
TEST(Advisories, ArgumentsOfToolsAreNeverRun) {
  const OwnFolder folder;
  for (const char* argument :
       {"__import__('os').system('touch ran')", "open('ran','w')", "1+1", "[x for x in range(3)]",
        "(lambda: 1)()", "a.b", "f'{1}'", "exec('1')", "{**{}}", "1 if 1 else 2"}) {
    const ToolAnswer answer =
        parse_tool_calls(ToolFormat::kPythonic, "[f(a=" + std::string(argument) + ")]", {"f"});
    EXPECT_THAT(answer.calls, IsEmpty()) << argument;
    EXPECT_THAT(answer.content, HasSubstr(argument));
  }
  EXPECT_EQ(parse_tool_calls(ToolFormat::kPythonic, "[f(a='b')]", {"f"}).calls.size(), 1u);
  EXPECT_THAT(folder.files(), IsEmpty());
}

}  // namespace
}  // namespace weft::text
