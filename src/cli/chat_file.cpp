#include "cli/chat_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/error.h"
#include "serve/json_source.h"
#include "serve/prompt_fields.h"

namespace weft::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uintmax_t kMostBytes = 16 << 20;  // as a server takes them

// Fields of a body that say how an answer travels, or whose it is.
constexpr std::array<std::string_view, 7> kOfTheWay = {
    "model", "messages", "stream", "stream_options", "user", "store", "metadata"};

[[noreturn]] void refuse_write(const fs::path& path, int error) {
  throw Error(ErrorKind::kUsage, fmt::format("cannot write {}", path.string()),
              std::generic_category().message(error));
}

[[noreturn]] void refuse_existing(const fs::path& path) {
  throw Error(ErrorKind::kUsage, fmt::format("{} exists", path.string()), "",
              fmt::format("/save --overwrite {} replaces it", path.string()));
}

std::string text_of(const ChatFile& chat) {
  Json object = Json::object();
  if (!chat.model.empty()) object["model"] = chat.model;
  object["messages"] = Json::array();
  for (const text::Message& message : chat.messages)
    object["messages"].push_back({{"role", message.role}, {"content", message.content}});
  for (const ChatParameters::Parameter& parameter : chat.parameters.all())
    object[parameter.name] = Json::parse(parameter.json);
  return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// A new file beside `path`, on disk when this returns.
void write_draft(const fs::path& draft, const fs::path& path, const std::string& text) {
  const int file = ::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) refuse_write(path, errno);
  int error = 0;
  for (size_t done = 0; done < text.size() && error == 0;) {
    const ssize_t count = ::write(file, text.data() + done, text.size() - done);
    if (count >= 0) {
      done += static_cast<size_t>(count);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error == 0 && ::fsync(file) != 0) error = errno;
  if (::close(file) != 0 && error == 0) error = errno;
  if (error == 0) return;
  ::unlink(draft.c_str());
  refuse_write(path, error);
}

// 0, or the error. Where the file system cannot rename without replacing, the look before it has to
// do.
int rename_to(const fs::path& draft, const fs::path& path, bool overwrite) {
  if (overwrite) return ::rename(draft.c_str(), path.c_str()) == 0 ? 0 : errno;
  if (::renameat2(AT_FDCWD, draft.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(path, ignored))) return EEXIST;
  return ::rename(draft.c_str(), path.c_str()) == 0 ? 0 : errno;
}

std::string read_whole(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (!error && size > kMostBytes)
    throw Error(ErrorKind::kUsage, fmt::format("{} has {} bytes", path.string(), size),
                fmt::format("a conversation has {} at most", kMostBytes));
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  if (!file)
    throw Error(ErrorKind::kUsage, fmt::format("cannot read {}", path.string()),
                error ? error.message() : "");
  return text;
}

std::vector<text::Message> messages_of(const serve::Fields& fields) {
  serve::RequestBody body;
  serve::read_messages(fields, kChatLimits, &body);
  std::vector<text::Message> messages;
  const Json read = Json::parse(body.messages);
  for (const Json& message : read) {
    if (message.contains("tool_calls") || message["role"] == "tool")
      fields.fail("messages", "the conversation holds calls of tools",
                  "a chat in the terminal has none");
    messages.push_back(
        {message.at("role").get<std::string>(), message.at("content").get<std::string>()});
  }
  return messages;
}

}  // namespace

void save_chat(const fs::path& path, const ChatFile& chat, bool overwrite) {
  std::error_code ignored;  // what cannot be looked at cannot be written either
  const fs::file_status there = fs::symlink_status(path, ignored);
  if (fs::exists(there) && !overwrite) refuse_existing(path);
  if (fs::is_directory(there)) refuse_write(path, EISDIR);
  fs::path draft = path;
  draft += fmt::format(".draft-{}", ::getpid());
  write_draft(draft, path, text_of(chat));
  const int error = rename_to(draft, path, overwrite);
  if (error == 0) return;
  ::unlink(draft.c_str());
  if (error == EEXIST) refuse_existing(path);
  refuse_write(path, error);
}

ChatFile load_chat(const fs::path& path) {
  const std::string text = read_whole(path);
  const nlohmann::json object = serve::parse_json(text, path.string());
  const serve::Fields fields(object, path.string(), "", text);
  ChatFile chat;
  chat.messages = messages_of(fields);
  chat.model = fields.text("model").value_or("");
  const nlohmann::json* tools = fields.find("tools");
  if (tools != nullptr && !tools->empty())
    fields.fail("tools", "the conversation has tools", "a chat in the terminal has none");
  const Json written = Json::parse(text);
  for (const auto& [name, value] : written.items()) {
    if (value.is_null() || std::ranges::find(kOfTheWay, name) != kOfTheWay.end()) continue;
    chat.parameters.set_json(canonical_parameter(name), fields.source(name));
  }
  return chat;
}

}  // namespace weft::cli
