// The corpora of the fuzz targets of grammars and templates, through the targets' own entry points:
// what is called valid compiles (and renders), what is called bad is refused.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "../../fuzz/grammar_target.h"
#include "../../fuzz/template_target.h"

namespace weft::text {
namespace {

namespace fs = std::filesystem;

// Calls run with each file's bytes; `holds` is what "valid-..." asks of the verdict.
template <typename Run, typename Holds>
int run_corpus(const std::string& target, Run run, Holds holds) {
  int num_files = 0;
  for (const auto& entry :
       fs::directory_iterator(fs::path(__FILE__).parent_path() / "../../fuzz/corpus" / target)) {
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    const std::string name = entry.path().filename().string();
    const bool is_good = holds(run(bytes.str()));
    if (!name.starts_with("found-")) {
      EXPECT_EQ(is_good, name.starts_with("valid-")) << target << "/" << name;
    }
    ++num_files;
  }
  return num_files;
}

TEST(Corpus, Grammars) {
  EXPECT_GE(run_corpus("fuzz_grammar", fuzz::run_grammar,
                       [](auto verdict) { return verdict == fuzz::GrammarVerdict::kAccepted; }),
            18);
}

TEST(Corpus, Templates) {
  EXPECT_GE(run_corpus("fuzz_template", fuzz::run_template,
                       [](auto verdict) { return verdict == fuzz::TemplateVerdict::kRendered; }),
            14);
}

}  // namespace
}  // namespace weft::text
