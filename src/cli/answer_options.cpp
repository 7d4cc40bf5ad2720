#include "cli/answer_options.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "text/text.h"

namespace weft::cli {
namespace {

constexpr int64_t kMostTemplateBytes = 1 << 20;

// Before the model is loaded, which may take long. The tokens that it begins and ends with come
// from the model, and whether a template is one does not depend on them.
void check_template(const std::string& path, const std::string& source) {
  try {
    text::ChatTemplate::compile(source, "", "");
  } catch (const Error& error) {
    throw Error(ErrorKind::kUsage, fmt::format("--chat-template {} is no template", path),
                error.why().empty() ? error.summary() : error.why());
  }
}

}  // namespace

void AnswerOptions::declare(OptionSet* options) {
  options->add("--chat-template", &chat_template_file,
               {.unit = "FILE",
                .help = "Jinja template of conversations, in place of the model's",
                .may_be_empty = false});
  options->add("--tool-call-parser", &tool_parser,
               {.unit = "NAME",
                .help = "how the model writes calls of tools",
                .unset = "what its chat template shows",
                .choices = text::tool_format_names(),
                .may_be_empty = false});
  options->add("--reasoning-parser", &reasoning_parser,
               {.unit = "NAME",
                .help = "how the model marks what it thinks before it answers",
                .unset = "by its vocabulary",
                .choices = text::reasoning_format_names(),
                .may_be_empty = false});
}

serve::ParserNames AnswerOptions::parsers() const {
  return {text::find_tool_format(tool_parser), text::find_reasoning_format(reasoning_parser)};
}

std::string AnswerOptions::chat_template() const {
  if (chat_template_file.empty()) return {};
  std::ifstream file(chat_template_file, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || text.view().empty())
    throw Error(ErrorKind::kUsage,
                fmt::format("--chat-template {} cannot be read", chat_template_file),
                file ? "it is empty" : std::strerror(errno));
  if (static_cast<int64_t>(text.view().size()) > kMostTemplateBytes)
    throw Error(ErrorKind::kUsage,
                fmt::format("--chat-template {} has more than 1 MiB", chat_template_file));
  std::string source = std::move(text).str();
  check_template(chat_template_file, source);
  return source;
}

}  // namespace weft::cli
