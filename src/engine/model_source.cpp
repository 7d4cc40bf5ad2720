#include "engine/model_source.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/family.h"
#include "model/keys.h"

namespace weft::engine {
namespace {

using checkpoint::Checkpoint;
using checkpoint::Value;

template <typename T>
T value_or(const Checkpoint& file, std::string_view key, T fallback) {
  const Value* value = file.find_value(key);
  const T* typed = value == nullptr ? nullptr : std::get_if<T>(value);
  return typed == nullptr ? fallback : *typed;
}

std::optional<bool> find_bool(const Checkpoint& file, std::string_view key) {
  const Value* value = file.find_value(key);
  const bool* flag = value == nullptr ? nullptr : std::get_if<bool>(value);
  return flag == nullptr ? std::nullopt : std::optional(*flag);
}

// An id that ends an answer, as the files name it; the first is the end of a text.
void add_end(int64_t id, ModelSource& source) {
  if (id < 0 || id >= source.config.vocab_size) return;
  source.end_ids.push_back(static_cast<int32_t>(id));
  if (source.eos_id < 0) source.eos_id = static_cast<int32_t>(id);
}

text::GgufVocab read_vocab(const Checkpoint& file) {
  text::GgufVocab vocab;
  vocab.model = value_or<std::string>(file, "tokenizer.ggml.model", "");
  vocab.pre = value_or<std::string>(file, "tokenizer.ggml.pre", "");
  vocab.tokens = value_or<std::vector<std::string>>(file, "tokenizer.ggml.tokens", {});
  vocab.scores = value_or<std::vector<double>>(file, "tokenizer.ggml.scores", {});
  vocab.token_types = value_or<std::vector<int64_t>>(file, "tokenizer.ggml.token_type", {});
  vocab.merges = value_or<std::vector<std::string>>(file, "tokenizer.ggml.merges", {});
  vocab.bos_id = value_or<int64_t>(file, "tokenizer.ggml.bos_token_id", -1);
  vocab.eos_id = value_or<int64_t>(file, "tokenizer.ggml.eos_token_id", -1);
  vocab.unk_id = value_or<int64_t>(file, "tokenizer.ggml.unknown_token_id", -1);
  vocab.pad_id = value_or<int64_t>(file, "tokenizer.ggml.padding_token_id", -1);
  vocab.add_bos = find_bool(file, "tokenizer.ggml.add_bos_token");
  vocab.add_eos = find_bool(file, "tokenizer.ggml.add_eos_token");
  vocab.add_space_prefix = find_bool(file, "tokenizer.ggml.add_space_prefix");
  return vocab;
}

nlohmann::json parse_side_file(const Checkpoint& file, std::string_view name) {
  const auto text = file.side_file(name);
  return text ? nlohmann::json::parse(*text, nullptr, false) : nlohmann::json();
}

// A special token of tokenizer_config.json: a string, or an object with "content".
std::string special_token(const nlohmann::json& config, const char* name) {
  if (!config.is_object() || !config.contains(name)) return {};
  const nlohmann::json& token = config[name];
  if (token.is_string()) return token.get<std::string>();
  return token.is_object() && token.contains("content") && token["content"].is_string()
             ? token["content"].get<std::string>()
             : std::string();
}

void open_gguf_text(const Checkpoint& file, ModelSource& source) {
  const text::GgufVocab vocab = read_vocab(file);
  source.tokenizer = text::Tokenizer::from_gguf(vocab);
  const auto piece = [&](int64_t id) {
    return id >= 0 && id < static_cast<int64_t>(vocab.tokens.size())
               ? vocab.tokens[static_cast<size_t>(id)]
               : std::string();
  };
  const std::string chat = value_or<std::string>(file, "tokenizer.chat_template", "");
  if (!chat.empty())
    source.chat_template =
        text::ChatTemplate::compile(chat, piece(vocab.bos_id), piece(vocab.eos_id));
  for (const int64_t id : {vocab.eos_id, value_or<int64_t>(file, "tokenizer.ggml.eot_token_id", -1),
                           value_or<int64_t>(file, "tokenizer.ggml.eom_token_id", -1)})
    add_end(id, source);
}

void open_json_text(const Checkpoint& file, ModelSource& source) {
  const auto tokenizer = file.side_file("tokenizer.json");
  if (!tokenizer)
    throw Error(ErrorKind::kModel,
                fmt::format("{}: tokenizer.json is missing", file.path().string()), {},
                "keep tokenizer.json beside the weights");
  source.tokenizer = text::Tokenizer::from_json(*tokenizer);
  const nlohmann::json config = parse_side_file(file, "tokenizer_config.json");
  std::string chat = file.side_file("chat_template.jinja").value_or("");
  if (chat.empty() && config.is_object() && config.contains("chat_template") &&
      config["chat_template"].is_string())
    chat = config["chat_template"].get<std::string>();
  if (!chat.empty())
    source.chat_template = text::ChatTemplate::compile(chat, special_token(config, "bos_token"),
                                                       special_token(config, "eos_token"));
  // What chats end with; config.json may know of the end of a text alone.
  add_end(source.tokenizer->find_token(special_token(config, "eos_token")).value_or(-1), source);
  const auto add = [&](const nlohmann::json& ids) {
    const auto add_one = [&](const nlohmann::json& id) {
      if (id.is_number_integer()) add_end(id.get<int64_t>(), source);
    };
    if (ids.is_array()) {
      for (const nlohmann::json& id : ids) add_one(id);
    } else {
      add_one(ids);
    }
  };
  for (const char* name : {"generation_config.json", "config.json"}) {
    const nlohmann::json json = parse_side_file(file, name);
    if (json.is_object() && json.contains("eos_token_id")) add(json["eos_token_id"]);
  }
}

// Tokens that end a turn by their spelling, as llama.cpp finds them where no key names them.
constexpr const char* kEndOfTurn[] = {"<|im_end|>",      "<|eot_id|>", "<|eom_id|>",
                                      "<end_of_turn>",   "<|end|>",    "<|endoftext|>",
                                      "<|end_of_text|>", "<EOT>",      "</s>"};

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

// The mix by its name (general.file_type, llama.h's llama_ftype); otherwise the type of most bytes.
std::string file_type(const Checkpoint& file, const ModelReport& report) {
  constexpr std::pair<int64_t, const char*> kNames[] = {
      {0, "F32"},     {1, "F16"},     {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},
      {8, "Q5_0"},    {9, "Q5_1"},    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"},
      {13, "Q3_K_L"}, {14, "Q4_K_S"}, {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"},
      {18, "Q6_K"},   {25, "IQ4_NL"}, {30, "IQ4_XS"}, {32, "BF16"}};
  const int64_t type = value_or<int64_t>(file, "general.file_type", -1);
  for (const auto& [id, name] : kNames) {
    if (id == type) return name;
  }
  return report.types.empty() ? "" : report.types.front().dtype;
}

}  // namespace

ModelSource open_model(const std::string& path) {
  ModelSource source;
  source.checkpoint = Checkpoint::open(path);
  const Checkpoint& file = *source.checkpoint;
  source.config = model::read_config(model::Keys(file));
  if (file.format() == checkpoint::FileFormat::kGguf) {
    open_gguf_text(file, source);
  } else {
    open_json_text(file, source);
  }
  for (const char* token : kEndOfTurn) {
    const auto id = source.tokenizer->find_token(token);
    if (id && source.tokenizer->is_special(*id)) add_end(*id, source);
  }
  std::sort(source.end_ids.begin(), source.end_ids.end());
  source.end_ids.erase(std::unique(source.end_ids.begin(), source.end_ids.end()),
                       source.end_ids.end());
  return source;
}

ModelReport report_model(const ModelSource& source) {
  const model::ModelConfig& c = source.config;
  ModelReport report;
  report.path = source.checkpoint->path().string();
  report.architecture = c.architecture;
  report.family = c.family;
  report.name = c.name;
  report.tokenizer = source.tokenizer->description();
  report.file_bytes = source.checkpoint->file_bytes();
  report.num_layers = c.num_layers;
  report.hidden_size = c.hidden_size;
  report.num_heads = c.num_heads;
  report.num_kv_heads = c.num_kv_heads;
  report.head_dim = c.head_dim;
  report.ffn_size = c.ffn_size;
  report.vocab_size = c.vocab_size;
  report.context_length = c.context_length;
  report.tied_embeddings = c.tied_embeddings;
  report.end_ids = source.end_ids;
  report.eos_id = source.eos_id;
  for (const tensor::RawTensor& tensor : source.checkpoint->tensors()) {
    const std::string dtype(tensor::name(tensor.dtype));
    report.tensors.push_back({tensor.name, dtype, shape_text(tensor.shape), tensor.num_bytes()});
    report.num_parameters += tensor.num_rows() * tensor.num_cols();
    const auto same = [&](const ModelReport::TypeCount& t) { return t.dtype == dtype; };
    auto it = std::find_if(report.types.begin(), report.types.end(), same);
    if (it == report.types.end()) it = report.types.insert(it, {dtype, 0, 0});
    ++it->num_tensors;
    it->num_bytes += tensor.num_bytes();
  }
  std::sort(report.types.begin(), report.types.end(),
            [](const auto& a, const auto& b) { return a.num_bytes > b.num_bytes; });
  report.file_type = file_type(*source.checkpoint, report);
  return report;
}

}  // namespace weft::engine
